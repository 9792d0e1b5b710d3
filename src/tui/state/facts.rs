//! What can be done with an item of the timeline.

use crate::{
    matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId, SafeText, UserId},
    rooms::{Item, ItemKind, MessageContent, SendState, Sending},
};

/// What an action needs to know of the item it acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Facts {
    /// The event on the server, once it is there.
    pub event: Option<OwnedEventId>,
    /// Who sent it.
    pub sender: Option<OwnedUserId>,
    /// The transaction of something of ours that is not sent yet.
    pub unsent: Option<OwnedTransactionId>,
    /// Whether sending that failed.
    pub failed: bool,
    /// What it says, safe.
    pub text: Option<String>,
    /// The name of its file, untrusted.
    pub file: Option<String>,
    /// What of it can be edited, safe: only text of ours.
    pub editable: Option<String>,
}

impl Facts {
    /// Those of `item`.
    pub(in crate::tui) fn of(item: &Item<'_>) -> Self {
        match &item.kind {
            ItemKind::Message(message) => {
                let text = SafeText::block(message.content.text()).into_string();
                let editable = match message.content {
                    MessageContent::Text(_) if message.is_ours => Some(text.clone()),
                    MessageContent::Text(_)
                    | MessageContent::Notice(_)
                    | MessageContent::Emote(_)
                    | MessageContent::File(_)
                    | MessageContent::Location { .. }
                    | MessageContent::Poll(_)
                    | MessageContent::Unknown { .. } => None,
                };
                let file = match message.content {
                    MessageContent::File(file) => Some(file.name.to_owned()),
                    MessageContent::Text(_)
                    | MessageContent::Notice(_)
                    | MessageContent::Emote(_)
                    | MessageContent::Location { .. }
                    | MessageContent::Poll(_)
                    | MessageContent::Unknown { .. } => None,
                };
                let facts = Self { text: Some(text), file, editable, ..Self::default() };
                let sending = message.removal.or(message.send);
                facts.on(message.event_id, message.sender).with(sending)
            }
            ItemKind::Removed(removed) => Self::default().on(removed.event_id, removed.sender),
            ItemKind::Unreadable(unreadable) => {
                Self::default().on(unreadable.event_id, unreadable.sender).with(unreadable.removal)
            }
            ItemKind::Changes(changes) => {
                Self::default().on(changes.last().and_then(|change| change.event_id), None)
            }
            ItemKind::Start | ItemKind::Gap | ItemKind::UnreadMarker => Self::default(),
        }
    }

    fn on(mut self, event: Option<&EventId>, sender: Option<&UserId>) -> Self {
        self.event = event.map(ToOwned::to_owned);
        self.sender = sender.map(ToOwned::to_owned);
        self
    }

    fn with(mut self, sending: Option<Sending<'_>>) -> Self {
        if let Some(Sending { txn, state }) = sending {
            self.failed = matches!(state, SendState::Failed(_));
            self.unsent = (!matches!(state, SendState::Sent(_))).then(|| txn.clone());
        }
        self
    }
}

/// Whether keys can act on it.
pub(super) fn is_selectable(item: &Item<'_>) -> bool {
    match &item.kind {
        ItemKind::Message(_) | ItemKind::Unreadable(_) => true,
        ItemKind::Removed(_)
        | ItemKind::Gap
        | ItemKind::Changes(_)
        | ItemKind::Start
        | ItemKind::UnreadMarker => false,
    }
}
