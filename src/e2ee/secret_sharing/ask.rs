//! Asking our other devices for secrets, and taking what they send.

use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::is_trusted;
use crate::{
    e2ee::{
        Machine, MachineError,
        core::OlmSender,
        cross_signing::{Imported, SecretName},
        device::{Device, DeviceSort},
        devices::{devices_of, find_device_by_key},
        held_secrets::read_secret,
        identity::Identity,
        lookup::Table,
        request::{DEVICES_PER_REQUEST, RequestId},
        step::Step,
        types::Notice,
    },
    matrix::OwnedDeviceId,
    time::Timestamp,
};

/// The kind of event that asks.
const REQUEST: &str = "m.secret.request";

/// A secret that we asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SecretRequest {
    name: SecretName,
    /// Whom.
    devices: Vec<OwnedDeviceId>,
    asked: Timestamp,
}

/// The content of `m.secret.send`.
#[derive(Deserialize)]
struct Sent {
    request_id: String,
    secret: Zeroizing<String>,
}

impl Machine {
    /// Whether our own device list was ever received.
    pub fn knows_itself(&self) -> bool {
        self.core.tracker.was_answered(&self.core.user)
    }

    /// Whether the account has another device that its identity signed: this one can be verified
    /// with it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_other_signed_device(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        let own = step.get::<Identity>(Table::Identity, self.core.user.as_str(), "")?;
        let Some(own) = own else { return Ok(false) };
        let devices = devices_of(&self.core.user, step)?;
        let is_other = |it: &Device| {
            it.device_id != self.core.device && it.sort == DeviceSort::Ordinary && own.signs(it)
        };
        Ok(devices.iter().any(is_other))
    }

    /// Asks every other device of ours that is verified for the secrets that are missing here.
    /// What was asked before for the same secret is taken back.
    pub(in crate::e2ee) fn request_secrets(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let mut devices = Vec::new();
        for device in devices_of(&self.core.user, step)? {
            let is_other = device.device_id != self.core.device;
            if is_other && is_trusted(&device, step)? && devices.len() < DEVICES_PER_REQUEST {
                devices.push(device.device_id);
            }
        }
        if devices.is_empty() {
            return Ok(());
        }
        for name in SecretName::PASSED {
            if self.held_secret(name, step)?.is_some() {
                continue;
            }
            self.withdraw_requests(name, step)?;
            let id = RequestId::random()?.0;
            let content = json!({
                "action": "request",
                "name": name.as_str(),
                "request_id": id,
                "requesting_device_id": self.core.device,
            });
            let to = (self.core.user.as_ref(), devices.as_slice());
            self.core.requests.notify_devices(REQUEST, to, &content, step)?;
            let request = SecretRequest { name, devices: devices.clone(), asked: step.now() };
            step.put(Table::SecretRequest, &id, "", &request)?;
        }
        Ok(())
    }

    /// A secret is here. If our other devices were asked for it, they need not send it any more,
    /// and an open storage gets it: it may be missing there.
    pub(in crate::e2ee) fn secret_settled(
        &mut self,
        name: SecretName,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let requests = step.scan::<SecretRequest>(Table::SecretRequest, None)?;
        if requests.iter().all(|(_, request)| request.name != name) {
            return Ok(());
        }
        self.withdraw_requests(name, step)?;
        if self.storage_status(step)?.is_open {
            self.secret_changed(name, step)?;
        }
        Ok(())
    }

    /// Nobody need send this secret any more.
    pub(in crate::e2ee) fn withdraw_requests(
        &mut self,
        name: SecretName,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for (key, request) in step.scan::<SecretRequest>(Table::SecretRequest, None)? {
            if request.name == name {
                self.withdraw(&key.0, &request.devices, step)?;
            }
        }
        Ok(())
    }

    /// Forgets a request and tells those who were asked.
    fn withdraw(
        &mut self,
        id: &str,
        devices: &[OwnedDeviceId],
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        step.delete(Table::SecretRequest, id, "");
        let content = json!({
            "action": "request_cancellation",
            "request_id": id,
            "requesting_device_id": self.core.device,
        });
        let to = (self.core.user.as_ref(), devices);
        self.core.requests.notify_devices(REQUEST, to, &content, step)
    }

    /// Takes a secret that came over Olm. It is dropped unless we asked this very device for it,
    /// the device is still verified, and the secret fits its public key.
    pub(in crate::e2ee) fn receive_secret_send(
        &mut self,
        sender: &OlmSender,
        content: &str,
        step: &mut Step<'_>,
    ) -> Result<Received, MachineError> {
        let Ok(Sent { request_id, secret }) = serde_json::from_str(content) else {
            return Ok(Received::Foreign);
        };
        let request = step.get::<SecretRequest>(Table::SecretRequest, &request_id, "")?;
        let Some(request) = request.filter(|_| sender.user == self.core.user) else {
            return Ok(Received::Unproved);
        };
        // What the device list says counts, not what the message says of its sender.
        let device = find_device_by_key(&sender.user, &sender.curve25519, step)?;
        let Some(device) = device.filter(|it| request.devices.contains(&it.device_id)) else {
            return Ok(Received::Unproved);
        };
        if !is_trusted(&device, step)? {
            return Ok(Received::Unproved);
        }
        let Some(secret) = read_secret(secret.as_bytes()) else { return Ok(Received::Unproved) };
        // The answer of this device; the import tells off the others.
        let rest = request.devices.iter().filter(|it| **it != device.device_id).cloned().collect();
        let asked = SecretRequest { devices: rest, ..request.clone() };
        step.put(Table::SecretRequest, &request_id, "", &asked)?;
        match self.import_secret(request.name, &secret, step)? {
            Imported::Kept => {
                step.tell(Notice::SecretReceived);
                Ok(Received::Taken)
            }
            // Whether it fits is known in a moment; until then others may answer too.
            Imported::Asked => {
                step.put(Table::SecretRequest, &request_id, "", &request)?;
                Ok(Received::Taken)
            }
            Imported::DoesNotFit | Imported::NothingToFit => {
                step.put(Table::SecretRequest, &request_id, "", &request)?;
                Ok(Received::Unproved)
            }
        }
    }
}

/// What became of a secret that was sent to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Received {
    Taken,
    /// Not asked for, not of whom we asked, or not the secret.
    Unproved,
    /// Not well formed.
    Foreign,
}
