//! Which members a device has been sent, when it asks only for those whose events it shows.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    matrix::{EventId, OwnedDeviceId, OwnedEventId, OwnedUserId},
    server::model::route::Caller,
};

/// Devices that are remembered.
const MOST_DEVICES: usize = 1_000;
/// Members that are remembered of each. Who is forgotten is sent once more.
const MOST_MEMBERS: usize = 1_000;

/// What all devices have been sent.
#[derive(Debug, Default)]
pub(crate) struct SentMembers {
    devices: BTreeMap<(OwnedUserId, OwnedDeviceId), Sent>,
}

/// What a device has been sent.
#[derive(Debug, Default)]
struct Sent {
    /// Member events, and the end of the first answer that each was in.
    answers: BTreeMap<OwnedEventId, u64>,
    oldest: VecDeque<OwnedEventId>,
}

impl SentMembers {
    /// Whether the device has a member event: it was in an answer that the device took, as it
    /// asks for what came after that.
    pub(super) fn has(&self, caller: &Caller, event: &EventId, since: u64) -> bool {
        let sent = self.devices.get(&(caller.user.clone(), caller.device.clone()));
        sent.and_then(|sent| sent.answers.get(event)).is_some_and(|end| *end <= since)
    }

    /// Notes that an answer that ends at `end` has this member event.
    pub(super) fn note(&mut self, caller: &Caller, event: &EventId, end: u64) {
        let device = (caller.user.clone(), caller.device.clone());
        if MOST_DEVICES <= self.devices.len() && !self.devices.contains_key(&device) {
            self.devices.pop_first();
        }
        let sent = self.devices.entry(device).or_default();
        if !sent.answers.contains_key(event) {
            sent.answers.insert(event.to_owned(), end);
            sent.oldest.push_back(event.to_owned());
        }
        if MOST_MEMBERS < sent.oldest.len()
            && let Some(oldest) = sent.oldest.pop_front()
        {
            sent.answers.remove(&oldest);
        }
    }

    /// A device begins anew: it has nothing.
    pub(crate) fn forget(&mut self, caller: &Caller) {
        self.devices.remove(&(caller.user.clone(), caller.device.clone()));
    }
}
