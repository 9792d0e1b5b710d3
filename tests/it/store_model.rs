//! Any sequence of steps leaves the store as a naive model of it, also after it was closed and
//! opened again, and a step that fails leaves it as it was. Every identifier has letters in it that
//! mean something in SQL.

use std::collections::BTreeMap;

use grotto::{
    e2ee::{Changes, Lookup as _, RecordKey, Table, Write},
    matrix::{Event, OwnedRoomId, Position},
    rooms::{EventBody, Shield, StoredEvent, Undecryptable, UndecryptableReason},
    store::{
        Gap, GapWrite, OutboxItem, OutboxRow, OutboxState, OutboxWrite, Pending, Store, StoreKey,
        Writes,
    },
    time::Timestamp,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use serde_json::json;

use crate::store::account;

/// One write, over few rooms, events and keys, so that they meet.
#[derive(Clone, Debug)]
enum Op {
    Record(u8, Option<u8>),
    Gone(u8),
    ResetState(u8),
    State(u8, u8, u8),
    Event(u8, u8, Body),
    OpenGap(u8, u8, u8),
    CloseGap(u8, u8),
    ReachedStart(u8),
    Add(u8, u8),
    Fix(u8, u8),
    Remove(u8),
    Position(u8),
}

#[derive(Clone, Debug)]
enum Body {
    Clear(u8),
    Waiting(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let small = || 0..4_u8;
    let body = prop_oneof![any::<u8>().prop_map(Body::Clear), small().prop_map(Body::Waiting)];
    prop_oneof![
        4 => (small(), any::<Option<u8>>()).prop_map(|(key, value)| Op::Record(key, value)),
        1 => small().prop_map(Op::Gone),
        1 => small().prop_map(Op::ResetState),
        3 => (small(), small(), any::<u8>()).prop_map(|(room, key, n)| Op::State(room, key, n)),
        8 => (small(), 0..12_u8, body).prop_map(|(room, id, body)| Op::Event(room, id, body)),
        2 => (small(), small(), any::<u8>()).prop_map(|(room, at, n)| Op::OpenGap(room, at, n)),
        2 => (small(), small()).prop_map(|(room, at)| Op::CloseGap(room, at)),
        1 => small().prop_map(Op::ReachedStart),
        3 => (small(), any::<u8>()).prop_map(|(txn, n)| Op::Add(txn, n)),
        2 => (small(), any::<u8>()).prop_map(|(txn, n)| Op::Fix(txn, n)),
        2 => small().prop_map(Op::Remove),
        2 => any::<u8>().prop_map(Op::Position),
    ]
}

/// they end texts, begin comments and stand for others, where somebody writes them into a
/// statement.
const QUOTES: &str = "'\"`;--%_?1\\";

fn room(n: u8) -> OwnedRoomId {
    format!("!r{QUOTES}{n}:x").try_into().unwrap()
}

fn event(kind: &str, id: &str, n: u8) -> Event {
    serde_json::from_value(json!({"type": kind, "event_id": id, "content": {"n": n}})).unwrap()
}

fn state_event(key: u8, n: u8) -> Event {
    Event { state_key: Some(format!("{key}{QUOTES}")), ..event(QUOTES, "$s", n) }
}

fn stored(position: i64, id: u8, body: &Body) -> StoredEvent {
    let (n, body) = match body {
        Body::Clear(n) => (*n, EventBody::Clear(Shield::None)),
        Body::Waiting(session) => {
            let session_id = Some(format!("{session}{QUOTES}"));
            let reason = UndecryptableReason::NoRoomKey;
            (*session, EventBody::Undecryptable(Undecryptable { session_id, reason }))
        }
    };
    StoredEvent { position, event: event("m", &format!("${id}{QUOTES}"), n), body }
}

fn outbox_row(txn: u8, n: u8) -> OutboxRow {
    let content = json!({"n": n}).as_object().unwrap().clone();
    OutboxRow {
        seq: 0,
        room: room(0),
        txn: format!("{QUOTES}{txn}").into(),
        at: Timestamp(u64::from(n)),
        item: OutboxItem::Event { kind: "m".to_owned(), content },
        state: OutboxState::Queued,
    }
}

fn failed(n: u8) -> OutboxState {
    OutboxState::Failed(grotto::rooms::SendError { code: n.to_string(), message: String::new() })
}

/// What the store should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    records: BTreeMap<RecordKey, Vec<u8>>,
    rooms: BTreeMap<OwnedRoomId, Room>,
    outbox: Vec<OutboxRow>,
    position: Option<Position>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Room {
    state: Vec<Event>,
    events: Vec<StoredEvent>,
    gaps: Vec<Gap>,
    reached_start: bool,
}

impl Model {
    fn room(&mut self, n: u8) -> &mut Room {
        self.rooms.entry(room(n)).or_default()
    }

    /// Applies one operation the plain way, and adds it to the writes.
    fn apply(&mut self, op: &Op, places: &mut i64, writes: &mut Writes) {
        match op {
            Op::Record(key, value) => {
                let key = RecordKey(format!("{QUOTES}{key}"), QUOTES.to_owned());
                match value {
                    Some(value) => drop(self.records.insert(key.clone(), vec![*value])),
                    None => drop(self.records.remove(&key)),
                }
                let value = value.map(|value| vec![value].into());
                writes.crypto.writes.push(Write { table: Table::Misc, key, value });
            }
            Op::Gone(n) => {
                self.rooms.remove(&room(*n));
                writes.gone_rooms.push(room(*n));
            }
            Op::ResetState(n) => {
                self.room(*n).state.clear();
                writes.reset_state.push(room(*n));
            }
            Op::State(n, key, value) => {
                let event = state_event(*key, *value);
                let state = &mut self.room(*n).state;
                state.retain(|known| known.state_key != event.state_key);
                state.push(event.clone());
                state.sort_by(|a, b| a.state_key.cmp(&b.state_key));
                writes.state.push((room(*n), event));
            }
            Op::Event(n, id, body) => {
                *places += 1;
                let mut event = stored(*places, *id, body);
                writes.events.push((room(*n), event.clone()));
                let events = &mut self.room(*n).events;
                let same = |known: &&mut StoredEvent| known.event.event_id == event.event.event_id;
                if let Some(known) = events.iter_mut().find(same) {
                    event.position = known.position;
                    *known = event;
                } else {
                    events.push(event);
                }
            }
            Op::OpenGap(..)
            | Op::CloseGap(..)
            | Op::ReachedStart(_)
            | Op::Add(..)
            | Op::Fix(..)
            | Op::Remove(_)
            | Op::Position(_) => self.apply_small(op, writes),
        }
    }

    fn apply_small(&mut self, op: &Op, writes: &mut Writes) {
        match op {
            Op::OpenGap(n, at, token) => {
                let gap = Gap { position: i64::from(*at), token: Some(format!("{QUOTES}{token}")) };
                let gaps = &mut self.room(*n).gaps;
                gaps.retain(|known| known.position != gap.position);
                gaps.push(gap.clone());
                gaps.sort_by_key(|gap| gap.position);
                writes.gaps.push(GapWrite::Open { room: room(*n), gap });
            }
            Op::CloseGap(n, at) => {
                let position = i64::from(*at);
                self.room(*n).gaps.retain(|known| known.position != position);
                writes.gaps.push(GapWrite::Close { room: room(*n), position });
            }
            Op::ReachedStart(n) => {
                self.room(*n).reached_start = true;
                writes.reached_start.push(room(*n));
            }
            Op::Add(txn, n) => {
                let row = outbox_row(*txn, *n);
                if !self.outbox.iter().any(|known| known.txn == row.txn) {
                    self.outbox.push(row.clone());
                }
                writes.outbox.push(OutboxWrite::Add(row));
            }
            Op::Fix(txn, n) => {
                let (txn, state) = (outbox_row(*txn, 0).txn, failed(*n));
                for row in self.outbox.iter_mut().filter(|row| row.txn == txn) {
                    row.state = state.clone();
                }
                writes.outbox.push(OutboxWrite::State { txn, state });
            }
            Op::Remove(txn) => {
                let txn = outbox_row(*txn, 0).txn;
                self.outbox.retain(|row| row.txn != txn);
                writes.outbox.push(OutboxWrite::Remove { txn });
            }
            Op::Position(n) => {
                self.position = Some(Position(format!("{QUOTES}{n}")));
                writes.position.clone_from(&self.position);
            }
            Op::Record(..) | Op::Gone(_) | Op::ResetState(_) | Op::State(..) | Op::Event(..) => {
                panic!("{op:?} is applied above")
            }
        }
    }

    /// Asks the store for everything that the model knows.
    fn of(store: &Store) -> Self {
        let rooms = (0..4)
            .map(room)
            .map(|id| {
                let room = Room {
                    state: store.state(&id).unwrap(),
                    events: store.newest(&id, usize::MAX).unwrap(),
                    gaps: store.gaps(&id).unwrap(),
                    reached_start: store.has_reached_start(&id).unwrap(),
                };
                (id, room)
            })
            .filter(|(_, room)| *room != Room::default())
            .collect();
        let records = store.scan(Table::Misc, None).unwrap();
        let outbox = store.outbox().unwrap();
        Self {
            records: records.into_iter().map(|(key, value)| (key, value.to_vec())).collect(),
            rooms,
            outbox: outbox.into_iter().map(|row| OutboxRow { seq: 0, ..row }).collect(),
            position: store.position().unwrap(),
        }
    }
}

/// Looks every thing up by its name.
fn look_up(store: &Store, model: &Model) {
    for (key, value) in &model.records {
        assert_eq!(store.get(Table::Misc, key).unwrap().as_deref(), Some(value));
        let found = store.scan(Table::Misc, Some(&key.0)).unwrap();
        assert_eq!(found.iter().map(|(key, _)| key).collect::<Vec<_>>(), [key]);
    }
    for (id, room) in &model.rooms {
        for stored in &room.events {
            let event = stored.event.event_id.as_deref().unwrap();
            assert_eq!(store.event(id, event).unwrap().as_ref(), Some(stored));
        }
        for session in (0..4).map(|session| format!("{session}{QUOTES}")) {
            let waits = |it: &&StoredEvent| match &it.body {
                EventBody::Undecryptable(it) => it.session_id.as_ref() == Some(&session),
                EventBody::Clear(_) | EventBody::Decrypted(_) => false,
            };
            let waiting = room.events.iter().filter(waits).count();
            assert_eq!(store.undecrypted(id, &session).unwrap().len(), waiting);
        }
    }
    for row in &model.outbox {
        let found = store.outbox_row(row.txn.as_str()).unwrap();
        assert_eq!(found.map(|it| it.txn), Some(row.txn.clone()));
    }
}

/// The order in which the fields of one step are applied.
fn rank(op: &Op) -> u8 {
    match op {
        Op::Record(..) => 0,
        Op::Gone(_) => 1,
        Op::ResetState(_) => 2,
        Op::State(..) => 3,
        Op::Event(..) => 4,
        Op::OpenGap(..) | Op::CloseGap(..) => 5,
        Op::ReachedStart(_) => 6,
        Op::Add(..) | Op::Fix(..) | Op::Remove(_) => 7,
        Op::Position(_) => 8,
    }
}

/// A step that fails after everything in it was tried: its last event takes another's place.
fn spoil(mut writes: Writes) -> Writes {
    for name in ["$spoil1", "$spoil2"] {
        let mut event = stored(i64::MAX, 0, &Body::Clear(0));
        event.event.event_id = Some(name.try_into().unwrap());
        writes.events.push((room(0), event));
    }
    writes
}

fn check(mut store: Store, steps: Vec<Vec<Op>>, mut reopen: impl FnMut(Store) -> Store) {
    let (mut model, mut places) = (Model::default(), 0);
    for mut step in steps {
        step.sort_by_key(rank);
        let mut next = model.clone();
        let mut writes = Writes { crypto: Changes::default(), ..Writes::default() };
        for op in &step {
            next.apply(op, &mut places, &mut writes);
        }
        next.rooms.retain(|_, room| *room != Room::default());
        store.commit(Pending::new(spoil(writes.clone()), ())).unwrap_err();
        assert_eq!(Model::of(&store), model, "a failed step left a trace");
        store.commit(Pending::new(writes, ())).unwrap();
        assert_eq!(Model::of(&store), next);
        look_up(&store, &next);
        store = reopen(store);
        assert_eq!(Model::of(&store), next, "after opening again");
        model = next;
    }
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn steps_in_memory_equal_the_model(steps in vec(vec(op(), 0..12), 1..8)) {
        check(Store::in_memory(&account()).unwrap(), steps, |store| store);
    }
}

proptest! {
    #![proptest_config(Config { cases: 12, failure_persistence: None, ..Config::default() })]

    #[test]
    fn steps_on_disk_equal_the_model_after_every_restart(steps in vec(vec(op(), 0..12), 1..6)) {
        let dir = tempfile::tempdir().unwrap();
        let key = StoreKey::random().unwrap();
        let store = Store::create(dir.path(), &key, &account()).unwrap();
        check(store, steps, |store| {
            drop(store);
            Store::open(dir.path(), None).unwrap()
        });
    }
}
