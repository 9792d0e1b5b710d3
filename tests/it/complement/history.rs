//! Who may read what was said before.

use serde_json::json;

use super::{Pair, cannot_read, hears, pair, reads, says, sees};
use crate::{
    grotto::Grotto,
    homeserver::On,
    rig::{PASSWORD, Peer, Stack},
    scenario,
};

scenario::on_both! {
    test_can_decrypt_messages_after_invite_but_before_join,
    test_bob_can_see_but_not_decrypt_history_in_public_room,
    test_on_rejoin_bob_can_see_but_not_decrypt_history_in_public_room,
    test_on_new_device_bob_can_see_but_not_decrypt_history_in_public_room,
    test_changing_device_after_invite_re_encrypts,
}

fn test_can_decrypt_messages_after_invite_but_before_join(on: On) {
    let place = on.shared();
    let bob = Grotto::log_in_strictly(place, "bob");
    let mut alice = Peer::cross_signed(&place.base, "alice");
    let room = alice.create("early", &[&bob.user]);
    alice.say(&room, "before bob joined");
    bob.json(&["join", &room]);
    reads(&bob, &room, "before bob joined");
    let mut carol = Peer::cross_signed_with(&place.base, "carol", &["--no-join"]);
    bob.json(&["invite", &room, &carol.user]);
    carol.find("the invitation", |line| line["k"] == "invited" && line["room"] == room.as_str());
    says(&bob, &room, "before carol joined");
    carol.order(json!({"do": "join", "room": room}));
    carol.hears("before carol joined");
}

/// A public room of the peer's.
fn public(peer: &mut Peer) -> String {
    let command = json!({"do": "create", "preset": "public_chat", "invite": []});
    peer.order(command)["room"].as_str().unwrap().to_owned()
}

fn test_bob_can_see_but_not_decrypt_history_in_public_room(on: On) {
    let place = on.shared();
    let mut alice = Peer::cross_signed(&place.base, "alice");
    let room = public(&mut alice);
    let before = alice.say(&room, "before bob");
    let bob = Grotto::log_in_strictly(place, "bob");
    bob.json(&["join", &room]);
    alice.sees_join(&room, &bob.user);
    alice.say(&room, "after bob");
    cannot_read(&reads(&bob, &room, "after bob"), &before);

    let before = says(&bob, &room, "before carol");
    let mut tail = super::follow(&bob);
    let mut carol = Peer::cross_signed(&place.base, "carol");
    carol.order(json!({"do": "join", "room": room}));
    sees(&mut tail, &carol.user, "join");
    says(&bob, &room, "after carol");
    carol.hears("after carol");
    carol.find("what came before", |line| line["k"] == "undecryptable" && line["event"] == before);
}

fn test_on_rejoin_bob_can_see_but_not_decrypt_history_in_public_room(on: On) {
    let place = on.shared();
    let mut alice = Peer::cross_signed(&place.base, "alice");
    let room = public(&mut alice);
    let bob = Grotto::log_in_strictly(place, "bob");
    bob.json(&["join", &room]);
    alice.sees_join(&room, &bob.user);
    alice.say(&room, "first");
    reads(&bob, &room, "first");
    bob.json(&["leave", &room]);
    alice.find("bob's leaving", |line| {
        line["content"]["membership"] == "leave" && line["sender"] == bob.user.as_str()
    });
    let away = alice.say(&room, "while bob is away");
    bob.json(&["join", &room]);
    alice.sees_join(&room, &bob.user);
    alice.say(&room, "back");
    cannot_read(&reads(&bob, &room, "back"), &away);

    // And the other way round: alice on matrix-sdk-crypto goes, bob on grotto stays.
    let mut tail = super::follow(&bob);
    alice.order(json!({"do": "leave", "room": room}));
    sees(&mut tail, &alice.user, "leave");
    let away = says(&bob, &room, "while alice is away");
    alice.order(json!({"do": "join", "room": room}));
    sees(&mut tail, &alice.user, "join");
    says(&bob, &room, "welcome back");
    alice.hears("welcome back");
    alice.find("what was said meanwhile", |line| {
        line["k"] == "undecryptable" && line["event"] == away.as_str()
    });
}

fn test_on_new_device_bob_can_see_but_not_decrypt_history_in_public_room(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    let before = says(&alice, &room, "before the new device");
    bob.hears("before the new device");
    let recovery_key = bob.creates_storage(None);
    let mut second = Peer::another_device(&place.base, &bob.user);
    second.opens_storage(&recovery_key);
    second.find("what came before", |line| {
        line["k"] == "undecryptable" && line["event"] == before.as_str()
    });
    // What comes after the change of Bob's devices, comes after it at Alice too.
    bob.say(&room, "a device more");
    hears(&mut tail, "a device more");
    says(&alice, &room, "after the new device");
    let running = super::session(&mut second, "after the new device");
    second.order(json!({"do": "log_out"}));
    bob.say(&room, "a device less");
    hears(&mut tail, "a device less");
    says(&alice, &room, "after it is gone");
    assert_ne!(super::session(&mut bob, "after it is gone"), running);

    // A new device of Alice's on grotto.
    let later = Grotto { home: crate::rig::folder("later"), user: alice.user.clone() };
    assert!(later.run_with_input(&later.login(place), PASSWORD).status.success());
    let said = bob.say(&room, "for the new one too");
    let history = reads(&later, &room, "for the new one too");
    assert!(history.iter().any(|line| line["event_id"] == said.as_str()));
    cannot_read(&history, &before);
}

/// Expected to fail in Matrix: what was said is for the devices of that moment.
fn test_changing_device_after_invite_re_encrypts(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, bob: _bob, room } = pair(&place.base, place);
    let mut carol = Peer::cross_signed_with(&place.base, "carol", &["--no-join"]);
    let recovery_key = carol.creates_storage(None);
    alice.json(&["invite", &room, &carol.user]);
    carol.find("the invitation", |line| line["k"] == "invited" && line["room"] == room.as_str());
    let early = says(&alice, &room, "for the old device");
    carol.order(json!({"do": "log_out"}));
    let mut later = Peer::on(Stack::Sdk, &place.base, carol.user.clone(), &["--no-join"]);
    later.opens_storage(&recovery_key);
    later.order(json!({"do": "join", "room": room}));
    sees(&mut tail, &later.user, "join");
    says(&alice, &room, "for the new device");
    later.hears("for the new device");
    later.find("the first", |line| line["k"] == "undecryptable" && line["event"] == early.as_str());
}
