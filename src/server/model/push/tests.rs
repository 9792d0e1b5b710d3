//! What members are notified of, whatever is kept ready.

use ruma::push::{PushCondition, Ruleset};
use serde_json::{Value, json};

use crate::{
    matrix::UserId,
    server::model::testing::{User, World},
};

/// Notifications and highlights in a room, as a new device gets them.
fn unread(world: &mut World, user: &User, room: &str) -> (Value, Value) {
    let (status, reply) = world.get("/sync", user);
    assert_eq!(status, 200, "{reply}");
    let counts = &reply["rooms"]["join"][room]["unread_notifications"];
    (counts["notification_count"].clone(), counts["highlight_count"].clone())
}

fn counts(notifications: u64, highlights: u64) -> (Value, Value) {
    (json!(notifications), json!(highlights))
}

/// Asks for a change that is not written, as when the disk is full.
#[expect(clippy::needless_pass_by_value, reason = "made for the call")]
fn lose(world: &mut World, call: (&str, &str), user: &User, body: Value) {
    world.ask(call, Some(user), body.to_string().as_bytes(), (None, false));
    world.model.forget();
}

/// Somebody's rule that says nothing of messages.
const MESSAGES: &str = "/pushrules/global/underride/.m.rule.message/enabled";
const SILENT: &str = r#"{"enabled": false}"#;

#[test]
fn the_default_rules_ask_for_their_owner_only_in_mentions_and_state_keys() {
    let (alice, bob) = (UserId::parse("@alice:a").unwrap(), UserId::parse("@bob:b").unwrap());
    let rules = |user: &UserId| serde_json::to_value(Ruleset::server_default(user)).unwrap();
    let (mine, theirs) = (rules(&alice), rules(&bob));
    let mut unlike = Vec::new();
    for (kind, list) in mine.as_object().unwrap() {
        for (rule, other) in list.as_array().unwrap().iter().zip(theirs[kind].as_array().unwrap()) {
            if rule != other {
                unlike.push(rule["conditions"].clone());
            }
        }
    }
    let by_key = json!({"kind": "event_match", "key": "state_key", "pattern": "@alice:a"});
    let by_mention = json!({
        "kind": "event_property_contains",
        "key": r"content.m\.mentions.user_ids",
        "value": "@alice:a",
    });
    assert_eq!(unlike.len(), 2, "{unlike:?}");
    assert!(unlike[0].as_array().unwrap().contains(&by_key), "{unlike:?}");
    assert!(unlike[1].as_array().unwrap().contains(&by_mention), "{unlike:?}");
    let rules = Ruleset::server_default(&alice);
    let mut conditions =
        rules.override_.iter().chain(&rules.underride).flat_map(|rule| &rule.conditions);
    #[expect(deprecated, reason = "it is looked for")]
    let asks_for_name = |it: &PushCondition| matches!(it, PushCondition::ContainsDisplayName);
    assert!(!conditions.any(asks_for_name));
}

#[test]
fn each_member_is_notified_by_their_own_rules() {
    let mut world = World::new();
    let names = ["alice", "bob", "carol", "dora", "emil", "fritz"];
    let users = names.map(|name| world.user(name));
    let refs: Vec<&User> = users.iter().collect();
    let room = world.room_of(&refs);
    let [alice, bob, carol, dora, emil, fritz] = &users;
    assert_eq!(world.call(("PUT", MESSAGES), Some(dora), serde_json::from_str(SILENT).ok()).0, 200);
    let keyword = json!({"pattern": "cake", "actions": ["notify", {"set_tweak": "highlight"}]});
    assert_eq!(world.put("/pushrules/global/content/cake", emil, keyword).0, 200);
    let ignored = json!({"ignored_users": {"@alice:test": {}}});
    let path = format!("/user/{}/account_data/m.ignored_user_list", fritz.id);
    assert_eq!(world.put(&path, fritz, ignored).0, 200);
    let content = json!({
        "msgtype": "m.text", "body": "cake!", "m.mentions": {"user_ids": ["@carol:test"]},
    });
    world.send(alice, &room, "m.room.message", content);
    assert_eq!(unread(&mut world, alice, &room), counts(0, 0));
    assert_eq!(unread(&mut world, bob, &room), counts(1, 0));
    assert_eq!(unread(&mut world, carol, &room), counts(1, 1));
    assert_eq!(unread(&mut world, dora, &room), counts(0, 0));
    assert_eq!(unread(&mut world, emil, &room), counts(1, 1));
    assert_eq!(unread(&mut world, fritz, &room), counts(0, 0));
}

#[test]
fn what_is_redacted_is_counted_no_more() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let event = world.say(&alice, &room, "oops");
    assert_eq!(unread(&mut world, &bob, &room), counts(1, 0));
    let reply = world.put(&format!("/rooms/{room}/redact/{event}/1"), &alice, json!({}));
    assert_eq!(reply.0, 200, "{reply:?}");
    assert_eq!(unread(&mut world, &bob, &room), counts(0, 0));
}

#[test]
fn rules_that_were_not_written_do_not_hold() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.say(&alice, &room, "one");
    lose(&mut world, ("PUT", MESSAGES), &bob, serde_json::from_str(SILENT).unwrap());
    world.say(&alice, &room, "two");
    assert_eq!(unread(&mut world, &bob, &room), counts(2, 0));
}

#[test]
fn a_member_whose_joining_was_not_written_is_none() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice]);
    lose(&mut world, ("POST", &format!("/rooms/{room}/join")), &bob, json!({}));
    world.say(&alice, &room, "one");
    assert!(!world.woken.contains(&bob.id));
    world.join(&bob, &room);
    world.say(&alice, &room, "two");
    assert!(world.woken.contains(&bob.id));
    assert_eq!(unread(&mut world, &bob, &room), counts(1, 0));
}

#[test]
fn messages_that_were_not_written_are_not_counted() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    assert_eq!(unread(&mut world, &bob, &room), counts(0, 0));
    // A batch of a message and a sync that counts it, which is lost.
    let path = format!("/rooms/{room}/send/m.room.message/lost");
    let body = json!({"msgtype": "m.text", "body": "lost"}).to_string();
    let before = world.records.0.clone();
    let outcome = world.ask(("PUT", &path), Some(&alice), body.as_bytes(), (None, false));
    for (key, value) in outcome.changes {
        match value {
            Some(value) => drop(world.records.0.insert(key, value)),
            None => drop(world.records.0.remove(&key)),
        }
    }
    assert_eq!(unread(&mut world, &bob, &room), counts(1, 0));
    world.records.0 = before;
    world.model.forget();
    assert_eq!(unread(&mut world, &bob, &room), counts(0, 0));
    world.say(&alice, &room, "kept");
    assert_eq!(unread(&mut world, &bob, &room), counts(1, 0));
}

#[test]
fn a_call_that_is_refused_leaves_nothing_that_is_kept_ready() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.say(&alice, &room, "one");
    let id = <&crate::matrix::RoomId>::try_from(room.as_str()).unwrap();
    // Bob goes, and is asked for, in a step that is given up.
    let gone = world.model.try_out(&world.records, world.now, |step| {
        let change = super::super::rooms::MemberChange::new(
            id.to_owned(),
            (&bob.id, super::super::rooms::Action::Leave, &bob.id),
            None,
        );
        drop(change.apply(step).unwrap());
        super::super::rooms::joined_members(step, id).unwrap()
    });
    assert_eq!(gone, std::slice::from_ref(&alice.id));
    world.say(&alice, &room, "two");
    assert!(world.woken.contains(&bob.id));
}

/// A rule of `user` for a word.
fn look_for(world: &mut World, user: &User, name: &str, pattern: &str) {
    let rule = json!({"pattern": pattern, "actions": ["notify", {"set_tweak": "highlight"}]});
    let reply = world.put(&format!("/pushrules/global/content/{name}"), user, rule);
    assert_eq!(reply.0, 200, "{reply:?}");
}

#[test]
fn no_rule_of_a_member_brings_the_server_down() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    look_for(&mut world, &bob, "bomb", &"?".repeat(40_000));
    look_for(&mut world, &bob, "cake", "cake");
    world.say(&alice, &room, "hello");
    world.say(&alice, &room, "cake!");
    assert_eq!(unread(&mut world, &bob, &room), counts(2, 1));
}
