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
    devices::find_device,
    identity::Identity,
    lookup::Table,
    megolm::{Source, inbound::Creator},
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
    pub(super) fn user(&self) -> Option<&UserId> {
        match self {
            Self::Own { user } | Self::Device { user, .. } => Some(user),
            Self::Unknown { claimed } => claimed.as_deref(),
        }
    }
}

/// How a device stands to the cross-signing identity of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The owner shows none.
    NoIdentity,
    /// The identity signed the device.
    Signed,
    /// The identity did not sign it, or the owner's list does not name it.
    Unsigned,
}

/// Whether a record is to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    Yes,
    No,
}

/// Looks the creator of a session up among the known devices, if it was unknown.
pub(super) fn raise(
    (creator, sender): (&Creator, &mut SenderData),
    step: &Step<'_>,
) -> Result<Raised, MachineError> {
    let SenderData::Unknown { claimed: Some(user) } = &*sender else { return Ok(Raised::No) };
    // Deleted devices too: one that was removed right after sending still sent it.
    let devices = step.scan::<Device>(Table::Device, Some(user.as_str()))?;
    let owner = devices.into_iter().find(|(_, device)| owns(device, creator));
    let Some((_, device)) = owner else { return Ok(Raised::No) };
    *sender = SenderData::Device { user: user.clone(), device: device.device_id };
    Ok(Raised::Yes)
}

/// How the creator of a session stands now.
pub(super) fn standing(
    (creator, sender): (&Creator, &SenderData),
    step: &Step<'_>,
) -> Result<Standing, MachineError> {
    let SenderData::Device { user, device } = sender else {
        return Ok(Standing::NoIdentity);
    };
    let Some(identity) = step.get::<Identity>(Table::Identity, user.as_str(), "")? else {
        return Ok(Standing::NoIdentity);
    };
    let device = find_device(user, device, step)?;
    let signed = device.filter(|it| owns(it, creator)).is_some_and(|it| identity.signs(&it));
    Ok(if signed { Standing::Signed } else { Standing::Unsigned })
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
pub(super) fn verdict(
    source: Source,
    (sender, standing): (&SenderData, Standing),
    event_sender: &UserId,
) -> Verdict {
    if sender.user().is_some_and(|user| user != event_sender) {
        return Verdict::Mismatched;
    }
    let shield = match (sender, standing) {
        (SenderData::Own { .. }, _)
        | (SenderData::Device { .. }, Standing::NoIdentity | Standing::Signed) => Shield::None,
        (SenderData::Device { .. }, Standing::Unsigned) => {
            Shield::Red(ShieldReason::UnsignedDevice)
        }
        (SenderData::Unknown { .. }, _) if source.is_proof() => {
            Shield::Red(ShieldReason::UnknownDevice)
        }
        (SenderData::Unknown { .. }, _) => Shield::Grey(ShieldReason::AuthenticityNotGuaranteed),
    };
    Verdict::Show(shield)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> OwnedUserId {
        UserId::parse(id).unwrap()
    }

    // T-61, as far as nobody can be verified yet
    #[test]
    fn every_origin_has_its_mark() {
        let alice = user("@alice:x");
        let own = SenderData::Own { user: alice.clone() };
        let device = SenderData::Device { user: alice.clone(), device: "D".into() };
        let claimed = SenderData::Unknown { claimed: Some(alice.clone()) };
        let unknown = SenderData::Unknown { claimed: None };
        let unproved = Shield::Grey(ShieldReason::AuthenticityNotGuaranteed);
        let unknown_device = Shield::Red(ShieldReason::UnknownDevice);
        let unsigned = Shield::Red(ShieldReason::UnsignedDevice);
        for (source, sender, standing, expected) in [
            (Source::Own, &own, Standing::NoIdentity, Shield::None),
            (Source::Olm, &device, Standing::NoIdentity, Shield::None),
            (Source::Olm, &device, Standing::Signed, Shield::None),
            (Source::Olm, &device, Standing::Unsigned, unsigned),
            (Source::Olm, &claimed, Standing::NoIdentity, unknown_device),
            (Source::Forwarded, &unknown, Standing::NoIdentity, unproved),
            (Source::Bundle, &unknown, Standing::NoIdentity, unproved),
            (Source::Backup, &unknown, Standing::NoIdentity, unproved),
            (Source::Import, &unknown, Standing::NoIdentity, unproved),
        ] {
            let found = verdict(source, (sender, standing), &alice);
            assert_eq!(found, Verdict::Show(expected), "{source:?} {standing:?}");
        }
    }

    // T-62, A-11
    #[test]
    fn an_event_of_somebody_else_than_the_sessions_maker_is_mismatched() {
        let (alice, mallory) = (user("@alice:x"), user("@mallory:x"));
        for sender in [
            SenderData::Own { user: alice.clone() },
            SenderData::Device { user: alice.clone(), device: "D".into() },
            SenderData::Unknown { claimed: Some(alice) },
        ] {
            let found = verdict(Source::Olm, (&sender, Standing::Signed), &mallory);
            assert_eq!(found, Verdict::Mismatched);
        }
    }
}
