//! Room keys asked of our own devices: who gets them, and what is dropped.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::megolm::{ExportedSessionKey, GroupSession, InboundGroupSession, SessionConfig};

use super::{forger::Forger, harness::World, secret_sharing::two_signed};
use crate::{
    e2ee::{
        Decryption, KeyForwarding, KeySource, Machine, Shield, ShieldReason, Table,
        megolm::inbound::InboundSession,
    },
    matrix::{Event, OwnedRoomId, RoomId},
};

/// Alice's first device has the key, her second lacks it.
const HAS: usize = 0;
const ASKS: usize = 1;
const CLAIMED: &str = "claimed";
const OWN: KeyForwarding = KeyForwarding::OwnDevices;

fn room() -> OwnedRoomId {
    RoomId::parse("!room:x").unwrap()
}

/// A session of somebody's.
struct Talk {
    group: GroupSession,
    /// The key from the first message on.
    key: ExportedSessionKey,
}

impl Talk {
    fn new() -> Self {
        let group = GroupSession::new(SessionConfig::version_1());
        let mut copy = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
        Self { key: copy.export_at(0).unwrap(), group }
    }

    fn id(&self) -> String {
        self.group.session_id()
    }

    /// The key from this message on.
    fn from(&self, index: u32) -> ExportedSessionKey {
        let mut session = InboundGroupSession::import(&self.key, SessionConfig::version_1());
        session.export_at(index).unwrap()
    }

    /// Another ratchet under the same id.
    fn forged(&self) -> ExportedSessionKey {
        let mut bytes = self.key.to_bytes();
        bytes[60] ^= 1;
        ExportedSessionKey::from_bytes(&bytes).unwrap()
    }

    /// The next message, as an event.
    fn say(&mut self, id: &str) -> Event {
        let plain =
            json!({ "type": "m.room.message", "room_id": room(), "content": { "body": "x" } });
        let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "session_id": self.id(),
            "ciphertext": self.group.encrypt(plain.to_string()).to_base64() });
        serde_json::from_value(json!({ "type": "m.room.encrypted", "event_id": id,
            "sender": "@bob:x", "origin_server_ts": 1, "content": content }))
        .unwrap()
    }

    /// The content of a forward of `key`.
    fn forward(&self, key: &ExportedSessionKey) -> Value {
        json!({
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": self.id(),
            "session_key": key, "sender_key": CLAIMED, "sender_claimed_ed25519_key": CLAIMED,
            "forwarding_curve25519_key_chain": [],
        })
    }

    /// Gives the key to a client, by a key file.
    fn give(&self, client: usize, key: &ExportedSessionKey, world: &mut World) {
        let key = json!({
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "sender_key": CLAIMED,
            "session_id": self.id(), "sender_claimed_keys": { "ed25519": CLAIMED },
            "forwarding_curve25519_key_chain": [], "session_key": key,
        });
        let text = key.to_string();
        world.at(client, |it, step| it.import_sessions([text.as_str()].into_iter(), step)).unwrap();
    }
}

/// Two signed devices of one account that forward keys; one has a session.
fn world() -> (World, Talk) {
    let mut world = two_signed();
    let talk = Talk::new();
    set(&mut world, HAS, OWN);
    set(&mut world, ASKS, OWN);
    talk.give(HAS, &talk.key, &mut world);
    world.acquaint(HAS, ASKS);
    world.acquaint(ASKS, HAS);
    (world, talk)
}

fn set(world: &mut World, client: usize, policy: KeyForwarding) {
    world.at(client, |it, step| it.set_key_forwarding(policy, step)).unwrap();
}

/// An event that needs the session is on screen.
fn look(world: &mut World, id: &str) {
    world.at(ASKS, |it, step| it.request_room_key(&room(), id, step)).unwrap();
}

fn held(world: &World, id: &str) -> Option<InboundSession> {
    let records = &world.clients[ASKS].records.0;
    let found = records.iter().find(|((table, key), _)| {
        *table == Table::InboundGroupSession && key.0 == room().as_str() && key.1 == id
    });
    found.map(|(_, value)| serde_json::from_slice(value).unwrap())
}

/// How many requests a client sent whose path has this in it.
fn sent(world: &World, client: usize, kind: &str) -> usize {
    let name = world.clients[client].name();
    let served = world.server.served.iter();
    served.filter(|(from, it)| *from == name && it.path.contains(kind)).count()
}

/// The actions of the requests that a client sent.
fn actions(world: &World, client: usize) -> Vec<String> {
    let name = world.clients[client].name();
    let asked = world.server.served.iter();
    let asked = asked.filter(|(from, it)| *from == name && it.path.contains("m.room_key_request"));
    let content = asked.flat_map(|(_, it)| {
        let body: Value = serde_json::from_str(it.body.as_str()).unwrap();
        let devices = body["messages"]["@alice:x"].as_object().unwrap().clone();
        devices.into_iter().map(|(_, content)| content["action"].as_str().unwrap().to_owned())
    });
    content.collect()
}

/// A request for a session in the name of a device, from this user.
fn ask_as(world: &mut World, user: usize, device: &str, (request, id): (&str, &str)) {
    let content = json!({ "action": "request", "request_id": request,
        "requesting_device_id": device, "body": { "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room(), "session_id": id } });
    let (to, user) = (world.clients[HAS].name(), world.clients[user].user.clone());
    world.server.put_in_inbox(&to, "m.room_key_request", &user, content);
}

#[test]
fn a_device_that_is_signed_gets_the_key_it_asks_for_once() {
    let (mut world, talk) = world();
    let id = talk.id();
    look(&mut world, &id);
    look(&mut world, &id);
    world.settle();
    assert_eq!(actions(&world, ASKS), ["request"], "it is asked for once");
    let session = held(&world, &id).expect("the key came");
    assert_eq!(session.source, KeySource::Forwarded);
    assert_eq!(session.creator.curve25519, CLAIMED);
    let forwarder = world.clients[HAS].machine.core.account.curve25519().to_base64();
    assert_eq!(session.chain, [forwarder], "who forwarded it is known");

    let device = world.clients[ASKS].device.to_string();
    let before = sent(&world, HAS, "m.room.encrypted");
    ask_as(&mut world, ASKS, &device, ("again", &id));
    world.settle();
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before, "not so soon again");
    world.pass(Duration::from_secs(2 * 60 * 60));
    ask_as(&mut world, ASKS, &device, ("later", &id));
    world.settle();
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before + 1);
}

// T-64: who wrote it is a claim of the other device, so the mark is grey.
#[test]
fn what_a_forwarded_key_opens_is_marked_as_not_proved() {
    let (mut world, mut talk) = world();
    let event = talk.say("$1");
    look(&mut world, &talk.id());
    world.settle();
    let read = world.at(ASKS, |it, step| it.decrypt_event(&room(), &event, step));
    let Ok(Decryption::Decrypted(read)) = read else { panic!("{read:?}") };
    assert_eq!(read.shield, Shield::Grey(ShieldReason::AuthenticityNotGuaranteed));
    let story = world.at(ASKS, |it, step| it.key_story(&room(), &event, step)).unwrap();
    assert_eq!(story.held.unwrap().forwarded_by.as_ref(), Some(&world.clients[HAS].device));
    let asked = story.asked.unwrap();
    assert_eq!((asked.devices, asked.open.len()), (vec![world.clients[HAS].device.clone()], 0));
}

#[test]
fn nothing_is_asked_and_nothing_given_until_it_is_turned_on() {
    for off in [HAS, ASKS] {
        let (mut world, talk) = world();
        set(&mut world, off, KeyForwarding::default());
        let now = world.now;
        world.clients[off].restart(now);
        look(&mut world, &talk.id());
        world.settle();
        assert!(held(&world, &talk.id()).is_none());
        assert_eq!(actions(&world, ASKS).len(), usize::from(off == HAS));
    }
}

// T-64: off, not even a key that was asked for is taken.
#[test]
fn turned_off_what_was_asked_for_is_taken_back() {
    let (mut world, talk) = world();
    look(&mut world, &talk.id());
    set(&mut world, ASKS, KeyForwarding::Off);
    while world.send_one(ASKS) {}
    assert_eq!(actions(&world, ASKS), ["request", "request_cancellation"]);
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &talk.forward(&talk.key));
    world.settle();
    assert!(held(&world, &talk.id()).is_none());
    let status = world.at(ASKS, |it, step| it.status(step)).unwrap();
    assert_eq!((status.key_requests.asked, status.key_requests.open), (0, 0));
}

#[test]
fn once_all_can_be_read_nobody_need_send_the_key_and_it_is_asked_for_no_more() {
    let (mut world, talk) = world();
    set(&mut world, HAS, KeyForwarding::Off);
    look(&mut world, &talk.id());
    world.settle();
    talk.give(ASKS, &talk.key, &mut world);
    for _ in 0..2 {
        world.at(ASKS, |it, step| it.settle_room_key(&room(), &talk.id(), step)).unwrap();
    }
    look(&mut world, &talk.id());
    world.settle();
    assert_eq!(actions(&world, ASKS), ["request", "request_cancellation"]);
}

/// A device of ours that is not signed, and another user who names one that is.
#[test]
fn whoever_may_not_have_a_key_gets_none() {
    let (mut world, talk) = world();
    let third = world.log_in("@alice:x", "THIRD");
    let stranger = world.log_in("@mallory:x", "M");
    world.settle();
    let before = sent(&world, HAS, "m.room.encrypted");
    let signed = world.clients[ASKS].device.to_string();
    for (from, device) in [(third, "THIRD"), (stranger, "M"), (stranger, signed.as_str())] {
        ask_as(&mut world, from, device, ("r", &talk.id()));
        world.settle();
    }
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before);
}

fn sign(world: &mut World, client: usize) {
    let device = world.clients[client].device.clone();
    let ed25519 = world.clients[client].machine.core.account.ed25519().to_base64();
    world.at(HAS, |it, step| it.sign_own_device(&device, &ed25519, step)).unwrap();
    world.settle();
}

#[test]
fn a_device_that_asks_before_it_is_signed_is_served_when_it_is_also_after_a_restart() {
    let (mut world, talk) = world();
    let third = world.log_in("@alice:x", "THIRD");
    world.settle();
    for request in ["first", "second", "over"] {
        ask_as(&mut world, third, "THIRD", (request, &talk.id()));
    }
    let over = json!({ "action": "request_cancellation", "request_id": "over",
        "requesting_device_id": "THIRD" });
    let (to, user) = (world.clients[HAS].name(), world.clients[HAS].user.clone());
    world.server.put_in_inbox(&to, "m.room_key_request", &user, over);
    world.settle();
    let before = sent(&world, HAS, "m.room.encrypted");
    let now = world.now;
    world.clients[HAS].restart(now);
    sign(&mut world, third);
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before + 1, "once, whatever it asks");

    let fourth = world.log_in("@alice:x", "FOURTH");
    world.settle();
    ask_as(&mut world, fourth, "FOURTH", ("late", &talk.id()));
    world.settle();
    world.pass(Duration::from_secs(11 * 60));
    sign(&mut world, fourth);
    assert_eq!(sent(&world, HAS, "m.room.encrypted"), before + 1, "not after ten minutes");
}

#[test]
fn devices_that_are_made_up_do_not_crowd_out_those_that_are_there() {
    let (mut world, talk) = world();
    let third = world.log_in("@alice:x", "THIRD");
    world.settle();
    for number in 0..100 {
        let device = format!("MADEUP{}", number % 40);
        ask_as(&mut world, third, &device, (&format!("r{number}"), &talk.id()));
    }
    for number in 0..400 {
        ask_as(&mut world, third, "THIRD", (&format!("r{number}"), &format!("s{number}")));
    }
    look(&mut world, &talk.id());
    world.settle();
    assert!(held(&world, &talk.id()).is_some());
    let records = &world.clients[HAS].records.0;
    let waiting = records.iter().find(|((_, key), _)| key.0 == "room_keys_wanted").unwrap();
    let waiting: Value = serde_json::from_slice(waiting.1).unwrap();
    let waiting = waiting.as_object().unwrap();
    assert_eq!(waiting["THIRD"].as_array().unwrap().len(), 256);
    assert!(waiting.len() <= 16, "{}", waiting.len());
}

#[test]
fn a_device_that_is_signed_later_is_asked_too() {
    let (mut world, talk) = world();
    set(&mut world, HAS, KeyForwarding::Off);
    look(&mut world, &talk.id());
    let third = world.log_in("@alice:x", "THIRD");
    world.settle();
    set(&mut world, third, OWN);
    look(&mut world, &talk.id());
    world.settle();
    assert_eq!(actions(&world, ASKS).len(), 1, "not one that is not signed");
    sign(&mut world, third);
    world.acquaint(ASKS, third);
    look(&mut world, &talk.id());
    look(&mut world, &talk.id());
    world.settle();
    assert_eq!(actions(&world, ASKS).len(), 2);
}

// T-64, A-6: unsolicited, of another user, of an unverified device of ours, another session than
// it says, in clear, again.
#[test]
fn a_forwarded_key_is_taken_only_of_a_signed_device_that_was_asked_and_once() {
    let (mut world, talk) = world();
    let (id, content) = (talk.id(), talk.forward(&talk.key));
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_none(), "nobody asked");

    look(&mut world, &id);
    world.clients[ASKS].outbox.clear();
    let third = world.log_in("@alice:x", "THIRD");
    let stranger = world.log_in("@mallory:x", "M");
    world.settle();
    for from in [third, stranger] {
        world.acquaint(from, ASKS);
        world.acquaint(ASKS, from);
        world.send_olm(from, ASKS, "m.forwarded_room_key", &content);
        world.settle();
        assert!(held(&world, &id).is_none(), "of whom nobody asked");
    }
    sign(&mut world, third);
    world.acquaint(ASKS, third);
    world.send_olm(third, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_none(), "signed, and not asked");
    let forger = Forger::new("@forger:x");
    let mut session_of = forger.session(&mut world, ASKS);
    let mut inside = forger.inside(&world, ASKS);
    inside["type"] = json!("m.forwarded_room_key");
    inside["content"] = content.clone();
    let sealed = forger.seal(&world, ASKS, &mut session_of, &inside);
    let name = world.clients[ASKS].name();
    world.server.put_in_inbox(&name, "m.room.encrypted", &forger.user, sealed);
    world.settle();
    assert!(held(&world, &id).is_none());

    let mut other = Talk::new().forward(&Talk::new().key);
    other["session_id"] = json!(id);
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &other);
    world.settle();
    assert!(held(&world, &id).is_none(), "another session than it says");

    let mut other = content.clone();
    other["algorithm"] = json!("m.megolm.v2.aes-sha2");
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &other);
    world.settle();
    assert!(held(&world, &id).is_none(), "another algorithm");

    let user = world.clients[HAS].user.clone();
    world.server.put_in_inbox(&name, "m.forwarded_room_key", &user, content.clone());
    world.settle();
    assert!(held(&world, &id).is_none(), "in clear");

    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_some(), "of whom we asked");

    world.clients[ASKS].records.0.retain(|(table, _), _| *table != Table::InboundGroupSession);
    let now = world.now;
    world.clients[ASKS].restart(now);
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    assert!(held(&world, &id).is_none(), "a device answers once");
}

// A-6: the device that was asked must still be one of ours that we trust when its answer comes.
#[test]
fn a_forwarded_key_of_a_device_that_was_blocked_since_is_not_taken() {
    let (mut world, talk) = world();
    look(&mut world, &talk.id());
    world.clients[ASKS].outbox.clear();
    let (user, device) = world.clients[HAS].name();
    world.at(ASKS, |it, step| it.block_device(&user, &device, step)).unwrap();
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &talk.forward(&talk.key));
    world.settle();
    assert!(held(&world, &talk.id()).is_none());
}

/// A session that its maker sent over Olm, from its second message on.
fn proved(world: &mut World, talk: &mut Talk) {
    talk.say("$0");
    let maker = world.log_in("@bob:x", "BOB");
    world.settle();
    world.acquaint(maker, ASKS);
    world.acquaint(ASKS, maker);
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(),
        "session_id": talk.id(), "session_key": talk.group.session_key() });
    world.send_olm(maker, ASKS, "m.room_key", &content);
    world.settle();
    assert_eq!(held(world, &talk.id()).unwrap().source, KeySource::Olm);
}

// A-25, A-26: what one of our devices says does not outweigh what the maker said.
#[test]
fn a_forwarded_key_extends_a_proved_one_and_replaces_none() {
    for forged in [true, false] {
        let (mut world, mut talk) = world();
        proved(&mut world, &mut talk);
        look(&mut world, &talk.id());
        world.clients[ASKS].outbox.clear();
        let key = if forged { talk.forged() } else { talk.from(0) };
        world.send_olm(HAS, ASKS, "m.forwarded_room_key", &talk.forward(&key));
        world.settle();
        let session = held(&world, &talk.id()).unwrap();
        assert_eq!(session.source, KeySource::Olm);
        assert_ne!(session.creator.curve25519, CLAIMED);
        assert!(session.chain.is_empty());
        let first = session.session.first_known_index();
        assert_eq!(first, u32::from(forged), "only one that belongs to it reaches back");
        let event = talk.say("$2");
        let read = world.at(ASKS, |it, step| it.decrypt_event(&room(), &event, step));
        assert!(matches!(read, Ok(Decryption::Decrypted(_))), "{read:?}");
    }
}

// T-64: each who forwards is appended, and nobody makes the chain longer than that.
#[test]
fn a_chain_of_forwards_is_kept_and_bounded() {
    let (mut world, talk) = world();
    look(&mut world, &talk.id());
    world.clients[ASKS].outbox.clear();
    let mut content = talk.forward(&talk.key);
    content["forwarding_curve25519_key_chain"] =
        (0..40).map(|number| format!("earlier {number}")).collect();
    world.send_olm(HAS, ASKS, "m.forwarded_room_key", &content);
    world.settle();
    let chain = held(&world, &talk.id()).unwrap().chain;
    let forwarder = world.clients[HAS].machine.core.account.curve25519().to_base64();
    assert_eq!((chain.len(), chain[0].as_str()), (16, "earlier 0"));
    assert_eq!(chain.last(), Some(&forwarder));
    // It goes with the key wherever that goes.
    let export = |it: &mut Machine, step: &mut crate::e2ee::Step<'_>| {
        it.export_sessions(None, step).unwrap().0.remove(0)
    };
    let exported = world.at(ASKS, export);
    let exported: Value = serde_json::from_str(exported.expose()).unwrap();
    assert_eq!(exported["forwarding_curve25519_key_chain"], json!(chain));
}
