//! What a homeserver or the other side may try.

use serde_json::{Value, json};

use super::{Rig, Said};
use crate::e2ee::{Ending, Machine, Scan, VerificationAct as Act, VerificationStage as Stage};

/// The newest event of a type in the room.
fn newest(rig: &Rig, kind: &str) -> Said {
    let mut said = rig.log.iter().rev();
    said.find(|said| said.kind == format!("m.key.verification.{kind}")).unwrap().clone()
}

/// Lets `by` say something in the newest verification, to `to` alone.
fn forge(rig: &mut Rig, (by, to): (usize, usize), kind: &str, mut content: Value) {
    let request = rig.log.iter().rev().find(|said| said.kind == "m.room.message").unwrap();
    content["m.relates_to"] = json!({ "rel_type": "m.reference", "event_id": request.id });
    let content = content.as_object().unwrap().clone();
    let kind = format!("m.key.verification.{kind}");
    let said = Said { by, id: "$forged".try_into().unwrap(), kind, content };
    rig.hear(to, &said);
    rig.settle();
}

// T-82
#[test]
fn keys_swapped_midway_end_it() {
    let mut rig = Rig::couple();
    rig.compare(0, 1, 0);
    rig.act(0, Act::Confirm);
    rig.world.at(1, Machine::reset_identity).unwrap();
    rig.settle();
    assert_eq!(rig.ending(0).0.as_str(), "m.key_mismatch");
    let _late = rig.try_act(1, Act::Confirm);
    rig.settle();
    assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
}

// T-82
#[test]
fn a_device_that_vanishes_midway_ends_it() {
    let mut rig = Rig::own_devices();
    rig.compare(0, 1, 0);
    let (user, device) = rig.world.clients[1].name();
    rig.world.server.device_keys.get_mut(&user).unwrap().remove(&device);
    rig.world.server.announcements.push(user);
    rig.settle();
    assert_eq!(rig.ending(0).0.as_str(), "m.key_mismatch");
}

// T-80
#[test]
fn strings_that_differ_end_it_on_both_sides() {
    let mut rig = Rig::couple();
    rig.compare(0, 1, 1);
    rig.act(0, Act::Mismatch);
    assert_eq!((rig.ending(0).0.as_str(), rig.ending(0).1), ("m.mismatched_sas", Ending::Us));
    assert_eq!((rig.ending(1).0.as_str(), rig.ending(1).1), ("m.mismatched_sas", Ending::Them));
    assert_eq!(rig.try_act(0, Act::Confirm).unwrap_err().code(), "out_of_turn");
}

// T-83: the MAC over the names of the keys.
#[test]
fn a_mac_too_many_or_too_few_ends_it() {
    for is_added in [true, false] {
        let mut rig = Rig::couple();
        rig.compare(0, 1, 0);
        rig.try_act(1, Act::Confirm).unwrap();
        let mut mac = rig.take_notices().pop().unwrap();
        let macs = mac.content["mac"].as_object_mut().unwrap();
        if is_added {
            macs.insert("ed25519:OTHER".to_owned(), json!("AAAA"));
        } else {
            macs.remove("ed25519:DEVICE1").unwrap();
        }
        rig.hear(0, &mac);
        drop(rig.try_act(0, Act::Confirm));
        rig.settle();
        assert_eq!(rig.ending(0).0.as_str(), "m.key_mismatch");
        assert!(!rig.trusts(0, 1));
    }
}

// T-80, T-86
#[test]
fn a_key_that_was_not_promised_ends_it() {
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::No, Scan::No));
    rig.try_act(0, Act::StartSas).unwrap();
    let start = rig.take_notices().pop().unwrap();
    rig.hear(1, &start);
    rig.log.push(start);
    let accept = rig.take_notices().pop().unwrap();
    rig.hear(0, &accept);
    drop(rig.take_notices());
    let other = vodozemac::sas::Sas::new().public_key().to_base64();
    forge(&mut rig, (1, 0), "key", json!({ "key": other }));
    assert_eq!(rig.ending(0).0.as_str(), "m.mismatched_commitment");
    assert_eq!(rig.ending(1).0.as_str(), "m.mismatched_commitment");
}

// T-86, A-21
#[test]
fn keys_that_make_no_secret_end_it() {
    let zero = vodozemac::Curve25519PublicKey::from_bytes([0; 32]).to_base64();
    for (key, expected) in [(zero.as_str(), "m.key_mismatch"), ("short", "m.invalid_message")] {
        let mut rig = Rig::couple();
        rig.ready(0, 1, (Scan::No, Scan::No));
        rig.try_act(0, Act::StartSas).unwrap();
        let start = rig.take_notices().pop().unwrap();
        rig.hear(1, &start);
        drop(rig.take_notices());
        forge(&mut rig, (0, 1), "key", json!({ "key": key }));
        assert_eq!(rig.ending(1).0.as_str(), expected);
    }
}

// T-80
#[test]
fn each_fault_has_its_code() {
    let start = |method: &str, agreement: &str| {
        json!({
            "from_device": "DEVICE0", "method": method,
            "key_agreement_protocols": [agreement], "hashes": ["sha256"],
            "message_authentication_codes": ["hkdf-hmac-sha256.v2"],
            "short_authentication_string": ["emoji", "decimal"],
        })
    };
    let good = "curve25519-hkdf-sha256";
    let cases = [
        ("mac", json!({ "mac": {}, "keys": "" }), "m.unexpected_message"),
        ("key", json!({}), "m.invalid_message"),
        ("start", start("m.horoscope", good), "m.unknown_method"),
        ("start", start("m.sas.v1", "curve25519"), "m.unknown_method"),
        ("done", json!({}), "m.unexpected_message"),
        (
            "start",
            json!({ "from_device": "DEVICE0", "method": "m.reciprocate.v1",
            "secret": "AAAAAAAAAAA" }),
            "m.unknown_method",
        ),
    ];
    for (kind, content, expected) in cases {
        let mut rig = Rig::couple();
        rig.ready(0, 1, (Scan::No, Scan::No));
        forge(&mut rig, (0, 1), kind, content);
        assert_eq!(rig.ending(1).0.as_str(), expected, "{kind}");
        assert_eq!(rig.ending(0).0.as_str(), expected, "{kind}");
    }
}

// T-80
#[test]
fn an_answer_to_nothing_is_told_so_and_a_cancel_is_never_answered() {
    let mut rig = Rig::own_devices();
    let name = rig.world.clients[1].name();
    let alice = rig.user(0);
    let ready = json!({
        "from_device": "DEVICE0", "methods": ["m.sas.v1"], "transaction_id": "none",
    });
    rig.world.server.put_in_inbox(&name, "m.key.verification.ready", &alice, ready);
    let cancel = json!({ "code": "m.user", "reason": "", "transaction_id": "nothing" });
    rig.world.server.put_in_inbox(&name, "m.key.verification.cancel", &alice, cancel);
    rig.world.server.served.clear();
    rig.settle();
    let sent = rig.world.server.served.iter().map(|(_, request)| request);
    let sent: Vec<_> = sent.filter(|it| it.path.contains("verification.cancel")).collect();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].body.contains("m.unknown_transaction"), "{}", sent[0].body);
}

// T-85, A-3
#[test]
fn a_mac_for_a_device_named_like_the_master_key_verifies_nothing() {
    let mut rig = Rig::couple();
    let bob = rig.user(1);
    let master = rig.world.server.identities["master_keys"][&bob]["keys"].clone();
    let master = master.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
    // The server makes a device of that name, signed by itself, and asks with it.
    rig.world.log_in("@bob:x", &master);
    rig.views.push(Vec::new());
    rig.settle();
    let now = rig.world.now;
    let request = json!({
        "msgtype": "m.key.verification.request", "body": "", "from_device": master,
        "methods": ["m.sas.v1"], "to": "@alice:x",
    });
    let said = Said {
        by: 2,
        id: "$r".try_into().unwrap(),
        kind: "m.room.message".to_owned(),
        content: request.as_object().unwrap().clone(),
    };
    rig.hear_from(0, &bob, &said);
    rig.settle();
    assert!(rig.views[0].is_empty());
    let error = rig.start(0, 1).unwrap_err();
    assert_eq!(error.code(), "no_identity");
    assert!(!rig.trusts(0, 1));
    assert_eq!(rig.world.now, now);
}

// A-38
#[test]
fn events_of_others_other_rooms_and_other_verifications_are_not_heard() {
    let mut rig = Rig::new(&["@alice:x", "@bob:x", "@mallory:x"]);
    rig.compare(0, 1, 0);
    // Mallory speaks in it.
    let cancel = json!({ "code": "m.user", "reason": "" });
    forge(&mut rig, (2, 0), "cancel", cancel.clone());
    assert!(matches!(rig.stage(0), Stage::Compare { .. }));
    // Bob's word of another room, and of another verification.
    let mut said = newest(&rig, "key");
    said.kind = "m.key.verification.cancel".to_owned();
    said.by = 1;
    said.content.extend(cancel.as_object().unwrap().clone());
    let room = std::mem::replace(&mut rig.room, "!other:x".try_into().unwrap());
    rig.hear(0, &said);
    rig.room = room;
    assert!(matches!(rig.stage(0), Stage::Compare { .. }));
    said.content["m.relates_to"]["event_id"] = json!("$another");
    rig.hear(0, &said);
    rig.settle();
    assert!(matches!(rig.stage(0), Stage::Compare { .. }));
}

/// Lets `by` say something to `to` alone, as a device, in the verification of that name.
fn forge_to_device(rig: &mut Rig, (by, to): (usize, usize), kind: &str, content: &Value) {
    let request = rig.world.server.served.iter().rev().find(|(from, it)| {
        *from == rig.world.clients[to].name() && it.path.contains("m.key.verification.request")
    });
    let body: Value = serde_json::from_str(&request.unwrap().1.body).unwrap();
    let (user, device) = rig.world.clients[to].name();
    let asked = body["messages"][user.as_str()].as_object().unwrap().values().next().unwrap();
    let mut content = content.clone();
    content["transaction_id"] = asked["transaction_id"].clone();
    content["from_device"] = json!(rig.world.clients[by].device);
    let (kind, to) = (format!("m.key.verification.{kind}"), (user.clone(), device));
    rig.world.server.put_in_inbox(&to, &kind, &user, content);
    rig.settle();
}

// A-38: of three devices two verify each other; the third speaks.
#[test]
fn a_device_that_was_not_asked_is_not_heard() {
    let mut rig = Rig::new(&["@alice:x", "@alice:x", "@alice:x"]);
    let (user, asked) = rig.world.clients[1].name();
    let now = rig.world.now;
    rig.world.clients[0]
        .step(now, |it, step| it.start_verification((&user, Some(&asked)), None, Scan::No, step))
        .unwrap()
        .unwrap();
    rig.settle();
    let methods = json!({ "methods": ["m.sas.v1"] });
    forge_to_device(&mut rig, (2, 0), "ready", &methods);
    assert_eq!(rig.stage(0), Stage::Asked);
    rig.act(1, Act::Accept { scan: Scan::No });
    assert!(matches!(rig.stage(0), Stage::Ready { .. }));
    let view = rig.views[0].last().unwrap().clone();
    assert_eq!(view.device, Some(asked));
    let start = json!({ "method": "m.sas.v1", "hashes": ["sha256"],
        "key_agreement_protocols": ["curve25519-hkdf-sha256"],
        "message_authentication_codes": ["hkdf-hmac-sha256.v2"],
        "short_authentication_string": ["emoji", "decimal"] });
    forge_to_device(&mut rig, (2, 0), "start", &start);
    assert_eq!(rig.views[0].last().unwrap(), &view);
    rig.act(0, Act::StartSas);
    assert!(matches!(rig.stage(1), Stage::Compare { .. }));
}

// A-38
#[test]
fn nothing_is_accepted_or_confirmed_without_the_user() {
    let mut rig = Rig::couple();
    rig.start(0, 1).unwrap();
    for kind in ["start", "accept", "key", "mac", "done"] {
        let mut rig = Rig::couple();
        rig.start(0, 1).unwrap();
        let content = json!({ "from_device": "DEVICE0", "method": "m.reciprocate.v1",
            "secret": "AAAA", "key": "AAAA", "mac": {}, "keys": "" });
        forge(&mut rig, (0, 1), kind, content);
        assert!(!rig.ever_done(1));
        assert!(!rig.trusts(1, 0));
    }
    assert_eq!(rig.stage(1), Stage::Invited);
}

// A-38
#[test]
fn a_replayed_request_is_not_asked_again() {
    let mut rig = Rig::couple();
    rig.start(0, 1).unwrap();
    let request = rig.log.last().unwrap().clone();
    rig.act(1, Act::Cancel);
    let told = rig.views[1].len();
    rig.hear(1, &request);
    rig.settle();
    assert_eq!(rig.views[1].len(), told);
}

// T-86
#[test]
fn a_mac_for_the_wrong_keys_ends_it() {
    let mut rig = Rig::couple();
    rig.compare(0, 1, 0);
    rig.act(0, Act::Confirm);
    forge(&mut rig, (1, 0), "mac", json!({ "mac": { "ed25519:DEVICE1": "AAAA" }, "keys": "AAAA" }));
    assert_eq!(rig.ending(0).0.as_str(), "m.key_mismatch");
    assert!(!rig.trusts(0, 1));
}
