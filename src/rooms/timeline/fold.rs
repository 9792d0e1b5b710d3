//! Taking deltas. Every delta costs a logarithm of the timeline's length and what hangs on the
//! events it touches; items are built only when looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    change::change,
    content::message_content,
    delta::{Echo, SendState, TimelineDelta},
    event::{EventBody, Relation, StoredEvent, redacted, relation},
    relations::{Relations, Tie},
    verification::verification,
};
use crate::matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId, UserId};

/// The folded timeline of one room.
///
/// The same deltas in another order give the same items; a delta taken twice changes nothing. Two
/// things have an order of their own: echoes stand as they came, and of two versions of one event
/// the later holds (but what was decrypted stays decrypted).
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub(super) own: Option<OwnedUserId>,
    pub(super) entries: BTreeMap<i64, Entry>,
    pub(super) places: BTreeMap<OwnedEventId, i64>,
    pub(super) rows: BTreeSet<Row>,
    pub(super) relations: Relations,
    pub(super) echoes: BTreeMap<u64, EchoEntry>,
    echo_places: BTreeMap<OwnedTransactionId, u64>,
    arrived: BTreeMap<OwnedTransactionId, i64>,
    discarded: BTreeSet<OwnedTransactionId>,
    fully_read: Option<OwnedEventId>,
    revision: u64,
}

/// An event and when it last looked different.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) stored: StoredEvent,
    pub(super) version: u64,
}

/// An echo and when it last looked different.
#[derive(Clone, Debug)]
pub(super) struct EchoEntry {
    pub(super) echo: Echo,
    pub(super) version: u64,
}

/// Something that may be an item, in the order of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) position: i64,
    pub(super) kind: RowKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowKind {
    Start,
    Gap,
    Event,
    Unread,
    Echo(u64),
}

impl Row {
    pub(super) const START: Self = Self { position: i64::MIN, kind: RowKind::Start };

    pub(super) fn event(position: i64) -> Self {
        Self { position, kind: RowKind::Event }
    }

    fn gap(position: i64) -> Self {
        Self { position, kind: RowKind::Gap }
    }

    pub(super) fn unread(position: i64) -> Self {
        Self { position, kind: RowKind::Unread }
    }

    pub(super) fn echo(place: u64) -> Self {
        Self { position: i64::MAX, kind: RowKind::Echo(place) }
    }
}

impl Timeline {
    /// An empty timeline, as `own` sees it.
    pub fn new(own: &UserId) -> Self {
        Self { own: Some(own.to_owned()), ..Self::default() }
    }

    /// Takes a change.
    pub fn apply(&mut self, delta: TimelineDelta) {
        self.revision += 1;
        match delta {
            TimelineDelta::Events(events) => events.into_iter().for_each(|e| self.take_event(e)),
            TimelineDelta::Gap { position } => drop(self.rows.insert(Row::gap(position))),
            TimelineDelta::GapClosed { position } => drop(self.rows.remove(&Row::gap(position))),
            TimelineDelta::ReachedStart => drop(self.rows.insert(Row::START)),
            TimelineDelta::FullyRead(event) => self.take_fully_read(event),
            TimelineDelta::Echo(echo) => self.take_echo(echo),
            TimelineDelta::EchoDiscarded(txn) => {
                self.drop_echo(&txn);
                self.discarded.insert(txn);
            }
        }
    }

    /// Grows with every delta; while it stays, nothing changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// An event that is here.
    pub fn event(&self, id: &EventId) -> Option<&StoredEvent> {
        self.entry(id).map(|entry| &entry.stored)
    }

    /// The place of an event that is here.
    pub fn position(&self, id: &EventId) -> Option<i64> {
        self.places.get(id).copied()
    }

    /// Place of the oldest event that is here: load older ones from it.
    pub fn oldest(&self) -> Option<i64> {
        self.entries.first_key_value().map(|(position, _)| *position)
    }

    /// The newest event that is here, shown or not: what a read receipt names when the end was on
    /// screen.
    pub fn newest(&self) -> Option<&StoredEvent> {
        self.entries.last_key_value().map(|(_, entry)| &entry.stored)
    }

    /// How many events are here, shown or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nothing is before the oldest event.
    pub fn reached_start(&self) -> bool {
        self.rows.contains(&Row::START)
    }

    /// Drops the oldest events until at most `keep` are left, so that a room that is followed for
    /// long stays small; they can be loaded again.
    pub fn trim(&mut self, keep: usize) {
        let surplus = self.entries.len().saturating_sub(keep);
        if surplus == 0 {
            return;
        }
        self.revision += 1;
        self.rows.remove(&Row::START);
        for _ in 0..surplus {
            let Some(position) = self.oldest() else { break };
            self.rows.remove(&Row::gap(position));
            self.forget(position);
        }
        self.relations.prune();
    }

    /// Place of the event that was read last, if it is here.
    pub fn fully_read_position(&self) -> Option<i64> {
        self.fully_read.as_ref().and_then(|id| self.places.get(id)).copied()
    }

    pub(super) fn entry(&self, id: &EventId) -> Option<&Entry> {
        self.entries.get(self.places.get(id)?)
    }

    fn take_event(&mut self, stored: StoredEvent) {
        let Some(id) = stored.id().map(EventId::to_owned) else { return };
        if let Some(known) = self.entry(&id) {
            let worse = matches!(known.stored.body, EventBody::Decrypted(_))
                && matches!(stored.body, EventBody::Undecryptable(_));
            if worse || known.stored == stored {
                return;
            }
            let position = known.stored.position;
            self.forget(position);
        }
        self.forget(stored.position);
        let position = stored.position;
        if shows(&stored, self.own.as_deref()) {
            self.rows.insert(Row::event(position));
        }
        if self.fully_read.as_ref() == Some(&id) {
            self.rows.insert(Row::unread(position));
        }
        self.take_transaction(&stored, &id);
        self.tie(&stored, Tie::Bind);
        self.places.insert(id.clone(), position);
        self.entries.insert(position, Entry { stored, version: self.revision });
        self.rewrite(&id);
    }

    /// An event of ours has arrived: its echo goes.
    fn take_transaction(&mut self, stored: &StoredEvent, id: &EventId) {
        let ours = stored.sender().is_some() && stored.sender() == self.own.as_deref();
        let told = stored.event.unsigned.transaction_id.clone();
        if let Some(txn) = told.filter(|_| ours) {
            self.drop_echo(&txn);
            self.arrived.insert(txn, stored.position);
        }
        let sent = self.echoes.values().find(|entry| sent_as(&entry.echo) == Some(id));
        if let Some(txn) = sent.map(|entry| entry.echo.txn.clone()) {
            self.drop_echo(&txn);
            self.arrived.insert(txn, stored.position);
        }
    }

    fn forget(&mut self, position: i64) {
        let Some(Entry { stored, .. }) = self.entries.remove(&position) else { return };
        self.rows.remove(&Row::event(position));
        self.rows.remove(&Row::unread(position));
        self.tie(&stored, Tie::Loose);
        if let Some(txn) = &stored.event.unsigned.transaction_id {
            self.arrived.remove(txn);
        }
        if let Some(id) = stored.id() {
            self.places.remove(id);
            self.rewrite(id);
        }
    }

    fn tie(&mut self, stored: &StoredEvent, tie: Tie) {
        let links = self.relations.tie(stored, tie);
        if let Some(target) = links.rewrites {
            self.rewrite(&target);
            // A redaction may take an edit or a reaction from something else.
            if let Some(further) = self.target_of(&target) {
                self.rewrite(&further);
            }
        }
        if let Some(target) = links.touches {
            self.touch(&target);
        }
    }

    fn target_of(&self, id: &EventId) -> Option<OwnedEventId> {
        match self.entry(id)?.stored.relation()? {
            Relation::Edit(target) | Relation::Reaction { target, .. } => Some(target.to_owned()),
            Relation::Thread { .. } | Relation::Reply(_) => None,
        }
    }

    /// An event looks different.
    fn touch(&mut self, id: &EventId) {
        let revision = self.revision;
        let place = self.places.get(id);
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) {
            entry.version = revision;
        }
    }

    /// An event says something else: those that quote it look different too.
    fn rewrite(&mut self, id: &EventId) {
        self.touch(id);
        self.relations.rewrite(id, self.revision);
    }

    fn take_fully_read(&mut self, event: OwnedEventId) {
        if let Some(position) = self.fully_read_position() {
            self.rows.remove(&Row::unread(position));
        }
        if let Some(position) = self.places.get(&event) {
            self.rows.insert(Row::unread(*position));
        }
        self.fully_read = Some(event);
    }

    fn take_echo(&mut self, echo: Echo) {
        if let Some(position) = sent_as(&echo).and_then(|id| self.places.get(id)).copied() {
            self.drop_echo(&echo.txn);
            self.arrived.insert(echo.txn.clone(), position);
        }
        if self.discarded.contains(&echo.txn) || self.arrived.contains_key(&echo.txn) {
            return;
        }
        let next = self.echoes.last_key_value().map_or(0, |(place, _)| place + 1);
        let place = *self.echo_places.entry(echo.txn.clone()).or_insert(next);
        let target = echo_target(&echo).map(EventId::to_owned);
        let version = self.revision;
        if self.echoes.get(&place).is_none_or(|known| known.echo != echo) {
            self.echoes.insert(place, EchoEntry { echo, version });
            self.rows.insert(Row::echo(place));
            if let Some(target) = target {
                self.rewrite(&target);
            }
        }
    }

    fn drop_echo(&mut self, txn: &OwnedTransactionId) {
        let Some(place) = self.echo_places.remove(txn) else { return };
        self.rows.remove(&Row::echo(place));
        let entry = self.echoes.remove(&place);
        if let Some(target) = entry.as_ref().and_then(|entry| echo_target(&entry.echo)) {
            self.rewrite(target);
        }
    }
}

/// Whether an event is an item, or part of one, in its own place.
fn shows(stored: &StoredEvent, own: Option<&UserId>) -> bool {
    if stored.event.state_key.is_some() {
        return change(stored).is_some();
    }
    if stored.is_verification() {
        return verification(stored, own).is_some();
    }
    match &stored.body {
        EventBody::Undecryptable(_) => true,
        EventBody::Clear(_) | EventBody::Decrypted(_) => {
            let hangs =
                matches!(stored.relation(), Some(Relation::Edit(_) | Relation::Reaction { .. }));
            !hangs && message_content(stored.kind(), stored.content()).is_some()
        }
    }
}

/// The event that the server made of an echo.
pub(super) fn sent_as(echo: &Echo) -> Option<&EventId> {
    match &echo.state {
        SendState::Sent(id) => Some(id),
        SendState::Queued
        | SendState::WaitingForKeys
        | SendState::Uploading { .. }
        | SendState::Sending
        | SendState::Failed(_) => None,
    }
}

/// What an echo edits, reacts to or redacts.
pub(super) fn echo_target(echo: &Echo) -> Option<&EventId> {
    if echo.kind == "m.room.redaction" {
        return redacted(&echo.content, None);
    }
    match relation(&echo.kind, &echo.content)? {
        Relation::Edit(target) | Relation::Reaction { target, .. } => Some(target),
        Relation::Thread { .. } | Relation::Reply(_) => None,
    }
}
