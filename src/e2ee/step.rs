//! One step of the session layer: reads that see the step's own writes, writes, requests, notices.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{
    error::MachineError,
    lookup::{Changes, Lookup, RecordKey, Table, Write},
    request::OutgoingRequest,
    types::Notice,
};
use crate::time::Timestamp;

type Overlay = BTreeMap<(Table, RecordKey), Option<Zeroizing<Vec<u8>>>>;

/// The work of one input: made by the caller, passed through every [`super::Machine`] call that
/// the input causes, taken apart once at the end.
pub struct Step<'a> {
    now: Timestamp,
    lookup: &'a dyn Lookup,
    overlay: Overlay,
    requests: Vec<OutgoingRequest>,
    notices: Vec<Notice>,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("now", &self.now)
            .field("writes", &self.overlay.len())
            .field("requests", &self.requests.len())
            .field("notices", &self.notices)
            .finish_non_exhaustive()
    }
}

impl<'a> Step<'a> {
    /// Begins a step at `now` over the committed records of `lookup`.
    pub fn new(lookup: &'a dyn Lookup, now: Timestamp) -> Self {
        Self { now, lookup, overlay: Overlay::new(), requests: Vec::new(), notices: Vec::new() }
    }

    /// The time of this step.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes what was told so far, so that the caller can act on it within the same step: events
    /// that waited for a key are decrypted in the commit that keeps the key.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Takes the requests queued so far; they may leave only after the step's commit.
    pub fn take_requests(&mut self) -> Vec<OutgoingRequest> {
        std::mem::take(&mut self.requests)
    }

    /// Ends the step: what to write, what to send after the write, what to tell.
    pub fn finish(self) -> (Changes, Vec<OutgoingRequest>, Vec<Notice>) {
        let writes = self
            .overlay
            .into_iter()
            .map(|((table, key), value)| Write { table, key, value })
            .collect();
        (Changes { writes }, self.requests, self.notices)
    }

    /// Reads a record as this step left it.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        table: Table,
        first: &str,
        second: &str,
    ) -> Result<Option<T>, MachineError> {
        let key = RecordKey(first.to_owned(), second.to_owned());
        let bytes = match self.overlay.get(&(table, key.clone())) {
            Some(value) => value.clone(),
            None => self.lookup.get(table, &key)?,
        };
        bytes.map(|bytes| decode(table, &bytes)).transpose()
    }

    /// Reads all records under `first` (the whole table for `None`) as this step left them; the
    /// keys come in order.
    pub(super) fn scan<T: DeserializeOwned>(
        &self,
        table: Table,
        first: Option<&str>,
    ) -> Result<Vec<(RecordKey, T)>, MachineError> {
        let mut found: BTreeMap<RecordKey, Zeroizing<Vec<u8>>> =
            self.lookup.scan(table, first)?.into_iter().collect();
        let from = (table, RecordKey(first.unwrap_or_default().to_owned(), String::new()));
        let inside = |(other, key): &(Table, RecordKey)| {
            *other == table && first.is_none_or(|first| first == key.0)
        };
        for ((_, key), value) in self.overlay.range(from..).take_while(|(key, _)| inside(key)) {
            match value {
                Some(value) => drop(found.insert(key.clone(), value.clone())),
                None => drop(found.remove(key)),
            }
        }
        found.into_iter().map(|(key, bytes)| Ok((key, decode(table, &bytes)?))).collect()
    }

    /// The keys of at most `limit` records that come after `after`, as this step left them, in
    /// order.
    pub(super) fn keys_after(
        &self,
        table: Table,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<RecordKey>, MachineError> {
        // Each change of this step hides at most one record below.
        let changed = self.changes_of(table).count();
        let below = self.lookup.keys_after(table, after, limit.saturating_add(changed))?;
        let mut keys: BTreeSet<RecordKey> = below.into_iter().collect();
        for (key, value) in self.changes_of(table) {
            if value.is_none() {
                keys.remove(key);
            } else if after.is_none_or(|after| after < key) {
                keys.insert(key.clone());
            }
        }
        Ok(keys.into_iter().take(limit).collect())
    }

    /// How many records a table has, as this step left it.
    pub(super) fn count(&self, table: Table) -> Result<u64, MachineError> {
        let mut count = self.lookup.count(table)?;
        for (key, value) in self.changes_of(table) {
            match (self.lookup.get(table, key)?.is_some(), value.is_some()) {
                (true, false) => count = count.saturating_sub(1),
                (false, true) => count += 1,
                (true, true) | (false, false) => {}
            }
        }
        Ok(count)
    }

    fn changes_of(
        &self,
        table: Table,
    ) -> impl Iterator<Item = (&RecordKey, &Option<Zeroizing<Vec<u8>>>)> {
        let from = (table, RecordKey(String::new(), String::new()));
        let changes = self.overlay.range(from..).take_while(move |((other, _), _)| *other == table);
        changes.map(|((_, key), value)| (key, value))
    }

    /// Writes a record.
    pub(super) fn put<T: Serialize>(
        &mut self,
        table: Table,
        first: &str,
        second: &str,
        value: &T,
    ) -> Result<(), MachineError> {
        let bytes = encode(table, value)?;
        self.overlay.insert(
            (table, RecordKey(first.to_owned(), second.to_owned())),
            Some(Zeroizing::new(bytes)),
        );
        Ok(())
    }

    /// Deletes a record.
    pub(super) fn delete(&mut self, table: Table, first: &str, second: &str) {
        self.overlay.insert((table, RecordKey(first.to_owned(), second.to_owned())), None);
    }

    /// Queues a request, to be sent after the commit.
    pub(super) fn send(&mut self, request: OutgoingRequest) {
        self.requests.push(request);
    }

    /// Tells the caller something.
    pub(super) fn tell(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

/// Room for most records and payloads: a text that grows leaves copies of its beginning, which may
/// be a secret, in memory that nobody wipes.
const USUAL_BYTES: usize = 1536;

/// Writes a value as JSON, to be stored or encrypted; `table` names it in the error.
pub(super) fn encode<T: Serialize>(table: Table, value: &T) -> Result<Vec<u8>, MachineError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut bytes, value)
        .map_err(|source| MachineError::Record { table: table.name(), source })?;
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Writes a value that goes out as JSON text.
pub(super) fn encode_text<T: Serialize>(table: Table, value: &T) -> Result<String, MachineError> {
    serde_json::to_string(value)
        .map_err(|source| MachineError::Record { table: table.name(), source })
}

/// Takes JSON text that we wrote for raw JSON.
pub(super) fn raw(table: Table, text: &str) -> Result<Box<RawValue>, MachineError> {
    serde_json::from_str(text)
        .map_err(|source| MachineError::Record { table: table.name(), source })
}

fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, MachineError> {
    serde_json::from_slice(bytes)
        .map_err(|source| MachineError::Record { table: table.name(), source })
}
