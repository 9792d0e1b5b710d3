//! Whose keys a verification is about, fixed when the other device is known and never exchanged
//! for what the server says later.

use vodozemac::Ed25519PublicKey;

use crate::{
    e2ee::{
        Machine, MachineError, cross_signing::OwnIdentity, device::DeviceSort,
        devices::find_device, identity::Identity, lookup::Table, step::Step,
    },
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
};

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

impl Machine {
    /// The keys of both sides as they are known now; `None` while the device or one of the two
    /// identities is not known, or cannot be verified.
    pub(super) fn bind(
        &self,
        user: &UserId,
        device: &DeviceId,
        step: &Step<'_>,
    ) -> Result<Option<Bound>, MachineError> {
        let is_us = *user == *self.core.user && *device == *self.core.device;
        let found = find_device(user, device, step)?.filter(|it| !it.is_deleted() && !is_us);
        let Some(found) = found.filter(|it| it.sort == DeviceSort::Ordinary) else {
            return Ok(None);
        };
        let identity = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
        // A device named like a key of its owner could be taken for the key.
        let clear = |it: &Identity| !it.is_confused() && !it.has_key_named(device.as_str());
        let (Some(identity), Some(own)) =
            (identity.filter(clear), master_of(&self.core.user, step)?)
        else {
            return Ok(None);
        };
        let us = Side {
            user: self.core.user.clone(),
            device: self.core.device.clone(),
            ed25519: self.core.account.ed25519(),
            master: Some(own),
        };
        let them = Side {
            user: user.to_owned(),
            device: device.to_owned(),
            ed25519: found.ed25519,
            master: Some(identity.master_key),
        };
        Ok(Some(Bound { us, trust: self.own_trust(step)?, them }))
    }
    /// Whether this device verified our own identity.
    fn own_trust(&self, step: &Step<'_>) -> Result<OwnTrust, MachineError> {
        Ok(match self.own_identity(step)? {
            OwnIdentity::Verified { .. } => OwnTrust::Verified,
            OwnIdentity::None | OwnIdentity::Theirs => OwnTrust::Unverified,
        })
    }
}

/// The current master key of a user, unpadded base64.
pub(super) fn master_of(user: &UserId, step: &Step<'_>) -> Result<Option<String>, MachineError> {
    let identity = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
    Ok(identity.map(|it| it.master_key))
}
