//! Room keys that one device of an account asks of another: only where it is turned on, and only among devices that the
//! account's identity signed.

use std::fs;

use serde_json::{Value, json};

use super::keys::own_device;
use crate::{
    complement::{follow, reads},
    grotto::Grotto,
    headless::send,
    homeserver::On,
    rig::{Peer, Stack},
    scenario,
    verification::{verify_devices, verify_ours_by_peer, verify_peer_by_ours},
};

scenario::on_both! {
    a_verified_device_of_ours_sends_the_key_that_another_asks_for,
    matrix_sdk_crypto_sends_the_key_that_grotto_asks_for,
    grotto_sends_the_key_that_matrix_sdk_crypto_asks_for,
}

/// Turns it on in the configuration.
fn turn_on(grotto: &Grotto) {
    let folder = grotto.home.join("xdg_config_home/grotto");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), "[encryption]\nkey_requests = \"own_devices\"\n")
        .unwrap();
}

/// What `keys why` says of the key of a message.
fn key_of(grotto: &Grotto, room: &str, event: &str) -> Value {
    grotto.json(&["keys", "why", room, event]).remove(0)["key"].take()
}

/// The text of `keys why`.
fn words(grotto: &Grotto, room: &str, event: &str) -> String {
    String::from_utf8(grotto.run(&["keys", "why", room, event]).stdout).unwrap()
}

fn key_requests(grotto: &Grotto) -> Value {
    grotto.json(&["keys", "status"]).remove(0)["key_requests"].take()
}

/// A room of this account's alone, with a message in it: room and event.
fn note(grotto: &Grotto) -> (String, String) {
    let room = grotto.json(&["create", "--name", "Attic"]).remove(0);
    let room = room["room_id"].as_str().unwrap().to_owned();
    let event = send(grotto, &[&room, "long ago"]);
    (room, event)
}

/// Checks that a message can be read by a key that this device sent, and that this is told.
fn came_from(later: &Grotto, (room, event): (&str, &str), device: &str) {
    let history = reads(later, room, "long ago");
    let line = history.iter().find(|line| line["event_id"] == event).unwrap();
    assert_eq!(line["shield"], "grey", "{line}");
    let key = key_of(later, room, event);
    assert_eq!(
        (&key["held"]["source"], &key["held"]["forwarded_by"], &key["asked"]["devices"]),
        (&json!("forwarded"), &json!(device), &json!([device])),
        "{key}"
    );
    assert!(words(later, room, event).contains(&format!("from our device {device}")));
    assert_eq!(key_requests(later), json!({"policy": "own_devices", "asked": 1, "open": 0}));
}

fn a_verified_device_of_ours_sends_the_key_that_another_asks_for(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    let (room, event) = note(&first);
    let later = Grotto::log_in_again(place, &first.user);
    later.json(&["history", &room]);
    let key = key_of(&later, &room, &event);
    assert_eq!((&key["asking"], &key["asked"]), (&json!("off"), &Value::Null), "{key}");
    assert!(words(&later, &room, &event).contains("key_requests is off"));
    assert_eq!(key_requests(&later), json!({"policy": "off", "asked": 0, "open": 0}));

    turn_on(&first);
    turn_on(&later);
    later.json(&["history", &room]);
    assert_eq!(key_requests(&later)["asked"], 0, "no device of hers is verified here");
    assert!(words(&later, &room, &event).contains("no other device"));
    verify_devices(&first, &later);
    let _answers = follow(&first);
    came_from(&later, (&room, &event), &own_device(&first));
}

fn matrix_sdk_crypto_sends_the_key_that_grotto_asks_for(on: On) {
    let place = on.shared();
    let mut first = Peer::cross_signed_with(&place.base, "alice", &["--forward-keys"]);
    let room = first.create("attic", &[]);
    let event = first.say(&room, "long ago");
    let later = Grotto::log_in_again(place, &first.user);
    turn_on(&later);
    verify_ours_by_peer(&later, &mut first);
    let device = first.device.clone();
    came_from(&later, (&room, &event), &device);
}

fn grotto_sends_the_key_that_matrix_sdk_crypto_asks_for(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    turn_on(&first);
    let (_room, event) = note(&first);
    let mut later = Peer::on(Stack::Sdk, &place.base, first.user.clone(), &["--ask-keys"]);
    later.find("the message", |line| {
        line["k"] == "undecryptable" && line["event"] == event.as_str()
    });
    verify_peer_by_ours(&first, &mut later);
    let _answers = follow(&first);
    later.hears("long ago");
}
