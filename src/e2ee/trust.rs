//! Whose message it is: who made a session, and what mark its messages get.
//!
//! A session's *sender data* is found when the key comes and raised when the devices of its creator
//! become known. The mark is worked out anew each time an event is decrypted, never kept here.
//!
//! A device counts as its owner's when the owner's identity signed it, now or when the session was
//! first looked at: who resets their identity does not paint what they said before. [`verdict`] is
//! the one place that decides the mark.
//!
//! # Spec
//! End-to-End Encryption, "Verification of the sending user", "Recommended client behaviour".

use serde::{Deserialize, Serialize};

use super::{
    MachineError,
    core::OlmSender,
    cross_signing::{IdentityState, state_of},
    device::Device,
    devices::find_device,
    identity::Identity,
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
        /// The master key of the identity that vouched for the device when that was seen first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vouched: Option<String>,
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
                let (user, device) = (from.user.clone(), device.device_id.clone());
                Self::Device { user, device, vouched: None }
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
    /// No identity vouches for it: the owner has none, or it did not sign the device.
    Unsigned,
    /// The identity signed the device.
    Signed,
    /// An identity signed the device, and the owner, once verified, shows one that is not.
    Violated,
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
    *sender = SenderData::Device { user: user.clone(), device: device.device_id, vouched: None };
    Ok(Raised::Yes)
}

/// How the creator of a session stands now. That an identity vouches for it is noted when it is
/// seen first.
pub(super) fn standing(
    (creator, sender): (&Creator, &mut SenderData),
    own_user: &UserId,
    step: &Step<'_>,
) -> Result<(Standing, Raised), MachineError> {
    let SenderData::Device { user, device, vouched } = sender else {
        return Ok((Standing::Unsigned, Raised::No));
    };
    let Some(identity) = step.get::<Identity>(Table::Identity, user.as_str(), "")? else {
        return Ok((Standing::Unsigned, Raised::No));
    };
    let mut raised = Raised::No;
    if vouched.is_none() {
        let device = find_device(user, device, step)?;
        let signed = device.filter(|it| owns(it, creator)).is_some_and(|it| identity.signs(&it));
        if !signed {
            return Ok((Standing::Unsigned, raised));
        }
        *vouched = Some(identity.master_key.clone());
        raised = Raised::Yes;
    }
    Ok(match state_of(&identity, own_user, step)? {
        IdentityState::VerificationViolation => (Standing::Violated, raised),
        IdentityState::None
        | IdentityState::Pinned
        | IdentityState::PinViolation
        | IdentityState::Verified => (Standing::Signed, raised),
    })
}

/// The owner check: both keys, because only together they prove who made the session.
fn owns(device: &Device, creator: &Creator) -> bool {
    device.curve25519.to_base64() == creator.curve25519
        && device.ed25519.to_base64() == creator.ed25519
}

/// Whether a device of `user` is named as the maker of a session by a copy that proves nothing.
pub(super) fn is_named(
    record: &InboundSession,
    user: &UserId,
    step: &Step<'_>,
) -> Result<bool, MachineError> {
    if record.named().next().is_none() {
        return Ok(false);
    }
    let devices = step.scan::<Device>(Table::Device, Some(user.as_str()))?;
    Ok(devices.iter().any(|(_, device)| record.named().any(|creator| owns(device, creator))))
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
        (SenderData::Device { .. } | SenderData::Unknown { .. }, _) if !source.is_proof() => {
            Shield::Grey(ShieldReason::AuthenticityNotGuaranteed)
        }
        (SenderData::Own { .. }, _) | (SenderData::Device { .. }, Standing::Signed) => Shield::None,
        (SenderData::Device { .. }, Standing::Violated) => {
            Shield::Red(ShieldReason::VerificationViolation)
        }
        (SenderData::Device { .. }, Standing::Unsigned) => {
            Shield::Red(ShieldReason::UnsignedDevice)
        }
        (SenderData::Unknown { .. }, _) => Shield::Red(ShieldReason::UnknownDevice),
    };
    Verdict::Show(shield)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> OwnedUserId {
        UserId::parse(id).unwrap()
    }

    // T-61, A-24
    #[test]
    fn every_origin_has_its_mark() {
        let alice = user("@alice:x");
        let own = SenderData::Own { user: alice.clone() };
        let device = |vouched: Option<&str>| SenderData::Device {
            user: alice.clone(),
            device: "D".into(),
            vouched: vouched.map(str::to_owned),
        };
        let (device, vouched) = (device(None), device(Some("key")));
        let claimed = SenderData::Unknown { claimed: Some(alice.clone()) };
        let unknown = SenderData::Unknown { claimed: None };
        let unproved = Shield::Grey(ShieldReason::AuthenticityNotGuaranteed);
        let unknown_device = Shield::Red(ShieldReason::UnknownDevice);
        let unsigned = Shield::Red(ShieldReason::UnsignedDevice);
        let violated = Shield::Red(ShieldReason::VerificationViolation);
        for standing in [Standing::Unsigned, Standing::Signed, Standing::Violated] {
            let known = match standing {
                Standing::Unsigned => unsigned,
                Standing::Signed => Shield::None,
                Standing::Violated => violated,
            };
            for (source, sender, expected) in [
                (Source::Own, &own, Shield::None),
                (Source::Olm, &device, known),
                (Source::Olm, &vouched, known),
                (Source::Olm, &claimed, unknown_device),
                (Source::Olm, &unknown, unknown_device),
            ] {
                let found = verdict(source, (sender, standing), &alice);
                assert_eq!(found, Verdict::Show(expected), "{source:?} {sender:?} {standing:?}");
            }
            for source in [Source::Forwarded, Source::Bundle, Source::Backup, Source::Import] {
                for sender in [&device, &vouched, &claimed, &unknown] {
                    let found = verdict(source, (sender, standing), &alice);
                    assert_eq!(found, Verdict::Show(unproved), "{source:?} {sender:?}");
                }
            }
        }
    }

    // T-62, A-11
    #[test]
    fn an_event_of_somebody_else_than_the_sessions_maker_is_mismatched() {
        let (alice, mallory) = (user("@alice:x"), user("@mallory:x"));
        for sender in [
            SenderData::Own { user: alice.clone() },
            SenderData::Device { user: alice.clone(), device: "D".into(), vouched: None },
            SenderData::Unknown { claimed: Some(alice) },
        ] {
            let found = verdict(Source::Olm, (&sender, Standing::Signed), &mallory);
            assert_eq!(found, Verdict::Mismatched);
        }
    }
}
