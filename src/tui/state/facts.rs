//! What can be done with an item of the timeline.

use super::stub::*;
use crate::{
    matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId},
    rooms::SendState,
};

/// What an action needs to know of the item it acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Facts {
    /// The event on the server, once it is there.
    pub event: Option<OwnedEventId>,
    /// Who sent it.
    pub sender: Option<OwnedUserId>,
    /// The transaction of a message of ours that is not sent yet.
    pub unsent: Option<OwnedTransactionId>,
    /// Whether sending it failed.
    pub failed: bool,
    /// What it says, safe.
    pub text: Option<String>,
}

impl Facts {
    /// Those of `item`.
    pub(in crate::tui) fn of(item: &Item) -> Self {
        let mut facts = Self::default();
        match &item.id {
            ItemId::Event(id) => facts.event = Some(id.clone()),
            ItemId::Echo(txn) => facts.unsent = Some(txn.clone()),
            ItemId::Gap(_) | ItemId::Start => {}
        }
        match &item.kind {
            ItemKind::Message(message) => {
                facts.sender = Some(message.sender.clone());
                facts.failed = matches!(message.state, Some(SendState::Failed(_)));
                facts.text = Some(match &message.content {
                    MessageContent::Text(text)
                    | MessageContent::Notice(text)
                    | MessageContent::Emote(text) => text.as_str().to_owned(),
                });
            }
            ItemKind::Removed(sender) | ItemKind::Unreadable(sender, _) => {
                facts.sender = Some(sender.clone());
            }
            ItemKind::Gap { .. } | ItemKind::Changes(_) | ItemKind::Start => {}
        }
        facts
    }
}

/// Whether keys can act on it.
pub(super) fn is_selectable(item: &Item) -> bool {
    match item.kind {
        ItemKind::Message(_) | ItemKind::Unreadable(..) => true,
        ItemKind::Removed(_) | ItemKind::Gap { .. } | ItemKind::Changes(_) | ItemKind::Start => {
            false
        }
    }
}

/// Whether it is something said by somebody else.
pub(super) fn is_of_other(item: &Item, user_id: &str) -> bool {
    is_selectable(item) && Facts::of(item).sender.is_some_and(|sender| sender != user_id)
}

/// Its event, if it is one.
pub(super) fn event_id(item: &Item) -> Option<&OwnedEventId> {
    match &item.id {
        ItemId::Event(id) => Some(id),
        ItemId::Echo(_) | ItemId::Gap(_) | ItemId::Start => None,
    }
}

/// Whether it is this event.
pub(super) fn is_event(item: &Item, event: &EventId) -> bool {
    event_id(item).is_some_and(|id| id == event)
}

/// Event and text, if it is a message of ours that can be edited.
pub(in crate::tui) fn editable(item: &Item, user_id: &str) -> Option<(OwnedEventId, String)> {
    let facts = Facts::of(item);
    let is_own = facts.sender.is_some_and(|sender| sender == user_id);
    let event = facts.event.filter(|_| is_own)?;
    Some((event, facts.text?))
}
