//! What a sync answer may hold and must not break.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::matrix::OwnedRoomId;

fn parse(body: &Value) -> SyncDelta {
    SyncDelta::parse_v2(&body.to_string()).expect("a sync answer")
}

fn message(id: &str) -> Value {
    json!({"type": "m.room.message", "event_id": id, "sender": "@a:b",
        "origin_server_ts": 5, "content": {"body": "hi", "msgtype": "m.text"}})
}

#[test]
fn a_whole_answer_is_read() {
    let delta = parse(&json!({
        "next_batch": "s2",
        "account_data": {"events": [{"type": "m.direct", "content": {"@a:b": ["!r:b"]}}]},
        "to_device": {"events": [
            {"type": "m.room.encrypted", "sender": "@a:b", "content": {"b": 1, "a": 2}},
        ]},
        "device_lists": {"changed": ["@a:b"], "left": ["@c:d"]},
        "device_one_time_keys_count": {"signed_curve25519": 47, "curve25519": 3},
        "device_unused_fallback_key_types": ["signed_curve25519"],
        "rooms": {
            "join": {"!r:b": {
                "state": {"events": [{"type": "m.room.name", "state_key": "", "event_id": "$n",
                    "sender": "@a:b", "content": {"name": "x"}}]},
                "timeline": {"events": [message("$1")], "limited": true, "prev_batch": "p"},
                "ephemeral": {"events": [{"type": "m.typing", "content": {"user_ids": []}}]},
                "account_data": {"events": [{"type": "m.tag", "content": {}}]},
                "unread_notifications": {"notification_count": 4, "highlight_count": 1},
                "summary": {"m.heroes": ["@a:b"], "m.joined_member_count": 2},
            }},
            "invite": {"!version-twelve-has-no-server": {"invite_state": {"events": [
                {"type": "m.room.name", "state_key": "", "sender": "@a:b", "content": {}},
            ]}}},
            "knock": {"!k:b": {"knock_state": {"events": []}}},
            "leave": {"!l:b": {"timeline": {"events": [message("$2")]}}},
        },
    }));
    assert_eq!(delta.malformed, 0);
    assert_eq!(delta.account_data.len(), 1);
    assert_eq!(delta.to_device[0].content.get(), r#"{"a":2,"b":1}"#);
    assert_eq!(delta.device_lists.changed, ["@a:b"]);
    assert_eq!(delta.device_lists.left, ["@c:d"]);
    assert_eq!(delta.key_counts, KeyCounts::Absolute(47));
    assert_eq!(delta.unused_fallback_keys.as_deref(), Some(&["signed_curve25519".to_owned()][..]));
    let memberships: Vec<_> = delta.rooms.values().map(|room| room.membership).collect();
    assert_eq!(
        memberships,
        [Membership::Knock, Membership::Leave, Membership::Join, Membership::Invite]
    );
    let room = delta.rooms.values().nth(2).expect("the joined room");
    assert_eq!((room.state.len(), room.timeline.len(), room.limited), (1, 1, true));
    assert_eq!(room.prev_batch.as_deref(), Some("p"));
    assert_eq!((room.unread, room.highlights), (Some(4), Some(1)));
    assert_eq!((room.heroes.joined, room.heroes.invited), (Some(2), None));
    assert_eq!(room.heroes.heroes.as_ref().map(Vec::len), Some(1));
    assert_eq!((room.ephemeral.len(), room.account_data.len()), (1, 1));
}

#[test]
fn an_absent_count_is_zero_and_a_malformed_one_is_none() {
    assert_eq!(parse(&json!({})).key_counts, KeyCounts::Absolute(0));
    assert_eq!(parse(&json!({})).unused_fallback_keys, None);
    for odd in [json!([]), json!({"signed_curve25519": -1}), json!({"signed_curve25519": "9"})] {
        let delta = parse(&json!({"device_one_time_keys_count": odd}));
        assert_eq!((delta.key_counts, delta.malformed), (KeyCounts::Changed(None), 1), "{odd}");
    }
}

#[test]
fn a_malformed_piece_loses_only_itself() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let body = json!({
        "account_data": 7,
        "device_lists": {"changed": ["nobody", 3, "@a:b"], "left": {}},
        "to_device": {"events": [
            {"type": "t", "sender": "nobody", "content": {}},
            {"type": "t", "sender": "@a:b", "content": []},
            {"type": "t", "sender": "@a:b"},
            {"type": "t", "sender": "@a:b", "content": {"deep": "DEEP"}},
            {"type": "t", "sender": "@a:b", "content": {"braces": "[[{{\"[["}},
        ]},
        "rooms": {
            "join": {
                "no room": {},
                "!odd:b": [],
                "!r:b": {"timeline": {"events": [
                    message("$1"), 1, {"type": "m.room.message"}, message("no id"),
                    {"type": "t", "event_id": "$x", "sender": "nobody", "content": {}},
                    {"type": "t", "event_id": "$y", "sender": "@a:b", "content": "text"},
                    message("$2"),
                ], "limited": "yes", "prev_batch": 5}},
            },
            "leave": {"!r:b": {}},
        },
    });
    let body = body.to_string().replace("\"DEEP\"", &deep);
    let delta = SyncDelta::parse_v2(&body).expect("a sync answer");
    assert_eq!(delta.malformed, 1 + 3 + 4 + 2 + 5 + 2 + 1);
    assert_eq!(delta.device_lists.changed, ["@a:b"]);
    assert_eq!(delta.to_device.len(), 1);
    let (_, room) = delta.rooms.first_key_value().expect("the room");
    let ids: Vec<_> = room.timeline.iter().filter_map(|event| event.event_id.as_deref()).collect();
    assert_eq!(ids, ["$1", "$2"]);
    assert_eq!((room.membership, room.limited), (Membership::Join, false));
}

#[test]
fn what_is_no_object_is_no_answer() {
    for body in ["", "[]", "null", "\"x\"", "{", "{}}"] {
        assert!(SyncDelta::parse_v2(body).is_err(), "{body}");
    }
}

#[test]
fn a_lone_surrogate_loses_only_its_event() {
    let body = r#"{"rooms":{"join":{"!r":{"timeline":{"events":[
        {"type":"t","event_id":"$1","sender":"@a:b","content":{"body":"\ud800"}},
        {"type":"t","event_id":"$2","sender":"@a:b","content":{"body":"\ud83d\ude00"}}]}}}}}"#;
    let delta = SyncDelta::parse_v2(body).expect("a sync answer");
    assert_eq!(delta.malformed, 1);
    assert_eq!(delta.rooms.values().next().expect("the room").timeline.len(), 1);
}

/// Arbitrary JSON that likes the field names of a sync answer.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["!r:b", "@a:b", "$e", "join", "m.room.message", ""])
            .prop_map(Value::from),
    ];
    let name = prop_oneof![
        ".{0,6}",
        prop::sample::select(vec![
            "rooms",
            "join",
            "invite",
            "leave",
            "knock",
            "!r:b",
            "!v12",
            "timeline",
            "state",
            "invite_state",
            "events",
            "type",
            "content",
            "sender",
            "event_id",
            "state_key",
            "unsigned",
            "to_device",
            "device_lists",
            "changed",
            "summary",
            "m.heroes",
            "limited",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(8, 128, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_an_answer_or_an_error(json in any_json()) {
        prop_assert_eq!(SyncDelta::parse_v2(&json.to_string()).is_ok(), json.is_object());
    }

    #[test]
    fn any_json_beside_an_event_leaves_the_event(odd in any_json()) {
        let body = json!({
            "account_data": odd, "device_lists": odd, "to_device": odd,
            "rooms": {"invite": odd, "join": {"!r:b": {
                "state": odd, "summary": odd, "unread_notifications": odd, "ephemeral": odd,
                "timeline": {"events": [odd, message("$kept"), odd], "limited": odd},
            }}},
        });
        let delta = parse(&body);
        let room = OwnedRoomId::try_from("!r:b").expect("a room id");
        let kept = &delta.rooms.get(&room).expect("the room").timeline;
        prop_assert!(kept.iter().any(|event| event.event_id.as_deref().is_some_and(|id| id == "$kept")));
    }
}
