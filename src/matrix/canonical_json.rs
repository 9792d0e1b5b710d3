//! Canonical JSON over raw text, strict about what it reads.
//!
//! Two parsers that disagree about one text are an attack on signatures: what one checks, the
//! other acts on. So this reader refuses whatever readers treat differently: a key that occurs
//! twice, numbers that are not integers of 53 bits, `-0`, deep nesting, long texts. What it
//! accepts has exactly one canonical form.
//!
//! # Spec
//! Appendices, "Canonical JSON".

use std::{collections::BTreeMap, fmt};

use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

/// Longest text that is read, in bytes: far above any signed object or Olm plaintext, and little
/// enough to be parsed without a pause.
pub const MAX_CANONICAL_BYTES: usize = 1 << 20;

/// Deepest nesting that is read: signed objects have four levels, event contents a few more.
pub const MAX_CANONICAL_DEPTH: u32 = 64;

const MAX_INTEGER: i64 = (1 << 53) - 1;

/// An object whose keys are unique; ordered by code point, as the canonical form is.
pub type CanonicalObject = BTreeMap<String, CanonicalValue>;

/// A JSON value that has a canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanonicalValue {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// An integer between −(2⁵³−1) and 2⁵³−1.
    Integer(i64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<CanonicalValue>),
    /// An object.
    Object(CanonicalObject),
}

/// Why a text has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalJsonError {
    /// The text is longer than [`MAX_CANONICAL_BYTES`].
    #[error("{bytes} bytes of JSON, more than {MAX_CANONICAL_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not JSON, or JSON that readers understand differently.
    #[error("not strict JSON")]
    Strict(#[source] serde_json::Error),
    /// An object was needed.
    #[error("not a JSON object")]
    NotAnObject,
}

impl CanonicalValue {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// When the text is too long, too deep, or not strict JSON.
    pub fn parse(text: &str) -> Result<Self, CanonicalJsonError> {
        if text.len() > MAX_CANONICAL_BYTES {
            return Err(CanonicalJsonError::TooLong { bytes: text.len() });
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Strict { depth: 0 }
            .deserialize(&mut reader)
            .and_then(|value| reader.end().map(|()| value))
            .map_err(CanonicalJsonError::Strict)?;
        Ok(value)
    }

    /// Reads one JSON text that must be an object.
    ///
    /// # Errors
    /// As [`CanonicalValue::parse`], and when it is no object.
    pub fn parse_object(text: &str) -> Result<CanonicalObject, CanonicalJsonError> {
        match Self::parse(text)? {
            Self::Object(object) => Ok(object),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::String(_) | Self::Array(_) => {
                Err(CanonicalJsonError::NotAnObject)
            }
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Array(_) | Self::Object(_) => {
                None
            }
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::String(_) | Self::Object(_) => {
                None
            }
        }
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&CanonicalObject> {
        match self {
            Self::Object(object) => Some(object),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::String(_) | Self::Array(_) => {
                None
            }
        }
    }
}

impl From<&str> for CanonicalValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// The canonical form.
impl fmt::Display for CanonicalValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::String(text) => write_string(text, f),
            Self::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Self::Object(object) => write_object(object, f),
        }
    }
}

impl Serialize for CanonicalValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(object) => serializer.collect_map(object),
        }
    }
}

/// The canonical form of an object that is at hand by reference.
#[derive(Clone, Copy, Debug)]
pub struct CanonicalText<'a>(pub &'a CanonicalObject);

impl fmt::Display for CanonicalText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_object(self.0, f)
    }
}

fn write_object(object: &CanonicalObject, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("{")?;
    for (i, (key, value)) in object.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { "," })?;
        write_string(key, f)?;
        f.write_str(":")?;
        write!(f, "{value}")?;
    }
    f.write_str("}")
}

/// Escapes what must be escaped, in the shortest way, and nothing else.
fn write_string(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\u{8}' => f.write_str("\\b")?,
            '\t' => f.write_str("\\t")?,
            '\n' => f.write_str("\\n")?,
            '\u{c}' => f.write_str("\\f")?,
            '\r' => f.write_str("\\r")?,
            '\0'..='\u{1f}' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Reads a value at a depth.
#[derive(Clone, Copy)]
struct Strict {
    depth: u32,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_CANONICAL_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = CanonicalValue;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        reader: D,
    ) -> Result<CanonicalValue, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = CanonicalValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions, large numbers and repeated keys")
    }

    fn visit_unit<E>(self) -> Result<CanonicalValue, E> {
        Ok(CanonicalValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<CanonicalValue, E> {
        Ok(CanonicalValue::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<CanonicalValue, E> {
        if (-MAX_INTEGER..=MAX_INTEGER).contains(&value) {
            Ok(CanonicalValue::Integer(value))
        } else {
            Err(E::custom("an integer beyond 53 bits"))
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<CanonicalValue, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_str<E>(self, text: &str) -> Result<CanonicalValue, E> {
        Ok(CanonicalValue::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<CanonicalValue, E> {
        Ok(CanonicalValue::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<CanonicalValue, A::Error> {
        let inner = self.inner()?;
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            found.push(item);
        }
        Ok(CanonicalValue::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<CanonicalValue, A::Error> {
        let inner = self.inner()?;
        let mut object = CanonicalObject::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key that occurs twice"));
            }
        }
        Ok(CanonicalValue::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::CanonicalJsonValue;

    use super::*;

    fn canonical(text: &str) -> String {
        CanonicalValue::parse(text).unwrap().to_string()
    }

    #[test]
    fn the_examples_of_the_spec_come_out_as_written() {
        let examples = [
            ("{}", "{}"),
            (r#"{"one": 1, "two": "Two"}"#, r#"{"one":1,"two":"Two"}"#),
            (r#"{"b": "2", "a": "1"}"#, r#"{"a":"1","b":"2"}"#),
            (
                r#"{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}"#,
                r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
            ),
            (r#"{"a": "日本語"}"#, r#"{"a":"日本語"}"#),
            (r#"{"本": 2, "日": 1}"#, r#"{"日":1,"本":2}"#),
            (r#"{"a": "日"}"#, r#"{"a":"日"}"#),
            (r#"{"a": null}"#, r#"{"a":null}"#),
        ];
        for (text, expected) in examples {
            assert_eq!(canonical(text), expected);
        }
    }

    /// A-34.
    #[test]
    fn what_readers_treat_differently_is_refused() {
        let refused = [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "1.0",
            "1e3",
            "-0",
            "-0.0",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551615",
            "99999999999999999999999",
            r#""\ud800""#,
            r#""\udc00\ud800""#,
            "\"\u{1}\"",
            "{} {}",
            "{\"a\":1,}",
            "[1,]",
            "NaN",
            "",
        ];
        for text in refused {
            assert!(CanonicalValue::parse(text).is_err(), "{text}");
        }
        assert_eq!(canonical("-9007199254740991"), "-9007199254740991");
    }

    /// A-34. UTF-16 order would put the emoji first.
    #[test]
    fn keys_are_ordered_by_code_point() {
        assert_eq!(canonical("{\"\u{ffff}\":1,\"😀\":2}"), "{\"\u{ffff}\":1,\"😀\":2}");
        assert_eq!(canonical("{\"😀\":2,\"\u{ffff}\":1}"), "{\"\u{ffff}\":1,\"😀\":2}");
    }

    #[test]
    fn escapes_take_their_shortest_form() {
        assert_eq!(canonical(r#""\u0041\u000a\u001B\/\u007f\u00e9""#), "\"A\\n\\u001b/\u{7f}é\"");
    }

    #[test]
    fn nesting_and_length_have_limits() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(CanonicalValue::parse(&nest(64)).is_ok());
        assert!(CanonicalValue::parse(&nest(65)).is_err());
        assert!(CanonicalValue::parse(&nest(100_000)).is_err());
        let long = format!("\"{}\"", "x".repeat(MAX_CANONICAL_BYTES));
        assert!(matches!(CanonicalValue::parse(&long), Err(CanonicalJsonError::TooLong { .. })));
    }

    /// serde's own `Value` would read the member of this object as JSON.
    #[test]
    fn the_private_names_of_the_json_library_are_ordinary_keys() {
        let text = r#"{"$serde_json::private::RawValue":"[1]"}"#;
        assert_eq!(canonical(text), text);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-MAX_INTEGER..=MAX_INTEGER).prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A-34. What we accept, ruma accepts too and writes the same; what it refuses, we refuse.
        #[test]
        fn ruma_writes_the_same_form(json in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) }.unwrap();
            let ours = CanonicalValue::parse(&text).ok().map(|value| value.to_string());
            let theirs = serde_json::from_str::<CanonicalJsonValue>(&text).ok().map(|value| value.to_string());
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn the_canonical_form_is_a_fixed_point(json in any_json()) {
            if let Ok(value) = CanonicalValue::parse(&json.to_string()) {
                let text = value.to_string();
                prop_assert_eq!(CanonicalValue::parse(&text).unwrap(), value);
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            drop(CanonicalValue::parse(&text));
        }
    }
}
