//! What is to happen, in the order of the one virtual clock.

use std::{cmp::Reverse, collections::BinaryHeap};

use grotto::{engine::TransferOrder, gateway::Answer, wire::Payload};

use super::{incident::Incident, person::Act};

/// The virtual time of the first event, in milliseconds since the Unix epoch.
pub(super) const START: u64 = 1_700_000_000_000;

#[derive(Debug)]
pub(super) enum Event {
    /// A frame reaches the gateway.
    ToServer(u64, Payload),
    /// A frame reaches a client.
    ToClient(u64, usize, Payload),
    /// A call of the gateway reaches the homeserver.
    CallArrives(u64),
    /// The homeserver holds this poll no longer.
    HoldOver(u64),
    /// The answer to a call reaches the gateway.
    Answered(u64, Answer),
    /// A dial succeeds or fails.
    Dialed { client: usize, dial: u64 },
    /// The link breaks, here and now, with all that is on it.
    Cut(u64),
    /// A client notices that its link is gone.
    LinkLost { client: usize, connection: u64 },
    /// A client hears that it hung up.
    HungUp(usize),
    /// The gateway notices that a client is gone.
    DoorGone(u64),
    /// The gateway's time for stopping is over.
    DrainOver(u64),
    /// A client's deadline.
    Wake { client: usize, at: u64 },
    /// A client's process begins.
    Start(usize),
    /// A person types a line.
    Type { client: usize, room: String, text: String },
    /// A person does something else.
    Act { client: usize, room: String, act: Act },
    /// The owner of a device looks at the screen.
    Look(usize),
    /// A transfer ends, if its connection is still there.
    Carried { client: usize, connection: u64, order: TransferOrder },
    /// Something happens that no client asked for.
    Incident(Incident),
}

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The events to come; those of one moment in the order in which they were put in.
#[derive(Default)]
pub(super) struct Queue {
    order: u64,
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Queue {
    pub(super) fn put(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.heap.push(Reverse(Entry { at, order: self.order, event }));
    }

    /// The next one, if it is not after `end`.
    pub(super) fn take(&mut self, end: u64) -> Option<(u64, Event)> {
        if self.heap.peek().is_none_or(|Reverse(entry)| end < entry.at) {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Event)> {
        self.heap.iter().map(|Reverse(entry)| (entry.at, &entry.event))
    }
}
