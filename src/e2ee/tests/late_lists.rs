//! T-28: a room key comes while the device list of its sender cannot be had. The key is kept, the
//! message is read and marked, and the mark goes when the list comes.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, SessionConfig};

use super::{forger::Forger, harness::World};
use crate::{
    e2ee::{
        CryptoSync, Decryption, Machine, MachineError, Notice, Shield, ShieldReason, Step,
        UndecryptableReason as Reason,
    },
    matrix::{DeviceLists, Event, KeyCounts, RoomId, UserId},
    time::Timestamp,
};

const ROOM: &str = "!room:x";

fn event(forger: &Forger, group: &mut GroupSession, at: Timestamp) -> Event {
    let inside = json!({ "type": "m.room.message", "room_id": ROOM, "content": { "body": "hi" } });
    let event = json!({
        "type": "m.room.encrypted", "event_id": "$1", "sender": forger.user, "origin_server_ts": at,
        "content": {
            "algorithm": "m.megolm.v1.aes-sha2", "session_id": group.session_id(),
            "ciphertext": group.encrypt(inside.to_string()).to_base64(),
        },
    });
    Event::parse(&event.to_string()).unwrap()
}

fn shield(world: &mut World, event: &Event) -> Result<Shield, Reason> {
    let room = RoomId::parse(ROOM).unwrap();
    let read = world.at(0, |machine, step| machine.decrypt_event(&room, event, step));
    match read.unwrap() {
        Decryption::Decrypted(inner) => Ok(inner.shield),
        Decryption::Undecryptable(why) => Err(why.reason),
    }
}

/// Sends the key as old clients do: without the keys of the sending device.
fn send_key(world: &mut World, forger: &Forger, group: &GroupSession) {
    let mut session = forger.session(world, 0);
    let mut inside: Value = forger.inside(world, 0);
    inside.as_object_mut().unwrap().remove("sender_device_keys");
    inside["type"] = json!("m.room_key");
    inside["content"] = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": group.session_id(),
        "session_key": group.session_key().to_base64(),
    });
    let sealed = forger.seal(world, 0, &mut session, &inside);
    let name = world.clients[0].name();
    world.server.put_in_inbox(&name, "m.room.encrypted", &forger.user, sealed);
    world.settle();
}

#[test]
fn a_key_that_comes_while_lists_cannot_be_had_opens_its_message_marked_until_they_can() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@bob:far");
    let keys = forger.device_keys(|_| {});
    let devices = world.server.device_keys.entry(forger.user.clone()).or_default();
    devices.insert(forger.device.as_str().into(), keys);
    world.server.unreachable.insert("far".to_owned());
    let user = forger.user.clone();
    world.at(0, |machine, step| machine.core.track([&*user], step)).unwrap();
    world.settle();
    let mut group = GroupSession::new(SessionConfig::version_1());
    let key = GroupSession::from_pickle(group.pickle());
    let (at, earlier) = (world.now, Timestamp(world.now.0 - 1));
    let old = event(&forger, &mut group, earlier);
    let event = event(&forger, &mut group, at);
    assert_eq!(shield(&mut world, &old), Err(Reason::BeforeLogin));
    assert_eq!(shield(&mut world, &event), Err(Reason::NoRoomKey));
    send_key(&mut world, &forger, &key);
    let room = RoomId::parse(ROOM).unwrap();
    let told = Notice::RoomKey { room, session_id: group.session_id() };
    assert!(world.clients[0].take_notices().contains(&told));
    let unknown = Ok(Shield::Red(ShieldReason::UnknownDevice));
    assert_eq!(shield(&mut world, &event), unknown);
    world.clients[0].restart(world.now);
    assert_eq!(shield(&mut world, &event), unknown);
    world.server.unreachable.clear();
    world.pass(Duration::from_secs(16 * 60));
    world.settle();
    let changed = Notice::DevicesChanged(vec![forger.user.clone()]);
    assert!(world.clients[0].take_notices().contains(&changed));
    assert_eq!(shield(&mut world, &event), Ok(Shield::Red(ShieldReason::UnsignedDevice)));
}

/// A message of somebody whose device no list names, who then leaves; we look them up while the
/// server does not know the device either, then it does.
fn departed() -> (World, Event) {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@bob:far");
    let user = forger.user.clone();
    world.clients[0].step(world.now, |it, step| it.core.track([&*user], step)).unwrap();
    world.settle();
    let mut group = GroupSession::new(SessionConfig::version_1());
    let key = GroupSession::from_pickle(group.pickle());
    let event = event(&forger, &mut group, world.now);
    send_key(&mut world, &forger, &key);
    world.pass(Duration::from_secs(61));
    world.settle();
    // That they have this device is told to those alone who share a room with them.
    world.clients[0].take_notices();
    let lists = DeviceLists { changed: Vec::new(), left: vec![user.clone()] };
    let sync = CryptoSync {
        to_device: &[],
        device_lists: &lists,
        key_counts: KeyCounts::Changed(None),
        unused_fallback_keys: None,
        is_initial: false,
    };
    world.clients[0].step(world.now, |it, step| it.receive_sync(sync, step)).unwrap();
    let changed = Notice::DevicesChanged(vec![user.clone()]);
    assert!(world.clients[0].take_notices().contains(&changed), "marks are looked at once more");
    let unknown = Ok(Shield::Red(ShieldReason::UnknownDevice));
    assert_eq!(shield(&mut world, &event), unknown);
    world.settle();
    assert_eq!(shield(&mut world, &event), unknown);
    let keys = forger.device_keys(|_| {});
    world.server.device_keys.entry(user).or_default().insert(forger.device.as_str().into(), keys);
    (world, event)
}

fn queries(world: &World) -> usize {
    world.server.served.iter().filter(|(_, it)| it.path.contains("keys/query")).count()
}

#[test]
fn somebody_who_left_is_looked_up_again_a_minute_after_a_look_that_showed_too_little() {
    let (mut world, event) = departed();
    let before = queries(&world);
    world.settle();
    assert_eq!(queries(&world), before, "not each message causes a look");
    world.pass(Duration::from_secs(61));
    world.settle();
    assert_eq!(queries(&world), before + 1);
    assert_eq!(shield(&mut world, &event), Ok(Shield::Red(ShieldReason::UnsignedDevice)));
}

#[test]
fn a_look_at_somebody_who_left_is_not_forgotten_when_the_program_ends() {
    let (mut world, event) = departed();
    world.clients[0].restart(world.now);
    world.pass(Duration::from_secs(61));
    world.settle();
    assert_eq!(shield(&mut world, &event), Ok(Shield::Red(ShieldReason::UnsignedDevice)));
    let before = queries(&world);
    world.pass(Duration::from_secs(3_600));
    world.settle();
    assert!(queries(&world) <= before + 1, "an unsigned device is not looked at for ever");
}

/// Somebody's device is known for unsigned by the time that they are gone, and nothing else is
/// announced.
fn is_looked_at_again(
    leave: impl Fn(&mut Machine, &UserId, &mut Step<'_>) -> Result<(), MachineError>,
) {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@bob:far");
    let user = forger.user.clone();
    world.at(0, |it, step| it.core.track([&*user], step)).unwrap();
    world.settle();
    let mut group = GroupSession::new(SessionConfig::version_1());
    let key = GroupSession::from_pickle(group.pickle());
    let event = event(&forger, &mut group, world.now);
    send_key(&mut world, &forger, &key);
    let unknown = Ok(Shield::Red(ShieldReason::UnknownDevice));
    assert_eq!(shield(&mut world, &event), unknown);
    world.pass(Duration::from_secs(61));
    world.settle();
    // That they have this device is told to those alone who share a room with them.
    world.clients[0].take_notices();
    world.at(0, |it, step| leave(it, &user, step)).unwrap();
    let changed = Notice::DevicesChanged(vec![user.clone()]);
    assert!(world.clients[0].take_notices().contains(&changed), "marks are looked at once more");
    let keys = forger.device_keys(|_| {});
    world.server.device_keys.entry(user).or_default().insert(forger.device.as_str().into(), keys);
    assert_eq!(shield(&mut world, &event), unknown);
    world.settle();
    assert!(world.clients[0].take_notices().contains(&changed));
    assert_eq!(shield(&mut world, &event), Ok(Shield::Red(ShieldReason::UnsignedDevice)));
}

#[test]
fn the_mark_of_somebody_who_left_is_looked_at_again_though_nothing_of_theirs_is_announced() {
    is_looked_at_again(|machine, user, step| {
        let lists = DeviceLists { changed: Vec::new(), left: vec![user.to_owned()] };
        let sync = CryptoSync {
            to_device: &[],
            device_lists: &lists,
            key_counts: KeyCounts::Changed(None),
            unused_fallback_keys: None,
            is_initial: false,
        };
        machine.receive_sync(sync, step)
    });
}

// Schedule 26 of the simulator: they were invited, came and were put out while we were away.
#[test]
fn the_mark_of_somebody_who_left_is_looked_at_again_though_only_the_room_tells_that_they_did() {
    is_looked_at_again(|machine, user, step| {
        let left = json!({
            "type": "m.room.member", "state_key": user, "sender": user, "event_id": "$2",
            "content": { "membership": "leave" },
        });
        let left = Event::parse(&left.to_string()).unwrap();
        machine.receive_state(&RoomId::parse(ROOM).unwrap(), &left, step)
    });
}
