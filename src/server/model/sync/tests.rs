//! Syncs as a client sees them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::model::{
    Answer,
    testing::{User, World},
};

fn sync(world: &mut World, user: &User, query: &str) -> Value {
    let (status, answer) = world.get(&format!("/sync?{query}"), user);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn since(world: &mut World, user: &User, answer: &Value) -> Value {
    sync(world, user, &format!("since={}", answer["next_batch"].as_str().unwrap()))
}

fn bodies(room: &Value) -> Vec<&str> {
    let events = room["timeline"]["events"].as_array().unwrap();
    events.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

#[test]
fn a_first_sync_shows_the_newest_events_and_the_state_before_them() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room(&alice, json!({ "name": "Room" }));
    for text in 0..12 {
        world.say(&alice, &room, &text.to_string());
    }
    let answer = sync(&mut world, &alice, "");
    let joined = &answer["rooms"]["join"][&room];
    assert_eq!(bodies(joined), ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    assert_eq!(joined["timeline"]["limited"], true);
    let state = joined["state"]["events"].as_array().unwrap();
    let kinds: Vec<_> = state.iter().map(|event| event["type"].as_str().unwrap()).collect();
    for kind in ["m.room.create", "m.room.member", "m.room.name", "m.room.power_levels"] {
        assert!(kinds.contains(&kind), "{kind} of {kinds:?}");
    }
}

#[test]
fn the_next_sync_shows_only_what_is_new() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = sync(&mut world, &bob, "");
    assert!(since(&mut world, &bob, &first)["rooms"].is_null());
    world.say(&alice, &room, "one");
    let second = since(&mut world, &bob, &first);
    let joined = &second["rooms"]["join"][&room];
    assert_eq!(bodies(joined), ["one"]);
    assert!(joined["timeline"]["limited"].as_bool().is_none_or(|limited| !limited));
    assert!(joined["state"].is_null());
    // Asked for again, because the answer was lost, the same comes.
    assert_eq!(since(&mut world, &bob, &first)["rooms"], second["rooms"]);
    assert!(since(&mut world, &bob, &second)["rooms"].is_null());
}

#[test]
fn an_empty_sync_waits_and_is_woken_by_a_message() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = sync(&mut world, &bob, "");
    let path = format!("/sync?timeout=30000&since={}", first["next_batch"].as_str().unwrap());
    let waiting = |world: &mut World| {
        let outcome = world.ask(("GET", &path), Some(&bob), b"", (None, false));
        matches!(outcome.answer, Answer::Wait(user, time)
            if user == bob.id && time == Duration::from_secs(30))
    };
    assert!(waiting(&mut world));
    world.say(&alice, &room, "hello");
    assert!(world.woken.contains(&bob.id));
    assert!(!waiting(&mut world));
}

#[test]
fn unread_counts_grow_until_a_receipt() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let carol = world.user("carol");
    let room = world.room_of(&[&alice, &bob, &carol]);
    let count = |world: &mut World| {
        let answer = sync(world, &bob, "");
        let counts = &answer["rooms"]["join"][&room]["unread_notifications"];
        let count = |name: &str| counts[name].as_u64().unwrap();
        (count("notification_count"), count("highlight_count"))
    };
    assert_eq!(count(&mut world), (0, 0));
    world.say(&alice, &room, "hello");
    let mention = json!({ "body": "you", "m.mentions": { "user_ids": [bob.id] } });
    let event = world.send(&alice, &room, "m.room.message", mention);
    assert_eq!(count(&mut world), (2, 1));
    let path = format!("/rooms/{room}/receipt/m.read/{event}");
    assert_eq!(world.post(&path, &bob, json!({})).0, 200);
    assert_eq!(count(&mut world), (0, 0));
    world.say(&bob, &room, "mine");
    world.say(&alice, &room, "again");
    assert_eq!(count(&mut world), (1, 0));
}

#[test]
fn others_see_receipts_and_not_private_ones() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let event = world.say(&alice, &room, "hello");
    let first = sync(&mut world, &alice, "");
    let path = |kind: &str| format!("/rooms/{room}/receipt/{kind}/{event}");
    world.post(&path("m.read.private"), &bob, json!({}));
    assert!(since(&mut world, &alice, &first)["rooms"].is_null());
    world.post(&path("m.read"), &bob, json!({}));
    let second = since(&mut world, &alice, &first);
    let ephemeral = &second["rooms"]["join"][&room]["ephemeral"]["events"][0];
    assert_eq!(ephemeral["type"], "m.receipt");
    let by_kind = &ephemeral["content"][&event];
    assert!(by_kind["m.read"][bob.id.as_str()]["ts"].is_u64());
    assert!(by_kind["m.read.private"].is_null());
}

#[test]
fn typing_is_seen_and_ends_by_itself() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = sync(&mut world, &alice, "");
    let path = format!("/rooms/{room}/typing/{}", bob.id);
    world.put(&path, &bob, json!({ "typing": true, "timeout": 5000 }));
    let typing = |answer: &Value| {
        answer["rooms"]["join"][&room]["ephemeral"]["events"][0]["content"]["user_ids"].clone()
    };
    let second = since(&mut world, &alice, &first);
    assert_eq!(typing(&second), json!([bob.id]));
    let query = second["next_batch"].as_str().unwrap();
    let path = format!("/sync?timeout=30000&since={query}");
    let outcome = world.ask(("GET", &path), Some(&alice), b"", (None, false));
    assert!(matches!(outcome.answer, Answer::Wait(_, time) if time == Duration::from_secs(5)));
    world.pass(Duration::from_secs(5));
    assert_eq!(typing(&since(&mut world, &alice, &second)), json!([]));
}

#[test]
fn messages_for_a_device_come_until_it_says_it_has_them() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let send = |world: &mut World, count: usize| {
        for number in 0..count {
            let message = json!({ "messages": { bob.id.as_str(): { &bob.device: {} } } });
            let path = format!("/sendToDevice/m.test/{number}-{}", world.now.0);
            assert_eq!(world.put(&path, &alice, message).0, 200);
        }
        world.pass(Duration::from_millis(1));
    };
    let count = |answer: &Value| answer["to_device"]["events"].as_array().map_or(0, Vec::len);
    let first = sync(&mut world, &bob, "");
    send(&mut world, 1);
    let second = since(&mut world, &bob, &first);
    assert_eq!(second["to_device"]["events"][0]["sender"], "@alice:test");
    // The answer was lost.
    assert_eq!(count(&since(&mut world, &bob, &first)), 1);
    let third = since(&mut world, &bob, &second);
    assert_eq!(count(&third), 0);
    assert_eq!(count(&since(&mut world, &bob, &first)), 0);
    // More than one answer takes.
    send(&mut world, 150);
    let fourth = since(&mut world, &bob, &third);
    let fifth = since(&mut world, &bob, &fourth);
    assert_eq!((count(&fourth), count(&fifth)), (100, 50));
    assert_eq!(count(&since(&mut world, &bob, &fifth)), 0);
}
