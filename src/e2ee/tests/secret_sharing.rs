//! The passing of secrets between our own devices, with a server and devices that lie.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    harness::World,
    recovery::{ALICE, SIGNING, data, default_key, open, secrets, set_up, world},
};
use crate::e2ee::{Machine, Table, cross_signing::SecretName, secret_storage::BASE64};

const MASTER: &str = "m.cross_signing.master";

/// Alice on two devices, both signed; the second has no private keys.
pub(super) fn two_signed() -> World {
    let mut world = world();
    world.log_in(ALICE, "SECOND");
    world.settle();
    sign_second(&mut world);
    let master = world.at(0, |machine, step| {
        machine.identity_status(&machine.core.user.clone(), step).unwrap().master_key.unwrap()
    });
    assert!(world.at(1, |machine, step| machine.verify_own_master(&master, step)).unwrap());
    world.settle();
    world
}

/// The first device signs the second.
fn sign_second(world: &mut World) {
    let second = world.clients[1].device.clone();
    let ed25519 = world.clients[1].machine.core.account.ed25519().to_base64();
    world.at(0, |machine, step| machine.sign_own_device(&second, &ed25519, step)).unwrap();
    world.settle();
}

/// Has a client ask for whatever it lacks.
fn ask(world: &mut World, client: usize) {
    world.at(client, Machine::request_secrets).unwrap();
}

/// A client asks the first device for the master key.
fn ask_first(world: &mut World, client: usize, id: &str) {
    let (first, (user, device)) = (world.clients[0].name(), world.clients[client].name());
    let request = json!({ "action": "request", "name": MASTER, "request_id": id,
        "requesting_device_id": device });
    world.server.put_in_inbox(&first, "m.secret.request", &user, request);
}

/// How much the first device sent that is sealed.
fn sealed(world: &World) -> usize {
    let (first, served) = (world.clients[0].name(), world.server.served.iter());
    served.filter(|(from, it)| *from == first && it.path.contains("m.room.encrypted")).count()
}

/// The live requests of a client: name and id.
fn requests(world: &World, client: usize) -> Vec<(String, String)> {
    let records = world.clients[client].records.0.iter();
    let records = records.filter(|((it, _), _)| *it == Table::SecretRequest);
    records
        .map(|((_, key), value)| {
            let record: Value = serde_json::from_slice(value).unwrap();
            (record["name"].as_str().unwrap().to_owned(), key.0.clone())
        })
        .collect()
}

#[test]
fn a_secret_that_another_device_sends_is_put_into_the_open_storage() {
    let mut world = two_signed();
    let key = set_up(&mut world, 0);
    *data(&mut world, MASTER) = json!({});
    open(&mut world, 1, &key);
    assert!(!secrets(&mut world, 1).contains(&SecretName::Master));
    ask(&mut world, 1);
    world.settle();
    assert_eq!(secrets(&mut world, 1), SIGNING);
    let id = default_key(&mut world);
    assert!(data(&mut world, MASTER)["encrypted"][&id]["mac"].is_string());
}

#[test]
fn a_verified_device_gets_the_secrets_it_asks_for_once_an_hour() {
    let mut world = two_signed();
    ask(&mut world, 1);
    world.settle();
    assert_eq!(secrets(&mut world, 1), SIGNING);
    assert!(requests(&world, 1).iter().all(|(name, _)| name == "m.megolm_backup.v1"));
    // A program that asks again and again.
    let before = sealed(&world);
    for id in ["a", "b", "c"] {
        ask_first(&mut world, 1, id);
        world.settle();
    }
    assert_eq!(sealed(&world), before);
    world.pass(Duration::from_secs(60 * 60));
    ask_first(&mut world, 1, "d");
    world.settle();
    assert_eq!(sealed(&world), before + 1);
}

// T-95, A-39
#[test]
fn nobody_else_gets_a_secret() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 4] = [
        ("an unsigned device", |world| {
            world.log_in(ALICE, "GHOST");
        }),
        ("one that was blocked", |world| {
            let (user, device) = world.clients[1].name();
            world.at(0, |machine, step| machine.block_device(&user, &device, step)).unwrap();
        }),
        ("one that was removed", |world| {
            let (user, device) = world.clients[1].name();
            world.server.device_keys.get_mut(&user).unwrap().remove(&device);
            world.server.announcements.push(user);
        }),
        ("another user", |world| {
            world.log_in("@mallory:x", "SECOND");
        }),
    ];
    for (who, change) in cases {
        let mut world = two_signed();
        change(&mut world);
        world.settle();
        let before = sealed(&world);
        let asking = world.clients.len() - 1;
        ask_first(&mut world, asking, "r");
        world.settle();
        assert_eq!(sealed(&world), before, "{who}");
    }
}

// A-39
#[test]
fn a_device_that_loses_trust_before_the_secret_leaves_does_not_get_it() {
    let mut world = two_signed();
    ask_first(&mut world, 1, "r");
    // It waits for a one-time key; meanwhile the user blocks the device.
    world.server.sync(&mut world.clients[0], world.now);
    let (user, device) = world.clients[1].name();
    world.at(0, |machine, step| machine.block_device(&user, &device, step)).unwrap();
    world.settle();
    assert_eq!(sealed(&world), 0);
}

// T-95, A-7
#[test]
fn a_secret_is_taken_only_of_whom_we_asked_and_only_if_it_is_the_secret() {
    let secret = |world: &mut World, name| {
        let secret = world.at(0, |it, step| it.held_secret(name, step)).unwrap().unwrap();
        BASE64.encode(secret.expose())
    };
    let wrong = |_: &mut World| BASE64.encode([7; 32]);
    let right = |world: &mut World| secret(world, SecretName::Master);
    let other = |world: &mut World| secret(world, SecretName::UserSigning);
    let deliver = |world: &mut World, from: usize, id: &str, text: &str| {
        let content = json!({ "request_id": id, "secret": text });
        world.send_olm(from, 1, "m.secret.send", &content);
        world.server.sync(&mut world.clients[1], world.now);
    };
    let asked = |world: &mut World| {
        ask(world, 1);
        let live = requests(world, 1);
        live.into_iter().find(|(name, _)| name == MASTER).unwrap().1
    };
    // Unsolicited.
    let mut world = two_signed();
    let text = right(&mut world);
    deliver(&mut world, 0, "never asked", &text);
    assert_eq!(secrets(&mut world, 1), []);
    // Another value, and another secret of ours.
    let id = asked(&mut world);
    for text in [wrong(&mut world), other(&mut world), "not base64".to_owned(), String::new()] {
        deliver(&mut world, 0, &id, &text);
        assert_eq!(secrets(&mut world, 1), [], "{text}");
    }
    // A device of ours that was not asked: it came later and is not signed.
    let ghost = world.log_in(ALICE, "GHOST");
    world.acquaint(ghost, 1);
    world.at(1, Machine::tick).unwrap();
    let id = requests(&world, 1);
    let id = id.iter().find(|(name, _)| name == MASTER);
    if let Some((_, id)) = id.cloned() {
        deliver(&mut world, ghost, &id, &text);
        assert!(!secrets(&mut world, 1).contains(&SecretName::Master));
    }
    // In clear.
    let mut world = two_signed();
    let (id, text) = (asked(&mut world), right(&mut world));
    let content = json!({ "request_id": id, "secret": text });
    let (second, user) = (world.clients[1].name(), world.clients[1].user.clone());
    world.server.put_in_inbox(&second, "m.secret.send", &user, content);
    world.server.sync(&mut world.clients[1], world.now);
    assert_eq!(secrets(&mut world, 1), []);
    // Of whom we asked, and what we asked for.
    deliver(&mut world, 0, &id, &text);
    assert_eq!(secrets(&mut world, 1), [SecretName::Master]);
}

#[test]
fn only_the_newest_request_counts_and_whoever_need_not_answer_is_told() {
    let mut world = two_signed();
    ask(&mut world, 1);
    let first = requests(&world, 1);
    ask(&mut world, 1);
    let second = requests(&world, 1);
    assert_eq!(first.len(), second.len());
    assert!(first.iter().all(|request| !second.contains(request)));
    while world.send_one(1) {}
    let cancellations = world.server.served.iter().filter(|(_, request)| {
        request.path.contains("m.secret.request") && request.body.contains("request_cancellation")
    });
    assert_eq!(cancellations.count(), first.len());
}

/// A second device that asks the first before it is signed.
fn asked_too_early() -> World {
    let mut world = world();
    world.log_in(ALICE, "SECOND");
    world.settle();
    ask_first(&mut world, 1, "r");
    world.settle();
    world
}

#[test]
fn a_request_that_comes_before_the_device_is_trusted_is_served_when_it_is() {
    let mut world = asked_too_early();
    world.clients[0].restart(world.now);
    assert_eq!(sealed(&world), 0);
    sign_second(&mut world);
    assert_eq!(sealed(&world), 1);
}

#[test]
fn a_device_that_is_trusted_ten_minutes_after_it_asked_has_to_ask_again() {
    let mut world = asked_too_early();
    world.pass(Duration::from_secs(10 * 60));
    sign_second(&mut world);
    assert_eq!(sealed(&world), 0);
}
