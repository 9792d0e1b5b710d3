//! The work that one call causes: reads that see its own writes, gathered changes, and who is to
//! be woken. A call that is refused leaves nothing of it.

#![expect(clippy::needless_pass_by_value, reason = "keys are small tuples, made for the call")]

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    records::{Change, DEVICE_LOG, DEVICE_PLACES, POSITION, STREAM},
    settings::Settings,
    table::{
        Broken, Changes, KeyPart, KeyParts, KeyReader, Lookup, Order, Range, Record, Table, after,
    },
    volatile::Volatile,
};
use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
    time::Timestamp,
};

/// Entries of the stream that are kept. Who was away for longer has all of their rooms looked at,
/// as after far fewer entries.
const MAX_STREAM: u64 = 100_000;

/// Records below, changes above: what both together hold.
pub(crate) struct Overlay<'a> {
    below: &'a dyn Lookup,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    pub(crate) fn new(below: &'a dyn Lookup) -> Self {
        Self { below, changes: Changes::new() }
    }

    /// Takes changes on top of those it has.
    pub(crate) fn extend(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }

    /// All changes.
    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }
}

impl Lookup for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, range: &Range) -> Result<Vec<Record>, Broken> {
        if range.end <= range.start {
            return Ok(Vec::new());
        }
        let own = || self.changes.range(range.start.clone()..range.end.clone());
        // Each change hides at most one record below.
        let changed = own().count();
        let limit = range.limit.saturating_add(changed);
        let below = self.below.scan(&Range { limit, ..range.clone() })?;
        if changed == 0 {
            return Ok(below);
        }
        let mut all: Vec<Record> =
            below.into_iter().filter(|(key, _)| !self.changes.contains_key(key)).collect();
        all.extend(own().filter_map(|(key, value)| Some((key.clone(), value.clone()?))));
        all.sort_unstable();
        if range.order == Order::Descending {
            all.reverse();
        }
        all.truncate(range.limit);
        Ok(all)
    }
}

/// One call's work.
pub(super) struct Step<'a> {
    records: Overlay<'a>,
    woken: BTreeSet<OwnedUserId>,
    touched: Touched,
    has_published: bool,
    /// What is not on the disk: who types, who is there, how often who asked.
    pub(super) volatile: &'a mut Volatile,
    /// How this server is set up.
    pub(super) settings: &'a Settings,
    /// The moment of the call.
    pub(super) now: Timestamp,
    random: &'a mut dyn FnMut(&mut [u8]),
}

/// What a step changed of what follows from the records and is kept ready. Should its changes not
/// be written, that is to be forgotten.
#[derive(Debug, Default)]
struct Touched {
    rooms: BTreeSet<OwnedRoomId>,
    users: BTreeSet<OwnedUserId>,
}

/// What a step is made of.
pub(super) struct Parts<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) volatile: &'a mut Volatile,
    pub(super) settings: &'a Settings,
    pub(super) now: Timestamp,
    pub(super) random: &'a mut dyn FnMut(&mut [u8]),
}

impl<'a> Step<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        parts.volatile.serials.advance(parts.now);
        Self {
            records: Overlay::new(parts.lookup),
            woken: BTreeSet::new(),
            touched: Touched::default(),
            has_published: false,
            volatile: parts.volatile,
            settings: parts.settings,
            now: parts.now,
            random: parts.random,
        }
    }

    /// What it changed and whom it wakes.
    pub(super) fn finish(self) -> (Changes, BTreeSet<OwnedUserId>) {
        (self.records.into_changes(), self.woken)
    }

    /// It was refused: nothing of it is written, and nothing of it may be kept ready.
    pub(super) fn give_up(self) {
        for room in &self.touched.rooms {
            self.volatile.rooms.forget(room);
        }
        for user in &self.touched.users {
            self.volatile.personal.forget(user);
        }
    }

    /// To be called once members or power levels of a room changed.
    pub(super) fn forget_room(&mut self, room: &RoomId) {
        self.volatile.rooms.forget(room);
        self.touched.rooms.insert(room.to_owned());
    }

    /// To be called once account data of somebody changed.
    pub(super) fn forget_user(&mut self, user: &UserId) {
        self.volatile.personal.forget(user);
        self.touched.users.insert(user.to_owned());
    }

    /// Whether it gave a number of the stream, which another will get should it be refused.
    pub(super) fn has_published(&self) -> bool {
        self.has_published
    }

    /// The polls of this user are to look again.
    pub(super) fn wake(&mut self, user: OwnedUserId) {
        self.woken.insert(user);
    }

    /// A random name of `length` letters and digits; 22 of them cannot be guessed.
    pub(super) fn random_name(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = vec![0; length];
        (self.random)(&mut bytes);
        let letter = |byte: u8| LETTERS.get(usize::from(byte % 32)).copied().unwrap_or(b'a');
        bytes.into_iter().map(|byte| char::from(letter(byte))).collect()
    }
}

// The stream.
impl Step<'_> {
    /// The last number given.
    pub(super) fn position(&self) -> Result<u64, Broken> {
        Ok(self.get(POSITION, ())?.unwrap_or(0))
    }

    /// Gives the next number of the stream to what happened.
    pub(super) fn publish(&mut self, change: &Change) -> Result<u64, Broken> {
        let number = self.position()? + 1;
        self.has_published = true;
        self.put(POSITION, (), &number)?;
        self.put(STREAM, (number,), change)?;
        if let Some(old) = number.checked_sub(MAX_STREAM) {
            self.delete(STREAM, (old,));
        }
        match change {
            Change::Devices { user } => {
                if let Some(before) = self.get(DEVICE_PLACES, (&**user,))? {
                    self.delete(DEVICE_LOG, (before,));
                }
                self.put(DEVICE_PLACES, (&**user,), &number)?;
                self.put(DEVICE_LOG, (number,), user)?;
            }
            Change::AccountData { user, .. } => self.forget_user(user),
            Change::Event { .. }
            | Change::Receipt { .. }
            | Change::Signed { .. }
            | Change::ToDevice { .. } => {}
        }
        Ok(number)
    }
}

// Records.
impl Step<'_> {
    /// One record.
    pub(super) fn get<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        key: impl KeyParts,
    ) -> Result<Option<V>, Broken> {
        self.records.get(&table.key(key))?.map(|value| read(&value)).transpose()
    }

    /// Writes a record, in place of one that may be there.
    pub(super) fn put<V: Serialize>(
        &mut self,
        table: Table<V>,
        key: impl KeyParts,
        value: &V,
    ) -> Result<(), Broken> {
        let value = serde_json::to_vec(value).map_err(|error| Broken(error.to_string()))?;
        self.records.changes.insert(table.key(key), Some(value));
        Ok(())
    }

    /// One record of bytes, as they are.
    pub(super) fn get_bytes(
        &self,
        table: Table<Vec<u8>>,
        key: impl KeyParts,
    ) -> Result<Option<Vec<u8>>, Broken> {
        self.records.get(&table.key(key))
    }

    /// Writes bytes as they are.
    pub(super) fn put_bytes(&mut self, table: Table<Vec<u8>>, key: impl KeyParts, value: Vec<u8>) {
        self.records.changes.insert(table.key(key), Some(value));
    }

    /// Takes a record away, if it is there.
    pub(super) fn delete<V>(&mut self, table: Table<V>, key: impl KeyParts) {
        self.records.changes.insert(table.key(key), None);
    }

    /// Takes all records away whose keys begin with these parts.
    pub(super) fn clear<V>(
        &mut self,
        table: Table<V>,
        prefix: impl KeyParts,
    ) -> Result<(), Broken> {
        let start = table.key(prefix);
        let end = after(&start);
        let range = Range { start, end, order: Order::Ascending, limit: usize::MAX };
        for (key, _) in self.records.scan(&range)? {
            self.records.changes.insert(key, None);
        }
        Ok(())
    }

    /// All records whose keys begin with these parts. Only for sets that have a limit elsewhere.
    pub(super) fn scan<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        prefix: impl KeyParts,
    ) -> Result<Vec<(KeyReader, V)>, Broken> {
        let start = table.key(prefix);
        let end = after(&start);
        self.read_range(&Range { start, end, order: Order::Ascending, limit: usize::MAX })
    }

    /// At most `limit` records whose keys begin with these parts, those after `from` (or from the
    /// first one on), ordered by the part that follows the prefix.
    pub(super) fn scan_after<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        prefix: impl KeyParts,
        from: Option<&dyn KeyPart>,
        limit: usize,
    ) -> Result<Vec<(KeyReader, V)>, Broken> {
        let whole = table.key(prefix);
        let end = after(&whole);
        let start = from.map_or_else(
            || whole.clone(),
            |part| {
                let mut key = whole.clone();
                part.write(&mut key);
                after(&key)
            },
        );
        self.read_range(&Range { start, end, order: Order::Ascending, limit })
    }

    /// The records whose keys begin with these parts and go on with one that comes before `to`.
    pub(super) fn scan_before<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        prefix: impl KeyParts,
        to: &dyn KeyPart,
    ) -> Result<Vec<(KeyReader, V)>, Broken> {
        let start = table.key(prefix);
        let mut end = start.clone();
        to.write(&mut end);
        self.read_range(&Range { start, end, order: Order::Ascending, limit: usize::MAX })
    }

    /// Records whose keys are these parts and then a number within `span`.
    pub(super) fn scan_numbers<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        prefix: impl KeyParts,
        span: &Span,
    ) -> Result<Vec<(KeyReader, V)>, Broken> {
        let whole = table.key(prefix);
        let bound = |number: u64| {
            let mut key = whole.clone();
            number.write(&mut key);
            key
        };
        let start = bound(span.after.saturating_add(1));
        let end = span.up_to.checked_add(1).map_or_else(|| after(&whole), bound);
        self.read_range(&Range { start, end, order: span.order, limit: span.limit })
    }

    fn read_range<V: DeserializeOwned>(
        &self,
        range: &Range,
    ) -> Result<Vec<(KeyReader, V)>, Broken> {
        let records = self.records.scan(range)?;
        records.into_iter().map(|(key, value)| Ok((KeyReader::new(key), read(&value)?))).collect()
    }
}

/// A stretch of numbers, for [`Step::scan_numbers`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The first number is the one after it.
    pub(super) after: u64,
    /// The last number.
    pub(super) up_to: u64,
    /// From which end.
    pub(super) order: Order,
    /// At most so many.
    pub(super) limit: usize,
}

fn read<V: DeserializeOwned>(value: &[u8]) -> Result<V, Broken> {
    serde_json::from_slice(value).map_err(|error| Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::model::testing::Records;

    #[test]
    fn a_scan_sees_what_was_changed_a_moment_ago_whatever_its_limit() {
        let key = |byte: u8| vec![byte];
        let records = Records([(key(1), key(10)), (key(2), key(20))].into());
        let mut overlay = Overlay::new(&records);
        overlay.extend([(key(1), None), (key(3), Some(key(30)))].into());
        for limit in [2, 100, usize::MAX] {
            let range = Range { start: key(0), end: key(9), order: Order::Ascending, limit };
            let seen = overlay.scan(&range).unwrap();
            assert_eq!(seen, [(key(2), key(20)), (key(3), key(30))], "limit {limit}");
        }
    }
}
