//! Alice and Bob, and what waits for Bob while he is away.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use vodozemac::olm::Account;

use crate::{
    e2ee::{
        Machine, OutgoingRequest, Readiness, Recipients, RecoverySecret, RequestKind, Step, Table,
        cross_signing::SecretName, megolm::inbound::InboundSession, tests::harness::World,
    },
    matrix::{OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId},
    secret::Secret,
};

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Rooms in which Alice writes while Bob is away: their keys fill some pages.
pub(super) const ROOMS: usize = 5;

pub(super) fn room(number: usize) -> OwnedRoomId {
    RoomId::parse(format!("!room{number}:x")).unwrap()
}

pub(super) fn user(name: &str) -> OwnedUserId {
    OwnedUserId::try_from(format!("@{name}:x")).unwrap()
}

/// Alice and Bob with identities, at a server that offers it; Bob with a recovery key, which comes
/// with it.
pub(super) fn world() -> (World, Secret<String>) {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.server.dehydrated = Some([].into());
    for client in [ALICE, BOB] {
        world.at(client, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
    }
    world.acquaint(ALICE, BOB);
    for number in 0..ROOMS {
        world.has_encrypted(ALICE, &room(number));
    }
    let key = world.at(BOB, |it, step| it.create_secret_storage(None, step)).unwrap();
    world.rest();
    (world, key)
}

/// Bob's only device goes.
pub(super) fn log_out(world: &mut World) {
    let bob = world.clients.pop().unwrap();
    world.server.device_keys.get_mut(&bob.user).unwrap().remove(&bob.device);
    world.server.announcements.push(bob.user);
}

/// Bob logs in anew.
pub(super) fn log_in(world: &mut World) {
    world.log_in("@bob:x", "NEW");
    world.settle();
}

/// Alice writes, with a key of its own in each room.
fn write(world: &mut World) {
    let to = Recipients { joined: vec![user("alice"), user("bob")], ..Recipients::default() };
    for number in 0..ROOMS {
        let ready = |machine: &mut Machine, step: &mut Step<'_>| {
            matches!(machine.prepare_room(&room(number), &to, step).unwrap(), Readiness::Ready(_))
        };
        while !world.at(ALICE, ready) {
            world.rest();
        }
    }
    world.rest();
}

/// Bob's only device went, Alice wrote, and he logs in anew.
pub(super) fn away() -> (World, Secret<String>) {
    let (mut world, key) = world();
    log_out(&mut world);
    write(&mut world);
    log_in(&mut world);
    (world, key)
}

pub(super) fn type_key(world: &mut World, key: &Secret<String>) {
    let typed = RecoverySecret::typed(key.clone());
    world.at(BOB, |it, step| it.open_secret_storage(typed, step)).unwrap();
}

/// The device that waits for Bob, as it was uploaded.
pub(super) fn waiting(world: &World) -> Option<Value> {
    world.server.dehydrated.as_ref()?.get(&user("bob")).cloned()
}

pub(super) fn waiting_id(world: &World) -> OwnedDeviceId {
    OwnedDeviceId::from(waiting(world).unwrap()["device_id"].as_str().unwrap())
}

/// Changes it at the server.
pub(super) fn replace(world: &mut World, change: impl FnOnce(&mut Value)) {
    change(world.server.dehydrated.as_mut().unwrap().get_mut(&user("bob")).unwrap());
}

/// Puts one in its place that another client made, with a key of its own; gives its id.
pub(super) fn replace_by_another(world: &mut World) -> String {
    let account = Account::new();
    let sealed = account.to_dehydrated_device(&[7; 32]).unwrap();
    let id = account.curve25519_key().to_base64();
    replace(world, |it| {
        it["device_id"] = json!(id);
        it["device_data"]["device_pickle"] = json!(sealed.ciphertext);
        it["device_data"]["nonce"] = json!(sealed.nonce);
    });
    id
}

/// The sessions that Bob has, with their rooms.
pub(super) fn sessions(world: &mut World) -> Vec<(String, InboundSession)> {
    let all = world.at(BOB, |_, step| step.scan(Table::InboundGroupSession, None)).unwrap();
    all.into_iter().map(|(key, session)| (key.0, session)).collect()
}

/// In how many rooms Bob can read.
pub(super) fn rooms(world: &mut World) -> usize {
    let rooms: BTreeSet<_> = sessions(world).into_iter().map(|(room, _)| room).collect();
    rooms.len()
}

pub(super) fn held(world: &mut World, name: SecretName) -> Option<Secret<[u8; 32]>> {
    world.at(BOB, |it, step| it.held_secret(name, step)).unwrap()
}

pub(super) fn calls(world: &World) -> impl Iterator<Item = &OutgoingRequest> {
    let served = world.server.served.iter().map(|(_, request)| request);
    served.filter(|it| it.kind == RequestKind::DehydratedDevice)
}

pub(super) fn pages(world: &World) -> usize {
    calls(world).filter(|it| it.path.ends_with("/events")).count()
}

/// Opens what waits with the key that is here.
pub(super) fn opened(world: &mut World) -> Option<Account> {
    let key = held(world, SecretName::DehydratedDevice).unwrap();
    let device = waiting(world).unwrap();
    let text = |name: &str| device["device_data"][name].as_str().unwrap().to_owned();
    Account::from_dehydrated_device(&text("device_pickle"), &text("nonce"), key.expose()).ok()
}

/// Whether the key that is here opens what waits.
pub(super) fn opens(world: &mut World) -> bool {
    opened(world).is_some()
}
