//! Sessions on their way up: crashes, sessions that get better meanwhile, servers that take less.

use std::time::Duration;

use super::scene::{ME, Talk, attackers_backup, backed_up, me, sessions};
use crate::e2ee::{
    Machine, RequestFailure, RequestKind,
    tests::harness::{World, matrix_error},
};

// T-100, U22
#[test]
fn an_upload_that_a_crash_interrupted_is_repeated_byte_for_byte() {
    let mut world = backed_up(0);
    world.import(0, &sessions(1));
    world.at(0, Machine::flush_backup).unwrap();
    let name = world.clients[0].name();
    let sent = world.clients[0].outbox.pop_front().unwrap();
    world.server.serve(&name, &sent).unwrap();
    world.clients[0].restart(world.now);
    let again = world.clients[0].outbox.iter().find(|it| it.kind == RequestKind::BackupWrite);
    assert_eq!(again.unwrap(), &sent);
    world.rest();
    assert_eq!(world.state(0).to_upload, 0);
    assert_eq!(world.uploads().len(), 2);
}

#[test]
fn a_session_that_gets_better_while_it_is_uploaded_is_uploaded_again() {
    let mut world = backed_up(0);
    let talk = Talk::of("@b:x");
    world.import(0, &[talk.end]);
    world.at(0, Machine::flush_backup).unwrap();
    let name = world.clients[0].name();
    let sent = world.clients[0].outbox.pop_front().unwrap();
    let answer = world.server.serve(&name, &sent).unwrap();
    world.import(0, &[talk.whole]);
    world.answer(0, &sent.id, Ok(&answer));
    world.rest();
    let entry = world.backup().keys.values().next().unwrap().clone();
    assert_eq!(entry["first_message_index"], 0);
    assert_eq!(world.state(0).to_upload, 0);
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for() {
    let mut world = backed_up(0);
    world.import(0, &sessions(1));
    let mut limited = matrix_error(429, "M_LIMIT_EXCEEDED", "slow down");
    limited.retry_after_ms = Some(60_000);
    world.server.outage = Some(RequestFailure::Later(limited));
    world.rest();
    world.server.outage = None;
    assert!(world.uploads().is_empty());
    world.pass(Duration::from_secs(61));
    world.rest();
    assert_eq!(world.state(0).to_upload, 0);
}

#[test]
fn a_server_that_takes_less_at_once_gets_smaller_batches() {
    let mut world = backed_up(0);
    world.backup().most_at_once = Some(30);
    world.import(0, &sessions(110));
    world.rest();
    let state = world.state(0);
    assert_eq!((state.to_upload, state.problem), (0, None));
    assert_eq!(world.backup().keys.len(), 110);
    assert_eq!(world.uploads().len(), 2 + 5, "100 and 50 are refused, then 25 each");
}

#[test]
fn a_session_that_is_too_large_by_itself_does_not_make_a_loop() {
    let mut world = backed_up(0);
    world.backup().most_at_once = Some(0);
    world.import(0, &sessions(1));
    world.rest();
    assert_eq!(world.state(0).to_upload, 1);
    assert!(world.uploads().len() <= 2, "{}", world.uploads().len());
}

// Whoever drives the machine would come again at once, and again.
#[test]
fn an_upload_that_cannot_be_is_no_reason_to_wake_up() {
    let wakes =
        |world: &World| world.clients[0].machine.deadline().is_some_and(|at| at <= world.now);
    let mut world = backed_up(1);
    world.at(0, Machine::flush_backup).unwrap();
    assert!(!wakes(&world), "nothing is to be uploaded");
    world.import(0, &sessions(1));
    let refusal = RequestFailure::Refused(matrix_error(403, "M_FORBIDDEN", "no"));
    world.server.outage = Some(refusal);
    world.rest();
    world.pass(Duration::from_secs(60 * 60));
    assert!(!wakes(&world), "which backup there is, is not known");
    world.server.outage = None;
    world.at(0, Machine::check_backup).unwrap();
    world.rest();
    assert_eq!(world.state(0).to_upload, 0);
    let mut world = World::new(&[ME]);
    world.server.backups.insert(me(), vec![attackers_backup()]);
    world.at(0, Machine::check_backup).unwrap();
    world.import(0, &sessions(1));
    world.rest();
    world.at(0, Machine::flush_backup).unwrap();
    assert!(!wakes(&world), "nobody whom we trust made the one that there is");
}
