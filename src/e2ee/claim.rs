//! One-time keys of others: asked for, checked, made into sessions.

use serde::{Deserialize, Serialize};

use super::{
    core::{Core, OlmChannel},
    device::Device,
    error::MachineError,
    step::Step,
};

/// What a `keys/claim` request asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ClaimPurpose {}

/// Claims under way.
#[derive(Debug)]
pub(super) struct Claims {}

impl Core {
    /// Makes sure there are Olm sessions with `devices`, asking for one-time keys where there are
    /// none. The answers stand in the order of the devices.
    pub(super) fn ensure_sessions(
        &mut self,
        devices: &[Device],
        step: &mut Step<'_>,
    ) -> Result<Vec<OlmChannel>, MachineError> {
        todo!()
    }
}
