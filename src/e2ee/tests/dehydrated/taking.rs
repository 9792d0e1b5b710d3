//! Taken over by the next login, whatever becomes of the program and of the pages meanwhile.

use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, SessionConfig};

use super::scene::{
    ALICE, BOB, ROOMS, away, held, log_in, log_out, opened, opens, pages, room, rooms, sessions,
    type_key, user, waiting_id,
};
use crate::e2ee::{
    Notice, OutgoingRequest, RequestFailure,
    cross_signing::SecretName,
    megolm::Source,
    tests::harness::{Client, World, matrix_error},
    trust::SenderData,
};

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
    for (_, session) in &sessions {
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
fn taking_over_can_be_interrupted_anywhere_and_goes_on_by_itself() {
    for requests in 0..18 {
        let (mut world, key) = away();
        let before = waiting_id(&world);
        type_key(&mut world, &key);
        for _ in 0..requests {
            world.send_one(BOB);
        }
        let is_known = held(&mut world, SecretName::DehydratedDevice).is_some();
        world.clients[BOB].restart(world.now);
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

type Page = Result<String, RequestFailure>;

/// Sends requests of Bob until none is left, with pages as the server of the test makes them; it is
/// told which page is asked for, from one on. Gives how many were.
fn with_pages(
    world: &mut World,
    mut page: impl FnMut(&mut World, &OutgoingRequest, usize) -> Page,
) -> usize {
    let mut count = 0;
    for _ in 0..10_000 {
        let Some(request) = world.clients[BOB].outbox.front().cloned() else { break };
        if !request.path.ends_with("/events") {
            world.send_one(BOB);
            continue;
        }
        world.clients[BOB].outbox.pop_front();
        count += 1;
        let page = page(world, &request, count);
        world.answer(BOB, &request.id, page.as_deref());
    }
    count
}

#[test]
fn pages_without_end_end() {
    let (mut world, key) = away();
    type_key(&mut world, &key);
    let page = |from: &str| Ok(json!({ "events": [], "next_batch": from }).to_string());
    assert_eq!(with_pages(&mut world, |_, _, count| page(&count.to_string())), 1_000);
    world.rest();
    assert!(opens(&mut world));
    let (mut world, key) = away();
    type_key(&mut world, &key);
    assert_eq!(with_pages(&mut world, |_, _, _| page("same")), 2);
    let (mut world, key) = away();
    type_key(&mut world, &key);
    assert_eq!(with_pages(&mut world, |_, _, _| page(&"x".repeat(2_000))), 1);
}

#[test]
fn pages_that_are_garbled_or_refused_lose_nothing() {
    let (mut world, key) = away();
    let before = waiting_id(&world);
    type_key(&mut world, &key);
    assert_eq!(with_pages(&mut world, |_, _, _| Ok("[]".to_owned())), 1);
    world.rest();
    assert_eq!(waiting_id(&world), before, "it stays for another try");
    world.clients[BOB].restart(world.now);
    world.rest();
    assert_eq!(rooms(&mut world), ROOMS);
    assert_ne!(waiting_id(&world), before);
}

#[test]
fn a_server_that_has_the_proposal_as_it_was_is_asked_in_its_way() {
    let (mut world, key) = away();
    type_key(&mut world, &key);
    let mut posts = 0;
    with_pages(&mut world, |world, request, _| {
        if request.method == "GET" {
            let unknown = matrix_error(405, "M_UNRECOGNIZED", "no GET here");
            return Err(RequestFailure::Refused(unknown));
        }
        posts += 1;
        Ok(older_page(world, request))
    });
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

// What was written for somebody who is there is for nobody here, whatever its content.
#[test]
fn of_what_came_encrypted_only_room_keys_are_taken() {
    let (mut world, key) = away();
    let to = (user("bob"), waiting_id(&world));
    drop(std::mem::take(&mut world.server.kept.get_mut(&to).unwrap().inbox));
    let group = GroupSession::new(SessionConfig::version_1());
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(0),
        "session_id": group.session_id(), "session_key": group.session_key().to_base64() });
    for kind in ["m.forwarded_room_key", "m.secret.send", "m.dummy", "m.other"] {
        world.send_olm_to(ALICE, to.clone(), kind, &content);
    }
    type_key(&mut world, &key);
    world.rest();
    assert_eq!((pages(&world), sessions(&mut world).len()), (2, 0));
    // The same as a room key is one.
    let to = (user("bob"), waiting_id(&world));
    world.acquaint(ALICE, BOB);
    world.send_olm_to(ALICE, to, "m.room_key", &content);
    log_out(&mut world);
    log_in(&mut world);
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(sessions(&mut world).len(), 1);
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
    let pickle = serde_json::to_value(opened(&mut world).unwrap().pickle()).unwrap();
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
