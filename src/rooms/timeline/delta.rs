//! What the engine tells about a timeline: the contract with it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::StoredEvent;
use crate::{
    matrix::{OwnedEventId, OwnedTransactionId},
    time::Timestamp,
};

/// Where a message of ours stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendState {
    /// On disk, waiting for its turn or the link.
    Queued,
    /// Waiting for devices and keys of the recipients.
    WaitingForKeys,
    /// Its file is on its way; the message follows.
    Uploading {
        /// Bytes that are through.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
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
    /// We have read up to this event (`m.fully_read`), on any of our devices.
    FullyRead(OwnedEventId),
    /// A message of ours exists or its state changed.
    Echo(Echo),
    /// A message of ours was taken back before it was sent.
    EchoDiscarded(OwnedTransactionId),
}
