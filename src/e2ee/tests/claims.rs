//! One-time keys of others: only good ones make sessions, and nobody is blamed for another.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::{Curve25519PublicKey, olm::Account};

use super::{
    forger::{Forger, channel, claims, couple, event, opened, signed, take},
    harness::{World, matrix_error},
};
use crate::e2ee::{RequestFailure, RequestKind, core::OlmChannel, devices::find_device};

/// T-14.
#[test]
fn one_time_keys_without_the_signature_of_their_device_are_refused() {
    let mut world = couple();
    let bob = world.clients[1].name();
    let key = world.server.kept[&bob].one_time_keys[0].1.clone();
    let forger = Forger::new("@bob:x");
    let bare = json!({ "key": key["key"] });
    let by_other = signed(&bare, &bob.0, "ed25519:DEVICE1", &forger.olm);
    let mut unsigned = key.clone();
    unsigned["signatures"] = json!({});
    let mut other_user = key.clone();
    other_user["signatures"] = json!({ "@alice:x": key["signatures"]["@bob:x"] });
    let mut altered = key.clone();
    altered["key"] = json!(forger.olm.curve25519_key().to_base64());
    let hand_out = |world: &mut World, key: &Value| {
        let kept = world.server.kept.get_mut(&bob).unwrap();
        kept.one_time_keys.iter_mut().for_each(|(_, old)| *old = key.clone());
        assert_eq!(channel(world, 0, 1), OlmChannel::Waiting);
        while world.send_one(0) {}
        channel(world, 0, 1)
    };
    for bad in [by_other, unsigned, other_user, altered, json!("text"), json!({})] {
        assert!(matches!(hand_out(&mut world, &bad), OlmChannel::Unreachable(_)), "{bad}");
        world.pass(Duration::from_secs(15 * 60));
    }
    assert_eq!(hand_out(&mut world, &key), OlmChannel::Ready);
}

/// A-21: the keys are signed properly, and lie in a small subgroup.
#[test]
fn keys_that_yield_no_secret_make_no_session() {
    let mut one = [0_u8; 32];
    one[0] = 1;
    for bytes in [[0_u8; 32], one] {
        let weak = Curve25519PublicKey::from_bytes(bytes).to_base64();
        for part in ["identity", "one-time"] {
            let mut world = World::new(&["@alice:x", "@mallory:x"]);
            let forger = Forger::new("@mallory:x");
            let keys = forger.device_keys(|it| {
                if part == "identity" {
                    it["keys"]["curve25519:FORGED"] = json!(weak);
                }
            });
            let devices = world.server.device_keys.get_mut(&forger.user).unwrap();
            devices.insert("FORGED".into(), keys);
            let good = Account::new().curve25519_key().to_base64();
            let key = if part == "identity" { &good } else { &weak };
            let key = signed(&json!({ "key": key }), &forger.user, "ed25519:FORGED", &forger.olm);
            let name = (forger.user.clone(), "FORGED".into());
            let kept = world.server.kept.entry(name.clone()).or_default();
            kept.one_time_keys.push_back(("signed_curve25519:AAAAAQ".to_owned(), key));
            world.acquaint(0, 1);
            let ask = |world: &mut World| {
                world.at(0, |machine, step| {
                    let device = find_device(&name.0, &name.1, step).unwrap().unwrap();
                    machine.core.ensure_sessions(&[device], step).unwrap()[0]
                })
            };
            assert_eq!(ask(&mut world), OlmChannel::Waiting);
            world.settle();
            assert!(matches!(ask(&mut world), OlmChannel::Unreachable(_)), "{part}");
        }
    }
}

/// T-15.
#[test]
fn a_server_that_gives_no_key_is_asked_again_after_a_pause_and_its_devices_are_not_blamed() {
    let mut world = World::new(&["@alice:x", "@bob:far"]);
    world.acquaint(0, 1);
    world.server.unreachable.insert("far".to_owned());
    channel(&mut world, 0, 1);
    world.settle();
    let until = world.now.plus(Duration::from_secs(15));
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Unreachable(until));
    assert_eq!(claims(&world), 1);
    let notices = world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::ToDevice);
    assert_eq!(notices.count(), 0, "no m.no_olm for a server's fault");
    world.server.unreachable.clear();
    world.pass(Duration::from_secs(15));
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
    world.settle();
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
}

/// T-16.
#[test]
fn with_a_session_at_hand_no_key_is_claimed_even_when_the_server_is_down() {
    let mut world = World::new(&["@alice:x", "@bob:far"]);
    world.acquaint(0, 1);
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.server.unreachable.insert("far".to_owned());
    world.clients[0].restart(world.now);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
    assert_eq!(claims(&world), 1);
}

#[test]
fn a_device_without_keys_is_told_once_and_one_claim_is_under_way_at_a_time() {
    let mut world = couple();
    let bob = world.clients[1].name();
    let kept = world.server.kept.get_mut(&bob).unwrap();
    kept.one_time_keys.clear();
    kept.fallback = None;
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
    while world.send_one(0) {}
    assert_eq!(claims(&world), 1);
    world.pass(Duration::from_secs(16));
    world.server.kept.get_mut(&bob).unwrap().one_time_keys.clear();
    channel(&mut world, 0, 1);
    while world.send_one(0) {}
    let told = world.server.served.iter().filter(|(_, it)| it.body.contains("m.no_olm"));
    assert_eq!(told.count(), 1);
}

/// T-06.
#[test]
fn one_fallback_key_serves_two_senders() {
    let mut world = World::new(&["@a:x", "@b:x", "@c:x"]);
    world.acquaint(0, 2);
    world.acquaint(1, 2);
    let name = world.clients[2].name();
    world.server.kept.get_mut(&name).unwrap().one_time_keys.clear();
    for from in 0..2 {
        world.send_olm(from, 2, "m.dummy", &json!({}));
        let event = take(&mut world, 2);
        assert!(opened(&mut world, 2, &event).is_some());
    }
}

/// T-08.
#[test]
fn a_one_time_key_handed_out_twice_costs_the_second_sender_one_message() {
    let mut world = World::new(&["@a:x", "@b:x", "@c:x"]);
    for (one, other) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        world.acquaint(one, other);
    }
    let name = world.clients[2].name();
    let first = world.server.kept[&name].one_time_keys[0].clone();
    world.send_olm(0, 2, "m.dummy", &json!({}));
    world.server.kept.get_mut(&name).unwrap().one_time_keys.push_front(first);
    world.send_olm(1, 2, "m.dummy", &json!({}));
    world.settle();
    assert_eq!(world.clients[2].machine.core.dropped.wedged, 1);
    world.send_olm(1, 2, "m.room_key", &json!({}));
    let event = take(&mut world, 2);
    assert!(opened(&mut world, 2, &event).is_some());
}

#[test]
fn a_claim_that_our_server_refuses_or_garbles_is_not_blamed_on_the_devices() {
    let refused = || Err(RequestFailure::Refused(matrix_error(400, "M_UNKNOWN", "")));
    for answer in [refused(), Ok("7"), Ok("no json"), Ok(r#"{"one_time_keys":7}"#)] {
        let mut world = couple();
        assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
        let request = world.clients[0].outbox.pop_front().unwrap();
        world.answer(0, &request.id, answer.as_ref().copied());
        assert!(matches!(channel(&mut world, 0, 1), OlmChannel::Unreachable(_)));
        assert!(world.clients[0].outbox.is_empty(), "neither told nor asked again at once");
        world.pass(Duration::from_secs(15));
        assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
        world.settle();
        assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
    }
}

/// One of the open items of complement-crypto.
#[test]
fn a_damaged_first_message_does_not_use_up_the_one_time_key() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let inside = forger.inside(&world, 0);
    let good = forger.seal(&world, 0, &mut session, &inside);
    let ours = world.clients[0].machine.core.account.curve25519().to_base64();
    let body = good["ciphertext"][&ours]["body"].as_str().unwrap();
    let mut damaged = good.clone();
    let mut bytes = vodozemac::base64_decode(body).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    damaged["ciphertext"][&ours]["body"] = json!(vodozemac::base64_encode(bytes));
    assert!(opened(&mut world, 0, &event(&forger.user, &damaged)).is_none());
    world.clients[0].restart(world.now);
    assert!(opened(&mut world, 0, &event(&forger.user, &good)).is_some());
}
