//! Handing room keys to devices of ours that ask: only to those that our identity signed, each
//! session once in a while. A request may be early, as one for a secret may: of a device that is not
//! trusted or reached yet it is kept for some minutes, and whether it is trusted is asked when the
//! key is sent.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{FORWARD, Forward, WANTED};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::OlmChannel,
        device::Device,
        devices::find_device,
        lookup::Table,
        megolm::{MEGOLM_V1, inbound::InboundSession},
        request::{Purpose, ToDeviceMessage},
        secret_sharing::is_trusted,
        step::{Step, encode},
    },
    matrix::{OwnedDeviceId, OwnedRoomId, ToDeviceEvent},
    time::Timestamp,
};

/// How long a request waits for its device to be trusted or reached.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// How often a device gets the same session.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// Most devices whose requests wait, most requests of each, and most sessions handed out in
/// [`AGAIN`].
const MAX_DEVICES: usize = 16;
const MAX_WANTED: usize = 256;
const MAX_SERVED: usize = 1_000;
/// Longest name of a request or session, in bytes.
const MAX_NAME: usize = 255;

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    request: String,
    room: OwnedRoomId,
    session_id: String,
    came: Timestamp,
}

/// The requests that wait, by the device that sent them.
pub(super) type Waiting = BTreeMap<OwnedDeviceId, Vec<Wanted>>;

/// What devices got, and when.
pub(super) type Served = BTreeMap<(OwnedDeviceId, OwnedRoomId, String), Timestamp>;

/// The content of a request.
#[derive(Deserialize)]
struct Asked {
    action: String,
    body: Option<Body>,
    request_id: String,
    requesting_device_id: OwnedDeviceId,
}

#[derive(Deserialize)]
struct Body {
    algorithm: String,
    room_id: OwnedRoomId,
    session_id: String,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It waits.
    Wait,
    /// It is over, served or not.
    Over,
}

impl Machine {
    /// Takes a request for a room key, or the word that it is over. Nothing is answered to whom
    /// nothing is given.
    pub(in crate::e2ee) fn receive_key_request(
        &mut self,
        event: &ToDeviceEvent,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !self.forwards_keys() {
            self.core.dropped.unsupported += 1;
            return Ok(());
        }
        let is_ours = event.sender == self.core.user;
        let asked = serde_json::from_str::<Asked>(event.content.get()).ok().filter(|it| {
            is_ours
                && it.requesting_device_id != self.core.device
                && it.request_id.len() <= MAX_NAME
        });
        let Some(asked) = asked else {
            self.core.dropped.foreign += 1;
            return Ok(());
        };
        let Asked { action, body, request_id: request, requesting_device_id: device } = asked;
        let mut waiting = self.key_requests.waiting.clone();
        if let Some(wanted) = waiting.get_mut(&device) {
            wanted.retain(|it| it.request != request);
        }
        let body = body.filter(|it| {
            action == "request" && it.algorithm == MEGOLM_V1 && it.session_id.len() <= MAX_NAME
        });
        if let Some(Body { room_id: room, session_id, .. }) = body {
            if find_device(&self.core.user, &device, step)?.is_none() {
                let user = self.core.user.clone();
                self.core.suspect(&user, step)?;
            }
            note(&mut waiting, device, Wanted { request, room, session_id, came: step.now() });
        }
        self.set_waiting(waiting, step)?;
        self.serve_key_requests(step)
    }

    /// Sends what is wanted, as far as it can be sent now.
    pub(in crate::e2ee) fn serve_key_requests(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.key_requests.waiting.is_empty() {
            return Ok(());
        }
        let mut left = self.key_requests.waiting.clone();
        for (device, wanted) in &mut left {
            wanted.retain(|it| it.came <= step.now() && step.now().since(it.came) < WAIT);
            let device = find_device(&self.core.user, device, step)?;
            let Some(device) = device.filter(|_| !wanted.is_empty()) else { continue };
            if !is_trusted(&device, step)? {
                continue;
            }
            let channels = self.core.ensure_sessions(std::slice::from_ref(&device), step)?;
            if channels.first() != Some(&OlmChannel::Ready) {
                continue;
            }
            let mut waits = Vec::new();
            for it in std::mem::take(wanted) {
                if self.serve_key(&device, &it, step)? == Fate::Wait {
                    waits.push(it);
                }
            }
            *wanted = waits;
        }
        self.set_waiting(left, step)
    }

    /// Sends one key to a device that is trusted and can be reached.
    fn serve_key(
        &mut self,
        device: &Device,
        wanted: &Wanted,
        step: &mut Step<'_>,
    ) -> Result<Fate, MachineError> {
        let now = step.now();
        let Wanted { room, session_id, .. } = wanted;
        let served = &mut self.key_requests.served;
        served.retain(|_, at| *at <= now && now.since(*at) < AGAIN);
        let name = (device.device_id.clone(), room.clone(), session_id.clone());
        if MAX_SERVED <= served.len() || served.contains_key(&name) {
            return Ok(Fate::Over);
        }
        let record = step.get(Table::InboundGroupSession, room.as_str(), session_id)?;
        let Some(record) = record else { return Ok(Fate::Over) };
        let content = Zeroizing::new(encode(Table::KeyRequest, &forward(&record, wanted))?);
        // Borrowed, so that no copy is left that nobody wipes.
        let content: &RawValue = serde_json::from_slice(&content)
            .map_err(|source| MachineError::Record { table: Table::KeyRequest.name(), source })?;
        let sealed = self.core.encrypt_to_device(device, FORWARD, content, step)?;
        let Some(content) = sealed else { return Ok(Fate::Wait) };
        let (user, device_id) = (device.user.clone(), device.device_id.clone());
        let message = ToDeviceMessage { user, device_id, content };
        self.core.requests.to_device("m.room.encrypted", &[message], Purpose::Notice, step)?;
        self.key_requests.served.insert(name, now);
        Ok(Fate::Over)
    }

    fn set_waiting(
        &mut self,
        mut waiting: Waiting,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        waiting.retain(|_, wanted| !wanted.is_empty());
        if waiting == self.key_requests.waiting {
            return Ok(());
        }
        self.key_requests.waiting = waiting;
        if self.key_requests.waiting.is_empty() {
            step.delete(Table::Misc, WANTED, "");
            return Ok(());
        }
        step.put(Table::Misc, WANTED, "", &self.key_requests.waiting)
    }
}

/// Adds a request, if its device has not too many. Of too many devices, which may be made up, those
/// that asked first are forgotten.
fn note(waiting: &mut Waiting, device: OwnedDeviceId, wanted: Wanted) {
    waiting.retain(|_, wanted| !wanted.is_empty());
    if MAX_DEVICES <= waiting.len() && !waiting.contains_key(&device) {
        let first = waiting.iter().min_by_key(|(_, wanted)| wanted.first().map(|it| it.came));
        let first = first.map(|(device, _)| device.clone());
        first.and_then(|device| waiting.remove(&device));
    }
    let of_device = waiting.entry(device).or_default();
    if of_device.len() < MAX_WANTED {
        of_device.push(wanted);
    }
}

/// All that we know of a session, from the first message on that we can read.
fn forward(record: &InboundSession, wanted: &Wanted) -> Forward {
    Forward {
        algorithm: MEGOLM_V1.to_owned(),
        room_id: wanted.room.clone(),
        session_id: wanted.session_id.clone(),
        session_key: record.session.export_at_first_known_index(),
        sender_key: record.creator.curve25519.clone(),
        sender_claimed_ed25519_key: record.creator.ed25519.clone(),
        forwarding_curve25519_key_chain: record.chain.clone(),
    }
}
