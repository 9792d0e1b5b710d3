//! Room keys asked of our own devices: who gets them, and what is dropped.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use super::{forger::Forger, harness::World, recovery::two_signed};
use crate::{
    e2ee::{KeyForwarding, Table, megolm::inbound::InboundSession},
    matrix::{OwnedRoomId, RoomId},
};

const ASKS: usize = 1;
const HAS: usize = 0;

fn room() -> OwnedRoomId {
    RoomId::parse("!room:x").unwrap()
}

/// A session as a key file holds it, with its id.
fn session() -> (Value, String) {
    let group = GroupSession::new(SessionConfig::version_1());
    let mut copy = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
    let key = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "sender_key": "claimed",
        "session_id": group.session_id(), "sender_claimed_keys": { "ed25519": "claimed" },
        "forwarding_curve25519_key_chain": [], "session_key": copy.export_at(0).unwrap(),
    });
    (key, group.session_id())
}

/// Two signed devices of one account that forward keys; one has a session, whose id is given too.
fn world() -> (World, Value, String) {
    let mut world = two_signed();
    let (key, id) = session();
    let now = world.now;
    for client in [HAS, ASKS] {
        let on = KeyForwarding::OwnDevices;
        world.clients[client].step(now, |it, step| it.set_key_forwarding(on, step)).unwrap();
    }
    world.clients[HAS]
        .step(now, |it, step| it.import_sessions([key.to_string().as_str()].into_iter(), step))
        .unwrap();
    world.acquaint(HAS, ASKS);
    world.acquaint(ASKS, HAS);
    (world, key, id)
}

/// An event that needs the session is on screen.
fn look(world: &mut World, id: &str) {
    let now = world.now;
    world.clients[ASKS].step(now, |it, step| it.want_room_key(&room(), id, step)).unwrap();
}

fn held(world: &World, id: &str) -> Option<InboundSession> {
    let records = &world.clients[ASKS].records.0;
    let found = records.iter().find(|((table, key), _)| {
        *table == Table::InboundGroupSession && key.0 == room().as_str() && key.1 == id
    });
    found.map(|(_, value)| serde_json::from_slice(value).unwrap())
}

/// What a client sent that devices could read of this kind.
fn sent(world: &World, client: usize, kind: &str) -> usize {
    let name = world.clients[client].name();
    let served = world.server.served.iter();
    served.filter(|(from, it)| *from == name && it.path.contains(kind)).count()
}

#[test]
fn a_device_that_is_signed_gets_the_key_it_asks_for_once() {
    let (mut world, _, id) = world();
    look(&mut world, &id);
    look(&mut world, &id);
    world.settle();
    assert_eq!(sent(&world, ASKS, "m.room_key_request"), 1, "it is asked for once");
    let session = held(&world, &id).expect("the key came");
    assert!(!session.source.is_proof(), "who made it is a claim of the other device");
    assert_eq!(session.creator.curve25519, "claimed");
    let before = sent(&world, HAS, "m.room.encrypted");
    let (user, device) = world.clients[ASKS].name();
    let request = json!({ "action": "request", "request_id": "again",
        "requesting_device_id": device, "body": { "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room(), "session_id": id } });
    let first = world.clients[HAS].name();
    world.server.put_in_inbox(&first, "m.room_key_request", &user, request.clone());
    world.settle();
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before, "not so soon again");
    world.pass(Duration::from_secs(2 * 60 * 60));
    world.server.put_in_inbox(&first, "m.room_key_request", &user, request);
    world.settle();
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before + 1);
}

#[test]
fn nothing_is_asked_and_nothing_given_until_it_is_turned_on() {
    for off in [HAS, ASKS] {
        let (mut world, _, id) = world();
        let now = world.now;
        let policy = KeyForwarding::default();
        world.clients[off].step(now, |it, step| it.set_key_forwarding(policy, step)).unwrap();
        world.clients[off].restart(now);
        look(&mut world, &id);
        world.settle();
        assert!(held(&world, &id).is_none());
        assert_eq!(sent(&world, ASKS, "m.room_key_request"), usize::from(off == HAS));
    }
}

/// A device of ours that is not signed, and another user who names one that is.
#[test]
fn whoever_may_not_have_a_key_gets_none() {
    let (mut world, _, id) = world();
    let third = world.log_in("@alice:x", "THIRD");
    let stranger = world.log_in("@mallory:x", "M");
    world.settle();
    let first = world.clients[HAS].name();
    let before = sent(&world, HAS, "m.room.encrypted");
    let signed = world.clients[ASKS].device.clone();
    for (from, device) in [
        (third, world.clients[third].device.clone()),
        (stranger, world.clients[stranger].device.clone()),
        (stranger, signed),
    ] {
        let request = json!({ "action": "request", "request_id": "r",
            "requesting_device_id": device, "body": { "algorithm": "m.megolm.v1.aes-sha2",
            "room_id": room(), "session_id": id } });
        let user = world.clients[from].user.clone();
        world.server.put_in_inbox(&first, "m.room_key_request", &user, request);
        world.settle();
    }
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before);
}

/// The content of a forward.
fn forward(key: &Value, id: &str) -> Value {
    json!({
        "algorithm": key["algorithm"], "room_id": room(), "session_id": id,
        "session_key": key["session_key"], "sender_key": "claimed",
        "sender_claimed_ed25519_key": "claimed", "forwarding_curve25519_key_chain": [],
    })
}

// T-64, A-6: unsolicited, of another user, of an unverified device of ours, another session than
// it says, again.
#[test]
fn a_forwarded_key_is_taken_only_of_a_signed_device_that_was_asked_and_once() {
    let (mut world, key, id) = world();
    let content = forward(&key, &id);
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_none(), "nobody asked");

    look(&mut world, &id);
    world.clients[ASKS].outbox.clear();
    let third = world.log_in("@alice:x", "THIRD");
    let stranger = world.log_in("@mallory:x", "M");
    world.settle();
    for from in [third, stranger] {
        world.acquaint(from, ASKS);
        world.acquaint(ASKS, from);
        world.send_olm(from, ASKS, "m.forwarded_room_key", &content);
        world.settle();
        assert!(held(&world, &id).is_none(), "of whom nobody asked");
    }
    let forger = Forger::new("@forger:x");
    let mut session_of = forger.session(&mut world, ASKS);
    let mut inside = forger.inside(&world, ASKS);
    inside["type"] = json!("m.forwarded_room_key");
    inside["content"] = content.clone();
    let sealed = forger.seal(&world, ASKS, &mut session_of, &inside);
    let name = world.clients[ASKS].name();
    world.server.put_in_inbox(&name, "m.room.encrypted", &forger.user, sealed);
    world.settle();
    assert!(held(&world, &id).is_none());

    let (other, _) = session();
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &forward(&other, &id));
    world.settle();
    assert!(held(&world, &id).is_none(), "another session than it says");

    let user = world.clients[HAS].user.clone();
    world.server.put_in_inbox(&name, "m.forwarded_room_key", &user, content.clone());
    world.settle();
    assert!(held(&world, &id).is_none(), "in clear");

    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_some(), "of whom we asked");

    world.clients[ASKS].records.0.retain(|(table, _), _| *table != Table::InboundGroupSession);
    let now = world.now;
    world.clients[ASKS].restart(now);
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_none(), "a device answers once");
}
