//! Keys that do not fit, backups that nobody we trust made or that went away, sessions slipped in.

use serde_json::{Value, json};
use vodozemac::pk_encryption::{PkDecryption, PkEncryption};

use super::scene::{ME, attackers_backup, backed_up, exported, group, me, message, room, sessions};
use crate::{
    e2ee::{
        Alarm, BackupProblem, Decryption, Machine, Shield, ShieldReason, Table,
        tests::{account_server::Backup, harness::World},
    },
    matrix::{CanonicalText, CanonicalValue},
    secret::Secret,
};

// T-99, TestBackupWrongRecoveryKeyFails
#[test]
fn a_key_that_does_not_fit_is_not_kept() {
    let mut world = backed_up(1);
    let new = world.log_in(ME, "NEW");
    world.settle();
    world.give_key(new, Secret::new([7; 32]));
    world.rest();
    let state = world.state(new);
    assert_eq!(state.problem, Some(BackupProblem::WrongKey));
    assert!(!state.connected && !state.trusted);
    let stored: Vec<u8> =
        world.clients[new].records.0.values().flat_map(|it| it.to_vec()).collect();
    let secret = b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    assert!(!stored.windows(secret.len()).any(|window| window == secret));
    // Looking again does not make another reason of it.
    world.at(new, Machine::check_backup).unwrap();
    world.rest();
    assert_eq!(world.state(new).problem, Some(BackupProblem::WrongKey));
    world.connect(new);
    world.rest();
    assert_eq!(world.state(new).problem, None);
}

// T-97, A-24
#[test]
fn a_session_that_the_server_slipped_in_is_marked_and_its_claims_are_not_believed() {
    let mut world = backed_up(1);
    let mut forged = group();
    let key = world.backup().about["auth_data"]["public_key"].as_str().unwrap().to_owned();
    let key = vodozemac::Curve25519PublicKey::from_base64(&key).unwrap();
    let sealed = PkEncryption::from_key(key).encrypt(exported(&forged, &room(0), 0).as_bytes());
    let sealed = sealed.unwrap();
    let base64 = vodozemac::base64_encode;
    let entry = json!({
        "first_message_index": 0, "forwarded_count": 0, "is_verified": true,
        "session_data": {
            "ephemeral": sealed.ephemeral_key.to_base64(),
            "ciphertext": base64(sealed.ciphertext),
            "mac": base64(sealed.mac),
        },
    });
    let name = (room(0).to_string(), forged.session_id());
    world.backup().keys.insert(name, entry.clone());
    let other = (room(0).to_string(), group().session_id());
    world.backup().keys.insert(other.clone(), entry);
    let new = world.log_in(ME, "NEW");
    world.has_encrypted(new, &room(0));
    world.connect(new);
    world.rest();
    let event = message(&mut forged, &room(0), "@b:x");
    let Decryption::Decrypted(decrypted) = world.decrypt(new, &room(0), &event) else {
        panic!("it is in the backup");
    };
    assert_eq!(decrypted.shield, Shield::Grey(ShieldReason::AuthenticityNotGuaranteed));
    let kept = world.clients[new]
        .records
        .0
        .keys()
        .any(|(table, key)| *table == Table::InboundGroupSession && key.1 == other.1);
    assert!(!kept, "under the name of another session");
}

// T-101, A-7
#[test]
fn no_key_goes_to_a_backup_that_nobody_we_trust_made() {
    let mut world = World::new(&[ME]);
    world.server.backups.insert(me(), vec![attackers_backup()]);
    world.at(0, Machine::check_backup).unwrap();
    world.import(0, &sessions(1));
    world.at(0, Machine::flush_backup).unwrap();
    world.rest();
    world.clients[0].restart(world.now);
    world.rest();
    let state = world.state(0);
    assert_eq!((state.trusted, state.to_upload), (false, 1));
    assert_eq!(state.problem, Some(BackupProblem::Untrusted));
    assert!(world.uploads().is_empty());
}

// T-98, U19
#[test]
fn a_backup_that_is_replaced_by_a_strange_one_gets_nothing_more_and_is_told() {
    let mut world = backed_up(1);
    world.clients[0].take_alarms();
    world.server.backups.get_mut(&me()).unwrap().push(attackers_backup());
    world.import(0, &sessions(1));
    world.rest();
    assert_eq!(world.clients[0].take_alarms(), [Alarm::BackupChanged("2".to_owned())]);
    assert!(world.backup().keys.is_empty());
    assert_eq!(world.state(0).to_upload, 1);
    // The old one is found again: its key is still here.
    world.server.backups.get_mut(&me()).unwrap().pop();
    world.clients[0].restart(world.now);
    world.rest();
    assert_eq!(world.backup().keys.len(), 2);
}

#[test]
fn a_backup_that_was_left_for_another_gets_nothing_when_the_server_brings_it_back() {
    let mut world = World::new(&[ME]);
    world.at(0, Machine::bootstrap_cross_signing).unwrap();
    world.settle();
    world.at(0, Machine::create_backup).unwrap();
    world.settle();
    world.import(0, &sessions(1));
    world.rest();
    // Somebody may know the key of the first one, which our identity signed all the same. It is gone
    // for a while before there is another.
    world.backup().deleted = true;
    world.clients[0].restart(world.now);
    world.rest();
    assert_eq!(world.state(0).version, None);
    world.backup().deleted = false;
    world.at(0, Machine::create_backup_anyway).unwrap();
    world.rest();
    world.clients[0].take_alarms();
    let newest = world.server.backups.get_mut(&me()).unwrap().pop().unwrap();
    world.clients[0].restart(world.now);
    world.import(0, &sessions(1));
    world.rest();
    assert_eq!(world.clients[0].take_alarms(), [Alarm::BackupChanged("1".to_owned())]);
    assert_eq!(world.backup().keys.len(), 1, "what it had before");
    world.server.backups.get_mut(&me()).unwrap().push(newest);
    world.clients[0].restart(world.now);
    world.rest();
    assert_eq!(world.backup().keys.len(), 2);
}

// T-98: the number is the same, the key is another.
#[test]
fn a_backup_of_the_same_number_with_another_key_is_another_backup() {
    let mut world = backed_up(1);
    world.clients[0].take_alarms();
    *world.backup() = attackers_backup();
    world.clients[0].restart(world.now);
    world.import(0, &sessions(1));
    world.rest();
    assert_eq!(world.clients[0].take_alarms(), [Alarm::BackupChanged("1".to_owned())]);
    assert!(world.backup().keys.is_empty());
}

//
#[test]
fn a_deleted_backup_is_told_and_none_is_made_behind_the_users_back() {
    let mut world = backed_up(1);
    world.clients[0].take_alarms();
    world.backup().deleted = true;
    world.import(0, &sessions(1));
    world.rest();
    assert_eq!(world.clients[0].take_alarms(), [Alarm::BackupDeleted("1".to_owned())]);
    let state = world.state(0);
    assert_eq!((state.version, state.problem), (None, Some(BackupProblem::Deleted)));
    assert_eq!(world.server.backups[&me()].len(), 1);
}

//
#[test]
fn a_backup_whose_key_yields_no_secret_gets_nothing_although_it_is_signed() {
    let key = |last: u8| {
        let mut bytes = [0; 32];
        bytes[0] = last;
        vodozemac::Curve25519PublicKey::from_bytes(bytes).to_base64()
    };
    let good = PkDecryption::new().public_key().to_base64();
    for (key, uploads) in [(good, 1), (key(0), 0), (key(1), 0)] {
        let mut world = World::new(&[ME]);
        world.at(0, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
        let data = json!({ "public_key": key }).to_string();
        let mut data = CanonicalValue::parse_object(&data).unwrap();
        world.at(0, |machine, step| machine.sign_with_master(&mut data, step)).unwrap();
        let data: Value = serde_json::from_str(&CanonicalText(&data).to_string()).unwrap();
        let about = json!({
            "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": data,
        });
        world.server.backups.insert(me(), vec![Backup { about, ..Backup::default() }]);
        world.import(0, &sessions(1));
        world.at(0, Machine::check_backup).unwrap();
        world.rest();
        world.at(0, Machine::flush_backup).unwrap();
        world.rest();
        assert!(world.state(0).trusted, "it is signed");
        assert_eq!(world.uploads().len(), uploads, "{key}");
    }
}
