//! An event with its place and what it says, and what it asks of other events.
//!
//! Contract with the store and the engine.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    e2ee::{Decrypted, Shield, Undecryptable},
    matrix::Event,
};

/// An event with its place in the room and what became of its encryption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Place in the room: later events have larger positions; history loaded backwards has
    /// negative ones. Unique within a room.
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
}
