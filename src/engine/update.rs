//! What the engine tells a face.

use serde::{Deserialize, Serialize};

use super::{
    RecoveryState, SecretText,
    command::{CommandId, KeysAfter},
    story::MessageStory,
};
use crate::{
    e2ee::{
        Alarm, BackupState, DevicePolicy, IdentityStatus, ImportCounts, KeyStatus, LeftOut,
        OwnIdentity, VerificationView,
    },
    link::LinkState,
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId},
    rooms::{RoomSummary, StoredEvent, TimelineDelta},
};

/// Something changed. Serializable: the control socket carries the same values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "update", content = "of", rename_all = "snake_case")]
pub enum Update {
    /// The connection's state changed.
    Link(LinkState),
    /// The first sync of this login is done: there is something to show.
    Synced,
    /// The first answer since the link came up is on disk: what is shown is what the server knows.
    /// Comes again after each reconnect; a face that comes later is told at once.
    CaughtUp,
    /// These rooms are new or changed.
    Rooms(Vec<RoomSummary>),
    /// These rooms are gone (left and forgotten).
    RoomsGone(Vec<OwnedRoomId>),
    /// The room that the user went to last, in an earlier run or on another screen; told once, when
    /// a face comes, after the rooms.
    LastVisited(OwnedRoomId),
    /// An open room's timeline changed. For faces that follow everything (`tail`), also of rooms
    /// that are not open: `live` then says that the events came just now, not from history.
    Timeline {
        /// The room.
        room: OwnedRoomId,
        /// What changed.
        delta: TimelineDelta,
        /// Whether these are new events rather than history.
        live: bool,
    },
    /// Display names of members, by user id, for an open room; complete as far as known.
    Members {
        /// The room.
        room: OwnedRoomId,
        /// User and display name (already made unique where two share one).
        names: Vec<(OwnedUserId, String)>,
    },
    /// Who types in an open room, ourselves left out; for faces that follow everything, in any.
    Typing {
        /// The room.
        room: OwnedRoomId,
        /// Who.
        users: Vec<OwnedUserId>,
    },
    /// Somebody read up to an event, in an open room; for faces that follow everything, in any.
    Receipts {
        /// The room.
        room: OwnedRoomId,
        /// User and event.
        read: Vec<(OwnedUserId, OwnedEventId)>,
    },
    /// How many messages of ours are not sent yet, in all rooms.
    Outbox {
        /// Waiting.
        waiting: usize,
        /// Failed.
        failed: usize,
        /// The room of each that failed.
        failed_in: Vec<OwnedRoomId>,
    },
    /// The server wants to know who the user is before it takes their new identity; answered by
    /// [`super::Request::Authenticate`].
    AuthNeeded(AuthPrompt),
    /// The server does not want to know that any more.
    AuthOver,
    /// Whose devices get the keys of a room, and whose identity changed in it: for an open room,
    /// and for faces that follow everything; when it is opened, and whenever it changed.
    RoomTrust(RoomTrust),
    /// Something the user must see until it is settled.
    Alarm(Alarm),
    /// A request that takes long goes on: a download, or the upload that is waited for.
    Progress {
        /// Of which.
        id: CommandId,
        /// Bytes that are through.
        done: u64,
        /// Bytes in all, where they are known.
        total: Option<u64>,
    },
    /// Where this device is on its way to the account's keys; told when a face comes, once it is
    /// known, and when it changes.
    Recovery(RecoveryState),
    /// A verification began or went on.
    Verification(VerificationView),
    /// How the key backup stands; a face that comes later is told at once.
    Backup(BackupState),
    /// The answer to a request.
    Outcome {
        /// Of which.
        id: CommandId,
        /// What came of it.
        result: Result<Outcome, CommandError>,
    },
    /// The engine ended; nothing follows.
    Ended {
        /// Why, for people.
        reason: String,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Done, nothing to tell.
    Done,
    /// A room was made or joined.
    Room {
        /// Which.
        room_id: OwnedRoomId,
    },
    /// Somebody was invited to a room whose history can be shared.
    Invited {
        /// Whether it was.
        history: SharedHistory,
    },
    /// All rooms.
    Rooms {
        /// Them.
        rooms: Vec<RoomSummary>,
    },
    /// A page of history, oldest first.
    History(Page),
    /// Some of our room keys, each as JSON text.
    ExportedKeys {
        /// Them.
        keys: Vec<SecretText>,
        /// Where to go on; `None` at the end.
        next: Option<KeysAfter>,
    },
    /// What became of keys.
    ImportedKeys(ImportCounts),
    /// How the key backup stands.
    Backup {
        /// It.
        backup: BackupState,
    },
    /// How the keys of this device stand, and counts of undecryptable events by reason.
    KeyStatus {
        /// Counts of the session layer.
        keys: Box<KeyStatus>,
        /// The account's identity.
        identity: OwnIdentity,
        /// Whether that identity signed this device.
        cross_signed: bool,
        /// The key backup.
        backup: Box<BackupState>,
        /// Where this device is on its way to the account's keys, and whether a recovery key opens
        /// them; `None` while it is not known.
        #[serde(default)]
        recovery: Option<Box<RecoveryState>>,
        /// Reason and count.
        undecryptable: Vec<(String, u64)>,
    },
    /// A file was downloaded and found to be what was sent.
    Saved {
        /// Where it is.
        path: String,
        /// Its length in bytes.
        size: u64,
        /// Whether it lay on the server encrypted.
        encrypted: bool,
    },
    /// How our own identity stands, and those of the users asked for.
    Identity {
        /// Ours.
        own: OwnIdentity,
        /// Whether it signed this device.
        cross_signed: bool,
        /// Whether it, or a signature of it, is under way.
        under_way: bool,
        /// What the server wants of the user before it takes a new one.
        auth: Option<AuthPrompt>,
        /// Theirs; without a user named, those that changed and were not settled.
        users: Vec<IdentityStatus>,
    },
    /// Whose devices get the keys of a room.
    RoomTrust(RoomTrust),
    /// Devices of one user.
    Devices {
        /// Them, this one first.
        devices: Vec<DeviceLine>,
    },
    /// This device has the account's keys.
    Recovered {
        /// Whether the account's identity signed this device.
        cross_signed: bool,
        /// The backup that is connected.
        backup_version: Option<String>,
        /// How many keys came out of it.
        keys_restored: u64,
    },
    /// The account's recovery key is this one now.
    RecoveryKey {
        /// To be written down, and then confirmed.
        recovery_key: SecretText,
    },
    /// A verification as it stands.
    Verification(VerificationView),
    /// The verifications under way.
    Verifications {
        /// Them.
        all: Vec<VerificationView>,
    },
    /// How an event was encrypted.
    KeyStory(Box<MessageStory>),
    /// How much the server has not taken yet.
    Unsent {
        /// Messages and requests.
        count: u64,
    },
    /// The server has the message.
    Sent {
        /// Its event.
        event_id: OwnedEventId,
    },
}

/// How the user may prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthPrompt {
    /// Whether the account's password will do.
    pub takes_password: bool,
    /// A page where it is done otherwise; afterwards the face says so, without a password.
    pub page: Option<String>,
    /// Why the last proof was refused, if there was one.
    pub refused: Option<String>,
}

/// Whose devices get the keys of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomTrust {
    /// Which room; `None` for the rule of all rooms that have none of their own.
    pub room_id: Option<OwnedRoomId>,
    /// The rule in force.
    pub devices: DevicePolicy,
    /// How many devices its members have, this one not counted.
    pub known: usize,
    /// Those that get no keys, and why.
    pub left_out: Vec<LeftOut>,
    /// Members whose identity changed; nothing is sent until that is settled.
    pub changed: Vec<IdentityStatus>,
    /// Who came since we last wrote there, and will be able to read the next message.
    #[serde(default)]
    pub newcomers: Vec<OwnedUserId>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct DeviceLine {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// The name it was given, of a device of ours; untrusted text.
    pub name: Option<String>,
    /// Whether its owner's identity signed it; of a device of ours, whether we verified that.
    pub verified: bool,
    /// When the server last saw it, milliseconds since the epoch; ours only.
    pub last_seen: Option<u64>,
    /// Whether it is this one.
    pub this: bool,
    /// Whether it is blocked: it gets no keys.
    pub blocked: bool,
    /// Its ed25519 key, unpadded base64, if it publishes one.
    pub fingerprint: Option<String>,
    /// Whether nobody is at it: its keys wait at the server for its owner's next login.
    #[serde(default)]
    pub dehydrated: bool,
}

/// What of a room's history was handed to somebody who is invited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedHistory {
    /// How many keys.
    pub keys: usize,
    /// To how many of their devices.
    pub devices: usize,
    /// Why nothing was, in words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

impl SharedHistory {
    /// Nothing was handed over.
    pub(super) fn not(why: &str) -> Self {
        Self { why_not: Some(why.to_owned()), ..Self::default() }
    }

    /// What is to be said of it.
    pub fn words(&self) -> String {
        match &self.why_not {
            None => format!("history shared with {} of their devices", self.devices),
            Some(why) => format!("history NOT shared: {why}"),
        }
    }
}

/// A page of history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Oldest first.
    pub events: Vec<StoredEvent>,
    /// What changes them and is newer than the page: edits, reactions, redactions.
    #[serde(default)]
    pub related: Vec<StoredEvent>,
    /// Whether nothing is before it.
    pub reached_start: bool,
}

/// Why a request failed; words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// Matrix error code or a name of ours (`timeout`, `policy`, `unknown_room`, …).
    pub code: String,
    /// For people: what failed, and what to do.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::Command, time::Timestamp};

    #[test]
    fn updates_and_commands_survive_the_control_socket() {
        let room = OwnedRoomId::try_from("!room:example.org").unwrap();
        let updates = [
            Update::Link(LinkState::Offline { retry_at: Timestamp(1), reason: "gone".into() }),
            Update::Synced,
            Update::RoomsGone(vec![room.clone()]),
            Update::Timeline { room: room.clone(), delta: TimelineDelta::ReachedStart, live: true },
            Update::Timeline {
                room: room.clone(),
                delta: TimelineDelta::EchoDiscarded("txn".into()),
                live: true,
            },
            Update::Outcome { id: CommandId(7), result: Ok(Outcome::History(Page::default())) },
        ];
        for update in updates {
            let line = serde_json::to_string(&update).unwrap();
            assert_eq!(serde_json::from_str::<Update>(&line).unwrap(), update, "{line}");
        }
        for command in [Command::Open(room), Command::Retry("txn".into()), Command::Shutdown] {
            let line = serde_json::to_string(&command).unwrap();
            assert_eq!(serde_json::from_str::<Command>(&line).unwrap(), command, "{line}");
        }
    }
}
