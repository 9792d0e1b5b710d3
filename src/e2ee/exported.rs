//! A group session as it stands outside of a store: in a key backup, a key file, a forward, a
//! bundle of history. And how one comes in from there.
//!
//! Such a copy carries no signature: whoever handed it over could have made it up, and what it says
//! of its creator is a claim. Its [`Source`] is kept with it and caps what is shown of it.
//!
//! # Spec
//! End-to-End Encryption, "Key exports", `BackedUpSessionData`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vodozemac::megolm::{ExportedSessionKey, InboundGroupSession, SessionConfig};

use super::{
    Machine, MachineError, RecordKey, Table,
    megolm::{
        self, MEGOLM_V1, Source,
        inbound::{Creator, InboundSession},
    },
    step::{Step, encode_text},
    trust::SenderData,
};
use crate::{
    matrix::{OwnedRoomId, RoomId},
    secret::Secret,
};

/// Sessions exported in one step.
const EXPORTED_AT_ONCE: usize = 200;
/// Longest name of a claimed key that is kept.
const MAX_CLAIM_BYTES: usize = 64;
/// Most devices that are remembered to have forwarded a session.
const MAX_CHAIN: usize = 16;

/// A session on its way in or out. Whether its history may be shared is spelled three ways in the
/// wild; two are written, because the third beside the second makes others drop the whole key.
#[derive(Serialize, Deserialize)]
pub(super) struct ExportedSession {
    pub(super) algorithm: String,
    /// In key files and bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) room_id: Option<OwnedRoomId>,
    /// In key files and bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session_id: Option<String>,
    #[serde(default)]
    pub(super) sender_key: String,
    #[serde(default)]
    pub(super) sender_claimed_keys: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) forwarding_curve25519_key_chain: Vec<String>,
    pub(super) session_key: ExportedSessionKey,
    #[serde(default)]
    shared_history: Value,
    #[serde(default, rename = "m.shared_history")]
    prefixed: Value,
    #[serde(default, rename = "org.matrix.msc3061.shared_history", skip_serializing)]
    unstable: Value,
}

/// What became of a session that was handed to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Import {
    /// It is new, or better than what we had.
    Improved,
    /// What we had is as good.
    Known,
    /// It is not what it is said to be.
    Refused,
}

/// What became of sessions that were handed to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportCounts {
    /// New, or better than what we had.
    pub improved: u64,
    /// As good as what we had.
    pub known: u64,
    /// Not sessions, or not what they are said to be.
    pub refused: u64,
}

impl ImportCounts {
    fn add(&mut self, import: Import) {
        match import {
            Import::Improved => self.improved += 1,
            Import::Known => self.known += 1,
            Import::Refused => self.refused += 1,
        }
    }
}

impl ExportedSession {
    /// A copy of a session of ours, from the first index that we know.
    pub(super) fn of(record: &InboundSession) -> Self {
        let shared = Value::Bool(record.shared_history);
        Self {
            algorithm: MEGOLM_V1.to_owned(),
            room_id: None,
            session_id: None,
            sender_key: record.creator.curve25519.clone(),
            sender_claimed_keys: [("ed25519".to_owned(), record.creator.ed25519.clone())].into(),
            forwarding_curve25519_key_chain: record.chain.clone(),
            session_key: record.session.export_at_first_known_index(),
            shared_history: shared.clone(),
            prefixed: shared,
            unstable: Value::Null,
        }
    }

    /// A session as one of our devices forwarded it: its creator's keys are what that one says, and
    /// so is who forwarded it before.
    pub(super) fn forwarded(
        algorithm: String,
        session_key: ExportedSessionKey,
        (sender_key, sender_claimed_keys): (String, BTreeMap<String, String>),
        (mut chain, forwarder): (Vec<String>, String),
    ) -> Self {
        chain.truncate(MAX_CHAIN - 1);
        chain.push(forwarder);
        Self {
            algorithm,
            room_id: None,
            session_id: None,
            sender_key,
            sender_claimed_keys,
            forwarding_curve25519_key_chain: chain,
            session_key,
            shared_history: Value::Null,
            prefixed: Value::Null,
            unstable: Value::Null,
        }
    }

    /// The same with the names that a key file needs.
    pub(super) fn named(mut self, room: &RoomId, session_id: &str) -> Self {
        self.room_id = Some(room.to_owned());
        self.session_id = Some(session_id.to_owned());
        self
    }

    /// The same as one that may be handed on: it came as history that is shared.
    pub(super) fn shareable(self) -> Self {
        Self { shared_history: Value::Bool(true), ..self }
    }

    /// Whether its creator allows it to be handed to later invited members.
    pub(super) fn shared_history(&self) -> bool {
        [&self.shared_history, &self.prefixed, &self.unstable].contains(&&Value::Bool(true))
    }

    /// The session, if it is the one that it was asked for as.
    fn into_record(self, session_id: &str, source: Source) -> Option<InboundSession> {
        let session = InboundGroupSession::import(&self.session_key, SessionConfig::version_1());
        let ed25519 = self.sender_claimed_keys.get("ed25519").cloned().unwrap_or_default();
        let fits = self.algorithm == MEGOLM_V1
            && session.session_id() == session_id
            && ed25519.len() <= MAX_CLAIM_BYTES
            && self.sender_key.len() <= MAX_CLAIM_BYTES;
        let mut chain = self.forwarding_curve25519_key_chain.clone();
        chain.retain(|key| key.len() <= MAX_CLAIM_BYTES);
        chain.truncate(MAX_CHAIN);
        fits.then(|| InboundSession {
            session,
            creator: Creator { curve25519: self.sender_key.clone(), ed25519 },
            source,
            sender: SenderData::Unknown { claimed: None },
            others: Vec::new(),
            shared_history: self.shared_history(),
            shared_by: None,
            chain,
        })
    }
}

impl Machine {
    /// Takes a session that is said to be `session_id` of `room`. Nothing that it says of its
    /// creator is believed, and it replaces no session that an Olm message proved; it may extend one
    /// towards earlier messages, if one ratchet leads to the other.
    pub(super) fn import_session(
        &mut self,
        (room, session_id): (&RoomId, &str),
        exported: ExportedSession,
        source: Source,
        step: &mut Step<'_>,
    ) -> Result<Import, MachineError> {
        let Some(record) = exported.into_record(session_id, source) else {
            return Ok(Import::Refused);
        };
        megolm::inbound::import(&mut self.megolm, room, record, step)
    }

    /// Some of our sessions as a key file holds them (JSON text), those that come after a room and
    /// session; and where to go on, unless that was all.
    ///
    /// # Errors
    /// When the store fails.
    pub fn export_sessions(
        &self,
        after: Option<&RecordKey>,
        step: &Step<'_>,
    ) -> Result<(Vec<Secret<String>>, Option<RecordKey>), MachineError> {
        let keys = step.keys_after(Table::InboundGroupSession, after, EXPORTED_AT_ONCE)?;
        let mut sessions = Vec::with_capacity(keys.len());
        for RecordKey(room, id) in &keys {
            let record: Option<InboundSession> = step.get(Table::InboundGroupSession, room, id)?;
            let owner = OwnedRoomId::try_from(room.as_str()).ok();
            let Some((record, owner)) = record.zip(owner) else { continue };
            let session = ExportedSession::of(&record).named(&owner, id);
            sessions.push(Secret::new(encode_text(Table::InboundGroupSession, &session)?));
        }
        let next = keys.last().filter(|_| keys.len() == EXPORTED_AT_ONCE);
        Ok((sessions, next.cloned()))
    }

    /// Takes sessions of a key file, each as JSON text.
    ///
    /// # Errors
    /// When the store fails. What is no session is counted.
    pub fn import_sessions<'t>(
        &mut self,
        sessions: impl Iterator<Item = &'t str>,
        step: &mut Step<'_>,
    ) -> Result<ImportCounts, MachineError> {
        let mut counts = ImportCounts::default();
        for text in sessions {
            counts.add(self.import_named(text, step)?);
        }
        Ok(counts)
    }

    fn import_named(&mut self, text: &str, step: &mut Step<'_>) -> Result<Import, MachineError> {
        let Ok(session) = serde_json::from_str::<ExportedSession>(text) else {
            return Ok(Import::Refused);
        };
        let (Some(room), Some(id)) = (session.room_id.clone(), session.session_id.clone()) else {
            return Ok(Import::Refused);
        };
        self.import_session((&room, &id), session, Source::Import, step)
    }
}
