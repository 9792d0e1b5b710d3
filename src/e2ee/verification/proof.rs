//! What has to be shown before anything counts as verified. The values here are made by the checks
//! in this file only and cannot be copied.

use subtle::ConstantTimeEq as _;

use super::keys::{Bound, OwnTrust};
use crate::matrix::OwnedDeviceId;

/// The user said that both sides show the same.
#[derive(Debug)]
pub(super) struct Confirmed(());

impl Confirmed {
    /// To be called for a user's own word, and nothing else.
    pub(super) fn by_user() -> Self {
        Self(())
    }
}

/// The other side proved that it holds the same keys as we do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeysChecked {
    device: bool,
    master: bool,
}

/// Which keys a check covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// The other device's.
    Device,
    /// The master key of the other side's user, which is ours between our own devices.
    Master,
}

impl KeysChecked {
    /// Nothing yet.
    pub(super) fn none() -> Self {
        Self { device: false, master: false }
    }

    /// Notes a key whose value `expected` is what the other side proved to hold; `false` when it
    /// is not.
    #[must_use]
    pub(super) fn check(&mut self, what: Checked, expected: &[u8], shown: &[u8]) -> bool {
        let same = bool::from(expected.ct_eq(shown));
        if same {
            match what {
                Checked::Device => self.device = true,
                Checked::Master => self.master = true,
            }
        }
        same
    }

    /// Whether it is enough: between users the master key, between own devices any.
    pub(super) fn suffices(&self, bound: &Bound) -> bool {
        self.master || (bound.is_own() && self.device)
    }
}

/// What was verified. There is no other way to make one than [`Verified::new`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// Another user's master key, unpadded base64.
    pub(super) user_master: Option<String>,
    /// A device of ours and its ed25519 key, unpadded base64.
    pub(super) own_device: Option<(OwnedDeviceId, String)>,
    /// Our own master key, unpadded base64, which this device did not trust before.
    pub(super) own_master: Option<String>,
}

impl Verified {
    /// Puts the user's word and the check of the keys together.
    pub(super) fn new(_confirmed: Confirmed, checked: &KeysChecked, bound: &Bound) -> Self {
        let them = &bound.them;
        if !bound.is_own() {
            let user_master = them.master.clone().filter(|_| checked.master);
            return Self { user_master, own_device: None, own_master: None };
        }
        let device = (them.device.clone(), them.ed25519.to_base64());
        let own_master = checked.master && bound.trust == OwnTrust::Unverified;
        Self {
            user_master: None,
            own_device: checked.device.then_some(device),
            own_master: bound.us.master.clone().filter(|_| own_master),
        }
    }
}
