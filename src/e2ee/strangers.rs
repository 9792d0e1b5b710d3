//! Olm sessions with devices that no list names. Keys are made up for nothing, and a fallback key
//! serves any number of them, so whoever likes could fill the store with sessions; of each user the
//! devices that wrote last are kept.

use vodozemac::Curve25519PublicKey;

use super::{
    core::Core, devices::find_device_by_key, error::MachineError, lookup::Table, step::Step,
};
use crate::matrix::UserId;

/// Unlisted devices of one user whose sessions are kept.
const MAX_STRANGERS: usize = 32;
/// Names the records of this module.
const STRANGERS: &str = "strangers";

impl Core {
    /// A device that no list of `user` names began a session. The one that did so longest ago loses
    /// its sessions when there are too many, unless it is listed by now.
    pub(super) fn note_stranger(
        &mut self,
        user: &UserId,
        key: &Curve25519PublicKey,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let name = key.to_base64();
        let known = step.get::<Vec<String>>(Table::Misc, STRANGERS, user.as_str())?;
        let mut strangers = known.unwrap_or_default();
        strangers.retain(|it| *it != name);
        strangers.push(name);
        let surplus = strangers.len().saturating_sub(MAX_STRANGERS);
        for gone in strangers.drain(..surplus) {
            if let Ok(key) = Curve25519PublicKey::from_base64(&gone)
                && find_device_by_key(user, &key, step)?.is_none()
            {
                self.forget_sessions(&key, step)?;
            }
        }
        step.put(Table::Misc, STRANGERS, user.as_str(), &strangers)
    }
}
