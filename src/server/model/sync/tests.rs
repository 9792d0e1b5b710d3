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
    let mention =
        json!({ "msgtype": "m.text", "body": "you", "m.mentions": { "user_ids": [bob.id] } });
    let event = world.send(&alice, &room, "m.room.message", mention);
    assert_eq!(count(&mut world), (2, 1));
    let path = format!("/rooms/{room}/receipt/m.read/{event}");
    assert_eq!(world.post(&path, &bob, json!({})).0, 200);
    assert_eq!(count(&mut world), (0, 0));
    world.say(&bob, &room, "mine");
    let event = world.say(&alice, &room, "again");
    assert_eq!(count(&mut world), (1, 0));
    let path = format!("/rooms/{room}/redact/{event}/1");
    assert_eq!(world.put(&path, &alice, json!({})).0, 200);
    assert_eq!(count(&mut world), (0, 0), "what was taken back is not unread");
}

#[test]
fn whoever_comes_in_learns_of_the_devices_of_all_who_may_come_in_too() {
    let mut world = World::new();
    let [alice, bob, carol, dora] = ["alice", "bob", "carol", "dora"].map(|name| world.user(name));
    let room = world.room(&alice, json!({ "preset": "public_chat" }));
    let rules = format!("/rooms/{room}/state/m.room.join_rules/");
    let first = sync(&mut world, &bob, "");
    assert_eq!(world.post(&format!("/rooms/{room}/join"), &bob, json!({})).0, 200);
    let invite = json!({ "user_id": carol.id });
    assert_eq!(world.post(&format!("/rooms/{room}/invite"), &alice, invite).0, 200);
    assert_eq!(world.put(&rules, &alice, json!({ "join_rule": "knock" })).0, 200);
    assert_eq!(world.post(&format!("/knock/{room}"), &dora, json!({})).0, 200);
    let answer = since(&mut world, &bob, &first);
    let changed = answer["device_lists"]["changed"].as_array().unwrap();
    for user in [&alice, &bob, &carol, &dora] {
        assert!(changed.contains(&json!(user.id)), "{} of {changed:?}", user.id);
    }
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

/// What stands in the state, by type and state key.
fn state_of<'a>(room: &'a Value, place: &str) -> Vec<(&'a str, &'a str)> {
    let Some(events) = room[place]["events"].as_array() else {
        return Vec::new();
    };
    let text = |event: &'a Value, field: &str| event[field].as_str().unwrap();
    let mut state: Vec<_> =
        events.iter().map(|event| (text(event, "type"), text(event, "state_key"))).collect();
    state.sort_unstable();
    state
}

fn members_of<'a>(room: &'a Value, place: &str) -> Vec<&'a str> {
    let state = state_of(room, place).into_iter();
    state.filter(|(kind, _)| *kind == "m.room.member").map(|(_, key)| key).collect()
}

/// A filter, as a query.
fn filter(filter: &Value) -> String {
    let text = filter.to_string();
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    format!("filter={encoded}")
}

#[test]
fn who_comes_in_gets_the_whole_state() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room(&alice, json!({ "preset": "public_chat", "name": "Room" }));
    let first = sync(&mut world, &bob, "");
    for text in 0..20 {
        world.say(&alice, &room, &text.to_string());
    }
    world.join(&bob, &room);
    let second = since(&mut world, &bob, &first);
    let joined = &second["rooms"]["join"][&room];
    assert_eq!(joined["timeline"]["limited"], true);
    let state = state_of(joined, "state");
    assert!(state.contains(&("m.room.name", "")) && state.contains(&("m.room.create", "")));
    let changed = second["device_lists"]["changed"].as_array().unwrap();
    assert!(changed.contains(&json!(alice.id)), "{changed:?}");
}

#[test]
fn who_is_thrown_out_sees_that_and_nothing_after_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = sync(&mut world, &bob, "");
    world.say(&alice, &room, "before");
    let kick = json!({ "user_id": bob.id });
    assert_eq!(world.post(&format!("/rooms/{room}/kick"), &alice, kick).0, 200);
    world.say(&alice, &room, "after");
    let topic = json!({ "topic": "secret" });
    assert_eq!(world.put(&format!("/rooms/{room}/state/m.room.topic"), &alice, topic).0, 200);
    for answer in [since(&mut world, &bob, &first), sync(&mut world, &bob, "")] {
        assert!(answer["rooms"]["join"].is_null());
        let left = &answer["rooms"]["leave"][&room];
        assert_eq!(bodies(left), ["before"]);
        assert!(!answer.to_string().contains("secret"));
        let events = left["timeline"]["events"].as_array().unwrap();
        assert_eq!(events.last().unwrap()["content"]["membership"], "leave");
    }
    let second = since(&mut world, &bob, &first);
    assert_eq!(second["device_lists"]["left"], json!([alice.id]));
    let third = since(&mut world, &bob, &second);
    world.say(&alice, &room, "later");
    assert!(since(&mut world, &bob, &third)["rooms"].is_null());
}

#[test]
fn an_invitation_shows_what_the_room_is_and_nothing_that_was_said() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let first = sync(&mut world, &bob, "");
    let room = world.room(&alice, json!({ "name": "Room", "invite": [bob.id] }));
    world.say(&alice, &room, "secret");
    let second = since(&mut world, &bob, &first);
    let invited = &second["rooms"]["invite"][&room];
    let state = state_of(invited, "invite_state");
    assert!(state.contains(&("m.room.name", "")));
    assert!(state.contains(&("m.room.member", bob.id.as_str())));
    assert!(!second.to_string().contains("secret"));
    assert!(since(&mut world, &bob, &second)["rooms"].is_null());
    world.post(&format!("/rooms/{room}/leave"), &bob, json!({}));
    let third = since(&mut world, &bob, &second);
    assert!(third["rooms"]["leave"][&room].is_object());
    assert!(!third.to_string().contains("secret"));
    assert!(state_of(&third["rooms"]["leave"][&room], "state").is_empty());
}

#[test]
fn lazy_members_are_those_who_speak_and_come_once() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.user("alice"), world.user("bob"), world.user("carol"));
    let room = world.room_of(&[&alice, &bob, &carol]);
    let lazy = filter(&json!({ "room": {
        "state": { "lazy_load_members": true }, "timeline": { "limit": 1 }
    } }));
    world.say(&alice, &room, "hello");
    let first = sync(&mut world, &carol, &lazy);
    let joined = &first["rooms"]["join"][&room];
    assert_eq!(joined["summary"]["m.joined_member_count"], 3);
    assert_eq!(joined["summary"]["m.heroes"], json!([alice.id, bob.id]));
    // Whoever names the room is a hero, and comes too.
    let mut everybody = [alice.id.as_str(), bob.id.as_str(), carol.id.as_str()];
    everybody.sort_unstable();
    assert_eq!(members_of(joined, "state"), everybody);
    let next = |world: &mut World, answer: &Value| {
        let since = answer["next_batch"].as_str().unwrap();
        sync(world, &carol, &format!("{lazy}&since={since}"))
    };
    world.say(&alice, &room, "again");
    let second = next(&mut world, &first);
    assert!(members_of(&second["rooms"]["join"][&room], "state").is_empty());
    // Another device has been sent nobody.
    let other = world.device(&carol.id, "OTHER");
    let since = first["next_batch"].as_str().unwrap();
    let answer = sync(&mut world, &other, &format!("{lazy}&since={since}"));
    assert_eq!(members_of(&answer["rooms"]["join"][&room], "state"), [alice.id.as_str()]);
}

#[test]
fn state_that_changed_in_a_gap_comes_before_the_timeline_or_after_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = sync(&mut world, &bob, "");
    let topic = |world: &mut World, topic: &str| {
        let path = format!("/rooms/{room}/state/m.room.topic");
        assert_eq!(world.put(&path, &alice, json!({ "topic": topic })).0, 200);
    };
    topic(&mut world, "old");
    for text in 0..15 {
        world.say(&alice, &room, &text.to_string());
    }
    topic(&mut world, "new");
    let token = first["next_batch"].as_str().unwrap();
    for (query, place, expected) in
        [("", "state", "old"), ("&use_state_after=true", "state_after", "new")]
    {
        let answer = sync(&mut world, &bob, &format!("since={token}{query}"));
        let joined = &answer["rooms"]["join"][&room];
        assert_eq!(joined["timeline"]["limited"], true);
        assert_eq!(state_of(joined, place), [("m.room.topic", "")], "{place}");
        assert_eq!(joined[place]["events"][0]["content"]["topic"], expected);
    }
}

#[test]
fn only_the_sending_device_gets_its_transaction_id() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let other = world.device(&alice.id, "OTHER");
    let room = world.room_of(&[&alice, &bob]);
    let path = format!("/rooms/{room}/send/m.room.message/mine");
    world.put(&path, &alice, json!({ "msgtype": "m.text", "body": "hello" }));
    for (user, expected) in [(&alice, json!("mine")), (&other, json!(null)), (&bob, json!(null))] {
        let answer = sync(&mut world, user, "");
        let events = answer["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap();
        let event = events.last().unwrap();
        assert_eq!(event["unsigned"]["transaction_id"], expected);
        assert_eq!(event["unsigned"]["membership"], "join");
        assert!(event["unsigned"]["age"].is_u64() && event["room_id"].is_null());
    }
}

#[test]
fn messages_of_those_who_are_ignored_do_not_come() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let list = json!({ "ignored_users": { alice.id.as_str(): {} } });
    let path = format!("/user/{}/account_data/m.ignored_user_list", bob.id);
    assert_eq!(world.put(&path, &bob, list).0, 200);
    world.say(&alice, &room, "hello");
    world.post("/createRoom", &alice, json!({ "invite": [bob.id] }));
    let answer = sync(&mut world, &bob, "");
    let joined = &answer["rooms"]["join"][&room];
    assert!(bodies(joined).is_empty());
    assert_eq!(joined["unread_notifications"]["notification_count"], 0);
    assert!(answer["rooms"]["invite"].is_null());
}

#[test]
fn account_data_comes_when_it_changes() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let first = sync(&mut world, &alice, "");
    assert_eq!(first["account_data"]["events"][0]["type"], "m.push_rules");
    let user = &alice.id;
    world.put(&format!("/user/{user}/account_data/m.test"), &alice, json!({ "a": 1 }));
    world.put(&format!("/user/{user}/rooms/{room}/tags/u.work"), &alice, json!({ "order": 0.5 }));
    let second = since(&mut world, &alice, &first);
    let global = json!([{ "type": "m.test", "content": { "a": 1 } }]);
    assert_eq!(second["account_data"]["events"], global);
    let own = &second["rooms"]["join"][&room]["account_data"]["events"];
    assert_eq!(own[0]["type"], "m.tag");
    let third = since(&mut world, &alice, &second);
    assert!(third["account_data"].is_null() && third["rooms"].is_null());
}

#[test]
fn a_thread_is_counted_and_read_by_itself() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let first = world.say(&alice, &room, "first");
    let within = json!({ "msgtype": "m.text", "body": "within", "m.relates_to": {
        "rel_type": "m.thread", "event_id": first
    } });
    let event = world.send(&alice, &room, "m.room.message", within);
    let threads = filter(&json!({ "room": { "timeline": {
        "unread_thread_notifications": true
    } } }));
    let counts = |world: &mut World| {
        let answer = sync(world, &bob, &threads);
        let joined = &answer["rooms"]["join"][&room];
        let main = joined["unread_notifications"]["notification_count"].clone();
        let thread = &joined["unread_thread_notifications"][&first];
        (main, thread["notification_count"].clone())
    };
    assert_eq!(counts(&mut world), (json!(1), json!(1)));
    let path = format!("/rooms/{room}/receipt/m.read/{event}");
    let wrong = world.post(&path, &bob, json!({ "thread_id": "main" }));
    assert_eq!((wrong.0, &wrong.1["errcode"]), (400, &json!("M_INVALID_PARAM")));
    assert_eq!(world.post(&path, &bob, json!({ "thread_id": first })).0, 200);
    assert_eq!(counts(&mut world), (json!(1), json!(null)));
}

#[test]
fn a_token_that_is_none_and_a_filter_that_is_none_are_refused() {
    let mut world = World::new();
    let alice = world.user("alice");
    for (query, errcode) in [
        ("since=nonsense", "M_UNKNOWN"),
        ("filter=17", "M_INVALID_PARAM"),
        ("filter=%7Bnonsense", "M_NOT_JSON"),
        ("filter=%7B%22room%22%3A1%7D", "M_BAD_JSON"),
    ] {
        let (status, answer) = world.get(&format!("/sync?{query}"), &alice);
        assert_eq!((status, &answer["errcode"]), (400, &json!(errcode)), "{query}");
    }
}

#[test]
fn who_was_never_in_a_room_learns_nothing_of_it_by_being_banned() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room(&alice, json!({ "topic": "secret", "invite": [bob.id] }));
    world.post(&format!("/rooms/{room}/leave"), &bob, json!({}));
    let first = sync(&mut world, &bob, "");
    let ban = json!({ "user_id": bob.id });
    assert_eq!(world.post(&format!("/rooms/{room}/ban"), &alice, ban).0, 200);
    for answer in [since(&mut world, &bob, &first), sync(&mut world, &bob, "")] {
        let left = &answer["rooms"]["leave"][&room];
        let events = left["timeline"]["events"].as_array().unwrap();
        assert!(events.iter().all(|event| event["state_key"] == bob.id.as_str()), "{events:?}");
        assert!(state_of(left, "state").is_empty());
    }
}

#[test]
fn who_left_and_was_banned_later_knows_the_state_as_they_left_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.post(&format!("/rooms/{room}/leave"), &bob, json!({}));
    let topic = json!({ "topic": "secret" });
    assert_eq!(world.put(&format!("/rooms/{room}/state/m.room.topic"), &alice, topic).0, 200);
    let ban = json!({ "user_id": bob.id });
    assert_eq!(world.post(&format!("/rooms/{room}/ban"), &alice, ban).0, 200);
    for query in ["", "use_state_after=true"] {
        let answer = sync(&mut world, &bob, query);
        assert!(answer["rooms"]["leave"][&room].is_object());
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
}
