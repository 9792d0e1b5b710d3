//! Another recovery key in the place of the present one, and secrets that change while the storage is
//! closed: with a program that dies at any point.

use serde_json::Value;

use super::{
    harness::World,
    recovery::{ALICE, SIGNING, data, default_key, make, open, refusal, secrets, set_up, world},
};
use crate::{
    e2ee::{CreationStatus, Machine, MachineError, Step, StorageRefusal, StorageStatus},
    secret::Secret,
};

fn renew(machine: &mut Machine, step: &mut Step<'_>) -> Result<Secret<String>, MachineError> {
    machine.renew_secret_storage(None, step)
}

/// Alice on one device with a recovery key, which is not at hand.
fn closed() -> (World, String) {
    let mut world = world();
    let key = set_up(&mut world, 0);
    let now = world.now;
    world.at(0, Machine::confirm_recovery_key).unwrap();
    world.clients[0].restart(now);
    world.settle();
    (world, key)
}

fn status(world: &mut World) -> StorageStatus {
    world.at(0, |machine, step| machine.storage_status(step)).unwrap()
}

/// A new login gets everything with this key.
fn opens(world: &mut World, key: &str) {
    world.log_in(ALICE, "SECOND");
    world.settle();
    let last = world.clients.len() - 1;
    open(world, last, key);
    assert_eq!(secrets(world, last), SIGNING);
}

#[test]
fn until_the_user_has_the_new_recovery_key_the_old_one_opens_everything() {
    let mut made = 0;
    for requests in 0..14 {
        let (mut world, old) = closed();
        let now = world.now;
        let new = world.at(0, renew).unwrap();
        assert_ne!(*new.expose(), old);
        for _ in 0..requests {
            world.send_one(0);
        }
        made += usize::from(status(&mut world).creation == CreationStatus::Unconfirmed);
        // Asked again after a death it is the same key; and the old one is the account's still.
        world.clients[0].restart(now);
        assert_eq!(world.at(0, renew).unwrap(), new);
        world.log_in(ALICE, "SECOND");
        world.clients.swap(0, 1);
        let lost = world.clients.pop().unwrap();
        world.settle();
        open(&mut world, 0, &old);
        assert_eq!(secrets(&mut world, 0), SIGNING, "after {requests} requests");
        drop(lost);
    }
    assert!(0 < made && made < 14, "{made}");
}

#[test]
fn a_confirmed_recovery_key_comes_in_the_place_of_the_old_one_wherever_that_was_interrupted() {
    for requests in 0..7 {
        let (mut world, old) = closed();
        let now = world.now;
        let new = world.at(0, renew).unwrap();
        world.settle();
        assert_eq!(status(&mut world).creation, CreationStatus::Unconfirmed);
        world.at(0, Machine::confirm_recovery_key).unwrap();
        for _ in 0..requests {
            world.send_one(0);
        }
        world.clients[0].restart(now);
        world.settle();
        let ended = status(&mut world);
        assert_eq!((ended.creation, ended.unwritten), (CreationStatus::None, 0));
        let id = default_key(&mut world);
        for name in SIGNING {
            let sealed = data(&mut world, name.as_str())["encrypted"].clone();
            let keys: Vec<&String> = sealed.as_object().unwrap().keys().collect();
            assert_eq!(keys, [&id], "the old key opens nothing, after {requests} requests");
        }
        opens(&mut world, new.expose());
        let last = world.clients.len() - 1;
        open(&mut world, last, &old);
        assert_eq!(refusal(&mut world.clients[last]), Some(StorageRefusal::WrongKey));
    }
}

#[test]
fn a_new_recovery_key_is_not_made_where_secrets_are_missing() {
    let (mut world, key) = closed();
    world.log_in(ALICE, "SECOND");
    world.settle();
    let can = |world: &mut World, client: usize| {
        world.at(client, |machine, step| machine.can_renew_storage(step)).unwrap()
    };
    assert!(can(&mut world, 0));
    assert!(!can(&mut world, 1));
    open(&mut world, 1, &key);
    assert!(can(&mut world, 1));
}

#[test]
fn another_storage_of_another_client_ends_a_renewal() {
    let (mut world, _) = closed();
    drop(world.at(0, renew).unwrap());
    world.settle();
    let event = r#"{"type":"m.secret_storage.default_key","content":{"key":"theirs"}}"#;
    let event = crate::matrix::Event::parse(event).unwrap();
    world.at(0, |it, step| it.receive_account_data(&event, step)).unwrap();
    assert_eq!(status(&mut world).creation, CreationStatus::None);
    // Whoever kept the key of it learns that it is worth nothing, also after a restart.
    let now = world.now;
    world.clients[0].restart(now);
    world.at(0, Machine::confirm_recovery_key).unwrap();
    assert!(status(&mut world).is_overtaken);
    drop(world.at(0, renew).unwrap());
    assert!(!status(&mut world).is_overtaken);
}

#[test]
fn secrets_that_change_while_the_storage_is_closed_are_said_to_be_missing_and_written_when_it_opens()
 {
    let (mut world, key) = closed();
    world.at(0, Machine::reset_identity).unwrap();
    world.settle();
    let before = status(&mut world);
    assert_eq!((before.unwritten, before.is_writing, before.exists), (3, false, true));
    open(&mut world, 0, &key);
    assert_eq!(status(&mut world).unwritten, 0);
    opens(&mut world, &key);
}

#[test]
fn secrets_that_change_while_the_storage_is_open_are_written_at_once() {
    let mut world = world();
    let key = world.at(0, make).unwrap();
    world.settle();
    world.at(0, Machine::confirm_recovery_key).unwrap();
    world.at(0, Machine::reset_identity).unwrap();
    world.settle();
    assert_eq!(status(&mut world).unwritten, 0);
    opens(&mut world, key.expose());
}

#[test]
fn a_new_identity_signs_the_backup_that_is_kept() {
    let (mut world, _) = closed();
    world.at(0, Machine::create_backup).unwrap();
    world.settle();
    let signatures = |world: &World| {
        let mut puts =
            world.server.served.iter().filter(|(_, it)| it.path.contains("room_keys/version"));
        let last: Value = serde_json::from_str(&puts.next_back().unwrap().1.body).unwrap();
        last["auth_data"]["signatures"][ALICE].as_object().unwrap().len()
    };
    world.at(0, Machine::reset_identity).unwrap();
    world.settle();
    let last = world.server.served.iter().rev();
    let put = last.filter(|(_, it)| it.path.contains("room_keys/version") && it.method == "PUT");
    assert_eq!(put.count(), 1);
    assert_eq!(signatures(&world), 2);
    // Another device that verifies the new identity trusts the backup by it.
    world.log_in(ALICE, "SECOND");
    world.settle();
    let master = world.at(0, |machine, step| {
        machine.identity_status(&machine.core.user.clone(), step).unwrap().master_key.unwrap()
    });
    world.at(1, |it, step| it.verify_own_master(&master, step)).unwrap();
    world.at(1, Machine::check_backup).unwrap();
    world.settle();
    let backup = world.at(1, |it, step| it.backup_state(step)).unwrap();
    assert!(backup.trusted, "{backup:?}");
}
