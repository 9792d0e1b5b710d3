//! Backups that are made, and found by whoever did not make them, in whatever order answers come.

use serde_json::{Map, json};

use super::scene::{ME, backed_up, me};
use crate::{
    e2ee::{BackupProblem, Machine, cross_signing::Imported, tests::harness::World},
    matrix::Event,
};

#[test]
fn a_backup_that_was_made_after_this_device_asked_is_found_by_its_key() {
    let mut world = World::new(&[ME]);
    let other = world.log_in(ME, "OTHER");
    world.settle();
    world.at(0, Machine::create_backup).unwrap();
    world.settle();
    let state = world.state(other);
    assert!(state.checked && state.version.is_none(), "there was none");
    let key = world.key(0);
    assert_eq!(world.give_key(other, key), Imported::Asked);
    world.rest();
    assert!(world.state(other).connected);
}

#[test]
fn a_key_outlives_an_answer_from_before_its_backup_was_made() {
    let mut world = World::new(&[ME]);
    let other = world.log_in(ME, "OTHER");
    let (asked, early) = world.early_answer(other);
    assert!(early.is_err(), "there is none yet");
    world.at(0, Machine::create_backup).unwrap();
    world.connect(other);
    world.answer(other, &asked, early.as_deref());
    world.rest();
    assert!(world.state(other).connected);
}

#[test]
fn a_new_backup_outlives_an_answer_from_before_it_was_made() {
    let mut world = backed_up(0);
    world.at(0, Machine::check_backup).unwrap();
    let (asked, early) = world.early_answer(0);
    world.at(0, Machine::create_backup_anyway).unwrap();
    world.settle();
    let made = world.state(0).version;
    world.answer(0, &asked, early.as_deref());
    world.settle();
    let state = world.state(0);
    assert_eq!((state.version, state.connected), (made, true));
}

#[test]
fn a_backup_that_another_client_makes_is_looked_at_when_its_key_is_stored() {
    let mut world = World::new(&[ME]);
    let other = world.log_in(ME, "OTHER");
    world.settle();
    world.at(0, Machine::create_backup).unwrap();
    world.settle();
    let event = Event::state("m.megolm_backup.v1", "", Map::new());
    world.at(other, |machine, step| machine.receive_account_data(&event, step).unwrap());
    world.settle();
    assert_eq!(world.state(other).version.as_deref(), Some("1"));
}

//
#[test]
fn whoever_turned_backups_off_is_asked_before_one_is_made() {
    let mut world = World::new(&[ME]);
    let off = (me(), "m.key_backup".to_owned());
    world.server.account_data.insert(off.clone(), json!({ "enabled": false }));
    world.at(0, Machine::create_backup).unwrap();
    world.rest();
    assert_eq!(world.state(0).problem, Some(BackupProblem::TurnedOff));
    assert!(world.server.backups.get(&me()).is_none_or(Vec::is_empty));
    world.at(0, Machine::create_backup_anyway).unwrap();
    world.rest();
    assert!(world.state(0).connected);
    assert_eq!(world.server.account_data[&off], json!({ "enabled": true }));
}

#[test]
fn a_backup_whose_making_a_crash_interrupted_keeps_its_key() {
    let mut world = World::new(&[ME]);
    world.at(0, Machine::create_backup).unwrap();
    assert!(world.send_one(0));
    let name = world.clients[0].name();
    let made = world.clients[0].outbox.pop_front().unwrap();
    assert_eq!(made.path, "/_matrix/client/v3/room_keys/version");
    // The server has made it; nobody heard.
    drop(world.server.serve(&name, &made));
    world.clients[0].restart(world.now);
    world.rest();
    assert!(world.state(0).connected);
}
