//! Sending our secrets to devices of ours that ask. A request may be early: whoever verified each
//! other just now asks before the signatures are all around. So one of a device that is not trusted
//! yet is kept for some minutes, and whether it is trusted is asked when the secret is sent.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::is_trusted;
use crate::{
    e2ee::{
        Machine, MachineError,
        core::OlmChannel,
        cross_signing::SecretName,
        devices::find_device,
        held_secrets::{secret_named, write_secret},
        lookup::Table,
        request::{Purpose, ToDeviceMessage},
        step::{Step, encode},
    },
    matrix::{OwnedDeviceId, ToDeviceEvent},
    time::Timestamp,
};

const WANTED: &str = "secrets_wanted";
const SERVED: &str = "secrets_served";
/// How long a request waits for its device to be trusted or reached.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// How often a device gets the same secret.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// Most requests that wait.
const MAX_WANTED: usize = 64;
/// Longest name of a request, in bytes.
const MAX_REQUEST_ID: usize = 255;

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    device: OwnedDeviceId,
    request: String,
    name: SecretName,
    came: Timestamp,
}

/// When a device last got a secret.
type Served = BTreeMap<SecretName, Timestamp>;

/// The content of `m.secret.request`.
#[derive(Deserialize)]
struct Asked {
    action: String,
    name: Option<String>,
    request_id: String,
    requesting_device_id: OwnedDeviceId,
}

/// The content of `m.secret.send`.
#[derive(Serialize)]
struct Send<'a> {
    request_id: &'a str,
    secret: &'a str,
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
    /// Takes a request for a secret, or the word that it is over.
    pub(in crate::e2ee) fn receive_secret_request(
        &mut self,
        event: &ToDeviceEvent,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let asked = serde_json::from_str::<Asked>(event.content.get()).ok();
        let Some(asked) = asked.filter(|it| it.request_id.len() <= MAX_REQUEST_ID) else {
            self.core.dropped.foreign += 1;
            return Ok(());
        };
        let Asked { action, name, request_id, requesting_device_id } = asked;
        if event.sender != self.core.user || requesting_device_id == self.core.device {
            self.core.dropped.foreign += 1;
            return Ok(());
        }
        let mut wanted = read(step)?;
        wanted.retain(|it| it.device != requesting_device_id || it.request != request_id);
        let name = name.filter(|_| action == "request").and_then(|name| secret_named(&name));
        if let Some(name) = name {
            // The newest of a device for a secret is the one that counts.
            wanted.retain(|it| it.device != requesting_device_id || it.name != name);
            if find_device(&self.core.user, &requesting_device_id, step)?.is_none() {
                let user = self.core.user.clone();
                self.core.suspect(&user, step)?;
            }
            if wanted.len() < MAX_WANTED {
                let (device, request) = (requesting_device_id, request_id);
                wanted.push(Wanted { device, request, name, came: step.now() });
            }
        }
        self.set_wanted(&wanted, step)?;
        self.serve_secrets(step)
    }

    /// Sends what is wanted, as far as it can be sent now.
    pub(in crate::e2ee) fn serve_secrets(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.sharing.give_up.is_none() {
            return Ok(());
        }
        let wanted = read(step)?;
        let mut left = Vec::new();
        for it in &wanted {
            if self.serve(it, step)? == Fate::Wait {
                left.push(it.clone());
            }
        }
        if left != wanted {
            self.set_wanted(&left, step)?;
        }
        Ok(())
    }

    fn serve(&mut self, wanted: &Wanted, step: &mut Step<'_>) -> Result<Fate, MachineError> {
        let now = step.now();
        if WAIT <= now.since(wanted.came) || now < wanted.came {
            return Ok(Fate::Over);
        }
        let Some(device) = find_device(&self.core.user, &wanted.device, step)? else {
            return Ok(Fate::Wait);
        };
        if !is_trusted(&device, step)? {
            return Ok(Fate::Wait);
        }
        let mut served: Served =
            step.get(Table::Misc, SERVED, wanted.device.as_str())?.unwrap_or_default();
        let lately = served.get(&wanted.name);
        if lately.is_some_and(|at| *at <= now && now.since(*at) < AGAIN) {
            return Ok(Fate::Over);
        }
        let Some(secret) = self.held_secret(wanted.name, step)? else { return Ok(Fate::Over) };
        let channels = self.core.ensure_sessions(std::slice::from_ref(&device), step)?;
        if channels.first() != Some(&OlmChannel::Ready) {
            return Ok(Fate::Wait);
        }
        let text = write_secret(&secret);
        let send = Send { request_id: &wanted.request, secret: &text };
        let content = Zeroizing::new(encode(Table::SecretRequest, &send)?);
        // Borrowed, so that no copy is left that nobody wipes.
        let content: &RawValue = serde_json::from_slice(&content).map_err(|source| {
            MachineError::Record { table: Table::SecretRequest.name(), source }
        })?;
        let sealed = self.core.encrypt_to_device(&device, "m.secret.send", content, step)?;
        let Some(content) = sealed else { return Ok(Fate::Wait) };
        let message = ToDeviceMessage { user: device.user, device_id: device.device_id, content };
        self.core.requests.to_device("m.room.encrypted", &[message], Purpose::Notice, step)?;
        served.insert(wanted.name, now);
        step.put(Table::Misc, SERVED, wanted.device.as_str(), &served)?;
        Ok(Fate::Over)
    }

    /// When the first request that waits is given up.
    pub(in crate::e2ee) fn sharing_deadline(&self) -> Option<Timestamp> {
        self.sharing.give_up
    }

    fn set_wanted(&mut self, wanted: &[Wanted], step: &mut Step<'_>) -> Result<(), MachineError> {
        self.sharing = Sharing::of(wanted);
        if wanted.is_empty() {
            step.delete(Table::Misc, WANTED, "");
            return Ok(());
        }
        step.put(Table::Misc, WANTED, "", &wanted)
    }
}

/// What is remembered of requests while we run.
#[derive(Debug, Default)]
pub(in crate::e2ee) struct Sharing {
    /// When the first one that waits is given up; `None` when none waits.
    give_up: Option<Timestamp>,
}

impl Sharing {
    /// Takes up what an earlier run left.
    pub(in crate::e2ee) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        Ok(Self::of(&read(step)?))
    }

    fn of(wanted: &[Wanted]) -> Self {
        Self { give_up: wanted.iter().map(|it| it.came.plus(WAIT)).min() }
    }
}

fn read(step: &Step<'_>) -> Result<Vec<Wanted>, MachineError> {
    Ok(step.get(Table::Misc, WANTED, "")?.unwrap_or_default())
}
