//! What is encrypted, and what is refused instead.

use super::*;

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
