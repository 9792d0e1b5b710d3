//! Whose keys a verification is about, fixed when the other device is known and never exchanged
//! for what the server says later.

use vodozemac::Ed25519PublicKey;

use crate::matrix::{OwnedDeviceId, OwnedUserId};

/// Both sides of a verification, as they were when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) us: Side,
    /// Whether this device verified our own master key.
    pub(super) trust: OwnTrust,
    pub(super) them: Side,
}

/// Whether this device verified our own master key: only then it vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnTrust {
    Verified,
    Unverified,
}

/// One side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
    pub(super) ed25519: Ed25519PublicKey,
    /// Unpadded base64 of the user's master key, if there is one.
    pub(super) master: Option<String>,
}

impl Bound {
    /// Whether both sides are devices of one user.
    pub(super) fn is_own(&self) -> bool {
        self.us.user == self.them.user
    }
}

impl Side {
    /// Whether the device is named like the master key: MACs could then mean either.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.master.as_deref() == Some(self.device.as_str())
    }
}
