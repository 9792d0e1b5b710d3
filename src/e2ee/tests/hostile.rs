//! A hostile server and hostile members against what stands between them and the timeline.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use vodozemac::{
    Curve25519PublicKey,
    megolm::{GroupSession, InboundGroupSession, MegolmMessage, SessionConfig, SessionKey},
    olm::OlmMessage,
};

use super::harness::{Client, World};
use crate::{
    e2ee::{
        Decryption, Table, UndecryptableReason as Reason,
        core::OlmSender,
        device::{Device, Listing, LocalTrust},
        exported::ExportedSession,
        failures::Failures,
        megolm::{MEGOLM_V1, Source, inbound::receive_room_key},
    },
    matrix::{Event, RoomId, UserId, ed25519_from_base64},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ROOM: &str = "!room:x";

fn claimant(user: &str, key: u8) -> OlmSender {
    let user = UserId::parse(user).unwrap();
    let curve25519 = Curve25519PublicKey::from_bytes([key; 32]);
    OlmSender { user, curve25519, ed25519: format!("ed25519 {key}"), device: None }
}

/// Hands `client` a room key as it stands now, called theirs by `from`.
fn hand_over(client: &mut Client, from: &OlmSender, room: &str, group: &GroupSession) {
    let content = json!({
        "algorithm": MEGOLM_V1, "room_id": room, "session_id": group.session_id(),
        "session_key": group.session_key().to_base64(),
    });
    client.step(NOW, |machine, step| {
        receive_room_key(&mut machine.megolm, from, &content.to_string(), step).unwrap();
    });
}

fn say(group: &mut GroupSession, room: &str, body: &str) -> Value {
    let inside = json!({ "type": "m.room.message", "room_id": room, "content": { "body": body } });
    json!({
        "algorithm": MEGOLM_V1, "session_id": group.session_id(),
        "ciphertext": group.encrypt(inside.to_string()).to_base64(),
    })
}

/// The body of an event as `client` reads it, or why it does not.
fn read(
    client: &mut Client,
    (room, id, sender): (&str, &str, &str),
    content: &Value,
) -> Result<String, Reason> {
    let event = json!({
        "type": "m.room.encrypted", "event_id": id, "sender": sender, "origin_server_ts": 1,
        "content": content,
    });
    let event: Event = serde_json::from_value(event).unwrap();
    let room = RoomId::parse(room).unwrap();
    match client.step(NOW, |machine, step| machine.decrypt_event(&room, &event, step)).unwrap() {
        Decryption::Decrypted(inner) => Ok(inner.content["body"].as_str().unwrap().to_owned()),
        Decryption::Undecryptable(why) => Err(why.reason),
    }
}

#[test]
fn whoever_passes_a_key_on_first_does_not_hide_the_messages_of_its_maker() {
    let mut group = GroupSession::new(SessionConfig::version_1());
    let mut bob = Client::new("@b:x", "B", NOW);
    hand_over(&mut bob, &claimant("@mallory:x", 9), ROOM, &group);
    hand_over(&mut bob, &claimant("@a:x", 1), ROOM, &group);
    let content = say(&mut group, ROOM, "hello");
    assert_eq!(read(&mut bob, (ROOM, "$1", "@a:x"), &content), Ok("hello".into()));
    bob.restart(NOW);
    assert_eq!(read(&mut bob, (ROOM, "$1", "@a:x"), &content), Ok("hello".into()));
    assert_eq!(
        read(&mut bob, (ROOM, "$2", "@a:x"), &content),
        Err(Reason::DuplicateIndex),
        "a replay stays one"
    );
    let other = say(&mut group, ROOM, "more");
    assert_eq!(read(&mut bob, (ROOM, "$3", "@c:x"), &other), Err(Reason::MismatchedSender));
}

#[test]
fn what_the_backup_opens_stays_readable_though_a_member_calls_its_key_theirs() {
    let room = RoomId::parse(ROOM).unwrap();
    for thief_is_first in [false, true] {
        let mut world = World::new(&["@alice:x", "@bob:x"]);
        world.acquaint(0, 1);
        let maker = &world.clients[1].machine.core.account;
        let (curve25519, ed25519) = (maker.curve25519().to_base64(), maker.ed25519().to_base64());
        let mut group = GroupSession::new(SessionConfig::version_1());
        let known = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
        let copy = json!({
            "algorithm": MEGOLM_V1, "sender_key": curve25519,
            "sender_claimed_keys": { "ed25519": ed25519 },
            "session_key": known.export_at_first_known_index(),
        });
        let copy: ExportedSession = serde_json::from_value(copy).unwrap();
        let alice = &mut world.clients[0];
        let thief = claimant("@mallory:x", 9);
        if thief_is_first {
            hand_over(alice, &thief, ROOM, &group);
        }
        let named = (&*room, &*group.session_id());
        alice.step(NOW, |it, step| it.import_session(named, copy, Source::Backup, step)).unwrap();
        if !thief_is_first {
            hand_over(alice, &thief, ROOM, &group);
        }
        alice.restart(NOW);
        let content = say(&mut group, ROOM, "hello");
        assert_eq!(read(alice, (ROOM, "$1", "@bob:x"), &content), Ok("hello".into()));
        assert_eq!(
            read(alice, (ROOM, "$2", "@bob:x"), &content),
            Err(Reason::DuplicateIndex),
            "a replay stays one"
        );
        let other = say(&mut group, ROOM, "more");
        assert_eq!(
            read(alice, (ROOM, "$3", "@carol:x"), &other),
            Err(Reason::MismatchedSender),
            "nobody else is believed to have said it"
        );
    }
}

#[test]
fn whoever_passes_a_key_on_for_another_room_does_not_keep_it_from_its_own() {
    let mut group = GroupSession::new(SessionConfig::version_1());
    let mut bob = Client::new("@b:x", "B", NOW);
    hand_over(&mut bob, &claimant("@mallory:x", 9), "!elsewhere:x", &group);
    hand_over(&mut bob, &claimant("@a:x", 1), ROOM, &group);
    let content = say(&mut group, ROOM, "hello");
    assert_eq!(
        read(&mut bob, ("!elsewhere:x", "$0", "@mallory:x"), &content),
        Err(Reason::Malformed),
        "the message names its room"
    );
    assert_eq!(read(&mut bob, (ROOM, "$1", "@a:x"), &content), Ok("hello".into()));
    bob.restart(NOW);
    assert_eq!(read(&mut bob, (ROOM, "$1", "@a:x"), &content), Ok("hello".into()));
}

#[test]
fn a_copied_ciphertext_that_is_read_first_does_not_use_up_its_index() {
    let mut group = GroupSession::new(SessionConfig::version_1());
    let mut bob = Client::new("@b:x", "B", NOW);
    hand_over(&mut bob, &claimant("@a:x", 1), ROOM, &group);
    let content = say(&mut group, ROOM, "hello");
    let copied = read(&mut bob, (ROOM, "$copy", "@mallory:x"), &content);
    assert_eq!(copied, Err(Reason::MismatchedSender));
    assert_eq!(read(&mut bob, (ROOM, "$1", "@a:x"), &content), Ok("hello".into()));
    // Not even when the thief calls the session theirs.
    let content = say(&mut group, ROOM, "again");
    hand_over(&mut bob, &claimant("@mallory:x", 9), ROOM, &group);
    let parroted = read(&mut bob, (ROOM, "$copy2", "@mallory:x"), &content);
    assert_eq!(parroted, Ok("again".into()), "whoever has the key may repeat the words as theirs");
    assert_eq!(read(&mut bob, (ROOM, "$2", "@a:x"), &content), Ok("again".into()));
}

#[test]
fn claims_to_one_session_are_bounded() {
    let group = GroupSession::new(SessionConfig::version_1());
    let mut bob = Client::new("@b:x", "B", NOW);
    for key in 1..100 {
        hand_over(&mut bob, &claimant(&format!("@m{key}:x"), key), ROOM, &group);
    }
    let record: Value = bob.step(NOW, |_, step| {
        step.get(Table::InboundGroupSession, ROOM, &group.session_id()).unwrap().unwrap()
    });
    assert_eq!(record["others"].as_array().unwrap().len(), 16);
}

#[test]
fn ten_thousand_devices_without_keys_do_not_cause_a_request_each_moment() {
    let mut failures = Failures::new();
    let mut now = NOW;
    for device in 0..30_000 {
        failures.fail(device, now);
    }
    assert!((0..30_000).all(|device| failures.paused_until(&device, now).is_some()));
    now = now.plus(Duration::from_secs(3600));
    for device in 30_000..40_000 {
        failures.fail(device, now);
    }
    assert!(format!("{failures:?}").matches("until").count() < 20_000, "old ones are forgotten");
}

/// Bob's list as the server shows it, answered to Alice.
fn devices_of_bob(world: &mut World) -> Vec<Device> {
    world.clients[0].step(NOW, |_, step| {
        step.scan::<Device>(Table::Device, Some("@b:x"))
            .unwrap()
            .into_iter()
            .map(|it| it.1)
            .collect()
    })
}

#[test]
fn ever_new_devices_do_not_fill_the_store_and_a_blocked_one_stays_blocked() {
    let mut world = World::new(&["@a:x", "@b:x"]);
    world.acquaint(0, 1);
    let model = devices_of_bob(&mut world).remove(0);
    let bob = model.user.clone();
    world.clients[0].step(NOW, |_, step| {
        for i in 0..3_000_u64 {
            let mut device = model.clone();
            device.device_id = format!("OLD{i:04}").as_str().into();
            device.first_seen = Timestamp(i);
            device.listing = Listing::Deleted;
            if i == 2_999 {
                device.trust = LocalTrust::Blocked;
            }
            step.put(Table::Device, bob.as_str(), device.device_id.as_str(), &device).unwrap();
        }
    });
    world.now = world.now.plus(Duration::from_secs(25 * 3600));
    world.acquaint(0, 1);
    let kept = devices_of_bob(&mut world);
    assert_eq!(kept.len(), 1_001);
    assert!(kept.iter().any(|it| it.device_id.as_str() == "OLD2999" && it.is_blocked()));
    assert!(kept.iter().any(|it| it.device_id.as_str() == "OLD0000"), "the first seen stay");
}

fn base64_text() -> impl Strategy<Value = String> {
    let alphabet = "[A-Za-z0-9+/=_-]";
    prop_oneof![
        proptest::string::string_regex(&format!("{alphabet}{{0,200}}")).unwrap(),
        proptest::string::string_regex(&format!("{alphabet}{{42,44}}")).unwrap(),
        proptest::string::string_regex(&format!("{alphabet}{{40,43}}=?=?")).unwrap(),
        proptest::string::string_regex(&format!("{alphabet}{{86,88}}")).unwrap(),
        proptest::string::string_regex(&format!("{alphabet}{{300,320}}")).unwrap(),
        any::<String>(),
        // Well formed so far: what stands inside is read.
        (prop_oneof![Just(1_u8), Just(2), Just(3)], proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(version, bytes)| {
                vodozemac::base64_encode([vec![version], bytes].concat())
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    // whatever vodozemac reads of the network's.
    #[test]
    fn no_text_of_the_network_makes_a_parser_of_keys_and_messages_panic(
        text in base64_text(), kind in 0..3_usize,
    ) {
        let _parsed = ed25519_from_base64(&text).is_some();
        let _parsed = Curve25519PublicKey::from_base64(&text).is_ok();
        let _parsed = vodozemac::Ed25519Signature::from_base64(&text).is_ok();
        let _parsed = MegolmMessage::from_base64(&text).is_ok();
        if let Ok(key) = SessionKey::from_base64(&text) {
            drop(InboundGroupSession::new(&key, SessionConfig::version_1()));
        }
        let _parsed = serde_json::from_value::<SessionKey>(json!(text)).is_ok();
        let bytes = vodozemac::base64_decode(&text).unwrap_or_else(|_| text.into_bytes());
        if let Ok(OlmMessage::PreKey(message)) = OlmMessage::from_parts(kind, &bytes) {
            drop(message.session_id());
            let mut account = vodozemac::olm::Account::new();
            let key = message.identity_key();
            let config = vodozemac::olm::SessionConfig::version_1();
            drop(account.create_inbound_session(config, key, &message));
        }
    }

    #[test]
    fn no_changed_byte_changes_what_a_message_says_or_harms_the_session(
        at in 0..400_usize, flip in 1..=255_u8,
    ) {
        let mut group = GroupSession::new(SessionConfig::version_1());
        let key = group.session_key();
        let mut inbound =
            InboundGroupSession::new(&key, SessionConfig::version_1());
        let message = group.encrypt("text");
        let mut bytes = message.to_bytes();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(bad) = MegolmMessage::from_bytes(&bytes) {
            // What is signed is the message, not its spelling: another spelling may pass.
            let read = inbound.decrypt(&bad).ok().map(|read| read.plaintext);
            prop_assert!(read.is_none_or(|read| read == b"text"));
        }
        prop_assert_eq!(inbound.decrypt(&message).unwrap().plaintext, b"text");
    }
}
