//! One-time keys: each is given out once, in the order of upload. And fallback keys, for when none
//! is left.
//!
//! # Spec
//! Client-Server API, "One-time and fallback keys".

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::device_keys::are_signatures;
use crate::{
    matrix::{DeviceId, UserId},
    server::model::{
        accounts::tokens::token_hash,
        records::{
            FALLBACK_KEYS, FallbackKeyRecord, KEY_SUPPLY, KeyIdRecord, KeySupply, ONE_TIME_KEY_IDS,
            ONE_TIME_KEYS, OneTimeKeyRecord,
        },
        refusal::Refusal,
        route::Caller,
        step::Step,
        table::Broken,
    },
};

/// Most keys of an algorithm that wait to be given out.
const MAX_KEYS: u64 = 500;
/// Most algorithms of a device.
const MAX_ALGORITHMS: usize = 10;
/// How many keys are remembered that were given out, so that none is given out again after its
/// device repeats an upload.
const MAX_CLAIMED: usize = 1000;
/// Largest key, in bytes.
const MAX_BYTES: usize = 4 << 10;

/// What a device has left, for each of its syncs.
pub(crate) fn supply(
    step: &Step<'_>,
    user: &UserId,
    device: &DeviceId,
) -> Result<KeySupply, Broken> {
    let mut supply = step.get(KEY_SUPPLY, (user, device))?.unwrap_or_default();
    // Clients upload only when they get to know a number, also when it is zero.
    supply.one_time_keys.entry("signed_curve25519".to_owned()).or_insert(0);
    Ok(supply)
}

/// A key of an upload.
struct Uploaded<'a> {
    algorithm: &'a str,
    /// Algorithm and id.
    id: &'a str,
    key: &'a Value,
}

/// The keys of an upload.
///
/// # Errors
/// `M_BAD_JSON` for what is no key.
fn read(keys: &Map<String, Value>) -> Result<Vec<Uploaded<'_>>, Refusal> {
    keys.iter()
        .map(|(id, key)| {
            let (algorithm, name) = id
                .split_once(':')
                .ok_or_else(|| Refusal::bad_json("the id of a key is algorithm:id"))?;
            let is_good = match key {
                Value::String(_) => true,
                Value::Object(fields) => {
                    fields.get("key").is_some_and(Value::is_string)
                        && fields.get("signatures").is_some_and(are_signatures)
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
            };
            if name.contains(':') || !is_good || MAX_BYTES < id.len() + key.to_string().len() {
                return Err(Refusal::bad_json("a key is malformed"));
            }
            Ok(Uploaded { algorithm, id, key })
        })
        .collect()
}

/// Takes one-time keys.
///
/// # Errors
/// `M_BAD_JSON`; `M_UNKNOWN` when a key is there with other content; `M_TOO_LARGE` for too many.
pub(crate) fn upload(
    step: &mut Step<'_>,
    caller: &Caller,
    keys: &Map<String, Value>,
) -> Result<(), Refusal> {
    let at = (&*caller.user, &*caller.device);
    let mut ids = Ids::read(step, caller)?;
    let mut supply = step.get(KEY_SUPPLY, at)?.unwrap_or_default();
    for Uploaded { algorithm, id, key } in read(keys)? {
        let digest = digest(key);
        match step.get(ONE_TIME_KEY_IDS, (at.0, at.1, id))? {
            Some(known) if known.digest == digest => continue,
            Some(known) if !known.is_claimed => {
                let text = format!("the one-time key {id} is there with other content");
                return Err(Refusal::new(400, "M_UNKNOWN", text));
            }
            _ => {}
        }
        let count = supply.one_time_keys.entry(algorithm.to_owned()).or_insert(0);
        *count += 1;
        if MAX_KEYS < *count || MAX_ALGORITHMS < supply.one_time_keys.len() {
            return Err(Refusal::new(400, "M_TOO_LARGE", "too many one-time keys"));
        }
        ids.last += 1;
        let number = ids.last;
        let record = OneTimeKeyRecord { id: id.to_owned(), key: key.clone() };
        step.put(ONE_TIME_KEYS, (at.0, at.1, algorithm, number), &record)?;
        let record = KeyIdRecord { number, digest, is_claimed: false };
        step.put(ONE_TIME_KEY_IDS, (at.0, at.1, id), &record)?;
    }
    ids.forget_oldest(step, caller);
    step.put(KEY_SUPPLY, at, &supply)?;
    Ok(())
}

/// The keys that a device had until now.
struct Ids {
    /// The last number given.
    last: u64,
    /// Those that were given out, by number.
    claimed: BTreeMap<u64, String>,
}

impl Ids {
    fn read(step: &Step<'_>, caller: &Caller) -> Result<Self, Broken> {
        let mut ids = Self { last: 0, claimed: BTreeMap::new() };
        for (mut key, record) in step.scan(ONE_TIME_KEY_IDS, (&*caller.user, &*caller.device))? {
            ids.last = ids.last.max(record.number);
            if record.is_claimed {
                let (_user, _device) = (key.text()?, key.text()?);
                ids.claimed.insert(record.number, key.text()?);
            }
        }
        Ok(ids)
    }

    fn forget_oldest(&self, step: &mut Step<'_>, caller: &Caller) {
        let excess = self.claimed.len().saturating_sub(MAX_CLAIMED);
        for id in self.claimed.values().take(excess) {
            step.delete(ONE_TIME_KEY_IDS, (&*caller.user, &*caller.device, id));
        }
    }
}

/// Of a key without its signatures: another try to upload it may sign it again.
fn digest(key: &Value) -> String {
    let mut bare = key.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("signatures");
    }
    token_hash(&bare.to_string())
}

/// Takes fallback keys, each in place of the one of its algorithm.
///
/// # Errors
/// `M_BAD_JSON`, `M_TOO_LARGE`.
pub(crate) fn upload_fallback(
    step: &mut Step<'_>,
    caller: &Caller,
    keys: &Map<String, Value>,
) -> Result<(), Refusal> {
    let at = (&*caller.user, &*caller.device);
    let mut supply = step.get(KEY_SUPPLY, at)?.unwrap_or_default();
    for Uploaded { algorithm, id, key } in read(keys)? {
        let place = (at.0, at.1, algorithm);
        let old = step.get(FALLBACK_KEYS, place)?;
        if old.is_some_and(|old| old.id == id && old.key == *key) {
            continue;
        }
        let record = FallbackKeyRecord { id: id.to_owned(), key: key.clone(), is_used: false };
        step.put(FALLBACK_KEYS, place, &record)?;
        supply.unused_fallback.insert(algorithm.to_owned());
        if MAX_ALGORITHMS < supply.unused_fallback.len() {
            return Err(Refusal::new(400, "M_TOO_LARGE", "too many fallback keys"));
        }
    }
    step.put(KEY_SUPPLY, at, &supply)?;
    Ok(())
}

/// Takes a one-time key of a device out, or gives its fallback key: the id and the key.
pub(crate) fn claim(
    step: &mut Step<'_>,
    (user, device): (&UserId, &DeviceId),
    algorithm: &str,
) -> Result<Option<(String, Value)>, Broken> {
    let first = step.scan_after(ONE_TIME_KEYS, (user, device, algorithm), None, 1)?;
    let Some((mut key, OneTimeKeyRecord { id, key: value })) = first.into_iter().next() else {
        return give_fallback(step, (user, device), algorithm);
    };
    for _ in 0..3 {
        key.text()?;
    }
    step.delete(ONE_TIME_KEYS, (user, device, algorithm, key.number()?));
    let place = (user, device, id.as_str());
    if let Some(mut known) = step.get(ONE_TIME_KEY_IDS, place)? {
        known.is_claimed = true;
        step.put(ONE_TIME_KEY_IDS, place, &known)?;
    }
    let mut supply = step.get(KEY_SUPPLY, (user, device))?.unwrap_or_default();
    if let Some(count) = supply.one_time_keys.get_mut(algorithm) {
        *count = count.saturating_sub(1);
    }
    step.put(KEY_SUPPLY, (user, device), &supply)?;
    Ok(Some((id, value)))
}

fn give_fallback(
    step: &mut Step<'_>,
    (user, device): (&UserId, &DeviceId),
    algorithm: &str,
) -> Result<Option<(String, Value)>, Broken> {
    let Some(mut record) = step.get(FALLBACK_KEYS, (user, device, algorithm))? else {
        return Ok(None);
    };
    if !record.is_used {
        record.is_used = true;
        step.put(FALLBACK_KEYS, (user, device, algorithm), &record)?;
        let mut supply = step.get(KEY_SUPPLY, (user, device))?.unwrap_or_default();
        supply.unused_fallback.remove(algorithm);
        step.put(KEY_SUPPLY, (user, device), &supply)?;
    }
    Ok(Some((record.id, record.key)))
}
