//! Syncs as a client sees them.

use serde_json::{Value, json};

use crate::server::model::testing::{User, World};

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
