//! What a received ciphertext is taken for.

use super::*;

#[test]
fn two_users_read_each_other() {
    let (mut world, to) = pair();
    for (from, other) in [(ALICE, BOB), (BOB, ALICE), (ALICE, BOB)] {
        let event = world.say(from, &to, "hello");
        assert_eq!(reads(&mut world, other, &event), Ok("hello".into()));
        assert_eq!(reads(&mut world, from, &event), Ok("hello".into()));
        let decrypted = world.read(other, &event);
        assert_eq!(shield(&decrypted), Shield::Red(ShieldReason::UnsignedDevice));
    }
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
    assert_eq!(shield(&decrypted), Shield::Red(ShieldReason::UnsignedDevice));
}

#[test]
fn whatever_is_malformed_is_a_value_and_harms_nothing_else() {
    let (mut world, to) = pair();
    let event = world.say(ALICE, &to, "hi");
    let ciphertext = event.content_str("ciphertext").unwrap();
    let other = |c| if c == 'A' { 'B' } else { 'A' };
    let damaged: String =
        ciphertext.chars().enumerate().map(|(at, c)| if at == 40 { other(c) } else { c }).collect();
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
