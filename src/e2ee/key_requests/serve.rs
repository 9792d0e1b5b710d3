//! Handing room keys to devices of ours that ask: only to those that our identity signed, each
//! session once in a while. A request that cannot be served at once waits for an Olm session to its
//! device for some minutes, while we run.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{FORWARD, Forward};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::OlmChannel,
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

/// How long a request waits for its device to be reached.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// How often a device gets the same session.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// Most requests that wait, and most sessions handed out in that time.
const MAX_WANTED: usize = 64;
const MAX_SERVED: usize = 1_000;
/// Longest name of a request or session, in bytes.
const MAX_NAME: usize = 255;

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    device: OwnedDeviceId,
    request: String,
    room: OwnedRoomId,
    session_id: String,
    came: Timestamp,
}

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
        let asked = serde_json::from_str::<Asked>(event.content.get()).ok();
        let is_ours = event.sender == self.core.user;
        let asked = asked.filter(|it| {
            is_ours
                && it.requesting_device_id != self.core.device
                && it.request_id.len() <= MAX_NAME
        });
        let Some(asked) = asked else {
            self.core.dropped.foreign += 1;
            return Ok(());
        };
        let Asked { action, body, request_id: request, requesting_device_id: device } = asked;
        let wanted = &mut self.key_requests.wanted;
        wanted.retain(|it| it.device != device || it.request != request);
        let body = body.filter(|it| {
            action == "request" && it.algorithm == MEGOLM_V1 && it.session_id.len() <= MAX_NAME
        });
        if let Some(Body { room_id: room, session_id, .. }) = body
            && wanted.len() < MAX_WANTED
        {
            wanted.push(Wanted { device, request, room, session_id, came: step.now() });
        }
        self.serve_key_requests(step)
    }

    /// Sends what is wanted, as far as it can be sent now.
    pub(in crate::e2ee) fn serve_key_requests(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for wanted in std::mem::take(&mut self.key_requests.wanted) {
            if self.serve_key(&wanted, step)? == Fate::Wait {
                self.key_requests.wanted.push(wanted);
            }
        }
        Ok(())
    }

    fn serve_key(&mut self, wanted: &Wanted, step: &mut Step<'_>) -> Result<Fate, MachineError> {
        let now = step.now();
        let Wanted { device, room, session_id, came, .. } = wanted;
        let device = find_device(&self.core.user, device, step)?;
        let Some(device) = device.filter(|_| now.since(*came) < WAIT) else {
            return Ok(Fate::Over);
        };
        let served = &mut self.key_requests.served;
        served.retain(|_, at| *at <= now && now.since(*at) < AGAIN);
        let name = (wanted.device.clone(), room.clone(), session_id.clone());
        let is_enough = MAX_SERVED <= served.len() || served.contains_key(&name);
        if is_enough || !is_trusted(&device, step)? {
            return Ok(Fate::Over);
        }
        let record = step.get(Table::InboundGroupSession, room.as_str(), session_id)?;
        let Some(record) = record else { return Ok(Fate::Over) };
        let channels = self.core.ensure_sessions(std::slice::from_ref(&device), step)?;
        if channels.first() != Some(&OlmChannel::Ready) {
            return Ok(Fate::Wait);
        }
        let content = Zeroizing::new(encode(Table::KeyRequest, &forward(&record, &name))?);
        // Borrowed, so that no copy is left that nobody wipes.
        let content: &RawValue = serde_json::from_slice(&content)
            .map_err(|source| MachineError::Record { table: Table::KeyRequest.name(), source })?;
        let sealed = self.core.encrypt_to_device(&device, FORWARD, content, step)?;
        let Some(content) = sealed else { return Ok(Fate::Wait) };
        let message = ToDeviceMessage { user: device.user, device_id: device.device_id, content };
        self.core.requests.to_device("m.room.encrypted", &[message], Purpose::Notice, step)?;
        self.key_requests.served.insert(name, now);
        Ok(Fate::Over)
    }
}

/// All that we know of a session, from the first message on that we can read.
fn forward(record: &InboundSession, name: &(OwnedDeviceId, OwnedRoomId, String)) -> Forward {
    Forward {
        algorithm: MEGOLM_V1.to_owned(),
        room_id: name.1.clone(),
        session_id: name.2.clone(),
        session_key: record.session.export_at_first_known_index(),
        sender_key: record.creator.curve25519.clone(),
        sender_claimed_ed25519_key: record.creator.ed25519.clone(),
        forwarding_curve25519_key_chain: Vec::new(),
    }
}
