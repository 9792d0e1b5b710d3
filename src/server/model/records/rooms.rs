//! Rooms, their events and members. Tags 20-39 and 110-119.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::table::Table,
    time::Timestamp,
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

/// `(room, user, number)`: what somebody was to a room from that number on.
pub(crate) const MEMBER_HISTORY: Table<String> = Table::new(29);
/// `(room, number)`: who could read the room's history from that number on.
pub(crate) const VISIBILITY_HISTORY: Table<String> = Table::new(30);
/// `(alias)`.
pub(crate) const ALIASES: Table<AliasRecord> = Table::new(31);
/// `(room, alias)`: the aliases of a room.
pub(crate) const ROOM_ALIASES: Table<()> = Table::new(32);
/// `(room)`: the rooms that everybody may find.
pub(crate) const PUBLIC_ROOMS: Table<()> = Table::new(33);
/// `(number)`: what members reported; counted from 1.
pub(crate) const REPORTS: Table<ReportRecord> = Table::new(34);
/// `(first event of a thread)`.
pub(crate) const THREADS: Table<ThreadRecord> = Table::new(35);
/// `(room, number of the newest event of a thread)`: its first event.
pub(crate) const THREADS_BY_NEWEST: Table<OwnedEventId> = Table::new(36);
/// `(first event of a thread, user)`: who wrote in it.
pub(crate) const THREAD_MEMBERS: Table<()> = Table::new(37);
/// `(user, device, number)`: the newest transactions of a device, by their key in
/// [`TRANSACTIONS`]; the number is that of the transaction modulo how many are kept.
pub(crate) const TRANSACTION_RING: Table<String> = Table::new(38);
/// `(user, device)`: how many transactions a device has made.
pub(crate) const TRANSACTION_COUNTS: Table<u64> = Table::new(39);
/// `(target event, sender, type and key)`: reactions, of which nobody makes the same twice.
pub(crate) const ANNOTATIONS: Table<OwnedEventId> = Table::new(110);

/// A room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    pub(crate) creator: OwnedUserId,
    pub(crate) version: String,
    /// The newest event, which the next one follows.
    pub(crate) head: OwnedEventId,
    /// How many events come before the next one.
    pub(crate) depth: u64,
    /// How many are joined.
    #[serde(default)]
    pub(crate) joined: u64,
    /// How many are invited.
    #[serde(default)]
    pub(crate) invited: u64,
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
    /// The state event whose place it took.
    #[serde(default)]
    pub(crate) replaces: Option<OwnedEventId>,
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

/// A name of a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    pub(crate) room: OwnedRoomId,
    /// Who made it, and so may take it away.
    pub(crate) creator: OwnedUserId,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ThreadRecord {
    /// How many events it has, without its first one.
    pub(crate) count: u64,
    /// The number of its newest event.
    pub(crate) newest: u64,
    /// The newest event.
    pub(crate) event: OwnedEventId,
}

/// What somebody reported to those who run the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReportRecord {
    /// Who reported.
    pub(crate) reporter: OwnedUserId,
    /// What.
    pub(crate) subject: ReportSubject,
    /// Why, in their words.
    pub(crate) reason: Option<String>,
    /// When.
    pub(crate) time: Timestamp,
}

/// What can be reported.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReportSubject {
    /// An event, as it was when it was reported.
    Event {
        /// Where.
        room: OwnedRoomId,
        /// Which.
        event: OwnedEventId,
        /// The whole of it: a later redaction does not take the evidence away.
        evidence: Box<RawValue>,
    },
    /// A room.
    Room {
        /// Which.
        room: OwnedRoomId,
    },
    /// Somebody.
    User {
        /// Who.
        user: OwnedUserId,
    },
}
