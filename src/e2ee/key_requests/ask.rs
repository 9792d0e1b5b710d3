//! Asking our other devices for a room key, and taking what they forward.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Forward, KeyAsked, REQUEST};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::OlmSender,
        devices::{devices_of, find_device_by_key},
        exported::Import,
        lookup::Table,
        megolm::{MEGOLM_V1, Source},
        request::{DEVICES_PER_REQUEST, RequestId},
        secret_sharing::{Received, is_trusted},
        step::Step,
    },
    matrix::{OwnedDeviceId, RoomId},
    time::Timestamp,
};

/// Most requests that are remembered, and how long at least.
const MAX_REQUESTS: u64 = 1_000;
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest content of a forwarded key that is read; a real one has some 700 bytes.
const MAX_CONTENT_BYTES: usize = 8 << 10;

/// A session that was asked for; kept under its room and id, and kept when it came: no device is
/// asked for one twice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyRequest {
    id: String,
    /// Whom.
    asked: Vec<OwnedDeviceId>,
    /// Those of them who may still answer.
    open: Vec<OwnedDeviceId>,
    /// When the first of them was asked.
    at: Timestamp,
}

impl KeyRequest {
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn told(self) -> KeyAsked {
        KeyAsked { at: self.at, devices: self.asked, open: self.open }
    }
}

impl Machine {
    /// An event that somebody looks at needs this session: our verified devices are asked for it, if
    /// they may be, each once.
    ///
    /// # Errors
    /// When the store fails.
    pub fn request_room_key(
        &mut self,
        room: &RoomId,
        session_id: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !self.forwards_keys() {
            return Ok(());
        }
        let known: Option<KeyRequest> = step.get(Table::KeyRequest, room.as_str(), session_id)?;
        let asked = known.as_ref().map(|it| it.asked.as_slice()).unwrap_or_default();
        let mut devices = Vec::new();
        for device in devices_of(&self.core.user, step)? {
            let is_new = device.device_id != self.core.device && !asked.contains(&device.device_id);
            let fits = asked.len() + devices.len() < DEVICES_PER_REQUEST;
            if is_new && fits && is_trusted(&device, step)? {
                devices.push(device.device_id);
            }
        }
        if devices.is_empty() || (known.is_none() && !has_space(step)?) {
            return Ok(());
        }
        let (asked, open, at) = (Vec::new(), Vec::new(), step.now());
        let mut request = match known {
            Some(known) => known,
            None => KeyRequest { id: RequestId::random()?.0, asked, open, at },
        };
        let content = json!({
            "action": "request",
            "body": { "algorithm": MEGOLM_V1, "room_id": room, "session_id": session_id },
            "request_id": request.id,
            "requesting_device_id": self.core.device,
        });
        let to = (self.core.user.as_ref(), devices.as_slice());
        self.core.requests.notify_devices(REQUEST, to, &content, step)?;
        request.asked.extend(devices.iter().cloned());
        request.open.extend(devices);
        step.put(Table::KeyRequest, room.as_str(), session_id, &request)
    }

    /// All that needed the session can be read: nobody need send it any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn settle_room_key(
        &mut self,
        room: &RoomId,
        session_id: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let request: Option<KeyRequest> = step.get(Table::KeyRequest, room.as_str(), session_id)?;
        let Some(mut request) = request.filter(KeyRequest::is_open) else { return Ok(()) };
        self.take_back(&mut request, step)?;
        step.put(Table::KeyRequest, room.as_str(), session_id, &request)
    }

    /// Takes all requests back and forgets them.
    pub(super) fn forget_requests(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        for (key, mut request) in step.scan::<KeyRequest>(Table::KeyRequest, None)? {
            self.take_back(&mut request, step)?;
            step.delete(Table::KeyRequest, &key.0, &key.1);
        }
        Ok(())
    }

    /// Tells those who may still answer that they need not.
    fn take_back(
        &mut self,
        request: &mut KeyRequest,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let content = json!({
            "action": "request_cancellation",
            "request_id": request.id,
            "requesting_device_id": self.core.device,
        });
        let open = std::mem::take(&mut request.open);
        let to = (self.core.user.as_ref(), open.as_slice());
        self.core.requests.notify_devices(REQUEST, to, &content, step)
    }

    /// Takes a key that came over Olm. It is dropped unless we asked this very device for it, the
    /// device is still verified, and the key is the one it is said to be.
    pub(in crate::e2ee) fn receive_forwarded_key(
        &mut self,
        sender: &OlmSender,
        content: &str,
        step: &mut Step<'_>,
    ) -> Result<Received, MachineError> {
        let content = Some(content).filter(|it| it.len() <= MAX_CONTENT_BYTES);
        let forward = content.and_then(|it| serde_json::from_str::<Forward>(it).ok());
        let Some(forward) = forward else { return Ok(Received::Foreign) };
        let (room, session_id) = (forward.room_id.clone(), forward.session_id.clone());
        let request: Option<KeyRequest> =
            step.get(Table::KeyRequest, room.as_str(), &session_id)?;
        let Some(mut request) = request.filter(|_| sender.user == self.core.user) else {
            return Ok(Received::Unproved);
        };
        // What the device list says counts, not what the message says of its sender.
        let device = find_device_by_key(&sender.user, &sender.curve25519, step)?;
        let Some(device) = device.filter(|it| request.open.contains(&it.device_id)) else {
            return Ok(Received::Unproved);
        };
        if !is_trusted(&device, step)? {
            return Ok(Received::Unproved);
        }
        let exported = forward.into_exported(sender.curve25519.to_base64());
        match self.import_session((&room, &session_id), exported, Source::Forwarded, step)? {
            Import::Refused => return Ok(Received::Unproved),
            Import::Improved | Import::Known => {}
        }
        // A device answers once; another may have the session from an earlier message on. The rest
        // is told off when all can be read.
        request.open.retain(|it| *it != device.device_id);
        step.put(Table::KeyRequest, room.as_str(), &session_id, &request)?;
        Ok(Received::Taken)
    }
}

/// Whether one more may be remembered; forgets old ones when it is tight.
fn has_space(step: &mut Step<'_>) -> Result<bool, MachineError> {
    if step.count(Table::KeyRequest)? < MAX_REQUESTS {
        return Ok(true);
    }
    let now = step.now();
    for (key, request) in step.scan::<KeyRequest>(Table::KeyRequest, None)? {
        if REMEMBERED <= now.since(request.at) {
            step.delete(Table::KeyRequest, &key.0, &key.1);
        }
    }
    Ok(step.count(Table::KeyRequest)? < MAX_REQUESTS)
}
