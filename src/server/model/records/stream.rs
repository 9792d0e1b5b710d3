//! The stream: what happened, in its order.

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::table::Table,
};

/// `()`: the last number of the stream.
pub(crate) const POSITION: Table<u64> = Table::new(1);
/// `(number)`: what happened.
pub(crate) const STREAM: Table<Change> = Table::new(2);

/// What happened at a number of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
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
    /// Somebody signed a key of another; only they see that it changed.
    Signed {
        /// Who signed.
        user: OwnedUserId,
        /// Whose key.
        other: OwnedUserId,
    },
    /// A message for a device of somebody.
    ToDevice {
        /// Whose.
        user: OwnedUserId,
        /// Which.
        device: OwnedDeviceId,
    },
}
