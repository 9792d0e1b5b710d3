//! What of a room's past somebody sees.

use std::time::Duration;

use serde_json::json;

use super::{read, refused, set, texts};
use crate::server::model::testing::{User, World};

/// A room with this history visibility, where something was said before and after bob joined.
fn joined_late(visibility: &str) -> (World, [User; 2], String) {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let content = json!({"history_visibility": visibility});
    let state = json!([{"type": "m.room.history_visibility", "content": content}]);
    let room = world.room(&alice, json!({"initial_state": state}));
    world.say(&alice, &room, "before");
    let invite = json!({"user_id": bob.id});
    assert_eq!(world.post(&format!("/rooms/{room}/invite"), &alice, invite).0, 200);
    world.say(&alice, &room, "invited");
    world.join(&bob, &room);
    world.say(&alice, &room, "joined");
    (world, [alice, bob], room)
}

#[test]
fn a_new_member_sees_as_much_of_the_past_as_the_room_allows() {
    for (visibility, expected) in [
        ("world_readable", vec!["joined", "invited", "before"]),
        ("shared", vec!["joined", "invited", "before"]),
        ("invited", vec!["joined", "invited"]),
        ("joined", vec!["joined"]),
        ("as nobody understands", vec!["joined", "invited", "before"]),
    ] {
        let (mut world, [_, bob], room) = joined_late(visibility);
        assert_eq!(read(&mut world, &bob, &room), expected, "{visibility}");
    }
}

#[test]
fn opening_the_history_does_not_open_what_was_closed_before() {
    let (mut world, [alice, bob], room) = joined_late("joined");
    let content = json!({"history_visibility": "shared"});
    assert_eq!(set(&mut world, &alice, (&room, "m.room.history_visibility"), content).0, 200);
    assert_eq!(read(&mut world, &bob, &room), ["joined"]);
}

#[test]
fn the_members_of_a_time_that_somebody_may_not_see_are_not_told() {
    for (visibility, expected) in [("shared", 200), ("joined", 403)] {
        let (mut world, [alice, bob], room) = joined_late(visibility);
        let first = world.get(&format!("/rooms/{room}/messages?dir=f&limit=7"), &alice).1;
        let at = first["end"].as_str().unwrap();
        let path = format!("/rooms/{room}/members?at={at}");
        assert_eq!(world.get(&path, &alice).0, 200);
        assert_eq!(world.get(&path, &bob).0, expected, "{visibility}");
        assert_eq!(world.get(&format!("/rooms/{room}/members"), &bob).0, 200);
    }
}

#[test]
fn what_stood_before_an_event_is_for_those_who_saw_it() {
    for (visibility, expected) in [("shared", "secret plan"), ("joined", "")] {
        let mut world = World::new();
        let (alice, bob) = (world.user("alice"), world.user("bob"));
        let content = json!({"history_visibility": visibility});
        let state = json!([{"type": "m.room.history_visibility", "content": content},
            {"type": "m.room.join_rules", "content": {"join_rule": "public"}}]);
        let room = world.room(&alice, json!({"initial_state": state}));
        let topic = |text: &str| json!({"topic": text});
        set(&mut world, &alice, (&room, "m.room.topic"), topic("secret plan"));
        world.join(&bob, &room);
        set(&mut world, &alice, (&room, "m.room.topic"), topic("harmless"));
        let state = world.get(&format!("/rooms/{room}/state"), &bob).1;
        let event = state.as_array().unwrap().iter().find(|it| it["type"] == "m.room.topic");
        let event = event.unwrap();
        assert_eq!(event["content"]["topic"], "harmless");
        let before = event["unsigned"]["prev_content"]["topic"].as_str().unwrap_or("");
        assert_eq!(before, expected, "{visibility}");
    }
}

#[test]
fn who_left_gets_no_single_event_of_before_they_came() {
    let (mut world, [alice, bob], room) = joined_late("shared");
    let page = world.get(&format!("/rooms/{room}/messages?dir=f&limit=100"), &alice).1;
    let event = |text: &str| {
        let chunk = page["chunk"].as_array().unwrap();
        let event = chunk.iter().find(|event| event["content"]["body"] == text).unwrap();
        format!("/rooms/{room}/event/{}", event["event_id"].as_str().unwrap())
    };
    assert_eq!(world.get(&event("before"), &bob).0, 200);
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &bob, json!({})).0, 200);
    assert_eq!(refused(&world.get(&event("before"), &bob)), (404, "M_NOT_FOUND"));
    assert_eq!(world.get(&event("joined"), &bob).0, 200);
    let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts=0&dir=f");
    assert_eq!(refused(&world.get(&path, &bob)), (403, "M_FORBIDDEN"));
}

#[test]
fn who_left_does_not_see_what_comes_after_even_in_a_shared_room() {
    let (mut world, [alice, bob], room) = joined_late("shared");
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &bob, json!({})).0, 200);
    let hidden = world.say(&alice, &room, "gone");
    assert_eq!(read(&mut world, &bob, &room), ["joined", "invited", "before"]);
    let reply = world.get(&format!("/rooms/{room}/event/{hidden}"), &bob);
    assert_eq!(refused(&reply), (404, "M_NOT_FOUND"));
    let path = format!("/rooms/{room}/messages?dir=f&limit=100");
    assert!(!texts(&world.get(&path, &bob).1).contains(&"gone"));
}

#[test]
fn anybody_reads_a_world_readable_room_and_nobody_another() {
    let (mut world, _, room) = joined_late("world_readable");
    let eve = world.user("eve");
    assert_eq!(read(&mut world, &eve, &room).len(), 3);
    assert_eq!(world.get(&format!("/rooms/{room}/state"), &eve).0, 200);
    let (mut world, _, room) = joined_late("shared");
    let eve = world.user("eve");
    let reply = world.get(&format!("/rooms/{room}/messages?dir=b"), &eve);
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
}

#[test]
fn a_room_that_everybody_left_shows_itself_to_nobody_new() {
    let (mut world, [alice, bob], room) = joined_late("world_readable");
    let eve = world.user("eve");
    for member in [&alice, &bob] {
        assert_eq!(world.post(&format!("/rooms/{room}/leave"), member, json!({})).0, 200);
    }
    for path in ["state", "members", "messages?dir=b"] {
        let reply = world.get(&format!("/rooms/{room}/{path}"), &eve);
        assert_eq!(refused(&reply), (403, "M_FORBIDDEN"), "{path}");
    }
    assert_eq!(world.get(&format!("/rooms/{room}/state"), &bob).0, 200, "bob was in it");
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap_both_ways() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let said: Vec<String> = (0..25).map(|n| n.to_string()).collect();
    for text in &said {
        world.say(&alice, &room, text);
    }
    for direction in ["b", "f"] {
        let mut seen: Vec<String> = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/rooms/{room}/messages?dir={direction}&limit=4{from}");
            let (status, page) = world.get(&path, &alice);
            assert_eq!(status, 200);
            seen.extend(texts(&page).into_iter().map(str::to_owned));
            match page["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => break,
            }
        }
        if direction == "b" {
            seen.reverse();
        }
        assert_eq!(seen, said, "{direction}");
    }
}

#[test]
fn a_page_ends_where_it_is_told_to() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    world.say(&alice, &room, "a");
    let path = format!("/rooms/{room}/messages?dir=b&limit=1");
    let place = world.get(&path, &alice).1["start"].as_str().unwrap().to_owned();
    world.say(&alice, &room, "b");
    let (_, page) = world.get(&format!("/rooms/{room}/messages?dir=b&to={place}"), &alice);
    assert_eq!(texts(&page), ["b"]);
    let reply = world.get(&format!("/rooms/{room}/messages?dir=b&from=nonsense"), &alice);
    assert_eq!(refused(&reply), (400, "M_INVALID_PARAM"));
    let reply = world.get(&format!("/rooms/{room}/messages"), &alice);
    assert_eq!(refused(&reply), (400, "M_MISSING_PARAM"));
}

#[test]
fn an_empty_token_asks_for_the_first_page() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    world.say(&alice, &room, "hello");
    let (status, page) = world.get(&format!("/rooms/{room}/messages?dir=f&from=&to="), &alice);
    assert_eq!((status, texts(&page)), (200, vec!["hello"]));
}

#[test]
fn a_filter_chooses_events_and_lazy_members_come_along() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.say(&alice, &room, "a");
    world.say(&bob, &room, "b");
    let filter = json!({
        "types": ["m.room.mess*"], "not_senders": [alice.id], "lazy_load_members": true,
    });
    let filter: String =
        url::form_urlencoded::byte_serialize(filter.to_string().as_bytes()).collect();
    let (_, page) = world.get(&format!("/rooms/{room}/messages?dir=b&filter={filter}"), &alice);
    assert_eq!(texts(&page), ["b"]);
    let state = page["state"].as_array().unwrap();
    let members: Vec<&str> = state.iter().filter_map(|event| event["state_key"].as_str()).collect();
    assert_eq!(members, [bob.id.as_str()]);
}

#[test]
fn the_context_of_an_event_is_what_stands_around_it() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let events: Vec<String> =
        ["a", "b", "c", "d"].map(|text| world.say(&alice, &room, text)).into();
    let (status, context) =
        world.get(&format!("/rooms/{room}/context/{}?limit=2", events[1]), &alice);
    assert_eq!(status, 200);
    assert_eq!(context["event"]["event_id"], events[1]);
    assert_eq!(context["events_before"][0]["event_id"], events[0]);
    assert_eq!(context["events_after"][0]["event_id"], events[2]);
    let end = context["end"].as_str().unwrap();
    let (_, page) = world.get(&format!("/rooms/{room}/messages?dir=f&from={end}"), &alice);
    assert_eq!(texts(&page), ["d"]);
}

#[test]
fn an_event_is_found_by_its_time() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let mut events = Vec::new();
    for text in ["a", "b", "c"] {
        world.pass(Duration::from_secs(10));
        events.push((world.now.0, world.say(&alice, &room, text)));
    }
    let mut find = |time: u64, direction: &str| {
        let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event");
        world.get(&format!("{path}?ts={time}&dir={direction}"), &alice)
    };
    let middle = events[1].0;
    for (time, direction, expected) in
        [(middle, "f", 1), (middle, "b", 1), (middle + 1, "f", 2), (middle - 1, "b", 0)]
    {
        assert_eq!(find(time, direction).1["event_id"], events[expected].1, "{time} {direction}");
    }
    assert_eq!(refused(&find(events[2].0 + 1, "f")), (404, "M_NOT_FOUND"));
}

#[test]
fn members_are_listed_as_they_were_at_a_place() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice]);
    let path = format!("/rooms/{room}/messages?dir=b&limit=1");
    let place = world.get(&path, &alice).1["start"].as_str().unwrap().to_owned();
    world.join(&bob, &room);
    let mut count = |query: &str| {
        let (status, reply) = world.get(&format!("/rooms/{room}/members{query}"), &alice);
        assert_eq!(status, 200);
        reply["chunk"].as_array().unwrap().len()
    };
    assert_eq!(count(&format!("?at={place}")), 1);
    assert_eq!(count(""), 2);
    assert_eq!(count("?not_membership=join"), 0);
    assert_eq!(count("?membership=join"), 2);
}
