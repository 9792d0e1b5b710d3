//! Messages of ours that the server has not confirmed, in the order they were typed: the store's
//! rows, and where each stands on this link.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use crate::{
    matrix::{EventId, OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId, TransactionId},
    rooms::{Echo, SendState, is_verification},
    store::{OutboxItem, OutboxRow, OutboxState, OutboxWrite, Store, UploadedFile},
};

use super::{Update, error::EngineError, files::is_to_upload, turn::Turn};

/// Code of a message that failed: somebody shows another identity than before.
pub(super) const IDENTITY_CHANGED: &str = "identity_changed";
/// The same of somebody who was verified.
pub(super) const NOT_VERIFIED_ANY_MORE: &str = "verification_violation";

/// How many of those that were sent are remembered.
const MAX_SENT: usize = 1000;

/// What a row does, beyond what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its turn has not come, or the link is down.
    Idle,
    /// Waits for members, devices or keys.
    WaitingForKeys,
    /// Its file is on its way; the rows after it need not wait.
    Uploading { done: u64, total: u64 },
    /// Its call is noted; `Requests` repeats it until it is answered.
    Asked,
}

/// A row and its phase.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) stored: OutboxRow,
    pub(super) phase: Phase,
}

impl Row {
    /// The local echo.
    pub(super) fn echo(&self) -> Echo {
        let (kind, content) = face_value(&self.stored.item);
        let state = match (&self.stored.state, self.phase) {
            (OutboxState::Failed(error), _) => SendState::Failed(error.clone()),
            (_, Phase::Idle) => SendState::Queued,
            (_, Phase::WaitingForKeys) => SendState::WaitingForKeys,
            (_, Phase::Uploading { done, total }) => SendState::Uploading { done, total },
            (_, Phase::Asked) => SendState::Sending,
        };
        Echo { txn: self.stored.txn.clone(), kind, content, at: self.stored.at, state }
    }

    /// Its content, if it belongs to a verification.
    pub(super) fn verification(&self) -> Option<&Map<String, Value>> {
        match &self.stored.item {
            OutboxItem::Event { kind, content } if is_verification(kind, content) => Some(content),
            OutboxItem::Event { .. } | OutboxItem::Redaction { .. } | OutboxItem::File(_) => None,
        }
    }

    fn is_failed(&self) -> bool {
        matches!(self.stored.state, OutboxState::Failed(_))
    }
}

/// Type and content as a face shows them.
fn face_value(item: &OutboxItem) -> (String, Map<String, Value>) {
    match item {
        OutboxItem::Event { kind, content } => (kind.clone(), content.clone()),
        OutboxItem::Redaction { event, reason } => {
            let mut content = Map::new();
            content.insert("redacts".to_owned(), json!(event));
            content.extend(reason.iter().map(|reason| ("reason".to_owned(), json!(reason))));
            ("m.room.redaction".to_owned(), content)
        }
        OutboxItem::File(file) => ("m.room.message".to_owned(), file.content.clone()),
    }
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By place.
    rows: BTreeMap<i64, Row>,
    places: BTreeMap<OwnedTransactionId, i64>,
    /// By room, those that have not failed.
    waiting: BTreeMap<OwnedRoomId, BTreeSet<i64>>,
    failed: usize,
    last: i64,
    /// What was sent lately, the oldest first: whoever asks may ask after its end.
    sent: VecDeque<(OwnedTransactionId, OwnedEventId)>,
    told: (usize, Vec<OwnedRoomId>),
}

impl Outbox {
    /// Reads what a former run left.
    pub(super) fn open(store: &Store) -> Result<Self, EngineError> {
        let mut outbox = Self::default();
        for stored in store.outbox()? {
            outbox.insert(Row { stored, phase: Phase::Idle });
        }
        Ok(outbox)
    }

    /// Rooms with rows that wait.
    pub(super) fn rooms(&self) -> Vec<OwnedRoomId> {
        self.waiting.keys().cloned().collect()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.rows.len().saturating_sub(self.failed)
    }

    /// All that belong to verifications.
    pub(super) fn verifications(&self) -> Vec<OwnedTransactionId> {
        let rows = self.rows.values().filter(|row| row.verification().is_some());
        rows.map(|row| row.stored.txn.clone()).collect()
    }

    /// All messages of a room.
    pub(super) fn of_room(&self, room: &RoomId) -> Vec<OwnedTransactionId> {
        let rows = self.rows.values().filter(|row| row.stored.room == room);
        rows.map(|row| row.stored.txn.clone()).collect()
    }

    /// Takes a new row; `None` when its transaction id is known.
    pub(super) fn add(&mut self, mut stored: OutboxRow, turn: &mut Turn<'_>) -> Option<Echo> {
        if self.places.contains_key(&stored.txn) {
            return None;
        }
        stored.seq = self.last + 1;
        turn.writes.outbox.push(OutboxWrite::Add(stored.clone()));
        let row = Row { stored, phase: Phase::Idle };
        let echo = row.echo();
        self.insert(row);
        Some(echo)
    }

    fn insert(&mut self, row: Row) {
        let place = row.stored.seq;
        self.last = self.last.max(place);
        self.places.insert(row.stored.txn.clone(), place);
        if row.is_failed() {
            self.failed += 1;
        } else {
            self.waiting.entry(row.stored.room.clone()).or_default().insert(place);
        }
        self.rows.insert(place, row);
    }

    fn take(&mut self, place: i64) -> Option<Row> {
        let row = self.rows.remove(&place)?;
        self.places.remove(&row.stored.txn);
        if row.is_failed() {
            self.failed = self.failed.saturating_sub(1);
        } else if let Some(waiting) = self.waiting.get_mut(&row.stored.room) {
            waiting.remove(&place);
            if waiting.is_empty() {
                self.waiting.remove(&row.stored.room);
            }
        }
        Some(row)
    }

    pub(super) fn get(&self, txn: &TransactionId) -> Option<&Row> {
        self.rows.get(self.places.get(txn)?)
    }

    fn get_mut(&mut self, txn: &TransactionId) -> Option<&mut Row> {
        self.rows.get_mut(self.places.get(txn)?)
    }

    /// The row whose turn it is in a room: the first that has not failed and whose file, if it has
    /// one, is there; unless it is under way.
    pub(super) fn head(&self, room: &RoomId) -> Option<&Row> {
        let mut waiting = self.waiting.get(room)?.iter().filter_map(|place| self.rows.get(place));
        let head = waiting.find(|row| !is_to_upload(&row.stored));
        head.filter(|row| row.phase != Phase::Asked)
    }

    /// The rows of a room whose files are to be uploaded.
    pub(super) fn to_upload(&self, room: &RoomId) -> Vec<OutboxRow> {
        let waiting = self.waiting.get(room).into_iter().flatten();
        let rows = waiting.filter_map(|place| self.rows.get(place));
        rows.filter(|row| is_to_upload(&row.stored)).map(|row| row.stored.clone()).collect()
    }

    /// Writes where the file of a row lies.
    pub(super) fn set_uploaded(
        &mut self,
        txn: &TransactionId,
        uploaded: Option<UploadedFile>,
        turn: &mut Turn<'_>,
    ) {
        let Some(row) = self.get_mut(txn) else { return };
        let OutboxItem::File(file) = &mut row.stored.item else { return };
        file.uploaded = uploaded;
        let item = row.stored.item.clone();
        turn.writes.outbox.push(OutboxWrite::Item { txn: txn.to_owned(), item });
    }

    /// Writes a row's state.
    pub(super) fn set_state(
        &mut self,
        txn: &TransactionId,
        state: OutboxState,
        turn: &mut Turn<'_>,
    ) {
        let taken = self.places.get(txn).copied().and_then(|place| self.take(place));
        if let Some(mut row) = taken {
            row.stored.state = state.clone();
            row.phase = Phase::Idle;
            self.insert(row);
            turn.writes.outbox.push(OutboxWrite::State { txn: txn.to_owned(), state });
        }
    }

    /// Notes what a row does; gives its echo if that is new.
    pub(super) fn set_phase(&mut self, txn: &TransactionId, phase: Phase) -> Option<Echo> {
        let row = self.get_mut(txn)?;
        let changed = row.phase != phase;
        row.phase = phase;
        changed.then(|| row.echo())
    }

    /// Takes a row out: it was sent or taken back.
    pub(super) fn remove(&mut self, txn: &TransactionId, turn: &mut Turn<'_>) -> Option<Row> {
        let row = self.take(*self.places.get(txn)?)?;
        turn.writes.outbox.push(OutboxWrite::Remove { txn: txn.to_owned() });
        Some(row)
    }

    /// Takes out a row that was sent.
    pub(super) fn sent(
        &mut self,
        txn: &TransactionId,
        event: &EventId,
        turn: &mut Turn<'_>,
    ) -> Option<Row> {
        let row = self.remove(txn, turn)?;
        self.sent.push_back((txn.to_owned(), event.to_owned()));
        if MAX_SENT < self.sent.len() {
            self.sent.pop_front();
        }
        Some(row)
    }

    /// The event that a message became which was sent lately.
    pub(super) fn sent_lately(&self, txn: &TransactionId) -> Option<&EventId> {
        let found = self.sent.iter().rev().find(|(sent, _)| sent == txn);
        found.map(|(_, event)| &**event)
    }

    /// The link is gone: what was under way or waited is merely queued to the eye. The calls stay
    /// noted, so the rows stay [`Phase::Asked`]. Gives the rows to show as queued.
    pub(super) fn on_lost(&self) -> Vec<(OwnedRoomId, Echo)> {
        let moves = |row: &&Row| matches!(row.phase, Phase::Asked | Phase::Uploading { .. });
        let moving = self.rows.values().filter(moves);
        moving.map(|row| (row.stored.room.clone(), row.echo())).collect()
    }

    /// Messages of a room under way in clear.
    pub(super) fn in_clear(&self, room: &RoomId) -> Vec<OwnedTransactionId> {
        let rows = self.rows.values().filter(|row| {
            row.stored.room == room
                && row.phase == Phase::Asked
                && row.stored.state == OutboxState::Queued
        });
        rows.map(|row| row.stored.txn.clone()).collect()
    }

    /// The echoes of a room, in order.
    pub(super) fn echoes(&self, room: &RoomId) -> Vec<Echo> {
        let rows = self.rows.values().filter(|row| row.stored.room == room);
        rows.map(Row::echo).collect()
    }

    /// How many wait, how many failed, and where.
    pub(super) fn counts(&self) -> Update {
        let waiting = self.rows.len().saturating_sub(self.failed);
        Update::Outbox { waiting, failed: self.failed, failed_in: self.failed_in() }
    }

    /// Messages that failed because somebody in their room shows another identity than before.
    pub(super) fn kept_back(&self) -> Vec<(OwnedRoomId, OwnedTransactionId)> {
        let is_kept = |row: &&Row| match &row.stored.state {
            OutboxState::Failed(error) => {
                [IDENTITY_CHANGED, NOT_VERIFIED_ANY_MORE].contains(&error.code.as_str())
            }
            OutboxState::Queued | OutboxState::Encrypted(_) => false,
        };
        let kept = self.rows.values().filter(is_kept);
        kept.map(|row| (row.stored.room.clone(), row.stored.txn.clone())).collect()
    }

    /// The room of each that failed.
    fn failed_in(&self) -> Vec<OwnedRoomId> {
        if self.failed == 0 {
            return Vec::new();
        }
        let failed = |row: &&Row| matches!(row.stored.state, OutboxState::Failed(_));
        self.rows.values().filter(failed).map(|row| row.stored.room.clone()).collect()
    }

    /// Tells the faces the counts when they changed.
    pub(super) fn tell_counts(&mut self, turn: &mut Turn<'_>) {
        let counts = (self.rows.len().saturating_sub(self.failed), self.failed_in());
        if self.told != counts {
            self.told = counts;
            turn.tell_all(self.counts());
        }
    }
}
