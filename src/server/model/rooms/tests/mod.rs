//! Rooms as their members see them, and as those do who want more than they may.

mod access;
mod history;
mod names;
mod relations;

use serde_json::{Value, json};

use crate::server::model::testing::{Reply, User, World};

/// The texts of a page of events, in its order.
fn texts(reply: &Value) -> Vec<&str> {
    let chunk = reply["chunk"].as_array().unwrap();
    chunk.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// Status and error code.
fn refused(reply: &Reply) -> (u16, &str) {
    (reply.0, reply.1["errcode"].as_str().unwrap_or_default())
}

/// Everything that somebody can read of a room, newest first.
fn read(world: &mut World, user: &User, room: &str) -> Vec<String> {
    let reply = world.get(&format!("/rooms/{room}/messages?dir=b&limit=100"), user);
    assert_eq!(reply.0, 200, "{reply:?}");
    texts(&reply.1).into_iter().map(str::to_owned).collect()
}

/// Sets a state event with an empty key.
fn set(world: &mut World, user: &User, (room, kind): (&str, &str), content: Value) -> Reply {
    world.put(&format!("/rooms/{room}/state/{kind}"), user, content)
}

/// Does something to a member: `kick`, `ban`, `unban`, `invite`.
fn act(world: &mut World, user: &User, (room, action): (&str, &str), target: &User) -> Reply {
    world.post(&format!("/rooms/{room}/{action}"), user, json!({"user_id": target.id}))
}

#[test]
fn a_message_reaches_every_member_of_the_room() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.say(&alice, &room, "hello");
    assert!(world.woken.contains(&bob.id));
    assert_eq!(read(&mut world, &bob, &room), ["hello"]);
}

#[test]
fn the_same_transaction_is_the_same_event() {
    let mut world = World::new();
    let alice = world.user("alice");
    let other = world.device(&alice.id.clone(), "TWO");
    let room = world.room_of(&[&alice]);
    let path = format!("/rooms/{room}/send/m.room.message/t1");
    let body = json!({"msgtype": "m.text", "body": "once"});
    let first = world.put(&path, &alice, body.clone());
    assert_eq!(world.put(&path, &alice, body.clone()), first);
    assert_eq!(read(&mut world, &alice, &room), ["once"]);
    // Another device counts for itself.
    assert_ne!(world.put(&path, &other, body), first);
}

#[test]
fn only_the_device_that_sent_an_event_gets_its_transaction_back() {
    let mut world = World::new();
    let alice = world.user("alice");
    let other = world.device(&alice.id.clone(), "TWO");
    let room = world.room_of(&[&alice]);
    let event = world.say(&alice, &room, "hello");
    let path = format!("/rooms/{room}/event/{event}");
    assert!(world.get(&path, &alice).1["unsigned"]["transaction_id"].is_string());
    assert!(world.get(&path, &other).1["unsigned"]["transaction_id"].is_null());
}

#[test]
fn two_rooms_made_alike_at_the_same_time_are_two() {
    let mut world = World::new();
    let alice = world.user("alice");
    let first = world.room(&alice, json!({}));
    assert_ne!(world.room(&alice, json!({})), first);
}

#[test]
fn all_versions_of_rooms_make_events_with_true_hashes() {
    for version in ["10", "11", "12"] {
        let mut world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let body = json!({"room_version": version, "invite": [bob.id], "name": "Den"});
        let room = world.room(&alice, body);
        world.join(&bob, &room);
        let event = world.say(&bob, &room, "hello");
        let id = crate::matrix::EventId::parse(&event).unwrap();
        let stored = world.edit(|step| super::RoomEvent::expect(step, &id));
        let pdu: ruma::CanonicalJsonObject = serde_json::from_str(stored.record.pdu.get()).unwrap();
        let rules = ruma::RoomVersionId::try_from(version).unwrap().rules().unwrap();
        let hash = ruma::signatures::reference_hash(&pdu, &rules).unwrap();
        assert_eq!(event, format!("${hash}"));
        ruma::state_res::check_pdu_format(&pdu, &rules.event_format).unwrap();
    }
}

#[test]
fn a_state_event_that_changes_nothing_is_not_made_again() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let first = set(&mut world, &alice, (&room, "m.room.topic"), json!({"topic": "a"}));
    assert_eq!(set(&mut world, &alice, (&room, "m.room.topic"), json!({"topic": "a"})), first);
    assert_ne!(set(&mut world, &alice, (&room, "m.room.topic"), json!({"topic": "b"})), first);
}

#[test]
fn what_is_no_event_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let cases = [
        ("m.room.message", json!({"body": "no type"}), (400, "M_UNKNOWN")),
        ("m.x", json!({"number": 1.5}), (400, "M_BAD_JSON")),
        ("m.x", json!({"number": 1_u64 << 60}), (400, "M_BAD_JSON")),
        ("m.x", json!({"deep": deep}), (400, "M_BAD_JSON")),
        ("m.x", json!({"long": "x".repeat(66_000)}), (413, "M_TOO_LARGE")),
        ("m.x", json!([]), (400, "M_BAD_JSON")),
        ("m.x", json!({"m.mentions": {"user_ids": 1}}), (400, "M_BAD_JSON")),
    ];
    for (kind, content, expected) in cases {
        let reply = world.put(&format!("/rooms/{room}/send/{kind}/t"), &alice, content);
        assert_eq!(refused(&reply), expected, "{reply:?}");
    }
    let long = "x".repeat(256);
    let reply = world.put(&format!("/rooms/{room}/send/{long}/t"), &alice, json!({}));
    assert_eq!(refused(&reply), (413, "M_TOO_LARGE"));
    let levels = json!({"users": {"@alice:test": "100"}});
    let reply = set(&mut world, &alice, (&room, "m.room.power_levels"), levels);
    assert_eq!(refused(&reply), (400, "M_BAD_JSON"));
    assert!(read(&mut world, &alice, &room).is_empty());
}
