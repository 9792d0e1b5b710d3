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

/// The other side proved that it holds the same keys as we do, and they are enough.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeysChecked(Whose);

/// Keys that were looked at so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checks {
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

impl Checks {
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

    /// The proof, if it is enough: between users the master key, between own devices any.
    pub(super) fn suffice(self, bound: &Bound) -> Option<KeysChecked> {
        let them = &bound.them;
        if !bound.is_own() {
            let master = them.master.clone().filter(|_| self.master)?;
            return Some(KeysChecked(Whose::Other { master }));
        }
        let device = (them.device.clone(), them.ed25519.to_base64());
        let is_news = self.master && bound.trust == OwnTrust::Unverified;
        let whose = Whose::Own {
            device: self.device.then_some(device),
            master: bound.us.master.clone().filter(|_| is_news),
        };
        (self.master || self.device).then_some(KeysChecked(whose))
    }
}

/// What was verified. There is no other way to make one than [`Verified::new`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified(Whose);

/// Whose keys, and which of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Another user's.
    Other {
        /// Their master key, unpadded base64.
        master: String,
    },
    /// Our own; neither where both devices trusted each other before.
    Own {
        /// The other device and its ed25519 key, unpadded base64.
        device: Option<(OwnedDeviceId, String)>,
        /// Our master key, unpadded base64, which this device did not trust before.
        master: Option<String>,
    },
}

impl Verified {
    /// Puts the user's word and the check of the keys together.
    pub(super) fn new(_confirmed: Confirmed, KeysChecked(whose): KeysChecked) -> Self {
        Self(whose)
    }

    /// Whose keys.
    pub(super) fn whose(&self) -> &Whose {
        &self.0
    }
}
