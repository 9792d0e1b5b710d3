//! What a face (screen, command line) asks of the engine. Closed, plain data, serializable: the
//! control socket carries the same values.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SecretText;
use crate::e2ee::{DevicePolicy, Scan, VerificationAct, VerificationId};
use crate::matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId};

/// Pairs a [`Request`] with its outcome; chosen by the face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub u64);

/// Who learns that something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// Everybody in the room.
    Public,
    /// Only our own devices, and the server.
    Private,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", content = "of", rename_all = "snake_case")]
pub enum Command {
    /// Send a message. Durable: once the engine has taken it, it is on disk. The echo and its
    /// states come as [`crate::rooms::TimelineDelta::Echo`].
    Send(Draft),
    /// Send a file: it is uploaded, then the message about it is sent. Durable as a message is; what
    /// is sent is the file as it is when it is read.
    SendFile(FileDraft),
    /// Send a redaction; durable as a message is.
    Redact {
        /// The room.
        room: OwnedRoomId,
        /// Transaction id, chosen by the face.
        txn: OwnedTransactionId,
        /// What is redacted.
        event: OwnedEventId,
        /// Why, if one says.
        reason: Option<String>,
    },
    /// Try a failed message again.
    Retry(OwnedTransactionId),
    /// Take a message back that was not sent yet.
    Discard(OwnedTransactionId),
    /// Follow a room: its newest page comes as updates, then every change. (All rooms' summaries
    /// always come.)
    Open(OwnedRoomId),
    /// Follow every room, as `tail` does: all new events, late decryptions, typing and receipts, no
    /// first page.
    FollowAll,
    /// Stop following a room.
    Close(OwnedRoomId),
    /// The user went to this room: a screen that starts later opens it first.
    Visit(OwnedRoomId),
    /// Load what is before `before` (a position): from the store, then from the server.
    LoadOlder {
        /// The room.
        room: OwnedRoomId,
        /// Position of the oldest event the face has.
        before: i64,
        /// How many events.
        limit: u32,
    },
    /// Everything up to this event was on screen.
    MarkRead {
        /// The room.
        room: OwnedRoomId,
        /// The newest event seen.
        event: OwnedEventId,
        /// Who learns of it.
        receipt: Receipt,
    },
    /// The user types, or stopped.
    Typing {
        /// The room.
        room: OwnedRoomId,
        /// Whether typing.
        typing: bool,
    },
    /// Something with an outcome; answered once by [`super::Update::Outcome`].
    Request {
        /// Names the answer.
        id: CommandId,
        /// What.
        request: Request,
    },
    /// Give a request up that takes long: a [`Request::Download`]. It is answered with the code
    /// `canceled`.
    Cancel(CommandId),
    /// End: flush and stop.
    Shutdown,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The room.
    pub room: OwnedRoomId,
    /// Transaction id, chosen by the face.
    pub txn: OwnedTransactionId,
    /// Event type.
    pub kind: String,
    /// Content, with `m.relates_to` where it is a reply, an edit or a reaction.
    pub content: Map<String, Value>,
}

/// A file to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileDraft {
    /// The room.
    pub room: OwnedRoomId,
    /// Transaction id, chosen by the face.
    pub txn: OwnedTransactionId,
    /// Absolute path of the file.
    pub path: String,
    /// Content of its message, without the address (see `rooms::compose_file`).
    pub content: Map<String, Value>,
}

/// Where a file is saved. Nothing that exists is ever overwritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveTo {
    /// Into this folder, under the name the sender gave it, made safe, or one beside it that is
    /// free.
    Folder(String),
    /// As this file, which must not exist.
    File(String),
}

/// A place in the list of all room keys: a room and a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysAfter(pub String, pub String);

/// Something with one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Make a room; encrypted unless told otherwise.
    CreateRoom {
        /// Its name.
        name: Option<String>,
        /// Whom to invite.
        invite: Vec<OwnedUserId>,
        /// Whether it is a direct chat.
        dm: bool,
        /// Whether it is encrypted.
        encrypted: bool,
    },
    /// Join by id or alias.
    Join {
        /// Room id or alias.
        room: String,
    },
    /// Leave, or refuse an invite.
    Leave {
        /// The room.
        room: OwnedRoomId,
    },
    /// Invite somebody.
    Invite {
        /// The room.
        room: OwnedRoomId,
        /// Whom.
        user: OwnedUserId,
    },
    /// All rooms.
    Rooms,
    /// Which room is meant: an alias (`#…`, asked of the server), or the joined direct chat with a
    /// user (`@…`, by `m.direct`; the one with the latest activity where there are several).
    /// Answered by [`super::Outcome::Room`], or by a [`super::CommandError`] with the code
    /// `unknown_room`.
    Find {
        /// Alias or user id.
        name: String,
    },
    /// A page of old messages, loaded from the server where the store has none.
    History {
        /// The room.
        room: OwnedRoomId,
        /// At most how many.
        limit: u32,
        /// Only older than this event.
        before: Option<OwnedEventId>,
    },
    /// Whether a room has this event, asked of the server where the store has it not. Answered by
    /// [`super::Outcome::Done`], or by a [`super::CommandError`] with the code `unknown_event`.
    HasEvent {
        /// The room.
        room: OwnedRoomId,
        /// The event.
        event: OwnedEventId,
    },
    /// Download the file of a message, check that it is what was sent, and save it. Answered by
    /// [`super::Outcome::Saved`]; [`super::Update::Progress`] tells meanwhile.
    Download {
        /// The room.
        room: OwnedRoomId,
        /// The message.
        event: OwnedEventId,
        /// Where to.
        to: SaveTo,
    },
    /// Counts of the session layer.
    KeyStatus,
    /// How an event was encrypted, with whose key, and why it cannot be read if it cannot.
    /// Answered by [`super::Outcome::KeyStory`].
    KeyStory {
        /// The room.
        room: OwnedRoomId,
        /// The event.
        event: OwnedEventId,
    },
    /// Some of our room keys, for a key file: those that come after a place. Answered by
    /// [`super::Outcome::ExportedKeys`].
    ExportKeys {
        /// The place.
        after: Option<KeysAfter>,
    },
    /// Take room keys of a key file, each as JSON text. Answered by
    /// [`super::Outcome::ImportedKeys`].
    ImportKeys {
        /// The keys.
        keys: Vec<SecretText>,
    },
    /// Upload the keys that the backup does not have yet. Answered by [`super::Outcome::Backup`] when
    /// that is done, or cannot be now; progress comes as [`super::Update::Backup`].
    FlushBackup,
    /// Wait until this message is sent or failed.
    AwaitSent {
        /// Its transaction id.
        txn: OwnedTransactionId,
    },
    /// Open the account's secret storage: sign this device, connect the backup, restore its keys.
    /// Answered by [`super::Outcome::Recovered`] at the end; [`super::Update::Recovery`] tells
    /// meanwhile.
    Recover {
        /// Recovery key or passphrase, as typed.
        secret: SecretText,
    },
    /// Make what the account lacks of identity, secret storage and backup. Answered by
    /// [`super::Outcome::RecoveryKey`], again with the same key until [`Request::ConfirmRecoveryKey`].
    SetUpRecovery {
        /// Make the recovery key of this passphrase, so that either opens the storage.
        passphrase: Option<SecretText>,
    },
    /// Make a new recovery key in the place of the present one, which opens everything until the new
    /// one is confirmed and nothing from then on. Makes what the account lacks, too. Answered as
    /// [`Request::SetUpRecovery`] is.
    RenewRecoveryKey {
        /// Make it of this passphrase, so that either opens the storage.
        passphrase: Option<SecretText>,
    },
    /// The user has the recovery key. Answered when it is the account's.
    ConfirmRecoveryKey,
    /// Replace identity, secret storage and backup of the account by new ones, knowing what that
    /// breaks. Answered as [`Request::SetUpRecovery`] is. Where the server wants the user's
    /// password, [`super::Update::AuthNeeded`] says so between.
    StartFresh,
    /// Drop the outbound session of a room: the next message starts a new one.
    DiscardSession {
        /// The room.
        room: OwnedRoomId,
    },
    /// The user proves who they are, as [`super::Update::AuthNeeded`] asked: by the account's
    /// password, or, without one, by having done it on the page that was named.
    Authenticate {
        /// The password.
        password: Option<SecretText>,
    },
    /// Replace our identity by a new one. Everybody is told; our other devices must be signed
    /// anew and people be verified anew. Also makes the first identity of an account.
    ResetIdentity,
    /// How our own identity stands, and that of this user if one is named. Answered by
    /// [`super::Outcome::Identity`].
    Identity {
        /// Who.
        user: Option<OwnedUserId>,
    },
    /// Whose devices get the keys of a room, or of all rooms without a rule of their own; sets it
    /// first when `devices` is given. Answered by [`super::Outcome::RoomTrust`].
    Policy {
        /// Which room.
        room: Option<OwnedRoomId>,
        /// Whose devices.
        devices: Option<DevicePolicy>,
    },
    /// The devices of a user, ours if none is named. Answered by [`super::Outcome::Devices`].
    Devices {
        /// Whose.
        user: Option<OwnedUserId>,
    },
    /// Give a device of ours another name.
    RenameDevice {
        /// Which.
        device: OwnedDeviceId,
        /// Its name.
        name: String,
    },
    /// End a device of ours. A [`super::CommandError`] with the code `password_needed` asks for
    /// the password.
    DeleteDevice {
        /// Which.
        device: OwnedDeviceId,
        /// The account's password.
        password: Option<SecretText>,
    },
    /// Keep a device from getting keys, or no longer.
    BlockDevice {
        /// Its owner.
        user: OwnedUserId,
        /// Which.
        device: OwnedDeviceId,
        /// Whether it is blocked from now on.
        blocked: bool,
    },
    /// Accept the identity that this user shows now, which is another than the one first seen.
    AcknowledgeIdentity {
        /// Who.
        user: OwnedUserId,
    },
    /// Insist no longer that this user, verified once, be verified.
    WithdrawVerification {
        /// Who.
        user: OwnedUserId,
    },
    /// Ask somebody for a verification: another user in the direct chat with them, devices of our
    /// own (or `device`) directly. Answered by [`super::Outcome::Verification`]; what becomes of it
    /// comes as [`super::Update::Verification`].
    Verify {
        /// Whom.
        user: OwnedUserId,
        /// Only this device of theirs.
        device: Option<OwnedDeviceId>,
        /// Whether a code of the other side can be read.
        #[serde(default)]
        scan: Scan,
    },
    /// Go on with a verification, or end it.
    Verification {
        /// Which.
        id: VerificationId,
        /// What to do.
        act: VerificationAct,
    },
    /// The verifications under way.
    Verifications,
    /// How much the server has not taken yet, of messages and of what the session layer wants
    /// sent. Answered by [`super::Outcome::Unsent`].
    Unsent,
    /// End this device on the server; the store is destroyed by the caller afterwards.
    Logout,
}
