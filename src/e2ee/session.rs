//! Olm sessions: kept, chosen, used.
//!
//! Each success with a peer takes the next number, so that order does not hang on a clock that may
//! be set back.
//!
//! # Spec
//! Client-Server API, "Recovering from undecryptable messages"; Olm, "Sessions".

use std::fmt;

use serde::{Deserialize, Serialize};
use vodozemac::{
    Curve25519PublicKey,
    olm::{OlmMessage, Session, SessionPickle},
};
use zeroize::Zeroizing;

use crate::time::Timestamp;

use super::{core::Core, error::MachineError, lookup::Table, step::Step};

/// Sessions kept for one curve25519 key.
const SESSIONS_PER_PEER: usize = 8;

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// We took a one-time key of theirs.
    OneTimeKey,
    /// We took their fallback key: others may have begun with the same.
    FallbackKey,
    /// They began it.
    Theirs,
}

/// When a session did what.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Life {
    origin: Origin,
    created: Timestamp,
    /// Number of the last message it received, or of its creation: the highest is written with.
    received: u64,
    /// Number of its last use: the lowest is dropped when there are too many.
    used: u64,
}

#[derive(Deserialize)]
struct Record {
    pickle: SessionPickle,
    life: Life,
}

#[derive(Serialize)]
struct RecordRef<'a> {
    pickle: SessionPickle,
    life: &'a Life,
}

/// A session taken out of its record.
struct Kept {
    session: Session,
    life: Life,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("life", &self.life).finish_non_exhaustive()
    }
}

/// The sessions with one peer.
#[derive(Debug)]
pub(super) struct Peer {
    curve25519: String,
    sessions: Vec<Kept>,
}

impl Peer {
    /// The sessions with the holder of this key; often none.
    pub(super) fn load(key: &Curve25519PublicKey, step: &Step<'_>) -> Result<Self, MachineError> {
        let curve25519 = key.to_base64();
        let sessions = step
            .scan::<Record>(Table::OlmSession, Some(&curve25519))?
            .into_iter()
            .map(|(_, record)| Kept {
                session: Session::from_pickle(record.pickle),
                life: record.life,
            })
            .collect();
        Ok(Self { curve25519, sessions })
    }

    fn next_number(&self) -> u64 {
        let last = self.sessions.iter().map(|kept| kept.life.used.max(kept.life.received)).max();
        last.map_or(0, |last| last + 1)
    }

    fn put(&self, kept: &Kept, step: &mut Step<'_>) -> Result<(), MachineError> {
        let record = RecordRef { pickle: kept.session.pickle(), life: &kept.life };
        step.put(Table::OlmSession, &self.curve25519, &kept.session.session_id(), &record)
    }

    /// Drops the least used sessions so that one more fits.
    fn make_room(&mut self, step: &mut Step<'_>) {
        self.sessions.sort_by_key(|kept| std::cmp::Reverse(kept.life.used));
        while self.sessions.len() >= SESSIONS_PER_PEER {
            if let Some(dropped) = self.sessions.pop() {
                step.delete(Table::OlmSession, &self.curve25519, &dropped.session.session_id());
            }
        }
    }

    /// Whether one of the sessions has this id.
    pub(super) fn has(&self, session_id: &str) -> bool {
        self.sessions.iter().any(|kept| kept.session.session_id() == session_id)
    }

    /// When the newest session began, of those that began before `now`.
    pub(super) fn newest(&self, now: Timestamp) -> Option<Timestamp> {
        self.sessions.iter().map(|kept| kept.life.created).filter(|at| *at <= now).max()
    }

    /// Decrypts with the session of this id, or with whichever can, the last used first. Only a
    /// session that could is written.
    pub(super) fn decrypt(
        &mut self,
        message: &OlmMessage,
        session_id: Option<&str>,
        step: &mut Step<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, MachineError> {
        let number = self.next_number();
        self.sessions.sort_by_key(|kept| std::cmp::Reverse(kept.life.received));
        for i in 0..self.sessions.len() {
            let Some(kept) = self.sessions.get_mut(i) else { continue };
            if session_id.is_some_and(|id| id != kept.session.session_id()) {
                continue;
            }
            if let Ok(plaintext) = kept.session.decrypt(message) {
                kept.life.received = number;
                kept.life.used = number;
                let plaintext = Zeroizing::new(plaintext);
                if let Some(kept) = self.sessions.get(i) {
                    self.put(kept, step)?;
                }
                return Ok(Some(plaintext));
            }
        }
        Ok(None)
    }

    /// Encrypts with the session that last received.
    fn encrypt(
        &mut self,
        plaintext: &[u8],
        step: &mut Step<'_>,
    ) -> Result<Option<OlmMessage>, MachineError> {
        let number = self.next_number();
        self.sessions.sort_by_key(|kept| kept.life.received);
        let Some(mut kept) = self.sessions.pop() else { return Ok(None) };
        kept.life.used = number;
        // It fails on keys that yield no secret: then there is no session.
        let message = kept.session.encrypt(plaintext).ok();
        if message.is_some() {
            self.put(&kept, step)?;
        }
        Ok(message)
    }
}

/// Keeps a new session, dropping the least used beyond eight.
pub(super) fn add_session(
    key: &Curve25519PublicKey,
    session: Session,
    origin: Origin,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let mut peer = Peer::load(key, step)?;
    let number = peer.next_number();
    peer.make_room(step);
    let life = Life { origin, created: step.now(), received: number, used: number };
    peer.put(&Kept { session, life }, step)
}

/// Encrypts bytes for the holder of a curve25519 key; `None` without a session.
pub(super) fn encrypt_olm(
    key: &Curve25519PublicKey,
    plaintext: &[u8],
    step: &mut Step<'_>,
) -> Result<Option<OlmMessage>, MachineError> {
    Peer::load(key, step)?.encrypt(plaintext, step)
}

impl Core {
    /// Whether there is a session with the holder of a curve25519 key.
    pub(super) fn has_session(
        &mut self,
        key: &Curve25519PublicKey,
        step: &Step<'_>,
    ) -> Result<bool, MachineError> {
        // Sessions are replaced, and run out only by `forget_sessions`.
        if self.known_peers.contains(key.as_bytes()) {
            return Ok(true);
        }
        let has = !Peer::load(key, step)?.sessions.is_empty();
        if has {
            self.known_peers.insert(key.to_bytes());
        }
        Ok(has)
    }

    /// Drops all sessions with the holder of a curve25519 key.
    pub(super) fn forget_sessions(
        &mut self,
        key: &Curve25519PublicKey,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.known_peers.remove(key.as_bytes());
        let peer = Peer::load(key, step)?;
        for kept in &peer.sessions {
            step.delete(Table::OlmSession, &peer.curve25519, &kept.session.session_id());
        }
        Ok(())
    }
}
