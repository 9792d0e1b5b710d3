//! Olm messages between machines: opened, checked, mended.

use std::time::Duration;

use serde_json::{Value, json, value::to_raw_value};
use vodozemac::{
    Curve25519PublicKey, Ed25519SecretKey,
    olm::{Account, OlmMessage, Session, SessionConfig},
};

use super::harness::{Client, World};
use crate::{
    e2ee::{
        OutgoingRequest, RequestKind, Step,
        core::{Dropped, OlmChannel},
        lookup::Table,
        olm::{OlmEvent, Opened, Unproved},
    },
    matrix::{CanonicalText, CanonicalValue, OwnedUserId, ToDeviceEvent, UserId, sign},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Takes the oldest event of an inbox without showing it to the machine.
fn take(world: &mut World, client: usize) -> ToDeviceEvent {
    let name = world.clients[client].name();
    let (kind, sender, content) =
        world.server.kept.get_mut(&name).unwrap().inbox.pop_front().unwrap();
    ToDeviceEvent { kind, sender, content: to_raw_value(&content).unwrap() }
}

fn open(world: &mut World, client: usize, event: &ToDeviceEvent) -> Opened {
    let now = world.now;
    world.clients[client].step(now, |machine, step| machine.core.open_olm(event, step)).unwrap()
}

fn opened(world: &mut World, client: usize, event: &ToDeviceEvent) -> Option<OlmEvent> {
    match open(world, client, event) {
        Opened::Event(event) => Some(*event),
        Opened::NotForUs | Opened::Replayed | Opened::Wedged(_) | Opened::Unproved(_) => None,
    }
}

fn claims(world: &World) -> usize {
    world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysClaim).count()
}

fn claimed_devices(world: &World) -> usize {
    let claims = world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysClaim);
    let devices = |(_, request): &(_, OutgoingRequest)| {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let users = body["one_time_keys"].as_object().unwrap().values();
        users.map(|devices| devices.as_object().unwrap().len()).sum::<usize>()
    };
    claims.map(devices).sum()
}

/// Alice knows Bob's device and the other way around.
fn couple() -> World {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.acquaint(0, 1);
    world.acquaint(1, 0);
    world
}

fn channel(world: &mut World, from: usize, to: usize) -> OlmChannel {
    let (user, id) = world.clients[to].name();
    let now = world.now;
    world.clients[from]
        .step(now, |machine, step| {
            let device = machine.core.find_device(&user, &id, step)?.unwrap();
            machine.core.ensure_sessions(&[device], step)
        })
        .unwrap()[0]
}

/// Somebody with keys of their own who writes whatever they like.
struct Forger {
    user: OwnedUserId,
    device: String,
    olm: Account,
}

impl Forger {
    fn new(user: &str) -> Self {
        let user = OwnedUserId::try_from(user).unwrap();
        Self { user, device: "FORGED".to_owned(), olm: Account::new() }
    }

    fn device_keys(&self, change: impl FnOnce(&mut Value)) -> Value {
        let (id, keys) = (&self.device, self.olm.identity_keys());
        let mut object = json!({
            "user_id": self.user,
            "device_id": id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("curve25519:{id}"): keys.curve25519.to_base64(),
                format!("ed25519:{id}"): keys.ed25519.to_base64(),
            },
        });
        change(&mut object);
        let mut object = CanonicalValue::parse_object(&object.to_string()).unwrap();
        sign(&mut object, &self.user, &format!("ed25519:{id}"), |text| self.olm.sign(text));
        serde_json::from_str(&CanonicalText(&object).to_string()).unwrap()
    }

    /// A plaintext that is right in every part.
    fn inside(&self, world: &World, to: usize) -> Value {
        let account = &world.clients[to].machine.core.account;
        json!({
            "type": "m.dummy",
            "content": {},
            "sender": self.user,
            "recipient": world.clients[to].user,
            "recipient_keys": { "ed25519": account.ed25519().to_base64() },
            "keys": { "ed25519": self.olm.ed25519_key().to_base64() },
            "sender_device_keys": self.device_keys(|_| {}),
        })
    }

    fn session(&self, world: &mut World, to: usize) -> Session {
        let name = world.clients[to].name();
        let (_, key) = world.server.kept.get_mut(&name).unwrap().one_time_keys.pop_front().unwrap();
        let key = Curve25519PublicKey::from_base64(key["key"].as_str().unwrap()).unwrap();
        let theirs = world.clients[to].machine.core.account.curve25519();
        self.olm.create_outbound_session(SessionConfig::version_1(), theirs, key).unwrap()
    }

    fn seal(&self, world: &World, to: usize, session: &mut Session, inside: &Value) -> Value {
        let message = session.encrypt(inside.to_string()).unwrap();
        self.envelope(world, to, &message)
    }

    fn envelope(&self, world: &World, to: usize, message: &OlmMessage) -> Value {
        let theirs = world.clients[to].machine.core.account.curve25519().to_base64();
        let (kind, body) = message.to_parts();
        json!({
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": self.olm.curve25519_key().to_base64(),
            "ciphertext": { theirs: { "type": kind, "body": vodozemac::base64_encode(body) } },
        })
    }
}

fn event(sender: &UserId, content: &Value) -> ToDeviceEvent {
    ToDeviceEvent {
        kind: "m.room.encrypted".to_owned(),
        sender: sender.to_owned(),
        content: to_raw_value(content).unwrap(),
    }
}

/// What a message with this inside comes to, said to be from the forger.
fn verdict(forger: &Forger, change: impl FnOnce(&mut Value)) -> Result<String, Unproved> {
    let mut world = World::new(&["@alice:x"]);
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    change(&mut inside);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    match open(&mut world, 0, &event(&forger.user, &sealed)) {
        Opened::Event(event) => Ok(event.kind),
        Opened::Unproved(why) => Err(why),
        Opened::NotForUs | Opened::Replayed | Opened::Wedged(_) => panic!("not readable at all"),
    }
}

#[test]
fn a_message_arrives_with_its_sender_proved_and_answers_come_back() {
    let mut world = couple();
    world.send_olm(0, 1, "m.room_key", &json!({ "b": 1, "a": "ü" }));
    let first = take(&mut world, 1);
    let content: Value = serde_json::from_str(first.content.get()).unwrap();
    assert_eq!(content["algorithm"], "m.olm.v1.curve25519-aes-sha2");
    assert!(content["org.matrix.msgid"].is_string());
    let got = opened(&mut world, 1, &first).unwrap();
    assert_eq!((got.kind.as_str(), got.content.as_str()), ("m.room_key", r#"{"a":"ü","b":1}"#));
    assert_eq!(got.sender.user, "@alice:x");
    assert_eq!(got.sender.device.unwrap().device_id, "DEVICE0");
    for (from, to) in [(1, 0), (0, 1), (1, 0)] {
        world.send_olm(from, to, "m.dummy", &json!({}));
        let next = take(&mut world, to);
        assert!(opened(&mut world, to, &next).is_some());
        assert!(next.content.get().contains("\"type\":1"));
    }
    assert_eq!(claims(&world), 1);
}

/// T-17 to T-25: one case for each check.
#[test]
fn an_inside_that_is_wrong_in_any_part_is_not_believed() {
    let forger = Forger::new("@mallory:x");
    let other = Forger::new("@victim:x");
    assert_eq!(verdict(&forger, |_| {}), Ok("m.dummy".to_owned()));
    let refused = |change: &dyn Fn(&mut Value)| verdict(&forger, change).unwrap_err();
    assert_eq!(refused(&|it| it["sender"] = json!("@victim:x")), Unproved::OtherSender);
    assert_eq!(refused(&|it| it["recipient"] = json!("@victim:x")), Unproved::OtherRecipient);
    let key = json!({ "ed25519": other.olm.ed25519_key().to_base64() });
    assert_eq!(refused(&|it| it["recipient_keys"] = key.clone()), Unproved::OtherRecipient);
    assert_eq!(refused(&|it| it["keys"] = key.clone()), Unproved::OtherDevice);
    assert_eq!(refused(&|it| it["keys"] = json!({})), Unproved::Malformed);
    assert_eq!(refused(&|it| it["content"] = json!("text")), Unproved::Malformed);
    assert_eq!(refused(&|it| it["type"] = json!(5)), Unproved::Malformed);
    assert_eq!(refused(&|it| *it = json!([])), Unproved::Malformed);
    let enclosed = |keys: Value| refused(&|it| it["sender_device_keys"] = keys.clone());
    assert_eq!(enclosed(other.device_keys(|_| {})), Unproved::OtherDevice);
    assert_eq!(enclosed(json!("keys")), Unproved::OtherDevice);
    let dehydrated = forger.device_keys(|it| it["dehydrated"] = json!(true));
    assert_eq!(enclosed(dehydrated), Unproved::OtherDevice);
    let mut unsigned = forger.device_keys(|_| {});
    unsigned["signatures"] = json!({});
    assert_eq!(enclosed(unsigned), Unproved::OtherDevice);
    let curve = json!(other.olm.curve25519_key().to_base64());
    let other_curve = forger.device_keys(|it| it["keys"]["curve25519:FORGED"] = curve);
    assert_eq!(enclosed(other_curve), Unproved::OtherDevice);
}

/// A-12 (CVE-2026-45056): the server says the message is from the victim, the enclosed device is
/// the attacker's own, and everything signed fits.
#[test]
fn an_attackers_own_device_does_not_vouch_for_a_victim() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    inside["sender"] = json!("@victim:x");
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = open(&mut world, 0, &event("@victim:x".try_into().unwrap(), &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherDevice)));
}

/// A server makes a device of its own under the name of one that is known.
#[test]
fn a_made_up_device_under_a_known_name_is_not_believed() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.acquaint(0, 1);
    let forger = Forger { device: "DEVICE1".to_owned(), ..Forger::new("@bob:x") };
    let mut session = forger.session(&mut world, 0);
    let inside = forger.inside(&world, 0);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = open(&mut world, 0, &event("@bob:x".try_into().unwrap(), &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherDevice)));
}

/// T-24.
#[test]
fn without_an_enclosed_device_the_device_list_decides() {
    let forger = Forger::new("@mallory:x");
    let bare = |kind: &'static str| {
        move |it: &mut Value| {
            it.as_object_mut().unwrap().remove("sender_device_keys");
            it["type"] = json!(kind);
        }
    };
    for kind in ["m.room_key", "m.room_key.withheld", "m.dummy"] {
        assert_eq!(verdict(&forger, bare(kind)), Ok(kind.to_owned()));
    }
    for kind in ["m.secret.send", "m.forwarded_room_key", "m.room_key_bundle"] {
        assert_eq!(verdict(&forger, bare(kind)), Err(Unproved::UnknownDevice));
    }
    let mut world = World::new(&["@alice:x"]);
    let keys = forger.device_keys(|_| {});
    let devices = world.server.device_keys.entry(forger.user.clone()).or_default();
    devices.insert("FORGED".into(), keys);
    let (now, user) = (world.now, forger.user.clone());
    world.clients[0].step(now, |machine, step| machine.core.refresh([&user], step)).unwrap();
    world.settle();
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    bare("m.secret.send")(&mut inside);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = opened(&mut world, 0, &event(&forger.user, &sealed)).unwrap();
    assert_eq!(got.sender.device.unwrap().device_id, "FORGED");
    inside["keys"]["ed25519"] = json!(Account::new().ed25519_key().to_base64());
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let got = open(&mut world, 0, &event(&forger.user, &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherKeys)));
}

#[test]
fn a_message_from_an_unknown_device_has_its_user_looked_up() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    inside.as_object_mut().unwrap().remove("sender_device_keys");
    inside["type"] = json!("m.secret.send");
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    let name = world.clients[0].name();
    world.server.put_in_inbox(&name, "m.room.encrypted", &forger.user, sealed);
    world.server.served.clear();
    world.settle();
    let asked = world.server.served.iter().any(|(_, it)| it.body.contains("@mallory:x"));
    assert!(asked && world.clients[0].machine.core.dropped.unproved == 1);
}

/// A ratchet that advanced stays advanced even when the inside is thrown away.
#[test]
fn after_a_message_that_is_not_believed_the_session_still_works() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let mut inside = forger.inside(&world, 0);
    inside["sender"] = json!("@victim:x");
    let bad = forger.seal(&world, 0, &mut session, &inside);
    let good = forger.seal(&world, 0, &mut session, &forger.inside(&world, 0));
    assert!(opened(&mut world, 0, &event(&forger.user, &bad)).is_none());
    world.clients[0].restart(world.now);
    assert!(opened(&mut world, 0, &event(&forger.user, &good)).is_some());
}

/// A-4, and envelopes that are none.
#[test]
fn envelopes_of_another_algorithm_or_shape_are_ignored_and_mend_nothing() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    let good: Value = serde_json::from_str(take(&mut world, 1).content.get()).unwrap();
    let curve = world.clients[1].machine.core.account.curve25519().to_base64();
    let spoiled = |change: &dyn Fn(&mut Value)| {
        let mut content = good.clone();
        change(&mut content);
        content
    };
    let cases = [
        spoiled(&|it| it["algorithm"] = json!("m.megolm.v1.aes-sha2")),
        spoiled(&|it| it["ciphertext"] = json!("text")),
        spoiled(&|it| it["ciphertext"] = json!({})),
        spoiled(&|it| it["ciphertext"][&curve]["type"] = json!(2)),
        spoiled(&|it| it["ciphertext"][&curve]["type"] = json!(-1)),
        spoiled(&|it| it["ciphertext"][&curve]["body"] = json!("!")),
        spoiled(&|it| it["ciphertext"][&curve]["body"] = json!("AAAA")),
        spoiled(&|it| it["sender_key"] = json!("AAAA")),
        json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AAAA", "session_id": "x" }),
        json!({}),
    ];
    let (name, sender) = (world.clients[1].name(), world.clients[0].user.clone());
    let count = cases.len() as u64;
    for content in cases {
        world.server.put_in_inbox(&name, "m.room.encrypted", &sender, content);
    }
    world.server.served.clear();
    world.settle();
    assert_eq!(world.clients[1].machine.core.dropped.foreign, count);
    assert_eq!(claims(&world), 0);
    assert!(opened(&mut world, 1, &event(&sender, &good)).is_some());
}

/// A-36: somebody publishes Alice's curve key as theirs. Neither can they pass for her, nor she
/// for them.
#[test]
fn a_curve_key_claimed_by_two_users_moves_no_message_from_one_to_the_other() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    let message = take(&mut world, 1);
    let stolen = ToDeviceEvent { sender: "@mallory:x".try_into().unwrap(), ..message };
    assert!(matches!(open(&mut world, 1, &stolen), Opened::Unproved(Unproved::OtherSender)));
    // Mallory lists Bob's key as hers; what Alice writes to her is handed to Bob.
    let forger = Forger::new("@alice:x");
    let mut session = forger.session(&mut world, 1);
    let mut inside = forger.inside(&world, 1);
    inside["recipient"] = json!("@mallory:x");
    let sealed = forger.seal(&world, 1, &mut session, &inside);
    let got = open(&mut world, 1, &event(&forger.user, &sealed));
    assert!(matches!(got, Opened::Unproved(Unproved::OtherRecipient)));
}

/// A-23.
#[test]
fn a_device_that_is_gone_when_its_message_is_read_is_still_known_as_its_sender() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.acquaint(0, 1);
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let user = world.clients[0].user.clone();
    world.server.device_keys.remove(&user);
    world.acquaint(1, 0);
    let message = world.server.served.len();
    assert!(message > 0);
    // The inbox was emptied by `acquaint`; the key was taken with its sender known.
    assert_eq!(world.clients[1].machine.core.dropped.unproved, 0);
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let event = take(&mut world, 1);
    let sender = opened(&mut world, 1, &event).unwrap().sender;
    assert_eq!(sender.device.unwrap().device_id, "DEVICE0");
}

#[test]
fn the_enclosed_device_carries_the_signature_of_our_own_identity() {
    let mut world = couple();
    let (user, id) = world.clients[0].name();
    let (master, ours) = (Ed25519SecretKey::new(), Ed25519SecretKey::new());
    let put = |object: &Value, signer: &Ed25519SecretKey| {
        let mut object = CanonicalValue::parse_object(&object.to_string()).unwrap();
        let key_id = format!("ed25519:{}", signer.public_key().to_base64());
        sign(&mut object, &user, &key_id, |text| signer.sign(text.as_bytes()));
        serde_json::from_str::<Value>(&CanonicalText(&object).to_string()).unwrap()
    };
    for (part, usage, key) in
        [("master_keys", "master", &master), ("self_signing_keys", "self_signing", &ours)]
    {
        let name = key.public_key().to_base64();
        let keys = json!({ format!("ed25519:{name}"): name });
        let object = put(&json!({ "user_id": user, "usage": [usage], "keys": keys }), &master);
        world.server.identities.entry(part.to_owned()).or_default().insert(user.clone(), object);
    }
    let listed = world.server.device_keys.get_mut(&user).unwrap().get_mut(&id).unwrap();
    *listed = put(listed, &ours);
    world.server.announcements.push(user.clone());
    world.settle();
    world.clients[0].restart(world.now);
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let event = take(&mut world, 1);
    let device = opened(&mut world, 1, &event).unwrap().sender.device.unwrap();
    assert!(device.raw.get().contains(&ours.public_key().to_base64()));
}

#[test]
fn what_was_read_is_remembered_for_thirty_days() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    let remembered = |world: &mut World| {
        let now = world.now;
        world.clients[1].step(now, crate::e2ee::Machine::tick).unwrap();
        world.clients[1].records.0.keys().filter(|it| it.0 == Table::OlmHash).count()
    };
    world.pass(HOUR * 24 * 29);
    assert_eq!(remembered(&mut world), 1);
    world.pass(HOUR * 24 * 2);
    assert_eq!(remembered(&mut world), 0);
}

/// T-14.
#[test]
fn one_time_keys_without_the_signature_of_their_device_are_refused() {
    let mut world = couple();
    let bob = world.clients[1].name();
    let key = world.server.kept[&bob].one_time_keys[0].1.clone();
    let forger = Forger::new("@bob:x");
    let mut by_other = json!({ "key": key["key"] });
    let mut object = CanonicalValue::parse_object(&by_other.to_string()).unwrap();
    sign(&mut object, &bob.0, "ed25519:DEVICE1", |text| forger.olm.sign(text));
    by_other = serde_json::from_str(&CanonicalText(&object).to_string()).unwrap();
    let mut unsigned = key.clone();
    unsigned["signatures"] = json!({});
    let mut other_user = key.clone();
    other_user["signatures"] = json!({ "@alice:x": key["signatures"]["@bob:x"] });
    let mut altered = key.clone();
    altered["key"] = json!(forger.olm.curve25519_key().to_base64());
    let hand_out = |world: &mut World, key: &Value| {
        let kept = world.server.kept.get_mut(&bob).unwrap();
        kept.one_time_keys.iter_mut().for_each(|(_, old)| *old = key.clone());
        assert_eq!(channel(world, 0, 1), OlmChannel::Waiting);
        while world.send_one(0) {}
        channel(world, 0, 1)
    };
    for bad in [by_other, unsigned, other_user, altered, json!("text"), json!({})] {
        assert!(matches!(hand_out(&mut world, &bad), OlmChannel::Unreachable(_)), "{bad}");
        world.pass(Duration::from_secs(15 * 60));
    }
    assert_eq!(hand_out(&mut world, &key), OlmChannel::Ready);
}

/// A-21: the keys are signed properly, and lie in a small subgroup.
#[test]
fn keys_that_yield_no_secret_make_no_session() {
    let mut one = [0_u8; 32];
    one[0] = 1;
    for bytes in [[0_u8; 32], one] {
        let weak = Curve25519PublicKey::from_bytes(bytes).to_base64();
        for part in ["identity", "one-time"] {
            let mut world = World::new(&["@alice:x", "@mallory:x"]);
            let forger = Forger::new("@mallory:x");
            let keys = forger.device_keys(|it| {
                if part == "identity" {
                    it["keys"]["curve25519:FORGED"] = json!(weak);
                }
            });
            let devices = world.server.device_keys.get_mut(&forger.user).unwrap();
            devices.insert("FORGED".into(), keys);
            let good = Account::new().curve25519_key().to_base64();
            let key = if part == "identity" { &good } else { &weak };
            let key = json!({ "key": key });
            let mut key = CanonicalValue::parse_object(&key.to_string()).unwrap();
            sign(&mut key, &forger.user, "ed25519:FORGED", |text| forger.olm.sign(text));
            let key = serde_json::from_str(&CanonicalText(&key).to_string()).unwrap();
            let name = (forger.user.clone(), "FORGED".into());
            let kept = world.server.kept.entry(name.clone()).or_default();
            kept.one_time_keys.push_back(("signed_curve25519:AAAAAQ".to_owned(), key));
            world.acquaint(0, 1);
            let now = world.now;
            let ask = |world: &mut World| {
                world.clients[0].step(now, |machine, step| {
                    let device = machine.core.find_device(&name.0, &name.1, step).unwrap().unwrap();
                    machine.core.ensure_sessions(&[device], step).unwrap()[0]
                })
            };
            assert_eq!(ask(&mut world), OlmChannel::Waiting);
            world.settle();
            assert!(matches!(ask(&mut world), OlmChannel::Unreachable(_)), "{part}");
        }
    }
}

/// T-15.
#[test]
fn a_server_that_gives_no_key_is_asked_again_after_a_pause_and_its_devices_are_not_blamed() {
    let mut world = World::new(&["@alice:x", "@bob:far"]);
    world.acquaint(0, 1);
    world.server.unreachable.insert("far".to_owned());
    channel(&mut world, 0, 1);
    world.settle();
    let until = world.now.plus(Duration::from_secs(15));
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Unreachable(until));
    assert_eq!(claims(&world), 1);
    let notices = world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::ToDevice);
    assert_eq!(notices.count(), 0, "no m.no_olm for a server's fault");
    world.server.unreachable.clear();
    world.pass(Duration::from_secs(15));
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
    world.settle();
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
}

/// T-16.
#[test]
fn with_a_session_at_hand_no_key_is_claimed_even_when_the_server_is_down() {
    let mut world = World::new(&["@alice:x", "@bob:far"]);
    world.acquaint(0, 1);
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.server.unreachable.insert("far".to_owned());
    world.clients[0].restart(world.now);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
    assert_eq!(claims(&world), 1);
}

#[test]
fn a_device_without_keys_is_told_once_and_one_claim_is_under_way_at_a_time() {
    let mut world = couple();
    let bob = world.clients[1].name();
    let kept = world.server.kept.get_mut(&bob).unwrap();
    kept.one_time_keys.clear();
    kept.fallback = None;
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Waiting);
    while world.send_one(0) {}
    assert_eq!(claims(&world), 1);
    world.pass(Duration::from_secs(16));
    world.server.kept.get_mut(&bob).unwrap().one_time_keys.clear();
    channel(&mut world, 0, 1);
    while world.send_one(0) {}
    let told = world.server.served.iter().filter(|(_, it)| it.body.contains("m.no_olm"));
    assert_eq!(told.count(), 1);
}

/// T-06.
#[test]
fn one_fallback_key_serves_two_senders() {
    let mut world = World::new(&["@a:x", "@b:x", "@c:x"]);
    world.acquaint(0, 2);
    world.acquaint(1, 2);
    let name = world.clients[2].name();
    world.server.kept.get_mut(&name).unwrap().one_time_keys.clear();
    for from in 0..2 {
        world.send_olm(from, 2, "m.dummy", &json!({}));
        let event = take(&mut world, 2);
        assert!(opened(&mut world, 2, &event).is_some());
    }
}

/// T-08.
#[test]
fn a_one_time_key_handed_out_twice_costs_the_second_sender_one_message() {
    let mut world = World::new(&["@a:x", "@b:x", "@c:x"]);
    for (one, other) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        world.acquaint(one, other);
    }
    let name = world.clients[2].name();
    let first = world.server.kept[&name].one_time_keys[0].clone();
    world.send_olm(0, 2, "m.dummy", &json!({}));
    world.server.kept.get_mut(&name).unwrap().one_time_keys.push_front(first);
    world.send_olm(1, 2, "m.dummy", &json!({}));
    world.settle();
    assert_eq!(world.clients[2].machine.core.dropped.wedged, 1);
    world.send_olm(1, 2, "m.room_key", &json!({}));
    let event = take(&mut world, 2);
    assert!(opened(&mut world, 2, &event).is_some());
}

/// T-26.
#[test]
fn two_hundred_messages_in_one_go_are_all_read_also_when_neighbors_are_swapped() {
    let mut world = couple();
    for i in 0..200 {
        world.send_olm(0, 1, "m.dummy", &json!({ "i": i }));
    }
    let name = world.clients[1].name();
    let inbox = &mut world.server.kept.get_mut(&name).unwrap().inbox;
    inbox.make_contiguous().chunks_mut(10).for_each(<[_]>::reverse);
    world.settle();
    let dropped = world.clients[1].machine.core.dropped;
    assert_eq!(dropped, Dropped::default());
    let hashes = world.clients[1].records.0.keys().filter(|(table, _)| *table == Table::OlmHash);
    assert_eq!(hashes.count(), 200);
}

/// T-27.
#[test]
fn a_message_read_in_a_step_that_was_not_committed_is_read_again() {
    let mut world = couple();
    world.send_olm(0, 1, "m.room_key", &json!({}));
    let event = take(&mut world, 1);
    let bob = &mut world.clients[1];
    let mut step = Step::new(&bob.records, world.now);
    assert!(matches!(bob.machine.core.open_olm(&event, &mut step), Ok(Opened::Event(_))));
    drop(step);
    bob.restart(world.now);
    assert!(opened(&mut world, 1, &event).is_some());
}

/// T-29.
#[test]
fn a_session_that_went_back_in_time_is_mended_in_both_directions() {
    for broken in 0..2 {
        let mut world = couple();
        world.send_olm(0, 1, "m.dummy", &json!({}));
        world.settle();
        let old = world.clients[broken].records.clone();
        for _ in 0..3 {
            world.send_olm(1, 0, "m.dummy", &json!({}));
            world.send_olm(0, 1, "m.dummy", &json!({}));
            world.settle();
        }
        let old_sessions = old.0.into_iter().filter(|((table, _), _)| *table == Table::OlmSession);
        world.clients[broken].records.0.extend(old_sessions);
        world.clients[broken].restart(world.now);
        world.pass(HOUR * 2);
        for _ in 0..2 {
            world.send_olm(0, 1, "m.room_key", &json!({}));
            world.settle();
            world.send_olm(1, 0, "m.room_key", &json!({}));
            world.settle();
        }
        let wedged: u64 = world.clients.iter().map(|it| it.machine.core.dropped.wedged).sum();
        assert!((1..=2).contains(&wedged), "{wedged} messages lost");
        for (from, to) in [(0, 1), (1, 0)] {
            world.send_olm(from, to, "m.room_key", &json!({}));
            let event = take(&mut world, to);
            assert!(opened(&mut world, to, &event).is_some());
        }
    }
}

/// An unreadable message of a device: well formed, of no session we have.
fn garbage(world: &World, from: &Client, to: usize) -> Value {
    let forger = Forger::new("@nobody:x");
    let key = Account::new().curve25519_key();
    let theirs = world.clients[to].machine.core.account.curve25519();
    let config = SessionConfig::version_1();
    let mut session = forger.olm.create_outbound_session(config, theirs, key).unwrap();
    let message = session.encrypt("garbage").unwrap();
    let mut envelope = forger.envelope(world, to, &message);
    envelope["sender_key"] = json!(from.machine.core.account.curve25519().to_base64());
    envelope
}

/// T-29, A-32.
#[test]
fn a_thousand_unreadable_messages_of_one_device_cost_one_key_an_hour() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    world.server.served.clear();
    for hour in 1..=2 {
        for _ in 0..500 {
            let content = garbage(&world, &world.clients[0], 1);
            world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
        }
        world.settle();
        assert_eq!(claims(&world), hour);
        world.clients[1].restart(world.now);
        world.pass(HOUR + Duration::from_secs(300));
    }
}

/// A-32.
#[test]
fn unreadable_messages_of_many_devices_cost_fifty_keys_an_hour() {
    let mut world = World::new(&["@alice:x"]);
    let name = world.clients[0].name();
    let mallory = Client::new("@mallory:x", "M", world.now);
    let mut contents = Vec::new();
    for i in 0..80 {
        let forger = Forger { device: format!("D{i}"), ..Forger::new("@mallory:x") };
        let keys = forger.device_keys(|_| {});
        let devices = world.server.device_keys.entry(forger.user.clone()).or_default();
        devices.insert(forger.device.as_str().into(), keys);
        let mut content = garbage(&world, &mallory, 0);
        content["sender_key"] = json!(forger.olm.curve25519_key().to_base64());
        contents.push(content);
    }
    let (now, user) = (world.now, mallory.user.clone());
    world.clients[0].step(now, |machine, step| machine.core.refresh([&user], step)).unwrap();
    world.settle();
    for content in contents {
        world.server.put_in_inbox(&name, "m.room.encrypted", &user, content);
    }
    world.settle();
    assert_eq!(claimed_devices(&world), 50);
}

/// T-30.
#[test]
fn a_message_that_was_read_before_mends_nothing() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    world.send_olm(1, 0, "m.dummy", &json!({}));
    world.settle();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let event = take(&mut world, 1);
    world.pass(HOUR * 3);
    world.server.served.clear();
    for _ in 0..3 {
        let content = serde_json::from_str(event.content.get()).unwrap();
        world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
        world.settle();
        world.clients[1].restart(world.now);
    }
    assert_eq!(claims(&world), 0);
}

#[test]
fn a_wedged_device_that_is_not_known_yet_is_mended_after_its_user_was_looked_up() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = garbage(&world, &world.clients[0], 1);
    world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
    world.settle();
    assert_eq!(claims(&world), 1);
    assert_eq!(world.clients[0].machine.core.dropped, Dropped::default());
}

#[test]
fn a_device_that_finds_no_way_to_us_gets_a_new_session() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "code": "m.no_olm",
        "sender_key": world.clients[0].machine.core.account.curve25519().to_base64(),
    });
    world.server.put_in_inbox(&name, "m.room_key.withheld", &alice, content);
    world.settle();
    assert_eq!(claims(&world), 1);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
}

/// A crash between deciding to mend and the claim loses neither.
#[test]
fn mending_goes_on_after_a_restart() {
    let mut world = couple();
    // A claim for somebody else is under way, so the new one waits.
    let third = world.log_in("@c:x", "C");
    world.settle();
    world.acquaint(1, third);
    let _ = channel(&mut world, 1, third);
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = garbage(&world, &world.clients[0], 1);
    world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
    let now = world.now;
    world.server.sync(&mut world.clients[1], now);
    world.clients[1].restart(now);
    world.settle();
    assert_eq!(claims(&world), 2);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
}

#[test]
fn a_new_session_of_a_device_raises_its_wedging_index() {
    let mut world = couple();
    let index = |world: &mut World| {
        let (user, id) = world.clients[0].name();
        let now = world.now;
        world.clients[1]
            .step(now, |machine, step| machine.core.find_device(&user, &id, step))
            .unwrap()
            .unwrap()
            .wedging_index
    };
    assert_eq!(index(&mut world), 0);
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    assert_eq!(index(&mut world), 1);
}

#[test]
fn eight_sessions_are_kept_and_the_last_that_received_is_written_with() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut sessions = Vec::new();
    for _ in 0..12 {
        let mut session = forger.session(&mut world, 0);
        let inside = forger.inside(&world, 0);
        let sealed = forger.seal(&world, 0, &mut session, &inside);
        assert!(opened(&mut world, 0, &event(&forger.user, &sealed)).is_some());
        sessions.push(session);
    }
    let kept = world.clients[0].records.0.keys().filter(|it| it.0 == Table::OlmSession).count();
    assert_eq!(kept, 8);
    let inside = forger.inside(&world, 0);
    let sealed = forger.seal(&world, 0, &mut sessions[7], &inside);
    let got = opened(&mut world, 0, &event(&forger.user, &sealed)).unwrap();
    let device = got.sender.device.unwrap();
    let now = world.now;
    let answer = world.clients[0].step(now, |machine, step| {
        let empty = to_raw_value(&json!({})).unwrap();
        machine.core.encrypt_to_device(&device, "m.dummy", &empty, step).unwrap().unwrap()
    });
    let answer: Value = serde_json::from_str(answer.get()).unwrap();
    let part = &answer["ciphertext"][forger.olm.curve25519_key().to_base64()];
    let body = vodozemac::base64_decode(part["body"].as_str().unwrap()).unwrap();
    let kind = usize::try_from(part["type"].as_u64().unwrap()).unwrap();
    let message = OlmMessage::from_parts(kind, &body).unwrap();
    assert!(sessions[7].decrypt(&message).is_ok());
}

#[test]
fn secrets_in_clear_and_unknown_types_are_counted_and_dropped() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    for kind in ["m.room_key", "m.secret.send", "m.room_key_request", "m.new"] {
        world.server.put_in_inbox(&name, kind, &alice, json!({}));
    }
    world.send_olm(0, 1, "m.room.encrypted", &json!({}));
    world.send_olm(0, 1, "m.secret.send", &json!({}));
    world.settle();
    let dropped = world.clients[1].machine.core.dropped;
    assert_eq!((dropped.in_clear, dropped.unsupported, dropped.foreign), (2, 2, 2));
}
