//! What the tests of Olm messages share: somebody who writes whatever they like, and inboxes that
//! are looked into before the machine sees them.

use serde_json::{Value, json, value::to_raw_value};
use vodozemac::{
    Curve25519PublicKey,
    olm::{Account, OlmMessage, Session, SessionConfig},
};

use super::harness::{Client, World};
use crate::{
    e2ee::{
        RequestKind,
        core::OlmChannel,
        devices::find_device,
        olm::{OlmEvent, Opened},
    },
    matrix::{CanonicalText, CanonicalValue, OwnedUserId, ToDeviceEvent, UserId, sign},
};

/// Takes the oldest event of an inbox without showing it to the machine.
pub(super) fn take(world: &mut World, client: usize) -> ToDeviceEvent {
    let name = world.clients[client].name();
    let (kind, sender, content) =
        world.server.kept.get_mut(&name).unwrap().inbox.pop_front().unwrap();
    ToDeviceEvent { kind, sender, content: to_raw_value(&content).unwrap() }
}

pub(super) fn open(world: &mut World, client: usize, event: &ToDeviceEvent) -> Opened {
    world.at(client, |machine, step| machine.core.open_olm(event, step)).unwrap()
}

pub(super) fn opened(world: &mut World, client: usize, event: &ToDeviceEvent) -> Option<OlmEvent> {
    match open(world, client, event) {
        Opened::Event(event) => Some(*event),
        Opened::NotForUs | Opened::Replayed | Opened::Wedged(_) | Opened::Unproved(_) => None,
    }
}

pub(super) fn claims(world: &World) -> usize {
    world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysClaim).count()
}

/// Alice knows Bob's device and the other way around.
pub(super) fn couple() -> World {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    world.acquaint(0, 1);
    world.acquaint(1, 0);
    world
}

pub(super) fn channel(world: &mut World, from: usize, to: usize) -> OlmChannel {
    let (user, id) = world.clients[to].name();
    world
        .at(from, |machine, step| {
            let device = find_device(&user, &id, step)?.unwrap();
            machine.core.ensure_sessions(&[device], step)
        })
        .unwrap()[0]
}

/// Somebody with keys of their own who writes whatever they like.
pub(super) struct Forger {
    pub(super) user: OwnedUserId,
    pub(super) device: String,
    pub(super) olm: Account,
}

impl Forger {
    pub(super) fn new(user: &str) -> Self {
        let user = OwnedUserId::try_from(user).unwrap();
        Self { user, device: "FORGED".to_owned(), olm: Account::new() }
    }

    pub(super) fn device_keys(&self, change: impl FnOnce(&mut Value)) -> Value {
        device_keys(self.user.as_str(), &self.device, &self.olm, change)
    }

    /// A plaintext that is right in every part.
    pub(super) fn inside(&self, world: &World, to: usize) -> Value {
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

    pub(super) fn session(&self, world: &mut World, to: usize) -> Session {
        let name = world.clients[to].name();
        let (_, key) = world.server.kept.get_mut(&name).unwrap().one_time_keys.pop_front().unwrap();
        let key = Curve25519PublicKey::from_base64(key["key"].as_str().unwrap()).unwrap();
        self.session_with(world, to, key)
    }

    /// A session begun with this one-time or fallback key.
    pub(super) fn session_with(
        &self,
        world: &World,
        to: usize,
        key: Curve25519PublicKey,
    ) -> Session {
        let theirs = world.clients[to].machine.core.account.curve25519();
        self.olm.create_outbound_session(SessionConfig::version_1(), theirs, key).unwrap()
    }

    pub(super) fn seal(
        &self,
        world: &World,
        to: usize,
        session: &mut Session,
        inside: &Value,
    ) -> Value {
        let message = session.encrypt(inside.to_string()).unwrap();
        self.envelope(world, to, &message)
    }

    pub(super) fn envelope(&self, world: &World, to: usize, message: &OlmMessage) -> Value {
        let theirs = world.clients[to].machine.core.account.curve25519().to_base64();
        let (kind, body) = message.to_parts();
        json!({
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": self.olm.curve25519_key().to_base64(),
            "ciphertext": { theirs: { "type": kind, "body": vodozemac::base64_encode(body) } },
        })
    }
}

/// A device object with the keys of `olm`, signed by itself; `change` may spoil it before that.
pub(super) fn device_keys(
    user: &str,
    id: &str,
    olm: &Account,
    change: impl FnOnce(&mut Value),
) -> Value {
    let keys = olm.identity_keys();
    let mut object = json!({
        "user_id": user,
        "device_id": id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            format!("curve25519:{id}"): keys.curve25519.to_base64(),
            format!("ed25519:{id}"): keys.ed25519.to_base64(),
        },
    });
    change(&mut object);
    signed(&object, user.try_into().unwrap(), &format!("ed25519:{id}"), olm)
}

/// `object` with the signature of `olm` as that of `user` under `key_id`.
pub(super) fn signed(object: &Value, user: &UserId, key_id: &str, olm: &Account) -> Value {
    let mut object = CanonicalValue::parse_object(&object.to_string()).unwrap();
    sign(&mut object, user, key_id, |text| olm.sign(text));
    serde_json::from_str(&CanonicalText(&object).to_string()).unwrap()
}

pub(super) fn event(sender: &UserId, content: &Value) -> ToDeviceEvent {
    ToDeviceEvent {
        kind: "m.room.encrypted".to_owned(),
        sender: sender.to_owned(),
        content: to_raw_value(content).unwrap(),
    }
}

/// An unreadable message of a device: well formed, of no session we have.
pub(super) fn garbage(world: &World, from: &Client, to: usize) -> Value {
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
