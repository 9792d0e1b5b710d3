//! What one answer of `/sync` says, in our words; [`super::parse`] reads it.
//!
//! # Spec
//! Client-Server API, "Syncing"; sliding sync (MSC4186) will feed the same type.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::matrix::{
    event::Event,
    id::{OwnedRoomId, OwnedUserId},
};

/// A place in the sync stream (`next_batch`); opaque.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub String);

/// One answer of the sync stream.
#[derive(Clone, Debug, Default)]
pub struct SyncDelta {
    /// Global account data that changed.
    pub account_data: Vec<Event>,
    /// To-device events, in the order they must be processed.
    pub to_device: Vec<ToDeviceEvent>,
    /// Users whose devices changed.
    pub device_lists: DeviceLists,
    /// One-time keys that the server still holds.
    pub key_counts: KeyCounts,
    /// Algorithms whose fallback key is still unused; `None` when the server does not say.
    pub unused_fallback_keys: Option<Vec<String>>,
    /// Rooms that changed.
    pub rooms: BTreeMap<OwnedRoomId, RoomDelta>,
    /// How many parts of the answer were malformed and left out.
    pub malformed: usize,
}

/// Counts of one-time keys; absence means different things to the two kinds of sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCounts {
    /// Sync v2: an absent count is zero.
    Absolute(u64),
    /// Sliding sync: an absent count is "no change".
    Changed(Option<u64>),
}

impl Default for KeyCounts {
    fn default() -> Self {
        Self::Changed(None)
    }
}

/// `device_lists` of a sync answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceLists {
    /// Users whose device list must be asked for again.
    pub changed: Vec<OwnedUserId>,
    /// Users that share no encrypted room with us any more, says the server.
    pub left: Vec<OwnedUserId>,
}

/// A to-device event; the content stays raw text because signatures inside it are checked.
#[derive(Clone, Debug)]
pub struct ToDeviceEvent {
    /// `type`.
    pub kind: String,
    /// The sender, says the server.
    pub sender: OwnedUserId,
    /// The content as JSON text.
    pub content: Box<RawValue>,
}

/// Our membership in a room, by the section of the answer it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// We are in it.
    Join,
    /// We were invited.
    Invite,
    /// We asked to be let in.
    Knock,
    /// We left, or were removed.
    Leave,
}

/// What changed in one room.
#[derive(Clone, Debug)]
pub struct RoomDelta {
    /// Which section the room stood in.
    pub membership: Membership,
    /// State before the timeline; stripped state for invites and knocks.
    pub state: Vec<Event>,
    /// New events, oldest first.
    pub timeline: Vec<Event>,
    /// Whether events are missing before the timeline.
    pub limited: bool,
    /// Token to load what is before the timeline.
    pub prev_batch: Option<String>,
    /// Typing and receipts.
    pub ephemeral: Vec<Event>,
    /// Room account data: tags, fully-read marker.
    pub account_data: Vec<Event>,
    /// Unread notifications; `None` when not sent.
    pub unread: Option<u64>,
    /// Unread mentions; `None` when not sent.
    pub highlights: Option<u64>,
    /// Counts and heroes; fields absent when unchanged.
    pub heroes: RoomHeroes,
}

/// `summary` of a room in a sync answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomHeroes {
    /// Users to name the room by, when it has no name.
    #[serde(rename = "m.heroes", default, skip_serializing_if = "Option::is_none")]
    pub heroes: Option<Vec<OwnedUserId>>,
    /// Joined members.
    #[serde(rename = "m.joined_member_count", default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<u64>,
    /// Invited members.
    #[serde(rename = "m.invited_member_count", default, skip_serializing_if = "Option::is_none")]
    pub invited: Option<u64>,
}

/// Why a sync answer could not be used at all.
#[derive(Debug, thiserror::Error)]
#[error("the sync answer is not a JSON object of the expected shape")]
pub struct SyncError(#[from] serde_json::Error);
