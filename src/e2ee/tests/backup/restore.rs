//! Sessions on their way down: whole rooms, and what becomes of copies of one session.

use super::scene::{ME, Talk, backed_up, room};
use crate::{
    e2ee::{
        Bundled, Decryption, Gathered, HistoryVisibility, Machine, Notice, RequestKind, Step,
        Table, UndecryptableReason,
        cross_signing::Imported,
        megolm::{Source, inbound::InboundSession},
        tests::harness::World,
    },
    matrix::OwnedUserId,
};

/// A session of the first room.
fn session(id: &str, step: &Step<'_>) -> InboundSession {
    step.get(Table::InboundGroupSession, room(0).as_str(), id).unwrap().unwrap()
}

/// Makes one count as if it had come another way.
fn set_source(id: &str, source: Source, step: &mut Step<'_>) {
    let session = InboundSession { source, ..session(id, step) };
    step.put(Table::InboundGroupSession, room(0).as_str(), id, &session).unwrap();
}

// T-96, U18
#[test]
fn keys_of_one_device_are_uploaded_and_come_down_on_another() {
    let mut world = backed_up(250);
    assert_eq!(world.backup().keys.len(), 250);
    assert_eq!(world.state(0).to_upload, 0);
    assert_eq!(world.uploads().len(), 3, "a hundred a request");
    let new = world.log_in(ME, "NEW");
    for number in 0..3 {
        world.has_encrypted(new, &room(number));
    }
    world.settle();
    assert!(!world.state(new).connected);
    let key = world.key(0);
    assert_eq!(world.give_key(new, key), Imported::Kept);
    world.rest();
    let state = world.state(new);
    assert!(state.connected && state.trusted);
    assert_eq!((state.restored, state.restoring, state.to_upload), (250, None, 0));
    assert_eq!(world.uploads().len(), 3, "what came from there does not go back");
}

#[test]
fn the_rooms_that_are_wanted_most_are_fetched_first_from_the_very_first_on() {
    let mut world = backed_up(6);
    let new = world.log_in("@a:x", "NEW");
    for number in 0..3 {
        world.has_encrypted(new, &room(number));
    }
    world.settle();
    // Known before anybody has a key of the backup.
    world.at(new, |machine, _| machine.restore_first(&[room(1), room(0), room(2)]));
    world.at(new, |machine, _| machine.restore_first(&[room(2)]));
    let key = world.key(0);
    world.give_key(new, key);
    world.rest();
    let reads = world.server.served.iter().filter_map(|(_, request)| {
        let room = request.path.rsplit('/').next()?;
        (request.kind == RequestKind::BackupRead && room.contains("room")).then(|| room.to_owned())
    });
    let rooms: Vec<String> = reads.filter(|room| room.contains('x')).collect();
    assert_eq!(rooms.len(), 3, "{rooms:?}");
    for (read, number) in rooms.iter().zip([2, 1, 0]) {
        assert!(read.contains(&format!("room{number}")), "{rooms:?}");
    }
}

#[test]
fn a_long_list_of_keys_is_taken_in_small_steps() {
    let mut world = backed_up(120);
    for entries in world.backup().keys.clone() {
        world.backup().keys.remove(&entries.0);
        world.backup().keys.insert((room(0).to_string(), entries.0.1), entries.1);
    }
    let new = world.log_in(ME, "NEW");
    world.has_encrypted(new, &room(0));
    world.connect(new);
    while world.send_one(new) {}
    assert_eq!(world.state(new).restored, 50);
    world.clients[new].restart(world.now);
    world.rest();
    assert_eq!(world.state(new).restored, 70, "the room begins anew, what is here is known");
}

// T-55, A-26, U20
#[test]
fn an_earlier_index_from_the_backup_extends_a_proved_session_and_keeps_its_proof() {
    let mut world = backed_up(0);
    let Talk { id, event, whole, end } = Talk::of(ME);
    // Another device has all of it, and this one the rest, from the device that made it.
    let other = world.log_in(ME, "OTHER");
    world.connect(other);
    world.import(0, &[end]);
    world.at(0, |_, step| set_source(&id, Source::Olm, step));
    world.rest();
    world.import(other, &[whole]);
    world.rest();
    world.clients[0].restart(world.now);
    let low = world.decrypt(0, &room(0), &event);
    let Decryption::Undecryptable(why) = low else { panic!("the index is too low") };
    assert_eq!(why.reason, UndecryptableReason::IndexTooLow);
    world.rest();
    world.at(0, |_, step| {
        let session = session(&id, step);
        assert_eq!((session.source, session.session.first_known_index()), (Source::Olm, 0));
    });
    let found = world.decrypt(0, &room(0), &event);
    assert!(matches!(found, Decryption::Decrypted(_)), "{found:?}");
}

#[test]
fn a_late_copy_that_is_proved_does_not_push_an_early_one_out_of_the_backup() {
    let mut world = backed_up(0);
    let Talk { id, event, whole, end } = Talk::of(ME);
    // One device has all of it and cannot prove whose it is; a later one got the rest of its maker.
    let late = world.log_in(ME, "LATE");
    world.connect(late);
    world.rest();
    world.import(late, &[end]);
    world.at(late, |_, step| set_source(&id, Source::Own, step));
    world.clients[late].restart(world.now);
    world.import(0, &[whole]);
    world.at(0, Machine::flush_backup).unwrap();
    while world.send_one(0) {}
    world.rest();
    assert_eq!(world.state(late).to_upload, 0);
    let newest = world.log_in(ME, "NEWEST");
    world.has_encrypted(newest, &room(0));
    world.connect(newest);
    world.rest();
    let found = world.decrypt(newest, &room(0), &event);
    assert!(matches!(found, Decryption::Decrypted(_)), "{found:?}");
}

// MSC4268
#[test]
fn keys_that_only_the_backup_has_are_fetched_before_history_is_shared() {
    let mut world = backed_up(4);
    let new = world.log_in(ME, "NEW");
    world.connect(new);
    world.rest();
    // It is in the room since, and nothing of it was looked at.
    world.has_encrypted(new, &room(0));
    let gather = |world: &mut World, visibility| {
        world.at(new, |machine, step| machine.gather_history(&room(0), visibility, step).unwrap())
    };
    assert_eq!(gather(&mut world, HistoryVisibility::Joined), Gathered::Here, "none is shared");
    world.clients[new].take_notices();
    assert_eq!(gather(&mut world, HistoryVisibility::Shared), Gathered::Coming);
    world.rest();
    assert!(world.clients[new].take_notices().contains(&Notice::KeysFetched(room(0))));
    assert_eq!(gather(&mut world, HistoryVisibility::Shared), Gathered::Here);
    let bob = OwnedUserId::try_from("@b:x").unwrap();
    let bundled = world.at(new, |machine, step| {
        let visibility = HistoryVisibility::Shared;
        machine.history_bundle((&room(0), &bob), visibility, step).unwrap()
    });
    let Bundled::Bundle(bundle) = bundled else { panic!("{bundled:?}") };
    assert_eq!(bundle.shared, 2);
}
