//! Olm messages between machines: opened, and believed only when every part of them fits.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::{
    Ed25519SecretKey,
    megolm::{GroupSession, SessionConfig},
    olm::Account,
};

use super::{
    forger::{Forger, claims, couple, event, open, opened, take},
    harness::World,
};
use crate::{
    e2ee::{
        lookup::Table,
        olm::{Opened, Unproved},
    },
    matrix::{CanonicalText, CanonicalValue, ToDeviceEvent, sign},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What a message with this inside comes to, said to be from the forger.
fn verdict(forger: &Forger, change: impl FnOnce(&mut Value)) -> Result<String, Unproved> {
    let mut world = World::new(&["@alice:x"]);
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    change(&mut inside);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    match open(&mut world, 0, &event(&forger.user, &sealed)) {
        Opened::Event(event) => Ok(event.kind),
        Opened::Unproved(why) => Err(why),
        Opened::NotForUs | Opened::Replayed | Opened::Wedged(_) => panic!("not readable at all"),
    }
}

#[test]
fn a_message_arrives_with_its_sender_proved_and_answers_come_back() {
    let mut world = couple();
    world.send_olm(0, 1, "m.room_key", &json!({ "b": 1, "a": "ü" }));
    let first = take(&mut world, 1);
    let content: Value = serde_json::from_str(first.content.get()).unwrap();
    assert_eq!(content["algorithm"], "m.olm.v1.curve25519-aes-sha2");
    assert!(content["org.matrix.msgid"].is_string());
    let got = opened(&mut world, 1, &first).unwrap();
    assert_eq!((got.kind.as_str(), got.content.as_str()), ("m.room_key", r#"{"a":"ü","b":1}"#));
    assert_eq!(got.sender.user, "@alice:x");
    assert_eq!(got.sender.device.unwrap().device_id, "DEVICE0");
    for (from, to) in [(1, 0), (0, 1), (1, 0)] {
        world.send_olm(from, to, "m.dummy", &json!({}));
        let next = take(&mut world, to);
        assert!(opened(&mut world, to, &next).is_some());
        assert!(next.content.get().contains("\"type\":1"));
    }
    assert_eq!(claims(&world), 1);
}

/// T-17 to T-25: one case for each check.
#[test]
fn an_inside_that_is_wrong_in_any_part_is_not_believed() {
    let forger = Forger::new("@mallory:x");
    let other = Forger::new("@victim:x");
    assert_eq!(verdict(&forger, |_| {}), Ok("m.dummy".to_owned()));
    let refused = |change: &dyn Fn(&mut Value)| verdict(&forger, change).unwrap_err();
    assert_eq!(refused(&|it| it["sender"] = json!("@victim:x")), Unproved::OtherSender);
    assert_eq!(refused(&|it| it["recipient"] = json!("@victim:x")), Unproved::OtherRecipient);
    let key = json!({ "ed25519": other.olm.ed25519_key().to_base64() });
    assert_eq!(refused(&|it| it["recipient_keys"] = key.clone()), Unproved::OtherRecipient);
    assert_eq!(refused(&|it| it["keys"] = key.clone()), Unproved::OtherDevice);
    assert_eq!(refused(&|it| it["keys"] = json!({})), Unproved::Malformed);
    assert_eq!(refused(&|it| it["content"] = json!("text")), Unproved::Malformed);
    assert_eq!(refused(&|it| it["type"] = json!(5)), Unproved::Malformed);
    assert_eq!(refused(&|it| *it = json!([])), Unproved::Malformed);
    let enclosed = |keys: Value| refused(&|it| it["sender_device_keys"] = keys.clone());
    assert_eq!(enclosed(other.device_keys(|_| {})), Unproved::OtherDevice);
    assert_eq!(enclosed(json!("keys")), Unproved::OtherDevice);
    let dehydrated = forger.device_keys(|it| it["dehydrated"] = json!(true));
    assert_eq!(enclosed(dehydrated), Unproved::OtherDevice);
    let mut unsigned = forger.device_keys(|_| {});
    unsigned["signatures"] = json!({});
    assert_eq!(enclosed(unsigned), Unproved::OtherDevice);
    let curve = json!(other.olm.curve25519_key().to_base64());
    let other_curve = forger.device_keys(|it| it["keys"]["curve25519:FORGED"] = curve);
    assert_eq!(enclosed(other_curve), Unproved::OtherDevice);
}

/// A-12 (CVE-2026-45056): the server says the message is from the victim, the enclosed device is
/// the attacker's own, and everything signed fits.
#[test]
fn an_attackers_own_device_does_not_vouch_for_a_victim() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    inside["sender"] = json!("@victim:x");
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = open(&mut world, 0, &event("@victim:x".try_into().unwrap(), &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherDevice)));
}

/// A server makes a device of its own under the name of one that is known.
#[test]
fn a_made_up_device_under_a_known_name_is_not_believed() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.acquaint(0, 1);
    let forger = Forger { device: "DEVICE1".to_owned(), ..Forger::new("@bob:x") };
    let mut session = forger.session(&mut world, 0);
    let inside = forger.inside(&world, 0);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = open(&mut world, 0, &event("@bob:x".try_into().unwrap(), &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherDevice)));
}

/// T-24.
#[test]
fn without_an_enclosed_device_the_device_list_decides() {
    let forger = Forger::new("@mallory:x");
    let bare = |kind: &'static str| {
        move |it: &mut Value| {
            it.as_object_mut().unwrap().remove("sender_device_keys");
            it["type"] = json!(kind);
        }
    };
    for kind in ["m.room_key", "m.room_key.withheld", "m.dummy"] {
        assert_eq!(verdict(&forger, bare(kind)), Ok(kind.to_owned()));
    }
    for kind in ["m.secret.send", "m.forwarded_room_key", "m.room_key_bundle"] {
        assert_eq!(verdict(&forger, bare(kind)), Err(Unproved::UnknownDevice));
    }
    let mut world = World::new(&["@alice:x"]);
    let keys = forger.device_keys(|_| {});
    let devices = world.server.device_keys.entry(forger.user.clone()).or_default();
    devices.insert("FORGED".into(), keys);
    let user = forger.user.clone();
    world.at(0, |machine, step| machine.core.refresh([&user], step)).unwrap();
    world.settle();
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    bare("m.secret.send")(&mut inside);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = opened(&mut world, 0, &event(&forger.user, &sealed)).unwrap();
    assert_eq!(got.sender.device.unwrap().device_id, "FORGED");
    inside["keys"]["ed25519"] = json!(Account::new().ed25519_key().to_base64());
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = open(&mut world, 0, &event(&forger.user, &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherKeys)));
}

#[test]
fn a_message_from_an_unknown_device_has_its_user_looked_up() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    inside.as_object_mut().unwrap().remove("sender_device_keys");
    inside["type"] = json!("m.secret.send");
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let name = world.clients[0].name();
    world.server.put_in_inbox(&name, "m.room.encrypted", &forger.user, sealed);
    world.server.served.clear();
    world.settle();
    let asked = world.server.served.iter().any(|(_, it)| it.body.contains("@mallory:x"));
    assert!(asked && world.clients[0].machine.core.dropped.unproved == 1);
}

/// A ratchet that advanced stays advanced even when the inside is thrown away.
#[test]
fn after_a_message_that_is_not_believed_the_session_still_works() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    inside["sender"] = json!("@victim:x");
    let bad = forger.seal(&world, 0, &mut session, &inside);
    let good = forger.seal(&world, 0, &mut session, &forger.inside(&world, 0));
    assert!(opened(&mut world, 0, &event(&forger.user, &bad)).is_none());
    world.clients[0].restart(world.now);
    assert!(opened(&mut world, 0, &event(&forger.user, &good)).is_some());
}

/// A-4, and envelopes that are none.
#[test]
fn envelopes_of_another_algorithm_or_shape_are_ignored_and_mend_nothing() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    let good: Value = serde_json::from_str(take(&mut world, 1).content.get()).unwrap();
    let curve = world.clients[1].machine.core.account.curve25519().to_base64();
    let spoiled = |change: &dyn Fn(&mut Value)| {
        let mut content = good.clone();
        change(&mut content);
        content
    };
    let cases = [
        spoiled(&|it| it["algorithm"] = json!("m.megolm.v1.aes-sha2")),
        spoiled(&|it| it["ciphertext"] = json!("text")),
        spoiled(&|it| it["ciphertext"] = json!({})),
        spoiled(&|it| it["ciphertext"][&curve]["type"] = json!(2)),
        spoiled(&|it| it["ciphertext"][&curve]["type"] = json!(-1)),
        spoiled(&|it| it["ciphertext"][&curve]["body"] = json!("!")),
        spoiled(&|it| it["ciphertext"][&curve]["body"] = json!("AAAA")),
        spoiled(&|it| it["sender_key"] = json!("AAAA")),
        json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AAAA", "session_id": "x" }),
        json!({}),
    ];
    let (name, sender) = (world.clients[1].name(), world.clients[0].user.clone());
    let count = cases.len() as u64;
    for content in cases {
        world.server.put_in_inbox(&name, "m.room.encrypted", &sender, content);
    }
    world.server.served.clear();
    world.settle();
    assert_eq!(world.clients[1].machine.core.dropped.foreign, count);
    assert_eq!(claims(&world), 0);
    assert!(opened(&mut world, 1, &event(&sender, &good)).is_some());
}

/// A-36: somebody publishes Alice's curve key as theirs. Neither can they pass for her, nor she
/// for them.
#[test]
fn a_curve_key_claimed_by_two_users_moves_no_message_from_one_to_the_other() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    let message = take(&mut world, 1);
    let stolen = ToDeviceEvent { sender: "@mallory:x".try_into().unwrap(), ..message };
    assert!(matches!(open(&mut world, 1, &stolen), Opened::Unproved(Unproved::OtherSender)));
    // Mallory lists Bob's key as hers; what Alice writes to her is handed to Bob.
    let forger = Forger::new("@alice:x");
    let mut session = forger.session(&mut world, 1);
    let mut inside = forger.inside(&world, 1);
    inside["recipient"] = json!("@mallory:x");
    let sealed = forger.seal(&world, 1, &mut session, &inside);
    let got = open(&mut world, 1, &event(&forger.user, &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherRecipient)));
}

/// A-23.
#[test]
fn a_device_that_is_gone_when_its_message_is_read_is_still_known_as_its_sender() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.acquaint(0, 1);
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let user = world.clients[0].user.clone();
    world.server.device_keys.remove(&user);
    world.acquaint(1, 0);
    // The inbox was emptied by `acquaint`; the key was taken with its sender known.
    assert_eq!(world.clients[1].machine.core.dropped.unproved, 0);
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let event = take(&mut world, 1);
    let sender = opened(&mut world, 1, &event).unwrap().sender;
    assert_eq!(sender.device.unwrap().device_id, "DEVICE0");
}

#[test]
fn the_enclosed_device_carries_the_signature_of_our_own_identity() {
    let mut world = couple();
    let (user, id) = world.clients[0].name();
    let (master, ours) = (Ed25519SecretKey::new(), Ed25519SecretKey::new());
    let put = |object: &Value, signer: &Ed25519SecretKey| {
        let mut object = CanonicalValue::parse_object(&object.to_string()).unwrap();
        let key_id = format!("ed25519:{}", signer.public_key().to_base64());
        sign(&mut object, &user, &key_id, |text| signer.sign(text.as_bytes()));
        serde_json::from_str::<Value>(&CanonicalText(&object).to_string()).unwrap()
    };
    for (part, usage, key) in
        [("master_keys", "master", &master), ("self_signing_keys", "self_signing", &ours)]
    {
        let name = key.public_key().to_base64();
        let keys = json!({ format!("ed25519:{name}"): name });
        let object = put(&json!({ "user_id": user, "usage": [usage], "keys": keys }), &master);
        world.server.identities.entry(part.to_owned()).or_default().insert(user.clone(), object);
    }
    let listed = world.server.device_keys.get_mut(&user).unwrap().get_mut(&id).unwrap();
    *listed = put(listed, &ours);
    world.server.announcements.push(user.clone());
    world.settle();
    world.clients[0].restart(world.now);
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let event = take(&mut world, 1);
    let device = opened(&mut world, 1, &event).unwrap().sender.device.unwrap();
    assert!(device.raw.get().contains(&ours.public_key().to_base64()));
}

#[test]
fn what_was_read_is_remembered_for_thirty_days() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    let remembered = |world: &mut World| {
        world.at(1, crate::e2ee::Machine::tick).unwrap();
        world.clients[1].records.0.keys().filter(|it| it.0 == Table::OlmHash).count()
    };
    world.pass(HOUR * 24 * 29);
    assert_eq!(remembered(&mut world), 1);
    world.pass(HOUR * 24 * 2);
    assert_eq!(remembered(&mut world), 0);
}

/// A-6: nobody may send keys in clear, and forwarded ones only if they were asked for, which
/// this version never does. Of what comes in Olm, forwarded keys are not supported; a secret that
/// nobody asked for and Olm in Olm are foreign; a history offer without a file is nothing at all.
#[test]
fn secrets_in_clear_and_unknown_types_are_counted_and_dropped() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let group = GroupSession::new(SessionConfig::version_1());
    let content = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": "!room:x",
        "session_id": group.session_id(), "session_key": group.session_key().to_base64(),
        "sender_key": "key", "sender_claimed_ed25519_key": "key", "forwarding_curve25519_key_chain": [],
    });
    let keys = ["m.room_key", "m.forwarded_room_key", "m.room_key_bundle", "m.secret.send"];
    for kind in keys.into_iter().chain(["m.room_key_request", "m.new"]) {
        world.server.put_in_inbox(&name, kind, &alice, content.clone());
    }
    for kind in keys.into_iter().skip(1).chain(["m.room.encrypted"]) {
        world.send_olm(0, 1, kind, &content);
    }
    world.settle();
    let dropped = world.clients[1].machine.core.dropped;
    assert_eq!((dropped.in_clear, dropped.unsupported, dropped.foreign), (4, 2, 3));
    let kept = world.clients[1].records.0.keys();
    assert_eq!(kept.filter(|it| it.0 == Table::HistoryOffer).count(), 0);
    let imported = world.clients[1].records.0.keys();
    assert_eq!(imported.filter(|it| it.0 == Table::InboundGroupSession).count(), 0);
}
