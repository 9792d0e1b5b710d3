//! The entry points, one line each into the parts.

use crate::matrix::{DeviceId, Event, OwnedRoomId, RoomId, UserId};

use super::{
    backup::Backup,
    core::Core,
    decrypt,
    dehydrated::Dehydration,
    device::LocalTrust,
    error::{EncryptError, MachineError, ShareError},
    history_sharing::History,
    key_requests::KeyRequests,
    megolm::{self, Megolm, Outbound, Prepared},
    request::{OutgoingRequest, RequestFailure, RequestId},
    room_settings,
    secret_sharing::Sharing,
    secret_storage::Storage,
    step::Step,
    story::{self, KeyStory},
    types::{
        CryptoSync, Decryption, DevicePolicy, KeyStatus, LeftOut, MegolmCiphertext, Plaintext,
        Recipients,
    },
    verification::Verifications,
};

/// The session layer of one device.
///
/// What it caches was committed or is part of the step at hand: a machine whose step could not be
/// committed must be dropped and opened again.
#[derive(Debug)]
pub struct Machine {
    /// Account, devices, Olm sessions, requests.
    pub(super) core: Core,
    /// Group sessions.
    pub(super) megolm: Megolm,
    /// Secret storage.
    pub(super) storage: Storage,
    /// Secrets that other devices of ours want.
    pub(super) sharing: Sharing,
    /// Room keys between our devices.
    pub(super) key_requests: KeyRequests,
    /// Verifications under way.
    pub(super) verifications: Verifications,
    /// The key backup.
    pub(super) backup: Backup,
    /// History on its way to those we invite.
    pub(super) history: History,
    /// The device that waits at the server while nobody is logged in.
    pub(super) dehydration: Dehydration,
}

/// Whether a room can encrypt now.
#[derive(Debug)]
pub enum Readiness<'m> {
    /// Every recipient device was offered the session.
    Ready(ReadyRoom<'m>),
    /// Requests are under way; try again on [`super::Notice::RoomMayBeReady`] or by the deadline.
    Waiting,
}

/// Proof that a room's session was offered to every recipient; the only way to encrypt.
/// [`Machine::prepare_room`] is its only maker:
///
/// ```compile_fail,E0451
/// # fn any<T>() -> T { loop {} }
/// grotto::e2ee::ReadyRoom { core: any(), outbound: any(), room: any() };
/// ```
#[derive(Debug)]
pub struct ReadyRoom<'m> {
    core: &'m Core,
    outbound: &'m mut Outbound,
    room: OwnedRoomId,
}

impl Machine {
    /// Opens the session layer; the first time, makes the account and its upload request.
    ///
    /// # Errors
    /// When the store fails or belongs to somebody else.
    pub fn open(
        user: &UserId,
        device: &DeviceId,
        step: &mut Step<'_>,
    ) -> Result<Self, MachineError> {
        Self::open_parts(user, device, step)
    }

    /// Our user.
    pub fn user(&self) -> &UserId {
        &self.core.user
    }

    /// Our device.
    pub fn device(&self) -> &DeviceId {
        &self.core.device
    }

    /// Requests prepared in earlier steps and not answered yet, oldest first; to be sent again
    /// after a start or a reconnect, byte for byte.
    ///
    /// # Errors
    /// When the store fails.
    pub fn unanswered(&self, step: &Step<'_>) -> Result<Vec<OutgoingRequest>, MachineError> {
        Self::unanswered_requests(step)
    }

    /// Takes the crypto part of a sync answer: key counts, device lists, to-device events in order.
    ///
    /// # Errors
    /// When the store fails. Whatever the network sent is never an error.
    pub fn receive_sync(
        &mut self,
        sync: CryptoSync<'_>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.take_sync(&sync, step)
    }

    /// Takes a state event of a room: encryption (latched), membership, history visibility.
    /// Members of encrypted rooms become tracked, departures end the outbound session.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receive_state(
        &mut self,
        room: &RoomId,
        event: &Event,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        room_settings::receive_state(self, room, event, step)
    }

    /// The timeline of `room` has a gap: someone may have left unseen.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receive_gap(&mut self, room: &RoomId, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.end_session(room, step)
    }

    /// Whether `room` was ever seen encrypted.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_encrypted(&self, room: &RoomId, step: &Step<'_>) -> Result<bool, MachineError> {
        Ok(room_settings::read(room, step)?.is_encrypted())
    }

    /// Takes the answer to one of our requests.
    ///
    /// # Errors
    /// When the store fails.
    #[expect(clippy::needless_pass_by_value, reason = "an answer is used up")]
    pub fn receive_response(
        &mut self,
        id: &RequestId,
        answer: Result<&str, RequestFailure>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.take_answer(id, answer.as_ref().copied(), step)
    }

    /// A link came up: what was asked for gets its time anew, because nothing could be answered
    /// without one.
    pub fn link_up(&mut self) {
        self.core.tracker.wait_anew();
    }

    /// Time passed: retries, key rotation, forgetting of old fallback keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tick(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.take_tick(step)
    }

    /// When [`Machine::tick`] wants to be called.
    pub fn deadline(&self) -> Option<crate::time::Timestamp> {
        self.next_tick()
    }

    /// Keeps a device from getting keys; the next message starts another session. `false` when
    /// the device is not known.
    ///
    /// # Errors
    /// When the store fails.
    pub fn block_device(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        self.core.set_trust(user, device, LocalTrust::Blocked, step)
    }

    /// Takes back [`Machine::block_device`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn unblock_device(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        self.core.set_trust(user, device, LocalTrust::Unset, step)
    }

    /// Makes sure every recipient device was offered the room's current session (rotating it first
    /// when it must be), asking the server for devices and keys where they are missing.
    ///
    /// # Errors
    /// When the room may not be encrypted for, see [`ShareError`].
    pub fn prepare_room(
        &mut self,
        room: &RoomId,
        to: &Recipients,
        step: &mut Step<'_>,
    ) -> Result<Readiness<'_>, ShareError> {
        if self.prepare(room, to, step)? == Prepared::NotYet {
            return Ok(Readiness::Waiting);
        }
        let Self { core, megolm, .. } = self;
        Ok(match megolm.outbound_mut(room) {
            Some(outbound) => Readiness::Ready(ReadyRoom { core, outbound, room: room.to_owned() }),
            None => Readiness::Waiting,
        })
    }

    /// Whose devices get the keys of `room`; of all rooms without a rule of their own for `None`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn device_policy(
        &self,
        room: Option<&RoomId>,
        step: &Step<'_>,
    ) -> Result<DevicePolicy, MachineError> {
        room_settings::devices(room, step)
    }

    /// Sets [`Machine::device_policy`]; the next message is for those devices.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_device_policy(
        &mut self,
        room: Option<&RoomId>,
        devices: DevicePolicy,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.core.tracker.note_change();
        room_settings::set_devices(room, devices, step)
    }

    /// The devices of the recipients of `room` as they are known: how many, this one not counted,
    /// and which get no keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn left_out(
        &self,
        room: &RoomId,
        to: &Recipients,
        step: &Step<'_>,
    ) -> Result<(usize, Vec<LeftOut>), MachineError> {
        self.devices_left_out(room, to, step)
    }

    /// Drops the room's outbound session, so that the next message starts another.
    ///
    /// # Errors
    /// When the store fails.
    pub fn discard_session(
        &mut self,
        room: &RoomId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.end_session(room, step)
    }

    /// Decrypts one `m.room.encrypted` event of `room`. Repeating it for the same event is fine.
    ///
    /// # Errors
    /// When the store fails; that an event cannot be decrypted is a value.
    pub fn decrypt_event(
        &mut self,
        room: &RoomId,
        event: &Event,
        step: &mut Step<'_>,
    ) -> Result<Decryption, MachineError> {
        decrypt::decrypt(self, room, event, step)
    }

    /// What is known of the key of one `m.room.encrypted` event of `room`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn key_story(
        &mut self,
        room: &RoomId,
        event: &Event,
        step: &Step<'_>,
    ) -> Result<KeyStory, MachineError> {
        story::tell(self, room, event, step)
    }

    /// Counts for `keys status`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn status(&self, step: &Step<'_>) -> Result<KeyStatus, MachineError> {
        self.count(step)
    }
}

impl ReadyRoom<'_> {
    /// Encrypts; the ratchet's advance is part of the step, so the ciphertext may leave only after
    /// its commit.
    ///
    /// # Errors
    /// When the plaintext is too large or the store fails.
    pub fn encrypt(
        self,
        plaintext: &Plaintext,
        step: &mut Step<'_>,
    ) -> Result<MegolmCiphertext, EncryptError> {
        megolm::encrypt(self.core, (&self.room, self.outbound), plaintext, step)
    }
}
