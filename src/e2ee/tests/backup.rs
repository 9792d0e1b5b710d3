//! The key backup between devices of one account and their server, which may be hostile.

use std::time::Duration;

use serde_json::{Map, Value, json};
use vodozemac::{
    megolm::{GroupSession, InboundGroupSession, SessionConfig},
    pk_encryption::{PkDecryption, PkEncryption},
};

use super::{
    account_server::Backup,
    harness::{World, matrix_error},
};
use crate::{
    e2ee::{
        Alarm, BackupProblem, BackupSearch, BackupState, Bundled, Decryption, Gathered,
        HistoryVisibility, Machine, Notice, OutgoingRequest, RequestFailure, RequestKind, Shield,
        ShieldReason, Step, Table, UndecryptableReason,
        cross_signing::Imported,
        megolm::{Source, inbound::InboundSession},
    },
    matrix::{CanonicalText, CanonicalValue, Event, OwnedRoomId, OwnedUserId, RoomId},
    secret::Secret,
    time::Timestamp,
};

fn room(number: usize) -> OwnedRoomId {
    RoomId::parse(format!("!room{number}:x")).unwrap()
}

/// A session as a key file holds it, from this index on.
fn exported(group: &GroupSession, room: &RoomId, index: u32) -> String {
    let mut session = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
    json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room,
        "session_id": group.session_id(),
        "sender_key": "claimed",
        "sender_claimed_keys": { "ed25519": "claimed" },
        "forwarding_curve25519_key_chain": [],
        "session_key": session.export_at(index).unwrap(),
        "shared_history": true,
    })
    .to_string()
}

fn group() -> GroupSession {
    GroupSession::new(SessionConfig::version_1())
}

/// A message of `sender` in `room`.
fn message(group: &mut GroupSession, room: &RoomId, sender: &str) -> Event {
    let plain = json!({ "type": "m.room.message", "content": { "body": "hi" }, "room_id": room });
    serde_json::from_value(json!({
        "type": "m.room.encrypted",
        "event_id": format!("$event{}", group.message_index()),
        "sender": sender,
        "origin_server_ts": 1_900_000_000_000_u64,
        "content": {
            "algorithm": "m.megolm.v1.aes-sha2",
            "session_id": group.session_id(),
            "ciphertext": group.encrypt(plain.to_string()).to_base64(),
        },
    }))
    .unwrap()
}

impl World {
    fn import(&mut self, client: usize, sessions: &[String]) {
        let texts = sessions.iter().map(String::as_str);
        self.at(client, |machine, step| machine.import_sessions(texts, step)).unwrap();
    }

    fn has_encrypted(&mut self, client: usize, room: &RoomId) {
        let content: Map<String, Value> =
            serde_json::from_value(json!({ "algorithm": "m.megolm.v1.aes-sha2" })).unwrap();
        let event = Event::state("m.room.encryption", "", content);
        self.at(client, |machine, step| machine.receive_state(room, &event, step).unwrap());
    }

    fn state(&mut self, client: usize) -> BackupState {
        self.at(client, |machine, step| machine.backup_state(step).unwrap())
    }

    fn backup(&mut self) -> &mut Backup {
        let user = OwnedUserId::try_from("@a:x").unwrap();
        self.server.backups.get_mut(&user).unwrap().last_mut().unwrap()
    }

    fn uploads(&self) -> Vec<&OutgoingRequest> {
        let served = self.server.served.iter().map(|(_, request)| request);
        served.filter(|it| it.kind == RequestKind::BackupWrite && it.method == "PUT").collect()
    }

    fn key(&self, client: usize) -> Secret<[u8; 32]> {
        self.clients[client].machine.backup_key().unwrap()
    }

    fn give_key(&mut self, client: usize, key: Secret<[u8; 32]>) -> Imported {
        self.at(client, |machine, step| machine.import_backup_key(key, step).unwrap())
    }

    fn decrypt(&mut self, client: usize, room: &RoomId, event: &Event) -> Decryption {
        self.at(client, |machine, step| machine.decrypt_event(room, event, step).unwrap())
    }

    fn alarms(&mut self, client: usize) -> Vec<Alarm> {
        let notices = self.clients[client].take_notices().into_iter();
        notices
            .filter_map(|it| if let Notice::Alarm(alarm) = it { Some(alarm) } else { None })
            .collect()
    }
}

/// One device with a backup and these many sessions, all uploaded.
fn backed_up(sessions: usize) -> World {
    let mut world = World::new(&["@a:x"]);
    world.at(0, |machine, step| machine.create_backup(step).unwrap());
    world.settle();
    let sessions: Vec<String> =
        (0..sessions).map(|i| exported(&group(), &room(i % 3), 0)).collect();
    world.import(0, &sessions);
    world.rest();
    world
}

fn attackers_backup() -> Backup {
    let key = PkDecryption::new().public_key().to_base64();
    let about = json!({
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": { "public_key": key, "signatures": {} },
    });
    Backup { about, ..Backup::default() }
}

// T-96, U18
#[test]
fn keys_of_one_device_are_uploaded_and_come_down_on_another() {
    let mut world = backed_up(250);
    assert_eq!(world.backup().keys.len(), 250);
    assert_eq!(world.state(0).to_upload, 0);
    let sizes = world.uploads().len();
    assert_eq!(sizes, 3, "a hundred a request");
    let new = world.log_in("@a:x", "NEW");
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
fn a_backup_that_was_made_after_this_device_asked_is_found_by_its_key() {
    let mut world = World::new(&["@a:x"]);
    let other = world.log_in("@a:x", "OTHER");
    world.settle();
    world.at(0, |machine, step| machine.create_backup(step).unwrap());
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
    let mut world = World::new(&["@a:x"]);
    let other = world.log_in("@a:x", "OTHER");
    let is_version = |it: &OutgoingRequest| it.path.ends_with("/room_keys/version");
    let place = world.clients[other].outbox.iter().position(is_version).unwrap();
    let asked = world.clients[other].outbox.remove(place).unwrap();
    let name = world.clients[other].name();
    let early = world.server.serve(&name, &asked);
    assert!(early.is_err(), "there is none yet");
    world.at(0, |machine, step| machine.create_backup(step).unwrap());
    world.settle();
    let key = world.key(0);
    world.give_key(other, key);
    world.at(other, |machine, step| {
        let early = early.as_ref().map(String::as_str).map_err(Clone::clone);
        machine.receive_response(&asked.id, early, step).unwrap();
    });
    world.rest();
    assert!(world.state(other).connected);
}

#[test]
fn a_new_backup_outlives_an_answer_from_before_it_was_made() {
    let mut world = backed_up(0);
    world.at(0, |machine, step| machine.check_backup(step).unwrap());
    let is_version = |it: &OutgoingRequest| it.path.ends_with("/room_keys/version");
    let place = world.clients[0].outbox.iter().position(is_version).unwrap();
    let asked = world.clients[0].outbox.remove(place).unwrap();
    let name = world.clients[0].name();
    let early = world.server.serve(&name, &asked).unwrap();
    world.at(0, |machine, step| machine.create_backup_anyway(step).unwrap());
    world.settle();
    let made = world.state(0).version;
    world.at(0, |machine, step| {
        machine.receive_response(&asked.id, Ok(&early), step).unwrap();
    });
    world.settle();
    let state = world.state(0);
    assert_eq!((state.version, state.connected), (made, true));
}

#[test]
fn a_backup_that_another_client_makes_is_looked_at_when_its_key_is_stored() {
    let mut world = World::new(&["@a:x"]);
    let other = world.log_in("@a:x", "OTHER");
    world.settle();
    world.at(0, |machine, step| machine.create_backup(step).unwrap());
    world.settle();
    let event = Event::state("m.megolm_backup.v1", "", Map::new());
    world.at(other, |machine, step| machine.receive_account_data(&event, step).unwrap());
    world.settle();
    assert_eq!(world.state(other).version.as_deref(), Some("1"));
}

#[test]
fn a_long_list_of_keys_is_taken_in_small_steps() {
    let mut world = backed_up(120);
    for entries in world.backup().keys.clone() {
        world.backup().keys.remove(&entries.0);
        world.backup().keys.insert((room(0).to_string(), entries.0.1), entries.1);
    }
    let new = world.log_in("@a:x", "NEW");
    world.has_encrypted(new, &room(0));
    world.settle();
    let key = world.key(0);
    world.give_key(new, key);
    while world.send_one(new) {}
    assert_eq!(world.state(new).restored, 50);
    world.clients[new].restart(world.now);
    world.rest();
    assert_eq!(world.state(new).restored, 70, "the room begins anew, what is here is known");
}

// T-99, TestBackupWrongRecoveryKeyFails
#[test]
fn a_key_that_does_not_fit_is_not_kept() {
    let mut world = backed_up(1);
    let new = world.log_in("@a:x", "NEW");
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
    world.at(new, |machine, step| machine.check_backup(step).unwrap());
    world.rest();
    assert_eq!(world.state(new).problem, Some(BackupProblem::WrongKey));
    let key = world.key(0);
    world.give_key(new, key);
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
    let new = world.log_in("@a:x", "NEW");
    world.has_encrypted(new, &room(0));
    world.settle();
    let key = world.key(0);
    world.give_key(new, key);
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
    let mut world = World::new(&["@a:x"]);
    let user = OwnedUserId::try_from("@a:x").unwrap();
    world.server.backups.insert(user, vec![attackers_backup()]);
    world.at(0, |machine, step| machine.check_backup(step).unwrap());
    world.import(0, &[exported(&group(), &room(0), 0)]);
    world.at(0, |machine, step| machine.flush_backup(step).unwrap());
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
    let user = OwnedUserId::try_from("@a:x").unwrap();
    world.alarms(0);
    world.server.backups.get_mut(&user).unwrap().push(attackers_backup());
    world.import(0, &[exported(&group(), &room(0), 0)]);
    world.rest();
    assert_eq!(world.alarms(0), [Alarm::BackupChanged("2".to_owned())]);
    assert!(world.backup().keys.is_empty());
    assert_eq!(world.state(0).to_upload, 1);
    // The old one is found again: its key is still here.
    world.server.backups.get_mut(&user).unwrap().pop();
    world.clients[0].restart(world.now);
    world.rest();
    assert_eq!(world.backup().keys.len(), 2);
}

// T-98: the number is the same, the key is another.
#[test]
fn a_backup_of_the_same_number_with_another_key_is_another_backup() {
    let mut world = backed_up(1);
    world.alarms(0);
    *world.backup() = attackers_backup();
    world.clients[0].restart(world.now);
    world.import(0, &[exported(&group(), &room(0), 0)]);
    world.rest();
    assert_eq!(world.alarms(0), [Alarm::BackupChanged("1".to_owned())]);
    assert!(world.backup().keys.is_empty());
}

//
#[test]
fn a_deleted_backup_is_told_and_none_is_made_behind_the_users_back() {
    let mut world = backed_up(1);
    world.alarms(0);
    world.backup().deleted = true;
    world.import(0, &[exported(&group(), &room(0), 0)]);
    world.rest();
    assert_eq!(world.alarms(0), [Alarm::BackupDeleted("1".to_owned())]);
    let state = world.state(0);
    assert_eq!((state.version, state.problem), (None, Some(BackupProblem::Deleted)));
    let user = OwnedUserId::try_from("@a:x").unwrap();
    assert_eq!(world.server.backups[&user].len(), 1);
}

//
#[test]
fn whoever_turned_backups_off_is_asked_before_one_is_made() {
    let mut world = World::new(&["@a:x"]);
    let user = OwnedUserId::try_from("@a:x").unwrap();
    let off = (user.clone(), "m.key_backup".to_owned());
    world.server.account_data.insert(off.clone(), json!({ "enabled": false }));
    world.at(0, |machine, step| machine.create_backup(step).unwrap());
    world.rest();
    assert_eq!(world.state(0).problem, Some(BackupProblem::TurnedOff));
    assert!(world.server.backups.get(&user).is_none_or(Vec::is_empty));
    world.at(0, |machine, step| machine.create_backup_anyway(step).unwrap());
    world.rest();
    assert!(world.state(0).connected);
    assert_eq!(world.server.account_data[&off], json!({ "enabled": true }));
}

// T-100, U22
#[test]
fn an_upload_that_a_crash_interrupted_is_repeated_byte_for_byte() {
    let mut world = backed_up(0);
    world.import(0, &[exported(&group(), &room(0), 0)]);
    world.at(0, |machine, step| machine.flush_backup(step).unwrap());
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
fn a_backup_whose_making_a_crash_interrupted_keeps_its_key() {
    let mut world = World::new(&["@a:x"]);
    world.at(0, |machine, step| machine.create_backup(step).unwrap());
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

#[test]
fn a_session_that_gets_better_while_it_is_uploaded_is_uploaded_again() {
    let mut world = backed_up(0);
    let mut group = group();
    let early = exported(&group, &room(0), 0);
    group.encrypt("x");
    world.import(0, &[exported(&group, &room(0), 1)]);
    world.at(0, |machine, step| machine.flush_backup(step).unwrap());
    let name = world.clients[0].name();
    let sent = world.clients[0].outbox.pop_front().unwrap();
    let answer = world.server.serve(&name, &sent).unwrap();
    world.import(0, &[early]);
    world.at(0, |machine, step| machine.receive_response(&sent.id, Ok(&answer), step).unwrap());
    world.rest();
    let entry = world.backup().keys.values().next().unwrap().clone();
    assert_eq!(entry["first_message_index"], 0);
    assert_eq!(world.state(0).to_upload, 0);
}

// T-55, A-26, U20
#[test]
fn an_earlier_index_from_the_backup_extends_a_proved_session_and_keeps_its_proof() {
    let mut world = backed_up(0);
    let mut group = group();
    let whole = exported(&group, &room(0), 0);
    let event = message(&mut group, &room(0), "@a:x");
    // Another device has all of it, and this one the rest, from the device that made it.
    let other = world.log_in("@a:x", "OTHER");
    world.settle();
    let key = world.key(0);
    world.give_key(other, key);
    world.import(0, &[exported(&group, &room(0), 1)]);
    let id = group.session_id();
    let read = |step: &Step<'_>| -> InboundSession {
        step.get(Table::InboundGroupSession, room(0).as_str(), &id).unwrap().unwrap()
    };
    world.at(0, |_, step| {
        let session = InboundSession { source: Source::Olm, ..read(step) };
        step.put(Table::InboundGroupSession, room(0).as_str(), &id, &session).unwrap();
    });
    world.rest();
    world.import(other, &[whole]);
    world.rest();
    world.clients[0].restart(world.now);
    let low = world.decrypt(0, &room(0), &event);
    let Decryption::Undecryptable(why) = low else { panic!("the index is too low") };
    assert_eq!(why.reason, UndecryptableReason::IndexTooLow);
    world.rest();
    world.at(0, |_, step| {
        let session = read(step);
        assert_eq!((session.source, session.session.first_known_index()), (Source::Olm, 0));
    });
    let found = world.decrypt(0, &room(0), &event);
    assert!(matches!(found, Decryption::Decrypted(_)), "{found:?}");
}

#[test]
fn a_late_copy_that_is_proved_does_not_push_an_early_one_out_of_the_backup() {
    let mut world = backed_up(0);
    let mut group = group();
    let whole = exported(&group, &room(0), 0);
    let event = message(&mut group, &room(0), "@a:x");
    let id = group.session_id();
    // One device has all of it and cannot prove whose it is; a later one got the rest of its maker.
    let late = world.log_in("@a:x", "LATE");
    world.settle();
    let key = world.key(0);
    world.give_key(late, key.clone());
    world.rest();
    world.import(late, &[exported(&group, &room(0), 1)]);
    world.at(late, |_, step| {
        let name = (Table::InboundGroupSession, room(0));
        let read: Option<InboundSession> = step.get(name.0, name.1.as_str(), &id).unwrap();
        let session = InboundSession { source: Source::Own, ..read.unwrap() };
        step.put(name.0, name.1.as_str(), &id, &session).unwrap();
    });
    world.clients[late].restart(world.now);
    world.import(0, &[whole]);
    world.at(0, |machine, step| machine.flush_backup(step).unwrap());
    while world.send_one(0) {}
    world.rest();
    assert_eq!(world.state(late).to_upload, 0);
    let newest = world.log_in("@a:x", "NEWEST");
    world.has_encrypted(newest, &room(0));
    world.settle();
    world.give_key(newest, key);
    world.rest();
    let found = world.decrypt(newest, &room(0), &event);
    assert!(matches!(found, Decryption::Decrypted(_)), "{found:?}");
}

// U21
#[test]
fn a_missing_session_is_looked_for_with_growing_pauses_until_it_is_there() {
    let mut world = backed_up(1);
    let mut group = group();
    let text = exported(&group, &room(0), 0);
    let event = message(&mut group, &room(0), "@b:x");
    assert!(matches!(world.decrypt(0, &room(0), &event), Decryption::Undecryptable(_)));
    world.settle();
    let asked = |world: &World| {
        let served = world.server.served.iter().map(|(_, request)| request);
        let id = percent_encoding::utf8_percent_encode(
            &group.session_id(),
            percent_encoding::NON_ALPHANUMERIC,
        )
        .to_string();
        served.filter(|it| it.path.ends_with(&id)).count()
    };
    assert_eq!(asked(&world), 0, "the whole room was asked for, and lacks it");
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
    assert_eq!(asked(&world), 3, "after 5, 10 and 20 seconds more each");
    world.clients[0].restart(world.now);
    let story = world.at(0, |machine, step| machine.key_story(&room(0), &event, step).unwrap());
    let Some(BackupSearch::Missing { times, last_at: Some(last), retry_at }) = story.backup else {
        panic!("{:?}", story.backup);
    };
    assert_eq!((times, retry_at.since(last)), (4, Duration::from_secs(40)));
    assert!(world.now.since(last) < Duration::from_secs(40), "it says when it looked last");
    // Another device has it and uploads it.
    let other = world.log_in("@a:x", "OTHER");
    world.settle();
    let key = world.key(0);
    world.give_key(other, key);
    world.import(other, &[text]);
    world.rest();
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
    assert!(matches!(world.decrypt(0, &room(0), &event), Decryption::Decrypted(_)));
}

#[test]
fn a_session_is_looked_for_within_its_pause_though_the_clock_was_set_back() {
    let mut world = backed_up(1);
    let mut group = group();
    let text = exported(&group, &room(0), 0);
    let event = message(&mut group, &room(0), "@b:x");
    assert!(matches!(world.decrypt(0, &room(0), &event), Decryption::Undecryptable(_)));
    world.rest();
    world.now = Timestamp(world.now.0 - 86_400_000);
    world.clients[0].restart(world.now);
    let other = world.log_in("@a:x", "OTHER");
    world.settle();
    let key = world.key(0);
    world.give_key(other, key);
    world.import(other, &[text]);
    world.rest();
    world.rest();
    assert!(matches!(world.decrypt(0, &room(0), &event), Decryption::Decrypted(_)));
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for() {
    let mut world = backed_up(0);
    world.import(0, &[exported(&group(), &room(0), 0)]);
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
        let mut world = World::new(&["@a:x"]);
        world.at(0, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
        let data = json!({ "public_key": key }).to_string();
        let mut data = CanonicalValue::parse_object(&data).unwrap();
        world.at(0, |machine, step| machine.sign_with_master(&mut data, step)).unwrap();
        let data: Value = serde_json::from_str(&CanonicalText(&data).to_string()).unwrap();
        let about = json!({
            "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": data,
        });
        let user = world.clients[0].user.clone();
        world.server.backups.insert(user, vec![Backup { about, ..Backup::default() }]);
        let group = group();
        world.import(0, &[exported(&group, &room(0), 0)]);
        world.at(0, Machine::check_backup).unwrap();
        world.rest();
        world.at(0, Machine::flush_backup).unwrap();
        world.rest();
        assert!(world.state(0).trusted, "it is signed");
        assert_eq!(world.uploads().len(), uploads, "{key}");
    }
}

#[test]
fn a_server_that_takes_less_at_once_gets_smaller_batches() {
    let mut world = backed_up(0);
    world.backup().most_at_once = Some(30);
    let sessions: Vec<String> = (0..110).map(|i| exported(&group(), &room(i % 3), 0)).collect();
    world.import(0, &sessions);
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
    world.import(0, &[exported(&group(), &room(0), 0)]);
    world.rest();
    assert_eq!(world.state(0).to_upload, 1);
    assert!(world.uploads().len() <= 2, "{}", world.uploads().len());
}

// MSC4268
#[test]
fn keys_that_only_the_backup_has_are_fetched_before_history_is_shared() {
    let mut world = backed_up(4);
    let new = world.log_in("@a:x", "NEW");
    world.settle();
    let key = world.key(0);
    world.give_key(new, key);
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
