//! What those outside a room get to know of it, by calls that are refused.

use serde_json::json;

use crate::server::model::testing::World;

#[test]
fn nobody_outside_learns_who_is_banned() {
    let mut world = World::new();
    let [alice, bob, mallory] = ["alice", "bob", "mallory"].map(|name| world.user(name));
    let room = world.room_of(&[&alice, &bob]);
    let call = |what: &str| format!("/rooms/{room}/{what}");
    let target = json!({ "user_id": bob.id });
    assert_eq!(world.post(&call("ban"), &alice, target.clone()).0, 200);
    for what in ["invite", "kick", "unban", "ban"] {
        let (status, answer) = world.post(&call(what), &mallory, target.clone());
        assert_eq!((status, answer["errcode"].as_str()), (403, Some("M_FORBIDDEN")), "{what}");
    }
}

#[test]
fn who_left_learns_nothing_of_the_state_by_setting_it_again() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let levels = json!({ "state_default": 0 });
    let room = world
        .room(&alice, json!({ "preset": "public_chat", "power_level_content_override": levels }));
    world.join(&bob, &room);
    let path = format!("/rooms/{room}/state/m.room.topic");
    assert_eq!(world.put(&path, &bob, json!({ "topic": "bees" })).0, 200);
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &bob, json!({})).0, 200);
    assert_eq!(world.put(&path, &bob, json!({ "topic": "bees" })).0, 403);
}

#[test]
fn who_leaves_types_no_longer() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let path = format!("/rooms/{room}/typing/{}", bob.id);
    assert_eq!(world.put(&path, &bob, json!({ "typing": true, "timeout": 60_000 })).0, 200);
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &bob, json!({})).0, 200);
    let (_, answer) = world.get("/sync?timeout=0", &alice);
    let room = &answer["rooms"]["join"][&room];
    assert!(!room["ephemeral"].to_string().contains(bob.id.as_str()), "{room}");
}

#[test]
fn who_comes_into_a_room_asks_for_the_devices_of_those_who_are_invited() {
    let mut world = World::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| world.user(name));
    let room =
        world.room(&alice, json!({ "preset": "public_chat", "invite": [carol.id.as_str()] }));
    let (_, first) = world.get("/sync?timeout=0", &bob);
    world.join(&bob, &room);
    let since = first["next_batch"].as_str().unwrap();
    let (_, answer) = world.get(&format!("/sync?timeout=0&since={since}"), &bob);
    let changed = answer["device_lists"]["changed"].to_string();
    for user in [&alice, &carol] {
        assert!(changed.contains(user.id.as_str()), "{changed}");
    }
}
