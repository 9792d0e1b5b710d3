//! Secret storage: whole flows between our own devices, with a server that lies, and with a program
//! that dies at any point.

use base64::Engine as _;
use serde_json::{Value, json};

use super::harness::{Client, World};
use crate::{
    e2ee::{
        CreationStatus, Derivation, Machine, MachineError, Notice, OwnIdentity, RecoverySecret,
        RequestKind, Step, StorageRefusal, StorageStatus, cross_signing::SecretName,
        secret_storage::BASE64,
    },
    matrix::Event,
    secret::Secret,
};

pub(super) const ALICE: &str = "@alice:x";

pub(super) fn make(
    machine: &mut Machine,
    step: &mut Step<'_>,
) -> Result<Secret<String>, MachineError> {
    machine.create_secret_storage(None, step)
}

/// Alice on one device, with an identity.
pub(super) fn world() -> World {
    let mut world = World::new(&[ALICE]);
    world.at(0, Machine::bootstrap_cross_signing).unwrap();
    world.settle();
    assert!(matches!(own(&mut world, 0), OwnIdentity::Verified { .. }));
    world
}

/// The same with a recovery key, and a second device of hers.
pub(super) fn recoverable() -> (World, String) {
    let mut world = world();
    let key = set_up(&mut world, 0);
    world.log_in(ALICE, "SECOND");
    world.settle();
    assert_eq!(own(&mut world, 1), OwnIdentity::Theirs);
    (world, key)
}

pub(super) fn set_up(world: &mut World, client: usize) -> String {
    let key = world.at(client, make).unwrap();
    world.settle();
    key.expose().clone()
}

pub(super) fn own(world: &mut World, client: usize) -> OwnIdentity {
    world.at(client, |machine, step| machine.own_identity(step)).unwrap()
}

pub(super) fn open(world: &mut World, client: usize, typed: &str) {
    let secret = RecoverySecret::typed(Secret::new(typed.to_owned()));
    world.at(client, |machine, step| machine.open_secret_storage(secret, step)).unwrap();
    settle(world, client);
}

/// Settles, making keys of passphrases as whoever drives the engine does.
fn settle(world: &mut World, client: usize) {
    loop {
        world.settle();
        let notices = world.clients[client].notices.clone();
        let derive = notices.iter().rev().find_map(|notice| {
            let Notice::DeriveStorageKey(derivation) = notice else { return None };
            Some(derivation.clone())
        });
        let Some(derivation) = derive else { return };
        world.clients[client].notices.retain(|it| !matches!(it, Notice::DeriveStorageKey(_)));
        let key = derivation.derive();
        world.at(client, |machine, step| machine.receive_derived_key(key, step)).unwrap();
    }
}

pub(super) fn refusal(client: &mut Client) -> Option<StorageRefusal> {
    client.take_notices().into_iter().find_map(|notice| {
        let Notice::StorageRefused(why) = notice else { return None };
        Some(why)
    })
}

pub(super) fn data<'w>(world: &'w mut World, kind: &str) -> &'w mut Value {
    let name = (world.clients[0].user.clone(), kind.to_owned());
    world.server.account_data.entry(name).or_insert(Value::Null)
}

pub(super) fn default_key(world: &mut World) -> String {
    data(world, "m.secret_storage.default_key")["key"].as_str().unwrap().to_owned()
}

/// All that a machine knows of its own secrets.
pub(super) fn secrets(world: &mut World, client: usize) -> Vec<SecretName> {
    world.at(client, |machine, step| {
        let names = SecretName::PASSED.into_iter();
        names.filter(|name| machine.held_secret(*name, step).unwrap().is_some()).collect()
    })
}

pub(super) const SIGNING: [SecretName; 3] =
    [SecretName::Master, SecretName::SelfSigning, SecretName::UserSigning];

#[test]
fn a_recovery_key_signs_the_next_device() {
    let (mut world, key) = recoverable();
    open(&mut world, 1, &key.replace(' ', ""));
    assert_eq!(secrets(&mut world, 1), SIGNING);
    let signed = world.at(1, |machine, step| machine.is_cross_signed(step)).unwrap();
    assert!(signed);
    assert!(
        world.clients[1].take_notices().contains(&Notice::StorageOpened { taken: 3, refused: 0 })
    );
}

#[test]
fn a_wrong_key_is_told_and_changes_nothing() {
    let (mut world, _) = recoverable();
    let other = "EsSz ykH7 LCZx 7Cae cmKD wcmY JRXi Ybtu 8iQ3 t8Ez nRwK pUY1";
    for (typed, expected) in
        [(other, StorageRefusal::WrongKey), ("a guess", StorageRefusal::NoPassphrase)]
    {
        open(&mut world, 1, typed);
        assert_eq!(refusal(&mut world.clients[1]), Some(expected));
        assert_eq!(secrets(&mut world, 1), []);
        assert_eq!(own(&mut world, 1), OwnIdentity::Theirs);
    }
}

// T-91, A-8
#[test]
fn a_secret_with_another_iv_or_another_secret_in_its_place_is_not_taken() {
    for name in SIGNING {
        let (mut world, key) = recoverable();
        let id = default_key(&mut world);
        let sealed = &mut data(&mut world, name.as_str())["encrypted"][&id];
        let mut iv = BASE64.decode(sealed["iv"].as_str().unwrap()).unwrap();
        iv[0] ^= 1;
        sealed["iv"] = json!(BASE64.encode(iv));
        open(&mut world, 1, &key);
        assert!(!secrets(&mut world, 1).contains(&name), "{name:?}");
    }
    let (mut world, key) = recoverable();
    let other = data(&mut world, "m.cross_signing.user_signing").clone();
    *data(&mut world, "m.cross_signing.master") = other;
    open(&mut world, 1, &key);
    assert_eq!(own(&mut world, 1), OwnIdentity::Theirs);
}

// T-93, A-40
#[test]
fn nothing_is_sealed_with_a_key_that_the_server_slipped_in() {
    let (mut world, key) = recoverable();
    open(&mut world, 1, &key);
    world.log_in(ALICE, "THIRD");
    world.settle();
    // Its own description, with a check that everything fits: none.
    let evil = json!({ "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
        "passphrase": { "algorithm": "m.pbkdf2", "salt": "known", "iterations": 10_000 } });
    *data(&mut world, "m.secret_storage.key.evil") = evil;
    data(&mut world, "m.secret_storage.default_key")["key"] = json!("evil");
    // Two devices have all secrets, the maker of the storage and one that read them there (and
    // does not remember its key), and someone types a passphrase.
    world.clients[1].restart(world.now);
    for client in [0, 1] {
        assert_eq!(secrets(&mut world, client), SIGNING);
        open(&mut world, client, "my old passphrase");
        for name in SIGNING {
            world.at(client, |it, step| it.secret_changed(name, step)).unwrap();
        }
        world.settle();
    }
    let puts = world.server.served.iter().filter(|(_, request)| request.method == "PUT");
    let (all, evil): (Vec<_>, Vec<_>) =
        puts.partition(|(_, request)| !request.body.contains("evil"));
    assert!(!all.is_empty() && evil.is_empty(), "{evil:?}");
    // The true key opens nothing under that name, and is not told as wrong for it.
    open(&mut world, 2, &key);
    assert_eq!(secrets(&mut world, 2), []);
}

// T-94, A-40
#[test]
fn a_passphrase_opens_unless_the_server_weakens_it() {
    let mut world = world();
    let passphrase = || Secret::new("correct horse".to_owned());
    let derived = Derivation::of_new(passphrase()).unwrap().derive();
    world.at(0, |machine, step| machine.create_secret_storage(Some(derived), step)).unwrap();
    world.settle();
    world.log_in(ALICE, "SECOND");
    world.settle();
    open(&mut world, 1, "correct house");
    assert_eq!(refusal(&mut world.clients[1]), Some(StorageRefusal::WrongPassphrase));
    let kind = format!("m.secret_storage.key.{}", default_key(&mut world));
    for (iterations, expected) in [
        (json!(1), StorageRefusal::PassphraseTooWeak),
        (json!(1_000_000_000_000_u64), StorageRefusal::PassphraseTooSlow),
    ] {
        let honest = data(&mut world, &kind)["passphrase"]["iterations"].take();
        data(&mut world, &kind)["passphrase"]["iterations"] = iterations;
        open(&mut world, 1, "correct horse");
        assert_eq!(refusal(&mut world.clients[1]), Some(expected));
        data(&mut world, &kind)["passphrase"]["iterations"] = honest;
    }
    open(&mut world, 1, "correct horse");
    assert_eq!(secrets(&mut world, 1), SIGNING);
}

#[test]
fn making_goes_on_with_the_same_key_wherever_it_was_interrupted() {
    for requests in 0..6 {
        let mut world = world();
        let now = world.now;
        let key = world.at(0, make).unwrap();
        for _ in 0..requests {
            world.send_one(0);
        }
        // Killed, once with the last answer lost and once before it was sent.
        world.clients[0].restart(now);
        let again = world.at(0, make).unwrap();
        assert_eq!(key, again, "after {requests} requests");
        world.settle();
        world.log_in(ALICE, "SECOND");
        world.settle();
        open(&mut world, 1, again.expose());
        assert_eq!(secrets(&mut world, 1), SIGNING, "after {requests} requests");
        let client = &mut world.clients[0];
        client.step(now, Machine::confirm_recovery_key).unwrap();
        let status = client.step(now, |machine, step| machine.storage_status(step)).unwrap();
        assert_eq!((status.creation, status.unwritten), (CreationStatus::None, 0));
    }
}

#[test]
fn until_all_secrets_are_there_the_account_has_no_new_key() {
    let mut world = world();
    drop(world.at(0, make).unwrap());
    let mut kinds = Vec::new();
    while let Some(request) = world.clients[0].outbox.front() {
        if request.kind != RequestKind::AccountData {
            break;
        }
        kinds.push(request.path.rsplit('/').next().unwrap().to_owned());
        world.send_one(0);
    }
    assert!(kinds[0].starts_with("m.secret_storage.key."), "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "m.secret_storage.default_key");
    assert_eq!(kinds.len(), 5);
}

#[test]
fn opening_can_be_interrupted_anywhere_and_takes_all_secrets_or_none() {
    let mut without_key = 0;
    for requests in 0..12 {
        let (mut world, key) = recoverable();
        let now = world.now;
        let secret = || RecoverySecret::typed(Secret::new(key.clone()));
        world.at(1, |it, step| it.open_secret_storage(secret(), step)).unwrap();
        for _ in 0..requests {
            world.send_one(1);
        }
        world.clients[1].restart(now);
        world.settle();
        let held = secrets(&mut world, 1);
        assert!(held.is_empty() || held == SIGNING, "{held:?} after {requests} requests");
        // What was taken is enough to go on without the key.
        if held == SIGNING {
            without_key += 1;
            let signed = world.at(1, |it, step| it.is_cross_signed(step)).unwrap();
            assert!(signed, "after {requests} requests");
            continue;
        }
        world.at(1, |it, step| it.open_secret_storage(secret(), step)).unwrap();
        world.settle();
        assert_eq!(secrets(&mut world, 1), SIGNING, "after {requests} requests");
    }
    assert!(0 < without_key && without_key < 12, "{without_key}");
}

// The program dies anywhere between the user's word and the new storage.
#[test]
fn a_start_anew_that_was_interrupted_never_passes_for_finished() {
    for requests in 0..8 {
        let (mut world, _) = recoverable();
        let now = world.now;
        world.at(0, Machine::confirm_recovery_key).unwrap();
        let old = default_key(&mut world);
        world.at(0, Machine::begin_fresh_start).unwrap();
        let before = status(&mut world);
        assert!(before.exists && !before.is_fresh_start, "the server does not know of it yet");
        for _ in 0..requests {
            world.send_one(0);
        }
        world.clients[0].restart(now);
        world.settle();
        let interrupted = status(&mut world);
        assert!(!interrupted.exists && interrupted.is_fresh_start, "after {requests} requests");
        // Asked again, and killed again once a new key is there.
        let again = |machine: &mut Machine, step: &mut Step<'_>| {
            machine.give_up_secret_storage(step)?;
            make(machine, step)
        };
        let key = world.at(0, again).unwrap();
        for _ in 0..requests {
            world.send_one(0);
        }
        world.clients[0].restart(now);
        assert_eq!(world.at(0, again).unwrap(), key);
        world.settle();
        assert_ne!(default_key(&mut world), old);
        world.at(0, Machine::end_fresh_start).unwrap();
        let ended = status(&mut world);
        assert!(ended.exists && !ended.is_fresh_start, "after {requests} requests");
        open(&mut world, 1, key.expose());
        assert_eq!(secrets(&mut world, 1), SIGNING, "after {requests} requests");
    }
}

/// How the first client sees the storage, as the server tells of it.
fn status(world: &mut World) -> StorageStatus {
    let id = default_key(world);
    let event = json!({ "type": "m.secret_storage.default_key", "content": { "key": id } });
    let event = Event::parse(&event.to_string()).unwrap();
    world.at(0, |machine, step| {
        machine.receive_account_data(&event, step).unwrap();
        machine.storage_status(step).unwrap()
    })
}
