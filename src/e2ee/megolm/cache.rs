//! The Megolm state in memory: sessions in use, read once and kept, so that an event costs neither
//! a read nor a parse of its session.
//!
//! Everything here is also in the store or in the step at hand; see [`crate::e2ee::Machine`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{inbound::InboundSession, outbound::Outbound};
use crate::{
    e2ee::{MachineError, lookup::Table, step::Step, trust::Standing},
    matrix::{OwnedRoomId, OwnedUserId, RoomId},
    time::Timestamp,
};

/// Most inbound sessions kept in memory; one takes about a kilobyte.
const MAX_INBOUND: usize = 512;
/// Rooms, and members of each, that are remembered until a room becomes encrypted.
const MAX_EARLY_ROOMS: usize = 256;
const MAX_EARLY_MEMBERS: usize = 64;

/// The Megolm half of the machine.
#[derive(Default)]
pub(in crate::e2ee) struct Megolm {
    /// By session id. Should one come for several rooms, the room used last is here.
    inbound: BTreeMap<String, Cached>,
    /// Outbound sessions, one a room.
    pub(super) outbound: BTreeMap<OwnedRoomId, Outbound>,
    /// Rooms that somebody waits for, and until when at most if there is an end.
    pub(super) waiting: BTreeMap<OwnedRoomId, Option<Timestamp>>,
    /// Members of rooms that are not encrypted, as far as they fit: a room's creator joins before
    /// the event that encrypts it. Whoever is missing is tracked when we first write.
    early_members: BTreeMap<OwnedRoomId, BTreeSet<OwnedUserId>>,
    /// Whether a session changed that the backup does not have so.
    pub(in crate::e2ee) to_back_up: bool,
    /// Counts uses, to find the longest unused.
    uses: u64,
}

/// An inbound session in memory.
pub(in crate::e2ee) struct Cached {
    room: OwnedRoomId,
    pub(in crate::e2ee) record: InboundSession,
    /// How its creator stands, and `Core::device_changes` when that was looked up.
    pub(in crate::e2ee) standing: Option<(Standing, u64)>,
    used: u64,
}

impl Cached {
    fn touched(&mut self, uses: u64) -> &mut Self {
        self.used = uses;
        self
    }
}

impl fmt::Debug for Megolm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Megolm")
            .field("inbound", &self.inbound.len())
            .field("outbound", &self.outbound.len())
            .finish_non_exhaustive()
    }
}

impl Megolm {
    /// The outbound session of `room`, if it is in memory.
    pub(in crate::e2ee) fn outbound_mut(&mut self, room: &RoomId) -> Option<&mut Outbound> {
        self.outbound.get_mut(room)
    }

    /// Remembers a member of a room that is not encrypted yet.
    pub(in crate::e2ee) fn note_early_member(&mut self, room: &RoomId, user: OwnedUserId) {
        if !self.early_members.contains_key(room) && MAX_EARLY_ROOMS <= self.early_members.len() {
            self.early_members.pop_first();
        }
        let members = self.early_members.entry(room.to_owned()).or_default();
        if members.len() < MAX_EARLY_MEMBERS {
            members.insert(user);
        }
    }

    /// The members noted before `room` became encrypted.
    pub(in crate::e2ee) fn take_early_members(&mut self, room: &RoomId) -> BTreeSet<OwnedUserId> {
        self.early_members.remove(room).unwrap_or_default()
    }

    /// The session `id` of `room`, read if it is not at hand.
    pub(in crate::e2ee) fn inbound(
        &mut self,
        room: &RoomId,
        id: &str,
        step: &Step<'_>,
    ) -> Result<Option<&mut Cached>, MachineError> {
        if self.inbound.get(id).is_none_or(|cached| cached.room != room) {
            let Some(record) = step.get(Table::InboundGroupSession, room.as_str(), id)? else {
                return Ok(None);
            };
            self.remember(room, id.to_owned(), record);
        }
        self.uses += 1;
        let uses = self.uses;
        Ok(self.inbound.get_mut(id).map(|cached| cached.touched(uses)))
    }

    /// Keeps a session in memory; the longest unused goes when there are too many.
    pub(in crate::e2ee) fn remember(&mut self, room: &RoomId, id: String, record: InboundSession) {
        if MAX_INBOUND <= self.inbound.len() {
            let oldest = self.inbound.iter().min_by_key(|(_, cached)| cached.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.inbound.remove(&oldest);
            }
        }
        self.uses += 1;
        let cached = Cached { room: room.to_owned(), record, standing: None, used: self.uses };
        self.inbound.insert(id, cached);
    }

    /// Writes the record of a session that is in memory.
    pub(in crate::e2ee) fn write_inbound(
        &self,
        room: &RoomId,
        id: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match self.inbound.get(id).filter(|cached| cached.room == room) {
            Some(cached) => step.put(Table::InboundGroupSession, room.as_str(), id, &cached.record),
            None => Ok(()),
        }
    }
}
