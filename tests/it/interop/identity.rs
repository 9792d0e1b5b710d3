//! Identities: each side sees the other's, sends to what it signed, and notices when it is another.

use serde_json::json;

use super::keys::own_device;
use crate::{
    grotto::Grotto,
    headless::fails,
    homeserver::On,
    rig::{Lines, PASSWORD, Peer},
    scenario,
};

scenario::on_both! {
    each_sees_the_other_as_cross_signed,
    only_what_its_owner_signed_gets_keys_on_either_side,
    an_identity_that_matrix_sdk_crypto_resets_is_noticed_by_grotto,
    an_identity_that_grotto_resets_is_noticed_by_matrix_sdk_crypto,
}

/// Alice on grotto and Bob on matrix-sdk-crypto, who has these options, in a room of Bob's.
fn pair(on: On, options: &[&str]) -> (Grotto, Lines, Peer, String) {
    let place = on.shared();
    let mut bob = Peer::cross_signed_with(&place.base, "bob", options);
    let alice = Grotto::log_in(place, "alice");
    let room = bob.create("identities", &[&alice.user]);
    alice.json(&["join", &room]);
    bob.sees_join(&room, &alice.user);
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    (alice, tail, bob, room)
}

fn each_sees_the_other_as_cross_signed(on: On) {
    // Bob sends only to what its owner signed, and reads nothing else.
    let (alice, mut tail, mut bob, room) =
        pair(on, &["--share-with", "cross-signed", "--read", "cross-signed"]);
    let opinion = bob.opinion_of(&alice.user);
    assert_eq!((&opinion["changed"], &opinion["verified"]), (&json!(false), &json!(false)));
    let device = own_device(&alice);
    assert_eq!(bob.opinion_of_device(&alice.user, &device)["cross_signed"], true);
    bob.say(&room, "from a signed device");
    let heard = tail.find("bob's", |line| line["body"] == "from a signed device");
    assert_eq!(heard["shield"], "none", "{heard}");
    alice.json(&["send", &room, "from a signed one too"]);
    let heard = bob.hears("from a signed one too");
    assert_eq!(heard["device"], device);
    assert_eq!(heard["shield"], "UnverifiedIdentity", "signed, by an identity not compared");
    let shown = alice.json(&["trust", &bob.user, "--show"]).remove(0);
    let state = &shown["users"][0];
    assert_eq!(state["state"], "pinned", "{shown}");
}

fn only_what_its_owner_signed_gets_keys_on_either_side(on: On) {
    let (alice, mut tail, mut bob, room) = pair(on, &[]);
    alice.json(&["policy", "--devices", "signed"]);
    let mut phone = Peer::another_device(&on.shared().base, &bob.user);
    bob.say(&room, "an unsigned phone is there");
    tail.find("bob's", |line| line["body"] == "an unsigned phone is there");
    let sent = alice.json(&["send", &room, "not for the phone"]).remove(0);
    bob.hears("not for the phone");
    let line = phone.find("the message", |line| {
        line["k"] == "undecryptable" && line["event"] == sent["event_id"]
    });
    let event = line["event"].as_str().unwrap();
    assert_ne!(phone.look_at(event)["undecryptable"], json!(null));
    // What the phone says is marked.
    phone.say(&room, "from the phone");
    let heard = tail.find("the phone's", |line| line["body"] == "from the phone");
    assert_ne!(heard["shield"], "none", "{heard}");
    // Signed, it gets what comes.
    bob.order(json!({"do": "sign_device", "device": phone.device}));
    bob.say(&room, "the phone is signed");
    tail.find("bob's", |line| line["body"] == "the phone is signed");
    alice.json(&["send", &room, "for the phone too"]);
    phone.hears("for the phone too");
}

fn an_identity_that_matrix_sdk_crypto_resets_is_noticed_by_grotto(on: On) {
    let (alice, mut tail, mut bob, room) = pair(on, &[]);
    alice.json(&["send", &room, "to the bob she knows"]);
    bob.hears("to the bob she knows");
    bob.reset_identity();
    bob.say(&room, "it is me");
    tail.find("bob's", |line| line["body"] == "it is me");
    let alarm = tail.find("the alarm", |line| {
        line["type"] == "alarm" && line["detail"].to_string().contains(&bob.user)
    });
    assert_eq!(alarm["code"], "identity_changed", "{alarm}");
    let shown = alice.json(&["trust", &bob.user, "--show"]).remove(0);
    assert_eq!(shown["users"][0]["state"], "pin_violation", "{shown}");
    fails(&alice.run(&["send", &room, "to whom?"]), 5, "identity");
    alice.json(&["trust", &bob.user]);
    alice.json(&["send", &room, "to the new bob"]);
    bob.hears("to the new bob");
}

fn an_identity_that_grotto_resets_is_noticed_by_matrix_sdk_crypto(on: On) {
    let (alice, tail, mut bob, room) = pair(on, &[]);
    let before = bob.opinion_of(&alice.user);
    drop(tail);
    let reset = ["--json", "reset-identity", "--yes", "--password-file", "-"];
    let output = alice.run_with_input(&reset, PASSWORD);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = bob.opinion_of(&alice.user);
    assert_ne!(after["master"], before["master"]);
    assert_eq!((&before["changed"], &after["changed"]), (&json!(false), &json!(true)), "{after}");
    assert_eq!(bob.opinion_of_device(&alice.user, &own_device(&alice))["cross_signed"], true);
    bob.acknowledge(&alice.user);
    bob.say(&room, "to the new alice");
    crate::complement::reads(&alice, &room, "to the new alice");
}
