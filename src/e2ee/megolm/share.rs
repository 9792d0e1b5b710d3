//! Offering an outbound session to the devices of a room: who gets it, at which index, and what is
//! remembered of each device until the session is replaced.
//!
//! ```text
//!            no way to it yet                 answered 200
//!  (wanted) ───────────────▶ Wanted ──▶ Sent ──────────────▶ Shared
//!      │  sent at once                   ▲│ refused, at most 3 times
//!      └─────────────────────────────────┘▼
//!                                       Wanted
//! ```
//!
//! # Spec
//! End-to-End Encryption, "Sharing keys between devices", `m.room_key`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MEGOLM_V1, outbound::RotationCause};
use crate::{
    e2ee::{
        DevicePolicy, HistoryVisibility, LeftOutReason, MachineError, Recipients,
        device::{Device, DeviceSort},
        identity::Identity,
        lookup::Table,
        request::RequestId,
        step::Step,
    },
    matrix::{OwnedDeviceId, OwnedRoomId, OwnedUserId, UserId},
};

/// How often a refused share request is made again.
const MAX_REFUSALS: u32 = 3;

/// What a share request carried; its devices are those whose offer names the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::e2ee) struct SharePurpose {
    pub(in crate::e2ee) room: OwnedRoomId,
    pub(in crate::e2ee) session_id: String,
}

/// What every known recipient device was offered.
#[derive(Debug, Default)]
pub(in crate::e2ee) struct Offers(
    pub(in crate::e2ee) BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Offer>>,
);

/// What one device was offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum Offer {
    /// The key, from this index on.
    Key {
        /// The first index that it may read.
        index: u32,
        /// Its identity key then.
        curve25519: String,
        /// Its [`Device::wedging_index`] when the key was last sent.
        wedging: u32,
        /// How far it got.
        progress: Progress,
    },
    /// Word that it gets none, with this code.
    Withheld(String),
}

/// How far a key got on its way to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum Progress {
    /// Not sent: no way to the device was found, or the server refused the request so often.
    Wanted {
        /// How often it was refused.
        refused: u32,
    },
    /// In this request, not answered.
    Sent {
        /// The request.
        request: RequestId,
        /// How often it was refused before.
        refused: u32,
    },
    /// The server has it.
    Shared,
}

impl Offer {
    /// Whether the device has the key or may have it.
    pub(in crate::e2ee) fn may_have_key(&self) -> bool {
        match self {
            Self::Key { progress: Progress::Sent { .. } | Progress::Shared, .. } => true,
            Self::Key { progress: Progress::Wanted { refused }, .. } => 0 < *refused,
            Self::Withheld(_) => false,
        }
    }
}

/// What a device is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Policy {
    /// The key.
    Key,
    /// Word that it gets none, with this code.
    Withhold(&'static str),
    /// Nothing at all: it cannot speak our algorithms.
    Nothing,
}

/// A device of a recipient, and what it is to get.
#[derive(Clone, Debug)]
pub(in crate::e2ee) struct Candidate {
    pub(in crate::e2ee) device: Device,
    pub(in crate::e2ee) policy: Policy,
    /// Whether its owner's identity signed it.
    pub(in crate::e2ee) standing: CrossSigned,
}

/// Whether a device is signed by the identity of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum CrossSigned {
    Yes,
    No,
    /// The owner has no identity.
    NoIdentity,
}

impl Candidate {
    /// What `device` is to get under `rule`; `identity` is its owner's.
    pub(in crate::e2ee) fn new(
        device: Device,
        identity: Option<&Identity>,
        rule: DevicePolicy,
    ) -> Self {
        let standing = match identity {
            Some(identity) if identity.signs(&device) => CrossSigned::Yes,
            Some(_) => CrossSigned::No,
            None => CrossSigned::NoIdentity,
        };
        let policy = policy(&device, standing, rule);
        Self { device, policy, standing }
    }

    /// Why it gets no key, if it gets none.
    pub(in crate::e2ee) fn left_out(&self) -> Option<LeftOutReason> {
        match (self.policy, self.standing) {
            (Policy::Key, _) => None,
            (Policy::Nothing, _) => Some(LeftOutReason::Unable),
            (Policy::Withhold(BLACKLISTED), _) => Some(LeftOutReason::Blocked),
            (Policy::Withhold(_), CrossSigned::NoIdentity) => Some(LeftOutReason::NoIdentity),
            (Policy::Withhold(_), CrossSigned::Yes | CrossSigned::No) => {
                Some(LeftOutReason::Unsigned)
            }
        }
    }
}

const BLACKLISTED: &str = "m.blacklisted";
const UNVERIFIED: &str = "m.unverified";

/// Who gets keys: **the one place that decides it**. A device that its owner signed, unless it is
/// blocked; one that is not signed only where the user said so, and a dehydrated one never then.
fn policy(device: &Device, standing: CrossSigned, rule: DevicePolicy) -> Policy {
    if device.is_blocked() {
        return Policy::Withhold(BLACKLISTED);
    }
    if !device.algorithms.iter().any(|algorithm| algorithm == MEGOLM_V1) {
        return Policy::Nothing;
    }
    match (standing, device.sort, rule) {
        (CrossSigned::Yes, _, _)
        | (CrossSigned::No | CrossSigned::NoIdentity, DeviceSort::Ordinary, DevicePolicy::All) => {
            Policy::Key
        }
        (_, DeviceSort::Dehydrated, _) => Policy::Nothing,
        (_, DeviceSort::Ordinary, DevicePolicy::Signed) => Policy::Withhold(UNVERIFIED),
    }
}

/// The users whose devices get keys: the joined, and the invited unless they may read nothing from
/// before they join.
pub(in crate::e2ee) fn targets(to: &Recipients) -> impl Iterator<Item = &OwnedUserId> {
    let invited = match to.history_visibility {
        HistoryVisibility::Joined => &[],
        HistoryVisibility::Invited
        | HistoryVisibility::Shared
        | HistoryVisibility::WorldReadable => to.invited.as_slice(),
    };
    to.joined.iter().chain(invited)
}

impl Offers {
    /// The offer to a device.
    fn of(&self, device: &Device) -> Option<&Offer> {
        self.0.get(&device.user).and_then(|devices| devices.get(&device.device_id))
    }

    /// Whether somebody holds the key who should not have the next message: `devices` are those of
    /// the recipients.
    pub(in crate::e2ee) fn stray_holder(&self, devices: &[Candidate]) -> Option<RotationCause> {
        let users: BTreeSet<&UserId> = devices.iter().map(|it| &*it.device.user).collect();
        let entitled: BTreeMap<_, String> = devices
            .iter()
            .filter(|it| it.policy == Policy::Key)
            .map(|it| &it.device)
            .map(|device| ((&device.user, &device.device_id), device.curve25519.to_base64()))
            .collect();
        let holders = self.0.iter().flat_map(|(user, devices)| {
            devices.iter().filter(|(_, offer)| offer.may_have_key()).map(move |it| (user, it))
        });
        for (user, (device, offer)) in holders {
            let Offer::Key { curve25519, .. } = offer else { continue };
            if entitled.get(&(user, device)) != Some(curve25519) {
                let gone = !users.contains(&**user);
                return Some(if gone {
                    RotationCause::UserGone
                } else {
                    RotationCause::DeviceGone
                });
            }
        }
        None
    }

    /// From which index on `device` is to be sent the key now; `None` when there is nothing to
    /// send. `current` is the index of the next message.
    pub(in crate::e2ee) fn due(&self, candidate: &Candidate, current: u32) -> Option<u32> {
        if candidate.policy != Policy::Key {
            return None;
        }
        let device = &candidate.device;
        let Some(Offer::Key { index, curve25519, wedging, progress }) = self.of(device) else {
            return Some(current);
        };
        if *curve25519 != device.curve25519.to_base64() {
            return Some(current);
        }
        let due = match progress {
            Progress::Wanted { refused } => *refused < MAX_REFUSALS,
            Progress::Sent { .. } | Progress::Shared => *wedging < device.wedging_index,
        };
        due.then_some(*index)
    }

    /// The code to tell `device` that it gets no key, unless it was told.
    pub(in crate::e2ee) fn due_code(&self, candidate: &Candidate) -> Option<&'static str> {
        match (candidate.policy, self.of(&candidate.device)) {
            (Policy::Withhold(code), Some(Offer::Withheld(told))) if code == told => None,
            (Policy::Withhold(code), _) => Some(code),
            (Policy::Key | Policy::Nothing, _) => None,
        }
    }

    /// Notes that `device` is to get the key from `index` on, when there is a way to it. What it
    /// was sent before stays noted.
    pub(in crate::e2ee) fn want(&mut self, device: &Device, index: u32) {
        if self.of(device).is_none_or(|offer| !offer.may_have_key()) {
            self.insert(device, index, Progress::Wanted { refused: 0 });
        }
    }

    /// Notes that `device` is sent the key from `index` on in `request`.
    pub(in crate::e2ee) fn sent(&mut self, device: &Device, index: u32, request: &RequestId) {
        let refused = match self.of(device) {
            Some(Offer::Key {
                progress: Progress::Wanted { refused } | Progress::Sent { refused, .. },
                ..
            }) => *refused,
            Some(Offer::Key { progress: Progress::Shared, .. } | Offer::Withheld(_)) | None => 0,
        };
        self.insert(device, index, Progress::Sent { request: request.clone(), refused });
    }

    fn insert(&mut self, device: &Device, index: u32, progress: Progress) {
        let curve25519 = device.curve25519.to_base64();
        let wedging = device.wedging_index;
        let devices = self.0.entry(device.user.clone()).or_default();
        let offer = Offer::Key { index, curve25519, wedging, progress };
        devices.insert(device.device_id.clone(), offer);
    }

    /// Notes that `device` was told that it gets no key.
    pub(in crate::e2ee) fn note_withheld(&mut self, device: &Device, code: &str) {
        let devices = self.0.entry(device.user.clone()).or_default();
        devices.insert(device.device_id.clone(), Offer::Withheld(code.to_owned()));
    }

    /// Takes the answer to `request`; gives the users whose offers changed.
    pub(in crate::e2ee) fn settle(
        &mut self,
        request: &RequestId,
        answer: Answer,
    ) -> Vec<OwnedUserId> {
        let mut changed = Vec::new();
        for (user, devices) in &mut self.0 {
            let before = changed.len();
            for offer in devices.values_mut() {
                let Offer::Key { progress, .. } = offer else { continue };
                let Progress::Sent { request: of, refused } = &*progress else { continue };
                if of != request {
                    continue;
                }
                *progress = match answer {
                    Answer::Delivered => Progress::Shared,
                    Answer::Refused => Progress::Wanted { refused: refused + 1 },
                };
                if changed.len() == before {
                    changed.push(user.clone());
                }
            }
        }
        changed
    }

    /// Writes the offers to the devices of these users.
    pub(in crate::e2ee) fn write<'u>(
        &self,
        session: &str,
        users: impl IntoIterator<Item = &'u OwnedUserId>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for user in users {
            if let Some(devices) = self.0.get(user) {
                step.put(Table::RoomKeyShare, session, user.as_str(), devices)?;
            }
        }
        Ok(())
    }
}

/// How the server answered a share request for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Answer {
    /// It has the messages.
    Delivered,
    /// It does not take them.
    Refused,
}
