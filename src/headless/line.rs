//! The lines of `tail` and `history`. Names and fields are a promise to scripts: they are only
//! added to.

use serde::Serialize;
use serde_json::Value;

use crate::{
    matrix::{Membership, OwnedEventId, OwnedRoomId, OwnedUserId},
    time::Timestamp,
};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// What; gives the field `type`.
    #[serde(flatten)]
    pub what: What,
    /// Where; null for what concerns no room.
    pub room_id: Option<OwnedRoomId>,
    /// When, in milliseconds since the epoch.
    pub ts: Timestamp,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// Somebody said something.
    Message(Message),
    /// Somebody said something that cannot be decrypted.
    Undecryptable {
        /// The event.
        event_id: OwnedEventId,
        /// Who.
        sender: OwnedUserId,
        /// Session it names.
        session_id: Option<String>,
        /// Why.
        reason: String,
    },
    /// A message that was told as undecryptable; its key came.
    DecryptedLate(Message),
    /// A message got another text.
    Edit {
        /// The edit.
        event_id: OwnedEventId,
        /// Of which message.
        relates_to: OwnedEventId,
        /// Who.
        sender: OwnedUserId,
        /// The new text.
        body: String,
        /// The new text as HTML.
        #[serde(skip_serializing_if = "Option::is_none")]
        html: Option<String>,
        /// Whether it was looked at if it may stand in the place of the message: `false` while that
        /// is not known here or cannot be read. One that may not is not told.
        checked: bool,
        /// Whether it came encrypted.
        encrypted: bool,
        /// `none`, `grey` or `red`.
        shield: &'static str,
        /// Why the shield is not empty.
        #[serde(skip_serializing_if = "Option::is_none")]
        shield_reason: Option<&'static str>,
        /// Who handed over its key with the history of the room, on whose word alone it is believed.
        #[serde(skip_serializing_if = "Option::is_none")]
        shared_by: Option<OwnedUserId>,
    },
    /// Somebody reacted.
    Reaction {
        /// The reaction.
        event_id: OwnedEventId,
        /// To which event.
        relates_to: OwnedEventId,
        /// Who.
        sender: OwnedUserId,
        /// With what.
        key: String,
    },
    /// Something was taken back.
    Redaction {
        /// The redaction.
        event_id: OwnedEventId,
        /// What was taken back.
        relates_to: OwnedEventId,
        /// By whom.
        sender: OwnedUserId,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// We were invited.
    Invite {
        /// By whom.
        inviter: Option<String>,
        /// The room's name.
        name: String,
    },
    /// Somebody's membership changed.
    Membership {
        /// The event.
        event_id: OwnedEventId,
        /// Who changed it.
        sender: OwnedUserId,
        /// Whose.
        user: String,
        /// What it is now (`join`, `leave`, `invite`, `ban`, `knock`).
        membership: String,
    },
    /// Who types now.
    Typing {
        /// Nobody, when empty.
        users: Vec<OwnedUserId>,
    },
    /// Somebody read up to an event.
    Receipt {
        /// Who.
        user: OwnedUserId,
        /// Up to which.
        event_id: OwnedEventId,
    },
    /// The connection came or went.
    Link {
        /// `up` or `down`.
        state: &'static str,
        /// When the next try is due.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u64>,
        /// Why it went, in words for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Something the user must know.
    Alarm {
        /// Which.
        code: String,
        /// What it is about.
        detail: Value,
    },
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// The event.
    pub event_id: OwnedEventId,
    /// Who.
    pub sender: OwnedUserId,
    /// `text notice emote image file audio video location sticker poll`.
    pub kind: &'static str,
    /// The text, or what stands for it.
    pub body: String,
    /// The text as HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Whether it came encrypted.
    pub encrypted: bool,
    /// `none`, `grey` or `red`.
    pub shield: &'static str,
    /// Why the shield is not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shield_reason: Option<&'static str>,
    /// Who handed over its key with the history of the room, on whose word alone it is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_by: Option<OwnedUserId>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<OwnedEventId>,
    /// The first message of its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<OwnedEventId>,
    /// Whether it was edited. In history the text is the present one; in `tail` it is the one
    /// that came, and the edits are lines of their own.
    pub edited: bool,
    /// What is attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<File>,
}

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its size in bytes, if the sender says.
    pub size: Option<u64>,
    /// Its type, if the sender says.
    pub mimetype: Option<String>,
}

/// A room as `rooms` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoomLine {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its name.
    pub name: String,
    /// `dm`, `group` or `space`.
    pub kind: crate::rooms::RoomKind,
    /// `join`, `invite`, `knock` or `leave`.
    pub membership: Membership,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Unread notifications.
    pub unread: u64,
    /// Unread mentions.
    pub highlights: u64,
    /// Joined members.
    pub members: u64,
    /// Its topic.
    pub topic: Option<String>,
}
