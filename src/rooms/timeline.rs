//! A room's timeline: deltas in any order fold to the same list of items.
//!
//! Contract for the store, the engine and the screen; the folding is this module's business.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    e2ee::{Decrypted, Shield, Undecryptable},
    matrix::{Event, OwnedEventId, OwnedTransactionId},
    time::Timestamp,
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

/// Where a message of ours stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendState {
    /// On disk, waiting for its turn or the link.
    Queued,
    /// Waiting for devices and keys of the recipients.
    WaitingForKeys,
    /// Given to the link.
    Sending,
    /// The server has it.
    Sent(OwnedEventId),
    /// It will not be sent unless the user tries again.
    Failed(SendError),
}

/// Why a message will not be sent; words for people, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendError {
    /// The Matrix error code or a name of ours.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A message of ours on its way: the local echo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Echo {
    /// Its transaction id.
    pub txn: OwnedTransactionId,
    /// Event type (`m.room.message`, `m.reaction`, …).
    pub kind: String,
    /// Clear content.
    pub content: Map<String, Value>,
    /// When it was typed.
    pub at: Timestamp,
    /// Where it stands.
    pub state: SendState,
}

/// A change to a room's timeline. Applying one twice is the same as once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "delta", content = "of", rename_all = "snake_case")]
pub enum TimelineDelta {
    /// These events exist, with these places and bodies; known ones are replaced.
    Events(Vec<StoredEvent>),
    /// Events are missing just before `position`; loading older history from there fills it.
    Gap {
        /// Place of the first event after the gap.
        position: i64,
    },
    /// The gap before `position` was filled.
    GapClosed {
        /// Place that the gap was announced with.
        position: i64,
    },
    /// Nothing exists before what was given.
    ReachedStart,
    /// A message of ours exists or its state changed.
    Echo(Echo),
    /// A message of ours was taken back before it was sent.
    EchoDiscarded(OwnedTransactionId),
}

/// The folded timeline of one room.
#[derive(Clone, Debug, Default)]
pub struct Timeline {}

impl Timeline {
    /// Takes a change.
    pub fn apply(&mut self, delta: TimelineDelta) {
        todo!("rooms {delta:?}")
    }
}
