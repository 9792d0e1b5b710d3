//! Alice and Bob with their identities, and what the server shows of them.

use serde_json::Value;

use crate::{
    e2ee::{
        IdentityState, Machine, OwnIdentity, Readiness, Recipients, ShareError,
        cross_signing::Signed, tests::harness::World,
    },
    matrix::{OwnedRoomId, OwnedUserId},
};

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;
const ROOM: &str = "!room:x";

pub(super) fn room() -> OwnedRoomId {
    OwnedRoomId::try_from(ROOM).unwrap()
}

pub(super) fn user(id: &str) -> OwnedUserId {
    OwnedUserId::try_from(id).unwrap()
}

pub(super) fn bootstrap(world: &mut World, client: usize) {
    world.at(client, Machine::bootstrap_cross_signing).unwrap();
    world.settle();
}

/// Alice and Bob, both with an identity, who know each other.
pub(super) fn pair() -> World {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    bootstrap(&mut world, ALICE);
    bootstrap(&mut world, BOB);
    world.acquaint(ALICE, BOB);
    world.acquaint(BOB, ALICE);
    encrypt(&mut world);
    world
}

pub(super) fn encrypt(world: &mut World) {
    for client in 0..world.clients.len() {
        world.has_encrypted(client, &room());
    }
}

pub(super) fn to_both() -> Recipients {
    Recipients { joined: vec![user("@alice:x"), user("@bob:x")], ..Recipients::default() }
}

pub(super) fn prepare(world: &mut World, client: usize) -> Result<bool, ShareError> {
    let mut ready = Ok(false);
    for _ in 0..4 {
        ready = world.at(client, |machine, step| {
            machine
                .prepare_room(&room(), &to_both(), step)
                .map(|ready| matches!(ready, Readiness::Ready(_)))
        });
        if ready != Ok(false) {
            break;
        }
        world.settle();
    }
    world.settle();
    ready
}

pub(super) fn own(world: &mut World, client: usize) -> OwnIdentity {
    world.at(client, |machine, step| machine.own_identity(step)).unwrap()
}

pub(super) fn state(world: &mut World, client: usize, of: &str) -> IdentityState {
    let of = user(of);
    world.at(client, |machine, step| machine.identity_status(&of, step)).unwrap().state
}

pub(super) fn master(world: &World, of: &str) -> String {
    let keys = &world.server.identities["master_keys"][&user(of)]["keys"];
    keys.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
}

pub(super) fn verify(world: &mut World, client: usize, of: &str) -> Signed {
    let key = master(world, of);
    let of = user(of);
    let signed = world.at(client, |machine, step| machine.sign_user(&of, &key, step)).unwrap();
    world.settle();
    signed
}

/// Has the client ask for the list of `of` again, whatever it knows.
pub(super) fn look(world: &mut World, client: usize, of: &str) {
    let of = user(of);
    world.at(client, |machine, step| machine.core.call_into_question(&of, step)).unwrap();
    world.settle();
}

/// What the server shows as the identity of a user.
pub(super) type Set = Vec<(String, Option<Value>)>;

pub(super) fn set_of(world: &World, of: &str) -> Set {
    let identities = world.server.identities.iter();
    identities.map(|(part, keys)| (part.clone(), keys.get(&user(of)).cloned())).collect()
}

pub(super) fn show(world: &mut World, of: &str, set: &Set) {
    for (part, key) in set {
        let keys = world.server.identities.entry(part.clone()).or_default();
        match key {
            Some(key) => drop(keys.insert(user(of), key.clone())),
            None => drop(keys.remove(&user(of))),
        }
    }
}

/// A whole identity of `of`, made by somebody who plays them; nothing of it is on the server.
pub(super) fn another_set(of: &str) -> Set {
    let mut other = World::new(&[of]);
    bootstrap(&mut other, 0);
    set_of(&other, of)
}

pub(super) fn withheld(world: &World, code: &str) -> usize {
    let served = world.server.served.iter();
    served
        .filter(|(_, it)| it.path.contains("m.room_key.withheld") && it.body.contains(code))
        .count()
}
