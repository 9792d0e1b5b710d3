//! Olm sessions: which is written with, which are kept, and that none reads a message twice or
//! loses one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json, value::to_raw_value};
use vodozemac::{
    Curve25519PublicKey,
    olm::{OlmMessage, Session, SessionConfig},
};

use super::{
    forger::{Forger, couple, event, opened, signed, take},
    harness::World,
};
use crate::e2ee::{Step, claim::Want, core::Dropped, device::Device, lookup::Table, olm::Opened};

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
    let answer = world.at(0, |machine, step| {
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

/// A session as Alice should see it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    received: u64,
    used: u64,
}

/// Alice's sessions with one device, by number of the device's own list; what should become of
/// them in whatever order they are begun and used.
#[derive(Default)]
struct Model(BTreeMap<usize, Seen>);

impl Model {
    fn next(&self) -> u64 {
        self.0.values().map(|it| it.received.max(it.used)).max().map_or(0, |last| last + 1)
    }

    fn begin(&mut self, number: usize) {
        let now = self.next();
        if self.0.len() == 8 {
            let oldest = *self.0.iter().min_by_key(|(_, it)| it.used).unwrap().0;
            self.0.remove(&oldest);
        }
        self.0.insert(number, Seen { received: now, used: now });
    }

    fn receive(&mut self, number: usize) -> bool {
        let now = self.next();
        let seen = self.0.get_mut(&number);
        seen.is_some_and(|it| {
            *it = Seen { received: now, used: now };
            true
        })
    }

    /// The session that the next message is written with.
    fn write(&mut self) -> Option<usize> {
        let now = self.next();
        let (number, last) = self.0.iter_mut().max_by_key(|(_, it)| it.received)?;
        last.used = now;
        Some(*number)
    }
}

/// Both ends: Alice's machine, and a device that follows no rule.
struct Ends {
    world: World,
    forger: Forger,
    device: Device,
    sessions: Vec<Session>,
    /// Written and not delivered yet.
    late: Vec<(usize, Value)>,
    model: Model,
}

impl Ends {
    fn new() -> Self {
        let mut world = World::new(&["@alice:x"]);
        let forger = Forger::new("@mallory:x");
        let keys = forger.device_keys(|_| {});
        let device = Device::check(&to_raw_value(&keys).unwrap(), world.now).unwrap();
        let devices = world.server.device_keys.entry(forger.user.clone()).or_default();
        devices.insert(forger.device.as_str().into(), keys);
        let user = forger.user.clone();
        world.at(0, |machine, step| machine.core.refresh([&user], step)).unwrap();
        world.settle();
        let (sessions, late, model) = (Vec::new(), Vec::new(), Model::default());
        Self { world, forger, device, sessions, late, model }
    }

    /// The device begins a session.
    fn they_begin(&mut self) {
        let mut session = self.forger.session(&mut self.world, 0);
        let inside = self.forger.inside(&self.world, 0);
        let sealed = self.forger.seal(&self.world, 0, &mut session, &inside);
        self.sessions.push(session);
        assert!(self.read(&sealed));
        self.model.begin(self.sessions.len() - 1);
        // Alice has more keys, always.
        self.world.settle();
    }

    /// Alice begins a session, as when she mends the others.
    fn we_begin(&mut self) {
        self.forger.olm.generate_one_time_keys(1);
        let (id, key) = self.forger.olm.one_time_keys().into_iter().next().unwrap();
        let key = json!({ "key": key.to_base64() });
        let key = signed(&key, &self.forger.user, "ed25519:FORGED", &self.forger.olm);
        self.forger.olm.mark_keys_as_published();
        let name = (self.forger.user.clone(), self.device.device_id.clone());
        let kept = self.world.server.kept.entry(name.clone()).or_default();
        kept.one_time_keys.push_back((format!("signed_curve25519:{}", id.to_base64()), key));
        self.world.at(0, |machine, step| {
            machine.core.claims.want(name.clone(), Want::Unwedge);
            machine.core.claim(step).unwrap();
        });
        while self.world.send_one(0) {}
        let (_, _, content) =
            self.world.server.kept.get_mut(&name).unwrap().inbox.pop_back().unwrap();
        let OlmMessage::PreKey(message) = self.message(&content) else { panic!() };
        let ours = message.identity_key();
        let config = SessionConfig::version_1();
        let made = self.forger.olm.create_inbound_session(config, ours, &message).unwrap();
        self.sessions.push(made.session);
        self.model.begin(self.sessions.len() - 1);
        assert_eq!(self.model.write(), Some(self.sessions.len() - 1));
    }

    fn message(&self, content: &Value) -> OlmMessage {
        let part = &content["ciphertext"][self.forger.olm.curve25519_key().to_base64()];
        let body = vodozemac::base64_decode(part["body"].as_str().unwrap()).unwrap();
        let kind = usize::try_from(part["type"].as_u64().unwrap()).unwrap();
        OlmMessage::from_parts(kind, &body).unwrap()
    }

    fn they_write(&mut self, number: usize) {
        let inside = self.forger.inside(&self.world, 0);
        let sealed = self.forger.seal(&self.world, 0, &mut self.sessions[number], &inside);
        self.late.push((number, sealed));
    }

    fn deliver(&mut self, at: usize) {
        let (number, sealed) = self.late.remove(at);
        let expected = self.model.receive(number);
        assert_eq!(self.read(&sealed), expected, "session {number}");
    }

    fn read(&mut self, sealed: &Value) -> bool {
        opened(&mut self.world, 0, &event(&self.forger.user, sealed)).is_some()
    }

    fn we_write(&mut self) {
        let device = self.device.clone();
        let content = self.world.at(0, |machine, step| {
            let empty = to_raw_value(&json!({})).unwrap();
            machine.core.encrypt_to_device(&device, "m.dummy", &empty, step).unwrap()
        });
        let expected = self.model.write();
        assert_eq!(content.is_some(), expected.is_some());
        if let Some((content, number)) = content.zip(expected) {
            let message = self.message(&serde_json::from_str(content.get()).unwrap());
            assert!(self.sessions[number].decrypt(&message).is_ok(), "session {number}");
        }
    }

    fn restart(&mut self) {
        self.world.clients[0].restart(self.world.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whoever begins sessions, and in whatever order they are used: we write with the one that
    /// last received, keep the eight last used, and read all that comes on those.
    #[test]
    fn in_any_order_of_use_the_right_sessions_are_kept_and_written_with(
        moves in prop::collection::vec((0..12_u8, 0..100_usize), 1..60),
    ) {
        let mut ends = Ends::new();
        for (what, number) in moves {
            match what {
                0 | 1 => ends.they_begin(),
                2 => ends.we_begin(),
                3..=5 if !ends.sessions.is_empty() => {
                    ends.they_write(number % ends.sessions.len());
                }
                6..=8 if !ends.late.is_empty() => ends.deliver(number % ends.late.len()),
                9 | 10 => ends.we_write(),
                11 => ends.restart(),
                _ => {}
            }
            let kept = ends.world.clients[0].records.0.keys();
            let kept = kept.filter(|it| it.0 == Table::OlmSession).count();
            prop_assert_eq!(kept, ends.model.0.len());
        }
    }
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
