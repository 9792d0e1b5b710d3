//! One turn of the engine: what it reads, and all it wants written, sent and told.

use std::collections::BTreeSet;

use crate::{
    e2ee::Step,
    engine::{Audience, Outgoing, Update},
    matrix::{OwnedRoomId, RoomId},
    store::{Store, Writes},
    time::Timestamp,
};

/// Made for one input, passed through everything the input causes, sealed at the end.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) store: &'a Store,
    /// The session layer's part.
    pub(super) step: Step<'a>,
    /// Ours.
    pub(super) writes: Writes,
    pub(super) out: Outgoing,
    /// Rooms whose members changed.
    pub(super) members: BTreeSet<OwnedRoomId>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(store: &'a Store, now: Timestamp) -> Self {
        Self {
            now,
            store,
            step: Step::new(store, now),
            writes: Writes::default(),
            out: Outgoing::default(),
            members: BTreeSet::new(),
        }
    }

    /// Tells somebody something.
    pub(super) fn tell(&mut self, audience: Audience, update: Update) {
        self.out.updates.push((audience, update));
    }

    /// Tells every face something.
    pub(super) fn tell_all(&mut self, update: Update) {
        self.tell(Audience::All, update);
    }

    /// Whether a room ended in this turn: what is read of it is as it was before.
    pub(super) fn ended(&self, room: &RoomId) -> bool {
        self.writes.gone_rooms.iter().any(|gone| gone == room)
    }

    /// Takes the turn apart, to be sealed. Requests and notices of the step were taken before.
    pub(super) fn into_parts(self) -> (Writes, Outgoing) {
        let (crypto, _, _) = self.step.finish();
        (Writes { crypto, ..self.writes }, self.out)
    }
}
