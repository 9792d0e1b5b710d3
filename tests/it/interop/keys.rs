//! Room keys from one client to another of the same account: by key file, and by the backup, which a
//! recovery key opens.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    homeserver::{On, Place},
    rig::{PATIENCE, Peer},
    scenario,
};

scenario::on_both! {
    a_key_file_of_grotto_is_imported_by_matrix_sdk_crypto,
    a_key_file_of_matrix_sdk_crypto_is_imported_by_grotto,
    a_recovery_key_of_grotto_opens_storage_and_backup_for_matrix_sdk_crypto,
    test_can_backup_keys,
    a_passphrase_of_matrix_sdk_crypto_opens_storage_and_backup_for_grotto,
}

/// A file of the account's folder that holds this line.
fn line_in(grotto: &Grotto, name: &str, line: &str) -> PathBuf {
    let path = grotto.home.join(name);
    fs::write(&path, format!("{line}\n")).unwrap();
    path
}

/// Bob on matrix-sdk-crypto says something in a room of his to this user, who reads it by `joins`.
fn told(place: &Place, user: &str, joins: impl FnOnce(&str)) -> (Peer, String) {
    let mut bob = Peer::cross_signed(&place.base, "bob");
    let room = bob.create("told", &[user]);
    joins(&room);
    bob.sees_join(&room, user);
    bob.say(&room, "long ago");
    (bob, room)
}

/// Alice on grotto, who has read what Bob said.
fn alice_was_told(place: &Place) -> (Grotto, Peer, String) {
    let alice = Grotto::log_in(place, "alice");
    let (bob, room) = told(place, &alice.user, |room| drop(alice.json(&["join", room])));
    crate::complement::reads(&alice, &room, "long ago");
    (alice, bob, room)
}

/// Alice on matrix-sdk-crypto, who has read what Bob said.
fn peer_was_told(place: &Place) -> (Peer, Peer, String) {
    let mut alice = Peer::cross_signed(&place.base, "alice");
    let (bob, room) = told(place, &alice.user.clone(), |room| {
        alice.find("the invitation", |line| line["k"] == "joined" && line["room"] == room);
    });
    alice.hears("long ago");
    (alice, bob, room)
}

/// How what Bob said stands in the history.
fn long_ago(grotto: &Grotto, room: &str, bob: &Peer) -> Value {
    let history = grotto.json(&["history", room]);
    let is_it = |line: &&Value| {
        line["sender"] == bob.user.as_str()
            && (line["type"] == "message" || line["type"] == "undecryptable")
    };
    history.iter().rfind(is_it).unwrap_or_else(|| panic!("{history:#?}")).clone()
}

fn a_key_file_of_grotto_is_imported_by_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let (alice, _bob, _room) = alice_was_told(place);
    let mut later = Peer::another_device(&place.base, &alice.user);
    later.find("the message", |line| line["k"] == "undecryptable");
    let (file, words) = (alice.home.join("keys.txt"), line_in(&alice, "words", "open sesame"));
    let (file, words) = (file.to_str().unwrap(), words.to_str().unwrap());
    alice.json(&["keys", "export", file, "--file-passphrase-file", words]);
    assert_eq!(later.imports_keys(&fs::read_to_string(file).unwrap(), "open sesame"), 1);
    later.hears("long ago");
}

fn a_key_file_of_matrix_sdk_crypto_is_imported_by_grotto(on: On) {
    let place = on.shared();
    let (mut alice, bob, room) = peer_was_told(place);
    let later = Grotto::log_in_again(place, &alice.user);
    assert_eq!(long_ago(&later, &room, &bob)["type"], "undecryptable");
    let file = line_in(&later, "keys.txt", &alice.exports_keys("open sesame"));
    let words = line_in(&later, "words", "open sesame");
    let (file, words) = (file.to_str().unwrap(), words.to_str().unwrap());
    later.json(&["keys", "import", file, "--file-passphrase-file", words]);
    assert_eq!(long_ago(&later, &room, &bob)["body"], "long ago");
}

/// Waits until the backup has all keys, and the program that brings them there has ended.
#[expect(clippy::disallowed_methods, reason = "waits by the real clock")]
pub(super) fn backs_up(grotto: &Grotto) {
    let _tail = grotto.tail();
    let give_up = std::time::Instant::now() + PATIENCE;
    loop {
        let backup = grotto.json(&["keys", "status"]).remove(0)["backup"].take();
        if backup["trusted"] == true && backup["to_upload"] == 0 {
            return;
        }
        assert!(std::time::Instant::now() < give_up, "the keys never came to the backup: {backup}");
    }
}

fn a_recovery_key_of_grotto_opens_storage_and_backup_for_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let (alice, _bob, _room) = alice_was_told(place);
    let made = alice.json(&["setup-recovery"]).remove(0);
    backs_up(&alice);
    let mut later = Peer::another_device(&place.base, &alice.user);
    later.find("the message", |line| line["k"] == "undecryptable");
    let own = later.opens_storage(made["recovery_key"].as_str().unwrap());
    let all = json!({"master": true, "self_signing": true, "user_signing": true, "backup": true});
    assert_eq!(own["has"], all, "{own}");
    assert_eq!((&own["verified"], &own["device_signed"]), (&json!(true), &json!(true)), "{own}");
    assert_eq!(later.backup_state()["trusted"], true);
    let restored = later.restores_backup();
    assert_eq!(restored["failed"], 0, "{restored}");
    later.hears("long ago");
}

/// Grotto recovers an account of matrix-sdk-crypto by what opens its storage.
fn recovers(on: On, passphrase: Option<&str>) {
    let place = on.shared();
    let (mut alice, bob, room) = peer_was_told(place);
    alice.creates_backup();
    assert_eq!(alice.backs_up(), 1);
    let key = alice.creates_storage(passphrase);
    let later = Grotto::log_in_again(place, &alice.user);
    assert_eq!(long_ago(&later, &room, &bob)["type"], "undecryptable");
    let file = line_in(&later, "recovery", passphrase.unwrap_or(&key));
    let file = file.to_str().unwrap();
    let recovered = later.json(&["recover", "--recovery-key-file", file]).remove(0);
    assert_eq!(recovered["cross_signed"], true, "{recovered}");
    assert_eq!(long_ago(&later, &room, &bob)["body"], "long ago");
    let device = own_device(&later);
    assert_eq!(alice.opinion_of_device(&later.user, &device)["cross_signed"], true);
}

fn test_can_backup_keys(on: On) {
    recovers(on, None);
}

fn a_passphrase_of_matrix_sdk_crypto_opens_storage_and_backup_for_grotto(on: On) {
    recovers(on, Some("nobody guesses this"));
}

/// The id of grotto's device.
pub(super) fn own_device(grotto: &Grotto) -> String {
    let devices = grotto.json(&["devices"]);
    let own = devices.iter().find(|device| device["this"] == true);
    let own = own.unwrap_or_else(|| panic!("{devices:#?}"));
    own["device_id"].as_str().unwrap().to_owned()
}
