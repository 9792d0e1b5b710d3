//! What the screen shows: the contract with it. All text is untrusted.

use super::{change::Change, content::MessageContent, delta::SendState};
use crate::{
    e2ee::{Shield, UndecryptableReason},
    matrix::{EventId, OwnedTransactionId, UserId},
    time::Timestamp,
};

pub use super::walk::Items;

/// One item of a timeline, built when looked at.
///
/// Days are not items: where the local day of [`Item::ts`] differs from that of the item before,
/// the screen may draw a line (it knows the time zone).
#[derive(Clone, Debug, PartialEq)]
pub struct Item<'a> {
    /// Names it; stays as long as it is shown. (An echo that became an event changes its name.)
    pub id: ItemId,
    /// Grows whenever anything about it changes: what was laid out for `(id, version)` still holds.
    pub version: u64,
    /// When; zero for marks.
    pub ts: Timestamp,
    /// What.
    pub kind: ItemKind<'a>,
}

/// The name of an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemId {
    /// The beginning of the room.
    Start,
    /// The gap before this position.
    Gap(i64),
    /// The event at this position; of folded changes, the first.
    Event(i64),
    /// The line between what we have read and what not.
    Unread,
    /// A message of ours on its way.
    Echo(OwnedTransactionId),
}

/// What an item is.
#[expect(clippy::large_enum_variant, reason = "built when it is looked at and never kept")]
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind<'a> {
    /// Nothing was before this.
    Start,
    /// Events are missing here; [`ItemId::Gap`] has the position to load from.
    Gap,
    /// Below this nothing was read.
    UnreadMarker,
    /// A message.
    Message(Message<'a>),
    /// A message that was removed.
    Removed(Removed<'a>),
    /// A message that cannot be read.
    Unreadable(Unreadable<'a>),
    /// Changes of the room that follow each other; [`super::fold_changes`] tells them shorter.
    Changes(Vec<Change<'a>>),
}

/// A message, with the last valid edit in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// Its event; none while it is an echo that the server has not answered.
    pub event_id: Option<&'a EventId>,
    /// Who wrote it.
    pub sender: Option<&'a UserId>,
    /// Whether that is us.
    pub is_ours: bool,
    /// What it says.
    pub content: MessageContent<'a>,
    /// Whether it came encrypted.
    pub is_encrypted: bool,
    /// The worse mark of the message and its edit.
    pub shield: Shield,
    /// Who gave us its key with the history of the room.
    pub shared_by: Option<&'a UserId>,
    /// Whether an edit is shown.
    pub is_edited: bool,
    /// By key, the most used first.
    pub reactions: Vec<Reaction<'a>>,
    /// What it answers.
    pub reply: Option<Reply<'a>>,
    /// First event of the thread it is in.
    pub thread: Option<&'a EventId>,
    /// How many known events are in the thread that it began.
    pub thread_len: usize,
    /// Where it stands, or the edit of it that is on its way.
    pub send: Option<Sending<'a>>,
    /// Our removal of it that the server does not have: until it has, the message is what it was.
    pub removal: Option<Sending<'a>>,
}

/// Something of ours that is on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sending<'a> {
    /// Its transaction, for trying again or taking back.
    pub txn: &'a OwnedTransactionId,
    /// Where it stands.
    pub state: &'a SendState,
}

/// How often somebody reacted with one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaction<'a> {
    /// Usually an emoji; untrusted.
    pub key: &'a str,
    /// By how many users.
    pub count: usize,
    /// Our own event with it, to be redacted to take it back.
    pub ours: Option<&'a EventId>,
    /// Our own, while it is on its way.
    pub send: Option<Sending<'a>>,
}

/// What a message answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply<'a> {
    /// Which event.
    pub event_id: &'a EventId,
    /// What it says now.
    pub quote: Quote<'a>,
}

/// The event that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quote<'a> {
    /// Not known here (yet).
    Unknown,
    /// It was removed.
    Removed,
    /// It cannot be read.
    Unreadable {
        /// Who wrote it.
        sender: &'a UserId,
    },
    /// It says this, with edits.
    Message {
        /// Who wrote it.
        sender: &'a UserId,
        /// What it says.
        content: MessageContent<'a>,
    },
}

/// A message that was removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Removed<'a> {
    /// Its event.
    pub event_id: Option<&'a EventId>,
    /// Who wrote it.
    pub sender: Option<&'a UserId>,
    /// Who removed it, if known.
    pub by: Option<&'a UserId>,
    /// Why, if it was said.
    pub reason: Option<&'a str>,
}

/// A message that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unreadable<'a> {
    /// Its event.
    pub event_id: Option<&'a EventId>,
    /// Who sent it.
    pub sender: Option<&'a UserId>,
    /// The session it names.
    pub session_id: Option<&'a str>,
    /// Why.
    pub reason: &'a UndecryptableReason,
    /// Our removal of it that the server does not have.
    pub removal: Option<Sending<'a>>,
}
