//! Rooms, their events and members. Tags 20-39.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::table::Table,
};

/// `(room)`.
pub(crate) const ROOMS: Table<RoomRecord> = Table::new(20);
/// `(event)`.
pub(crate) const EVENTS: Table<EventRecord> = Table::new(21);
/// `(room, number)`: the events of a room, in order.
pub(crate) const TIMELINE: Table<OwnedEventId> = Table::new(22);
/// `(room, type, state key)`: the current state.
pub(crate) const STATE: Table<StateRecord> = Table::new(23);
/// `(room, type, state key, number)`: the state from that number on.
pub(crate) const STATE_HISTORY: Table<OwnedEventId> = Table::new(24);
/// `(user, room)`: what somebody is to a room; nothing for rooms they forgot.
pub(crate) const MEMBERSHIPS: Table<MembershipRecord> = Table::new(25);
/// `(room, user)`: who is joined now.
pub(crate) const JOINED: Table<()> = Table::new(26);
/// `(user, device, path of the request with its transaction id)`: the answer that it got.
pub(crate) const TRANSACTIONS: Table<Box<RawValue>> = Table::new(27);
/// `(target event, relation type, number)`: events that relate to another.
pub(crate) const RELATIONS: Table<OwnedEventId> = Table::new(28);

/// A room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    pub(crate) creator: OwnedUserId,
    pub(crate) version: String,
    /// The newest event, which the next one follows.
    pub(crate) head: OwnedEventId,
    /// How many events come before the next one.
    pub(crate) depth: u64,
}

/// An event as it was made: the PDU of the room's version, and what only this server knows of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub(crate) room: OwnedRoomId,
    /// Its number in the stream.
    pub(crate) number: u64,
    /// The whole PDU, or what a redaction left of it.
    pub(crate) pdu: Box<RawValue>,
    /// The device that sent it, and the transaction id it gave: only that device gets it back.
    pub(crate) sent_by: Option<(OwnedDeviceId, String)>,
    /// The event that redacted it.
    pub(crate) redacted_because: Option<OwnedEventId>,
}

/// An entry of the current state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    pub(crate) event: OwnedEventId,
    pub(crate) number: u64,
}

/// What somebody is to a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    /// `join`, `invite`, `knock`, `leave` or `ban`.
    pub(crate) membership: String,
    /// The member event.
    pub(crate) event: OwnedEventId,
    /// Its number.
    pub(crate) number: u64,
}
