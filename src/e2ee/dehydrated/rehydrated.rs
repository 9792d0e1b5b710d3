//! A dehydrated device taken over: it reads what was sent to it, and nothing else.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use vodozemac::{
    Curve25519PublicKey, Ed25519PublicKey,
    olm::{Account, OlmMessage, Session, SessionConfig},
};
use zeroize::Zeroizing;

use crate::{
    e2ee::{
        MachineError,
        olm::{Arrived, OlmEvent, Reader, check_inside},
        step::Step,
    },
    matrix::{OwnedDeviceId, ToDeviceEvent, UserId},
    secret::Secret,
};

/// How it is sealed: ChaCha20-Poly1305 with the key as it is.
pub(super) const SEALED_V2: &str = "org.matrix.msc3814.v2";
/// The same, as the specification will call it.
const SEALED_V2_STABLE: &str = "m.dehydration.v2";
/// Sessions kept for one sender, and for all: a fallback key begins any number.
const SESSIONS_PER_SENDER: usize = 8;
const MAX_SESSIONS: usize = 8 << 10;

/// What the server keeps for whoever takes the device over.
#[derive(Deserialize)]
pub(super) struct Sealed {
    pub(super) device_id: OwnedDeviceId,
    device_data: SealedData,
}

#[derive(Deserialize)]
struct SealedData {
    algorithm: String,
    #[serde(default)]
    device_pickle: String,
    #[serde(default)]
    nonce: String,
}

/// The device, unsealed; its private keys are in memory only.
pub(super) struct Rehydrated {
    pub(super) device_id: OwnedDeviceId,
    account: Account,
    /// By the key of who began them.
    sessions: BTreeMap<[u8; 32], Vec<Session>>,
    count: usize,
}

impl fmt::Debug for Rehydrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehydrated")
            .field("device_id", &self.device_id)
            .field("sessions", &self.count)
            .finish_non_exhaustive()
    }
}

impl Sealed {
    /// Unseals the device; `None` when the key is not its key, or it is not the device of that name.
    pub(super) fn open(&self, key: &Secret<[u8; 32]>) -> Option<Rehydrated> {
        let data = &self.device_data;
        if ![SEALED_V2, SEALED_V2_STABLE].contains(&data.algorithm.as_str()) {
            return None;
        }
        let opened =
            Account::from_dehydrated_device(&data.device_pickle, &data.nonce, key.expose());
        let account = opened.ok()?;
        let is_named = account.curve25519_key().to_base64() == self.device_id.as_str();
        is_named.then(|| Rehydrated {
            device_id: self.device_id.clone(),
            account,
            sessions: BTreeMap::new(),
            count: 0,
        })
    }
}

impl Rehydrated {
    pub(super) fn keys(&self) -> (Curve25519PublicKey, Ed25519PublicKey) {
        (self.account.curve25519_key(), self.account.ed25519_key())
    }

    /// Reads an event that was sent to it; `None` when it cannot, or when what it says is not to be
    /// believed.
    pub(super) fn read(
        &mut self,
        event: &ToDeviceEvent,
        user: &UserId,
        step: &Step<'_>,
    ) -> Result<Option<OlmEvent>, MachineError> {
        if event.kind != "m.room.encrypted" {
            return Ok(None);
        }
        let Some(arrived) = Arrived::parse(event, &self.account.curve25519_key()) else {
            return Ok(None);
        };
        let Some(plaintext) = self.decrypt(&arrived) else { return Ok(None) };
        let reader = Reader { user, ed25519: self.account.ed25519_key() };
        let sender = (&*event.sender, &arrived.sender_key);
        Ok(check_inside(reader, sender, &plaintext, step)?.ok())
    }

    fn decrypt(&mut self, arrived: &Arrived) -> Option<Zeroizing<Vec<u8>>> {
        let Arrived { sender_key, message, .. } = arrived;
        let mut known = self.sessions.get_mut(sender_key.as_bytes());
        let known = known.iter_mut().flat_map(|sessions| sessions.iter_mut());
        match message {
            OlmMessage::Normal(_) => {
                let mut read = known.filter_map(|session| session.decrypt(message).ok());
                read.next().map(Zeroizing::new)
            }
            OlmMessage::PreKey(pre_key) => {
                let id = pre_key.session_id();
                if let Some(session) = known.into_iter().find(|it| it.session_id() == id) {
                    return session.decrypt(message).ok().map(Zeroizing::new);
                }
                let version = SessionConfig::version_1();
                let made = self.account.create_inbound_session(version, *sender_key, pre_key);
                let made = made.ok()?;
                self.keep(sender_key, made.session);
                Some(Zeroizing::new(made.plaintext))
            }
        }
    }

    /// Keeps a session for the messages after its first, as far as there is room.
    fn keep(&mut self, sender: &Curve25519PublicKey, session: Session) {
        if MAX_SESSIONS <= self.count {
            return;
        }
        let sessions = self.sessions.entry(sender.to_bytes()).or_default();
        if sessions.len() < SESSIONS_PER_SENDER {
            sessions.push(session);
            self.count += 1;
        }
    }
}
