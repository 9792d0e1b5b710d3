//! What stands below the rooms: our account, the devices of others, Olm sessions, requests.

use serde_json::value::RawValue;
use vodozemac::Curve25519PublicKey;

use crate::{
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    time::Timestamp,
};

use super::{
    account::AccountPart, claim::Claims, device::Device, error::MachineError, request::Requests,
    step::Step, tracking::Tracker,
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
