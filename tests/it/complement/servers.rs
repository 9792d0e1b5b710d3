//! Other homeservers that cannot be reached, between machines: the rig has no federation.

use std::time::Duration;

use grotto::{
    e2ee::{Decryption, Machine},
    matrix::{DeviceLists, Event},
};

use crate::world::World;

const ALICE: usize = 0;
const BOB: usize = 1;

/// Whether a client can read an event.
fn reads(world: &mut World, at: usize, event: &Event) -> bool {
    matches!(world.read(at, event), Decryption::Decrypted(_))
}

#[test]
fn test_new_user_cannot_get_keys_for_offline_server() {
    let mut world = World::new(&[("@alice:x", "ALICE")]);
    world.server.unreachable = Some(":y");
    world.add("@bob:y", "BOB");
    world.encrypt_room();
    let to = world.everybody();
    let lost = world.say(ALICE, &to, "while the server is away");
    assert!(!reads(&mut world, BOB, &lost));
    world.server.unreachable = None;
    world.now = world.now.plus(Duration::from_secs(60));
    let now = world.now;
    world.clients[ALICE].step(now, Machine::tick).unwrap();
    world.settle();
    let found = world.say(ALICE, &to, "now that it is back");
    assert!(reads(&mut world, BOB, &found));
}

#[test]
fn test_existing_session_cannot_get_keys_for_offline_server() {
    let mut world = World::new(&[("@alice:x", "ALICE"), ("@bob:y", "BOB")]);
    world.encrypt_room();
    let to = world.everybody();
    let first = world.say(ALICE, &to, "while the server is there");
    assert!(reads(&mut world, BOB, &first));
    world.server.unreachable = Some(":y");
    let bob = world.clients[BOB].user.clone();
    world.sync(ALICE, &[], &DeviceLists { changed: vec![bob], left: vec![] });
    world.settle();
    let (room, now) = (world.room.clone(), world.now);
    world.clients[ALICE].step(now, |machine, step| machine.discard_session(&room, step)).unwrap();
    let second = world.say(ALICE, &to, "while it is away");
    assert_ne!(first.content_str("session_id"), second.content_str("session_id"));
    assert!(reads(&mut world, BOB, &second), "the session between the devices is there");
}
