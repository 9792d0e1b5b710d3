//! Whose message it is: who made a session, and what mark its messages get.
//!
//! A session's *sender data* is found when the key comes and raised when the devices of its creator
//! become known. The mark is worked out anew each time an event is decrypted, never kept here.
//!
//! **Until cross-signing exists** an unsigned device is the normal case and must not paint every
//! message red. So a known device of a sender without a cross-signing identity gets no mark, and one
//! of a sender *with* an identity that did not sign the device gets [`ShieldReason::UnsignedDevice`].
//! [`verdict`] is the one place that decides it.
//!
//! # Spec
//! End-to-End Encryption, "Verification of the sending user", "Recommended client behaviour".

use serde::{Deserialize, Serialize};

use super::{
    MachineError,
    core::OlmSender,
    device::Device,
    lookup::Table,
    megolm::{
        Source,
        inbound::{Creator, InboundSession},
    },
    step::Step,
    types::{Shield, ShieldReason},
};
use crate::matrix::{OwnedDeviceId, OwnedUserId, UserId};

/// What is known of the creator of an inbound session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum SenderData {
    /// This very device.
    Own {
        /// Our user.
        user: OwnedUserId,
    },
    /// A device whose signed keys are the creator's (curve25519 and ed25519 both).
    Device {
        /// Its owner.
        user: OwnedUserId,
        /// Its name.
        device: OwnedDeviceId,
    },
    /// No device with the creator's keys is known.
    Unknown {
        /// Whom the creator says it belongs to; only an Olm message says so.
        claimed: Option<OwnedUserId>,
    },
}

impl SenderData {
    /// Sender data of a key that came over Olm.
    pub(super) fn of(from: &OlmSender) -> Self {
        match &from.device {
            Some(device) => {
                Self::Device { user: from.user.clone(), device: device.device_id.clone() }
            }
            None => Self::Unknown { claimed: Some(from.user.clone()) },
        }
    }

    /// The user that the session belongs to, as far as it is known.
    fn user(&self) -> Option<&UserId> {
        match self {
            Self::Own { user } | Self::Device { user, .. } => Some(user),
            Self::Unknown { claimed } => claimed.as_deref(),
        }
    }
}

/// Looks the creator of a session up among the known devices, if it was unknown. Whether the
/// record changed.
pub(super) fn raise(record: &mut InboundSession, step: &Step<'_>) -> Result<bool, MachineError> {
    let SenderData::Unknown { claimed: Some(user) } = &record.sender else { return Ok(false) };
    // Deleted devices too: one that was removed right after sending still sent it.
    let devices = step.scan::<Device>(Table::Device, Some(user.as_str()))?;
    let owner = devices.into_iter().find(|(_, device)| owns(device, &record.creator));
    let Some((_, device)) = owner else { return Ok(false) };
    record.sender = SenderData::Device { user: user.clone(), device: device.device_id };
    Ok(true)
}

/// The owner check: both keys, because only together they prove who made the session.
fn owns(device: &Device, creator: &Creator) -> bool {
    device.curve25519.to_base64() == creator.curve25519
        && device.ed25519.to_base64() == creator.ed25519
}

/// What to do with a decrypted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Show it, with this mark.
    Show(Shield),
    /// The session belongs to somebody else than the event's sender: do not show it as theirs.
    Mismatched,
}

/// Decides how an event of `event_sender` is marked whose session has this origin.
pub(super) fn verdict(source: Source, sender: &SenderData, event_sender: &UserId) -> Verdict {
    if sender.user().is_some_and(|user| user != event_sender) {
        return Verdict::Mismatched;
    }
    let shield = match sender {
        SenderData::Own { .. } | SenderData::Device { .. } => Shield::None,
        SenderData::Unknown { .. } if source.is_proof() => Shield::Red(ShieldReason::UnknownDevice),
        SenderData::Unknown { .. } => Shield::Grey(ShieldReason::AuthenticityNotGuaranteed),
    };
    Verdict::Show(shield)
}
