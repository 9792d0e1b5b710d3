//! Room keys asked of our own devices, and handed to them: off unless the user turns it on, because
//! the key backup does the same without telling anybody which messages are read.
//!
//! ```text
//!  ask:    an event on screen lacks its key ─▶ m.room_key_request to every verified device of ours,
//!          once ─▶ m.forwarded_room_key over Olm ─▶ asked? of that device? verified? fits? ─▶ kept
//!  serve:  m.room_key_request ─▶ ours? verified? not lately? ─▶ m.forwarded_room_key over Olm
//! ```
//!
//! A forwarded key that nobody asked for is dropped, whether this is on or off.
//!
//! # Spec
//! End-to-End Encryption, "Key requests".

mod ask;
mod serve;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vodozemac::megolm::ExportedSessionKey;

use super::{Machine, MachineError, lookup::Table, step::Step};
use crate::{
    matrix::{OwnedDeviceId, OwnedRoomId},
    time::Timestamp,
};
use serve::Wanted;

const FORWARDING: &str = "key_forwarding";
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

/// What is remembered of it while we run.
#[derive(Debug, Default)]
pub(super) struct KeyRequests {
    policy: KeyForwarding,
    /// What our devices asked for and did not get yet.
    wanted: Vec<Wanted>,
    /// What they got, and when.
    served: BTreeMap<(OwnedDeviceId, OwnedRoomId, String), Timestamp>,
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

impl KeyRequests {
    pub(super) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let policy = step.get(Table::Misc, FORWARDING, "")?.unwrap_or_default();
        Ok(Self { policy, ..Self::default() })
    }
}

impl Machine {
    /// Whether it is on.
    pub(super) fn forwards_keys(&self) -> bool {
        self.key_requests.policy == KeyForwarding::OwnDevices
    }

    /// Turns it on or off, also for later runs. What was asked for stays asked for, and is not taken
    /// while it is off.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_key_forwarding(
        &mut self,
        policy: KeyForwarding,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.key_requests.policy != policy {
            self.key_requests = KeyRequests { policy, ..KeyRequests::default() };
            step.put(Table::Misc, FORWARDING, "", &policy)?;
        }
        Ok(())
    }
}
