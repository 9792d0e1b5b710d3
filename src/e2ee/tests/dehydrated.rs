//! A device that waits at the server: made, found, read, replaced; with a server that lies about
//! it, and with a program that dies at any point.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::olm::Account;

use super::{
    forger::{Forger, device_keys, event, open as open_event, signed},
    harness::{Client, World, matrix_error},
};
use crate::{
    e2ee::{
        Alarm, Machine, Notice, OutgoingRequest, Readiness, Recipients, RecoverySecret,
        RequestFailure, RequestKind, Step, Table,
        cross_signing::SecretName,
        megolm::{Source, inbound::InboundSession},
        olm::{Opened, Unproved},
        trust::SenderData,
    },
    matrix::{Event, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId},
    secret::Secret,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Rooms in which Alice writes while Bob is away: their keys fill some pages.
const ROOMS: usize = 5;

fn room(number: usize) -> OwnedRoomId {
    RoomId::parse(format!("!room{number}:x")).unwrap()
}

/// Alice and Bob with identities, at a server that offers it; Bob with a recovery key, which comes
/// with it.
fn world() -> (World, Secret<String>) {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.server.dehydrated = Some([].into());
    for client in [ALICE, BOB] {
        world.at(client, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
    }
    world.acquaint(ALICE, BOB);
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let event = Event::state("m.room.encryption", "", content.as_object().unwrap().clone());
    for number in 0..ROOMS {
        world.at(ALICE, |it, step| it.receive_state(&room(number), &event, step)).unwrap();
    }
    let key = world.at(BOB, |it, step| it.create_secret_storage(None, step)).unwrap();
    world.rest();
    (world, key)
}

fn user(name: &str) -> OwnedUserId {
    OwnedUserId::try_from(format!("@{name}:x")).unwrap()
}

/// The device that waits for Bob, as it was uploaded.
fn waiting(world: &World) -> Option<Value> {
    world.server.dehydrated.as_ref()?.get(&user("bob")).cloned()
}

fn waiting_id(world: &World) -> OwnedDeviceId {
    OwnedDeviceId::from(waiting(world).unwrap()["device_id"].as_str().unwrap())
}

fn log_out(world: &mut World) {
    let bob = world.clients.pop().unwrap();
    world.server.device_keys.get_mut(&bob.user).unwrap().remove(&bob.device);
    world.server.announcements.push(bob.user);
}

fn write(world: &mut World) {
    let to = Recipients { joined: vec![user("alice"), user("bob")], ..Recipients::default() };
    for number in 0..ROOMS {
        let ready = |machine: &mut Machine, step: &mut Step<'_>| {
            matches!(machine.prepare_room(&room(number), &to, step).unwrap(), Readiness::Ready(_))
        };
        while !world.at(ALICE, ready) {
            world.rest();
        }
    }
    world.rest();
}

/// Bob's only device went, Alice wrote, and he logs in anew.
fn away() -> (World, Secret<String>) {
    let (mut world, key) = world();
    log_out(&mut world);
    write(&mut world);
    world.log_in("@bob:x", "NEW");
    world.settle();
    (world, key)
}

fn type_key(world: &mut World, key: &Secret<String>) {
    let typed = RecoverySecret::typed(key.clone());
    world.at(BOB, |it, step| it.open_secret_storage(typed, step)).unwrap();
}

/// In how many rooms Bob can read.
fn rooms(world: &mut World) -> usize {
    world.at(BOB, |_, step| {
        let all = step.scan::<InboundSession>(Table::InboundGroupSession, None).unwrap();
        let rooms: std::collections::BTreeSet<_> = all.into_iter().map(|(key, _)| key.0).collect();
        rooms.len()
    })
}

/// The sessions that Bob has.
fn sessions(world: &mut World) -> Vec<InboundSession> {
    world.at(BOB, |_, step| {
        let all = step.scan::<InboundSession>(Table::InboundGroupSession, None).unwrap();
        all.into_iter().map(|(_, session)| session).collect()
    })
}

fn held(world: &mut World, name: SecretName) -> Option<Secret<[u8; 32]>> {
    world.at(BOB, |it, step| it.held_secret(name, step)).unwrap()
}

fn calls(world: &World) -> impl Iterator<Item = &OutgoingRequest> {
    let served = world.server.served.iter().map(|(_, request)| request);
    served.filter(|it| it.kind == RequestKind::DehydratedDevice)
}

fn pages(world: &World) -> usize {
    calls(world).filter(|it| it.path.ends_with("/events")).count()
}

/// Whether the key that is here opens what waits.
fn opens(world: &mut World) -> bool {
    let key = held(world, SecretName::DehydratedDevice).unwrap();
    let device = waiting(world).unwrap();
    let text = |name: &str| device["device_data"][name].as_str().unwrap().to_owned();
    Account::from_dehydrated_device(&text("device_pickle"), &text("nonce"), key.expose()).is_ok()
}

// T-106
#[test]
fn what_came_while_nobody_was_logged_in_is_read_by_the_next_login() {
    let (mut world, key) = away();
    let before = waiting_id(&world);
    type_key(&mut world, &key);
    world.rest();
    let alice = world.clients[ALICE].machine.device().to_owned();
    assert_eq!(rooms(&mut world), ROOMS);
    let sessions = sessions(&mut world);
    for session in &sessions {
        assert_eq!(session.source, Source::Olm);
        let SenderData::Device { user: sender, device, .. } = &session.sender else {
            panic!("{:?}", session.sender)
        };
        assert_eq!((sender, device), (&user("alice"), &alice));
    }
    assert_eq!(pages(&world), 3);
    let told = world.clients[BOB].take_notices();
    let told = told.iter().filter(|it| matches!(it, Notice::RoomKey { .. })).count();
    assert_eq!(told, sessions.len());
    assert_ne!(waiting_id(&world), before, "another took its place");
    assert!(opens(&mut world));
}

#[test]
fn it_has_all_that_others_need_to_write_to_it_and_is_no_stranger() {
    let (mut world, _) = world();
    let device = waiting(&world).unwrap();
    let id = waiting_id(&world);
    let name = format!("curve25519:{id}");
    assert_eq!(device["device_keys"]["keys"][name], id.as_str());
    assert_eq!(device["device_keys"]["dehydrated"], true);
    assert_eq!(device["one_time_keys"].as_object().unwrap().len(), 50);
    assert_eq!(device["fallback_keys"].as_object().unwrap().len(), 1);
    assert!(world.server.account_data.contains_key(&(user("bob"), "org.matrix.msc3814".into())));
    world.server.announcements.push(user("bob"));
    world.rest();
    for client in [ALICE, BOB] {
        let known = world.at(client, |it, step| it.known_devices(&user("bob"), step));
        let known = known.unwrap().into_iter().find(|it| it.device_id == id).unwrap();
        assert!(known.dehydrated && known.cross_signed, "{known:?}");
    }
    let told = world.clients[BOB].take_notices();
    assert!(!told.contains(&Notice::Alarm(Alarm::NewOwnDevice(id))), "{told:?}");
    let to = Recipients { joined: vec![user("bob")], ..Recipients::default() };
    let left_out = world.at(ALICE, |it, step| it.left_out(&room(0), &to, step)).unwrap();
    assert_eq!((left_out.0, left_out.1.len()), (2, 0));
}

// T-108
#[test]
fn two_that_say_so_and_one_that_is_not_signed_are_devices_like_others() {
    let (mut world, _) = world();
    let bob = user("bob");
    let forged = device_keys(bob.as_str(), "GHOST", &Account::new(), |it| {
        it["dehydrated"] = json!(true);
    });
    world.server.device_keys.get_mut(&bob).unwrap().insert("GHOST".into(), forged);
    world.server.announcements.push(bob.clone());
    world.rest();
    let known = world.at(BOB, |it, step| it.known_devices(&bob, step)).unwrap();
    assert!(known.len() == 3 && known.iter().all(|it| !it.dehydrated), "{known:?}");
    let alarm = Notice::Alarm(Alarm::NewOwnDevice("GHOST".into()));
    assert!(world.clients[BOB].take_notices().contains(&alarm));
}

#[test]
fn a_server_that_does_not_offer_it_is_asked_once_and_has_nothing() {
    let (mut world, key) = world();
    let mut elsewhere = World::new(&["@alice:x", "@bob:x"]);
    elsewhere.at(BOB, Machine::bootstrap_cross_signing).unwrap();
    elsewhere.settle();
    elsewhere.at(BOB, |it, step| it.create_secret_storage(None, step)).unwrap();
    elsewhere.rest();
    elsewhere.pass(2 * WEEK);
    elsewhere.rest();
    assert_eq!(calls(&elsewhere).count(), 1);
    assert_eq!(held(&mut elsewhere, SecretName::DehydratedDevice), None);
    // It offered it once: what is here stays, and is of use when it does again.
    world.server.dehydrated = None;
    log_out(&mut world);
    world.log_in("@bob:x", "NEW");
    world.settle();
    type_key(&mut world, &key);
    world.rest();
    assert!(held(&mut world, SecretName::DehydratedDevice).is_some());
    world.server.dehydrated = Some([].into());
    world.pass(WEEK);
    world.rest();
    assert!(waiting(&world).is_some() && opens(&mut world));
}

#[test]
fn taking_over_can_be_interrupted_anywhere_and_goes_on_by_itself() {
    for requests in 0..18 {
        let (mut world, key) = away();
        let before = waiting_id(&world);
        type_key(&mut world, &key);
        for _ in 0..requests {
            world.send_one(BOB);
        }
        let is_known = held(&mut world, SecretName::DehydratedDevice).is_some();
        let now = world.now;
        world.clients[BOB].restart(now);
        world.rest();
        if !is_known {
            type_key(&mut world, &key);
            world.rest();
        }
        assert_eq!(rooms(&mut world), ROOMS, "after {requests} requests");
        assert_ne!(waiting_id(&world), before, "after {requests} requests");
        assert!(opens(&mut world), "after {requests} requests");
    }
}

#[test]
fn making_can_be_interrupted_anywhere_and_the_key_is_in_the_storage_before() {
    for requests in 0..12 {
        let mut world = World::new(&["@alice:x", "@bob:x"]);
        world.server.dehydrated = Some([].into());
        world.at(BOB, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
        let make = |it: &mut Machine, step: &mut Step<'_>| it.create_secret_storage(None, step);
        let key = world.at(BOB, make).unwrap();
        for _ in 0..requests {
            world.send_one(BOB);
        }
        let now = world.now;
        world.clients[BOB].restart(now);
        // The user goes on with what was interrupted.
        world.at(BOB, make).unwrap();
        world.rest();
        type_key(&mut world, &key);
        world.rest();
        assert!(waiting(&world).is_some(), "after {requests} requests");
        let kinds: Vec<&str> = world.server.served.iter().map(|(_, it)| it.path.as_str()).collect();
        let stored = kinds.iter().position(|it| it.ends_with("account_data/org.matrix.msc3814"));
        let put = calls(&world).find(|it| it.method == "PUT").unwrap();
        let put = world.server.served.iter().position(|(_, it)| it == put).unwrap();
        assert!(stored.unwrap() < put, "after {requests} requests");
        log_out(&mut world);
        world.log_in("@bob:x", "NEW");
        world.settle();
        type_key(&mut world, &key);
        world.rest();
        assert!(opens(&mut world), "after {requests} requests");
    }
}

/// What a server puts in the place of what waits, while Bob is away.
fn refused(what: &str, lie: impl FnOnce(&mut World)) {
    let (mut world, key) = away();
    lie(&mut world);
    let before = waiting_id(&world);
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0, "{what}");
    assert_eq!(sessions(&mut world).len(), 0, "{what}");
    assert_ne!(waiting_id(&world), before, "{what}: one of ours takes its place");
    assert!(opens(&mut world), "{what}");
    let known = world.at(BOB, |it, step| it.is_cross_signed(step)).unwrap();
    assert!(known, "{what}: nothing else is lost");
}

fn replace(world: &mut World, change: impl FnOnce(&mut Value)) {
    change(world.server.dehydrated.as_mut().unwrap().get_mut(&user("bob")).unwrap());
}

#[test]
fn what_is_not_ours_or_is_not_vouched_for_is_not_read() {
    refused("somebody else's", |world| {
        let account = Account::new();
        let sealed = account.to_dehydrated_device(&[7; 32]).unwrap();
        let id = account.curve25519_key().to_base64();
        replace(world, |it| {
            it["device_id"] = json!(id);
            it["device_data"]["device_pickle"] = json!(sealed.ciphertext);
            it["device_data"]["nonce"] = json!(sealed.nonce);
        });
    });
    refused("another name over it", |world| replace(world, |it| it["device_id"] = json!("A")));
    refused("a way to seal that nobody knows", |world| {
        replace(world, |it| it["device_data"]["algorithm"] = json!("m.other"));
    });
    refused("no nonce", |world| replace(world, |it| it["device_data"]["nonce"] = json!("AA")));
    refused("garbage", |world| {
        replace(world, |it| it["device_data"] = json!("A".repeat(1 << 20)));
    });
    refused("not signed by our identity", |world| {
        let (bob, id) = (user("bob"), waiting_id(world));
        let own = format!("ed25519:{id}");
        let listed = world.server.device_keys.get_mut(&bob).unwrap().get_mut(&id).unwrap();
        let signatures = listed["signatures"][bob.as_str()].as_object_mut().unwrap();
        signatures.retain(|name, _| *name == own);
    });
    refused("signed by another identity", |world| {
        let (bob, id) = (user("bob"), waiting_id(world));
        let listed = world.server.device_keys.get_mut(&bob).unwrap().get_mut(&id).unwrap();
        let own = format!("ed25519:{id}");
        let kept = listed["signatures"][bob.as_str()][&own].clone();
        listed["signatures"] = json!({});
        let other = Account::new();
        let name = format!("ed25519:{}", other.ed25519_key().to_base64());
        *listed = signed(listed, &bob, &name, &other);
        listed["signatures"][bob.as_str()][&own] = kept;
    });
}

// One that went: its keys are ours, the list does not name it any more.
#[test]
fn an_older_one_of_ours_that_the_server_brings_back_is_not_read() {
    let (mut world, key) = world();
    let older = waiting(&world).unwrap();
    world.pass(WEEK);
    world.rest();
    assert_ne!(waiting(&world).unwrap()["device_id"], older["device_id"]);
    log_out(&mut world);
    world.log_in("@bob:x", "NEW");
    world.settle();
    replace(&mut world, |it| *it = older.clone());
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0);
    assert_ne!(waiting(&world).unwrap()["device_id"], older["device_id"]);
    assert!(opens(&mut world));
}

/// Sends requests of Bob until none is left, with pages as the server of the test makes them.
fn with_pages(world: &mut World, mut page: impl FnMut(usize) -> String) -> usize {
    let mut count = 0;
    for _ in 0..10_000 {
        let Some(request) = world.clients[BOB].outbox.front().cloned() else { break };
        if !request.path.ends_with("/events") {
            world.send_one(BOB);
            continue;
        }
        world.clients[BOB].outbox.pop_front();
        count += 1;
        let answer = page(count);
        world.at(BOB, |it, step| it.receive_response(&request.id, Ok(&answer), step)).unwrap();
    }
    count
}

#[test]
fn pages_without_end_end() {
    let (mut world, key) = away();
    type_key(&mut world, &key);
    let endless = |count: usize| json!({ "events": [], "next_batch": count.to_string() });
    assert_eq!(with_pages(&mut world, |count| endless(count).to_string()), 1_000);
    world.rest();
    assert!(opens(&mut world));
    let (mut world, key) = away();
    type_key(&mut world, &key);
    let same = json!({ "events": [], "next_batch": "same" }).to_string();
    assert_eq!(with_pages(&mut world, |_| same.clone()), 2);
    let (mut world, key) = away();
    type_key(&mut world, &key);
    let long = json!({ "events": [], "next_batch": "x".repeat(2_000) }).to_string();
    assert_eq!(with_pages(&mut world, |_| long.clone()), 1);
}

#[test]
fn pages_that_are_garbled_or_refused_lose_nothing() {
    let (mut world, key) = away();
    let before = waiting_id(&world);
    type_key(&mut world, &key);
    assert_eq!(with_pages(&mut world, |_| "[]".to_owned()), 1);
    world.rest();
    assert_eq!(waiting_id(&world), before, "it stays for another try");
    let now = world.now;
    world.clients[BOB].restart(now);
    world.rest();
    assert_eq!(rooms(&mut world), ROOMS);
    assert_ne!(waiting_id(&world), before);
}

#[test]
fn events_that_are_no_room_keys_change_nothing_and_cost_no_other() {
    let (mut world, key) = away();
    let name = (user("bob"), waiting_id(&world));
    let inbox = &mut world.server.kept.get_mut(&name).unwrap().inbox;
    let first = inbox[0].clone();
    // In clear, of somebody else, twice.
    let clear = json!({ "algorithm": "m.megolm.v1.aes-sha2", "room_id": "!a:x",
        "session_id": "A", "session_key": "A" });
    inbox.push_front(("m.room_key".to_owned(), user("alice"), clear));
    inbox.push_front(("m.room.encrypted".to_owned(), user("mallory"), first.2.clone()));
    inbox.push_front(("m.room.encrypted".to_owned(), user("alice"), json!({ "algorithm": 1 })));
    inbox.push_back(first);
    type_key(&mut world, &key);
    world.rest();
    // The one that came under another name used its one-time key up, as it would with any device.
    let rooms = rooms(&mut world);
    assert!((ROOMS - 1..=ROOMS).contains(&rooms), "{rooms}");
}

#[test]
fn another_takes_its_place_each_week_under_the_same_key() {
    let (mut world, _) = world();
    let key = held(&mut world, SecretName::DehydratedDevice);
    let mut seen = vec![waiting_id(&world)];
    for _ in 0..3 {
        world.pass(WEEK.saturating_sub(5 * MINUTE));
        world.rest();
        assert_eq!(Some(&waiting_id(&world)), seen.last());
        world.pass(10 * MINUTE);
        world.rest();
        assert!(!seen.contains(&waiting_id(&world)));
        seen.push(waiting_id(&world));
        assert!(opens(&mut world));
    }
    assert_eq!(held(&mut world, SecretName::DehydratedDevice), key);
}

#[test]
fn one_that_another_client_of_ours_keeps_is_left_to_it() {
    let (mut world, _) = world();
    // It made one with a key of its own, which is in secret storage now.
    let account = Account::new();
    let sealed = account.to_dehydrated_device(&[7; 32]).unwrap();
    let id = account.curve25519_key().to_base64();
    replace(&mut world, |it| {
        it["device_id"] = json!(id);
        it["device_data"]["device_pickle"] = json!(sealed.ciphertext);
        it["device_data"]["nonce"] = json!(sealed.nonce);
    });
    world.pass(2 * WEEK);
    world.rest();
    assert_eq!(waiting_id(&world).as_str(), id);
    assert_eq!(held(&mut world, SecretName::DehydratedDevice), None);
    let looks = calls(&world).count();
    world.pass(2 * WEEK);
    world.rest();
    assert_eq!(calls(&world).count(), looks);
}

// T-107
#[test]
fn what_it_says_is_not_believed() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@bob:x");
    let listed = forger.device_keys(|it| it["dehydrated"] = json!(true));
    let devices = world.server.device_keys.entry(user("bob")).or_default();
    devices.insert("FORGED".into(), listed);
    let bob = user("bob");
    world.at(ALICE, |it, step| it.core.refresh([&bob], step).map(drop)).unwrap();
    world.settle();
    let mut session = forger.session(&mut world, ALICE);
    // With its keys as they are listed, as an ordinary device of the same name, and without.
    for spoil in [
        |it: &mut Value| it["sender_device_keys"] = Value::Null,
        |_: &mut Value| {},
        |it: &mut Value| drop(it.as_object_mut().unwrap().remove("sender_device_keys")),
    ] {
        let mut inside = forger.inside(&world, ALICE);
        spoil(&mut inside);
        let sealed = forger.seal(&world, ALICE, &mut session, &inside);
        let opened = open_event(&mut world, ALICE, &event(&forger.user, &sealed));
        assert!(matches!(opened, Opened::Unproved(Unproved::OtherDevice)));
    }
}

//
#[test]
fn it_gets_no_secret_and_is_asked_nothing() {
    let (mut world, _) = world();
    let (bob, id) = (world.clients[BOB].name(), waiting_id(&world));
    world.rest();
    let from = world.server.served.len();
    for name in SecretName::STORED {
        let ask = json!({ "action": "request", "name": name.as_str(), "request_id": name.as_str(),
            "requesting_device_id": id });
        world.server.put_in_inbox(&bob, "m.secret.request", &bob.0, ask);
    }
    world.rest();
    world.at(BOB, Machine::request_secrets).unwrap();
    world.rest();
    let sent = world.server.served[from..].iter();
    let sent: Vec<_> = sent.filter(|(_, it)| it.kind == RequestKind::ToDevice).collect();
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn with_a_new_identity_the_old_key_is_of_no_use_any_more() {
    let (mut world, _) = world();
    let (key, id) = (held(&mut world, SecretName::DehydratedDevice), waiting_id(&world));
    world.at(BOB, Machine::begin_fresh_start).unwrap();
    world.rest();
    assert_eq!(held(&mut world, SecretName::DehydratedDevice), None);
    world.at(BOB, Machine::give_up_secret_storage).unwrap();
    world.at(BOB, |it, step| it.create_secret_storage(None, step)).unwrap();
    world.rest();
    assert_ne!(held(&mut world, SecretName::DehydratedDevice), key);
    assert_ne!(waiting_id(&world), id);
    assert!(opens(&mut world));
}

// Its private keys are in the store of nobody, and its key leaves only sealed.
#[test]
fn no_request_and_no_record_holds_its_private_keys() {
    let (mut world, key) = away();
    type_key(&mut world, &key);
    for _ in 0..14 {
        world.send_one(BOB);
    }
    let secret = held(&mut world, SecretName::DehydratedDevice).unwrap();
    let device = waiting(&world).unwrap();
    let text = |name: &str| device["device_data"][name].as_str().unwrap().to_owned();
    let opened =
        Account::from_dehydrated_device(&text("device_pickle"), &text("nonce"), secret.expose());
    let pickle = serde_json::to_value(opened.unwrap().pickle()).unwrap();
    let private = pickle["diffie_hellman_key"].to_string();
    let sealing = vodozemac::base64_encode(secret.expose());
    let Client { records, .. } = &world.clients[BOB];
    for value in records.0.values() {
        assert!(!String::from_utf8_lossy(value).contains(&private));
    }
    for (_, request) in &world.server.served {
        assert!(!request.body.contains(&sealing) && !request.body.contains(&private));
    }
}

#[test]
fn a_server_that_has_the_proposal_as_it_was_is_asked_in_its_way() {
    let (mut world, key) = away();
    type_key(&mut world, &key);
    let mut posts = 0;
    for _ in 0..100 {
        let Some(request) = world.clients[BOB].outbox.front().cloned() else { break };
        if !request.path.ends_with("/events") {
            world.send_one(BOB);
            continue;
        }
        world.clients[BOB].outbox.pop_front();
        let answer = if request.method == "GET" {
            Err(RequestFailure::Refused(matrix_error(405, "M_UNRECOGNIZED", "no GET here")))
        } else {
            posts += 1;
            Ok(older_page(&mut world, &request))
        };
        world
            .at(BOB, |it, step| {
                let answer = answer.as_ref().map(String::as_str).map_err(Clone::clone);
                it.receive_response(&request.id, answer, step)
            })
            .unwrap();
    }
    world.rest();
    assert_eq!((rooms(&mut world), posts), (ROOMS, 4), "the last page is the empty one");
    assert!(opens(&mut world));
}

/// A page as servers had them before: with a place to go on from, always.
fn older_page(world: &mut World, request: &OutgoingRequest) -> String {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let from = body["next_batch"].as_str().unwrap_or("0").to_owned();
    let get = OutgoingRequest {
        method: "GET".to_owned(),
        query: vec![("from".to_owned(), from.clone())],
        body: String::new(),
        ..request.clone()
    };
    let name = world.clients[BOB].name();
    let page = world.server.serve(&name, &get).unwrap();
    let mut page: Value = serde_json::from_str(&page).unwrap();
    let next = from.parse::<usize>().unwrap() + page["events"].as_array().unwrap().len();
    page["next_batch"] = json!(next.to_string());
    page.to_string()
}
