//! Rooms as their members see them.

use serde_json::{Value, json};

use crate::server::model::testing::World;

fn texts(reply: &Value) -> Vec<&str> {
    let chunk = reply["chunk"].as_array().unwrap();
    chunk.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

#[test]
fn a_message_reaches_every_member_of_the_room() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.say(&alice, &room, "hello");
    assert!(world.woken.contains(&bob.id));
    let (status, reply) = world.get(&format!("/rooms/{room}/messages?dir=b"), &bob);
    assert_eq!((status, texts(&reply)), (200, vec!["hello"]));
}

#[test]
fn a_private_room_lets_in_who_is_invited_and_nobody_else() {
    let mut world = World::new();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let room = world.room(&alice, json!({"invite": [bob.id]}));
    world.join(&bob, &room);
    let (status, reply) = world.post(&format!("/rooms/{room}/join"), &eve, json!({}));
    assert_eq!((status, &reply["errcode"]), (403, &json!("M_FORBIDDEN")));
    let (status, _) = world.get(&format!("/rooms/{room}/messages?dir=b"), &eve);
    assert_eq!(status, 403);
    let (status, _) = world.get(&format!("/rooms/{room}/state"), &eve);
    assert_eq!(status, 403);
}

#[test]
fn the_same_transaction_is_the_same_event() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let path = format!("/rooms/{room}/send/m.room.message/t1");
    let first = world.put(&path, &alice, json!({"body": "once"}));
    let second = world.put(&path, &alice, json!({"body": "once"}));
    assert_eq!(first, second);
    let (_, reply) = world.get(&format!("/rooms/{room}/messages?dir=b"), &alice);
    assert_eq!(texts(&reply), ["once"]);
}
