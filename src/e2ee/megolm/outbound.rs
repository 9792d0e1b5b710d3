//! The outbound group session of a room: made, replaced when it must be, used to encrypt.
//!
//! # Spec
//! Megolm, "Lifecycle of a session"; End-to-End Encryption, `m.megolm.v1.aes-sha2`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};
use zeroize::Zeroizing;

use super::{
    inbound::{self, Creator, InboundSession},
    merge::Source,
    pickled,
    share::{Offers, targets},
};
use crate::{
    e2ee::{
        HistoryVisibility, Machine, MachineError, Recipients,
        lookup::Table,
        request::{self, Purpose, RequestId},
        room_settings::Rotation,
        step::Step,
        trust::SenderData,
    },
    matrix::{OwnedRoomId, OwnedUserId, RoomId},
    time::Timestamp,
};

/// An outbound session as it is stored.
#[derive(Serialize, Deserialize)]
pub(in crate::e2ee) struct OutboundSession {
    #[serde(with = "pickled::outbound")]
    pub(in crate::e2ee) session: GroupSession,
    pub(in crate::e2ee) created_at: Timestamp,
    /// Whether later members may get it from others.
    pub(in crate::e2ee) shared_history: bool,
    /// It encrypts nothing more.
    #[serde(default)]
    pub(in crate::e2ee) ended: bool,
    /// Users of whom a device went while it lived.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(in crate::e2ee) bereft: BTreeSet<OwnedUserId>,
    /// The signed session key of index 0, for devices that were entitled to it and lost it.
    pub(in crate::e2ee) first_key: Zeroizing<String>,
}

/// An outbound session in memory.
pub(in crate::e2ee) struct Outbound {
    pub(in crate::e2ee) id: String,
    pub(in crate::e2ee) record: OutboundSession,
    pub(in crate::e2ee) offers: Offers,
    /// Share requests that were not answered, and how often the server put each off.
    pub(in crate::e2ee) pending: BTreeMap<RequestId, u32>,
    /// For whom it was last prepared.
    pub(in crate::e2ee) prepared: Option<Preparation>,
    /// Whether one-time keys were asked for and did not come yet.
    pub(in crate::e2ee) claiming: bool,
    /// When a device that could not be reached may be tried again.
    pub(in crate::e2ee) retry_at: Option<Timestamp>,
}

/// What a preparation looked at; while it stays the same there is nothing to do.
#[derive(Clone, Debug)]
pub(in crate::e2ee) struct Preparation {
    pub(in crate::e2ee) to: Recipients,
    pub(in crate::e2ee) rotation: Rotation,
    /// `Core::device_changes` then.
    pub(in crate::e2ee) changes: u64,
    pub(in crate::e2ee) at: Timestamp,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a session encrypts nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum RotationCause {
    /// Somebody left, a gap may hide it, or the user said so.
    Ended,
    /// It is as old as the room allows.
    Age,
    /// It encrypted as many messages as the room allows.
    Messages,
    /// The room's history became shared or ceased to be.
    Visibility,
    /// A user who has the key is not a recipient any more.
    UserGone,
    /// A device that has the key, or may have it, was deleted, was blocked or has other keys now.
    DeviceGone,
}

impl OutboundSession {
    /// Makes a session.
    fn new(visibility: HistoryVisibility, now: Timestamp) -> Self {
        let session = GroupSession::new(SessionConfig::version_1());
        let first_key = Zeroizing::new(session.session_key().to_base64());
        let shared_history = is_shared(visibility);
        let bereft = BTreeSet::new();
        Self { session, created_at: now, shared_history, ended: false, bereft, first_key }
    }

    /// Why the session must be replaced before the next message, going by itself alone. Who has
    /// the key is the matter of [`Offers`].
    pub(in crate::e2ee) fn worn_out(
        &self,
        rotation: Rotation,
        visibility: HistoryVisibility,
        now: Timestamp,
    ) -> Option<RotationCause> {
        if self.ended {
            Some(RotationCause::Ended)
        } else if rotation.period() <= now.since(self.created_at) {
            Some(RotationCause::Age)
        } else if rotation.messages() <= u64::from(self.session.message_index()) {
            Some(RotationCause::Messages)
        } else if self.shared_history != is_shared(visibility) {
            Some(RotationCause::Visibility)
        } else {
            None
        }
    }
}

/// Whether members who come later may read what was sent before.
pub(in crate::e2ee) fn is_shared(visibility: HistoryVisibility) -> bool {
    match visibility {
        HistoryVisibility::Shared | HistoryVisibility::WorldReadable => true,
        HistoryVisibility::Invited | HistoryVisibility::Joined => false,
    }
}

impl Outbound {
    fn new(record: OutboundSession) -> Self {
        Self {
            id: record.session.session_id(),
            record,
            offers: Offers::default(),
            pending: BTreeMap::new(),
            prepared: None,
            claiming: false,
            retry_at: None,
        }
    }

    /// Whether a device that is gone may read on: any device of a recipient may have the key from
    /// another one of its user, by their backup, though we never sent it to that device.
    pub(in crate::e2ee) fn lost_device(&self, to: &Recipients) -> Option<RotationCause> {
        let bereft = &self.record.bereft;
        let any = !bereft.is_empty() && targets(to).any(|user| bereft.contains(user));
        any.then_some(RotationCause::DeviceGone)
    }

    /// Reads the session of `room` with all that belongs to it.
    fn load(room: &RoomId, step: &Step<'_>) -> Result<Option<Self>, MachineError> {
        let record = step.get(Table::OutboundGroupSession, room.as_str(), "")?;
        let Some(mut outbound) = record.map(Self::new) else { return Ok(None) };
        for (key, devices) in step.scan(Table::RoomKeyShare, Some(&outbound.id))? {
            if let Ok(user) = OwnedUserId::try_from(key.1) {
                outbound.offers.0.insert(user, devices);
            }
        }
        for record in request::records(step)? {
            if let Purpose::ShareRoomKey(purpose) = &record.purpose
                && purpose.session_id == outbound.id
            {
                outbound.pending.insert(record.request.id.clone(), record.postponed());
            }
        }
        Ok(Some(outbound))
    }

    /// Writes the session; the offers are written where they change.
    pub(in crate::e2ee) fn write(
        &self,
        room: &RoomId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        step.put(Table::OutboundGroupSession, room.as_str(), "", &self.record)
    }
}

impl Machine {
    /// After a start: sessions that were made ahead of now, before the clock was set back, must not
    /// live until the clock catches up.
    pub(in crate::e2ee) fn clamp_sessions(step: &mut Step<'_>) -> Result<(), MachineError> {
        #[derive(Deserialize)]
        struct Made {
            created_at: Timestamp,
        }
        for (key, made) in step.scan::<Made>(Table::OutboundGroupSession, None)? {
            if made.created_at <= step.now() {
                continue;
            }
            let record = step.get(Table::OutboundGroupSession, &key.0, &key.1)?;
            if let Some(mut record) = record {
                let session: &mut OutboundSession = &mut record;
                session.created_at = step.now();
                step.put(Table::OutboundGroupSession, &key.0, &key.1, &record)?;
            }
        }
        Ok(())
    }

    /// The outbound session of `room`, read if it is not at hand.
    pub(in crate::e2ee) fn outbound(
        &mut self,
        room: &RoomId,
        step: &Step<'_>,
    ) -> Result<Option<&mut Outbound>, MachineError> {
        if !self.megolm.outbound.contains_key(room)
            && let Some(outbound) = Outbound::load(room, step)?
        {
            self.megolm.outbound.insert(room.to_owned(), outbound);
        }
        Ok(self.megolm.outbound.get_mut(room))
    }

    /// Ends the session of `room`: the next message starts another.
    pub(in crate::e2ee) fn end_session(
        &mut self,
        room: &RoomId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(outbound) = self.outbound(room, step)? else { return Ok(()) };
        if outbound.record.ended {
            return Ok(());
        }
        outbound.record.ended = true;
        outbound.prepared = None;
        outbound.retry_at = None;
        outbound.write(room, step)
    }

    /// Notes in every session in use that devices went, if a list that just came lacks some.
    pub(in crate::e2ee) fn note_gone_devices(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let bereft = self.core.tracker.take_bereft();
        if bereft.is_empty() {
            return Ok(());
        }
        for (key, _) in step.scan::<serde::de::IgnoredAny>(Table::OutboundGroupSession, None)? {
            let Ok(room) = OwnedRoomId::try_from(key.0) else { continue };
            let Some(outbound) = self.outbound(&room, step)? else { continue };
            if !outbound.record.ended && !bereft.is_subset(&outbound.record.bereft) {
                outbound.record.bereft.extend(bereft.iter().cloned());
                outbound.write(&room, step)?;
            }
        }
        Ok(())
    }

    /// Ends the sessions of all rooms: what happened in them was not seen.
    pub(in crate::e2ee) fn end_all_sessions(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for (key, _) in step.scan::<serde::de::IgnoredAny>(Table::OutboundGroupSession, None)? {
            if let Ok(room) = OwnedRoomId::try_from(key.0) {
                self.end_session(&room, step)?;
            }
        }
        Ok(())
    }

    /// Replaces the session of `room` by a new one, our own copy of it included.
    pub(in crate::e2ee) fn new_session(
        &mut self,
        room: &RoomId,
        visibility: HistoryVisibility,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if let Some(old) = self.outbound(room, step)? {
            let (id, users) = (old.id.clone(), std::mem::take(&mut old.offers.0));
            for user in users.keys() {
                step.delete(Table::RoomKeyShare, &id, user.as_str());
            }
        }
        let outbound = Outbound::new(OutboundSession::new(visibility, step.now()));
        outbound.write(room, step)?;
        let own = InboundSession {
            session: InboundGroupSession::new(
                &outbound.record.session.session_key(),
                SessionConfig::version_1(),
            ),
            creator: Creator {
                curve25519: self.core.account.curve25519().to_base64(),
                ed25519: self.core.account.ed25519().to_base64(),
            },
            source: Source::Own,
            sender: SenderData::Own { user: self.core.user.clone() },
            others: Vec::new(),
            shared_history: outbound.record.shared_history,
            shared_by: None,
            chain: Vec::new(),
        };
        self.megolm.outbound.insert(room.to_owned(), outbound);
        inbound::import(&mut self.megolm, room, own, step).map(drop)
    }
}
