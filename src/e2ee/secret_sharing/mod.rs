//! Passing the account's secrets between its own devices.
//!
//! ```text
//!  ask:    what is missing ─▶ m.secret.request to every verified device of ours
//!          m.secret.send over Olm ─▶ asked? of that device? verified? fits? ─▶ kept, others told off
//!  serve:  m.secret.request ─▶ ours? known? verified? not lately? ─▶ m.secret.send over Olm
//! ```
//!
//! # Spec
//! Client-Server API, "Secrets", "Sharing".

mod ask;
mod serve;

pub(super) use ask::Received;
pub(super) use serve::Sharing;

use super::{
    MachineError, cross_signing,
    device::{Device, DeviceSort},
    identity::Identity,
    lookup::Table,
    step::Step,
};

/// Whether a device of our own account may have our secrets, now: our identity, which this device
/// verified, signed it, and nobody blocked it.
pub(super) fn is_trusted(device: &Device, step: &Step<'_>) -> Result<bool, MachineError> {
    let own = step.get::<Identity>(Table::Identity, device.user.as_str(), "")?;
    let Some(own) = own else { return Ok(false) };
    let usable =
        device.sort == DeviceSort::Ordinary && !device.is_deleted() && !device.is_blocked();
    Ok(usable && cross_signing::is_verified_master(&own, step)? && own.signs(device))
}
