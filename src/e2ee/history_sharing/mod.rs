//! Sharing history with whoever is invited: the keys of old messages, as one encrypted file, told
//! of to the invited user's devices over Olm before the invite goes out; and taking such a file
//! from whoever invited us.
//!
//! ```text
//!  invite ─▶ history_bundle ─▶ (uploaded) ─▶ send_history ─▶ devices, Olm ─▶ HistorySent ─▶ invite
//!  m.room_key_bundle ─▶ offer kept ─┐
//!  join of that invite ─────────────┴▶ HistoryOffered ─▶ (downloaded) ─▶ import_history
//! ```
//! A key leaves only if its maker allows it, and only to devices that their owner cross-signed. A
//! key that comes proves nothing of its messages; who handed it over is kept with it and shown.
//!
//! # Spec
//! End-to-End Encryption, "Sharing keys between users"; MSC4268.

mod invites;
mod receive;
mod send;

use serde::{Deserialize, Serialize};

use super::{
    MachineError, RequestId,
    device::{Device, DeviceSort},
    identity::Identity,
    lookup::Table,
    step::Step,
};
use crate::matrix::OwnedRoomId;

pub use receive::{HistoryImport, MAX_BUNDLE_BYTES};
pub use send::{Bundled, Gathered, HistoryBundle};

pub(super) use receive::{TYPE, UNSTABLE_TYPE};

/// History on its way to somebody, while we run. After a restart it is begun anew, as
/// [`Machine::open_invites`](super::Machine::open_invites) says.
#[derive(Debug, Default)]
pub(super) struct History {
    sending: Vec<send::Sending>,
    /// Whether there may be offers to look at.
    has_offers: bool,
}

impl History {
    /// Takes up what an earlier run left.
    pub(super) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let offers = step.scan::<serde::de::IgnoredAny>(Table::HistoryOffer, None)?;
        Ok(Self { sending: Vec::new(), has_offers: !offers.is_empty() })
    }

    /// Notes that the server has the answer to a request of ours.
    pub(super) fn delivered(&mut self, id: &RequestId) {
        for sending in &mut self.sending {
            sending.unanswered.remove(id);
        }
    }
}

/// Whether the owner of a device signed it, by the identity that is shown now.
fn is_cross_signed(device: &Device, step: &Step<'_>) -> Result<bool, MachineError> {
    let usable =
        device.sort == DeviceSort::Ordinary && !device.is_deleted() && !device.is_blocked();
    let owner = step.get::<Identity>(Table::Identity, device.user.as_str(), "")?;
    Ok(usable && owner.is_some_and(|owner| owner.signs(device)))
}

/// The content of `m.room_key_bundle`.
#[derive(Serialize, Deserialize)]
struct Content {
    room_id: OwnedRoomId,
    file: serde_json::Value,
}
