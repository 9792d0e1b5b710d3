//! The records of the server: typed tables over one ordered map of bytes, and what reads them.
//!
//! A key is a tuple of texts and numbers, written so that the order of the bytes is the order of
//! the tuples, and the keys that begin with the same parts lie together.

use std::{collections::BTreeMap, marker::PhantomData};

use crate::matrix::{
    DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId,
    RoomId, TransactionId, UserId,
};

/// Everything to be written: a value, or `None` where the record goes.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A record as it lies in the file: its key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// What holds the records. Reads only; whoever calls the model writes what it answers.
pub trait Lookup {
    /// The value of one record.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken>;

    /// At most so many records of a range, in its order.
    ///
    /// # Errors
    /// When they cannot be read.
    fn scan(&self, range: &Range) -> Result<Vec<Record>, Broken>;
}

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first key that belongs to it.
    pub start: Vec<u8>,
    /// The first key after it.
    pub end: Vec<u8>,
    /// From which end.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
}

/// From which end a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest key first.
    Ascending,
    /// The largest key first.
    Descending,
}

/// The records cannot be read, or what was read is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("the server's records cannot be read: {0}")]
pub struct Broken(pub String);

/// One kind of record: the values are `V`, as JSON.
pub(super) struct Table<V> {
    tag: u8,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Table<V> {}

impl<V> Table<V> {
    /// `tag` names the table in the file; it is never used again for another.
    pub(super) const fn new(tag: u8) -> Self {
        Self { tag, value: PhantomData }
    }

    /// The bytes of a key, or of all that keys with these first parts have in common.
    #[expect(clippy::needless_pass_by_value, reason = "keys are small tuples, made for the call")]
    pub(super) fn key(self, parts: impl KeyParts) -> Vec<u8> {
        let mut key = vec![self.tag];
        parts.write(&mut key);
        key
    }
}

/// A part of a key.
pub(super) trait KeyPart {
    fn write(&self, key: &mut Vec<u8>);
}

impl KeyPart for str {
    /// Ends with two zeros; a zero inside is followed by 255.
    fn write(&self, key: &mut Vec<u8>) {
        for byte in self.bytes() {
            key.push(byte);
            if byte == 0 {
                key.push(u8::MAX);
            }
        }
        key.extend([0, 0]);
    }
}

impl KeyPart for u64 {
    fn write(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(&self.to_be_bytes());
    }
}

impl<P: KeyPart + ?Sized> KeyPart for &P {
    fn write(&self, key: &mut Vec<u8>) {
        (**self).write(key);
    }
}

macro_rules! text_parts {
    ($($name:ty),*) => {
        $(impl KeyPart for $name {
            fn write(&self, key: &mut Vec<u8>) {
                KeyPart::write(self.as_str(), key);
            }
        })*
    };
}
text_parts!(String, UserId, RoomId, EventId, DeviceId, TransactionId);
text_parts!(OwnedUserId, OwnedRoomId, OwnedEventId, OwnedDeviceId, OwnedTransactionId);

/// The parts of a key, in order.
pub(super) trait KeyParts {
    fn write(&self, key: &mut Vec<u8>);
}

macro_rules! tuples {
    ($(($($name:ident),*)),*) => {
        $(impl<$($name: KeyPart),*> KeyParts for ($($name,)*) {
            #[expect(non_snake_case, reason = "a value has the name of its type here")]
            fn write(&self, key: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.write(key);)*
            }
        })*
    };
}
tuples!((A), (A, B), (A, B, C), (A, B, C, D));

impl KeyParts for () {
    fn write(&self, _key: &mut Vec<u8>) {}
}

/// Reads the parts of a key that a scan found, in order.
#[derive(Clone, Debug)]
pub(super) struct KeyReader {
    key: Vec<u8>,
    at: usize,
}

impl KeyReader {
    /// At the first part.
    pub(super) fn new(key: Vec<u8>) -> Self {
        Self { key, at: 1 }
    }

    /// The next part, a text.
    pub(super) fn text(&mut self) -> Result<String, Broken> {
        let mut text = Vec::new();
        loop {
            let rest = self.key.get(self.at..).unwrap_or_default();
            match rest {
                [0, u8::MAX, ..] => {
                    text.push(0);
                    self.at += 2;
                }
                [0, ..] => {
                    self.at += 2;
                    return String::from_utf8(text).map_err(|error| Broken(error.to_string()));
                }
                [byte, ..] => {
                    text.push(*byte);
                    self.at += 1;
                }
                [] => return Err(Broken("a key ends within a text".to_owned())),
            }
        }
    }

    /// The next part, a number.
    pub(super) fn number(&mut self) -> Result<u64, Broken> {
        let rest = self.key.get(self.at..).unwrap_or_default();
        let (number, _) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| Broken("a key ends within a number".to_owned()))?;
        self.at += 8;
        Ok(u64::from_be_bytes(*number))
    }
}

/// The first key after all that begin with `prefix`.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing but 255s: no table has that tag.
    vec![u8::MAX; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_lie_in_the_order_of_their_parts(
            a in ("[\0a\u{ff}]{0,3}", any::<u64>(), "[\0a\u{ff}]{0,3}"),
            b in ("[\0a\u{ff}]{0,3}", any::<u64>(), "[\0a\u{ff}]{0,3}"),
        ) {
            let table = Table::<()>::new(1);
            let key = |parts: &(String, u64, String)| {
                table.key((parts.0.as_str(), parts.1, parts.2.as_str()))
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            let bytes = |parts: &(String, u64, String)| {
                (parts.0.as_bytes().to_vec(), parts.1, parts.2.as_bytes().to_vec())
            };
            prop_assert_eq!(key(&a).cmp(&key(&b)), bytes(&a).cmp(&bytes(&b)));
            let mut reader = KeyReader::new(key(&a));
            prop_assert_eq!(reader.text().unwrap(), a.0);
            prop_assert_eq!(reader.number().unwrap(), a.1);
            prop_assert_eq!(reader.text().unwrap(), a.2);
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after(&[1, 2]), [1, 3]);
        assert_eq!(after(&[1, 255]), [2]);
    }
}
