//! Room keys asked of our own devices, and handed to them: off unless the user turns it on, because
//! the key backup does the same without telling the server which messages are read.
//!
//! ```text
//!  ask:    an event that is looked at lacks its key ─▶ m.room_key_request to every verified device
//!          of ours, once ─▶ m.forwarded_room_key over Olm ─▶ asked? of that device? verified? fits?
//!          ─▶ kept, not as proof; when all can be read, the others are told off
//!  serve:  m.room_key_request ─▶ ours? verified? not lately? ─▶ m.forwarded_room_key over Olm
//! ```
//!
//! A forwarded key that nobody asked for is dropped, whether this is on or off.
//!
//! # Spec
//! End-to-End Encryption, "Key requests".

mod ask;
mod serve;

use serde::{Deserialize, Serialize};
use vodozemac::megolm::ExportedSessionKey;

use super::{Machine, MachineError, exported::ExportedSession, lookup::Table, step::Step};
use crate::{
    matrix::{OwnedDeviceId, OwnedRoomId, RoomId},
    time::Timestamp,
};
use ask::KeyRequest;
use serve::{Served, Waiting};

/// Names of records.
const FORWARDING: &str = "key_forwarding";
const WANTED: &str = "room_keys_wanted";

const REQUEST: &str = "m.room_key_request";
const FORWARD: &str = "m.forwarded_room_key";

/// Whether room keys are asked of our own devices and handed to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyForwarding {
    /// Neither.
    #[default]
    Off,
    /// Both, with those that our identity signed.
    OwnDevices,
}

/// How it stands, for `keys status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequestStatus {
    /// Whether it is on.
    pub policy: KeyForwarding,
    /// Keys that were asked for lately.
    pub asked: u64,
    /// Those of them that some device may still send.
    pub open: u64,
}

/// That a key was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAsked {
    /// When first.
    pub at: Timestamp,
    /// Which devices of ours.
    pub devices: Vec<OwnedDeviceId>,
    /// Those of them that may still answer.
    pub open: Vec<OwnedDeviceId>,
}

/// What is remembered of it while we run.
#[derive(Debug, Default)]
pub(super) struct KeyRequests {
    policy: KeyForwarding,
    /// What our devices asked for and did not get yet; on disk too.
    waiting: Waiting,
    /// What they got.
    served: Served,
}

/// The content of a forwarded key. Of whom the session is, is a claim.
#[derive(Serialize, Deserialize)]
struct Forward {
    algorithm: String,
    room_id: OwnedRoomId,
    session_id: String,
    session_key: ExportedSessionKey,
    #[serde(default)]
    sender_key: String,
    #[serde(default)]
    sender_claimed_ed25519_key: String,
    #[serde(default)]
    forwarding_curve25519_key_chain: Vec<String>,
}

impl Forward {
    /// The session as it came from the device with this curve25519 key.
    fn into_exported(self, forwarder: String) -> ExportedSession {
        let claims = [("ed25519".to_owned(), self.sender_claimed_ed25519_key)].into();
        let creator = (self.sender_key, claims);
        let chain = (self.forwarding_curve25519_key_chain, forwarder);
        ExportedSession::forwarded(self.algorithm, self.session_key, creator, chain)
    }
}

impl KeyRequests {
    /// Takes up what an earlier run left.
    pub(super) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let policy = step.get(Table::Misc, FORWARDING, "")?.unwrap_or_default();
        let waiting = step.get(Table::Misc, WANTED, "")?.unwrap_or_default();
        Ok(Self { policy, waiting, served: Served::new() })
    }
}

impl Machine {
    /// Whether it is on.
    pub fn forwards_keys(&self) -> bool {
        self.key_requests.policy == KeyForwarding::OwnDevices
    }

    /// Turns it on or off, also for later runs. Off, all that was asked for is taken back.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_key_forwarding(
        &mut self,
        policy: KeyForwarding,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.key_requests.policy == policy {
            return Ok(());
        }
        self.key_requests = KeyRequests { policy, ..KeyRequests::default() };
        step.delete(Table::Misc, WANTED, "");
        step.put(Table::Misc, FORWARDING, "", &policy)?;
        match policy {
            KeyForwarding::Off => self.forget_requests(step),
            KeyForwarding::OwnDevices => Ok(()),
        }
    }

    /// How it stands.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn key_request_status(
        &self,
        step: &Step<'_>,
    ) -> Result<KeyRequestStatus, MachineError> {
        let requests = step.scan::<KeyRequest>(Table::KeyRequest, None)?;
        let open = requests.iter().filter(|(_, request)| request.is_open()).count();
        let policy = self.key_requests.policy;
        Ok(KeyRequestStatus { policy, asked: requests.len() as u64, open: open as u64 })
    }

    /// Whether and when a session was asked for.
    pub(super) fn key_asked(
        room: &RoomId,
        session_id: &str,
        step: &Step<'_>,
    ) -> Result<Option<KeyAsked>, MachineError> {
        let request = step.get::<KeyRequest>(Table::KeyRequest, room.as_str(), session_id)?;
        Ok(request.map(KeyRequest::told))
    }

    /// What this device is to do with keys asked for.
    pub(super) fn key_forwarding(&self) -> KeyForwarding {
        self.key_requests.policy
    }
}
