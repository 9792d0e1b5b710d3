//! Another device of the account, which writes whatever it likes.

use grotto::matrix::{CanonicalText, CanonicalValue, ToDeviceEvent, UserId, sign};
use serde_json::{Map, Value, json, value::to_raw_value};
use vodozemac::{
    Curve25519PublicKey,
    olm::{Account, Session, SessionConfig, SessionPickle},
};

use super::house::{Device, Kept, USER, log_in, verified};

/// Its name.
pub(super) const PEER: &str = "PEER";

/// What is kept of it from one input to the next.
#[derive(Clone)]
pub(super) struct Peer {
    session: String,
    curve25519: String,
    ed25519: String,
    /// The keys of the device that it writes to.
    theirs: (String, String),
}

impl Peer {
    /// A device of the account with keys at the homeserver, which has begun an Olm session.
    fn join(device: &mut Device) -> Self {
        let olm = Account::new();
        let login = log_in(&mut device.house, PEER);
        let token = login["access_token"].as_str().unwrap().to_owned();
        let keys = json!({
            "user_id": USER,
            "device_id": PEER,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("curve25519:{PEER}"): olm.curve25519_key().to_base64(),
                format!("ed25519:{PEER}"): olm.ed25519_key().to_base64(),
            },
        });
        let mut keys = CanonicalValue::parse_object(&keys.to_string()).unwrap();
        let user: &UserId = USER.try_into().unwrap();
        sign(&mut keys, user, &format!("ed25519:{PEER}"), |text| olm.sign(text));
        let keys: Value = serde_json::from_str(&CanonicalText(&keys).to_string()).unwrap();
        let v3 = |path: &str| format!("/_matrix/client/v3/keys/{path}");
        let body = json!({ "device_keys": keys });
        device.house.ask(("POST", &v3("upload")), &token, &body);
        let to = device.client.device.clone();
        let body = json!({ "device_keys": { USER: [] } });
        let known = device.house.ask(("POST", &v3("query")), &token, &body);
        let key = |name: &str| {
            let key = &known["device_keys"][USER][to.as_str()]["keys"][format!("{name}:{to}")];
            key.as_str().unwrap().to_owned()
        };
        let theirs = (key("curve25519"), key("ed25519"));
        let body = json!({ "one_time_keys": { USER: { to.as_str(): "signed_curve25519" } } });
        let claimed = device.house.ask(("POST", &v3("claim")), &token, &body);
        let claimed = &claimed["one_time_keys"][USER][to.as_str()];
        let claimed = claimed.as_object().unwrap().values().next().unwrap();
        let session = olm.create_outbound_session(
            SessionConfig::version_1(),
            Curve25519PublicKey::from_base64(&theirs.0).unwrap(),
            Curve25519PublicKey::from_base64(claimed["key"].as_str().unwrap()).unwrap(),
        );
        let session = serde_json::to_string(&session.unwrap().pickle()).unwrap();
        let (curve25519, ed25519) = (olm.curve25519_key(), olm.ed25519_key());
        let (curve25519, ed25519) = (curve25519.to_base64(), ed25519.to_base64());
        Self { session, curve25519, ed25519, theirs }
    }

    /// A plaintext with what says who wrote it, and for whom.
    pub(super) fn signed_off(&self, mut inside: Map<String, Value>) -> Value {
        inside.insert("sender".to_owned(), json!(USER));
        inside.insert("recipient".to_owned(), json!(USER));
        inside.insert("recipient_keys".to_owned(), json!({ "ed25519": self.theirs.1 }));
        inside.insert("keys".to_owned(), json!({ "ed25519": self.ed25519 }));
        Value::Object(inside)
    }

    /// The first message of its session.
    pub(super) fn seal(&self, inside: &[u8]) -> Option<ToDeviceEvent> {
        let pickle: SessionPickle = serde_json::from_str(&self.session).unwrap();
        let message = Session::from_pickle(pickle).encrypt(inside).ok()?;
        let (kind, body) = message.to_parts();
        let content = json!({
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": self.curve25519,
            "ciphertext": {
                self.theirs.0.as_str(): { "type": kind, "body": vodozemac::base64_encode(body) },
            },
        });
        Some(ToDeviceEvent {
            kind: "m.room.encrypted".to_owned(),
            sender: USER.try_into().unwrap(),
            content: to_raw_value(&content).unwrap(),
        })
    }
}

thread_local! {
    static PEERED: (Kept, Peer) = {
        let mut device = verified();
        let peer = Peer::join(&mut device);
        device.settle();
        (device.keep(), peer)
    };
}

/// A verified device, and another one of the same account that it knows.
pub(super) fn peered() -> (Device, Peer) {
    let (kept, peer) = PEERED.with(Clone::clone);
    (Device::over(kept), peer)
}
