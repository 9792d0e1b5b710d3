//! What stands below the rooms: our account, the devices of others, Olm sessions, requests.

use std::collections::BTreeSet;

use vodozemac::Curve25519PublicKey;

use crate::{
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    time::Timestamp,
};

use super::{
    account::AccountPart, claim::Claims, cross_signing::CrossSigning, device::Device,
    error::MachineError, request::Requests, step::Step, tracking::Tracker, unwedge::Undecided,
};

/// Everything of the session layer that knows no room.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
    pub(super) account: AccountPart,
    pub(super) requests: Requests,
    pub(super) tracker: Tracker,
    pub(super) claims: Claims,
    pub(super) undecided: Undecided,
    pub(super) cross_signing: CrossSigning,
    /// Curve25519 keys with which there are sessions; filled as they are asked for.
    pub(super) known_peers: BTreeSet<[u8; 32]>,
    pub(super) dropped: Dropped,
    /// The time of the last step: pauses that ended before it need no tick.
    now: Timestamp,
}

/// To-device events that had no effect, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Not meant for us, malformed, or of a type we do not know.
    pub(super) foreign: u64,
    /// Read, and not believed.
    pub(super) unproved: u64,
    /// In clear, of a type that must be encrypted.
    pub(super) in_clear: u64,
    /// Read before.
    pub(super) replayed: u64,
    /// Not readable with any session.
    pub(super) wedged: u64,
    /// Of a type that is not supported yet.
    pub(super) unsupported: u64,
}

impl Core {
    /// Opens the account, and what an earlier run left under way.
    pub(super) fn open(
        user: &UserId,
        device: &DeviceId,
        step: &mut Step<'_>,
    ) -> Result<Self, MachineError> {
        let mut core = Self {
            user: user.to_owned(),
            device: device.to_owned(),
            account: AccountPart::open(user, device, step)?,
            requests: Requests::open(step)?,
            tracker: Tracker::open(step)?,
            claims: Claims::open(step)?,
            undecided: Undecided::default(),
            cross_signing: CrossSigning::default(),
            known_peers: BTreeSet::new(),
            dropped: Dropped::default(),
            now: step.now(),
        };
        core.open_identities(step)?;
        core.resume_unwedging(step)?;
        core.publish_keys(step)?;
        core.track([user], step)?;
        core.sign_ourselves(step)?;
        Ok(core)
    }

    /// Starts whatever is due: uploads, queries, claims, retries.
    pub(super) fn proceed(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.now = step.now();
        self.requests.tick(step)?;
        self.publish_keys(step)?;
        self.query(step)?;
        self.claim(step)
    }

    /// When [`Core::proceed`] is to be called though nothing arrived.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let now = self.now;
        let all = [
            self.requests.deadline(),
            self.account.deadline(),
            self.tracker.deadline(now),
            self.claims.deadline(now),
        ];
        all.into_iter().flatten().min()
    }
}

/// Who sent an Olm message, as far as its plaintext proves.
#[derive(Clone, Debug)]
pub(super) struct OlmSender {
    pub(super) user: OwnedUserId,
    /// The key of the session: proved.
    pub(super) curve25519: Curve25519PublicKey,
    /// From inside the message: the claim of who holds `curve25519`.
    pub(super) ed25519: String,
    /// The device with both keys: from the message, or from the device list. Its signature by
    /// itself was checked. `None` when neither has it.
    pub(super) device: Option<Device>,
}

/// Whether a list of users can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// All lists are current, or will not become so soon: use what is known.
    Ready,
    /// A query is under way; wait for the answer, but not beyond this moment.
    Waiting(Timestamp),
}

/// Whether a device can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OlmChannel {
    /// There is a session.
    Ready,
    /// A one-time key was asked for.
    Waiting,
    /// No key can be had now; it is asked for again, when wanted, after this moment.
    Unreachable(Timestamp),
}
