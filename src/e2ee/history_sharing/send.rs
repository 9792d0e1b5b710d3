//! Handing history to whoever is invited.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use vodozemac::megolm::ExportedSessionKey;

use super::{Content, TYPE, is_cross_signed};
use crate::{
    e2ee::{
        EncryptedFile, HistoryVisibility, Machine, MachineError, Notice, RequestId,
        core::{Freshness, OlmChannel},
        cross_signing::state_of,
        device::Device,
        devices::devices_of,
        identity::Identity,
        lookup::Table,
        megolm::{MEGOLM_V1, inbound::InboundSession, is_shared, withheld::Notification},
        request::{DEVICES_PER_REQUEST, Purpose, ToDeviceMessage},
        step::{Step, encode, encode_text, raw},
    },
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
    secret::Secret,
    time::Timestamp,
};

/// How long an invite waits for the devices of whom it is for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most sessions of one bundle.
const MAX_SESSIONS: usize = 20_000;

/// The keys of a room's history as they are handed over.
#[derive(Debug)]
pub struct HistoryBundle {
    /// The file, to be encrypted and uploaded.
    pub json: Secret<Vec<u8>>,
    /// How many keys are in it.
    pub shared: usize,
    /// Of how many it says that they are not.
    pub withheld: usize,
}

/// What can be handed over.
#[derive(Debug)]
pub enum Bundled {
    /// Nothing: the room keeps its history to itself, or there are no keys.
    Nothing,
    /// Nothing, because the identity of the user changed and nobody settled it.
    Distrusted,
    /// This.
    Bundle(HistoryBundle),
}

/// A bundle, by reference to what is kept.
#[derive(Serialize)]
struct Bundle<'a> {
    room_keys: Vec<RoomKey<'a>>,
    withheld: Vec<Notification<'a>>,
}

#[derive(Serialize)]
struct RoomKey<'a> {
    algorithm: &'a str,
    room_id: &'a RoomId,
    sender_claimed_keys: ClaimedKeys<'a>,
    sender_key: &'a str,
    session_id: &'a str,
    session_key: ExportedSessionKey,
}

#[derive(Serialize)]
struct ClaimedKeys<'a> {
    ed25519: &'a str,
}

/// History for somebody whose devices are being looked up.
#[derive(Debug)]
pub(in crate::e2ee) struct Sending {
    room: OwnedRoomId,
    user: OwnedUserId,
    file: EncryptedFile,
    give_up: Timestamp,
    phase: Phase,
    /// Requests that the server has not answered.
    pub(super) unanswered: BTreeSet<RequestId>,
    devices: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    LookingUp,
    Sent,
}

/// Whether the keys of a room's history are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// They are, as far as this device can get them.
    Here,
    /// The backup's are being fetched; [`Notice::KeysFetched`] says when they are here.
    Coming,
}

impl Machine {
    /// Before history is handed over: has the keys fetched that only the backup has.
    ///
    /// # Errors
    /// When the store fails.
    pub fn gather_history(
        &mut self,
        room: &RoomId,
        visibility: HistoryVisibility,
        step: &mut Step<'_>,
    ) -> Result<Gathered, MachineError> {
        if !is_shared(visibility)
            || !self.is_encrypted(room, step)?
            || self.has_room_keys(room, step)?
        {
            return Ok(Gathered::Here);
        }
        Ok(Gathered::Coming)
    }

    /// What of the history of `room` may be handed to `user`, whom we are about to invite: the keys
    /// whose makers allow it, if the room's history is for everybody who joins.
    ///
    /// # Errors
    /// When the store fails.
    pub fn history_bundle(
        &mut self,
        (room, user): (&RoomId, &UserId),
        visibility: HistoryVisibility,
        step: &mut Step<'_>,
    ) -> Result<Bundled, MachineError> {
        if !is_shared(visibility) || !self.is_encrypted(room, step)? {
            return Ok(Bundled::Nothing);
        }
        if self.is_distrusted(user, step)? {
            return Ok(Bundled::Distrusted);
        }
        let sessions = step
            .scan::<InboundSession>(Table::InboundGroupSession, Some(room.as_str()))?
            .into_iter()
            .take(MAX_SESSIONS)
            .map(|(key, record)| (key.1, record));
        let sessions: Vec<(String, InboundSession)> = sessions.collect();
        let (shared, kept): (Vec<_>, Vec<_>) =
            sessions.iter().partition(|(_, record)| record.shared_history);
        if shared.is_empty() {
            return Ok(Bundled::Nothing);
        }
        let bundle = Bundle {
            room_keys: shared.iter().map(|(id, record)| room_key(room, id, record)).collect(),
            withheld: kept.iter().map(|(id, record)| withheld(room, id, record)).collect(),
        };
        let mut json = encode(Table::InboundGroupSession, &bundle)?;
        let json = Secret::new(std::mem::take(&mut json));
        let (shared, withheld) = (shared.len(), kept.len());
        Ok(Bundled::Bundle(HistoryBundle { json, shared, withheld }))
    }

    /// Whether the identity of `user` is another than the one we trusted.
    fn is_distrusted(&self, user: &UserId, step: &Step<'_>) -> Result<bool, MachineError> {
        let shown = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
        let state = shown.map(|shown| state_of(&shown, &self.core.user, step)).transpose()?;
        Ok(state.is_some_and(super::super::cross_signing::IdentityState::is_violation))
    }

    /// Tells the cross-signed devices of `user` where the history of `room` lies. When that is done,
    /// as far as it can be, [`Notice::HistorySent`] says so.
    ///
    /// # Errors
    /// When the store fails.
    pub fn send_history(
        &mut self,
        (room, user): (&RoomId, &UserId),
        file: EncryptedFile,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.history.sending.push(Sending {
            room: room.to_owned(),
            user: user.to_owned(),
            file,
            give_up: step.now().plus(PATIENCE),
            phase: Phase::LookingUp,
            unanswered: BTreeSet::new(),
            devices: 0,
        });
        self.history_progressed(step)
    }

    /// Goes on with what waits for devices, sessions or answers.
    pub(in crate::e2ee) fn history_progressed(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.offers_progressed(step)?;
        let mut left = Vec::new();
        for mut sending in std::mem::take(&mut self.history.sending) {
            if sending.phase == Phase::LookingUp {
                self.look_up(&mut sending, step)?;
            }
            let is_over = sending.unanswered.is_empty() || sending.give_up <= step.now();
            if sending.phase == Phase::Sent && is_over {
                let Sending { room, user, devices, .. } = sending;
                step.tell(Notice::HistorySent { room, user, devices });
            } else {
                left.push(sending);
            }
        }
        self.history.sending = left;
        Ok(())
    }

    /// When waiting is over.
    pub(in crate::e2ee) fn history_deadline(&self) -> Option<Timestamp> {
        self.history.sending.iter().map(|sending| sending.give_up).min()
    }

    fn look_up(&mut self, sending: &mut Sending, step: &mut Step<'_>) -> Result<(), MachineError> {
        let is_late = sending.give_up <= step.now();
        let fresh = self.core.refresh([&sending.user], step)?;
        if matches!(fresh, Freshness::Waiting(_)) && !is_late {
            return Ok(());
        }
        // Again, now that their identity may be another.
        if self.is_distrusted(&sending.user, step)? {
            sending.phase = Phase::Sent;
            return Ok(());
        }
        let mut devices = Vec::new();
        for device in devices_of(&sending.user, step)? {
            if is_cross_signed(&device, step)? {
                devices.push(device);
            }
        }
        let channels = self.core.ensure_sessions(&devices, step)?;
        if channels.contains(&OlmChannel::Waiting) && !is_late {
            return Ok(());
        }
        let ready = devices.iter().zip(channels).filter(|(_, it)| *it == OlmChannel::Ready);
        let ready: Vec<&Device> = ready.map(|(device, _)| device).collect();
        sending.phase = Phase::Sent;
        self.send_bundle(sending, &ready, step)
    }

    fn send_bundle(
        &mut self,
        sending: &mut Sending,
        devices: &[&Device],
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let content = Content { room_id: sending.room.clone(), file: sending.file.to_json() };
        let content = raw(Table::HistoryOffer, &encode_text(Table::HistoryOffer, &content)?)?;
        let mut messages = Vec::new();
        for device in devices {
            let sealed = self.core.encrypt_to_device(device, TYPE, &content, step)?;
            messages.extend(sealed.map(|content| ToDeviceMessage {
                user: device.user.clone(),
                device_id: device.device_id.clone(),
                content,
            }));
        }
        sending.devices = messages.len();
        for batch in messages.chunks(DEVICES_PER_REQUEST) {
            let purpose = Purpose::HistoryBundle;
            let id = self.core.requests.to_device("m.room.encrypted", batch, purpose, step)?;
            sending.unanswered.insert(id);
        }
        Ok(())
    }
}

fn room_key<'a>(room: &'a RoomId, id: &'a str, record: &'a InboundSession) -> RoomKey<'a> {
    RoomKey {
        algorithm: MEGOLM_V1,
        room_id: room,
        sender_claimed_keys: ClaimedKeys { ed25519: &record.creator.ed25519 },
        sender_key: &record.creator.curve25519,
        session_id: id,
        session_key: record.session.export_at_first_known_index(),
    }
}

fn withheld<'a>(room: &'a RoomId, id: &'a str, record: &'a InboundSession) -> Notification<'a> {
    Notification {
        algorithm: MEGOLM_V1,
        code: "m.history_not_shared",
        reason: "The sender disabled sharing encrypted history.",
        room_id: room,
        sender_key: &record.creator.curve25519,
        session_id: id,
    }
}
