//! One room event, parsed leniently and kept whole.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::{OwnedEventId, OwnedTransactionId, OwnedUserId};
use crate::time::Timestamp;

/// A room event: timeline, state, ephemeral (then without id and sender) or account data.
///
/// The envelope is typed, the content is the JSON object the server sent. For an encrypted event
/// that was decrypted, `kind` and `content` are the inner ones (see `e2ee`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `type`, for instance `m.room.message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Absent on stripped state, ephemeral events and account data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<OwnedEventId>,
    /// Absent on ephemeral events and account data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<OwnedUserId>,
    /// Present exactly on state events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// The sending server's claim.
    #[serde(default)]
    pub origin_server_ts: Timestamp,
    /// The content, an object; `{}` after a redaction.
    #[serde(default)]
    pub content: Map<String, Value>,
    /// The target of a redaction in room versions before 11 (later: `content.redacts`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacts: Option<OwnedEventId>,
    /// What the server added.
    #[serde(default)]
    pub unsigned: Unsigned,
}

/// The part of an event that our own server added; nothing in it is signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsigned {
    /// On events this device sent: the transaction id it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<OwnedTransactionId>,
    /// Our membership when the event was sent (`join`, `leave`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<String>,
    /// The content that a state event replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_content: Option<Map<String, Value>>,
    /// The redaction event, on a redacted event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted_because: Option<Value>,
}

/// Why a JSON value is no event.
#[derive(Debug, thiserror::Error)]
#[error("malformed event")]
pub struct EventError(#[from] serde_json::Error);

impl Event {
    /// Reads one event.
    ///
    /// # Errors
    /// When the JSON is not an object with a string `type`, or an id in it is not one.
    pub fn parse(json: &str) -> Result<Self, EventError> {
        Ok(serde_json::from_str(json)?)
    }

    /// A string field of the content.
    pub fn content_str(&self, field: &str) -> Option<&str> {
        self.content.get(field).and_then(Value::as_str)
    }

    /// Whether this is the state event `kind` with this state key.
    pub fn is_state(&self, kind: &str, state_key: &str) -> bool {
        self.kind == kind && self.state_key.as_deref() == Some(state_key)
    }
}
