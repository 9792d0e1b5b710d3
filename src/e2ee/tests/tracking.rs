//! Device lists: kept current, checked, bounded.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::{Ed25519SecretKey, olm::Account};

use super::{
    forger::device_keys as device,
    harness::{Client, World},
};
use crate::{
    e2ee::{
        Alarm, Notice, RequestFailure, RequestKind, core::Freshness, device::Device,
        devices::devices_of,
    },
    matrix::{CanonicalText, CanonicalValue, DeviceLists, KeyCounts, OwnedUserId, sign},
    time::Timestamp,
};

fn list(world: &mut World, user: &str, id: &str, object: Value) {
    let user = OwnedUserId::try_from(user).unwrap();
    world.server.device_keys.entry(user.clone()).or_default().insert(id.into(), object);
    world.server.announcements.push(user);
}

fn known(client: &mut Client, now: Timestamp, user: &str) -> Vec<Device> {
    let user = OwnedUserId::try_from(user).unwrap();
    client.step(now, |_, step| devices_of(&user, step)).unwrap()
}

fn names(client: &mut Client, now: Timestamp, user: &str) -> Vec<String> {
    known(client, now, user).into_iter().map(|device| device.device_id.to_string()).collect()
}

fn refresh(client: &mut Client, now: Timestamp, users: &[&str]) -> Freshness {
    let users: Vec<OwnedUserId> =
        users.iter().map(|user| OwnedUserId::try_from(*user).unwrap()).collect();
    client.step(now, |machine, step| machine.core.refresh(&users, step)).unwrap()
}

fn queries(world: &World) -> Vec<Vec<String>> {
    let queries = world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysQuery);
    queries
        .map(|(_, request)| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            body["device_keys"].as_object().unwrap().keys().cloned().collect()
        })
        .collect()
}

fn told(client: &mut Client, alarm: &Alarm) -> bool {
    client.take_notices().contains(&Notice::Alarm(alarm.clone()))
}

fn announce(client: &mut Client, now: Timestamp, changed: &[&str], left: &[&str]) {
    let ids = |users: &[&str]| users.iter().map(|user| (*user).try_into().unwrap()).collect();
    let lists = DeviceLists { changed: ids(changed), left: ids(left) };
    let sync = crate::e2ee::CryptoSync {
        to_device: &[],
        device_lists: &lists,
        key_counts: KeyCounts::Changed(None),
        unused_fallback_keys: None,
        is_initial: false,
    };
    client.step(now, |machine, step| machine.receive_sync(sync, step)).unwrap();
}

/// T-11.
#[test]
fn device_objects_that_are_not_right_in_every_part_are_not_there() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    let ours = world.clients[0].machine.core.account.curve25519().to_base64();
    let olm = Account::new();
    let good = |id: &str| device("@b:x", id, &olm, |_| {});
    let unsigned = |mut object: Value| {
        object["signatures"] = json!({});
        object
    };
    let spoiled = |id: &str, change: fn(&mut Value)| device("@b:x", id, &olm, change);
    let cases = [
        ("GOOD", good("GOOD")),
        ("MOVED", good("OTHER")),
        ("FOREIGN", device("@c:x", "FOREIGN", &olm, |_| {})),
        ("UNSIGNED", unsigned(good("UNSIGNED"))),
        ("ALTERED", {
            let mut object = good("ALTERED");
            object["dehydrated"] = json!(true);
            object
        }),
        ("NOKEY", spoiled("NOKEY", |it| it["keys"] = json!({}))),
        ("SHORT", spoiled("SHORT", |it| it["keys"]["curve25519:SHORT"] = json!("AAAA"))),
        // 44 characters are 33 bytes: vodozemac's own reader would panic.
        ("LONG", spoiled("LONG", |it| it["keys"]["ed25519:LONG"] = json!("A".repeat(44)))),
        ("*", good("*")),
        ("MUTE", spoiled("MUTE", |it| it["algorithms"] = json!(["m.megolm.v1.aes-sha2"]))),
        ("THIEF", device("@b:x", "THIEF", &olm, |it| it["keys"]["curve25519:THIEF"] = json!(ours))),
        ("LIST", json!([])),
        ("TEXT", json!("x")),
    ];
    for (id, object) in cases {
        list(&mut world, "@b:x", id, object);
    }
    world.acquaint(0, 1);
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1", "GOOD"]);
}

/// T-11.
#[test]
fn a_device_that_comes_back_with_other_keys_is_refused_and_told_of() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    let (first, second) = (Account::new(), Account::new());
    list(&mut world, "@b:x", "PHONE", device("@b:x", "PHONE", &first, |_| {}));
    world.acquaint(0, 1);
    let alarm =
        Alarm::DeviceKeysChanged { user: "@b:x".try_into().unwrap(), device: "PHONE".into() };
    world.clients[0].take_notices();
    list(&mut world, "@b:x", "PHONE", device("@b:x", "PHONE", &second, |_| {}));
    world.settle();
    assert!(told(&mut world.clients[0], &alarm));
    assert_eq!(known(&mut world.clients[0], world.now, "@b:x")[1].ed25519, first.ed25519_key());

    let user = OwnedUserId::try_from("@b:x").unwrap();
    world.server.device_keys.get_mut(&user).unwrap().retain(|id, _| id != "PHONE");
    world.server.announcements.push(user);
    world.settle();
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1"]);
    list(&mut world, "@b:x", "PHONE", device("@b:x", "PHONE", &second, |_| {}));
    world.settle();
    assert!(told(&mut world.clients[0], &alarm));
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1"]);
    list(&mut world, "@b:x", "PHONE", device("@b:x", "PHONE", &first, |_| {}));
    world.settle();
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1", "PHONE"]);
}

/// T-72.
#[test]
fn a_device_named_like_a_cross_signing_key_is_not_there() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    let (master, self_signing) = (Ed25519SecretKey::new(), Ed25519SecretKey::new());
    let master_id = format!("ed25519:{}", master.public_key().to_base64());
    let object = |usage: &str, key: &Ed25519SecretKey| {
        let name = key.public_key().to_base64();
        let object = json!({
            "user_id": "@b:x", "usage": [usage], "keys": { format!("ed25519:{name}"): name },
        });
        let mut object = CanonicalValue::parse_object(&object.to_string()).unwrap();
        sign(&mut object, "@b:x".try_into().unwrap(), &master_id, |text| {
            master.sign(text.as_bytes())
        });
        serde_json::from_str::<Value>(&CanonicalText(&object).to_string()).unwrap()
    };
    let user = OwnedUserId::try_from("@b:x").unwrap();
    let name = master.public_key().to_base64();
    list(&mut world, "@b:x", &name, device("@b:x", &name, &Account::new(), |_| {}));
    world.acquaint(0, 1);
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x").len(), 2);
    for (part, usage, key) in
        [("master_keys", "master", &master), ("self_signing_keys", "self_signing", &self_signing)]
    {
        let keys = world.server.identities.entry(part.to_owned()).or_default();
        keys.insert(user.clone(), object(usage, key));
    }
    world.server.announcements.push(user);
    world.settle();
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1"]);
}

/// T-12.
#[test]
fn users_are_asked_for_in_batches_of_250() {
    let mut world = World::new(&["@a:x"]);
    world.server.served.clear();
    let users: Vec<String> = (0..600).map(|i| format!("@u{i}:x")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    assert!(matches!(refresh(&mut world.clients[0], world.now, &users), Freshness::Waiting(_)));
    world.settle();
    let sizes: Vec<usize> = queries(&world).iter().map(Vec::len).collect();
    assert_eq!(sizes, [250, 250, 100]);
    assert_eq!(refresh(&mut world.clients[0], world.now, &users), Freshness::Ready);
}

/// T-13.
#[test]
fn after_an_initial_sync_nobody_is_current() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    world.acquaint(0, 1);
    world.server.served.clear();
    world.settle();
    assert!(queries(&world).is_empty());
    let lists = DeviceLists::default();
    let sync = crate::e2ee::CryptoSync {
        to_device: &[],
        device_lists: &lists,
        key_counts: KeyCounts::Absolute(50),
        unused_fallback_keys: None,
        is_initial: true,
    };
    world.at(0, |machine, step| machine.receive_sync(sync, step)).unwrap();
    world.settle();
    assert_eq!(queries(&world), [vec!["@a:x".to_owned(), "@b:x".to_owned()]]);
}

/// T-10: every interleaving of up to three invalidations, two answers made, two that arrive, and a
/// crash. Whatever the order, a device that was announced is known in the end.
#[test]
fn no_order_of_announcements_answers_and_crashes_hides_a_device() {
    let now = Timestamp(1_000);
    let mut start = World::with(Client::new("@a:x", "A", now), now);
    start.settle();
    let mut tried = 0;
    each_order(&mut Vec::new(), [3, 2, 2, 1], &mut |moves| {
        no_device_is_hidden_by(&start, moves);
        tried += 1;
    });
    assert_eq!(tried, 1_217, "every order");
}

/// Calls `with` for each sequence that makes move `i` at most `left[i]` times, and has only answers
/// arrive that were made since the last crash.
fn each_order(moves: &mut Vec<usize>, left: [u32; 4], with: &mut impl FnMut(&[usize])) {
    with(moves);
    let since_crash = moves.rsplit(|what| *what == 3).next().unwrap();
    let count = |what| since_crash.iter().filter(|it| **it == what).count();
    let is_answered = count(2) < count(1);
    let may = |what: usize| what != 2 || is_answered;
    for (what, count) in left.into_iter().enumerate().filter(|it| 0 < it.1 && may(it.0)) {
        let mut left = left;
        left[what] = count - 1;
        moves.push(what);
        each_order(moves, left, with);
        moves.pop();
    }
}

/// 0: a device is added and announced; 1: the server makes the answer to the oldest request;
/// 2: the oldest answer arrives; 3: the program is killed.
fn no_device_is_hidden_by(start: &World, moves: &[usize]) {
    let now = start.now;
    let client = Client::over(start.clients[0].records.clone(), "@a:x", "A", now);
    let mut world = World { server: start.server.clone(), clients: vec![client], now };
    refresh(&mut world.clients[0], now, &["@b:x"]);
    let (mut added, mut answers) = (0, Vec::new());
    for what in moves {
        match what {
            0 => {
                added += 1;
                let id = format!("D{added}");
                list(&mut world, "@b:x", &id, device("@b:x", &id, &Account::new(), |_| {}));
                let World { server, clients, .. } = &mut world;
                server.sync(&mut clients[0], now);
            }
            1 => {
                let name = world.clients[0].name();
                if let Some(request) = world.clients[0].outbox.pop_front() {
                    answers.push((request.id.clone(), world.server.serve(&name, &request)));
                }
            }
            2 if !answers.is_empty() => {
                let (id, answer) = answers.remove(0);
                world.answer(0, &id, answer.as_deref());
            }
            3 => {
                answers.clear();
                world.clients[0].restart(now);
            }
            _ => {}
        }
    }
    for (id, answer) in answers {
        world.answer(0, &id, answer.as_deref());
    }
    world.settle();
    assert_eq!(names(&mut world.clients[0], now, "@b:x").len(), added, "{moves:?}");
}

#[test]
fn a_server_that_does_not_answer_is_left_alone_for_a_while_and_holds_up_nobody() {
    let mut world = World::new(&["@a:x", "@b:x", "@c:far"]);
    world.server.unreachable.insert("far".to_owned());
    refresh(&mut world.clients[0], world.now, &["@b:x", "@c:far"]);
    world.settle();
    assert_eq!(refresh(&mut world.clients[0], world.now, &["@b:x", "@c:far"]), Freshness::Ready);
    world.server.served.clear();
    world.pass(Duration::from_secs(14));
    world.settle();
    assert!(queries(&world).is_empty());
    world.server.unreachable.clear();
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(queries(&world), [vec!["@c:far".to_owned()]]);
    assert_eq!(names(&mut world.clients[0], world.now, "@c:far"), ["DEVICE2"]);
}

#[test]
fn our_own_server_cannot_excuse_itself() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    world.server.unreachable.insert("x".to_owned());
    refresh(&mut world.clients[0], world.now, &["@b:x"]);
    world.settle();
    assert_eq!(refresh(&mut world.clients[0], world.now, &["@b:x"]), Freshness::Ready);
}

#[test]
fn a_sender_waits_five_seconds_for_a_list_that_changed_and_ten_minutes_for_one_never_seen() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    let first = Freshness::Waiting(world.now.plus(Duration::from_secs(600)));
    assert_eq!(refresh(&mut world.clients[0], world.now, &["@b:x"]), first);
    world.settle();
    announce(&mut world.clients[0], world.now, &["@b:x"], &[]);
    let until = Freshness::Waiting(world.now.plus(Duration::from_secs(5)));
    assert_eq!(refresh(&mut world.clients[0], world.now, &["@b:x"]), until);
    world.pass(Duration::from_secs(3));
    assert_eq!(refresh(&mut world.clients[0], world.now, &["@b:x"]), until);
    world.pass(Duration::from_secs(2));
    assert_eq!(refresh(&mut world.clients[0], world.now, &["@b:x"]), Freshness::Ready);
}

#[test]
fn a_list_is_confirmed_after_a_day_of_silence_and_an_empty_one_after_ten_minutes() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    refresh(&mut world.clients[0], world.now, &["@b:x", "@empty:x"]);
    world.settle();
    world.pass(Duration::from_secs(11 * 60));
    world.server.served.clear();
    refresh(&mut world.clients[0], world.now, &["@b:x", "@empty:x"]);
    world.settle();
    assert_eq!(queries(&world), [vec!["@empty:x".to_owned()]]);
    world.pass(Duration::from_secs(24 * 60 * 60));
    world.server.served.clear();
    refresh(&mut world.clients[0], world.now, &["@b:x"]);
    world.settle();
    assert_eq!(queries(&world), [vec!["@b:x".to_owned()]]);
}

#[test]
fn who_left_is_not_watched_until_written_to_again() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    world.acquaint(0, 1);
    world.server.served.clear();
    announce(&mut world.clients[0], world.now, &[], &["@b:x", "@a:x"]);
    announce(&mut world.clients[0], world.now, &["@b:x", "@unknown:x"], &[]);
    world.settle();
    assert!(queries(&world).is_empty());
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1"]);
    refresh(&mut world.clients[0], world.now, &["@b:x"]);
    world.settle();
    assert_eq!(queries(&world), [vec!["@b:x".to_owned()]]);
    announce(&mut world.clients[0], world.now, &["@a:x"], &[]);
    world.settle();
    assert_eq!(queries(&world).len(), 2);
}

/// A-33.
#[test]
fn a_giant_list_is_used_up_to_a_thousand_devices() {
    let mut world = World::new(&["@a:x"]);
    let olm = Account::new();
    for i in 0..1_100 {
        let id = format!("D{i:05}");
        let object = device("@b:x", &id, &olm, |_| {});
        let user = OwnedUserId::try_from("@b:x").unwrap();
        world.server.device_keys.entry(user).or_default().insert(id.as_str().into(), object);
    }
    refresh(&mut world.clients[0], world.now, &["@b:x"]);
    world.settle();
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x").len(), 1_000);
}

/// A-33.
#[test]
fn answers_about_others_and_answers_that_are_none_change_nothing() {
    let answers = [
        r#"{"device_keys":{"@evil:x":{"D":{}}},"master_keys":{"@evil:x":{}}}"#.to_owned(),
        "[]".to_owned(),
        "no json".to_owned(),
        r#"{"device_keys":7}"#.to_owned(),
        r#"{"device_keys":{"@b:x":[1]}}"#.to_owned(),
        format!(
            r#"{{"device_keys":{{"@b:x":{{"D":{}}}}}}}"#,
            "[".repeat(50_000) + &"]".repeat(50_000)
        ),
    ];
    for answer in answers {
        let mut world = World::new(&["@a:x"]);
        refresh(&mut world.clients[0], world.now, &["@b:x"]);
        let request = world.clients[0].outbox.pop_front().unwrap();
        world.answer(0, &request.id, Ok(&answer));
        assert_eq!(names(&mut world.clients[0], world.now, "@evil:x").len(), 0);
        assert_eq!(names(&mut world.clients[0], world.now, "@b:x").len(), 0);
        assert!(world.clients[0].outbox.len() <= 1, "no query is repeated at once");
    }
}

#[test]
fn a_refused_query_is_made_again_after_a_pause() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    let error = super::harness::matrix_error(400, "M_UNKNOWN", "");
    world.server.outage = Some(RequestFailure::Refused(error));
    refresh(&mut world.clients[0], world.now, &["@b:x"]);
    world.settle();
    world.server.outage = None;
    world.settle();
    assert!(names(&mut world.clients[0], world.now, "@b:x").is_empty());
    world.pass(Duration::from_secs(15));
    world.settle();
    assert_eq!(names(&mut world.clients[0], world.now, "@b:x"), ["DEVICE1"]);
}

#[test]
fn a_new_device_of_our_own_raises_an_alarm_but_not_those_found_at_the_first_look() {
    let mut world = World::new(&["@a:x"]);
    let second = world.log_in("@a:x", "SECOND");
    world.settle();
    assert!(told(&mut world.clients[0], &Alarm::NewOwnDevice("SECOND".into())));
    assert!(!told(&mut world.clients[second], &Alarm::NewOwnDevice("DEVICE0".into())));
}

#[test]
fn a_blocked_device_stays_blocked_when_its_list_comes_again() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    world.acquaint(0, 1);
    let (user, id) = world.clients[1].name();
    let done = world.at(0, |machine, step| machine.block_device(&user, &id, step));
    assert!(done.unwrap());
    let kept = world.server.device_keys.get_mut(&user).unwrap().get_mut(&id).unwrap();
    kept["unsigned"] = json!({ "device_display_name": "renamed" });
    world.server.announcements.push(user);
    world.settle();
    assert!(known(&mut world.clients[0], world.now, "@b:x")[0].is_blocked());
}

#[test]
fn a_list_confirmed_in_the_future_is_confirmed_again_when_the_clock_was_set_back() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    world.acquaint(0, 1);
    world.now = Timestamp(world.now.0 - 1_000);
    world.clients[0].restart(world.now);
    world.server.served.clear();
    refresh(&mut world.clients[0], world.now, &["@b:x"]);
    world.settle();
    assert_eq!(queries(&world), [vec!["@b:x".to_owned()]]);
}
