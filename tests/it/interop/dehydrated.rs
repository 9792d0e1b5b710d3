//! A device that waits at the homeserver while its owner is logged out: made by one client, taken over by the next, grotto
//! and matrix-sdk-crypto both ways.

use serde_json::{Value, json};

use crate::{
    complement::reads,
    grotto::Grotto,
    homeserver::{On, Place},
    recovery::{recover, set_up},
    rig::{PATIENCE, Peer},
    scenario,
};

scenario::on_both! {
    what_was_said_while_the_only_device_was_logged_out_is_read_by_the_next,
    a_device_that_grotto_left_waiting_is_taken_over_by_matrix_sdk_crypto,
    a_device_that_matrix_sdk_crypto_left_waiting_is_taken_over_by_grotto,
}

/// Bob on grotto with a recovery key, in a room of Alice's; what it takes to log in as him.
fn bob(place: &Place) -> (Grotto, String) {
    let bob = Grotto::log_in_strictly(place, "bob");
    let key = set_up(&bob);
    (bob, key)
}

/// The lines of the account's device that waits.
fn waiting(grotto: &Grotto) -> Vec<Value> {
    let mut devices = grotto.json(&["devices"]);
    devices.retain(|device| device["dehydrated"] == true);
    devices
}

/// Waits until a user's device that waits is known to be signed.
#[expect(clippy::disallowed_methods, reason = "waits by the real clock")]
fn knows_who_waits(grotto: &Grotto, user: &str) {
    let give_up = std::time::Instant::now() + PATIENCE;
    loop {
        let devices = grotto.json(&["devices", "--user", user]);
        if devices.iter().any(|it| it["dehydrated"] == true && it["verified"] == true) {
            return;
        }
        assert!(std::time::Instant::now() < give_up, "none of {user} waits: {devices:#?}");
    }
}

fn what_was_said_while_the_only_device_was_logged_out_is_read_by_the_next(on: On) {
    let place = on.shared();
    let (bob, key) = bob(place);
    let alice = Grotto::log_in_strictly(place, "alice");
    alice.json(&["create", "--name", "Away", "--invite", &bob.user]);
    bob.json(&["join", "Away"]);
    alice.json(&["send", "Away", "before you go"]);
    reads(&bob, "Away", "before you go");
    let before = waiting(&bob);
    assert_eq!((before.len(), &before[0]["verified"]), (1, &json!(true)), "{before:#?}");
    bob.json(&["logout", "--yes"]);
    knows_who_waits(&alice, &bob.user);
    alice.json(&["send", "Away", "while you were away"]);

    let later = Grotto::log_in_again_strictly(place, &bob.user);
    let history = later.json(&["history", "Away"]);
    assert!(history.iter().all(|line| line["body"] != "while you were away"), "{history:#?}");
    assert_eq!(recover(&later, &key)["cross_signed"], true);
    let history = reads(&later, "Away", "while you were away");
    let line = history.iter().find(|line| line["body"] == "while you were away").unwrap();
    assert_eq!((&line["sender"], &line["shield"]), (&json!(alice.user), &json!("none")), "{line}");
    let after = waiting(&later);
    assert_eq!(after.len(), 1, "{after:#?}");
    assert_ne!(after[0]["device_id"], before[0]["device_id"], "another waits for the next time");
}

fn a_device_that_grotto_left_waiting_is_taken_over_by_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let (bob, key) = bob(place);
    let mut alice = Peer::cross_signed(&place.base, "alice");
    let room = alice.create("away", &[&bob.user]);
    bob.json(&["join", &room]);
    alice.sees_join(&room, &bob.user);
    let device = waiting(&bob)[0]["device_id"].as_str().unwrap().to_owned();
    bob.json(&["logout", "--yes"]);
    let seen = alice.opinion_of_device(&bob.user, &device);
    assert_eq!((&seen["dehydrated"], &seen["cross_signed"]), (&json!(true), &json!(true)));
    alice.say(&room, "while you were away");

    let mut later = Peer::another_device(&place.base, &bob.user);
    later.find("the message", |line| line["k"] == "undecryptable");
    later.opens_storage(&key);
    let secret = later.order(json!({"do": "storage_get", "name": "org.matrix.msc3814"}));
    let taken = later.order(json!({"do": "rehydrate", "key": secret["value"]}));
    assert_eq!((&taken["device"], &taken["keys"]), (&json!(device), &json!(1)), "{taken}");
    later.hears("while you were away");
}

fn a_device_that_matrix_sdk_crypto_left_waiting_is_taken_over_by_grotto(on: On) {
    let place = on.shared();
    let mut alice = Peer::cross_signed(&place.base, "alice");
    let mut bob = Peer::cross_signed(&place.base, "bob");
    let room = alice.create("away", &[&bob.user]);
    bob.find("the invitation", |line| line["k"] == "joined" && line["room"] == room.as_str());
    alice.sees_join(&room, &bob.user);
    let key = bob.creates_storage(None);
    let sleeping = bob.order(json!({"do": "dehydrate"}));
    let secret =
        json!({"do": "storage_put", "name": "org.matrix.msc3814", "value": sleeping["key"]});
    bob.order(secret);
    let device = sleeping["device"].as_str().unwrap();
    assert_eq!(alice.opinion_of_device(&bob.user, device)["dehydrated"], true);
    alice.say(&room, "while you were away");

    let later = Grotto::log_in_again(place, &bob.user);
    let history = later.json(&["history", &room]);
    assert!(history.iter().any(|line| line["type"] == "undecryptable"), "{history:#?}");
    assert_eq!(recover(&later, &key)["cross_signed"], true);
    reads(&later, &room, "while you were away");
    let after = waiting(&later);
    assert!(after.len() == 1 && after[0]["device_id"] != device, "{after:#?}");
}
