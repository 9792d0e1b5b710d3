//! Values that cross the border of the session layer.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attachment::EncryptedFile;
use super::backup::BackupState;
use super::cross_signing::IdentityState;
use super::key_requests::KeyRequestStatus;
use super::secret_storage::{Derivation, StorageRefusal};
use crate::matrix::{
    DeviceLists, KeyCounts, OwnedDeviceId, OwnedRoomId, OwnedTransactionId, OwnedUserId, SyncDelta,
    ToDeviceEvent,
};

use super::verification::VerificationView;

/// The part of a sync answer that concerns the session layer.
#[derive(Clone, Copy, Debug)]
pub struct CryptoSync<'a> {
    /// To-device events in the server's order.
    pub to_device: &'a [ToDeviceEvent],
    /// Whose devices changed.
    pub device_lists: &'a DeviceLists,
    /// One-time keys left on the server.
    pub key_counts: KeyCounts,
    /// Unused fallback keys, if the server says.
    pub unused_fallback_keys: Option<&'a [String]>,
    /// Whether the answer continues no earlier one (no `since`).
    pub is_initial: bool,
}

impl<'a> CryptoSync<'a> {
    /// Takes the crypto part of `delta`.
    pub fn of(delta: &'a SyncDelta, is_initial: bool) -> Self {
        Self {
            to_device: &delta.to_device,
            device_lists: &delta.device_lists,
            key_counts: delta.key_counts,
            unused_fallback_keys: delta.unused_fallback_keys.as_deref(),
            is_initial,
        }
    }
}

/// `m.room.history_visibility`.
///
/// # Spec
/// Client-Server API, "Room history visibility".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryVisibility {
    /// Only while joined.
    Joined,
    /// From the invite on.
    Invited,
    /// All history for members; the default of the spec.
    #[default]
    Shared,
    /// All history for everybody.
    WorldReadable,
}

/// To whom a room's messages go. The member list must be complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Joined members, ourselves included.
    pub joined: Vec<OwnedUserId>,
    /// Invited members.
    pub invited: Vec<OwnedUserId>,
    /// Decides whether the invited get keys.
    pub history_visibility: HistoryVisibility,
    /// Users whose devices get keys though they are not signed: a verification in the room must
    /// reach them.
    pub unsigned_of: Vec<OwnedUserId>,
}

/// Whose devices get the keys of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DevicePolicy {
    /// Those that their owner cross-signed.
    #[default]
    Signed,
    /// All: for bots and bridges, which sign nothing.
    All,
}

/// A device that gets no keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its owner.
    pub user_id: OwnedUserId,
    /// Its name.
    pub device_id: OwnedDeviceId,
    /// Why.
    pub reason: LeftOutReason,
}

/// A device as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDevice {
    /// Its name.
    pub device_id: OwnedDeviceId,
    /// Its ed25519 key, unpadded base64; `None` when it publishes none.
    pub ed25519: Option<String>,
    /// Whether its owner's identity signed it; of our own, whether we verified that identity too.
    pub cross_signed: bool,
    /// Whether the user blocked it.
    pub blocked: bool,
    /// Whether it is the one that waits at the server for the owner's next login: signed by the
    /// owner, and the only one that says so.
    pub dehydrated: bool,
}

impl KnownDevice {
    /// One that publishes no keys.
    pub fn without_keys(device_id: OwnedDeviceId) -> Self {
        Self { device_id, ed25519: None, cross_signed: false, blocked: false, dehydrated: false }
    }
}

/// Why a device gets no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutReason {
    /// Its owner has no cross-signing identity.
    NoIdentity,
    /// Its owner did not sign it.
    Unsigned,
    /// The user blocked it.
    Blocked,
    /// It does not speak our algorithms.
    Unable,
}

/// The clear content of an event that is to be encrypted. Cannot be serialized or printed.
#[derive(Clone)]
pub struct Plaintext {
    pub(super) kind: String,
    pub(super) content: Map<String, Value>,
}

impl Plaintext {
    /// Takes an event type and its content.
    pub fn new(kind: impl Into<String>, content: Map<String, Value>) -> Self {
        Self { kind: kind.into(), content }
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(..)")
    }
}

/// The content of an `m.room.encrypted` event, as JSON text; only [`super::ReadyRoom::encrypt`]
/// makes one, and it may be stored, read back and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MegolmCiphertext {
    pub(super) json: String,
}

impl MegolmCiphertext {
    /// The JSON object to send as content.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// One that was never encrypted.
    #[cfg(test)]
    pub(crate) fn made_up(json: String) -> Self {
        Self { json }
    }
}

/// What came of an attempt to decrypt.
#[derive(Clone, Debug, PartialEq)]
pub enum Decryption {
    /// The inner event.
    Decrypted(Decrypted),
    /// Why not; shown, and tried again when a key comes.
    Undecryptable(Undecryptable),
}

/// A decrypted event.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Decrypted {
    /// Inner type.
    pub kind: String,
    /// Inner content, with the clear `m.relates_to` put in.
    pub content: Map<String, Value>,
    /// Session it was encrypted with.
    pub session_id: String,
    /// Index in the session.
    pub message_index: u32,
    /// How far the sender is proved.
    pub shield: Shield,
    /// Who gave us the key with the history of the room; it is their word that it is the sender's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_by: Option<OwnedUserId>,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field("session_id", &self.session_id)
            .field("message_index", &self.message_index)
            .field("shield", &self.shield)
            .finish_non_exhaustive()
    }
}

/// The mark beside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "color", content = "reason", rename_all = "snake_case")]
pub enum Shield {
    /// Nothing to say.
    None,
    /// Worth a look.
    Grey(ShieldReason),
    /// A warning.
    Red(ShieldReason),
}

impl Shield {
    /// The worse of two marks; this one when neither is.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |shield| match shield {
            Self::None => 0,
            Self::Grey(_) => 1,
            Self::Red(_) => 2,
        };
        if rank(self) < rank(other) { other } else { self }
    }
}

/// Why a shield is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShieldReason {
    /// The key came from a backup, an import or a forward: who made it is not proved.
    AuthenticityNotGuaranteed,
    /// No device with these keys is known.
    UnknownDevice,
    /// The sending device is not signed by its owner.
    UnsignedDevice,
    /// The sender's identity changed after it was verified.
    VerificationViolation,
    /// The event's sender is not who made the session.
    MismatchedSender,
    /// The event was not encrypted although the room is.
    SentInClear,
}

/// An event that could not be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecryptable {
    /// The session it names, if it names one.
    pub session_id: Option<String>,
    /// Why.
    pub reason: UndecryptableReason,
}

/// Why an event cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndecryptableReason {
    /// The key has not arrived.
    NoRoomKey,
    /// The sender's device says it keeps the key back; the code, for instance `m.unverified`.
    Withheld(String),
    /// The key we have starts after this message.
    IndexTooLow,
    /// Sent while we were not in the room.
    BeforeJoin,
    /// Sent before this device logged in; the key is not known yet.
    BeforeLogin,
    /// The same ciphertext position was seen in another event: a replay.
    DuplicateIndex,
    /// The session was made by somebody else than the event's sender.
    MismatchedSender,
    /// Encrypted with an algorithm we do not speak; its name.
    UnsupportedAlgorithm(String),
    /// The content, the ciphertext or what is inside it is not well formed.
    Malformed,
}

impl UndecryptableReason {
    /// Whether another key would make the event readable.
    pub fn may_be_cured(&self) -> bool {
        match self {
            Self::NoRoomKey | Self::BeforeLogin | Self::Withheld(_) | Self::IndexTooLow => true,
            Self::BeforeJoin
            | Self::DuplicateIndex
            | Self::MismatchedSender
            | Self::UnsupportedAlgorithm(_)
            | Self::Malformed => false,
        }
    }

    /// The reason in one word, as scripts and counts have it; a promise, never renamed.
    pub fn word(&self) -> String {
        match self {
            Self::NoRoomKey => "no_room_key".to_owned(),
            Self::Withheld(code) => format!("withheld:{code}"),
            Self::IndexTooLow => "index_too_low".to_owned(),
            Self::BeforeJoin => "before_join".to_owned(),
            Self::BeforeLogin => "before_login".to_owned(),
            Self::DuplicateIndex => "duplicate_index".to_owned(),
            Self::MismatchedSender => "mismatched_sender".to_owned(),
            Self::UnsupportedAlgorithm(name) => format!("unsupported_algorithm:{name}"),
            Self::Malformed => "malformed".to_owned(),
        }
    }
}

/// Something the caller should know after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A session came or got better: events waiting for it can be tried again.
    RoomKey {
        /// The room.
        room: OwnedRoomId,
        /// The session.
        session_id: String,
    },
    /// A sender says it keeps a key back: undecryptable events of it get a better reason.
    Withheld {
        /// The room.
        room: OwnedRoomId,
        /// The session.
        session_id: String,
    },
    /// A room that waited for keys may be tried again (`prepare_room`).
    RoomMayBeReady(OwnedRoomId),
    /// Devices of these users changed: shields of their messages may differ.
    DevicesChanged(Vec<OwnedUserId>),
    /// The identity of a user stands otherwise than before, ours too.
    IdentityChanged {
        /// Whose.
        user: OwnedUserId,
        /// How it stands now.
        state: IdentityState,
    },
    /// Our own identity is there, or signed this device, or is another's: see
    /// [`super::Machine::own_identity`].
    OwnIdentity,
    /// The server wants to know who the user is before it takes our identity: see
    /// [`super::Machine::auth_needed`].
    AuthNeeded,
    /// The devices of somebody whom we are about to invite know where the room's history lies, as
    /// far as they can: the invite may go out.
    HistorySent {
        /// The room.
        room: OwnedRoomId,
        /// Who is invited.
        user: OwnedUserId,
        /// How many devices were told.
        devices: usize,
    },
    /// Whoever invited us to a room that we joined offers its history: to be downloaded and given to
    /// [`super::Machine::import_history`]. Comes again until that was done.
    HistoryOffered {
        /// The room.
        room: OwnedRoomId,
        /// Who offers it.
        inviter: OwnedUserId,
        /// Where it lies.
        file: EncryptedFile,
    },
    /// Something the user must see until it is settled.
    Alarm(Alarm),
    /// Another device of ours sent a secret that we asked for.
    SecretReceived,
    /// What is known of secret storage changed, see [`super::Machine::storage_status`].
    StorageChanged,
    /// A passphrase is to be made a key, outside of the step: [`Derivation::derive`], then
    /// [`super::Machine::receive_derived_key`].
    DeriveStorageKey(Derivation),
    /// Secret storage was read.
    StorageOpened {
        /// How many secrets were taken out of it.
        taken: usize,
        /// How many were there and do not fit their public keys.
        refused: usize,
    },
    /// The new secret storage is the account's.
    StorageMade,
    /// Secret storage was not opened, or not written to.
    StorageRefused(StorageRefusal),
    /// A verification began or went on.
    Verification(VerificationView),
    /// An event of a verification is to be sent into a room.
    SendVerification {
        /// The room.
        room: OwnedRoomId,
        /// The name to send it under; the event that it becomes is to be told to
        /// [`super::Machine::verification_sent`].
        txn: OwnedTransactionId,
        /// Its type.
        kind: String,
        /// Its content.
        content: Map<String, Value>,
    },
    /// What the backup has of a room's keys is in; what is missing now may be named by
    /// `want_room_key`, to be looked for again and again.
    KeysFetched(OwnedRoomId),
    /// The key backup stands differently than was told last.
    Backup(BackupState),
}

/// A condition that the user must see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// The server publishes other keys for this very device.
    OwnKeysReplaced,
    /// The server says a one-time key exists that we never uploaded: this store went back in time,
    /// or two programs use it.
    StoreRegressed,
    /// The store was copied or restored from a backup since it was used last.
    StoreCopied,
    /// The server refuses our keys for good, so others cannot write to this device; the error
    /// code it gave.
    KeysRefused(String),
    /// A device came back under its name with other keys.
    DeviceKeysChanged {
        /// Its owner.
        user: OwnedUserId,
        /// Its name.
        device: OwnedDeviceId,
    },
    /// A new device appeared in our own account.
    NewOwnDevice(OwnedDeviceId),
    /// The server shows another identity of ours than the one this device verified.
    OwnIdentityReplaced {
        /// The master key that it shows.
        master_key: String,
    },
    /// The server does not take our identity; the error code it gave.
    IdentityRefused(String),
    /// The identity of another user is not the one it was.
    IdentityChanged {
        /// Whose.
        user: OwnedUserId,
        /// Whether they had been verified.
        state: IdentityState,
    },
    /// The key backup that this device used is gone from the server; its version.
    BackupDeleted(String),
    /// The server has another key backup than the one this device used, made by nobody whom this
    /// device trusts; nothing is uploaded there. Its version.
    BackupChanged(String),
}

/// Counts for `keys status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Fingerprint of this device: its ed25519 key, unpadded base64.
    pub ed25519: String,
    /// Its curve25519 key.
    pub curve25519: String,
    /// Whether the device keys are on the server.
    pub uploaded: bool,
    /// One-time keys on the server, last it said.
    pub one_time_keys: u64,
    /// Inbound group sessions held.
    pub room_keys: u64,
    /// Users whose devices are tracked.
    pub tracked_users: u64,
    /// Known devices of others.
    pub devices: u64,
    /// Room keys asked of our own devices.
    #[serde(default)]
    pub key_requests: KeyRequestStatus,
}
