//! The store as the engine sees it.

use serde_json::{Value, json};

use super::*;
use crate::{
    e2ee::{
        Changes, Decrypted, Lookup, MegolmCiphertext, RecordKey, Shield, Table, Undecryptable,
        UndecryptableReason, Write,
    },
    matrix::{Event, EventId, Membership, OwnedRoomId, Position, RoomId},
    rooms::{EventBody, RoomKind, RoomSummary, StoredEvent},
    secret::Secret,
    time::Timestamp,
};

fn account() -> Account {
    Account {
        user_id: "@ann:example.org".try_into().unwrap(),
        device_id: "DEVICE".into(),
        homeserver: "https://example.org".to_owned(),
        stream_url: None,
        access_token: Secret::new("token".to_owned()),
    }
}

fn store() -> Store {
    Store::in_memory(&account()).unwrap()
}

fn room(name: &str) -> OwnedRoomId {
    RoomId::parse(format!("!{name}:example.org")).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "callers make it on the spot")]
fn event(id: &str, content: Value) -> Event {
    serde_json::from_value(json!({
        "type": "m.room.message", "event_id": format!("${id}"), "sender": "@bob:example.org",
        "origin_server_ts": 7, "content": content,
    }))
    .unwrap()
}

fn clear(position: i64, id: &str) -> StoredEvent {
    StoredEvent {
        position,
        event: event(id, json!({"body": id})),
        body: EventBody::Clear(Shield::None),
    }
}

fn waiting(position: i64, id: &str, session_id: &str) -> StoredEvent {
    let reason = UndecryptableReason::NoRoomKey;
    let session_id = Some(session_id.to_owned());
    StoredEvent {
        body: EventBody::Undecryptable(Undecryptable { session_id, reason }),
        ..clear(position, id)
    }
}

fn row(name: &str) -> RoomRow {
    let summary = RoomSummary {
        room_id: room(name),
        name: name.to_owned(),
        kind: RoomKind::Group,
        membership: Membership::Join,
        encrypted: true,
        unread: 1,
        highlights: 0,
        members: 2,
        topic: None,
        last_activity: Timestamp(5),
        inviter: None,
    };
    RoomRow { summary, record: json!({"heroes": []}) }
}

fn commit(store: &mut Store, writes: Writes) {
    store.commit(Pending::new(writes, ())).unwrap();
}

fn write_events(store: &mut Store, name: &str, events: Vec<StoredEvent>) {
    let events = events.into_iter().map(|event| (room(name), event)).collect();
    commit(store, Writes { events, ..Writes::default() });
}

fn ids(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|stored| stored.event.event_id.as_ref().unwrap().as_str()).collect()
}

fn id(text: &str) -> &EventId {
    text.try_into().unwrap()
}

#[test]
fn a_commit_gives_out_what_the_step_held_back() {
    let step = Pending::new(Writes::default(), "frame");
    assert_eq!(store().commit(step).unwrap(), "frame");
}

/// Only a position by itself may do without waiting for the disk, and only for itself.
#[test]
fn every_commit_after_a_position_that_came_alone_waits_for_the_disk() {
    let mut store = store();
    let writes = |number: u32| {
        let position = Some(Position(format!("s{number}")));
        Pending::new(Writes { position, ..Writes::default() }, ())
    };
    let synchronous = |store: &Store| {
        store.connection().pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
    };
    store.commit(writes(1)).unwrap();
    assert_eq!(store.position().unwrap(), Some(Position("s1".to_owned())));
    assert_eq!(synchronous(&store), Ok(2));
    store.connection().execute_batch("DROP TABLE account").unwrap();
    store.commit(writes(2)).unwrap_err();
    assert_eq!(synchronous(&store), Ok(2));
}

#[test]
fn events_come_back_in_pages_oldest_first() {
    let mut store = store();
    write_events(
        &mut store,
        "a",
        vec![clear(3, "c"), clear(1, "a"), clear(2, "b"), clear(-1, "z")],
    );
    write_events(&mut store, "b", vec![clear(1, "other")]);
    assert_eq!(ids(&store.newest(&room("a"), 2).unwrap()), ["$b", "$c"]);
    assert_eq!(ids(&store.before(&room("a"), 2, 5).unwrap()), ["$z", "$a"]);
    assert_eq!(ids(&store.before(&room("a"), 2, 1).unwrap()), ["$a"]);
    assert_eq!(store.bounds(&room("a")).unwrap(), Some((-1, 3)));
    assert_eq!(store.bounds(&room("never")).unwrap(), None);
    assert_eq!(store.newest(&room("a"), 1).unwrap(), [clear(3, "c")]);
}

#[test]
fn a_known_event_keeps_its_place_and_takes_the_new_body() {
    let mut store = store();
    write_events(&mut store, "a", vec![waiting(1, "x", "s"), clear(2, "y")]);
    let body = EventBody::Decrypted(Decrypted {
        kind: "m.room.message".to_owned(),
        content: serde_json::Map::default(),
        session_id: "s".to_owned(),
        message_index: 0,
        shield: Shield::None,
        shared_by: None,
    });
    write_events(&mut store, "a", vec![StoredEvent { body: body.clone(), ..clear(9, "x") }]);
    let found = store.event(&room("a"), id("$x")).unwrap().unwrap();
    assert_eq!((found.position, found.body), (1, body));
    assert_eq!(store.undecrypted(&room("a"), "s").unwrap(), []);
    assert_eq!(store.undecryptable_counts().unwrap(), []);
}

#[test]
fn events_that_wait_for_a_key_are_found_by_session_and_counted_by_reason() {
    let mut store = store();
    write_events(&mut store, "a", vec![waiting(1, "x", "s"), waiting(2, "y", "t")]);
    write_events(&mut store, "b", vec![waiting(1, "x", "s")]);
    assert_eq!(ids(&store.undecrypted(&room("a"), "s").unwrap()), ["$x"]);
    assert_eq!(store.undecryptable_counts().unwrap(), [("no_room_key".to_owned(), 3)]);
}

#[test]
fn relations_are_found_by_the_clear_relation_and_redactions_by_either_field() {
    let mut store = store();
    let relates = json!({"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}});
    let edit = StoredEvent { event: event("edit", relates), ..clear(2, "edit") };
    let mut old = StoredEvent { event: event("old", json!({})), ..clear(3, "old") };
    old.event.kind = "m.room.redaction".to_owned();
    old.event.redacts = Some(id("$x").to_owned());
    let mut new = StoredEvent { event: event("new", json!({"redacts": "$x"})), ..clear(4, "new") };
    new.event.kind = "m.room.redaction".to_owned();
    let reply = json!({"m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}});
    let reply = StoredEvent { event: event("reply", reply), ..clear(5, "reply") };
    write_events(&mut store, "a", vec![clear(1, "x"), edit, old, new, reply]);
    let found = store.relations(&room("a"), id("$x")).unwrap();
    assert_eq!(ids(&found), ["$edit", "$old", "$new"]);
}

#[test]
fn a_room_that_is_gone_takes_its_events_state_and_gaps_along() {
    let mut store = store();
    let mut topic = event("t", json!({"topic": "x"}));
    topic.state_key = Some(String::new());
    commit(
        &mut store,
        Writes {
            rooms: vec![row("a"), row("b")],
            state: vec![(room("a"), topic.clone())],
            gaps: vec![open("a", 1, "t1")],
            reached_start: vec![room("a")],
            ..Writes::default()
        },
    );
    write_events(&mut store, "a", vec![clear(1, "x")]);
    assert_eq!(store.rooms().unwrap(), [row("a"), row("b")]);
    assert_eq!(store.state(&room("a")).unwrap(), [topic]);
    assert!(store.has_reached_start(&room("a")).unwrap());
    commit(&mut store, Writes { gone_rooms: vec![room("a")], ..Writes::default() });
    assert_eq!(store.rooms().unwrap(), [row("b")]);
    assert_eq!(store.state(&room("a")).unwrap(), []);
    assert_eq!(store.newest(&room("a"), 9).unwrap(), []);
    assert_eq!(store.gaps(&room("a")).unwrap(), []);
    assert!(!store.has_reached_start(&room("a")).unwrap());
}

fn open(name: &str, position: i64, token: &str) -> GapWrite {
    GapWrite::Open { room: room(name), gap: Gap { position, token: Some(token.to_owned()) } }
}

#[test]
fn a_gap_takes_a_new_token_and_closes() {
    let mut store = store();
    let gaps = vec![open("a", 5, "t1"), open("a", 2, "t0"), open("a", 5, "t2")];
    commit(&mut store, Writes { gaps, ..Writes::default() });
    let gap = |position, token: &str| Gap { position, token: Some(token.to_owned()) };
    assert_eq!(store.gaps(&room("a")).unwrap(), [gap(2, "t0"), gap(5, "t2")]);
    let gaps = vec![GapWrite::Close { room: room("a"), position: 2 }];
    commit(&mut store, Writes { gaps, ..Writes::default() });
    assert_eq!(store.gaps(&room("a")).unwrap(), [gap(5, "t2")]);
}

#[test]
fn state_that_is_reset_holds_only_what_comes_after() {
    let mut store = store();
    let state = |key: &str| {
        let mut event = event(key, json!({}));
        event.state_key = Some(key.to_owned());
        (room("a"), event)
    };
    commit(&mut store, Writes { state: vec![state("x"), state("y")], ..Writes::default() });
    commit(
        &mut store,
        Writes { reset_state: vec![room("a")], state: vec![state("z")], ..Writes::default() },
    );
    assert_eq!(store.state(&room("a")).unwrap(), [state("z").1]);
}

fn outbox_row(txn: &str, body: &str) -> OutboxRow {
    let content = json!({"body": body}).as_object().unwrap().clone();
    OutboxRow {
        seq: 0,
        room: room("a"),
        txn: txn.into(),
        at: Timestamp(5),
        item: OutboxItem::Event { kind: "m.room.message".to_owned(), content },
        state: OutboxState::Queued,
    }
}

fn outbox(store: &mut Store, outbox: Vec<OutboxWrite>) {
    commit(store, Writes { outbox, ..Writes::default() });
}

#[test]
fn the_outbox_keeps_the_order_of_typing() {
    let mut store = store();
    outbox(
        &mut store,
        vec![OutboxWrite::Add(outbox_row("one", "1")), OutboxWrite::Add(outbox_row("two", "2"))],
    );
    outbox(&mut store, vec![OutboxWrite::Remove { txn: "two".into() }]);
    outbox(&mut store, vec![OutboxWrite::Add(outbox_row("three", "3"))]);
    let rows = store.outbox().unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.seq, row.txn.as_str())).collect();
    assert_eq!(seen, [(1, "one"), (3, "three")], "a number is never used twice");
    assert_eq!(rows[0], OutboxRow { seq: 1, ..outbox_row("one", "1") });
}

#[test]
fn adding_a_message_again_keeps_the_ciphertext_that_may_have_been_sent() {
    let mut store = store();
    let sent = OutboxState::Encrypted(MegolmCiphertext::made_up("{}".to_owned()));
    outbox(
        &mut store,
        vec![
            OutboxWrite::Add(outbox_row("one", "1")),
            OutboxWrite::State { txn: "one".into(), state: sent.clone() },
        ],
    );
    outbox(&mut store, vec![OutboxWrite::Add(outbox_row("one", "1"))]);
    assert_eq!(store.outbox_row("one").unwrap().unwrap().state, sent);
}

#[test]
fn a_message_on_its_way_does_not_show_in_debug_output() {
    assert!(!format!("{:?}", outbox_row("one", "hunter2")).contains("hunter2"));
}

fn record(first: &str, second: &str, value: Option<&[u8]>) -> Write {
    Write {
        table: Table::OlmSession,
        key: RecordKey(first.to_owned(), second.to_owned()),
        value: value.map(|value| value.to_vec().into()),
    }
}

#[test]
fn records_are_read_by_key_and_listed_by_its_first_part() {
    let mut store = store();
    let writes = vec![
        record("b", "1", Some(b"three")),
        record("a", "2", Some(b"two")),
        record("a", "1", Some(b"one")),
        record("a", "3", Some(b"gone")),
    ];
    commit(&mut store, Writes { crypto: Changes { writes }, ..Writes::default() });
    let writes = vec![record("a", "3", None)];
    commit(&mut store, Writes { crypto: Changes { writes }, ..Writes::default() });
    let key = RecordKey("a".to_owned(), "1".to_owned());
    assert_eq!(store.get(Table::OlmSession, &key).unwrap().unwrap().as_slice(), b"one");
    assert!(store.get(Table::Device, &key).unwrap().is_none());
    let values = |first| -> Vec<Vec<u8>> {
        let found = store.scan(Table::OlmSession, first).unwrap();
        found.into_iter().map(|(_, value)| value.to_vec()).collect()
    };
    assert_eq!(values(Some("a")), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(values(None), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
}

#[test]
fn position_and_token_follow_the_commits() {
    let mut store = store();
    assert_eq!(store.position().unwrap(), None);
    let before = store.instance().unwrap();
    commit(
        &mut store,
        Writes {
            position: Some(Position("s1".to_owned())),
            access_token: Some(Secret::new("fresh".to_owned())),
            ..Writes::default()
        },
    );
    assert_eq!(store.position().unwrap(), Some(Position("s1".to_owned())));
    assert_eq!(store.account().access_token.expose(), "fresh");
    let after = store.instance().unwrap();
    assert_eq!((after.0, after.1), (before.0, before.1 + 1));
}

#[test]
fn a_lease_is_kept_whole_and_shows_no_token() {
    let mut store = store();
    assert_eq!(store.lease(), &Lease::default());
    let lease = Lease {
        standing: Standing::Expired,
        refresh_token: Some(Secret::new("renewing".to_owned())),
        renew_at: Some(Timestamp(1_700_000_000_000)),
        oauth: Some(OAuthClient {
            client_id: "client".to_owned(),
            token_endpoint: "https://account.example.org/token".to_owned(),
            revocation_endpoint: None,
            account_management_uri: Some("https://account.example.org/".to_owned()),
        }),
    };
    commit(&mut store, Writes { lease: Some(lease.clone()), ..Writes::default() });
    assert_eq!(store.lease(), &lease);
    assert_eq!(lease::read(store.connection()).unwrap(), lease);
    assert!(!format!("{lease:?}").contains("renewing"));
}

#[test]
fn a_step_that_cannot_be_written_changes_nothing() {
    let mut store = store();
    write_events(&mut store, "a", vec![clear(1, "x")]);
    let step = Writes {
        position: Some(Position("s1".to_owned())),
        events: vec![(room("a"), clear(2, "y")), (room("a"), clear(1, "other"))],
        ..Writes::default()
    };
    store.commit(Pending::new(step, ())).unwrap_err();
    assert_eq!(ids(&store.newest(&room("a"), 9).unwrap()), ["$x"]);
    assert_eq!(store.position().unwrap(), None);
}

#[test]
fn a_full_store_says_so_takes_nothing_and_goes_on_when_there_is_room_again() {
    let mut store = store();
    write_events(&mut store, "a", vec![clear(1, "x")]);
    let limit = |store: &Store, pages: i64| {
        store
            .connection()
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    };
    limit(&store, 1);
    let many = || -> Vec<_> {
        (2..200).map(|n| (room("a"), clear(n, &format!("{n}{}", "x".repeat(200))))).collect()
    };
    let error =
        store.commit(Pending::new(Writes { events: many(), ..Writes::default() }, ())).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(ids(&store.newest(&room("a"), 9).unwrap()), ["$x"]);
    limit(&store, 1_000_000);
    commit(&mut store, Writes { events: many(), ..Writes::default() });
    assert_eq!(store.bounds(&room("a")).unwrap(), Some((1, 199)));
}

/// Every read by room has to find its rows by an index: at a million events a scan is seconds.
#[test]
fn no_read_of_a_room_scans_all_events() {
    let store = store();
    let of_room = "FROM event WHERE room = (SELECT id FROM room WHERE room_id = '!a:x')";
    for (rest, index) in [
        ("ORDER BY position DESC LIMIT 5", "(room=?)"),
        ("AND position < 5 ORDER BY position DESC LIMIT 5", "(room=? AND position<?)"),
        ("AND event_id = '$x'", "(room=? AND event_id=?)"),
        ("AND target = '$x' ORDER BY position", "event_by_target (room=? AND target=?)"),
        ("AND session_id = 'x' ORDER BY position", "event_by_session (room=? AND session_id=?)"),
    ] {
        let plan = plan(&store, &format!("SELECT event {of_room} {rest}"));
        assert!(plan.contains(index) && !plan.contains("SCAN event"), "{rest}: {plan}");
    }
    let counts = "SELECT reason, count(*) FROM event WHERE reason IS NOT NULL GROUP BY reason";
    assert!(plan(&store, counts).contains("COVERING INDEX event_by_reason"));
}

fn plan(store: &Store, sql: &str) -> String {
    let mut statement = store.connection().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}
