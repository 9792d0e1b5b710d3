//! Whose devices are tracked, and how their lists are kept current.

use serde::{Deserialize, Serialize};

use crate::matrix::{OwnedUserId, UserId};

use super::{
    core::{Core, Freshness},
    device::Device,
    error::MachineError,
    lookup::Table,
    step::Step,
};

/// What a `keys/query` request asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct QueryPurpose {
    pub(super) users: Vec<OwnedUserId>,
}

/// Tracked users.
#[derive(Debug)]
pub(super) struct Tracker {
    changes: u64,
}

impl Core {
    /// The devices that the list of `user` names, blocked ones too, ours among our own.
    pub(super) fn devices_of(
        &self,
        user: &UserId,
        step: &Step<'_>,
    ) -> Result<Vec<Device>, MachineError> {
        let all = step.scan::<Device>(Table::Device, Some(user.as_str()))?;
        Ok(all
            .into_iter()
            .map(|(_, device)| device)
            .filter(|device| !device.is_deleted())
            .collect())
    }

    /// A device by its name, deleted ones too.
    pub(super) fn find_device(
        &self,
        user: &UserId,
        device: &crate::matrix::DeviceId,
        step: &Step<'_>,
    ) -> Result<Option<Device>, MachineError> {
        step.get(Table::Device, user.as_str(), device.as_str())
    }

    /// Changes whenever a device list, a device or an identity changed: who computed something
    /// from them need not do so again while it stays the same. Starts anew with the program.
    pub(super) fn device_changes(&self) -> u64 {
        self.tracker.changes
    }

    /// Tracks `users` from now on and asks for the lists that are not current.
    pub(super) fn refresh<'u>(
        &mut self,
        users: impl IntoIterator<Item = &'u OwnedUserId>,
        step: &mut Step<'_>,
    ) -> Result<Freshness, MachineError> {
        todo!()
    }
}
