//! A-21 for ratchet keys: an Olm message may bring a key that yields no secret. Whoever has the
//! session's keys can make such a message, so this does, byte by byte.

use serde_json::{Value, json, value::to_raw_value};
use sha2::{Digest, Sha256};
use vodozemac::{
    Curve25519PublicKey, Curve25519SecretKey,
    olm::{OlmMessage, Session},
};

use super::{
    forger::{Forger, event, open, opened},
    harness::World,
};
use crate::{
    e2ee::{device::Device, olm::Opened},
    time::Timestamp,
};

/// Keys of order one, two and four, and those that are zero modulo the field's prime.
fn weak_keys() -> Vec<[u8; 32]> {
    let with_first = |first: u8| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    };
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    let mut minus_one = prime;
    minus_one[0] = 0xec;
    vec![with_first(0), with_first(1), minus_one, prime]
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| -> Vec<u8> {
        (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect()
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

fn hkdf(salt: &[u8], secret: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let key = hmac(salt, secret);
    let (mut all, mut last) = (Vec::new(), Vec::new());
    for counter in 1_u8.. {
        last = hmac(&key, &[&last[..], info, &[counter]].concat()).to_vec();
        all.extend_from_slice(&last);
        if length <= all.len() {
            break;
        }
    }
    all.truncate(length);
    all
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::from_value(value.clone()).unwrap()
}

fn pickle(session: &Session) -> Value {
    serde_json::to_value(session.pickle()).unwrap()
}

/// `message` with another ratchet key, and the code that proves it was made with `chain_key`.
fn with_ratchet_key(
    message: &OlmMessage,
    (old, new): ([u8; 32], [u8; 32]),
    chain_key: &[u8],
) -> OlmMessage {
    let (kind, mut text) = message.to_parts();
    let at = text.windows(32).rposition(|it| it == old).unwrap();
    text[at..at + 32].copy_from_slice(&new);
    // The message proper begins with its version and the tag and length of the ratchet key.
    let (start, end) = (at - 3, text.len() - 8);
    let keys = hkdf(&[0], &hmac(chain_key, &[1]), b"OLM_KEYS", 80);
    let code = hmac(&keys[32..64], &text[start..end]);
    text[end..].copy_from_slice(&code[..8]);
    OlmMessage::from_parts(kind, &text).unwrap()
}

/// The ratchet key of a session that writes, and its chain key.
fn sending(session: &Session) -> ([u8; 32], Vec<u8>) {
    let ratchet = &pickle(session)["sending_ratchet"];
    let secret: [u8; 32] = bytes(&ratchet["active_ratchet"]["ratchet_key"]).try_into().unwrap();
    let public = Curve25519PublicKey::from(&Curve25519SecretKey::from_slice(&secret));
    (public.to_bytes(), bytes(&ratchet["symmetric_key_ratchet"]["key"]))
}

/// What Alice writes to the forger, if she writes.
fn answer(world: &mut World, forger: &Forger) -> Option<OlmMessage> {
    let keys = to_raw_value(&forger.device_keys(|_| {})).unwrap();
    let device = Device::check(&keys, Timestamp(1)).unwrap();
    let content = world.at(0, |machine, step| {
        let empty = to_raw_value(&json!({})).unwrap();
        machine.core.encrypt_to_device(&device, "m.dummy", &empty, step).unwrap()
    })?;
    let content: Value = serde_json::from_str(content.get()).unwrap();
    let part = &content["ciphertext"][forger.olm.curve25519_key().to_base64()];
    let body = vodozemac::base64_decode(part["body"].as_str().unwrap()).unwrap();
    let kind = usize::try_from(part["type"].as_u64().unwrap()).unwrap();
    Some(OlmMessage::from_parts(kind, &body).unwrap())
}

#[test]
fn nothing_is_written_to_whoever_begins_with_a_ratchet_key_that_yields_no_secret() {
    for weak in weak_keys() {
        let mut world = World::new(&["@alice:x"]);
        let forger = Forger::new("@mallory:x");
        let mut session = forger.session(&mut world, 0);
        let (key, chain) = sending(&session);
        let message = session.encrypt(forger.inside(&world, 0).to_string()).unwrap();
        assert_eq!(with_ratchet_key(&message, (key, key), &chain), message, "made as Olm says");
        let weak = with_ratchet_key(&message, (key, weak), &chain);
        let content = forger.envelope(&world, 0, &weak);
        drop(open(&mut world, 0, &event(&forger.user, &content)));
        assert!(answer(&mut world, &forger).is_none());
        world.clients[0].restart(world.now);
        assert!(answer(&mut world, &forger).is_none());
        // A session of better will is used as ever.
        let mut session = forger.session(&mut world, 0);
        let sealed = forger.seal(&world, 0, &mut session, &forger.inside(&world, 0));
        assert!(opened(&mut world, 0, &event(&forger.user, &sealed)).is_some());
        let answer = answer(&mut world, &forger).unwrap();
        assert!(session.decrypt(&answer).is_ok());
    }
}

/// The forger's next turn with this ratchet key and this secret that it makes with Alice's.
fn turn(session: &Session, key: &Curve25519SecretKey, secret: &[u8]) -> Session {
    let mut pickle = pickle(session);
    let ratchet = &pickle["sending_ratchet"];
    assert_eq!(ratchet["type"], "inactive");
    let keys = hkdf(&bytes(&ratchet["root_key"]["key"]), secret, b"OLM_RATCHET", 64);
    pickle["sending_ratchet"] = json!({
        "type": "active",
        "active_ratchet": { "root_key": keys[..32], "ratchet_key": key.to_bytes().to_vec() },
        "symmetric_key_ratchet": { "key": keys[32..], "index": 0 },
    });
    Session::from_pickle(serde_json::from_value(pickle).unwrap())
}

#[test]
fn no_message_is_read_whose_ratchet_key_yields_no_secret() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let mut session = forger.session(&mut world, 0);
    let inside = forger.inside(&world, 0);
    let sealed = forger.seal(&world, 0, &mut session, &inside);
    assert!(opened(&mut world, 0, &event(&forger.user, &sealed)).is_some());
    assert!(session.decrypt(&answer(&mut world, &forger).unwrap()).is_ok());
    let theirs: [u8; 32] =
        bytes(&pickle(&session)["sending_ratchet"]["ratchet_key"]).try_into().unwrap();
    let key = Curve25519SecretKey::new();
    for weak in weak_keys() {
        // With such a key both sides would come to the same secret, which everybody knows: zero.
        let mut weak_turn = turn(&session, &key, &[0; 32]);
        let (own, chain) = sending(&weak_turn);
        let message = weak_turn.encrypt(inside.to_string()).unwrap();
        let weak = with_ratchet_key(&message, (own, weak), &chain);
        let content = forger.envelope(&world, 0, &weak);
        let got = open(&mut world, 0, &event(&forger.user, &content));
        assert!(matches!(got, Opened::Wedged(_)));
    }
    // Made in the same way with a key that yields one, it is read.
    let secret = key.diffie_hellman(&Curve25519PublicKey::from_bytes(theirs)).unwrap();
    let mut good = turn(&session, &key, secret.as_bytes());
    let sealed = forger.seal(&world, 0, &mut good, &inside);
    assert!(opened(&mut world, 0, &event(&forger.user, &sealed)).is_some());
}

/// A first message from an identity and a base key of our choice, made with these secrets.
fn first_message(
    session: &Session,
    (identity, base): ([u8; 32], [u8; 32]),
    secrets: &[[u8; 32]; 3],
    inside: &Value,
) -> OlmMessage {
    let mut pickle = pickle(session);
    let keys = hkdf(&[0], &secrets.concat(), b"OLM_ROOT", 64);
    pickle["session_keys"]["identity_key"] = json!(identity);
    pickle["session_keys"]["base_key"] = json!(base);
    pickle["sending_ratchet"]["active_ratchet"]["root_key"] = json!(keys[..32]);
    pickle["sending_ratchet"]["symmetric_key_ratchet"]["key"] = json!(keys[32..]);
    let mut session = Session::from_pickle(serde_json::from_value(pickle).unwrap());
    session.encrypt(inside.to_string()).unwrap()
}

#[test]
fn no_session_begins_with_an_identity_or_base_key_that_yields_no_secret() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@mallory:x");
    let template = forger.session(&mut world, 0);
    let ours = world.clients[0].machine.core.account.curve25519();
    let one_time = Curve25519PublicKey::from_bytes(
        bytes(&pickle(&template)["session_keys"]["one_time_key"]).try_into().unwrap(),
    );
    let (identity, base) = (Curve25519SecretKey::new(), Curve25519SecretKey::new());
    let public = |key: &Curve25519SecretKey| Curve25519PublicKey::from(key).to_bytes();
    let secret = |key: &Curve25519SecretKey, with: &Curve25519PublicKey| {
        key.diffie_hellman(with).unwrap().to_bytes()
    };
    let good = [secret(&identity, &one_time), secret(&base, &ours), secret(&base, &one_time)];
    let mut inside = forger.inside(&world, 0);
    inside.as_object_mut().unwrap().remove("sender_device_keys");
    let mut cases = vec![(public(&identity), public(&base), good, true)];
    for weak in weak_keys() {
        let [first, second, third] = good;
        cases.insert(0, (weak, public(&base), [[0; 32], second, third], false));
        cases.insert(0, (public(&identity), weak, [first, [0; 32], [0; 32]], false));
        cases.insert(0, (weak, weak, [[0; 32]; 3], false));
    }
    for (identity, base, secrets, is_good) in cases {
        let message = first_message(&template, (identity, base), &secrets, &inside);
        let mut content = forger.envelope(&world, 0, &message);
        content["sender_key"] = json!(Curve25519PublicKey::from_bytes(identity).to_base64());
        let got = opened(&mut world, 0, &event(&forger.user, &content));
        assert_eq!(got.is_some(), is_good);
    }
}
