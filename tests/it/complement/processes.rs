//! Several processes on one account. Elsewhere they are an app and the service that shows its notifications; here, the
//! program that holds the account and the commands that a script runs beside it or instead of it: a second process never
//! opens the store, it is a guest of the first or takes over from it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Pair, follow, hears, pair, reads, says, session};
use crate::{
    grotto::Grotto,
    homeserver::On,
    meddler::Meddler,
    recovery::{await_backup, recover, set_up},
    rig::Peer,
    scenario,
};

scenario::on_both! {
    test_nse_receive,
    test_nse_receive_for_old_message,
    test_nse_receive_for_message_with_many_unread,
    test_nse_receive_for_non_pre_key_message,
    test_multiprocess_nse,
    test_multiprocess_nse_backup_key_mac_error,
    test_multiprocess_nse_olm_session_wedge,
    test_multiprocess_initial_e2ee_sync_doesnt_drop_device_list_updates,
}

scenario::over_http! {
    test_notification_client_dupe_otk_upload,
}

fn test_nse_receive(on: On) {
    let place = on.shared();
    let Pair { alice, tail, mut bob, room } = pair(&place.base, place);
    drop(tail);
    bob.say(&room, "while nothing runs");
    reads(&alice, &room, "while nothing runs");
}

fn test_nse_receive_for_old_message(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    bob.say(&room, "an old one");
    hears(&mut tail, "an old one");
    bob.order(serde_json::json!({"do": "rotate", "room": room}));
    bob.say(&room, "a newer one");
    hears(&mut tail, "a newer one");
    assert_eq!(tail.terminate(), Some(0));
    reads(&alice, &room, "an old one");
}

fn test_nse_receive_for_message_with_many_unread(on: On) {
    let place = on.shared();
    let Pair { alice, tail, mut bob, room } = pair(&place.base, place);
    drop(tail);
    bob.say(&room, "the first of many");
    crate::talk::burst(&mut bob, &room, "bob", 0..60);
    bob.say(&room, "the last of many");
    let history = reads(&alice, &room, "the last of many");
    assert!(history.iter().any(|line| line["body"] == "the first of many"), "{history:#?}");
    assert!(!history.iter().any(|line| line["type"] == "undecryptable"), "{history:#?}");
}

fn test_nse_receive_for_non_pre_key_message(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    bob.say(&room, "by a pre-key message");
    hears(&mut tail, "by a pre-key message");
    // Alice's key goes to Bob over the session that he began: from now on it needs no pre-key.
    says(&alice, &room, "an answer");
    bob.hears("an answer");
    assert_eq!(tail.terminate(), Some(0));
    bob.order(serde_json::json!({"do": "rotate", "room": room}));
    bob.say(&room, "by an ordinary one");
    reads(&alice, &room, "by an ordinary one");
}

fn test_multiprocess_nse(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    for round in 0..4 {
        bob.order(serde_json::json!({"do": "rotate", "room": room}));
        let body = format!("to a guest {round}");
        bob.say(&room, &body);
        reads(&alice, &room, &body);
        hears(&mut tail, &body);
        assert_eq!(tail.terminate(), Some(0));
        let body = format!("to one alone {round}");
        bob.say(&room, &body);
        reads(&alice, &room, &body);
        tail = follow(&alice);
    }
}

/// One process turns the backup on, another one that was there before or came between uses it: what any of them uploads is
/// sealed with its key, so that a new login reads all of it.
fn test_multiprocess_nse_backup_key_mac_error(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    let recovery_key = set_up(&alice);
    bob.say(&room, "to a guest");
    reads(&alice, &room, "to a guest");
    hears(&mut tail, "to a guest");
    assert_eq!(tail.terminate(), Some(0));
    bob.order(serde_json::json!({"do": "rotate", "room": room}));
    bob.say(&room, "to one alone");
    reads(&alice, &room, "to one alone");
    tail = follow(&alice);
    bob.order(serde_json::json!({"do": "rotate", "room": room}));
    bob.say(&room, "to the first again");
    hears(&mut tail, "to the first again");
    await_backup(&alice);

    let later = Grotto::log_in_again_strictly(place, &alice.user);
    let recovered = recover(&later, &recovery_key);
    assert_eq!(recovered["keys_restored"], 3, "{recovered}");
    let history = reads(&later, &room, "to the first again");
    for body in ["to a guest", "to one alone"] {
        assert!(history.iter().any(|line| line["body"] == body), "{body}: {history:#?}");
    }
    let backup = later.json(&["keys", "status"]).remove(0)["backup"].take();
    assert_eq!(backup["problem"], Value::Null, "{backup}");
}

fn test_multiprocess_nse_olm_session_wedge(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    for round in 0..4 {
        // Both sides use the session between their devices in turns, from process to process.
        bob.order(serde_json::json!({"do": "rotate", "room": room}));
        let body = format!("there {round}");
        bob.say(&room, &body);
        hears(&mut tail, &body);
        assert_eq!(tail.terminate(), Some(0));
        let body = format!("back {round}");
        says(&alice, &room, &body);
        session(&mut bob, &body);
        tail = follow(&alice);
    }
    let history = alice.json(&["history", &room]);
    assert!(!history.iter().any(|line| line["type"] == "undecryptable"), "{history:#?}");
    assert!(!bob.unread().iter().any(|line| line["k"] == "undecryptable"));
}

fn test_multiprocess_initial_e2ee_sync_doesnt_drop_device_list_updates(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    says(&alice, &room, "for one device");
    bob.hears("for one device");
    assert_eq!(tail.terminate(), Some(0));
    let mut phone = Peer::another_device(&place.base, &bob.user);
    bob.order(serde_json::json!({"do": "sign_device", "device": phone.device}));
    bob.say(&room, "a new phone");
    // A short process takes the news of the device, another one needs it.
    reads(&alice, &room, "a new phone");
    says(&alice, &room, "for both devices");
    phone.hears("for both devices");
    bob.hears("for both devices");
}

fn test_notification_client_dupe_otk_upload(on: On) {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let Pair { alice, tail, mut bob, room } = pair(base, &meddler.place());
    drop(tail);
    for round in 0..3 {
        let mut peer = Peer::cross_signed(base, "dave");
        let other = peer.create("more", &[&alice.user]);
        // Several at once, each of which would like to hold the account.
        let children: Vec<_> = (0..3)
            .map(|_| {
                alice.command(&["join", &other]).stdin(std::process::Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut child in children {
            child.wait().unwrap();
        }
        peer.sees_join(&other, &alice.user);
        let body = format!("uses a key {round}");
        peer.say(&other, &body);
        reads(&alice, &other, &body);
    }
    bob.say(&room, "still readable");
    reads(&alice, &room, "still readable");
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    for call in meddler.calls("/keys/upload") {
        for (id, key) in call.body["one_time_keys"].as_object().into_iter().flatten() {
            let twice = keys.insert(id.clone(), key["key"].clone());
            assert!(twice.is_none_or(|first| first == key["key"]), "two keys under the id {id}");
        }
    }
}
