//! Keys of ours: made, published, rotated, defended.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::harness::{Client, World, matrix_error};
use crate::{
    e2ee::{Alarm, CryptoSync, OutgoingRequest, RequestFailure, RequestKind, lookup::Table},
    matrix::{DeviceLists, KeyCounts, SignedJson, ed25519_from_base64},
    time::Timestamp,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn uploads(world: &World) -> Vec<Value> {
    let uploads = world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysUpload);
    uploads.map(|(_, request)| serde_json::from_str(&request.body).unwrap()).collect()
}

fn names(upload: &Value, part: &str) -> Vec<String> {
    upload[part].as_object().map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

fn sync(client: &mut Client, now: Timestamp, key_counts: KeyCounts, unused: Option<&[String]>) {
    let lists = DeviceLists::default();
    let sync = CryptoSync {
        to_device: &[],
        device_lists: &lists,
        key_counts,
        unused_fallback_keys: unused,
        is_initial: false,
    };
    client.step(now, |machine, step| machine.receive_sync(sync, step)).unwrap();
}

/// Every key the server holds has its private half in the account that is stored.
fn lost_keys(world: &World, client: usize) -> usize {
    let client = &world.clients[client];
    let kept = &world.server.kept[&client.name()];
    let one_time = kept.one_time_keys.iter().chain(&kept.fallback);
    let public: Vec<String> =
        one_time.map(|(_, key)| key["key"].as_str().unwrap().to_owned()).collect();
    let private = client.machine.core.account.private_key_owners();
    public.iter().filter(|key| !private.contains(*key)).count()
}

/// T-01: checked here by hand, from the raw text that was sent.
#[test]
fn the_first_upload_holds_signed_device_keys_fifty_one_time_keys_and_a_fallback_key() {
    let world = World::new(&["@a:x"]);
    let uploads = uploads(&world);
    let first = &uploads[0];
    let keys = &first["device_keys"];
    assert_eq!(keys["user_id"], "@a:x");
    assert_eq!(keys["algorithms"], json!(["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]));
    let ed25519 = ed25519_from_base64(keys["keys"]["ed25519:DEVICE0"].as_str().unwrap()).unwrap();
    let user = ruma::user_id!("@a:x");
    let mut signed = vec![keys];
    signed.extend(first["one_time_keys"].as_object().unwrap().values());
    signed.extend(first["fallback_keys"].as_object().unwrap().values());
    assert_eq!(signed.len(), 52);
    for object in signed {
        let json = SignedJson::parse(&object.to_string()).unwrap();
        assert_eq!(json.verify(user, "ed25519:DEVICE0", &ed25519), Ok(()));
    }
    let (id, fallback) = first["fallback_keys"].as_object().unwrap().iter().next().unwrap();
    assert!(id.starts_with("signed_curve25519:"));
    assert_eq!(fallback["fallback"], true);
    assert_eq!(uploads.len(), 1);
}

/// T-02, T-09.
#[test]
fn an_upload_is_repeated_byte_for_byte_after_a_crash_before_or_after_its_answer() {
    let now = Timestamp(1_000);
    let mut client = Client::new("@a:x", "A", now);
    let first = upload_in(&client.outbox).unwrap();
    client.restart(now);
    assert_eq!(upload_in(&client.outbox).as_ref(), Some(&first));
    // The server has it, the answer was lost.
    let mut world = World::with(client, now);
    let name = world.clients[0].name();
    world.server.serve(&name, &first).unwrap();
    world.clients[0].restart(now);
    assert_eq!(upload_in(&world.clients[0].outbox).as_ref(), Some(&first));
    world.settle();
    assert_eq!(world.server.kept[&name].one_time_keys.len(), 50);
    assert_eq!(lost_keys(&world, 0), 0);
    world.clients[0].restart(now);
    assert_eq!(upload_in(&world.clients[0].outbox), None);
}

fn upload_in<'a>(
    requests: impl IntoIterator<Item = &'a OutgoingRequest>,
) -> Option<OutgoingRequest> {
    requests.into_iter().find(|it| it.kind == RequestKind::KeysUpload).cloned()
}

/// T-03, A-37.
#[test]
fn other_keys_under_our_device_raise_an_alarm_that_stays() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    let (user, device) = world.clients[0].name();
    let mut foreign = World::new(&["@a:x"]);
    let theirs = foreign.server.device_keys.remove(&user).unwrap().remove(&device).unwrap();
    world.server.device_keys.get_mut(&user).unwrap().insert(device, theirs);
    world.server.announcements.push(user);
    world.settle();
    assert_eq!(world.clients[0].take_alarms(), [Alarm::OwnKeysReplaced]);
    assert!(world.clients[0].machine.core.account.is_replaced());
    world.clients[0].restart(world.now);
    assert_eq!(world.clients[0].take_alarms(), [Alarm::OwnKeysReplaced]);
    assert_eq!(world.clients[0].machine.deadline(), None);
}

/// A-37.
#[test]
fn our_device_missing_at_the_server_is_uploaded_once_more_and_then_given_up() {
    let mut world = World::new(&["@a:x"]);
    let user = world.clients[0].user.clone();
    for round in 0..2 {
        world.server.device_keys.clear();
        world.server.announcements.push(user.clone());
        let now = world.now;
        world.server.sync(&mut world.clients[0], now);
        while world.send_one(0) {}
        let again = uploads(&world).into_iter().filter(|it| it.get("device_keys").is_some());
        assert_eq!(again.count(), 2);
        let expected = if round == 0 { vec![] } else { vec![Alarm::OwnKeysReplaced] };
        assert_eq!(world.clients[0].take_alarms(), expected);
    }
}

/// Our keys are missing; while they are uploaded once more, a query is under way that was made
/// before. Its answer says "missing" again, and means nothing.
#[test]
fn an_answer_from_before_our_keys_were_uploaded_once_more_gives_nothing_up() {
    let mut world = World::new(&["@a:x"]);
    let name = world.clients[0].name();
    let now = world.now;
    let ask = |world: &mut World| {
        world.server.announcements.push(name.0.clone());
        world.server.sync(&mut world.clients[0], now);
    };
    ask(&mut world);
    let first = world.clients[0].outbox.pop_front().unwrap();
    ask(&mut world);
    world.answer(0, &first.id, Ok(r#"{"device_keys":{}}"#));
    let upload = upload_in(&world.clients[0].outbox).unwrap();
    let query = world.clients[0].outbox.iter().find(|it| it.kind == RequestKind::KeysQuery);
    let query = query.unwrap().clone();
    let uploaded = world.server.serve(&name, &upload).unwrap();
    world.answer(0, &upload.id, Ok(&uploaded));
    world.answer(0, &query.id, Ok(r#"{"device_keys":{}}"#));
    assert_eq!(world.clients[0].take_alarms(), []);
    world.clients[0].outbox.clear();
    ask(&mut world);
    world.settle();
    assert_eq!(world.clients[0].take_alarms(), []);
    assert!(!world.clients[0].machine.core.account.is_replaced());
}

/// T-04.
#[test]
fn the_server_is_filled_up_to_fifty_whatever_kind_of_sync_says_how_many_are_left() {
    let cases = [
        (KeyCounts::Absolute(0), 50),
        (KeyCounts::Absolute(49), 1),
        (KeyCounts::Absolute(50), 0),
        (KeyCounts::Absolute(51), 0),
        (KeyCounts::Changed(Some(0)), 50),
        (KeyCounts::Changed(Some(49)), 1),
        (KeyCounts::Changed(Some(51)), 0),
        (KeyCounts::Changed(None), 0),
    ];
    for (counts, expected) in cases {
        let mut world = World::new(&["@a:x"]);
        world.server.served.clear();
        // One answer from before the upload does not count.
        world.settle();
        sync(&mut world.clients[0], world.now, counts, None);
        let upload = upload_in(&world.clients[0].outbox);
        let body: Value = upload.map_or(json!({}), |it| serde_json::from_str(&it.body).unwrap());
        assert_eq!(names(&body, "one_time_keys").len(), expected, "{counts:?}");
    }
}

#[test]
fn a_count_from_before_the_last_upload_is_not_believed() {
    let now = Timestamp(1_000);
    let mut world = World::with(Client::new("@a:x", "A", now), now);
    while world.send_one(0) {}
    sync(&mut world.clients[0], now, KeyCounts::Absolute(0), None);
    assert_eq!(upload_in(&world.clients[0].outbox), None);
    sync(&mut world.clients[0], now, KeyCounts::Absolute(0), None);
    assert!(upload_in(&world.clients[0].outbox).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// T-05, T-09: whatever counts come while an upload is under way, and wherever the program is
    /// killed, every key on the server has its private half.
    #[test]
    fn no_order_of_counts_answers_and_crashes_loses_a_key(
        moves in prop::collection::vec((0_u8..5, 0_u64..60), 1..40),
    ) {
        let mut world = World::new(&["@a:x"]);
        for (what, number) in moves {
            let name = world.clients[0].name();
            match what {
                0 => sync(&mut world.clients[0], world.now, KeyCounts::Absolute(number), None),
                1 => sync(&mut world.clients[0], world.now, KeyCounts::Changed(Some(number)), Some(&[])),
                2 => drop(world.send_one(0)),
                3 => {
                    // Served, and the answer lost.
                    if let Some(request) = world.clients[0].outbox.front().cloned() {
                        drop(world.server.serve(&name, &request));
                    }
                    world.clients[0].restart(world.now);
                }
                _ => {
                    world.pass(Duration::from_secs(number * 120));
                    let kept = world.server.kept.get_mut(&name).unwrap();
                    kept.one_time_keys.drain(..kept.one_time_keys.len().min(5));
                }
            }
            let in_flight = world.clients[0].records.0.keys().filter(|(table, _)| *table == Table::Request).count();
            prop_assert!(in_flight <= 2, "one upload and one query at most");
            prop_assert_eq!(lost_keys(&world, 0), 0);
        }
    }
}

/// T-07.
#[test]
fn a_used_fallback_key_is_replaced_after_an_hour_and_not_before() {
    let mut world = World::new(&["@a:x"]);
    let used = |world: &mut World| {
        let name = world.clients[0].name();
        world.server.kept.get_mut(&name).unwrap().fallback_used = true;
        world.settle();
        world.settle();
    };
    used(&mut world);
    let fallbacks = |world: &World| {
        let all: Vec<String> =
            uploads(world).iter().flat_map(|upload| names(upload, "fallback_keys")).collect();
        all
    };
    assert_eq!(fallbacks(&world).len(), 1);
    world.pass(Duration::from_secs(60));
    used(&mut world);
    assert_eq!(fallbacks(&world).len(), 1);
    world.pass(HOUR);
    used(&mut world);
    assert_eq!(fallbacks(&world).len(), 2);
    world.pass(Duration::from_secs(60));
    used(&mut world);
    assert_eq!(fallbacks(&world).len(), 2);
    let distinct: BTreeSet<_> = fallbacks(&world).into_iter().collect();
    assert_eq!(distinct.len(), 2);
}

#[test]
fn an_unused_fallback_key_is_replaced_after_seven_days() {
    let mut world = World::new(&["@a:x"]);
    world.pass(HOUR * 24 * 6);
    world.settle();
    assert_eq!(uploads(&world).len(), 1);
    world.pass(HOUR * 25);
    world.settle();
    assert_eq!(names(&uploads(&world)[1], "fallback_keys").len(), 1);
}

/// A store that went back in time gives ids a second time.
#[test]
fn key_ids_that_the_server_knows_are_skipped_and_the_user_is_told() {
    let mut world = World::new(&["@a:x"]);
    let old = world.clients[0].records.clone();
    let name = world.clients[0].name();
    for _ in 0..3 {
        world.server.kept.get_mut(&name).unwrap().one_time_keys.clear();
        world.settle();
        world.settle();
    }
    world.clients[0] = Client::over(old, "@a:x", "DEVICE0", world.now);
    world.server.kept.get_mut(&name).unwrap().one_time_keys.clear();
    world.settle();
    world.settle();
    let told = world.clients[0].take_alarms();
    assert!(told.contains(&Alarm::StoreRegressed), "{told:?}");
    assert_eq!(world.server.kept[&name].one_time_keys.len(), 50);
    assert_eq!(lost_keys(&world, 0), 0);
}

#[test]
fn a_server_that_refuses_every_key_is_not_asked_without_end() {
    let mut world = World::new(&["@a:x"]);
    world.server.outage =
        Some(RequestFailure::Refused(matrix_error(400, "M_UNKNOWN", "key already exists")));
    for _ in 0..100 {
        sync(&mut world.clients[0], world.now, KeyCounts::Absolute(0), None);
        while world.send_one(0) {}
    }
    let name = world.clients[0].name();
    assert!(world.clients[0].outbox.is_empty());
    assert!(world.clients[0].take_alarms().len() <= 21);
    assert!(world.server.kept[&name].one_time_keys.len() == 50);
}

/// The server takes every key and says it has none.
#[test]
fn a_server_that_never_has_a_key_is_given_a_thousand_an_hour() {
    let mut world = World::new(&["@a:x"]);
    let answer = r#"{"one_time_key_counts":{"signed_curve25519":0}}"#;
    let mut made = 50;
    for hour in 1..=2 {
        for _ in 0..200 {
            sync(&mut world.clients[0], world.now, KeyCounts::Absolute(0), None);
            while let Some(request) = world.clients[0].outbox.pop_front() {
                if request.kind != RequestKind::KeysUpload {
                    continue;
                }
                let body = serde_json::from_str(&request.body).unwrap();
                made += names(&body, "one_time_keys").len();
                assert!(made <= 5_000, "made without end");
                world.answer(0, &request.id, Ok(answer));
            }
        }
        assert_eq!(made, hour * 1_000);
        world.clients[0].restart(world.now);
        world.pass(HOUR);
    }
}

#[test]
fn a_clock_that_was_set_back_holds_up_no_fallback_key_for_longer_than_its_life() {
    let mut world = World::new(&["@a:x"]);
    world.now = Timestamp(world.now.0 - 10 * 365 * 24 * 3_600_000);
    world.clients[0].restart(world.now);
    world.settle();
    world.pass(HOUR * 24 * 7);
    world.settle();
    assert_eq!(names(uploads(&world).last().unwrap(), "fallback_keys").len(), 1);
    assert_eq!(uploads(&world).len(), 2);
}

#[test]
fn a_refusal_for_another_reason_stops_uploads_and_is_told() {
    let now = Timestamp(1_000);
    let mut world = World::with(Client::new("@a:x", "A", now), now);
    world.server.outage = Some(RequestFailure::Refused(matrix_error(403, "M_FORBIDDEN", "no")));
    while world.send_one(0) {}
    assert_eq!(world.clients[0].take_alarms(), [Alarm::KeysRefused("M_FORBIDDEN".to_owned())]);
    sync(&mut world.clients[0], now, KeyCounts::Absolute(0), None);
    assert_eq!(upload_in(&world.clients[0].outbox), None);
}

#[test]
fn a_request_that_the_server_puts_off_is_repeated_after_the_pause_it_asked_for() {
    let now = Timestamp(1_000);
    let mut world = World::with(Client::new("@a:x", "A", now), now);
    let first = upload_in(&world.clients[0].outbox).unwrap();
    let mut error = matrix_error(429, "M_LIMIT_EXCEEDED", "slow down");
    error.retry_after_ms = Some(7_000);
    world.server.outage = Some(RequestFailure::Later(error));
    while world.send_one(0) {}
    world.server.outage = None;
    world.pass(Duration::from_secs(6));
    assert!(world.clients[0].outbox.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(upload_in(&world.clients[0].outbox), Some(first));
}
