//! How a device that was given the account's keys comes to be signed by them, in whatever order keys,
//! lists and answers come.

use super::harness::World;
use crate::{
    e2ee::{
        Machine, RequestKind,
        cross_signing::{Imported, SecretName},
    },
    secret::Secret,
};

const ALICE: &str = "@alice:x";

/// Alice on a device that has the account's keys.
fn world() -> World {
    let mut world = World::new(&[ALICE]);
    world.at(0, Machine::bootstrap_cross_signing).unwrap();
    world.settle();
    world
}

fn secret(world: &mut World, name: SecretName) -> Secret<[u8; 32]> {
    world.at(0, |machine, step| machine.signing_secret(name, step)).unwrap().unwrap()
}

/// As secret storage does it: one after the other, the first of them already at work.
fn give_keys(world: &mut World, client: usize) {
    for name in [SecretName::Master, SecretName::SelfSigning] {
        let secret = secret(world, name);
        let kept = world.at(client, |it, step| it.import_signing_secret(name, &secret, step));
        assert_eq!(kept.unwrap(), Imported::Kept);
    }
}

fn is_cross_signed(world: &mut World, client: usize) -> bool {
    world.at(client, |machine, step| machine.is_cross_signed(step)).unwrap()
}

fn sent(world: &World, client: usize, kind: RequestKind) -> usize {
    let name = world.clients[client].name();
    let served = world.server.served.iter();
    served.filter(|(from, request)| *from == name && request.kind == kind).count()
}

#[test]
fn a_key_that_comes_while_another_signature_is_on_its_way_signs_this_device_as_well() {
    let mut world = world();
    let second = world.log_in(ALICE, "SECOND");
    world.settle();
    give_keys(&mut world, second);
    let on_its_way = world.clients[second].outbox.iter();
    let on_its_way = on_its_way.filter(|it| it.kind == RequestKind::SignaturesUpload);
    assert_eq!(on_its_way.count(), 1, "that of the master key");
    // No sync: nothing but its answer says that it is time for the other.
    while world.send_one(second) {}
    assert!(is_cross_signed(&mut world, second));
}

#[test]
fn keys_that_come_before_the_answer_to_an_upload_sign_this_device_after_it() {
    let mut world = world();
    let second = world.log_in(ALICE, "SECOND");
    let upload = world.clients[second].outbox.pop_front().unwrap();
    assert_eq!(upload.kind, RequestKind::KeysUpload);
    // It is done, and its answer is lost; the list tells of it.
    let name = world.clients[second].name();
    world.server.serve(&name, &upload).unwrap();
    world.settle();
    give_keys(&mut world, second);
    world.settle();
    assert!(!is_cross_signed(&mut world, second));
    // The same again changes nothing at the server: no list comes any more.
    let answer = world.server.serve(&name, &upload).unwrap();
    world.answer(second, &upload.id, Ok(&answer));
    while world.send_one(second) {}
    assert!(is_cross_signed(&mut world, second));
}

#[test]
fn a_signature_that_the_server_did_not_take_is_made_again_after_a_start() {
    let mut world = world();
    let second = world.log_in(ALICE, "SECOND");
    world.settle();
    give_keys(&mut world, second);
    for _ in 0..30 {
        let Some(request) = world.clients[second].outbox.pop_front() else { break };
        let name = world.clients[second].name();
        let answer = if request.kind == RequestKind::SignaturesUpload {
            "<html>hello</html>".to_owned()
        } else {
            world.server.serve(&name, &request).unwrap()
        };
        world.answer(second, &request.id, Ok(&answer));
    }
    world.settle();
    assert!(!is_cross_signed(&mut world, second));
    world.clients[second].restart(world.now);
    world.settle();
    assert!(is_cross_signed(&mut world, second));
}

#[test]
fn a_signature_that_was_taken_before_a_list_names_this_device_counts_as_taken() {
    let mut world = world();
    let second = world.log_in(ALICE, "SECOND");
    // The list that it has is from before its keys came.
    let outbox = &mut world.clients[second].outbox;
    let query = outbox.iter().position(|it| it.kind == RequestKind::KeysQuery).unwrap();
    let query = outbox.remove(query).unwrap();
    outbox.push_front(query);
    while world.send_one(second) {}
    give_keys(&mut world, second);
    while world.send_one(second) {}
    assert_eq!(sent(&world, second, RequestKind::SignaturesUpload), 2, "master key and device");
    assert_eq!(sent(&world, second, RequestKind::KeysQuery), 1, "the server did as it was told");
    world.settle();
    assert!(is_cross_signed(&mut world, second));
    assert_eq!(sent(&world, second, RequestKind::SignaturesUpload), 2);
}
