//! Sliding sync as a client sees it.

use serde_json::{Value, json};

use crate::server::model::testing::{User, World};

const PATH: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

fn ask(world: &mut World, user: &User, pos: Option<&str>, body: Value) -> Value {
    let query = pos.map(|pos| format!("?timeout=1000&pos={pos}")).unwrap_or_default();
    let (status, answer) = world.post(&format!("{PATH}{query}"), user, body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn pos(answer: &Value) -> Option<&str> {
    answer["pos"].as_str()
}

fn list(range: (u64, u64), state: &Value) -> Value {
    json!({ "lists": { "all": {
        "ranges": [[range.0, range.1]], "required_state": state, "timeline_limit": 2
    } } })
}

fn bodies(room: &Value) -> Vec<&str> {
    let Some(events) = room["timeline"].as_array() else {
        return Vec::new();
    };
    events.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

fn state_of(room: &Value) -> Vec<(&str, &str)> {
    let Some(events) = room["required_state"].as_array() else {
        return Vec::new();
    };
    let key = |event: &'_ Value| event["state_key"].as_str().map(str::len);
    assert!(events.iter().all(|event| key(event).is_some()));
    let mut state: Vec<_> = events
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["state_key"].as_str().unwrap()))
        .collect();
    state.sort_unstable();
    state
}

#[test]
fn who_is_invited_or_left_learns_nothing_of_who_reads_and_types() {
    let mut world = World::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| world.user(name));
    let room = world.room_of(&[&alice, &carol]);
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &carol, json!({})).0, 200);
    let invite = json!({ "user_id": bob.id });
    assert_eq!(world.post(&format!("/rooms/{room}/invite"), &alice, invite).0, 200);
    let event = world.say(&alice, &room, "hello");
    assert_eq!(
        world.post(&format!("/rooms/{room}/receipt/m.read/{event}"), &alice, json!({})).0,
        200
    );
    let typing = json!({ "typing": true, "timeout": 30_000 });
    assert_eq!(world.put(&format!("/rooms/{room}/typing/{}", alice.id), &alice, typing).0, 200);
    let mut body = list((0, 9), &json!([]));
    body["room_subscriptions"] = json!({ &room: { "required_state": [], "timeline_limit": 1 } });
    body["extensions"] = json!({ "receipts": { "enabled": true }, "typing": { "enabled": true } });
    for (user, sees) in [(&alice, true), (&bob, false), (&carol, false)] {
        let answer = ask(&mut world, user, None, body.clone());
        for extension in ["receipts", "typing"] {
            let shown = &answer["extensions"][extension]["rooms"][&room];
            assert_eq!(shown.is_object(), sees, "{extension} {}: {answer}", user.id);
        }
    }
}

#[test]
fn a_list_has_the_rooms_of_its_window_with_what_is_wanted_of_them() {
    let mut world = World::new();
    let alice = world.user("alice");
    let rooms: Vec<String> =
        ["one", "two", "three"].map(|name| world.room(&alice, json!({ "name": name }))).to_vec();
    for text in ["a", "b", "c"] {
        world.say(&alice, &rooms[0], text);
    }
    let wanted = json!([["m.room.create", ""], ["m.room.member", "$ME"]]);
    let answer = ask(&mut world, &alice, None, list((0, 1), &wanted));
    assert_eq!(answer["lists"]["all"]["count"], 3);
    let names: Vec<_> = answer["rooms"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 2);
    let first = &answer["rooms"][&rooms[0]];
    assert_eq!((bodies(first), &first["limited"]), (vec!["b", "c"], &json!(true)));
    assert_eq!((&first["initial"], &first["name"]), (&json!(true), &json!("one")));
    let me = alice.id.as_str();
    assert_eq!(state_of(first), [("m.room.create", ""), ("m.room.member", me)]);
    assert!(answer["rooms"][&rooms[1]].is_null(), "the oldest is outside");
}

#[test]
fn later_answers_have_only_what_is_new() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let wanted = json!([["m.room.member", "$LAZY"]]);
    let body = || list((0, 9), &wanted);
    let first = ask(&mut world, &bob, None, body());
    let second = ask(&mut world, &bob, pos(&first), body());
    assert!(second["rooms"].is_null());
    world.say(&alice, &room, "hello");
    let third = ask(&mut world, &bob, pos(&second), body());
    let news = &third["rooms"][&room];
    assert_eq!((bodies(news), &news["num_live"]), (vec!["hello"], &json!(1)));
    assert!(news["initial"].is_null());
    // The answer was lost: the same comes again.
    let again = ask(&mut world, &bob, pos(&second), body());
    assert_eq!(again["rooms"], third["rooms"]);
    world.say(&alice, &room, "again");
    let fourth = ask(&mut world, &bob, pos(&again), body());
    assert_eq!(bodies(&fourth["rooms"][&room]), ["again"]);
    assert!(state_of(&fourth["rooms"][&room]).is_empty(), "members come once");
}

#[test]
fn a_place_that_is_not_known_is_refused() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let first = ask(&mut world, &alice, None, json!({}));
    let path = format!("{PATH}?pos={}", pos(&first).unwrap());
    let (status, answer) = world.post(&path, &bob, json!({}));
    assert_eq!((status, &answer["errcode"]), (400, &json!("M_UNKNOWN_POS")));
}

#[test]
fn a_subscription_shows_a_room_and_nobody_elses() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let own = world.room(&bob, json!({}));
    let other = world.room(&alice, json!({}));
    world.say(&alice, &other, "secret");
    let wish = json!({ "required_state": [["*", "*"]], "timeline_limit": 10 });
    let body = json!({ "room_subscriptions": { &own: wish, &other: wish } });
    let answer = ask(&mut world, &bob, None, body);
    assert_eq!(answer["rooms"].as_object().unwrap().keys().collect::<Vec<_>>(), [&own]);
}

#[test]
fn an_invitation_shows_the_stripped_state_and_no_timeline() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room(&alice, json!({ "name": "Room", "invite": [bob.id] }));
    let answer = ask(&mut world, &bob, None, list((0, 9), &json!([])));
    let invited = &answer["rooms"][&room];
    assert!(!invited["invite_state"].as_array().unwrap().is_empty());
    assert!(invited["timeline"].is_null());
}

#[test]
fn extensions_have_messages_keys_receipts_and_who_types() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let event = world.say(&bob, &room, "hello");
    let on = json!({ "enabled": true });
    let body = |since: Option<&str>| {
        let mut body = list((0, 9), &json!([]));
        body["extensions"] = json!({
            "to_device": { "enabled": true, "since": since },
            "e2ee": on, "account_data": on, "receipts": on, "typing": on
        });
        body
    };
    let first = ask(&mut world, &bob, None, body(None));
    let extensions = &first["extensions"];
    assert_eq!(extensions["e2ee"]["device_one_time_keys_count"]["signed_curve25519"], 0);
    assert_eq!(extensions["account_data"]["global"][0]["type"], "m.push_rules");
    let message = json!({ "messages": { bob.id.as_str(): { &bob.device: {} } } });
    world.put("/sendToDevice/m.test/1", &alice, message);
    world.post(&format!("/rooms/{room}/receipt/m.read/{event}"), &alice, json!({}));
    let typing = json!({ "typing": true, "timeout": 5000 });
    world.put(&format!("/rooms/{room}/typing/{}", alice.id), &alice, typing);
    let token = |answer: &Value| answer["extensions"]["to_device"]["next_batch"].clone();
    let since = token(&first);
    let second = ask(&mut world, &bob, pos(&first), body(since.as_str()));
    let extensions = &second["extensions"];
    assert_eq!(extensions["to_device"]["events"][0]["type"], "m.test");
    let receipts = &extensions["receipts"]["rooms"][&room]["content"][&event]["m.read"];
    assert!(receipts[alice.id.as_str()]["ts"].is_u64());
    let users = &extensions["typing"]["rooms"][&room]["content"]["user_ids"];
    assert_eq!(users, &json!([alice.id]));
    let since = token(&second);
    let third = ask(&mut world, &bob, pos(&second), body(since.as_str()));
    assert!(third["extensions"]["to_device"]["events"].is_null());
}

#[test]
fn who_was_never_in_a_room_learns_nothing_of_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room(&alice, json!({ "topic": "secret", "invite": [bob.id] }));
    world.post(&format!("/rooms/{room}/leave"), &bob, json!({}));
    let wish = json!({ "required_state": [["*", "*"]], "timeline_limit": 10 });
    let body = json!({ "room_subscriptions": { &room: wish } });
    let answer = ask(&mut world, &bob, None, body.clone());
    assert!(!answer.to_string().contains("secret"), "{answer}");
    let ban = json!({ "user_id": bob.id });
    assert_eq!(world.post(&format!("/rooms/{room}/ban"), &alice, ban).0, 200);
    let answer = ask(&mut world, &bob, pos(&answer), body);
    assert!(!answer.to_string().contains("secret"), "{answer}");
}

#[test]
fn who_leaves_sees_that_and_nothing_after_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let wanted = json!([["*", "*"]]);
    let first = ask(&mut world, &bob, None, list((0, 9), &wanted));
    world.post(&format!("/rooms/{room}/leave"), &bob, json!({}));
    world.say(&alice, &room, "secret");
    let second = ask(&mut world, &bob, pos(&first), list((0, 9), &wanted));
    let left = &second["rooms"][&room]["timeline"];
    assert_eq!(left.as_array().unwrap().last().unwrap()["content"]["membership"], "leave");
    assert!(!second.to_string().contains("secret"));
    let third = ask(&mut world, &bob, pos(&second), list((0, 9), &wanted));
    assert_eq!((&third["lists"]["all"]["count"], third["rooms"].is_null()), (&json!(0), true));
}

#[test]
fn what_each_room_would_have_to_remember_is_bounded() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room(&alice, json!({}));
    let state = |count: usize| -> Vec<Value> {
        (0..count).map(|number| json!(["m.room.member", format!("@{number}:test")])).collect()
    };
    let of_room = |count: usize| {
        json!({ "room_subscriptions": {
            &room: { "required_state": state(count), "timeline_limit": 1 }
        } })
    };
    let ranges: Vec<Value> = (0..101).map(|_| json!([0, 1])).collect();
    let mut many_ranges = list((0, 9), &json!([]));
    many_ranges["lists"]["all"]["ranges"] = json!(ranges);
    let mut long_name = list((0, 9), &json!([]));
    long_name["conn_id"] = json!("x".repeat(256));
    for (body, is_taken) in [
        (list((0, 9), &json!(state(500))), true),
        (list((0, 9), &json!(state(501))), false),
        (of_room(10_000), true),
        (of_room(10_001), false),
        (many_ranges, false),
        (long_name, false),
    ] {
        let (status, answer) = world.post(PATH, &alice, body);
        assert_eq!(status, if is_taken { 200 } else { 400 }, "{answer}");
    }
}
