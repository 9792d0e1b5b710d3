//! Getting a room ready to encrypt: device lists, session, offers, in this order.
//!
//! Every call works out anew what is missing and asks for it, so that it can be repeated after any
//! answer, after none, and after a restart.
//!
//! # Spec
//! End-to-End Encryption, "Recommended client behaviour".

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::value::{RawValue, to_raw_value};

use super::{
    MEGOLM_V1,
    outbound::{Outbound, Preparation},
    recipients::Stop,
    share::{Answer, Candidate, SharePurpose, targets},
    withheld,
};
use crate::{
    e2ee::{
        Machine, MachineError, Notice, Recipients, ShareError,
        core::{Freshness, OlmChannel},
        device::Device,
        lookup::Table,
        request::{DEVICES_PER_REQUEST, Purpose, RequestId, ToDeviceMessage},
        room_settings::{self, Encryption, Rotation},
        step::Step,
    },
    matrix::{OwnedRoomId, RoomId},
    time::Timestamp,
};

/// How often a share request is put off before messages go out without its answer; it is repeated
/// all the same.
const BLOCKING_TRIES: u32 = 3;

/// How long a preparation is good while nothing is known to have changed; then the device lists
/// are looked at again.
const PREPARED_FOR: Duration = Duration::from_secs(3600);

/// Whether the session of a room was offered to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Prepared {
    /// It was.
    Yes,
    /// Answers are missing.
    NotYet,
}

impl Machine {
    /// Makes sure that the devices of `to` were offered the session of `room`.
    ///
    /// # Errors
    /// When the room may not be encrypted for.
    pub(in crate::e2ee) fn prepare(
        &mut self,
        room: &RoomId,
        to: &Recipients,
        step: &mut Step<'_>,
    ) -> Result<Prepared, ShareError> {
        let rotation = self.rotation(room, step)?;
        if self.core.account.is_replaced() {
            return Err(ShareError::OwnKeysReplaced);
        }
        let prepared = if self.is_prepared(room, to, rotation, step)? {
            Prepared::Yes
        } else if self.core.account.is_published() {
            self.prepare_anew(room, to, rotation, step)?
        } else {
            self.wait(room, None)
        };
        if prepared == Prepared::Yes {
            self.megolm.waiting.remove(room);
        }
        Ok(prepared)
    }

    /// When the session of `room` is to be replaced: as its last preparation has it, which ends when
    /// the settings change, else as they are stored.
    fn rotation(&self, room: &RoomId, step: &Step<'_>) -> Result<Rotation, ShareError> {
        let prepared = self.megolm.outbound.get(room).and_then(|it| it.prepared.as_ref());
        if let Some(prepared) = prepared {
            return Ok(prepared.rotation);
        }
        match room_settings::read(room, step)?.encryption() {
            Encryption::Megolm(rotation) => Ok(rotation),
            Encryption::Off => Err(ShareError::NotEncrypted),
            Encryption::Unsupported(name) => Err(ShareError::UnsupportedAlgorithm(name)),
        }
    }

    /// Whether nothing changed since the room was last ready.
    fn is_prepared(
        &mut self,
        room: &RoomId,
        to: &Recipients,
        rotation: Rotation,
        step: &Step<'_>,
    ) -> Result<bool, MachineError> {
        let changes = self.core.device_changes();
        let Some(outbound) = self.outbound(room, step)? else { return Ok(false) };
        let same = outbound.prepared.as_ref().is_some_and(|it| {
            it.changes == changes && step.now().since(it.at) < PREPARED_FOR && it.to == *to
        });
        let worn = outbound.record.worn_out(rotation, to.history_visibility, step.now());
        Ok(same && worn.is_none() && !outbound.is_blocked())
    }

    fn prepare_anew(
        &mut self,
        room: &RoomId,
        to: &Recipients,
        rotation: Rotation,
        step: &mut Step<'_>,
    ) -> Result<Prepared, ShareError> {
        if let Freshness::Waiting(until) = self.core.refresh(targets(to), step)?
            && step.now() < until
        {
            return Ok(self.wait(room, Some(until)));
        }
        if let Some(stop) = self.stop(room, to, step)? {
            return match stop {
                Stop::Wait => Ok(self.wait(room, None)),
                Stop::Error(error) => Err(error),
            };
        }
        let devices = self.candidates(room, to, step)?;
        let visibility = to.history_visibility;
        let cause = match self.outbound(room, step)? {
            Some(outbound) => outbound
                .record
                .worn_out(rotation, visibility, step.now())
                .or_else(|| outbound.offers.stray_holder(&devices))
                .or_else(|| outbound.lost_device(to)),
            None => None,
        };
        if cause.is_some() || self.outbound(room, step)?.is_none() {
            tracing::debug!(?cause, "a new outbound group session");
            self.new_session(room, visibility, step)?;
        }
        self.offer(room, &devices, step)?;
        let changes = self.core.device_changes();
        let Some(outbound) = self.outbound(room, step)? else { return Ok(Prepared::NotYet) };
        let prepared = Preparation { to: to.clone(), rotation, changes, at: step.now() };
        outbound.prepared = Some(prepared);
        let blocked = outbound.is_blocked();
        Ok(if blocked { self.wait(room, None) } else { Prepared::Yes })
    }

    fn wait(&mut self, room: &RoomId, until: Option<Timestamp>) -> Prepared {
        self.megolm.waiting.insert(room.to_owned(), until);
        Prepared::NotYet
    }

    /// Sends the key to those of `devices` that are to have it and were not sent it, and word to
    /// those that get none.
    fn offer(
        &mut self,
        room: &RoomId,
        devices: &[Candidate],
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(outbound) = self.outbound(room, step)? else { return Ok(()) };
        let current = outbound.record.session.message_index();
        let (mut due, mut indices, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for candidate in devices {
            if let Some(index) = outbound.offers.due(candidate, current) {
                due.push(candidate.device.clone());
                indices.push(index);
            } else if let Some(code) = outbound.offers.due_code(candidate) {
                refusals.push((&candidate.device, code));
            }
        }
        self.send_keys(room, &due, &indices, step)?;
        withheld::send(self, room, &refusals, step)
    }

    /// Sends the key to `devices`, each from its index on, as far as there are ways to them.
    fn send_keys(
        &mut self,
        room: &RoomId,
        devices: &[Device],
        indices: &[u32],
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let channels = self.core.ensure_sessions(devices, step)?;
        let Some(outbound) = self.outbound(room, step)? else { return Ok(()) };
        let contents = outbound.key_contents(room)?;
        outbound.claiming = channels.contains(&OlmChannel::Waiting);
        outbound.retry_at = None;
        let mut ready = Vec::new();
        for ((device, index), channel) in devices.iter().zip(indices).zip(channels) {
            match channel {
                OlmChannel::Ready => ready.push((device, *index)),
                OlmChannel::Waiting => outbound.offers.want(device, *index),
                OlmChannel::Unreachable(until) => {
                    outbound.offers.want(device, *index);
                    outbound.retry_at =
                        outbound.retry_at.map_or(Some(until), |at| Some(at.min(until)));
                }
            }
        }
        for batch in ready.chunks(DEVICES_PER_REQUEST) {
            self.send_batch(room, batch, &contents, step)?;
        }
        if let Some(outbound) = self.outbound(room, step)? {
            let users: BTreeSet<_> = devices.iter().map(|device| &device.user).collect();
            outbound.offers.write(&outbound.id, users, step)?;
        }
        Ok(())
    }

    /// Encrypts the key for each device of `batch` and queues one request for all.
    fn send_batch(
        &mut self,
        room: &RoomId,
        batch: &[(&Device, u32)],
        contents: &KeyContents,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let (mut messages, mut reached) = (Vec::new(), Vec::new());
        for (device, index) in batch {
            let key = if *index == 0 { &contents.first } else { &contents.current };
            let content = self.core.encrypt_to_device(device, "m.room_key", key, step)?;
            let Some(content) = content else { continue };
            reached.push((device, *index));
            let (user, device_id) = (device.user.clone(), device.device_id.clone());
            messages.push(ToDeviceMessage { user, device_id, content });
        }
        let Some(outbound) = self.megolm.outbound.get_mut(room) else { return Ok(()) };
        if messages.is_empty() {
            return Ok(());
        }
        let purpose = SharePurpose { room: room.to_owned(), session_id: outbound.id.clone() };
        let purpose = Purpose::ShareRoomKey(purpose);
        let id = self.core.requests.to_device("m.room.encrypted", &messages, purpose, step)?;
        for (device, index) in reached {
            outbound.offers.sent(device, index, &id);
        }
        outbound.pending.insert(id, 0);
        Ok(())
    }

    /// Takes the answer to a share request.
    ///
    /// # Errors
    /// When the store fails.
    pub(in crate::e2ee) fn share_answered(
        &mut self,
        id: &RequestId,
        purpose: &SharePurpose,
        answer: Answer,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(outbound) = self.outbound(&purpose.room, step)? else { return Ok(()) };
        if outbound.id != purpose.session_id {
            return Ok(());
        }
        outbound.pending.remove(id);
        let users = outbound.offers.settle(id, answer);
        outbound.offers.write(&outbound.id, &users, step)?;
        if answer == Answer::Refused {
            outbound.prepared = None;
        }
        if !outbound.is_blocked() {
            self.tell_waiting(&purpose.room, step);
        }
        Ok(())
    }

    /// A share request was put off for the `tries`-th time; it stays and will be repeated.
    ///
    /// # Errors
    /// When the store fails.
    pub(in crate::e2ee) fn share_postponed(
        &mut self,
        id: &RequestId,
        purpose: &SharePurpose,
        tries: u32,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(outbound) = self.outbound(&purpose.room, step)? else { return Ok(()) };
        if let Some(pending) = outbound.pending.get_mut(id) {
            *pending = tries;
        }
        if !outbound.is_blocked() {
            self.tell_waiting(&purpose.room, step);
        }
        Ok(())
    }

    /// Device lists, one-time keys or our own upload came: rooms that wait for them go on.
    ///
    /// # Errors
    /// When the store fails.
    pub(in crate::e2ee) fn share_progressed(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let claiming = self.megolm.outbound.iter().filter(|(_, outbound)| outbound.claiming);
        for room in claiming.map(|(room, _)| room.clone()).collect::<Vec<_>>() {
            self.offer_again(&room, step)?;
        }
        for room in self.megolm.waiting.keys().cloned().collect::<Vec<_>>() {
            self.tell_waiting(&room, step);
        }
        Ok(())
    }

    /// Tries devices again that had no way to them, for the recipients of the last message. If one
    /// that has the key must not have it any more, the session ends instead: whoever is told that
    /// they get no key is not known to have it afterwards.
    fn offer_again(&mut self, room: &RoomId, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Some(outbound) = self.outbound(room, step)? else { return Ok(()) };
        outbound.claiming = false;
        outbound.retry_at = None;
        let Some(prepared) = outbound.prepared.clone() else { return Ok(()) };
        let devices = self.candidates(room, &prepared.to, step)?;
        let Some(outbound) = self.outbound(room, step)? else { return Ok(()) };
        if outbound.offers.stray_holder(&devices).is_some() {
            return self.end_session(room, step);
        }
        self.offer(room, &devices, step)
    }

    fn tell_waiting(&self, room: &RoomId, step: &mut Step<'_>) {
        if self.megolm.waiting.contains_key(room) {
            step.tell(Notice::RoomMayBeReady(room.to_owned()));
        }
    }

    /// Time passed: rooms stop waiting for device lists, unreachable devices are tried again.
    ///
    /// # Errors
    /// When the store fails.
    pub(in crate::e2ee) fn tick_shares(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let now = step.now();
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let mut ready: Vec<OwnedRoomId> = Vec::new();
        for (room, until) in self.megolm.waiting.iter_mut().filter(|(_, until)| is_due(**until)) {
            *until = None;
            ready.push(room.clone());
        }
        for room in ready {
            step.tell(Notice::RoomMayBeReady(room));
        }
        let retries = self.megolm.outbound.iter().filter(|(_, it)| is_due(it.retry_at));
        for room in retries.map(|(room, _)| room.clone()).collect::<Vec<_>>() {
            self.offer_again(&room, step)?;
        }
        Ok(())
    }

    /// When [`Machine::tick_shares`] wants to be called.
    pub(in crate::e2ee) fn share_deadline(&self) -> Option<Timestamp> {
        let waiting = self.megolm.waiting.values().flatten();
        let retries = self.megolm.outbound.values().filter_map(|it| it.retry_at.as_ref());
        waiting.chain(retries).min().copied()
    }
}

/// The content of `m.room_key`, for devices entitled to the whole session and for others.
struct KeyContents {
    first: Box<RawValue>,
    current: Box<RawValue>,
}

impl Outbound {
    /// Whether an answer is missing that messages wait for.
    fn is_blocked(&self) -> bool {
        self.claiming || self.pending.values().any(|tries| *tries < BLOCKING_TRIES)
    }

    fn key_contents(&self, room: &RoomId) -> Result<KeyContents, MachineError> {
        let current = zeroize::Zeroizing::new(self.record.session.session_key().to_base64());
        Ok(KeyContents {
            first: self.key_content(room, &self.record.first_key)?,
            current: self.key_content(room, &current)?,
        })
    }

    /// Whether the history is shared is written under the spec's name and under the one that
    /// Element reads; a third spelling would make Element drop the key.
    fn key_content(&self, room: &RoomId, key: &str) -> Result<Box<RawValue>, MachineError> {
        let shared = if self.record.shared_history { "true" } else { "false" };
        let content = BTreeMap::from([
            ("algorithm", to_raw_value(MEGOLM_V1)),
            ("room_id", to_raw_value(room)),
            ("session_id", to_raw_value(&self.id)),
            ("session_key", to_raw_value(key)),
            ("shared_history", RawValue::from_string(shared.to_owned())),
            ("m.shared_history", RawValue::from_string(shared.to_owned())),
        ]);
        let content: Result<BTreeMap<_, _>, _> =
            content.into_iter().map(|(name, value)| value.map(|value| (name, value))).collect();
        content
            .and_then(|content| to_raw_value(&content))
            .map_err(|source| MachineError::Record { table: Table::RoomKeyShare.name(), source })
    }
}
