//! Who types where. Lost with the process, and nobody misses it.
//!
//! # Spec
//! Client-Server API, "Typing notifications".

use std::collections::BTreeMap;

use super::volatile::Serials;
use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId},
    time::Timestamp,
};

/// Rooms that are remembered; beyond it those where nobody types go.
const MOST_ROOMS: usize = 10_000;

/// Who types where.
#[derive(Debug, Default)]
pub(super) struct Typing {
    rooms: BTreeMap<OwnedRoomId, Room>,
}

/// Who types in a room.
#[derive(Debug, Default)]
struct Room {
    /// When that changed last.
    serial: u64,
    /// Until when, unless they say more.
    users: BTreeMap<OwnedUserId, Timestamp>,
}

impl Typing {
    /// Somebody types until this time, or no longer.
    pub(super) fn set(
        &mut self,
        room: &RoomId,
        user: &OwnedUserId,
        until: Option<Timestamp>,
        serials: &mut Serials,
    ) {
        if MOST_ROOMS <= self.rooms.len() {
            self.rooms.retain(|_, room| !room.users.is_empty());
        }
        let room = self.rooms.entry(room.to_owned()).or_default();
        let is_change = match until {
            Some(until) => room.users.insert(user.clone(), until).is_none(),
            None => room.users.remove(user).is_some(),
        };
        if is_change {
            room.serial = serials.next();
        }
    }

    /// Ends what lasted until now.
    pub(super) fn expire(&mut self, now: Timestamp, serials: &mut Serials) {
        for room in self.rooms.values_mut() {
            let before = room.users.len();
            room.users.retain(|_, until| now < *until);
            if room.users.len() < before {
                room.serial = serials.next();
            }
        }
    }

    /// The rooms where somebody types or did, and when that changed last.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (&OwnedRoomId, u64)> {
        self.rooms.iter().map(|(room, typing)| (room, typing.serial))
    }

    /// Who types in a room, if that changed after `serial`.
    pub(super) fn changed(&self, room: &RoomId, serial: u64) -> Option<Vec<OwnedUserId>> {
        let room = self.rooms.get(room)?;
        (serial < room.serial).then(|| room.users.keys().cloned().collect())
    }

    /// The rooms where somebody types, and when the first of them is to end.
    pub(super) fn ends(&self) -> impl Iterator<Item = (&OwnedRoomId, Timestamp)> {
        self.rooms.iter().filter_map(|(room, typing)| {
            let first = typing.users.values().min_by_key(|until| until.0)?;
            Some((room, *first))
        })
    }
}
