//! Group sessions between machines: who reads what, and what the server can do about it.

use std::time::Duration;

use grotto::{
    e2ee::{
        Decryption, EncryptError, HistoryVisibility, Machine, Notice, Plaintext, Readiness,
        Recipients, ShareError, Shield, ShieldReason, UndecryptableReason as Reason,
    },
    matrix::{Event, OwnedRoomId},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::world::World;

const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice and Bob in an encrypted room.
fn pair() -> (World, Recipients) {
    let mut world = World::new(&[("@alice:x", "ALICE"), ("@bob:x", "BOB")]);
    world.encrypt_room();
    let to = world.everybody();
    (world, to)
}

/// The text that was read, or why not.
fn text(decryption: &Decryption) -> Result<String, Reason> {
    match decryption {
        Decryption::Decrypted(event) => Ok(event.content["body"].as_str().unwrap().to_owned()),
        Decryption::Undecryptable(why) => Err(why.reason.clone()),
    }
}

fn shield(decryption: &Decryption) -> Shield {
    match decryption {
        Decryption::Decrypted(event) => event.shield,
        Decryption::Undecryptable(why) => panic!("{why:?}"),
    }
}

fn session(event: &Event) -> String {
    event.content_str("session_id").unwrap().to_owned()
}

fn reads(world: &mut World, at: usize, event: &Event) -> Result<String, Reason> {
    text(&world.read(at, event))
}

/// Whether the next message of Alice is encrypted with another session.
fn rotates(
    world: &mut World,
    to: &Recipients,
    cause: impl FnOnce(&mut World) -> Recipients,
) -> bool {
    let before = session(&world.say(ALICE, to, "before"));
    let to = cause(world);
    before != session(&world.say(ALICE, &to, "after"))
}

#[test]
fn two_users_read_each_other() {
    let (mut world, to) = pair();
    for (from, other) in [(ALICE, BOB), (BOB, ALICE), (ALICE, BOB)] {
        let event = world.say(from, &to, "hello");
        assert_eq!(reads(&mut world, other, &event), Ok("hello".into()));
        assert_eq!(reads(&mut world, from, &event), Ok("hello".into()));
        let decrypted = world.read(other, &event);
        assert_eq!(shield(&decrypted), Shield::None);
    }
}

#[test]
fn whoever_joined_before_the_room_was_encrypted_is_known_when_it_is() {
    let mut world = World::new(&[("@alice:x", "ALICE"), ("@bob:x", "BOB")]);
    world.state("m.room.member", "@alice:x", &json!({ "membership": "join" }));
    world.encrypt_room();
    let devices = world.clients[BOB]
        .store
        .0
        .keys()
        .filter(|(table, key)| *table == grotto::e2ee::Table::Device && key.0 == "@alice:x");
    assert_eq!(devices.count(), 1);
}

#[test]
fn our_other_device_reads_what_we_send() {
    let (mut world, to) = pair();
    let phone = world.add("@alice:x", "PHONE");
    let event = world.say(ALICE, &to, "hello");
    assert_eq!(reads(&mut world, phone, &event), Ok("hello".into()));
}

#[test]
fn a_key_is_offered_once_and_messages_after_it_cost_nothing() {
    let (mut world, to) = pair();
    world.say(ALICE, &to, "1");
    let sent = world.server.sent.len();
    world.say(ALICE, &to, "2");
    assert_eq!(world.server.sent.len(), sent);
}

#[test]
fn the_event_has_what_old_clients_need_and_its_relation_in_clear() {
    let (mut world, to) = pair();
    let relation = json!({ "rel_type": "m.thread", "event_id": "$root" });
    let content = json!({ "body": "hi", "m.relates_to": relation });
    let event = world.send(ALICE, &to, "m.room.message", &content);
    for field in ["sender_key", "device_id", "session_id", "ciphertext"] {
        let value = event.content_str(field).unwrap();
        assert!(!value.is_empty() && !value.contains('='), "{field}");
    }
    assert_eq!(event.content["m.relates_to"], relation);
    let Decryption::Decrypted(read) = world.read(BOB, &event) else { panic!() };
    assert_eq!(read.content["m.relates_to"], relation);
}

#[test]
fn a_relation_is_taken_from_the_clear_only() {
    let (mut world, to) = pair();
    let event = world.say(ALICE, &to, "hi");
    let mut moved = event.clone();
    moved.content.insert("m.relates_to".into(), json!({ "event_id": "$elsewhere" }));
    let Decryption::Decrypted(read) = world.read(BOB, &moved) else { panic!() };
    assert_eq!(read.content["m.relates_to"]["event_id"], "$elsewhere");
}

#[test]
fn a_message_too_large_for_an_event_is_refused_before_the_ratchet_moves() {
    let (mut world, to) = pair();
    let content = json!({ "body": "x".repeat(50_000) });
    let plaintext = Plaintext::new("m.room.message", content.as_object().unwrap().clone());
    world.say(ALICE, &to, "first");
    let (room, now) = (world.room.clone(), world.now);
    let error = world.clients[ALICE].step(now, |machine, step| {
        match machine.prepare_room(&room, &to, step).unwrap() {
            Readiness::Ready(ready) => ready.encrypt(&plaintext, step).unwrap_err(),
            Readiness::Waiting => panic!(),
        }
    });
    assert!(matches!(error, EncryptError::TooLarge { .. }));
    let event = world.say(ALICE, &to, "second");
    let Decryption::Decrypted(read) = world.read(BOB, &event) else { panic!() };
    assert_eq!(read.message_index, 1);
}

#[test]
fn nothing_is_encrypted_for_a_room_never_seen_encrypted() {
    let mut world = World::new(&[("@alice:x", "ALICE")]);
    let to = world.everybody();
    assert_eq!(world.prepare(ALICE, &to), Err(ShareError::NotEncrypted));
}

// T-36, A-29
#[test]
fn no_state_event_makes_the_room_clear_again_and_another_algorithm_stops_sending() {
    let (mut world, to) = pair();
    for content in [json!({}), json!({ "algorithm": 5 })] {
        world.state("m.room.encryption", "", &content);
        assert_eq!(world.prepare(ALICE, &to).map(drop), Ok(()));
    }
    world.state("m.room.encryption", "", &json!({ "algorithm": "m.none" }));
    let refused = world.prepare(ALICE, &to);
    assert_eq!(refused, Err(ShareError::UnsupportedAlgorithm("m.none".into())));
    let now = world.now;
    world.clients[ALICE].restart(now);
    let room = world.room.clone();
    let encrypted =
        world.clients[ALICE].step(now, |machine, step| machine.is_encrypted(&room, step).unwrap());
    assert!(encrypted);
}

// T-37
#[test]
fn a_session_ends_by_age() {
    let (mut world, to) = pair();
    let week = Duration::from_secs(7 * 24 * 3600);
    assert!(rotates(&mut world, &to.clone(), |world| {
        world.now = world.now.plus(week);
        to
    }));
}

// T-37: a clock that was set back ends nothing
#[test]
fn a_session_survives_a_clock_set_back() {
    let (mut world, to) = pair();
    assert!(!rotates(&mut world, &to.clone(), |world| {
        world.now = Timestamp(world.now.0 - 1_000_000_000);
        to
    }));
}

// T-37: nor does it keep a session until it catches up
#[test]
fn a_session_made_ahead_of_a_clock_set_back_ends_by_its_age() {
    let (mut world, to) = pair();
    world.say(ALICE, &to, "made in a year to come");
    world.now = Timestamp(world.now.0 - 365 * 24 * 3_600_000);
    let now = world.now;
    world.clients[ALICE].restart(now);
    assert!(rotates(&mut world, &to.clone(), |world| {
        world.now = world.now.plus(Duration::from_secs(7 * 24 * 3600));
        to
    }));
}

// T-38
#[test]
fn a_session_ends_by_messages() {
    let (mut world, to) = pair();
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 3 });
    world.state("m.room.encryption", "", &content);
    let sessions: Vec<_> =
        (0..7).map(|at| session(&world.say(ALICE, &to, &at.to_string()))).collect();
    assert_eq!(sessions[0], sessions[2]);
    assert_ne!(sessions[2], sessions[3]);
    assert_eq!(sessions[3], sessions[5]);
    assert_ne!(sessions[5], sessions[6]);
}

// T-38
#[test]
fn a_session_in_use_ends_when_the_room_asks_for_shorter_ones() {
    let (mut world, to) = pair();
    assert!(rotates(&mut world, &to.clone(), |world| {
        let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 1 });
        world.state("m.room.encryption", "", &content);
        to
    }));
}

// T-39
#[test]
fn a_session_ends_when_a_member_with_the_key_is_gone() {
    let (mut world, to) = pair();
    assert!(rotates(&mut world, &to.clone(), |_| {
        Recipients { joined: vec![to.joined[0].clone()], ..to }
    }));
}

// T-40
#[test]
fn a_session_ends_when_anybody_leaves_even_who_never_got_the_key() {
    for membership in ["leave", "ban"] {
        let (mut world, to) = pair();
        assert!(rotates(&mut world, &to.clone(), |world| {
            world.state("m.room.member", "@carol:x", &json!({ "membership": membership }));
            to
        }));
    }
}

// T-41
#[test]
fn a_session_ends_when_a_gap_may_hide_a_departure() {
    let (mut world, to) = pair();
    assert!(rotates(&mut world, &to.clone(), |world| {
        let (room, now) = (world.room.clone(), world.now);
        world.clients[ALICE].step(now, |machine, step| machine.receive_gap(&room, step)).unwrap();
        to
    }));
}

// T-42
#[test]
fn a_session_ends_when_a_device_logs_out() {
    let (mut world, to) = pair();
    let phone = world.add("@bob:x", "PHONE");
    assert!(rotates(&mut world, &to.clone(), |world| {
        world.server.remove_device(&world.clients[phone]);
        let user = world.clients[phone].user.clone();
        world.announce(&user);
        to
    }));
}

// T-43
#[test]
fn a_session_ends_when_a_device_is_blocked_which_then_reads_nothing_and_is_told_once() {
    let (mut world, to) = pair();
    let phone = world.add("@bob:x", "PHONE");
    assert!(rotates(&mut world, &to.clone(), |world| {
        let (user, device) =
            (world.clients[phone].user.clone(), world.clients[phone].device.clone());
        let now = world.now;
        world.clients[ALICE]
            .step(now, |machine, step| machine.block_device(&user, &device, step))
            .unwrap();
        to.clone()
    }));
    let event = world.say(ALICE, &to, "not for the phone");
    assert_eq!(reads(&mut world, BOB, &event), Ok("not for the phone".into()));
    assert_eq!(reads(&mut world, phone, &event), Err(Reason::Withheld("m.blacklisted".into())));
    let notices = world.server.sent.iter().filter(|(kind, _)| kind == "m.room_key.withheld");
    assert_eq!(notices.count(), 1);
}

// T-35
#[test]
fn a_device_that_stays_blocked_does_not_end_the_session() {
    let (mut world, to) = pair();
    let phone = world.add("@bob:x", "PHONE");
    let (user, device) = (world.clients[phone].user.clone(), world.clients[phone].device.clone());
    let now = world.now;
    world.clients[ALICE]
        .step(now, |machine, step| machine.block_device(&user, &device, step))
        .unwrap();
    assert!(!rotates(&mut world, &to.clone(), |_| to));
}

// T-44
#[test]
fn a_session_ends_when_the_history_becomes_shared_or_ceases_to_be() {
    let (mut world, to) = pair();
    let invited = HistoryVisibility::Invited;
    assert!(rotates(&mut world, &to.clone(), |_| Recipients { history_visibility: invited, ..to }));
    let (mut world, to) = pair();
    assert!(rotates(&mut world, &to.clone(), |world| {
        let content = json!({ "history_visibility": "joined" });
        world.state("m.room.history_visibility", "", &content);
        to
    }));
    let (mut world, to) = pair();
    let readable = HistoryVisibility::WorldReadable;
    assert!(!rotates(&mut world, &to.clone(), |_| {
        Recipients { history_visibility: readable, ..to }
    }));
}

// T-45
#[test]
fn a_session_ends_when_the_user_says_so() {
    let (mut world, to) = pair();
    assert!(rotates(&mut world, &to.clone(), |world| {
        let (room, now) = (world.room.clone(), world.now);
        world.clients[ALICE]
            .step(now, |machine, step| machine.discard_session(&room, step))
            .unwrap();
        to
    }));
}

// T-46, T-54
#[test]
fn a_new_device_gets_the_running_session_from_now_on() {
    let (mut world, to) = pair();
    let early = world.say(ALICE, &to, "early");
    let phone = world.add("@bob:x", "PHONE");
    let late = world.say(ALICE, &to, "late");
    assert_eq!(session(&early), session(&late));
    assert_eq!(reads(&mut world, phone, &late), Ok("late".into()));
    assert_eq!(reads(&mut world, phone, &early), Err(Reason::IndexTooLow));
}

// T-47
#[test]
fn a_new_member_gets_the_running_session_from_now_on() {
    let mut world = World::new(&[("@alice:x", "ALICE"), ("@bob:x", "BOB"), ("@carol:x", "C")]);
    world.encrypt_room();
    let all = world.everybody();
    let two = Recipients { joined: all.joined[..2].to_vec(), ..all.clone() };
    let early = world.say(ALICE, &two, "early");
    let late = world.say(ALICE, &all, "late");
    assert_eq!(session(&early), session(&late));
    assert_eq!(reads(&mut world, 2, &late), Ok("late".into()));
    let mut early = early;
    assert_eq!(reads(&mut world, 2, &early), Err(Reason::IndexTooLow));
    early.unsigned.membership = Some("leave".into());
    assert_eq!(reads(&mut world, 2, &early), Err(Reason::BeforeJoin));
}

// T-48
#[test]
fn a_changed_name_does_not_end_the_session() {
    let (mut world, to) = pair();
    assert!(!rotates(&mut world, &to.clone(), |world| {
        let content = json!({ "membership": "join", "displayname": "B" });
        world.state("m.room.member", "@bob:x", &content);
        to
    }));
}

// T-49
#[test]
fn a_restart_does_not_end_the_session_and_sends_nothing() {
    let (mut world, to) = pair();
    let mut sent = 0;
    assert!(!rotates(&mut world, &to.clone(), |world| {
        let now = world.now;
        world.clients[ALICE].restart(now);
        sent = world.server.sent.len();
        to
    }));
    assert_eq!(world.server.sent.len(), sent);
}

// T-53
#[test]
fn the_invited_read_what_came_before_they_joined_where_the_room_allows() {
    for (visibility, allowed) in [
        (HistoryVisibility::Invited, true),
        (HistoryVisibility::Shared, true),
        (HistoryVisibility::WorldReadable, true),
        (HistoryVisibility::Joined, false),
    ] {
        let (mut world, to) = pair();
        let to = Recipients {
            joined: vec![to.joined[0].clone()],
            invited: vec![to.joined[1].clone()],
            history_visibility: visibility,
        };
        let event = world.say(ALICE, &to, "welcome");
        assert_eq!(reads(&mut world, BOB, &event).is_ok(), allowed, "{visibility:?}");
    }
}

// T-51, A-28: the ciphertext is out, the program dies, the next message has another index
#[test]
fn no_index_is_used_twice_across_restarts() {
    let (mut world, to) = pair();
    let mut indices = Vec::new();
    for at in 0..5 {
        let event = world.say(ALICE, &to, &at.to_string());
        let now = world.now;
        world.clients[ALICE].restart(now);
        let Decryption::Decrypted(read) = world.read(BOB, &event) else { panic!() };
        indices.push(read.message_index);
    }
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

// a step that was not committed gives its ciphertext to nobody; the machine is dropped
#[test]
fn a_message_whose_step_was_lost_leaves_no_trace() {
    let (mut world, to) = pair();
    world.say(ALICE, &to, "first");
    let saved = world.clients[ALICE].store.clone();
    let plaintext = Plaintext::new("m.room.message", serde_json::Map::new());
    world.try_encrypt(ALICE, &to, &plaintext).unwrap();
    world.clients[ALICE].store = saved;
    let now = world.now;
    world.clients[ALICE].restart(now);
    let event = world.say(ALICE, &to, "second");
    let Decryption::Decrypted(read) = world.read(BOB, &event) else { panic!() };
    assert_eq!((read.message_index, text(&world.read(BOB, &event))), (1, Ok("second".into())));
}

// T-52
#[test]
fn a_crash_between_share_requests_and_their_answers_loses_no_key() {
    let (mut world, to) = pair();
    world.add("@carol:x", "CAROL");
    let to = Recipients { joined: world.everybody().joined, ..to };
    while !world.clients[ALICE].outgoing.iter().any(|it| it.path.contains("sendToDevice")) {
        world.answer_all_but(ALICE, "sendToDevice");
        assert_eq!(world.prepare(ALICE, &to), Ok(false));
    }
    let before = world.clients[ALICE].outgoing.clone();
    let now = world.now;
    world.clients[ALICE].restart(now);
    assert_eq!(world.clients[ALICE].outgoing, before);
    assert_eq!(world.prepare(ALICE, &to), Ok(false));
    let event = world.say(ALICE, &to, "hello");
    for at in [BOB, 2] {
        assert_eq!(reads(&mut world, at, &event), Ok("hello".into()));
    }
}

#[test]
fn a_share_request_the_server_puts_off_holds_messages_back_for_three_tries_only() {
    let (mut world, to) = pair();
    world.say(BOB, &to, "a session with Alice exists");
    world.server.broken = Some("sendToDevice");
    let mut tries = 0;
    while world.prepare(ALICE, &to) == Ok(false) {
        tries += 1;
        assert!(tries < 20);
        world.answer(ALICE);
        world.now = world.now.plus(Duration::from_secs(600));
        let now = world.now;
        world.clients[ALICE].step(now, Machine::tick).unwrap();
    }
    let event = world.say(ALICE, &to, "late");
    assert_eq!(reads(&mut world, BOB, &event), Err(Reason::NoRoomKey));
    world.server.broken = None;
    world.now = world.now.plus(Duration::from_secs(600));
    let now = world.now;
    world.clients[ALICE].step(now, Machine::tick).unwrap();
    world.settle();
    assert_eq!(reads(&mut world, BOB, &event), Ok("late".into()));
}

// T-15
#[test]
fn a_device_without_keys_holds_nobody_up_and_gets_the_session_when_it_has_some() {
    let (mut world, to) = pair();
    let phone = world.add("@bob:x", "PHONE");
    world.server.take_keys_of(&world.clients[phone]);
    world.encrypt_room();
    let event = world.say(ALICE, &to, "first");
    assert_eq!(reads(&mut world, BOB, &event), Ok("first".into()));
    assert!(reads(&mut world, phone, &event).is_err());
    let event2 = world.say(phone, &to, "the phone opens a session with Alice");
    assert_eq!(
        reads(&mut world, ALICE, &event2),
        Ok("the phone opens a session with Alice".into())
    );
    world.say(ALICE, &to, "second");
    assert_eq!(reads(&mut world, phone, &event), Ok("first".into()));
}

// U24: what was sent over a broken Olm session is sent again, from where the device was entitled
#[test]
fn a_device_that_lost_its_sessions_gets_the_whole_group_session_again() {
    let (mut world, to) = pair();
    let first = world.say(ALICE, &to, "0");
    let new = World::new(&[]).room;
    assert_eq!(new, world.room);
    let saved = world.clients[BOB].store.clone();
    let second_key = {
        let (room, now) = (world.room.clone(), world.now);
        world.clients[ALICE]
            .step(now, |machine, step| machine.discard_session(&room, step))
            .unwrap();
        world.say(ALICE, &to, "1")
    };
    // Bob goes back in time: the second key is lost to him.
    world.clients[BOB].store = saved;
    let now = world.now;
    world.clients[BOB].restart(now);
    assert_eq!(reads(&mut world, BOB, &first), Ok("0".into()));
    assert_eq!(reads(&mut world, BOB, &second_key), Err(Reason::NoRoomKey));
    // Bob begins a new Olm session with Alice (as unwedging does), so Alice sends it again.
    world.clients[BOB].store.0.retain(|(table, _), _| *table != grotto::e2ee::Table::OlmSession);
    world.clients[BOB].restart(now);
    let reply = world.say(BOB, &to, "here");
    assert_eq!(reads(&mut world, ALICE, &reply), Ok("here".into()));
    world.say(ALICE, &to, "2");
    assert_eq!(reads(&mut world, BOB, &second_key), Ok("1".into()));
}

#[test]
fn a_room_waits_for_device_lists_for_a_few_seconds_at_most() {
    let (mut world, to) = pair();
    world.say(ALICE, &to, "warm");
    world.server.broken = Some("keys/query");
    let bob = world.clients[BOB].user.clone();
    let lists = grotto::matrix::DeviceLists { changed: vec![bob], left: vec![] };
    world.sync(ALICE, &[], &lists);
    assert_eq!(world.prepare(ALICE, &to), Ok(false));
    let deadline = world.clients[ALICE].machine.deadline().unwrap();
    assert!(deadline.since(world.now) <= Duration::from_secs(5));
    world.now = deadline;
    world.clients[ALICE].notices.clear();
    world.clients[ALICE].step(deadline, Machine::tick).unwrap();
    assert!(world.clients[ALICE].notices.contains(&Notice::RoomMayBeReady(world.room.clone())));
    assert_eq!(world.prepare(ALICE, &to), Ok(true));
}

// T-56, T-57, A-27
#[test]
fn a_ciphertext_that_comes_again_elsewhere_is_not_a_message() {
    let (mut world, to) = pair();
    let event = world.say(ALICE, &to, "pay 10");
    assert_eq!(reads(&mut world, BOB, &event), Ok("pay 10".into()));
    let other_id = Event { event_id: Some("$again".try_into().unwrap()), ..event.clone() };
    let other_time = Event { origin_server_ts: Timestamp(1), ..event.clone() };
    for _ in 0..2 {
        for replay in [&other_id, &other_time] {
            assert_eq!(reads(&mut world, BOB, replay), Err(Reason::DuplicateIndex));
        }
        let now = world.now;
        world.clients[BOB].restart(now);
    }
    let elsewhere = OwnedRoomId::try_from("!elsewhere:x").unwrap();
    let read = world.read_in(BOB, &elsewhere, &event);
    assert_eq!(text(&read), Err(Reason::NoRoomKey));
    // T-58: the event itself can be read as often as one likes.
    assert_eq!(reads(&mut world, BOB, &event), Ok("pay 10".into()));
}

// T-62, A-11
#[test]
fn an_event_under_another_senders_name_is_not_shown_as_theirs() {
    let (mut world, to) = pair();
    let event = world.say(ALICE, &to, "hi");
    let spoofed = Event { sender: Some(world.clients[BOB].user.clone()), ..event };
    assert_eq!(reads(&mut world, BOB, &spoofed), Err(Reason::MismatchedSender));
    assert_eq!(reads(&mut world, ALICE, &spoofed), Err(Reason::MismatchedSender));
}

// T-59
#[test]
fn a_key_that_comes_late_is_told_of_and_opens_the_message() {
    let (mut world, to) = pair();
    world.server.broken = Some("keys/claim");
    let plaintext =
        Plaintext::new("m.room.message", json!({ "body": "hi" }).as_object().unwrap().clone());
    assert!(world.prepare(ALICE, &to).is_ok());
    world.server.broken = None;
    let ciphertext = world.try_encrypt(ALICE, &to, &plaintext).unwrap();
    let event = world.event(ALICE, ciphertext.json());
    assert_eq!(reads(&mut world, BOB, &event), Err(Reason::NoRoomKey));
    world.settle();
    let told = Notice::RoomKey { room: world.room.clone(), session_id: session(&event) };
    assert!(world.clients[BOB].notices.contains(&told));
    assert_eq!(reads(&mut world, BOB, &event), Ok("hi".into()));
}

// T-63
#[test]
fn a_message_of_a_device_not_yet_known_is_marked_until_it_is_known() {
    let (mut world, to) = pair();
    world.say(BOB, &to, "Bob asks for Alice's devices");
    let event = world.say(ALICE, &to, "hi");
    let known = |table| table == grotto::e2ee::Table::InboundGroupSession;
    for ((table, _), value) in &mut world.clients[BOB].store.0 {
        if known(*table) {
            let mut record: Value = serde_json::from_slice(value).unwrap();
            record["sender"] = json!({ "is": "unknown", "claimed": "@alice:x" });
            *value = record.to_string().into_bytes();
        }
    }
    let hidden = world.clients[BOB].store.0.clone();
    world.clients[BOB]
        .store
        .0
        .retain(|(table, key), _| *table != grotto::e2ee::Table::Device || key.0 != "@alice:x");
    let now = world.now;
    world.clients[BOB].restart(now);
    let red = Shield::Red(ShieldReason::UnknownDevice);
    let decrypted = world.read(BOB, &event);
    assert_eq!(shield(&decrypted), red);
    world.clients[BOB].store.0 = hidden;
    world.clients[BOB].restart(now);
    let decrypted = world.read(BOB, &event);
    assert_eq!(shield(&decrypted), Shield::None);
}

#[test]
fn whatever_is_malformed_is_a_value_and_harms_nothing_else() {
    let (mut world, to) = pair();
    let event = world.say(ALICE, &to, "hi");
    let ciphertext = event.content_str("ciphertext").unwrap();
    let damaged: String =
        ciphertext.chars().enumerate().map(|(at, c)| if at == 40 { '+' } else { c }).collect();
    assert_ne!(damaged, ciphertext);
    for (field, value, reason) in [
        (
            "algorithm",
            json!("m.olm.v1.curve25519-aes-sha2"),
            Reason::UnsupportedAlgorithm("m.olm.v1.curve25519-aes-sha2".into()),
        ),
        ("algorithm", json!(null), Reason::Malformed),
        ("ciphertext", json!("AAAA"), Reason::Malformed),
        ("ciphertext", json!("not base64 \u{1b}"), Reason::Malformed),
        ("ciphertext", json!("A".repeat(1 << 20)), Reason::Malformed),
        ("ciphertext", json!(damaged), Reason::Malformed),
        ("ciphertext", json!({ "a": 1 }), Reason::Malformed),
        ("session_id", json!("x".repeat(1000)), Reason::Malformed),
        ("session_id", json!("A".repeat(43)), Reason::NoRoomKey),
    ] {
        let mut bad = event.clone();
        bad.content.insert(field.to_owned(), value);
        assert_eq!(reads(&mut world, BOB, &bad), Err(reason), "{field}");
    }
    let as_state = Event { state_key: Some(String::new()), ..event.clone() };
    assert_eq!(reads(&mut world, BOB, &as_state), Err(Reason::Malformed));
    assert_eq!(reads(&mut world, BOB, &event), Ok("hi".into()));
}

// T-60, A-5
#[test]
fn key_material_inside_a_room_message_imports_nothing() {
    let (mut world, to) = pair();
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "room_id": "!room:x" });
    for kind in ["m.room_key", "m.forwarded_room_key", "m.secret.send", "m.room.encrypted"] {
        let event = world.send(ALICE, &to, kind, &content);
        world.clients[BOB].notices.clear();
        assert_eq!(reads(&mut world, BOB, &event), Err(Reason::Malformed), "{kind}");
        assert_eq!(world.clients[BOB].notices, []);
    }
}

#[test]
fn keys_go_out_in_requests_of_at_most_250_devices() {
    let mut world = World::new(&[("@alice:x", "ALICE")]);
    for at in 0..260 {
        world.add_quietly(&format!("@user{at}:x"), "DEVICE");
    }
    world.encrypt_room();
    let to = world.everybody();
    world.say(ALICE, &to, "hello");
    let shares = world.server.sent.iter().filter(|(kind, _)| kind == "m.room.encrypted");
    let sizes: Vec<usize> = shares.map(|(_, count)| *count).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 260);
    assert!(sizes.iter().all(|size| *size <= 250), "{sizes:?}");
}
