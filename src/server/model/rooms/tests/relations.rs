//! Redactions, and events that relate to others.

use serde_json::{Value, json};

use super::{read, refused};
use crate::server::model::testing::{Reply, User, World};

fn redact(world: &mut World, user: &User, (room, event): (&str, &str)) -> Reply {
    world.put(&format!("/rooms/{room}/redact/{event}/r-{event}"), user, json!({"reason": "why"}))
}

fn event(world: &mut World, user: &User, (room, event): (&str, &str)) -> Value {
    world.get(&format!("/rooms/{room}/event/{event}"), user).1
}

fn relating(rel_type: &str, target: &str, text: &str) -> Value {
    json!({
        "msgtype": "m.text", "body": text,
        "m.relates_to": {"rel_type": rel_type, "event_id": target},
        "m.new_content": {"msgtype": "m.text", "body": text},
    })
}

#[test]
fn a_redacted_event_keeps_nothing_of_what_was_said() {
    for version in ["10", "11", "12"] {
        let mut world = World::new();
        let alice = world.user("alice");
        let room = world.room(&alice, json!({"room_version": version}));
        let said = world.say(&alice, &room, "oops");
        let (status, reply) = redact(&mut world, &alice, (&room, &said));
        assert_eq!(status, 200, "{reply}");
        let redacted = event(&mut world, &alice, (&room, &said));
        assert_eq!(redacted["content"], json!({}));
        let because = &redacted["unsigned"]["redacted_because"];
        assert_eq!((&because["redacts"], &because["event_id"]), (&json!(said), &reply["event_id"]));
        assert!(read(&mut world, &alice, &room).is_empty());
        let stored = format!("{:?}", world.records);
        assert!(!stored.contains(&format!("{:?}", b"oops").replace(['[', ']'], "")), "{version}");
    }
}

#[test]
fn only_the_sender_and_those_with_the_power_redact() {
    let mut world = World::new();
    let (alice, bob, carl) = (world.user("alice"), world.user("bob"), world.user("carl"));
    let room = world.room_of(&[&alice, &bob, &carl]);
    let said = world.say(&bob, &room, "hello");
    assert_eq!(refused(&redact(&mut world, &carl, (&room, &said))), (403, "M_FORBIDDEN"));
    // The same by sending the event.
    let path = format!("/rooms/{room}/send/m.room.redaction/t");
    let reply = world.put(&path, &carl, json!({"redacts": said}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(read(&mut world, &alice, &room), ["hello"]);
    assert_eq!(redact(&mut world, &alice, (&room, &said)).0, 200);
    let create = world.get(&format!("/rooms/{room}/state/m.room.create?format=event"), &alice);
    let create = create.1["event_id"].as_str().unwrap().to_owned();
    assert_eq!(refused(&redact(&mut world, &alice, (&room, &create))), (403, "M_FORBIDDEN"));
}

#[test]
fn the_newest_edit_of_the_sender_comes_with_the_event() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let said = world.say(&alice, &room, "a");
    world.send(&alice, &room, "m.room.message", relating("m.replace", &said, "b"));
    let newest = world.send(&alice, &room, "m.room.message", relating("m.replace", &said, "c"));
    world.send(&bob, &room, "m.room.message", relating("m.replace", &said, "not mine"));
    let shown = event(&mut world, &bob, (&room, &said));
    assert_eq!(shown["content"]["body"], "a");
    let edit = &shown["unsigned"]["m.relations"]["m.replace"];
    assert_eq!(edit["content"]["m.new_content"]["body"], "c");
    redact(&mut world, &alice, (&room, &newest));
    let shown = event(&mut world, &bob, (&room, &said));
    let edit = &shown["unsigned"]["m.relations"]["m.replace"];
    assert_eq!(edit["content"]["m.new_content"]["body"], "b");
}

#[test]
fn a_thread_is_counted_listed_and_shrinks_when_it_is_redacted() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = world.say(&alice, &room, "thread");
    let other = world.say(&alice, &room, "other");
    let one = world.send(&bob, &room, "m.room.message", relating("m.thread", &first, "1"));
    let two = world.send(&alice, &room, "m.room.message", relating("m.thread", &first, "2"));
    world.send(&alice, &room, "m.room.message", relating("m.thread", &other, "x"));
    let thread = |world: &mut World, user: &User| {
        event(world, user, (&room, &first))["unsigned"]["m.relations"]["m.thread"].clone()
    };
    let shown = thread(&mut world, &bob);
    assert_eq!((&shown["count"], &shown["current_user_participated"]), (&json!(2), &json!(true)));
    assert_eq!(shown["latest_event"]["event_id"], two);
    let list = |world: &mut World, user: &User, query: &str| -> Vec<String> {
        let path = format!("/_matrix/client/v1/rooms/{room}/threads{query}");
        let (status, reply) = world.get(&path, user);
        assert_eq!(status, 200);
        let ids = reply["chunk"].as_array().unwrap().iter();
        ids.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(&mut world, &alice, ""), [other.clone(), first.clone()]);
    assert_eq!(list(&mut world, &bob, "?include=participated"), std::slice::from_ref(&first));
    redact(&mut world, &alice, (&room, &two));
    let shown = thread(&mut world, &alice);
    assert_eq!((&shown["count"], &shown["latest_event"]["event_id"]), (&json!(1), &json!(one)));
    redact(&mut world, &bob, (&room, &one));
    assert!(thread(&mut world, &alice).is_null());
    assert_eq!(list(&mut world, &alice, ""), [other]);
}

#[test]
fn relations_are_listed_by_type_and_through_others() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let said = world.say(&alice, &room, "a");
    let reply = world.send(&alice, &room, "m.room.message", relating("m.thread", &said, "b"));
    let like = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": reply, "key": "+"}});
    world.send(&alice, &room, "m.reaction", like);
    let mut count = |path: &str| {
        let path = format!("/_matrix/client/v1/rooms/{room}/relations/{said}{path}");
        let (status, reply) = world.get(&path, &alice);
        assert_eq!(status, 200);
        reply["chunk"].as_array().unwrap().len()
    };
    assert_eq!(count(""), 1);
    assert_eq!(count("?recurse=true"), 2);
    assert_eq!(count("/m.thread"), 1);
    assert_eq!(count("/m.replace"), 0);
    assert_eq!(count("/m.annotation/m.reaction?recurse=true"), 1);
}

#[test]
fn the_same_reaction_counts_once_until_it_is_taken_back() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let said = world.say(&alice, &room, "a");
    let like = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "+"}});
    let first = world.send(&bob, &room, "m.reaction", like.clone());
    let again = format!("/rooms/{room}/send/m.reaction/again");
    let reply = world.put(&again, &bob, like.clone());
    assert_eq!(refused(&reply), (400, "M_DUPLICATE_ANNOTATION"));
    redact(&mut world, &bob, (&room, &first));
    assert_eq!(world.put(&again, &bob, like).0, 200);
}

#[test]
fn no_event_relates_to_one_of_another_room() {
    let mut world = World::new();
    let alice = world.user("alice");
    let (room, other) = (world.room_of(&[&alice]), world.room(&alice, json!({})));
    let said = world.say(&alice, &other, "a");
    let path = format!("/rooms/{room}/send/m.room.message/t");
    for target in [said.as_str(), "$unknown"] {
        let reply = world.put(&path, &alice, relating("m.reference", target, "x"));
        assert_eq!(reply.0, 400, "{target}");
    }
}
