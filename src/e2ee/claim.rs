//! One-time keys of others: asked for, checked, made into sessions.
//!
//! One claim is under way at a time, so no device is asked for two keys at once. A device without
//! a key is left alone for a while, a server that does not answer too, and neither is blamed for
//! the other.
//!
//! # Spec
//! Client-Server API, `POST /keys/claim`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::{
    Curve25519PublicKey,
    olm::{Session, SessionConfig},
};

use crate::{
    matrix::{CanonicalValue, MatrixError, OwnedDeviceId, OwnedUserId, SignedJson},
    time::Timestamp,
};

use super::{
    core::{Core, OlmChannel},
    device::Device,
    devices::find_device,
    error::MachineError,
    failures::Failures,
    lookup::Table,
    request::{self, Purpose, RequestId, RequestKind},
    session::{Origin, add_session},
    step::{Step, encode_text},
};

/// Devices in one claim.
const DEVICES_PER_CLAIM: usize = 250;
const KEY_ALGORITHM: &str = "signed_curve25519";

/// Names a device.
pub(super) type DeviceName = (OwnedUserId, OwnedDeviceId);

/// What a session is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Want {
    /// Its messages cannot be read: a new session and a message on it. Goes first.
    Unwedge,
    /// There is something to send.
    Send,
}

/// What a `keys/claim` request asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ClaimPurpose {
    devices: Vec<(OwnedUserId, OwnedDeviceId, Want)>,
}

/// Claims under way and to come.
#[derive(Debug)]
pub(super) struct Claims {
    wanted: BTreeMap<DeviceName, Want>,
    /// The request under way and its devices.
    under_way: Option<(RequestId, ClaimPurpose)>,
    devices: Failures<DeviceName>,
    servers: Failures<String>,
}

impl Claims {
    /// Reads what was asked in an earlier run.
    pub(super) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let under_way = request::records(step)?.into_iter().find_map(|record| {
            if let Purpose::KeysClaim(purpose) = record.purpose {
                return Some((record.request.id, purpose));
            }
            None
        });
        Ok(Self {
            wanted: BTreeMap::new(),
            under_way,
            devices: Failures::new(),
            servers: Failures::new(),
        })
    }

    /// Asks for a key as soon as no claim is under way.
    pub(super) fn want(&mut self, name: DeviceName, want: Want) {
        let entry = self.wanted.entry(name).or_insert(want);
        *entry = (*entry).min(want);
    }

    /// A session with the device came about in another way.
    pub(super) fn forget_failures(&mut self, name: &DeviceName) {
        self.devices.succeed(name);
    }

    /// The server answered something.
    pub(super) fn server_answers(&mut self, server: &str) {
        self.servers.succeed(&server.to_owned());
    }

    /// When pauses end: what waits for a device can be tried again.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        [self.devices.next_end(now), self.servers.next_end(now)].into_iter().flatten().min()
    }

    pub(super) fn is_under_way(&self, name: &DeviceName) -> bool {
        self.under_way.as_ref().is_some_and(|(_, purpose)| {
            purpose.devices.iter().any(|(user, device, _)| *user == name.0 && *device == name.1)
        })
    }

    fn paused_until(&self, name: &DeviceName, now: Timestamp) -> Option<Timestamp> {
        let server = self.servers.paused_until(&name.0.server_name().to_string(), now);
        self.devices.paused_until(name, now).max(server)
    }

    /// The next devices to ask for.
    fn next(&mut self) -> ClaimPurpose {
        let mut names: Vec<_> = self.wanted.iter().map(|(name, want)| (*want, name)).collect();
        names.sort();
        let devices: Vec<_> = names
            .into_iter()
            .take(DEVICES_PER_CLAIM)
            .map(|(want, (user, device))| (user.clone(), device.clone(), want))
            .collect();
        for (user, device, _) in &devices {
            self.wanted.remove(&(user.clone(), device.clone()));
        }
        ClaimPurpose { devices }
    }
}

impl Core {
    /// Makes sure there are Olm sessions with `devices`, asking for one-time keys where there are
    /// none. The answers stand in the order of the devices.
    pub(super) fn ensure_sessions(
        &mut self,
        devices: &[Device],
        step: &mut Step<'_>,
    ) -> Result<Vec<OlmChannel>, MachineError> {
        let mut channels = Vec::with_capacity(devices.len());
        for device in devices {
            let name = (device.user.clone(), device.device_id.clone());
            let channel = if !self.account.is_published() {
                OlmChannel::Waiting
            } else if self.has_session(&device.curve25519, step)? {
                OlmChannel::Ready
            } else if let Some(until) = self.claims.paused_until(&name, step.now()) {
                OlmChannel::Unreachable(until)
            } else {
                if !self.claims.is_under_way(&name) {
                    self.claims.want(name, Want::Send);
                }
                OlmChannel::Waiting
            };
            channels.push(channel);
        }
        self.claim(step)?;
        Ok(channels)
    }

    /// Asks for the keys that are wanted, unless a claim is under way.
    pub(super) fn claim(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let is_busy = self.claims.under_way.is_some() || self.claims.wanted.is_empty();
        if is_busy || !self.account.is_published() {
            return Ok(());
        }
        let purpose = self.claims.next();
        let mut one_time_keys = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (user, device, _) in &purpose.devices {
            one_time_keys.entry(user).or_default().insert(device, KEY_ALGORITHM);
        }
        let body = encode_text(Table::Request, &ClaimBody { one_time_keys, timeout: 10_000 })?;
        let tag = Purpose::KeysClaim(purpose.clone());
        let id =
            self.requests.post((RequestKind::KeysClaim, &["keys", "claim"]), body, tag, step)?;
        self.claims.under_way = Some((id, purpose));
        Ok(())
    }

    /// Takes the answer to a claim.
    pub(super) fn receive_claim(
        &mut self,
        purpose: &ClaimPurpose,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.claims.under_way = None;
        for (user, device, _) in &purpose.devices {
            Self::unwedging_asked(user, device, step);
        }
        let answer = answer.ok().and_then(|body| serde_json::from_str::<ClaimAnswer>(body).ok());
        let Some(answer) = answer else {
            // Our own server's fault: the devices are tried again later, and not told anything.
            for (user, device, _) in &purpose.devices {
                self.claims.devices.fail((user.clone(), device.clone()), step.now());
            }
            return self.claim(step);
        };
        for (user, device, want) in &purpose.devices {
            let server = user.server_name();
            if answer.failures.contains_key(server.as_str()) && server != self.user.server_name() {
                self.claims.servers.fail(server.to_string(), step.now());
                continue;
            }
            self.claims.servers.succeed(&server.to_string());
            if let Some(device) = find_device(user, device, step)?.filter(|it| !it.is_deleted()) {
                let session = answer.key_for(&device).and_then(|key| self.begin(&device, &key));
                self.receive_claimed(device, *want, session, step)?;
            }
        }
        self.claim(step)
    }

    /// Begins a session; `None` when the keys yield no secret (an attack).
    fn begin(&self, device: &Device, key: &ClaimedKey) -> Option<(Session, Origin)> {
        let config = SessionConfig::version_1();
        let olm = self.account.olm();
        let session = olm.create_outbound_session(config, device.curve25519, key.key).ok()?;
        Some((session, key.origin))
    }

    fn receive_claimed(
        &mut self,
        mut device: Device,
        want: Want,
        session: Option<(Session, Origin)>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let name = (device.user.clone(), device.device_id.clone());
        let Some((session, origin)) = session else {
            self.claims.devices.fail(name, step.now());
            return match want {
                Want::Send => self.send_no_olm(device, step),
                Want::Unwedge => Ok(()),
            };
        };
        self.claims.devices.succeed(&name);
        add_session(&device.curve25519, session, origin, step)?;
        if device.no_olm_sent.take().is_some() {
            self.put_device(&device, step)?;
        }
        match want {
            Want::Send => Ok(()),
            Want::Unwedge => self.send_dummy(&device, step),
        }
    }
}

/// The body of `POST /keys/claim`.
#[derive(Serialize)]
struct ClaimBody<'a> {
    one_time_keys: BTreeMap<&'a OwnedUserId, BTreeMap<&'a OwnedDeviceId, &'a str>>,
    /// Milliseconds that our server may wait for others.
    timeout: u64,
}

type ByName<T> = BTreeMap<String, T>;

#[derive(Deserialize)]
struct ClaimAnswer {
    #[serde(default)]
    one_time_keys: ByName<Box<RawValue>>,
    #[serde(default)]
    failures: ByName<Box<RawValue>>,
}

/// A one-time key whose signature by its device holds.
struct ClaimedKey {
    key: Curve25519PublicKey,
    origin: Origin,
}

impl ClaimAnswer {
    /// The first key for `device`, if it is signed by that device.
    fn key_for(&self, device: &Device) -> Option<ClaimedKey> {
        let devices = self.one_time_keys.get(device.user.as_str())?;
        let devices: ByName<Box<RawValue>> = serde_json::from_str(devices.get()).ok()?;
        let keys = devices.get(device.device_id.as_str())?;
        let keys: ByName<Box<RawValue>> = serde_json::from_str(keys.get()).ok()?;
        let prefix = format!("{KEY_ALGORITHM}:");
        let (_, raw) = keys.iter().find(|(id, _)| id.starts_with(&prefix))?;
        let json = SignedJson::parse(raw.get()).ok()?;
        json.verify(&device.user, &format!("ed25519:{}", device.device_id), &device.ed25519)
            .ok()?;
        let key = Curve25519PublicKey::from_base64(json.text_at(&["key"])?).ok()?;
        let origin = match json.object().get("fallback") {
            Some(CanonicalValue::Bool(true)) => Origin::FallbackKey,
            _ => Origin::OneTimeKey,
        };
        Some(ClaimedKey { key, origin })
    }
}
