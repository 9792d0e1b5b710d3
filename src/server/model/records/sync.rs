//! What syncs are made of beside rooms: receipts, what notifies whom, what changed where. Tags
//! 70-89.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{OwnedEventId, OwnedUserId},
    server::model::table::Table,
    time::Timestamp,
};

/// `(room, number)`: receipts, at the number of the stream at which they were sent.
pub(crate) const RECEIPTS: Table<ReceiptRecord> = Table::new(70);
/// `(room, user, type and thread)`: the number of somebody's newest receipt.
pub(crate) const RECEIPT_PLACES: Table<u64> = Table::new(71);
/// `(room, number)`: type and state key of the state event with that number.
pub(crate) const STATE_LOG: Table<(String, String)> = Table::new(72);
/// `(room, number)`: whom the event with that number notifies.
pub(crate) const NOTIFICATIONS: Table<NotificationRecord> = Table::new(73);
/// `(number)`: whose devices or identity keys changed last at that number; once for each user.
pub(crate) const DEVICE_LOG: Table<OwnedUserId> = Table::new(74);
/// `(user)`: where they stand in [`DEVICE_LOG`].
pub(crate) const DEVICE_PLACES: Table<u64> = Table::new(75);

/// `(room)`: the number of the newest event that moves the room to the top of a list.
pub(crate) const BUMPS: Table<u64> = Table::new(76);

/// Up to where somebody has read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReceiptRecord {
    pub(crate) user: OwnedUserId,
    /// `m.read` or `m.read.private`.
    pub(crate) kind: String,
    /// `main` or the first event of a thread; `None`: the whole room.
    pub(crate) thread: Option<String>,
    pub(crate) event: OwnedEventId,
    /// The number of the event.
    pub(crate) reached: u64,
    pub(crate) sent: Timestamp,
}

/// Whom an event notifies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotificationRecord {
    /// The first event of the thread that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<OwnedEventId>,
    /// What it does to everybody who is joined and not named below.
    pub(crate) others: Notice,
    /// What it does to these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) named: BTreeMap<OwnedUserId, Notice>,
}

/// What an event does to somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice {
    /// Nothing.
    #[default]
    None,
    /// It is counted.
    Notify,
    /// It is counted, and meant for them.
    Highlight,
}

impl NotificationRecord {
    /// What the event does to somebody who was joined.
    pub(crate) fn of(&self, user: &OwnedUserId) -> Notice {
        self.named.get(user).copied().unwrap_or(self.others)
    }
}
