//! One line of the room list.

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{Membership, OwnedRoomId},
    time::Timestamp,
};

/// What a room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// A direct chat (`m.direct`).
    Dm,
    /// Any other room.
    Group,
    /// A space.
    Space,
}

/// One line of the room list; all text is as the network sent it (make it safe before drawing).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Name by the spec's algorithm ("Calculating the display name for a room").
    pub name: String,
    /// Direct chat, group or space.
    pub kind: RoomKind,
    /// Our membership.
    pub membership: Membership,
    /// Whether it was ever seen encrypted.
    pub encrypted: bool,
    /// Unread notifications.
    pub unread: u64,
    /// Unread mentions.
    pub highlights: u64,
    /// Joined members.
    pub members: u64,
    /// Topic, if any.
    pub topic: Option<String>,
    /// Time of the last event that counts as activity.
    pub last_activity: Timestamp,
    /// Who invited us, while invited.
    pub inviter: Option<String>,
}
