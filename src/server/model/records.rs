//! All tables: what is stored, under which key. Everything else is derived from these.
//!
//! **The stream.** Whatever a client can see in a sync has a number: its place in the one stream
//! of the server, given by [`Step::publish`](super::step::Step::publish). A sync token is such a
//! number.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::table::Table;
use crate::{
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId},
    time::Timestamp,
};

/// `()`: the last number of the stream.
pub(super) const POSITION: Table<u64> = Table::new(1);
/// `(number)`: what happened.
pub(super) const STREAM: Table<Change> = Table::new(2);

/// `(user)`.
pub(super) const USERS: Table<UserRecord> = Table::new(10);
/// `(hash of the token)`: access tokens.
pub(super) const TOKENS: Table<TokenRecord> = Table::new(11);
/// `(user, device)`.
pub(super) const DEVICES: Table<DeviceRecord> = Table::new(12);

/// `(room)`.
pub(super) const ROOMS: Table<RoomRecord> = Table::new(20);
/// `(event)`.
pub(super) const EVENTS: Table<EventRecord> = Table::new(21);
/// `(room, number)`: the events of a room, in order.
pub(super) const TIMELINE: Table<OwnedEventId> = Table::new(22);
/// `(room, type, state key)`: the current state.
pub(super) const STATE: Table<StateRecord> = Table::new(23);
/// `(room, type, state key, number)`: the state from that number on.
pub(super) const STATE_HISTORY: Table<OwnedEventId> = Table::new(24);
/// `(user, room)`: what somebody is to a room; nothing for rooms they forgot.
pub(super) const MEMBERSHIPS: Table<MembershipRecord> = Table::new(25);
/// `(room, user)`: who is joined now.
pub(super) const JOINED: Table<()> = Table::new(26);
/// `(user, device, path of the request with its transaction id)`: the answer that it got.
pub(super) const TRANSACTIONS: Table<Box<RawValue>> = Table::new(27);
/// `(target event, relation type, number)`: events that relate to another.
pub(super) const RELATIONS: Table<OwnedEventId> = Table::new(28);

/// Somebody with an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UserRecord {
    /// Argon2id, as text; `None` for accounts without a password.
    pub(super) password_hash: Option<String>,
    pub(super) created: Timestamp,
    #[serde(default)]
    pub(super) is_admin: bool,
    #[serde(default)]
    pub(super) is_deactivated: bool,
}

/// What an access token stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
    /// When it ceases to hold; `None`: never.
    pub(super) expires: Option<Timestamp>,
}

/// A device of somebody's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeviceRecord {
    pub(super) display_name: Option<String>,
    pub(super) last_seen: Timestamp,
}

/// A room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RoomRecord {
    pub(super) creator: OwnedUserId,
    pub(super) version: String,
    /// The newest event, which the next one follows.
    pub(super) head: OwnedEventId,
    /// How many events come before the next one.
    pub(super) depth: u64,
}

/// An event as it was made: the PDU of the room's version, and what only this server knows of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EventRecord {
    pub(super) room: OwnedRoomId,
    /// Its number in the stream.
    pub(super) number: u64,
    /// The whole PDU, or what a redaction left of it.
    pub(super) pdu: Box<RawValue>,
    /// The device that sent it, and the transaction id it gave: only that device gets it back.
    pub(super) sent_by: Option<(OwnedDeviceId, String)>,
    /// The event that redacted it.
    pub(super) redacted_because: Option<OwnedEventId>,
}

/// An entry of the current state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StateRecord {
    pub(super) event: OwnedEventId,
    pub(super) number: u64,
}

/// What somebody is to a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MembershipRecord {
    /// `join`, `invite`, `knock`, `leave` or `ban`.
    pub(super) membership: String,
    /// The member event.
    pub(super) event: OwnedEventId,
    /// Its number.
    pub(super) number: u64,
}

/// What happened at a number of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// An event in a room.
    Event {
        /// Where.
        room: OwnedRoomId,
        /// Which.
        event: OwnedEventId,
    },
    /// Somebody read a room up to some event.
    Receipt {
        /// Where.
        room: OwnedRoomId,
        /// Who.
        user: OwnedUserId,
    },
    /// Account data of somebody, of a room or of none.
    AccountData {
        /// Whose.
        user: OwnedUserId,
        /// Where.
        room: Option<OwnedRoomId>,
        /// Its type.
        kind: String,
    },
    /// The devices or identity keys of somebody.
    Devices {
        /// Whose.
        user: OwnedUserId,
    },
    /// A message for a device of somebody.
    ToDevice {
        /// Whose.
        user: OwnedUserId,
        /// Which.
        device: OwnedDeviceId,
    },
    /// Somebody is no longer seen by this user, so that their devices need not be followed.
    Parted {
        /// Who is to know.
        user: OwnedUserId,
        /// Who is gone.
        other: OwnedUserId,
    },
}
