//! The Olm envelope and what is inside: built for one device, opened and checked from one.
//!
//! # Spec
//! Client-Server API, "`m.olm.v1.curve25519-aes-sha2`", "Validation of incoming decrypted events".

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use vodozemac::{
    Curve25519PublicKey, Ed25519PublicKey,
    olm::{OlmMessage, PreKeyMessage, SessionConfig},
};
use zeroize::Zeroizing;

use crate::{
    matrix::{
        CanonicalText, CanonicalValue, MAX_CANONICAL_BYTES, OwnedUserId, ToDeviceEvent, UserId,
        ed25519_from_base64,
    },
    time::Timestamp,
};

use super::{
    account::OLM,
    core::{Core, OlmSender},
    device::{Device, DeviceSort},
    devices::{find_device, find_device_by_key},
    error::MachineError,
    lookup::Table,
    request::RequestId,
    session::{Origin, Peer, add_session, encrypt_olm},
    step::{Step, encode, encode_text, raw},
};

const SWEEP_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const REMEMBER_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const HASHES_SWEPT: &str = "olm_hashes_swept";

/// An event that came in an Olm message.
pub(super) struct OlmEvent {
    pub(super) sender: OlmSender,
    pub(super) kind: String,
    /// Canonical JSON of the content; may hold keys.
    pub(super) content: Zeroizing<String>,
}

/// What came of an envelope.
pub(super) enum Opened {
    /// It was for us, it could be read, and it is what it says.
    Event(Box<OlmEvent>),
    /// It is not an Olm message for this device.
    NotForUs,
    /// It was read before.
    Replayed,
    /// No session reads it: the sessions with its sender may be broken.
    Wedged(Curve25519PublicKey),
    /// It could be read and must not be believed.
    Unproved(Unproved),
}

/// Why the inside of a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproved {
    /// Not strict JSON, or without a type, a content or keys.
    Malformed,
    /// The inner sender is not the outer.
    OtherSender,
    /// It was written for another user or device.
    OtherRecipient,
    /// The enclosed device is not the sender's, or not a device that can send.
    OtherDevice,
    /// Nothing is enclosed, and the device list says other keys.
    OtherKeys,
    /// Nothing is enclosed, the device is not known, and its event needs to be proved.
    UnknownDevice,
}

#[derive(Deserialize)]
struct Envelope {
    algorithm: String,
    sender_key: String,
    ciphertext: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Ciphertext {
    #[serde(rename = "type")]
    kind: usize,
    body: String,
}

/// An Olm message taken out of its envelope.
pub(super) struct Arrived {
    /// The key of the sending device: proved once the message could be read.
    pub(super) sender_key: Curve25519PublicKey,
    pub(super) message: OlmMessage,
    /// Names the message, so that a repeated one is told from an unreadable one.
    hash: String,
}

impl Arrived {
    /// The part of an envelope that is for the device with the key `ours`.
    pub(super) fn parse(event: &ToDeviceEvent, ours: &Curve25519PublicKey) -> Option<Self> {
        if event.content.get().len() > MAX_CANONICAL_BYTES {
            return None;
        }
        let envelope: Envelope = serde_json::from_str(event.content.get()).ok()?;
        if envelope.algorithm != OLM {
            return None;
        }
        let sealed = envelope.ciphertext.get(&ours.to_base64())?;
        let sealed: Ciphertext = serde_json::from_str(sealed.get()).ok()?;
        let sender_key = Curve25519PublicKey::from_base64(&envelope.sender_key).ok()?;
        let bytes = STANDARD_NO_PAD.decode(sealed.body.trim_end_matches('=')).ok()?;
        let message = OlmMessage::from_parts(sealed.kind, &bytes).ok()?;
        Some(Self { sender_key, message, hash: hash_of(&sender_key, &sealed) })
    }
}

/// The device that a message must be written for.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) user: &'a UserId,
    pub(super) ed25519: Ed25519PublicKey,
}

#[derive(Serialize)]
struct Sealed<'a> {
    algorithm: &'a str,
    sender_key: String,
    ciphertext: BTreeMap<String, SealedBody>,
    #[serde(rename = "org.matrix.msgid")]
    message_id: String,
}

#[derive(Serialize)]
struct SealedBody {
    #[serde(rename = "type")]
    kind: usize,
    body: String,
}

#[derive(Serialize)]
struct Inside<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    content: &'a RawValue,
    sender: &'a UserId,
    recipient: &'a UserId,
    recipient_keys: BTreeMap<&'a str, String>,
    keys: BTreeMap<&'a str, String>,
    sender_device_keys: &'a RawValue,
}

impl Core {
    /// Encrypts an event for one device: the content of an `m.room.encrypted` to-device event.
    /// `None` when there is no session with it (see [`Core::ensure_sessions`]), or when nothing
    /// may be encrypted: our keys are not published yet, or were replaced.
    pub(super) fn encrypt_to_device(
        &mut self,
        device: &Device,
        kind: &str,
        content: &RawValue,
        step: &mut Step<'_>,
    ) -> Result<Option<Box<RawValue>>, MachineError> {
        if !self.account.is_published() {
            return Ok(None);
        }
        let inside = Inside {
            kind,
            content,
            sender: &self.user,
            recipient: &device.user,
            recipient_keys: BTreeMap::from([("ed25519", device.ed25519.to_base64())]),
            keys: BTreeMap::from([("ed25519", self.account.ed25519().to_base64())]),
            sender_device_keys: self.account.sender_device_keys(),
        };
        let plaintext = Zeroizing::new(encode(Table::OlmSession, &inside)?);
        let key = &device.curve25519;
        let Some(message) = encrypt_olm(key, &plaintext, step)? else {
            return Ok(None);
        };
        let (kind, body) = message.to_parts();
        let body = SealedBody { kind, body: STANDARD_NO_PAD.encode(body) };
        let sealed = Sealed {
            algorithm: OLM,
            sender_key: self.account.curve25519().to_base64(),
            ciphertext: BTreeMap::from([(key.to_base64(), body)]),
            message_id: RequestId::random()?.0,
        };
        raw(Table::OlmSession, &encode_text(Table::OlmSession, &sealed)?).map(Some)
    }

    /// Forgets, once a day, the messages read more than thirty days ago: no server keeps one so
    /// long, and a replay of an older one costs no more than an unreadable one.
    pub(super) fn forget_old_messages(step: &mut Step<'_>) -> Result<(), MachineError> {
        let now = step.now();
        let last = step.get::<Timestamp>(Table::Misc, HASHES_SWEPT, "")?;
        if last.is_some_and(|last| last <= now && now.since(last) < SWEEP_EVERY) {
            return Ok(());
        }
        for (key, read) in step.scan::<Timestamp>(Table::OlmHash, None)? {
            if now.since(read) > REMEMBER_FOR {
                step.delete(Table::OlmHash, &key.0, &key.1);
            }
        }
        step.put(Table::Misc, HASHES_SWEPT, "", &now)
    }

    /// Opens an `m.room.encrypted` to-device event. Whatever advanced is written, also when the
    /// inside is not believed: else the ratchet would fall out of step.
    pub(super) fn open_olm(
        &mut self,
        event: &ToDeviceEvent,
        step: &mut Step<'_>,
    ) -> Result<Opened, MachineError> {
        let arrived = Arrived::parse(event, &self.account.curve25519());
        let Some(Arrived { sender_key, message, hash }) = arrived else {
            return Ok(Opened::NotForUs);
        };
        let plaintext = match &message {
            OlmMessage::PreKey(pre_key) => {
                self.open_pre_key(event, (&sender_key, pre_key), &message, step)?
            }
            OlmMessage::Normal(_) => {
                Peer::load(&sender_key, step)?.decrypt(&message, None, step)?
            }
        };
        let Some(plaintext) = plaintext else {
            let is_known = step.get::<Timestamp>(Table::OlmHash, &hash, "")?.is_some();
            return Ok(if is_known { Opened::Replayed } else { Opened::Wedged(sender_key) });
        };
        step.put(Table::OlmHash, &hash, "", &step.now())?;
        let sender = (event.sender.as_ref(), &sender_key);
        let reader = Reader { user: &self.user, ed25519: self.account.ed25519() };
        Ok(match check_inside(reader, sender, &plaintext, step)? {
            Ok(event) => Opened::Event(Box::new(event)),
            Err(why) => Opened::Unproved(why),
        })
    }

    /// Opens the first messages of a session: with the session they belong to, or by making it.
    fn open_pre_key(
        &mut self,
        event: &ToDeviceEvent,
        (sender_key, pre_key): (&Curve25519PublicKey, &PreKeyMessage),
        message: &OlmMessage,
        step: &mut Step<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, MachineError> {
        let mut peer = Peer::load(sender_key, step)?;
        let session_id = pre_key.session_id();
        if peer.has(&session_id) {
            return peer.decrypt(message, Some(&session_id), step);
        }
        let made = self.account.with_olm(step, |olm| {
            olm.create_inbound_session(SessionConfig::version_1(), *sender_key, pre_key)
        })?;
        let Ok(made) = made else { return Ok(None) };
        add_session(sender_key, made.session, Origin::Theirs, step)?;
        self.note_new_session(&event.sender, sender_key, step)?;
        Ok(Some(Zeroizing::new(made.plaintext)))
    }

    /// The device began a new session: what we sent on the old ones may be lost.
    fn note_new_session(
        &mut self,
        user: &OwnedUserId,
        key: &Curve25519PublicKey,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(mut device) = find_device_by_key(user, key, step)? else {
            return self.note_stranger(user, key, step);
        };
        self.claims.forget_failures(&(user.clone(), device.device_id.clone()));
        device.wedging_index = device.wedging_index.saturating_add(1);
        device.no_olm_sent = None;
        self.put_device(&device, step)
    }
}

/// All the checks on a plaintext: who says to have written it, for whom, with which keys.
pub(super) fn check_inside(
    reader: Reader<'_>,
    (sender, sender_key): (&UserId, &Curve25519PublicKey),
    plaintext: &[u8],
    step: &Step<'_>,
) -> Result<Result<OlmEvent, Unproved>, MachineError> {
    let inside = match Plain::parse(plaintext) {
        Ok(inside) => inside,
        Err(why) => return Ok(Err(why)),
    };
    if inside.sender != sender.as_str() {
        return Ok(Err(Unproved::OtherSender));
    }
    let our_key = reader.ed25519.to_base64();
    if inside.recipient != reader.user.as_str() || inside.recipient_key != our_key {
        return Ok(Err(Unproved::OtherRecipient));
    }
    let device = match &inside.device_keys {
        Some(keys) => match enclosed_device(keys, (sender, sender_key), &inside, step) {
            Some(device) if !is_known_otherwise(&device, step)? => Some(device),
            Some(_) | None => return Ok(Err(Unproved::OtherDevice)),
        },
        None => find_device_by_key(sender, sender_key, step)?,
    };
    if device.as_ref().is_some_and(|device| device.sort != DeviceSort::Ordinary) {
        return Ok(Err(Unproved::OtherDevice));
    }
    let claimed = ed25519_from_base64(&inside.key);
    if device.as_ref().is_some_and(|device| Some(device.ed25519) != claimed) {
        return Ok(Err(Unproved::OtherKeys));
    }
    if device.is_none() && !may_come_from_anyone(&inside.kind) {
        return Ok(Err(Unproved::UnknownDevice));
    }
    let sender =
        OlmSender { user: sender.to_owned(), curve25519: *sender_key, ed25519: inside.key, device };
    Ok(Ok(OlmEvent { sender, kind: inside.kind, content: inside.content }))
}

/// Whether a device of this name is known, with other keys or as one that never sends: a device
/// never changes, so one of the two is forged, and the one that was there first stays.
fn is_known_otherwise(device: &Device, step: &Step<'_>) -> Result<bool, MachineError> {
    let known = find_device(&device.user, &device.device_id, step)?;
    Ok(known.is_some_and(|it| !it.has_keys_of(device) || it.sort != DeviceSort::Ordinary))
}

/// A plaintext with all its fields in place.
struct Plain {
    kind: String,
    content: Zeroizing<String>,
    sender: String,
    recipient: String,
    recipient_key: String,
    key: String,
    device_keys: Option<Box<RawValue>>,
}

impl Plain {
    fn parse(plaintext: &[u8]) -> Result<Self, Unproved> {
        let text = std::str::from_utf8(plaintext).ok().ok_or(Unproved::Malformed)?;
        let object = CanonicalValue::parse_object(text).ok().ok_or(Unproved::Malformed)?;
        let text = |key: &str| object.get(key).and_then(CanonicalValue::as_str);
        let ed25519 = |key: &str| {
            object.get(key).and_then(CanonicalValue::as_object)?.get("ed25519")?.as_str()
        };
        let owned = |text: Option<&str>| text.map(str::to_owned).ok_or(Unproved::Malformed);
        let content = object.get("content").and_then(CanonicalValue::as_object);
        let device_keys = object.get("sender_device_keys").map(|keys| {
            let text = keys.to_string();
            serde_json::from_str(&text).ok().ok_or(Unproved::OtherDevice)
        });
        Ok(Self {
            kind: owned(text("type"))?,
            content: Zeroizing::new(CanonicalText(content.ok_or(Unproved::Malformed)?).to_string()),
            sender: owned(text("sender"))?,
            recipient: owned(text("recipient"))?,
            recipient_key: owned(ed25519("recipient_keys"))?,
            key: owned(ed25519("keys"))?,
            device_keys: device_keys.transpose()?,
        })
    }
}

/// The device enclosed in a message, if it is the sender's and can send.
fn enclosed_device(
    keys: &RawValue,
    (sender, sender_key): (&UserId, &Curve25519PublicKey),
    inside: &Plain,
    step: &Step<'_>,
) -> Option<Device> {
    let device = Device::check(keys, step.now()).ok()?;
    let is_senders = device.user == *sender
        && device.curve25519 == *sender_key
        && Some(device.ed25519) == ed25519_from_base64(&inside.key)
        && device.sort == DeviceSort::Ordinary;
    is_senders.then_some(device)
}

/// Types that are taken from a device that nothing is known of.
fn may_come_from_anyone(kind: &str) -> bool {
    matches!(kind, "m.room_key" | "m.room_key.withheld" | "m.dummy")
}

/// Names a message, so that a repeated one is told from an unreadable one.
fn hash_of(sender_key: &Curve25519PublicKey, sealed: &Ciphertext) -> String {
    let mut hash = Sha256::new();
    hash.update(sender_key.as_bytes());
    hash.update(sealed.kind.to_be_bytes());
    hash.update(sealed.body.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.finalize())
}
