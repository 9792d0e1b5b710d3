//! What is inside a Megolm message: `{"type", "content", "room_id"}`, written without copying the
//! content, read strictly.
//!
//! # Spec
//! End-to-End Encryption, `m.megolm.v1.aes-sha2`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Map, Value};

use crate::matrix::RoomId;

/// The relation of an event; stands in the clear, for the server to aggregate.
pub(in crate::e2ee) const RELATION: &str = "m.relates_to";

/// Deepest nesting that is read in a content.
const MAX_DEPTH: u8 = 64;

/// A payload to encrypt.
#[derive(Serialize)]
pub(in crate::e2ee) struct Outgoing<'a> {
    #[serde(rename = "type")]
    pub(in crate::e2ee) kind: &'a str,
    pub(in crate::e2ee) content: WithoutRelation<'a>,
    pub(in crate::e2ee) room_id: &'a RoomId,
}

/// A content, less its relation.
pub(in crate::e2ee) struct WithoutRelation<'a>(pub(in crate::e2ee) &'a Map<String, Value>);

impl Serialize for WithoutRelation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.0.iter().filter(|(key, _)| *key != RELATION) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A decrypted payload.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(rename = "type")]
    kind: String,
    content: Content,
    #[serde(borrow)]
    room_id: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    state_key: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Reads what was encrypted: its type and content. `None` when it is not a strict JSON object of
/// the right form, belongs to another room, or is of a kind that must not come this way.
pub(in crate::e2ee) fn read(
    plaintext: &[u8],
    room: &RoomId,
) -> Option<(String, Map<String, Value>)> {
    // serde would take the fields from an array too.
    if plaintext.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let incoming: Incoming<'_> = serde_json::from_slice(plaintext).ok()?;
    if incoming.room_id != room.as_str() || incoming.state_key || is_forbidden(&incoming.kind) {
        return None;
    }
    Some((incoming.kind, incoming.content.0))
}

/// Kinds that have no business inside a room message: another layer of encryption, key material
/// (to-device only), and redactions, which the server must see to enforce who may redact.
fn is_forbidden(kind: &str) -> bool {
    matches!(kind, "m.room.encrypted" | "m.forwarded_room_key" | "m.dummy" | "m.room.redaction")
        || kind.starts_with("m.room_key")
        || kind.starts_with("m.secret.")
}

/// A JSON object in which no key stands twice and nothing is nested too deep.
struct Content(Map<String, Value>);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(Strict(MAX_DEPTH))? {
            Value::Object(map) => Ok(Self(map)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(D::Error::custom("the content is not an object")),
        }
    }
}

/// Reads a value that may nest this much deeper.
#[derive(Clone, Copy)]
struct Strict(u8);

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.insert(key, entries.next_value_seed(deeper)?).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(extra: &str) -> Option<(String, Map<String, Value>)> {
        let room = RoomId::parse("!r:x").unwrap();
        let text = format!(r#"{{"room_id":"!r:x"{extra}}}"#);
        read(text.as_bytes(), &room)
    }

    #[test]
    fn a_message_is_read_whole() {
        let (kind, content) =
            inner(r#","type":"m.room.message","content":{"body":"a","l":[1,-2,0.5,null,true]}"#)
                .unwrap();
        assert_eq!(kind, "m.room.message");
        assert_eq!(Value::Object(content).to_string(), r#"{"body":"a","l":[1,-2,0.5,null,true]}"#);
    }

    #[test]
    fn text_with_escapes_is_unescaped() {
        let (_, content) = inner(r#","type":"m.x","content":{"\u0062ody":"\"\u00e9\n"}"#).unwrap();
        assert_eq!(content["body"], "\"é\n");
    }

    // T-60, A-5
    #[test]
    fn forbidden_kinds_are_refused() {
        for kind in [
            "m.room.encrypted",
            "m.room_key",
            "m.room_key.withheld",
            "m.room_key_request",
            "m.room_key_bundle",
            "m.forwarded_room_key",
            "m.secret.send",
            "m.secret.request",
            "m.dummy",
            "m.room.redaction",
        ] {
            assert!(inner(&format!(r#","type":"{kind}","content":{{}}"#)).is_none(), "{kind}");
        }
    }

    // T-60
    #[test]
    fn an_inner_state_key_is_refused_whatever_it_holds() {
        for key in ["\"\"", "null", "\"@a:x\"", "[]"] {
            let extra = format!(r#","type":"m.room.topic","content":{{}},"state_key":{key}"#);
            assert!(inner(&extra).is_none(), "{key}");
        }
    }

    #[test]
    fn sloppy_json_is_refused() {
        for extra in [
            "",
            r#","type":"m.x""#,
            r#","type":1,"content":{}"#,
            r#","type":"m.x","content":[]"#,
            r#","type":"m.x","content":null"#,
            r#","type":"m.x","content":{},"room_id":"!r:x""#,
            r#","type":"m.x","type":"m.y","content":{}"#,
            r#","type":"m.x","content":{"a":1,"a":2}"#,
            r#","type":"m.x","content":{"a":[{"b":1,"\u0062":2}]}"#,
        ] {
            assert!(inner(extra).is_none(), "{extra}");
        }
    }

    #[test]
    fn an_array_of_the_fields_is_no_payload() {
        let room = RoomId::parse("!r:x").unwrap();
        assert!(read(br#" ["m.room.message",{"body":"a"},"!r:x"]"#, &room).is_none());
        assert!(read(br#" {"type":"m.x","content":{},"room_id":"!r:x"}"#, &room).is_some());
    }

    #[test]
    fn deep_nesting_is_refused() {
        for (depth, fine) in [(10, true), (1_000, false), (100_000, false)] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let extra = format!(r#","type":"m.x","content":{{"a":{deep}}}"#);
            assert_eq!(inner(&extra).is_some(), fine, "{depth}");
        }
    }

    #[test]
    fn another_rooms_payload_is_refused() {
        let room = RoomId::parse("!other:x").unwrap();
        assert!(read(br#"{"room_id":"!r:x","type":"m.x","content":{}}"#, &room).is_none());
    }

    #[test]
    fn the_relation_stays_outside() {
        let room = RoomId::parse("!r:x").unwrap();
        let content: Map<_, _> =
            serde_json::from_str(r#"{"body":"a","m.relates_to":{"x":1},"z":2}"#).unwrap();
        let outgoing = Outgoing { kind: "m.x", content: WithoutRelation(&content), room_id: &room };
        assert_eq!(
            serde_json::to_string(&outgoing).unwrap(),
            r#"{"type":"m.x","content":{"body":"a","z":2},"room_id":"!r:x"}"#
        );
    }
}
