//! Who gets the key of a group session, from where on, and who is waited for.

use grotto::e2ee::RequestKind;

use super::*;

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
            unsigned_of: Vec::new(),
        };
        let event = world.say(ALICE, &to, "welcome");
        assert_eq!(reads(&mut world, BOB, &event).is_ok(), allowed, "{visibility:?}");
    }
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
    let shares = |world: &World| -> Vec<_> {
        let all = world.clients[ALICE].outgoing.iter();
        all.filter(|it| it.kind == RequestKind::ToDevice).cloned().collect()
    };
    let before = shares(&world);
    let now = world.now;
    world.clients[ALICE].restart(now);
    assert_eq!(shares(&world), before);
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

#[test]
fn test_to_device_messages_are_batched() {
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
