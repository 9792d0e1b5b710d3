//! An event with its place and what it says, and what it asks of other events.
//!
//! Contract with the store and the engine.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    e2ee::{Decrypted, Shield, ShieldReason, Undecryptable},
    matrix::{Event, EventId, OwnedEventId, UserId},
};

/// An event with its place in the room and what became of its encryption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Place in the room: later events have larger positions, history loaded backwards has smaller
    /// ones. Unique within a room.
    pub position: i64,
    /// The event as the server sent it.
    pub event: Event,
    /// What it says.
    pub body: EventBody,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// It was not encrypted: its own type and content hold. In an encrypted room a message-like
    /// one carries [`Shield::Red`].
    Clear(Shield),
    /// It was decrypted: this type and content hold.
    Decrypted(Decrypted),
    /// It could not be.
    Undecryptable(Undecryptable),
}

impl StoredEvent {
    /// The type that holds: the inner one of a decrypted event.
    pub fn kind(&self) -> &str {
        match &self.body {
            EventBody::Decrypted(inner) => &inner.kind,
            EventBody::Clear(_) | EventBody::Undecryptable(_) => &self.event.kind,
        }
    }

    /// The content that holds.
    pub fn content(&self) -> &Map<String, Value> {
        match &self.body {
            EventBody::Decrypted(inner) => &inner.content,
            EventBody::Clear(_) | EventBody::Undecryptable(_) => &self.event.content,
        }
    }

    /// Its id; events without one never reach a timeline.
    pub fn id(&self) -> Option<&EventId> {
        self.event.event_id.as_deref()
    }

    /// Its sender, by the server's word; the shield says what that is worth.
    pub fn sender(&self) -> Option<&UserId> {
        self.event.sender.as_deref()
    }

    /// Whether it came encrypted, readable or not.
    pub fn was_encrypted(&self) -> bool {
        match &self.body {
            EventBody::Clear(_) => false,
            EventBody::Decrypted(_) | EventBody::Undecryptable(_) => true,
        }
    }

    /// The mark beside it.
    pub fn shield(&self) -> Shield {
        match &self.body {
            EventBody::Clear(shield) => *shield,
            EventBody::Decrypted(inner) => inner.shield,
            EventBody::Undecryptable(_) => Shield::None,
        }
    }

    /// Who gave us its key with the history of the room.
    pub fn shared_by(&self) -> Option<&UserId> {
        match &self.body {
            EventBody::Decrypted(inner) => inner.shared_by.as_deref(),
            EventBody::Clear(_) | EventBody::Undecryptable(_) => None,
        }
    }

    /// Whether it calls for a user's attention: `m.mentions` names the user. A message that came in
    /// clear although its room is encrypted never does, whatever it says, and neither does one
    /// whose sender is not who made the session.
    ///
    /// # Spec
    /// Client-Server API, "User and room mentions".
    pub fn mentions(&self, user: &UserId) -> bool {
        let injected = Shield::Red(ShieldReason::SentInClear);
        let trusted =
            ![injected, Shield::Red(ShieldReason::MismatchedSender)].contains(&self.shield());
        let users = self.content().get("m.mentions").and_then(|mentions| mentions.get("user_ids"));
        let mut users = users.and_then(Value::as_array).into_iter().flatten();
        let named = users.any(|named| named.as_str() == Some(user.as_str()));
        trusted && named && self.sender() != Some(user)
    }

    /// What it asks of another event. State events and unreadable ones ask nothing.
    pub fn relation(&self) -> Option<Relation<'_>> {
        match &self.body {
            EventBody::Undecryptable(_) => None,
            EventBody::Clear(_) | EventBody::Decrypted(_) if self.event.state_key.is_some() => None,
            EventBody::Clear(_) | EventBody::Decrypted(_) => relation(self.kind(), self.content()),
        }
    }

    /// What it redacts. Redactions are never encrypted: one that claims to be is none.
    pub fn redacts(&self) -> Option<&EventId> {
        let clear = matches!(self.body, EventBody::Clear(_)) && self.event.state_key.is_none();
        let redaction = clear && self.event.kind == "m.room.redaction";
        redaction.then(|| redacted(&self.event.content, self.event.redacts.as_ref())).flatten()
    }
}

/// What an event asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation<'a> {
    /// To stand in its place.
    Edit(&'a EventId),
    /// To hang below it.
    Reaction {
        /// Of which event.
        target: &'a EventId,
        /// Usually an emoji; untrusted.
        key: &'a str,
    },
    /// To be in its thread, perhaps as an answer to somebody in it.
    Thread {
        /// The first event of the thread.
        root: &'a EventId,
        /// What it answers.
        reply: Option<&'a EventId>,
    },
    /// To be an answer to it.
    Reply(&'a EventId),
}

/// Longest key of a reaction, in bytes; longer ones are no reactions.
const MAX_KEY_BYTES: usize = 256;

/// The relation in a content.
pub(super) fn relation<'a>(kind: &str, content: &'a Map<String, Value>) -> Option<Relation<'a>> {
    let relates = content.get("m.relates_to")?.as_object()?;
    let target = || event_id(relates.get("event_id"));
    let reply = || event_id(relates.get("m.in_reply_to")?.get("event_id"));
    match (kind, relates.get("rel_type").and_then(Value::as_str)) {
        ("m.reaction", Some("m.annotation")) => {
            let key = relates.get("key")?.as_str()?;
            let fits = !key.trim().is_empty() && key.len() <= MAX_KEY_BYTES;
            fits.then_some(Relation::Reaction { target: target()?, key })
        }
        (_, Some("m.replace")) => target().map(Relation::Edit),
        (_, Some("m.thread")) => {
            let falls_back = relates.get("is_falling_back").and_then(Value::as_bool) == Some(true);
            let reply = if falls_back { None } else { reply() };
            target().map(|root| Relation::Thread { root, reply })
        }
        _ => reply().map(Relation::Reply),
    }
}

/// The target of a redaction, where new and old room versions put it.
pub(super) fn redacted<'a>(
    content: &'a Map<String, Value>,
    outer: Option<&'a OwnedEventId>,
) -> Option<&'a EventId> {
    event_id(content.get("redacts")).or(outer.map(AsRef::as_ref))
}

fn event_id(value: Option<&Value>) -> Option<&EventId> {
    let text = value?.as_str().filter(|text| text.len() <= 255)?;
    <&EventId>::try_from(text).ok()
}

/// Whether `edit` may stand in the place of `original`, both of one room: same sender and type,
/// neither a state event, the original no edit itself, encrypted if the original was, by a session
/// of that sender.
///
/// # Spec
/// Client-Server API, "Validity of replacement events"; the last part is what MSC3925 and
/// CVE-2026-45057 taught.
pub fn is_valid_edit(original: &StoredEvent, edit: &StoredEvent) -> bool {
    let about = matches!(edit.relation(), Some(Relation::Edit(id)) if Some(id) == original.id());
    let of_an_edit = matches!(original.relation(), Some(Relation::Edit(_)));
    let unreadable = matches!(original.body, EventBody::Undecryptable(_));
    about
        && !of_an_edit
        && !unreadable
        && original.sender().is_some()
        && original.sender() == edit.sender()
        && original.kind() == edit.kind()
        && original.event.state_key.is_none()
        && (edit.was_encrypted() || !original.was_encrypted())
        && edit.shield() != Shield::Red(ShieldReason::MismatchedSender)
        && new_content(edit.content()).is_some()
}

/// The part of an edit that stands in the place of the original's content.
pub(super) fn new_content(content: &Map<String, Value>) -> Option<&Map<String, Value>> {
    content.get("m.new_content")?.as_object()
}
