//! When a group session ends, and what does not end it.

use super::*;

// T-37
#[test]
fn test_room_key_is_cycled_after_enough_time() {
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

/// A device logs out, and all hear of it.
fn log_out(world: &mut World, device: usize) {
    world.server.remove_device(&world.clients[device]);
    let user = world.clients[device].user.clone();
    world.announce(&user);
}

// T-42: its user's other device got the key, and may have put it into the backup
#[test]
fn a_session_ends_when_a_device_logs_out_that_was_never_sent_the_key() {
    let (mut world, to) = pair();
    let phone = world.add("@bob:x", "PHONE");
    let (user, device) = (world.clients[phone].user.clone(), world.clients[phone].device.clone());
    let now = world.now;
    world.clients[ALICE]
        .step(now, |machine, step| machine.block_device(&user, &device, step))
        .unwrap();
    assert!(rotates(&mut world, &to.clone(), |world| {
        log_out(world, phone);
        world.clients[ALICE].restart(now);
        to
    }));
}

// T-42
#[test]
fn a_session_ends_when_a_device_came_and_went_since_the_last_message() {
    let (mut world, to) = pair();
    assert!(rotates(&mut world, &to.clone(), |world| {
        let phone = world.add("@bob:x", "PHONE");
        log_out(world, phone);
        to
    }));
}

// T-42
#[test]
fn a_session_goes_on_when_a_device_logs_out_of_somebody_who_is_not_in_the_room() {
    let (mut world, to) = pair();
    let carol = world.add("@carol:x", "CAROL");
    let room = std::mem::replace(&mut world.room, "!other:x".try_into().unwrap());
    world.encrypt_room();
    let everybody = world.everybody();
    world.say(ALICE, &everybody, "hello, carol");
    world.room = room;
    assert!(!rotates(&mut world, &to.clone(), |world| {
        log_out(world, carol);
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
