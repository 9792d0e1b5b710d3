//! Olm sessions: which is written with, which are kept, and that none reads a message twice or
//! loses one.

use serde_json::{Value, json, value::to_raw_value};
use vodozemac::{Curve25519PublicKey, olm::OlmMessage};

use super::{
    forger::{Forger, couple, event, opened, take},
    harness::World,
};
use crate::e2ee::{Step, core::Dropped, lookup::Table, olm::Opened};

/// T-26.
#[test]
fn two_hundred_messages_in_one_go_are_all_read_also_when_neighbors_are_swapped() {
    let mut world = couple();
    for i in 0..200 {
        world.send_olm(0, 1, "m.dummy", &json!({ "i": i }));
    }
    let name = world.clients[1].name();
    let inbox = &mut world.server.kept.get_mut(&name).unwrap().inbox;
    inbox.make_contiguous().chunks_mut(10).for_each(<[_]>::reverse);
    world.settle();
    let dropped = world.clients[1].machine.core.dropped;
    assert_eq!(dropped, Dropped::default());
    let hashes = world.clients[1].records.0.keys().filter(|(table, _)| *table == Table::OlmHash);
    assert_eq!(hashes.count(), 200);
}

/// T-27.
#[test]
fn a_message_read_in_a_step_that_was_not_committed_is_read_again() {
    let mut world = couple();
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let event = take(&mut world, 1);
    let bob = &mut world.clients[1];
    let mut step = Step::new(&bob.records, world.now);
    assert!(matches!(bob.machine.core.open_olm(&event, &mut step), Ok(Opened::Event(_))));
    drop(step);
    bob.restart(world.now);
    assert!(opened(&mut world, 1, &event).is_some());
}

#[test]
fn eight_sessions_are_kept_and_the_last_that_received_is_written_with() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut sessions = Vec::new();
    for _ in 0..12 {
        let mut session = forger.session(&mut world, 0);
        let inside = forger.inside(&world, 0);
        let sealed = forger.seal(&world, 0, &mut session, &inside);
        assert!(opened(&mut world, 0, &event(&forger.user, &sealed)).is_some());
        sessions.push(session);
    }
    let kept = world.clients[0].records.0.keys().filter(|it| it.0 == Table::OlmSession).count();
    assert_eq!(kept, 8);
    let inside = forger.inside(&world, 0);
    let sealed = forger.seal(&world, 0, &mut sessions[7], &inside);
    let got = opened(&mut world, 0, &event(&forger.user, &sealed)).unwrap();
    let device = got.sender.device.unwrap();
    let now = world.now;
    let answer = world.clients[0].step(now, |machine, step| {
        let empty = to_raw_value(&json!({})).unwrap();
        machine.core.encrypt_to_device(&device, "m.dummy", &empty, step).unwrap().unwrap()
    });
    let answer: Value = serde_json::from_str(answer.get()).unwrap();
    let part = &answer["ciphertext"][forger.olm.curve25519_key().to_base64()];
    let body = vodozemac::base64_decode(part["body"].as_str().unwrap()).unwrap();
    let kind = usize::try_from(part["type"].as_u64().unwrap()).unwrap();
    let message = OlmMessage::from_parts(kind, &body).unwrap();
    assert!(sessions[7].decrypt(&message).is_ok());
}

/// Whoever likes can make up keys and begin a session with each of them.
#[test]
fn devices_made_up_without_end_do_not_fill_the_store_with_sessions() {
    let mut world = World::new(&["@alice:x"]);
    let name = world.clients[0].name();
    let (_, key) = world.server.kept[&name].fallback.clone().unwrap();
    let key = Curve25519PublicKey::from_base64(key["key"].as_str().unwrap()).unwrap();
    for _ in 0..50 {
        let forger = Forger::new("@mallory:x");
        let mut session = forger.session_with(&world, 0, key);
        let sealed = forger.seal(&world, 0, &mut session, &forger.inside(&world, 0));
        assert!(opened(&mut world, 0, &event(&forger.user, &sealed)).is_some());
    }
    let sessions = world.clients[0].records.0.keys().filter(|it| it.0 == Table::OlmSession);
    assert_eq!(sessions.count(), 32);
}
