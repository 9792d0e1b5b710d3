//! Asking our other devices for a room key, and taking what they forward.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::to_raw_value};

use super::{Forward, REQUEST};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::OlmSender,
        devices::{devices_of, find_device_by_key},
        exported::{ExportedSession, Import},
        lookup::Table,
        megolm::{MEGOLM_V1, Source},
        request::{DEVICES_PER_REQUEST, Purpose, RequestId, ToDeviceMessage},
        secret_sharing::{Received, is_trusted},
        step::Step,
    },
    matrix::{OwnedDeviceId, RoomId},
    time::Timestamp,
};

/// Most requests that are remembered, and how long at least.
const MAX_REQUESTS: u64 = 1_000;
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A session that was asked for; kept under its room and id, and kept when it came: none is asked
/// for twice.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeyRequest {
    id: String,
    /// Whom, as far as they may still answer.
    devices: Vec<OwnedDeviceId>,
    asked: Timestamp,
}

impl Machine {
    /// An event on screen needs this session: our verified devices are asked for it, if they may be
    /// and were not before.
    pub(in crate::e2ee) fn request_room_key(
        &mut self,
        (room, session_id): (&RoomId, &str),
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let asked =
            |step: &Step<'_>| step.get::<KeyRequest>(Table::KeyRequest, room.as_str(), session_id);
        if !self.forwards_keys() || asked(step)?.is_some() {
            return Ok(());
        }
        let mut devices = Vec::new();
        for device in devices_of(&self.core.user, step)? {
            let is_other = device.device_id != self.core.device;
            if is_other && is_trusted(&device, step)? && devices.len() < DEVICES_PER_REQUEST {
                devices.push(device.device_id);
            }
        }
        if devices.is_empty() || !has_space(step)? {
            return Ok(());
        }
        let id = RequestId::random()?.0;
        let content = json!({
            "action": "request",
            "body": { "algorithm": MEGOLM_V1, "room_id": room, "session_id": session_id },
            "request_id": id,
            "requesting_device_id": self.core.device,
        });
        self.tell_devices(&devices, &content, step)?;
        let request = KeyRequest { id, devices, asked: step.now() };
        step.put(Table::KeyRequest, room.as_str(), session_id, &request)
    }

    /// The session came: nobody need send it any more.
    pub(in crate::e2ee) fn withdraw_room_key_request(
        &mut self,
        (room, session_id): (&RoomId, &str),
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !self.forwards_keys() {
            return Ok(());
        }
        let request: Option<KeyRequest> = step.get(Table::KeyRequest, room.as_str(), session_id)?;
        let Some(request) = request.filter(|it| !it.devices.is_empty()) else { return Ok(()) };
        let content = json!({
            "action": "request_cancellation",
            "request_id": request.id,
            "requesting_device_id": self.core.device,
        });
        self.tell_devices(&request.devices, &content, step)?;
        let over = KeyRequest { devices: Vec::new(), ..request };
        step.put(Table::KeyRequest, room.as_str(), session_id, &over)
    }

    /// Requests hold no secret and go out in clear, as the specification wants it.
    fn tell_devices(
        &mut self,
        devices: &[OwnedDeviceId],
        content: &Value,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let record = |source| MachineError::Record { table: Table::KeyRequest.name(), source };
        let content = to_raw_value(content).map_err(record)?;
        let messages = devices.iter().map(|device| ToDeviceMessage {
            user: self.core.user.clone(),
            device_id: device.clone(),
            content: content.clone(),
        });
        let messages: Vec<ToDeviceMessage> = messages.collect();
        self.core.requests.to_device(REQUEST, &messages, Purpose::Notice, step)?;
        Ok(())
    }

    /// Takes a key that came over Olm. It is dropped unless we asked this very device for it, the
    /// device is still verified, and the key is the one it is said to be.
    pub(in crate::e2ee) fn receive_forwarded_key(
        &mut self,
        sender: &OlmSender,
        content: &str,
        step: &mut Step<'_>,
    ) -> Result<Received, MachineError> {
        let Ok(forward) = serde_json::from_str::<Forward>(content) else {
            return Ok(Received::Foreign);
        };
        let (room, session_id) = (forward.room_id.clone(), forward.session_id.clone());
        let name: (&RoomId, &str) = (&room, &session_id);
        let is_ours = sender.user == self.core.user && self.forwards_keys();
        let request: Option<KeyRequest> = step.get(Table::KeyRequest, name.0.as_str(), name.1)?;
        let Some(mut request) = request.filter(|_| is_ours) else { return Ok(Received::Unproved) };
        // What the device list says counts, not what the message says of its sender.
        let device = find_device_by_key(&sender.user, &sender.curve25519, step)?;
        let Some(device) = device.filter(|it| request.devices.contains(&it.device_id)) else {
            return Ok(Received::Unproved);
        };
        if !is_trusted(&device, step)? {
            return Ok(Received::Unproved);
        }
        match self.import_session(name, forward.into_exported(), Source::Forwarded, step)? {
            Import::Refused => return Ok(Received::Unproved),
            Import::Improved | Import::Known => {}
        }
        // A device answers once; another may have the session from an earlier message on. The rest
        // is told off when an event can be read.
        request.devices.retain(|it| *it != device.device_id);
        step.put(Table::KeyRequest, name.0.as_str(), name.1, &request)?;
        Ok(Received::Taken)
    }
}

impl Forward {
    fn into_exported(self) -> ExportedSession {
        let ed25519 = self.sender_claimed_ed25519_key;
        let claims = [("ed25519".to_owned(), ed25519)].into();
        ExportedSession::claimed(self.algorithm, self.session_key, (self.sender_key, claims))
    }
}

/// Whether one more may be remembered; forgets old ones when it is tight.
fn has_space(step: &mut Step<'_>) -> Result<bool, MachineError> {
    if step.count(Table::KeyRequest)? < MAX_REQUESTS {
        return Ok(true);
    }
    let now = step.now();
    for (key, request) in step.scan::<KeyRequest>(Table::KeyRequest, None)? {
        if REMEMBERED <= now.since(request.asked) {
            step.delete(Table::KeyRequest, &key.0, &key.1);
        }
    }
    Ok(step.count(Table::KeyRequest)? < MAX_REQUESTS)
}
