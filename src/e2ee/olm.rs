//! Olm sessions: chosen, kept, used to encrypt and to decrypt.

use serde_json::value::RawValue;

use super::{core::Core, device::Device, error::MachineError, step::Step};

impl Core {
    /// Encrypts an event for one device: the content of an `m.room.encrypted` to-device event.
    /// `None` when there is no session with it (see [`Core::ensure_sessions`]).
    pub(super) fn encrypt_to_device(
        &mut self,
        device: &Device,
        kind: &str,
        content: &RawValue,
        step: &mut Step<'_>,
    ) -> Result<Option<Box<RawValue>>, MachineError> {
        todo!()
    }
}
