//! One room event, parsed leniently and kept whole.
//!
//! The rule: what the client acts on (type, ids, state key, content) must be well formed, or the
//! event does not exist; everything beside it (`unsigned`, the server's clock, an old-style
//! `redacts`) falls back to "not said". Whether an event fits its place in a sync answer is
//! [`super::sync`]'s business.
//!
//! # Spec
//! Client-Server API, "Room event format".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId};
use crate::time::Timestamp;

/// A room event: timeline, state, ephemeral (then without id and sender) or account data.
///
/// The envelope is typed, the content is the JSON object the server sent. For an encrypted event
/// that was decrypted, `kind` and `content` are the inner ones (see `e2ee`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Event {
    /// `type`, for instance `m.room.message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Absent on stripped state, ephemeral events and account data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<OwnedEventId>,
    /// Absent on ephemeral events and account data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<OwnedUserId>,
    /// Present exactly on state events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// The sending server's claim: an integer up to the end of the year 9999. Fractions are cut
    /// off, larger values count as the largest, anything else (absent, negative, a string) as 0.
    pub origin_server_ts: Timestamp,
    /// The content, an object; `{}` after a redaction.
    pub content: Map<String, Value>,
    /// The target of a redaction in room versions before 11 (later: `content.redacts`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacts: Option<OwnedEventId>,
    /// What the server added.
    pub unsigned: Unsigned,
}

/// The part of an event that our own server added; nothing in it is signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Unsigned {
    /// On events this device sent: the transaction id it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<OwnedTransactionId>,
    /// Our membership when the event was sent (`join`, `leave`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<String>,
    /// The content that a state event replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_content: Option<Map<String, Value>>,
    /// The redaction event, on a redacted event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted_because: Option<Value>,
}

/// Why a JSON value is no event.
#[derive(Debug, thiserror::Error)]
#[error("malformed event")]
pub struct EventError(#[from] serde_json::Error);

/// The field that keeps a JSON object from being an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event's `{0}` is missing or not what the specification says")]
pub struct BadField(&'static str);

/// Longest event type, state key and identifier, in bytes; the specification's limit.
const MAX_FIELD_BYTES: usize = 255;

/// 9999-12-31T23:59:59.999Z: later moments cannot be written as a date of four-digit years.
const LAST_MOMENT: u64 = 253_402_300_799_999;

impl Event {
    /// Reads one event.
    ///
    /// # Errors
    /// When the JSON is not an object with a string `type`, or an id in it is not one.
    pub fn parse(json: &str) -> Result<Self, EventError> {
        Ok(serde_json::from_str(json)?)
    }

    /// A state event that no server sent, from what its parts are known to be.
    pub fn state(kind: &str, state_key: &str, content: Map<String, Value>) -> Self {
        Self {
            kind: kind.to_owned(),
            event_id: None,
            sender: None,
            state_key: Some(state_key.to_owned()),
            origin_server_ts: Timestamp::default(),
            content,
            redacts: None,
            unsigned: Unsigned::default(),
        }
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

impl TryFrom<Map<String, Value>> for Event {
    type Error = BadField;

    fn try_from(mut json: Map<String, Value>) -> Result<Self, BadField> {
        let kind = bounded(&mut json, "type")?.ok_or(BadField("type"))?;
        let event_id = bounded(&mut json, "event_id")?.map(OwnedEventId::try_from).transpose();
        let sender = bounded(&mut json, "sender")?.map(OwnedUserId::try_from).transpose();
        let content = match json.remove("content") {
            Some(Value::Object(content)) => content,
            None => Map::new(),
            Some(_) => return Err(BadField("content")),
        };
        Ok(Self {
            kind,
            event_id: event_id.or(Err(BadField("event_id")))?,
            sender: sender.or(Err(BadField("sender")))?,
            state_key: bounded(&mut json, "state_key")?,
            origin_server_ts: moment(json.get("origin_server_ts")),
            content,
            redacts: json.get("redacts").and_then(event_id_of),
            unsigned: match json.remove("unsigned") {
                Some(Value::Object(unsigned)) => Unsigned::read(unsigned),
                _ => Unsigned::default(),
            },
        })
    }
}

impl Unsigned {
    fn read(mut json: Map<String, Value>) -> Self {
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) if text.len() <= MAX_FIELD_BYTES => Some(text),
            _ => None,
        };
        Self {
            transaction_id: text(json.remove("transaction_id")).map(OwnedTransactionId::from),
            membership: text(json.remove("membership")),
            prev_content: match json.remove("prev_content") {
                Some(Value::Object(content)) => Some(content),
                _ => None,
            },
            redacted_because: json.remove("redacted_because").filter(Value::is_object),
        }
    }
}

/// Takes a string of at most [`MAX_FIELD_BYTES`]; `null` counts as absent.
fn bounded(json: &mut Map<String, Value>, field: &'static str) -> Result<Option<String>, BadField> {
    match json.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_FIELD_BYTES => Ok(Some(text)),
        Some(_) => Err(BadField(field)),
    }
}

/// An event id of sane length, if the value is one. (Ids of newer rooms have no limit in ruma.)
fn event_id_of(value: &Value) -> Option<OwnedEventId> {
    let text = value.as_str().filter(|text| text.len() <= MAX_FIELD_BYTES)?;
    EventId::parse(text).ok()
}

fn moment(value: Option<&Value>) -> Timestamp {
    let millis = value.and_then(|value| {
        value.as_u64().or_else(|| {
            // A float casts saturating: negative and not-a-number become 0.
            #[expect(clippy::cast_possible_truncation, reason = "saturates, as documented")]
            #[expect(clippy::cast_sign_loss, reason = "saturates, as documented")]
            value.as_f64().map(|float| float as u64)
        })
    });
    Timestamp(millis.unwrap_or(0).min(LAST_MOMENT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(json: &Value) -> Option<Event> {
        Event::parse(&json.to_string()).ok()
    }

    #[test]
    fn odd_unsigned_and_redacts_do_not_lose_the_event() {
        for odd in [json!(null), json!(7), json!([]), json!({"transaction_id": 3, "age": "x"})] {
            let event = parse(&json!({
                "type": "m.room.message", "event_id": "$e", "sender": "@a:b", "unsigned": odd,
                "redacts": odd, "content": {"body": "hi"},
            }));
            assert_eq!(event.expect("an event").unsigned, Unsigned::default());
        }
    }

    #[test]
    fn what_is_acted_on_must_be_well_formed() {
        let good = json!({"type": "t", "event_id": "$e", "sender": "@a:b", "content": {}});
        assert!(parse(&good).is_some());
        for (field, bad) in [
            ("type", json!(1)),
            ("type", json!("t".repeat(256))),
            ("event_id", json!("e")),
            ("event_id", json!(format!("${}", "e".repeat(255)))),
            ("sender", json!("somebody")),
            ("sender", json!({})),
            ("state_key", json!(1)),
            ("content", json!([])),
            ("content", json!("text")),
        ] {
            let mut json = good.clone();
            json[field] = bad;
            assert_eq!(parse(&json), None, "{json}");
        }
        assert_eq!(parse(&json!({"content": {}})), None);
    }

    #[test]
    fn an_odd_time_is_brought_into_range() {
        for (odd, millis) in [
            (json!(12.9), 12),
            (json!(-5), 0),
            (json!("1234"), 0),
            (json!(null), 0),
            (json!(u64::MAX), LAST_MOMENT),
            (json!(1e300), LAST_MOMENT),
            (json!(1_700_000_000_000_u64), 1_700_000_000_000),
        ] {
            let event = parse(&json!({"type": "t", "origin_server_ts": odd})).expect("an event");
            assert_eq!(event.origin_server_ts, Timestamp(millis), "{odd}");
        }
    }

    #[test]
    fn deep_nesting_loses_the_event_not_the_program() {
        let content = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Event::parse(&format!(r#"{{"type":"t","content":{{"x":{content}}}}}"#)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            drop(Event::parse(&text));
        }

        #[test]
        fn what_is_written_is_read_again(
            kind in ".{0,40}", body in ".*", ts in any::<u64>(), key in proptest::option::of(".{0,9}"),
        ) {
            let event = parse(&json!({
                "type": kind, "event_id": "$e:x", "sender": "@a:b", "state_key": key,
                "origin_server_ts": ts, "content": {"body": body}, "redacts": "$other",
                "unsigned": {"transaction_id": "t", "prev_content": {"a": 1}, "membership": "join",
                    "redacted_because": {"type": "m.room.redaction"}},
            })).expect("an event");
            let again = serde_json::to_string(&event).expect("JSON");
            prop_assert_eq!(Event::parse(&again).expect("an event"), event);
        }
    }
}
