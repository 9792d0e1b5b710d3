//! Messages of ours that the server has not confirmed, in the order they were typed: the store's
//! rows, and where each stands on this link.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    matrix::{OwnedRoomId, OwnedTransactionId, RoomId, TransactionId},
    rooms::{Echo, SendState},
    store::{OutboxItem, OutboxRow, OutboxState, OutboxWrite, Store},
};

use super::{Update, error::EngineError, turn::Turn};

/// What a row does, beyond what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its turn has not come, or the link is down.
    Idle,
    /// Waits for members, devices or keys.
    WaitingForKeys,
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
            (_, Phase::Asked) => SendState::Sending,
        };
        Echo { txn: self.stored.txn.clone(), kind, content, at: self.stored.at, state }
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
    }
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By place.
    rows: BTreeMap<i64, Row>,
    places: BTreeMap<OwnedTransactionId, i64>,
    last: i64,
    told: (usize, usize),
}

impl Outbox {
    /// Reads what a former run left.
    pub(super) fn open(store: &Store) -> Result<Self, EngineError> {
        let mut outbox = Self::default();
        for stored in store.outbox()? {
            outbox.last = outbox.last.max(stored.seq);
            outbox.places.insert(stored.txn.clone(), stored.seq);
            outbox.rows.insert(stored.seq, Row { stored, phase: Phase::Idle });
        }
        Ok(outbox)
    }

    /// Rooms with rows.
    pub(super) fn rooms(&self) -> BTreeSet<OwnedRoomId> {
        self.rows.values().map(|row| row.stored.room.clone()).collect()
    }

    /// Takes a new row; `None` when its transaction id is known.
    pub(super) fn add(&mut self, mut stored: OutboxRow, turn: &mut Turn<'_>) -> Option<Echo> {
        if self.places.contains_key(&stored.txn) {
            return None;
        }
        self.last += 1;
        stored.seq = self.last;
        turn.writes.outbox.push(OutboxWrite::Add(stored.clone()));
        self.places.insert(stored.txn.clone(), stored.seq);
        let row = Row { stored, phase: Phase::Idle };
        let echo = row.echo();
        self.rows.insert(self.last, row);
        Some(echo)
    }

    pub(super) fn get(&self, txn: &TransactionId) -> Option<&Row> {
        self.rows.get(self.places.get(txn)?)
    }

    fn get_mut(&mut self, txn: &TransactionId) -> Option<&mut Row> {
        self.rows.get_mut(self.places.get(txn)?)
    }

    /// The row whose turn it is in a room: the first that has not failed, unless it is under way.
    pub(super) fn head(&self, room: &RoomId) -> Option<&Row> {
        let head = self.rows.values().find(|row| row.stored.room == room && !row.is_failed());
        head.filter(|row| row.phase != Phase::Asked)
    }

    /// Writes a row's state.
    pub(super) fn set_state(
        &mut self,
        txn: &TransactionId,
        state: OutboxState,
        turn: &mut Turn<'_>,
    ) {
        if let Some(row) = self.get_mut(txn) {
            row.stored.state = state.clone();
            row.phase = Phase::Idle;
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
        let place = self.places.remove(txn)?;
        turn.writes.outbox.push(OutboxWrite::Remove { txn: txn.to_owned() });
        self.rows.remove(&place)
    }

    /// The link is gone: what was under way or waited is merely queued to the eye. The calls stay
    /// noted, so the rows stay [`Phase::Asked`]. Gives the rows to show as queued.
    pub(super) fn on_lost(&self) -> Vec<(OwnedRoomId, Echo)> {
        let moving = self.rows.values().filter(|row| row.phase == Phase::Asked);
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

    /// How many wait and how many failed.
    pub(super) fn counts(&self) -> Update {
        let failed = self.rows.values().filter(|row| row.is_failed()).count();
        Update::Outbox { waiting: self.rows.len() - failed, failed }
    }

    /// Tells the faces the counts when they changed.
    pub(super) fn tell_counts(&mut self, turn: &mut Turn<'_>) {
        let failed = self.rows.values().filter(|row| row.is_failed()).count();
        let counts = (self.rows.len() - failed, failed);
        if self.told != counts {
            self.told = counts;
            turn.tell_all(self.counts());
        }
    }
}
