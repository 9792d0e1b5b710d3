//! Identities on real homeservers: an account gets one by itself, only signed devices get keys, and
//! a change is noticed and must be settled.

use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    homeserver::{On, Place},
    rig::{PASSWORD, Peer, Stack},
    scenario,
};

scenario::on_both! {
    a_first_login_makes_an_identity_and_friends_read_each_other,
    a_device_without_a_signature_is_left_out_until_the_room_is_opened_to_all,
    a_second_device_sends_nothing_before_it_is_verified,
    an_identity_that_was_reset_stops_messages_until_it_is_accepted,
    devices_are_listed_renamed_blocked_and_deleted,
}

fn exit(output: &std::process::Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn one(grotto: &Grotto, arguments: &[&str]) -> Value {
    grotto.json(arguments).remove(0)
}

/// Alice and Bob on grotto, in a direct chat; both only send to signed devices.
fn friends(place: &Place) -> (Grotto, Grotto, String) {
    let alice = Grotto::log_in_strictly(place, "alice");
    let bob = Grotto::log_in_strictly(place, "bob");
    let made = one(&alice, &["create", "--dm", "--invite", &bob.user]);
    let room = made["room_id"].as_str().unwrap().to_owned();
    bob.json(&["join", &room]);
    (alice, bob, room)
}

fn newest(grotto: &Grotto, room: &str) -> Value {
    grotto.json(&["history", room, "--limit", "1"]).pop().unwrap()
}

fn a_first_login_makes_an_identity_and_friends_read_each_other(on: On) {
    let place = on.shared();
    let (alice, bob, room) = friends(place);
    let own = one(&alice, &["trust"]);
    assert_eq!((&own["own"], &own["cross_signed"]), (&json!("verified"), &json!(true)));
    let device = one(&alice, &["devices"]);
    assert_eq!((&device["this"], &device["verified"]), (&json!(true), &json!(true)));
    alice.json(&["send", &room, "hello"]);
    let heard = newest(&bob, &room);
    assert_eq!((&heard["body"], &heard["shield"]), (&json!("hello"), &json!("none")), "{heard}");
    let seen = one(&bob, &["trust", &alice.user, "--show"]);
    assert_eq!(seen["users"][0]["state"], "pinned");
    let policy = one(&alice, &["policy", &room]);
    assert_eq!((&policy["devices"], &policy["known"]), (&json!("signed"), &json!(1)));
    assert_eq!(policy["left_out"], json!([]));
}

fn a_device_without_a_signature_is_left_out_until_the_room_is_opened_to_all(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in_strictly(place, "alice");
    let mut bot = Peer::start(Stack::Nio, &place.base, "bot");
    let room = bot.create("Bots", &[&alice.user]);
    alice.json(&["join", &room]);
    alice.json(&["send", &room, "not for bots"]);
    let policy = one(&alice, &["policy", &room]);
    assert_eq!(policy["left_out"][0]["reason"], "no_identity", "{policy}");
    let policy = one(&alice, &["policy", &room, "--devices", "all"]);
    assert_eq!(policy["left_out"], json!([]));
    alice.json(&["send", &room, "for all"]);
    bot.hears("for all");
}

fn a_second_device_sends_nothing_before_it_is_verified(on: On) {
    let place = on.shared();
    let (alice, _bob, room) = friends(place);
    let second = Grotto::log_in_again_strictly(place, &alice.user);
    assert_eq!(one(&second, &["trust"])["own"], "unverified");
    let (code, words) = exit(&second.run(&["send", &room, "is it me?"]));
    assert_eq!(code, Some(5), "{words}");
    assert!(words.contains("grotto recover"), "{words}");
    // The first device leaves it out, too.
    alice.json(&["send", &room, "hello"]);
    let left = one(&alice, &["policy", &room]);
    let left = left["left_out"].as_array().unwrap().clone();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((&left[0]["user_id"], &left[0]["reason"]), (&json!(alice.user), &json!("unsigned")));
}

fn an_identity_that_was_reset_stops_messages_until_it_is_accepted(on: On) {
    let place = on.shared();
    let (alice, bob, room) = friends(place);
    alice.json(&["send", &room, "before"]);
    let (code, words) = exit(&bob.run(&["reset-identity", "--yes"]));
    assert_eq!(code, Some(1), "it needs a password: {words}");
    let reset = ["--json", "reset-identity", "--yes", "--password-file", "-"];
    let (code, words) = exit(&bob.run_with_input(&reset, PASSWORD));
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(one(&bob, &["trust"])["cross_signed"], true);
    let (code, words) = exit(&alice.run(&["send", &room, "who are you?"]));
    assert_eq!(code, Some(5), "{words}");
    assert!(words.contains(&format!("grotto trust {}", bob.user)), "{words}");
    let changed = one(&alice, &["trust"]);
    assert_eq!(changed["users"][0]["state"], "pin_violation", "{changed}");
    let accepted = one(&alice, &["trust", &bob.user]);
    assert_eq!(accepted["users"][0]["state"], "pinned");
    alice.json(&["send", &room, "after"]);
    assert_eq!(newest(&bob, &room)["body"], "after");
    bob.json(&["send", &room, "thanks"]);
    let heard = newest(&alice, &room);
    assert_eq!((&heard["body"], &heard["shield"]), (&json!("thanks"), &json!("none")));
}

fn devices_are_listed_renamed_blocked_and_deleted(on: On) {
    let place = on.shared();
    let (alice, bob, room) = friends(place);
    let second = Grotto::log_in_again_strictly(place, &alice.user);
    let devices = alice.json(&["devices"]);
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[1]["verified"], false);
    let id = devices[1]["device_id"].as_str().unwrap().to_owned();
    alice.json(&["devices", "rename", &id, "Old phone"]);
    assert_eq!(alice.json(&["devices"])[1]["name"], "Old phone");
    let (code, words) = exit(&alice.run(&["devices", "delete", &id]));
    assert_eq!(code, Some(1), "{words}");
    let delete = ["devices", "delete", &id, "--password-file", "-"];
    let (code, words) = exit(&alice.run_with_input(&delete, PASSWORD));
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(alice.json(&["devices"]).len(), 1);
    drop(second);
    let theirs = one(&alice, &["devices", "--user", &bob.user]);
    let id = theirs["device_id"].as_str().unwrap().to_owned();
    alice.json(&["devices", "block", &bob.user, &id]);
    alice.json(&["send", &room, "not for you"]);
    let heard = newest(&bob, &room);
    assert_eq!(
        (&heard["type"], &heard["reason"]),
        (&json!("undecryptable"), &json!("withheld:m.blacklisted"))
    );
    alice.json(&["devices", "unblock", &bob.user, &id]);
    alice.json(&["send", &room, "for you"]);
    assert_eq!(newest(&bob, &room)["body"], "for you");
}
