//! The peers by themselves: what the other tests stand on must work without grotto, on both homeservers.

use serde_json::json;

use crate::{
    homeserver::On,
    rig::{Peer, Stack},
    scenario,
};

scenario::on_both! {
    peers_verify_each_other_in_a_room,
    a_new_device_is_verified_by_a_code_and_given_the_secrets,
    a_new_device_opens_secret_storage_and_reads_the_backup,
    peers_exchange_files_and_the_history_of_a_room,
    a_reset_identity_is_noticed_by_a_peer,
    a_dehydrated_device_collects_keys,
}

/// Two with identities and a room.
pub(super) fn two(base: &str) -> (Peer, Peer, String) {
    let mut alice = Peer::cross_signed(base, "alice");
    let mut bob = Peer::cross_signed(base, "bob");
    let room = alice.create("two", &[&bob.user]);
    bob.find("the invitation", |line| line["k"] == "joined" && line["room"] == room.as_str());
    alice.sees_join(&room, &bob.user);
    (alice, bob, room)
}

fn peers_verify_each_other_in_a_room(on: On) {
    let (mut alice, mut bob, room) = two(&on.shared().base);
    let asked = alice.asks_to_verify(&bob.user, &room);
    let accepted = bob.accepts_verification(&alice.user);
    alice.starts_sas(&asked);
    assert_eq!(alice.compares(&asked), bob.compares(&accepted));
    alice.confirms(&asked);
    bob.confirms(&accepted);
    alice.reaches(&asked, "done");
    bob.reaches(&accepted, "done");
    alice.comes_to_verify(&bob.user);
    bob.comes_to_verify(&alice.user);
}

fn a_new_device_is_verified_by_a_code_and_given_the_secrets(on: On) {
    let base = &on.shared().base;
    let mut first = Peer::cross_signed(base, "alice");
    first.creates_backup();
    let mut second = Peer::another_device(base, &first.user);
    let asked = second.asks_own_devices_to_verify();
    let accepted = first.accepts_verification(&second.user.clone());
    let code = first.shows_code(&accepted);
    second.reaches(&asked, "ready");
    second.scans_code(&asked, &code);
    first.reaches(&accepted, "qr.scanned");
    first.confirms(&accepted);
    second.reaches(&asked, "done");
    second.has_secrets();
    let own = second.own_identity();
    assert_eq!((&own["verified"], &own["device_signed"]), (&json!(true), &json!(true)), "{own}");
}

fn a_new_device_opens_secret_storage_and_reads_the_backup(on: On) {
    let base = &on.shared().base;
    let (mut alice, mut bob, room) = two(base);
    alice.say(&room, "before");
    bob.hears("before");
    bob.creates_backup();
    assert!(bob.backs_up() > 0);
    let recovery_key = bob.creates_storage(None);
    let mut later = Peer::another_device(base, &bob.user);
    later.find("the message", |line| {
        line["k"] == "undecryptable" && line["sender"] == alice.user.as_str()
    });
    let own = later.opens_storage(&recovery_key);
    assert_eq!(own["device_signed"], true, "{own}");
    assert_eq!(own["backup"], true, "{own}");
    assert_eq!(later.backup_state()["trusted"], true);
    later.restores_backup();
    later.hears("before");
    let text = bob.exports_keys("words");
    let mut third = Peer::another_device(base, &bob.user);
    assert!(third.imports_keys(&text, "words") > 0);
    third.hears("before");
}

fn peers_exchange_files_and_the_history_of_a_room(on: On) {
    let base = &on.shared().base;
    let (mut alice, mut bob, room) = two(base);
    let hash = alice.sends_file(&room, "file.bin", 100_000);
    let message = bob.hears("file.bin");
    assert_eq!(bob.fetches_file(&message["content"]), hash);
    let mut carol = Peer::cross_signed(base, "carol");
    let shared = alice.shares_history(&room, &carol.user);
    assert_eq!(shared["keys"], 1, "{shared}");
    assert_eq!(shared["devices"], 1, "{shared}");
    alice.invite(&room, &carol.user);
    carol.find("the invitation", |line| line["k"] == "joined" && line["room"] == room.as_str());
    assert_eq!(carol.takes_history(&room), 1);
    carol.hears("file.bin");
}

fn a_reset_identity_is_noticed_by_a_peer(on: On) {
    let (mut alice, mut bob, _room) = two(&on.shared().base);
    let before = alice.opinion_of(&bob.user);
    assert_eq!(before["changed"], false, "{before}");
    bob.reset_identity();
    let after = alice.opinion_of(&bob.user);
    assert_eq!(after["changed"], true, "{after}");
    assert_ne!(after["master"], before["master"]);
    assert_eq!(alice.acknowledge(&bob.user)["changed"], false);
}

fn a_dehydrated_device_collects_keys(on: On) {
    let base = &on.shared().base;
    let (mut alice, mut bob, room) = two(base);
    let sleeping = bob.order(json!({"do": "dehydrate"}));
    let device = sleeping["device"].as_str().unwrap();
    assert_eq!(alice.opinion_of_device(&bob.user, device)["dehydrated"], true);
    alice.say(&room, "while nobody was there");
    let mut later = Peer::on(Stack::Sdk, base, bob.user.clone(), &[]);
    later.find("the message", |line| line["k"] == "undecryptable");
    later.order(json!({"do": "rehydrate", "key": sleeping["key"]}));
    later.hears("while nobody was there");
}
