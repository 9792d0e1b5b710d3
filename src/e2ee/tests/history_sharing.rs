//! History handed to whoever is invited: to whom it goes, what is in it, from whom it is taken.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use super::harness::World;
use crate::{
    e2ee::{
        Bundled, EncryptedFile, Encryptor, FileKey, HistoryImport, HistoryVisibility, Machine,
        Notice,
        lookup::Table,
        megolm::{
            Source,
            inbound::{Creator, InboundSession, import},
        },
        trust::SenderData,
    },
    matrix::{MxcUri, OwnedRoomId, OwnedUserId},
    time::Timestamp,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn room() -> OwnedRoomId {
    "!room:x".try_into().unwrap()
}

fn user(world: &World, client: usize) -> OwnedUserId {
    world.clients[client].user.clone()
}

/// Alice and Bob, each signed by an identity unless it is left out, in an encrypted room of hers.
fn world(signed: &[usize]) -> World {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    for client in signed {
        world.at(*client, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
    }
    world.acquaint(ALICE, BOB);
    world.acquaint(BOB, ALICE);
    for client in [ALICE, BOB] {
        world.has_encrypted(client, &room());
    }
    world
}

/// Gives a client a session of the room.
fn give(world: &mut World, client: usize, source: Source, shared_history: bool) -> GroupSession {
    let group = GroupSession::new(SessionConfig::version_1());
    let record = InboundSession {
        session: InboundGroupSession::new(&group.session_key(), SessionConfig::version_1()),
        creator: Creator { curve25519: "c".repeat(43), ed25519: "e".repeat(43) },
        source,
        sender: SenderData::Unknown { claimed: None },
        others: Vec::new(),
        shared_history,
        shared_by: None,
        chain: Vec::new(),
    };
    world.at(client, |machine, step| {
        import(&mut machine.megolm, &room(), record, step).unwrap();
    });
    group
}

fn record(world: &mut World, client: usize, id: &str) -> Option<InboundSession> {
    world.at(client, |_, step| step.get(Table::InboundGroupSession, room().as_str(), id).unwrap())
}

fn bundle(world: &mut World, visibility: HistoryVisibility) -> Bundled {
    let bob = user(world, BOB);
    world.at(ALICE, |machine, step| {
        machine.history_bundle((&room(), &bob), visibility, step).unwrap()
    })
}

fn shared_bundle(world: &mut World) -> Value {
    match bundle(world, HistoryVisibility::Shared) {
        Bundled::Bundle(bundle) => serde_json::from_slice(bundle.json.expose()).unwrap(),
        other @ (Bundled::Nothing | Bundled::Distrusted) => panic!("{other:?}"),
    }
}

fn file() -> EncryptedFile {
    let url = MxcUri::parse("mxc://x/bundle").unwrap();
    Encryptor::new(FileKey::generate().unwrap()).finish().at(url)
}

/// Alice tells Bob where the history lies; to how many devices.
fn send(world: &mut World) -> Option<usize> {
    let bob = user(world, BOB);
    world.at(ALICE, |machine, step| {
        machine.send_history((&room(), &bob), file(), step).unwrap();
    });
    world.settle();
    let notices = world.clients[ALICE].take_notices();
    notices.into_iter().find_map(|notice| {
        let Notice::HistorySent { devices, .. } = notice else { return None };
        Some(devices)
    })
}

fn accept(world: &mut World, inviter: &str) {
    let inviter: OwnedUserId = inviter.try_into().unwrap();
    world.at(BOB, |machine, step| {
        machine.invite_accepted(&room(), &inviter, step).unwrap();
    });
}

/// Whether Bob was told of an offer that may be taken.
fn is_offered(world: &mut World) -> bool {
    let notices = world.clients[BOB].take_notices();
    notices.iter().any(|notice| matches!(notice, Notice::HistoryOffered { .. }))
}

fn take(world: &mut World, bundle: &Value) -> HistoryImport {
    let alice = user(world, ALICE);
    let bytes = serde_json::to_vec(bundle).unwrap();
    world.at(BOB, |machine, step| machine.import_history((&room(), &alice), &bytes, step).unwrap())
}

#[test]
fn history_reaches_whoever_was_invited_and_says_who_shared_it() {
    let mut world = world(&[ALICE, BOB]);
    let id = give(&mut world, ALICE, Source::Olm, true).session_id();
    let bundle = shared_bundle(&mut world);
    assert_eq!(send(&mut world), Some(1));
    assert!(!is_offered(&mut world), "not before the invite is accepted");
    accept(&mut world, "@alice:x");
    assert!(is_offered(&mut world));
    assert_eq!(take(&mut world, &bundle).improved, 1);
    let got = record(&mut world, BOB, &id).unwrap();
    assert_eq!((got.source, got.shared_history), (Source::Bundle, true));
    assert_eq!(got.shared_by.as_deref(), Some(&*user(&world, ALICE)));
    // It is taken once.
    world.pass(Duration::from_secs(60));
    world.acquaint(BOB, ALICE);
    assert!(!is_offered(&mut world));
}

// T-69
#[test]
fn a_key_that_its_maker_keeps_back_is_never_handed_on() {
    let mut world = world(&[ALICE, BOB]);
    let kept = give(&mut world, ALICE, Source::Own, false).session_id();
    assert!(matches!(bundle(&mut world, HistoryVisibility::Shared), Bundled::Nothing));
    let shared = give(&mut world, ALICE, Source::Own, true).session_id();
    let json = shared_bundle(&mut world);
    let ids = |list: &str| -> Vec<String> {
        let list = json[list].as_array().unwrap();
        list.iter().map(|it| it["session_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((ids("room_keys"), ids("withheld")), (vec![shared], vec![kept]));
    assert_eq!(json["withheld"][0]["code"], "m.history_not_shared");
    for visibility in [HistoryVisibility::Joined, HistoryVisibility::Invited] {
        assert!(matches!(bundle(&mut world, visibility), Bundled::Nothing));
    }
}

//
#[test]
fn a_device_that_its_owner_did_not_sign_gets_nothing() {
    let mut world = world(&[ALICE]);
    give(&mut world, ALICE, Source::Own, true);
    assert_eq!(send(&mut world), Some(0));
    accept(&mut world, "@alice:x");
    assert!(!is_offered(&mut world));
}

#[test]
fn a_second_device_without_signature_is_left_out() {
    let mut world = world(&[ALICE, BOB]);
    world.log_in("@bob:x", "EVIL");
    world.settle();
    let bob = user(&world, BOB);
    world.server.announcements.push(bob);
    world.settle();
    assert_eq!(send(&mut world), Some(1));
}

// T-67
#[test]
fn history_of_somebody_who_did_not_invite_us_is_not_taken() {
    let mut world = world(&[ALICE, BOB]);
    assert_eq!(send(&mut world), Some(1));
    accept(&mut world, "@mallory:x");
    assert!(!is_offered(&mut world));
}

#[test]
fn history_is_taken_for_a_day_and_not_later() {
    let mut world = world(&[ALICE, BOB]);
    accept(&mut world, "@alice:x");
    world.pass(DAY + Duration::from_secs(1));
    assert_eq!(send(&mut world), Some(1));
    assert!(!is_offered(&mut world));
}

#[test]
fn a_clock_that_is_set_back_a_little_loses_no_history() {
    let mut world = world(&[ALICE, BOB]);
    accept(&mut world, "@alice:x");
    world.now = Timestamp(world.now.0 - 1_000);
    assert_eq!(send(&mut world), Some(1));
    assert!(is_offered(&mut world));
}

#[test]
fn an_offer_of_a_device_that_is_not_signed_is_not_taken() {
    let mut world = world(&[BOB]);
    assert_eq!(send(&mut world), Some(1), "what she sends is hers to judge");
    accept(&mut world, "@alice:x");
    assert!(!is_offered(&mut world));
}

#[test]
fn an_offer_outlives_a_restart() {
    let mut world = world(&[ALICE, BOB]);
    assert_eq!(send(&mut world), Some(1));
    accept(&mut world, "@alice:x");
    is_offered(&mut world);
    let now = world.now;
    world.clients[BOB].restart(now);
    world.at(BOB, |machine, step| machine.tick(step).unwrap());
    assert!(is_offered(&mut world));
}

// T-65
#[test]
fn keys_of_other_rooms_are_refused() {
    let mut world = world(&[ALICE, BOB]);
    let id = give(&mut world, ALICE, Source::Own, true).session_id();
    let mut json = shared_bundle(&mut world);
    json["room_keys"][0]["room_id"] = "!other:x".into();
    let import = take(&mut world, &json);
    assert_eq!((import.improved, import.refused), (0, 1));
    assert!(record(&mut world, BOB, &id).is_none());
}

// T-66
#[test]
fn of_a_session_in_both_lists_the_key_counts() {
    let mut world = world(&[ALICE, BOB]);
    let id = give(&mut world, ALICE, Source::Own, true).session_id();
    let mut json = shared_bundle(&mut world);
    let withheld = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "code": "m.history_not_shared",
        "room_id": room(), "session_id": id,
    });
    json["withheld"] = json!([withheld]);
    assert_eq!(take(&mut world, &json).improved, 1);
    let notice: Option<Value> =
        world.at(BOB, |_, step| step.get(Table::Withheld, room().as_str(), &id).unwrap());
    assert_eq!(notice, None);
}

#[test]
fn what_an_olm_message_proved_stays_proved() {
    let mut world = world(&[ALICE, BOB]);
    let group = give(&mut world, ALICE, Source::Own, true);
    let json = shared_bundle(&mut world);
    let own = InboundSession {
        session: InboundGroupSession::new(&group.session_key(), SessionConfig::version_1()),
        creator: Creator { curve25519: "proved".to_owned(), ed25519: "proved".to_owned() },
        source: Source::Olm,
        sender: SenderData::Unknown { claimed: None },
        others: Vec::new(),
        shared_history: false,
        shared_by: None,
        chain: Vec::new(),
    };
    world.at(BOB, |machine, step| {
        import(&mut machine.megolm, &room(), own, step).unwrap();
    });
    assert_eq!(take(&mut world, &json).improved, 0);
    let kept = record(&mut world, BOB, &group.session_id()).unwrap();
    assert_eq!((kept.source, kept.creator.curve25519.as_str()), (Source::Olm, "proved"));
    assert_eq!((kept.shared_history, kept.shared_by), (false, None));
}

//
#[test]
fn a_bomb_of_entries_loses_itself_and_a_malformed_one_only_itself() {
    let mut world = world(&[ALICE, BOB]);
    give(&mut world, ALICE, Source::Own, true);
    let good = shared_bundle(&mut world)["room_keys"][0].clone();
    let mut keys =
        vec![json!({}), json!(null), json!({ "session_key": "x".repeat(100_000) }), good];
    assert_eq!(take(&mut world, &json!({ "room_keys": keys })).improved, 1);
    keys = vec![json!({}); 30_000];
    assert_eq!(take(&mut world, &json!({ "room_keys": keys })).refused, 20_000);
    for nothing in [json!(null), json!([]), json!({ "room_keys": 1 }), json!({})] {
        assert_eq!(take(&mut world, &nothing), HistoryImport::default());
    }
}
