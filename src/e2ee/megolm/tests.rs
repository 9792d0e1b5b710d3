//! What becomes of room keys and withheld notices that arrive.

use serde_json::{Value, json};
use vodozemac::{
    Curve25519PublicKey,
    megolm::{GroupSession, SessionConfig},
};

use super::{
    MEGOLM_V1, Megolm, Source,
    inbound::{self, InboundSession, receive_room_key},
    ledger::{self, Place, Use},
    withheld::{self, Received},
};
use crate::{
    e2ee::{Notice, Step, core::OlmSender, lookup::Table, tests::harness::Records},
    matrix::{EventId, RoomId, UserId},
    time::Timestamp,
};

const ROOM: &str = "!room:x";

fn sender(user: &str, key: u8) -> OlmSender {
    let curve25519 = Curve25519PublicKey::from_bytes([key; 32]);
    let user = UserId::parse(user).unwrap();
    OlmSender { user, curve25519, ed25519: "ed25519".to_owned(), device: None }
}

fn room_key(session: &GroupSession) -> Value {
    json!({
        "algorithm": MEGOLM_V1,
        "room_id": ROOM,
        "session_id": session.session_id(),
        "session_key": session.session_key().to_base64(),
    })
}

/// A step over nothing that takes room keys.
struct Rig<'a> {
    megolm: Megolm,
    step: Step<'a>,
}

impl<'a> Rig<'a> {
    fn new(records: &'a Records) -> Self {
        Self { megolm: Megolm::default(), step: Step::new(records, Timestamp(1)) }
    }

    fn receive(&mut self, from: &OlmSender, content: &Value) {
        receive_room_key(&mut self.megolm, from, &content.to_string(), &mut self.step).unwrap();
    }

    /// The stored record of a session.
    fn stored(&self, room: &str, session: &GroupSession) -> Option<InboundSession> {
        let id = session.session_id();
        self.step.get(Table::InboundGroupSession, room, &id).unwrap()
    }

    fn withheld(&mut self, from: &str, content: &Value) -> Received {
        let from = UserId::parse(from).unwrap();
        withheld::receive(&from, &content.to_string(), &mut self.step).unwrap()
    }

    fn code(&self, session: &str) -> Option<String> {
        let notice = withheld::notice(&RoomId::parse(ROOM).unwrap(), session, &self.step);
        notice.unwrap().map(|notice| notice.code)
    }
}

fn with(mut content: Value, field: &str, value: Value) -> Value {
    content[field] = value;
    content
}

#[test]
fn a_room_key_is_kept_with_its_origin_and_told_of() {
    let records = Records::default();
    let mut rig = Rig::new(&records);
    let session = GroupSession::new(SessionConfig::version_1());
    let from = sender("@a:x", 1);
    rig.receive(&from, &room_key(&session));
    let stored = rig.stored(ROOM, &session).unwrap();
    assert_eq!(stored.source, Source::Olm);
    assert_eq!(stored.creator.curve25519, from.curve25519.to_base64());
    let room = RoomId::parse(ROOM).unwrap();
    let told = Notice::RoomKey { room, session_id: session.session_id() };
    assert_eq!(rig.step.take_notices(), [told]);
    rig.receive(&from, &room_key(&session));
    assert_eq!(rig.step.take_notices(), [], "the same again is no news");
}

// T-31, T-32
#[test]
fn a_room_key_that_is_not_well_formed_is_dropped() {
    let session = GroupSession::new(SessionConfig::version_1());
    let other = GroupSession::new(SessionConfig::version_1());
    let good = room_key(&session);
    let unsigned = {
        let mut key = session.session_key().to_bytes();
        let last = key.len() - 1;
        key[last] ^= 1;
        vodozemac::base64_encode(key)
    };
    for (field, value) in [
        ("session_id", json!(other.session_id())),
        ("session_key", json!(unsigned)),
        ("session_key", json!("")),
        ("session_key", json!(7)),
        ("algorithm", json!("m.olm.v1.curve25519-aes-sha2")),
        ("room_id", json!("not a room")),
        ("room_id", json!(null)),
        ("padding", json!("x".repeat(9_000))),
    ] {
        let records = Records::default();
        let mut rig = Rig::new(&records);
        rig.receive(&sender("@a:x", 1), &with(good.clone(), field, value));
        assert!(rig.stored(ROOM, &session).is_none(), "{field}");
        assert_eq!(rig.step.take_notices(), []);
    }
}

// T-33
#[test]
fn each_spelling_of_shared_history_is_read_and_only_true_means_yes() {
    for name in ["shared_history", "m.shared_history", "org.matrix.msc3061.shared_history"] {
        for (value, expected) in [
            (json!(true), true),
            (json!(false), false),
            (json!("true"), false),
            (json!(1), false),
            (json!(null), false),
            (json!({ "a": [] }), false),
        ] {
            let session = GroupSession::new(SessionConfig::version_1());
            let records = Records::default();
            let mut rig = Rig::new(&records);
            rig.receive(&sender("@a:x", 1), &with(room_key(&session), name, value.clone()));
            let stored = rig.stored(ROOM, &session).unwrap();
            assert_eq!(stored.shared_history, expected, "{name} {value}");
        }
    }
}

#[test]
fn a_session_that_comes_for_two_rooms_is_kept_for_both_each_for_itself() {
    let session = GroupSession::new(SessionConfig::version_1());
    let records = Records::default();
    let mut rig = Rig::new(&records);
    rig.receive(&sender("@a:x", 1), &room_key(&session));
    rig.receive(&sender("@m:x", 2), &with(room_key(&session), "room_id", json!("!other:x")));
    let makers = ["!other:x", ROOM].map(|room| rig.stored(room, &session).unwrap().creator);
    assert_ne!(makers[0], makers[1]);
}

#[test]
fn keys_for_rooms_we_never_saw_are_kept_up_to_a_bound_for_each_sender() {
    let records = Records::default();
    let mut rig = Rig::new(&records);
    rig.step.put(Table::Misc, "early_sessions", "@a:x", &999).unwrap();
    let sessions: Vec<_> = (0..3).map(|_| GroupSession::new(SessionConfig::version_1())).collect();
    for (session, device) in sessions[..2].iter().zip(1..) {
        rig.receive(&sender("@a:x", device), &room_key(session));
    }
    rig.receive(&sender("@b:x", 2), &room_key(&sessions[2]));
    let kept: Vec<_> = sessions.iter().map(|it| rig.stored(ROOM, it).is_some()).collect();
    assert_eq!(kept, [true, false, true]);
}

#[test]
fn keys_that_came_before_their_room_count_until_the_room_is_seen_encrypted() {
    let records = Records::default();
    let mut rig = Rig::new(&records);
    let room = RoomId::parse(ROOM).unwrap();
    for _ in 0..3 {
        rig.receive(&sender("@a:x", 1), &room_key(&GroupSession::new(SessionConfig::version_1())));
    }
    rig.step.put(Table::Misc, "early_sessions", "@a:x", &1_000).unwrap();
    inbound::room_is_known(&room, &mut rig.step).unwrap();
    let mut kept = 0;
    for _ in 0..5 {
        let session = GroupSession::new(SessionConfig::version_1());
        rig.receive(&sender("@a:x", 1), &room_key(&session));
        kept += usize::from(rig.stored(ROOM, &session).is_some());
    }
    assert_eq!(kept, 3);
}

fn notice(session: &str) -> Value {
    json!({ "algorithm": MEGOLM_V1, "code": "m.unverified", "room_id": ROOM, "session_id": session,
        "sender_key": "key" })
}

// T-34
#[test]
fn a_withheld_notice_counts_only_while_there_is_no_key() {
    let session = GroupSession::new(SessionConfig::version_1());
    let id = session.session_id();
    let records = Records::default();
    let mut rig = Rig::new(&records);
    rig.withheld("@a:x", &notice(&id));
    assert_eq!(rig.code(&id), Some("m.unverified".into()));
    rig.receive(&sender("@a:x", 1), &room_key(&session));
    assert_eq!(rig.code(&id), None);
    rig.withheld("@m:x", &notice(&id));
    assert_eq!(rig.code(&id), None);
    assert!(rig.stored(ROOM, &session).is_some());
}

#[test]
fn malformed_withheld_notices_are_ignored_and_no_olm_is_passed_on() {
    let id = GroupSession::new(SessionConfig::version_1()).session_id();
    let records = Records::default();
    let mut rig = Rig::new(&records);
    for (field, value) in [
        ("algorithm", json!("m.other")),
        ("code", json!("x".repeat(65))),
        ("code", json!(1)),
        ("room_id", json!("no room")),
        ("session_id", json!("\u{1b}[2J")),
        ("session_id", json!("A".repeat(10_000))),
    ] {
        rig.withheld("@a:x", &with(notice(&id), field, value));
        assert_eq!(rig.step.take_notices(), [], "{field}");
    }
    let no_olm = json!({ "algorithm": MEGOLM_V1, "code": "m.no_olm", "sender_key": "k" });
    assert_eq!(rig.withheld("@a:x", &no_olm), Received::NoOlm);
}

#[test]
fn nobody_fills_the_store_with_withheld_notices() {
    let records = Records::default();
    let mut rig = Rig::new(&records);
    rig.step.put(Table::Misc, "withheld_notices", "@a:x", &999).unwrap();
    let ids: Vec<_> =
        (0..3).map(|_| GroupSession::new(SessionConfig::version_1()).session_id()).collect();
    rig.withheld("@a:x", &notice(&ids[0]));
    rig.withheld("@a:x", &notice(&ids[1]));
    rig.withheld("@b:x", &notice(&ids[2]));
    let kept: Vec<_> = ids.iter().map(|id| rig.code(id).is_some()).collect();
    assert_eq!(kept, [true, false, true]);
}

#[test]
fn more_sessions_than_the_memory_holds_are_read_again_from_the_store() {
    let records = Records::default();
    let mut rig = Rig::new(&records);
    let room = RoomId::parse(ROOM).unwrap();
    let sessions: Vec<_> =
        (0..600).map(|_| GroupSession::new(SessionConfig::version_1())).collect();
    for session in &sessions {
        rig.receive(&sender("@a:x", 1), &room_key(session));
    }
    for session in &sessions {
        let found = rig.megolm.inbound(&room, &session.session_id(), &rig.step).unwrap();
        assert!(found.is_some());
    }
    assert!(format!("{:?}", rig.megolm).contains("inbound: 512"));
}

proptest::proptest! {
    //
    #[test]
    fn the_first_event_owns_its_index_whatever_comes_after(
        claims in proptest::collection::vec((0..3_u32, 0..3_usize, 0..2_u64), 1..30),
    ) {
        let records = Records::default();
        let mut step = Step::new(&records, Timestamp(1));
        let ids = ["$a", "$b", "$c"].map(|id| EventId::parse(id).unwrap());
        let mut owners = std::collections::BTreeMap::new();
        for (index, event, at) in claims {
            let place = Place { event: &ids[event], at: Timestamp(at) };
            let expected = match owners.get(&index) {
                None => Use::First,
                Some(owner) if *owner == (event, at) => Use::Repeated,
                Some(_) => Use::Taken,
            };
            owners.entry(index).or_insert((event, at));
            let found = ledger::claim("session", index, place, &mut step).unwrap();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn session_ids_are_43_characters_of_base64() {
    let id = GroupSession::new(SessionConfig::version_1()).session_id();
    assert!(inbound::is_session_id(&id));
    for bad in ["", "short", &format!("{id}="), &format!("-{}", "A".repeat(42)), &"é".repeat(43)] {
        assert!(!inbound::is_session_id(bad), "{bad}");
    }
}
