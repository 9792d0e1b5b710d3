//! Stand-in for the rooms module's items until they land.
use crate::{matrix::*, rooms::*, time::Timestamp};
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ItemId {
    Event(OwnedEventId),
    Echo(OwnedTransactionId),
    Gap(i64),
    Start,
}
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub id: ItemId,
    pub version: u64,
    pub at: Timestamp,
    pub kind: ItemKind,
}
#[derive(Clone, Debug)]
pub(crate) enum ItemKind {
    Message(Message),
    Removed(OwnedUserId),
    Unreadable(OwnedUserId, Undecryptable),
    Gap { position: i64 },
    Changes(Vec<String>),
    Start,
}
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub sender: OwnedUserId,
    pub event_id: Option<OwnedEventId>,
    pub content: MessageContent,
    pub shield: Shield,
    pub state: Option<SendState>,
    pub edited: bool,
    pub reply: Option<Reply>,
    pub reactions: Vec<Reaction>,
}
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub event: OwnedEventId,
    pub quote: Option<(OwnedUserId, SafeText)>,
}
#[derive(Clone, Debug)]
pub(crate) struct Reaction {
    pub key: SafeText,
    pub count: usize,
    pub mine: bool,
}
#[derive(Clone, Debug)]
pub(crate) enum MessageContent {
    Text(SafeText),
    Notice(SafeText),
    Emote(SafeText),
}
