//! Inbound group sessions: what is stored of them, and how a room key becomes one.
//!
//! # Spec
//! End-to-End Encryption, `m.room_key`; Megolm, "Session-sharing format".

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vodozemac::megolm::{InboundGroupSession, SessionConfig, SessionKey};

use super::{
    MEGOLM_V1,
    cache::Megolm,
    merge::{Merged, Source, merge},
    pickled,
};
use crate::{
    e2ee::{
        MachineError, Notice, RecordKey, backup, core::OlmSender, exported::Import, lookup::Table,
        room_settings, step::Step, trust::SenderData,
    },
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
};

/// Most sessions kept of one user for rooms that were never seen encrypted: keys may come before
/// the invite, but not without end. (Not of one device: those are made up for nothing.)
const MAX_EARLY_SESSIONS: u64 = 1_000;
/// Largest `m.room_key` content that is read; a real one has some 500 bytes.
const MAX_CONTENT_BYTES: usize = 8 << 10;
/// Names the counts of early sessions.
const EARLY: &str = "early_sessions";
/// Bytes of a session id: 32 in unpadded base64.
const SESSION_ID_BYTES: usize = 43;

/// Most devices that are remembered to have called one session theirs.
const MAX_CLAIMS: usize = 16;
/// Most makers beside those that are remembered because copies name them.
const MAX_NAMED: usize = 4;

/// The keys of the device that made a session; proved if the source is, else claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::e2ee) struct Creator {
    pub(in crate::e2ee) curve25519: String,
    pub(in crate::e2ee) ed25519: String,
}

/// Another device that says it made a session. Whoever holds a session key can send it on as if it
/// were theirs, so the first to say so must not keep the maker's messages from being read. Or one
/// of whom a copy says so that proves nothing: its sender is unknown.
#[derive(Serialize, Deserialize)]
pub(in crate::e2ee) struct Claim {
    pub(in crate::e2ee) creator: Creator,
    pub(in crate::e2ee) sender: SenderData,
}

/// An inbound group session and what is known of its origin.
#[derive(Serialize, Deserialize)]
pub(in crate::e2ee) struct InboundSession {
    #[serde(with = "pickled::inbound")]
    pub(in crate::e2ee) session: InboundGroupSession,
    pub(in crate::e2ee) creator: Creator,
    pub(in crate::e2ee) source: Source,
    pub(in crate::e2ee) sender: SenderData,
    /// Who else sent it over Olm as theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::e2ee) others: Vec<Claim>,
    /// Whether its creator allows it to be handed to later invited members.
    pub(in crate::e2ee) shared_history: bool,
    /// Who handed it to us with the history of a room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::e2ee) shared_by: Option<OwnedUserId>,
    /// Curve25519 keys of the devices that forwarded it, the last of them to us. What the others say
    /// is a claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::e2ee) chain: Vec<String>,
}

impl InboundSession {
    /// Who handed it to us with the history of its room, if nobody has given us a better one since.
    pub(in crate::e2ee) fn sharer(&self) -> Option<&OwnedUserId> {
        self.shared_by.as_ref().filter(|_| self.source == Source::Bundle)
    }
}

/// The part of `m.room_key` that we read. Whether the history may be shared is spelled three ways
/// in the wild; anything but `true` means no.
#[derive(Deserialize)]
struct Content {
    algorithm: String,
    room_id: OwnedRoomId,
    session_id: String,
    /// Reading it verifies its signature by itself.
    session_key: SessionKey,
    #[serde(default)]
    shared_history: Value,
    #[serde(default, rename = "m.shared_history")]
    prefixed: Value,
    #[serde(default, rename = "org.matrix.msc3061.shared_history")]
    unstable: Value,
}

impl Content {
    fn shared_history(&self) -> bool {
        [&self.shared_history, &self.prefixed, &self.unstable].contains(&&Value::Bool(true))
    }
}

/// Takes an `m.room_key` that came over Olm; `content` is its JSON text. A key that is not well
/// formed is dropped.
///
/// # Errors
/// When the store fails.
pub(in crate::e2ee) fn receive_room_key(
    megolm: &mut Megolm,
    from: &OlmSender,
    content: &str,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    if MAX_CONTENT_BYTES < content.len() {
        return Ok(());
    }
    let Ok(content) = serde_json::from_str::<Content>(content) else { return Ok(()) };
    let Some(session) = session_of(&content) else { return Ok(()) };
    let new = InboundSession {
        session,
        creator: Creator { curve25519: from.curve25519.to_base64(), ed25519: from.ed25519.clone() },
        source: Source::Olm,
        sender: SenderData::of(from),
        others: Vec::new(),
        shared_history: content.shared_history(),
        shared_by: None,
        chain: Vec::new(),
    };
    import(megolm, &content.room_id, new, step).map(drop)
}

/// The session in `content`, if its id and the algorithm are right.
fn session_of(content: &Content) -> Option<InboundGroupSession> {
    if content.algorithm != MEGOLM_V1 {
        return None;
    }
    let session = InboundGroupSession::new(&content.session_key, SessionConfig::version_1());
    (session.session_id() == content.session_id).then_some(session)
}

/// Stores a session of `room`, joined with the copy that is there.
pub(in crate::e2ee) fn import(
    megolm: &mut Megolm,
    room: &RoomId,
    new: InboundSession,
    step: &mut Step<'_>,
) -> Result<Import, MachineError> {
    let id = new.session.session_id();
    let source = new.source;
    let merged = match megolm.inbound(room, &id, step)? {
        Some(old) => {
            old.standing = None;
            merge(&mut old.record, new)
        }
        None if !may_come(room, (&id, &new), step)? => return Ok(Import::Refused),
        None => {
            megolm.remember(room, id.clone(), new);
            step.put(Table::SessionRoom, &id, room.as_str(), &())?;
            step.delete(Table::Withheld, room.as_str(), &id);
            Merged::Improved
        }
    };
    if merged == Merged::Kept {
        return Ok(Import::Known);
    }
    megolm.write_inbound(room, &id, step)?;
    backup::session_changed(megolm, (room, &id), source, step)?;
    step.tell(Notice::RoomKey { room: room.to_owned(), session_id: id });
    Ok(Import::Improved)
}

/// Whether a session that we do not have may be kept: one for a room that was never seen encrypted
/// only if the sender left not too many, and a copy that proves nothing only if its id belongs to
/// no other room.
fn may_come(
    room: &RoomId,
    (id, new): (&str, &InboundSession),
    step: &mut Step<'_>,
) -> Result<bool, MachineError> {
    if new.source.is_proof() {
        return may_come_early(room, &new.sender, step);
    }
    let rooms = step.scan::<()>(Table::SessionRoom, Some(id))?;
    Ok(rooms.iter().all(|(RecordKey(_, other), ())| other == room.as_str()))
}

impl InboundSession {
    /// Notes that another device calls the session its own; whether that is news.
    pub(super) fn add_claim(&mut self, creator: Creator, sender: SenderData) -> bool {
        let known = self.others.iter_mut().find(|claim| claim.creator == creator);
        if let Some(known) = known {
            let raises =
                matches!(known.sender, SenderData::Unknown { .. }) && known.sender != sender;
            if raises {
                known.sender = sender;
            }
            return raises;
        }
        let fits = self.others.len() < MAX_CLAIMS;
        if fits {
            tracing::warn!("two devices call one group session theirs");
            self.others.push(Claim { creator, sender });
        }
        fits
    }
}

impl InboundSession {
    /// Notes whom a copy names as the maker that proves nothing; whether that is news.
    pub(super) fn add_named(&mut self, creator: &Creator) -> bool {
        let is_known = self.others.iter().any(|claim| claim.creator == *creator);
        let fits = !is_known && self.named().count() < MAX_NAMED;
        if fits {
            let sender = SenderData::Unknown { claimed: None };
            self.others.push(Claim { creator: creator.clone(), sender });
        }
        fits
    }

    /// Makers that copies name which prove nothing.
    pub(in crate::e2ee) fn named(&self) -> impl Iterator<Item = &Creator> {
        let is_named = |it: &&Claim| matches!(it.sender, SenderData::Unknown { claimed: None });
        self.others.iter().filter(is_named).map(|claim| &claim.creator)
    }
}

/// Whether `sender` may leave another key for a room that we have not seen encrypted.
fn may_come_early(
    room: &RoomId,
    sender: &SenderData,
    step: &mut Step<'_>,
) -> Result<bool, MachineError> {
    if room_settings::read(room, step)?.is_encrypted() {
        return Ok(true);
    }
    let user = sender.user().map_or("", UserId::as_str);
    let count: u64 = step.get(Table::Misc, EARLY, user)?.unwrap_or(0);
    if MAX_EARLY_SESSIONS <= count {
        return Ok(false);
    }
    step.put(Table::Misc, EARLY, user, &(count + 1))?;
    Ok(true)
}

/// `room` is seen encrypted now: its sessions do not count as early any more.
pub(in crate::e2ee) fn room_is_known(
    room: &RoomId,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let sessions = step.scan::<InboundSession>(Table::InboundGroupSession, Some(room.as_str()))?;
    for (_, session) in sessions {
        let user = session.sender.user().map_or("", UserId::as_str);
        let count: u64 = step.get(Table::Misc, EARLY, user)?.unwrap_or(0);
        step.put(Table::Misc, EARLY, user, &count.saturating_sub(1))?;
    }
    Ok(())
}

/// Whether `text` could be a session id.
pub(in crate::e2ee) fn is_session_id(text: &str) -> bool {
    text.len() == SESSION_ID_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
