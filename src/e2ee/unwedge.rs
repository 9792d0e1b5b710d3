//! Recovery from broken Olm sessions: a new session and an `m.dummy` on it, within limits.
//!
//! A hostile server can make any message unreadable, so what unreadable messages cause is
//! bounded: one new session an hour for each device, fifty an hour for all.
//!
//! # Spec
//! Client-Server API, "Recovering from undecryptable messages".

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::Curve25519PublicKey;

use crate::{
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    time::Timestamp,
};

use super::{
    account::MEGOLM,
    claim::Want,
    core::Core,
    device::{Device, DeviceSort},
    devices::find_device_by_key,
    error::MachineError,
    lookup::Table,
    request::{Purpose, ToDeviceMessage},
    session::Peer,
    step::{Step, encode_text, raw},
};

const PER_DEVICE: Duration = Duration::from_secs(60 * 60);
const WINDOW: Duration = Duration::from_secs(60 * 60);
const PER_WINDOW: u32 = 50;
/// Broken sessions with devices not known yet that are remembered until a query.
const MAX_UNDECIDED: usize = 100;
/// Names the records of this module.
const PENDING: &str = "unwedge";
const BUDGET: &str = "unwedge_budget";

/// Broken sessions whose device is not known yet.
#[derive(Debug, Default)]
pub(super) struct Undecided(BTreeSet<(OwnedUserId, [u8; 32])>);

/// How many sessions were begun in the current window.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Budget {
    since: Timestamp,
    spent: u32,
}

/// A device that waits for a new session.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    user: OwnedUserId,
    device: OwnedDeviceId,
}

/// The content of an `m.room_key.withheld` that says there is no Olm session.
#[derive(Serialize)]
struct NoOlm<'a> {
    algorithm: &'a str,
    code: &'a str,
    reason: &'a str,
    sender_key: String,
}

impl Core {
    /// Takes up what an earlier run had begun.
    pub(super) fn resume_unwedging(&mut self, step: &Step<'_>) -> Result<(), MachineError> {
        for (_, pending) in step.scan::<Pending>(Table::Misc, Some(PENDING))? {
            let name = (pending.user, pending.device);
            if !self.claims.is_under_way(&name) {
                self.claims.want(name, Want::Unwedge);
            }
        }
        Ok(())
    }

    /// Somebody's message cannot be read, or ours cannot be read there: begins a new session, if
    /// the limits allow.
    pub(super) fn unwedge(
        &mut self,
        user: &UserId,
        key: &Curve25519PublicKey,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(mut device) = find_device_by_key(user, key, step)? else {
            if self.undecided.0.len() < MAX_UNDECIDED {
                self.undecided.0.insert((user.to_owned(), key.to_bytes()));
            }
            return self.suspect(user, step);
        };
        let is_us = device.user == self.user && device.device_id == self.device;
        let never_sends = device.sort == DeviceSort::Dehydrated;
        if device.is_deleted() || is_us || never_sends || !may_unwedge(&device, step)? {
            return Ok(());
        }
        device.unwedged = Some(step.now());
        self.put_device(&device, step)?;
        let pending = Pending { user: device.user, device: device.device_id };
        step.put(Table::Misc, PENDING, &pending_key(&pending.user, &pending.device), &pending)?;
        self.claims.want((pending.user, pending.device), Want::Unwedge);
        self.claim(step)
    }

    /// The devices of `user` are known now: decides what was left open.
    pub(super) fn decide_unwedging(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let (decided, open) =
            std::mem::take(&mut self.undecided.0).into_iter().partition(|entry| entry.0 == *user);
        self.undecided.0 = open;
        let decided: BTreeSet<(OwnedUserId, [u8; 32])> = decided;
        for (user, key) in decided {
            let key = Curve25519PublicKey::from_bytes(key);
            if find_device_by_key(&user, &key, step)?.is_some() {
                self.unwedge(&user, &key, step)?;
            }
        }
        Ok(())
    }

    /// A claim for the device was answered.
    pub(super) fn unwedging_asked(user: &UserId, device: &DeviceId, step: &mut Step<'_>) {
        step.delete(Table::Misc, PENDING, &pending_key(user, device));
    }

    /// Says something on a new session, so that the other side has it.
    pub(super) fn send_dummy(
        &mut self,
        device: &Device,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let empty = raw(Table::Misc, "{}")?;
        match self.encrypt_to_device(device, "m.dummy", &empty, step)? {
            Some(content) => self.send_notice("m.room.encrypted", device, content, step),
            None => Ok(()),
        }
    }

    /// Tells a device, once, that we find no way to it.
    pub(super) fn send_no_olm(
        &mut self,
        mut device: Device,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if device.no_olm_sent.is_some() {
            return Ok(());
        }
        let content = NoOlm {
            algorithm: MEGOLM,
            code: "m.no_olm",
            reason: "Unable to establish a secure channel.",
            sender_key: self.account.curve25519().to_base64(),
        };
        let content = raw(Table::Misc, &encode_text(Table::Misc, &content)?)?;
        self.send_notice("m.room_key.withheld", &device, content, step)?;
        device.no_olm_sent = Some(step.now());
        self.put_device(&device, step)
    }

    fn send_notice(
        &mut self,
        kind: &str,
        device: &Device,
        content: Box<RawValue>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let message = ToDeviceMessage {
            user: device.user.clone(),
            device_id: device.device_id.clone(),
            content,
        };
        self.requests.to_device(kind, &[message], Purpose::Notice, step)?;
        Ok(())
    }
}

/// Checks both limits and spends of the common one.
fn may_unwedge(device: &Device, step: &mut Step<'_>) -> Result<bool, MachineError> {
    let now = step.now();
    // What lies ahead was noted before the clock was set back.
    let newest = Peer::load(&device.curve25519, step)?.newest(now);
    let last = newest.max(device.unwedged.filter(|at| *at <= now));
    if last.is_some_and(|last| now.since(last) < PER_DEVICE + jitter(device)) {
        return Ok(false);
    }
    let mut budget = step.get::<Budget>(Table::Misc, BUDGET, "")?.unwrap_or_default();
    if budget.since > now || now.since(budget.since) >= WINDOW {
        budget = Budget { since: now, spent: 0 };
    }
    if budget.spent >= PER_WINDOW {
        return Ok(false);
    }
    budget.spent += 1;
    step.put(Table::Misc, BUDGET, "", &budget)?;
    Ok(true)
}

/// Spreads the devices over some minutes, the same for each every time.
fn jitter(device: &Device) -> Duration {
    let [first, ..] = device.curve25519.as_bytes();
    Duration::from_secs(u64::from(*first))
}

/// Both parts in one key; the length keeps apart what would run together.
fn pending_key(user: &UserId, device: &DeviceId) -> String {
    format!("{}:{user}{device}", user.as_str().len())
}
