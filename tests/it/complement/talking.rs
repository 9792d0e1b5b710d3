//! Two users exchange messages, whatever the server does at first.

use super::{Pair, hears, pair, says};
use crate::{grotto::Grotto, homeserver::On, meddler::Meddler, rig::Peer, scenario};

scenario::on_both! {
    test_alice_bob_encryption_works,
}

scenario::over_http! {
    test_delayed_invite_response,
    test_failed_device_key_download_retries,
    test_failed_keys_claim_retries,
    test_client_retries_send_to_device,
}

fn test_alice_bob_encryption_works(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    bob.say(&room, "from bob");
    let heard = hears(&mut tail, "from bob");
    assert_eq!(heard["encrypted"], true);
    assert_ne!(heard["shield"], "red");
    says(&alice, &room, "from alice");
    assert_eq!(bob.hears("from alice")["k"], "decrypted");
    // The same where grotto made the room.
    let created = alice.json(&["create", "--name", "hers", "--invite", &bob.user]);
    let room = created[0]["room_id"].as_str().unwrap();
    bob.find("the invitation", |line| line["k"] == "joined" && line["room"] == room);
    bob.sees_join(room, &bob.user.clone());
    says(&alice, room, "welcome");
    bob.hears("welcome");
    bob.say(room, "thanks");
    hears(&mut tail, "thanks");
}

fn test_delayed_invite_response(on: On) {
    let meddler = Meddler::before(&on.shared().base);
    let Pair { alice, tail: _tail, bob: _bob, room } = pair(&on.shared().base, &meddler.place());
    let mut carol = Peer::cross_signed_with(&on.shared().base, "carol", &["--no-join"]);
    meddler.holds_answers("/invite");
    let mut inviting = alice.command(&["invite", &room, &carol.user]);
    let mut inviting = inviting.stdin(std::process::Stdio::null()).spawn().unwrap();
    carol.find("the invitation", |line| line["k"] == "invited" && line["room"] == room.as_str());
    says(&alice, &room, "at once");
    meddler.lets_go();
    assert!(inviting.wait().unwrap().success());
    carol.order(serde_json::json!({"do": "join", "room": room}));
    carol.hears("at once");
}

fn test_failed_device_key_download_retries(on: On) {
    retried(on, "/keys/query");
}

fn test_failed_keys_claim_retries(on: On) {
    retried(on, "/keys/claim");
}

fn test_client_retries_send_to_device(on: On) {
    retried(on, "/sendToDevice/m.room.encrypted");
}

/// A message is read although the server refuses what its key needs, twice.
fn retried(on: On, path: &str) {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let mut bob = Peer::cross_signed(base, "bob");
    let alice = Grotto::log_in_strictly(&meddler.place(), "alice");
    let room = bob.create("pair", &[&alice.user]);
    meddler.refuses(path, 2);
    alice.json(&["join", &room]);
    let _tail = super::follow(&alice);
    says(&alice, &room, "in spite of it");
    bob.hears("in spite of it");
    assert!(3 <= meddler.calls(path).len(), "{:?}", meddler.calls(path));
}
