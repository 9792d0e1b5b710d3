//! The devices that are known: looked up, written, decided about.

use vodozemac::Curve25519PublicKey;

use crate::matrix::{DeviceId, UserId};

use super::{
    core::Core,
    device::{Device, LocalTrust},
    error::MachineError,
    lookup::Table,
    step::Step,
};

/// The devices that the list of `user` names, blocked ones too, ours among our own.
pub(super) fn devices_of(user: &UserId, step: &Step<'_>) -> Result<Vec<Device>, MachineError> {
    let all = step.scan::<Device>(Table::Device, Some(user.as_str()))?;
    Ok(all.into_iter().map(|(_, device)| device).filter(|device| !device.is_deleted()).collect())
}

/// A device by its name, deleted ones too.
pub(super) fn find_device(
    user: &UserId,
    device: &DeviceId,
    step: &Step<'_>,
) -> Result<Option<Device>, MachineError> {
    step.get(Table::Device, user.as_str(), device.as_str())
}

/// A device by its curve25519 key, deleted ones too.
pub(super) fn find_device_by_key(
    user: &UserId,
    curve25519: &Curve25519PublicKey,
    step: &Step<'_>,
) -> Result<Option<Device>, MachineError> {
    let all = step.scan::<Device>(Table::Device, Some(user.as_str()))?;
    Ok(all.into_iter().map(|(_, device)| device).find(|device| device.curve25519 == *curve25519))
}

impl Core {
    /// Writes a device.
    pub(super) fn put_device(
        &mut self,
        device: &Device,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.tracker.note_change();
        step.put(Table::Device, device.user.as_str(), device.device_id.as_str(), device)
    }

    /// Decides about a device; `false` when it is not known.
    pub(super) fn set_trust(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        trust: LocalTrust,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let Some(mut device) = find_device(user, device, step)? else { return Ok(false) };
        device.trust = trust;
        self.put_device(&device, step)?;
        Ok(true)
    }

    /// Changes whenever a device list, a device or an identity changed or was called into question:
    /// who computed something from them need not do so again while it stays the same. Starts anew
    /// with the program.
    pub(super) fn device_changes(&self) -> u64 {
        self.tracker.changes()
    }
}
