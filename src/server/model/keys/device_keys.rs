//! The identity keys of devices.

use serde_json::{Value, json};

use super::signatures;
use crate::{
    matrix::{DeviceId, UserId},
    server::model::{
        accounts::devices,
        records::{
            CROSS_SIGNING_KEYS, DEVICE_KEYS, DEVICES, FALLBACK_KEYS, KEY_SIGNATURES, KEY_SUPPLY,
            ONE_TIME_KEY_IDS, ONE_TIME_KEYS,
        },
        refusal::Refusal,
        route::Caller,
        step::Step,
        table::Broken,
    },
};

/// Largest identity keys or cross-signing key, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// Takes the keys that the caller's device uploaded; tells those who share a room if they are new.
///
/// # Errors
/// `M_BAD_JSON` for keys that are malformed, or name another user or device.
pub(crate) fn upload(step: &mut Step<'_>, caller: &Caller, keys: &Value) -> Result<(), Refusal> {
    check(caller, keys)?;
    let mut keys = keys.clone();
    if let Some(keys) = keys.as_object_mut() {
        keys.remove("unsigned");
    }
    check_size(&keys)?;
    let at = (&*caller.user, &*caller.device);
    if step.get(DEVICE_KEYS, at)?.as_ref() == Some(&keys) {
        return Ok(());
    }
    step.put(DEVICE_KEYS, at, &keys)?;
    devices::changed(step, &caller.user)?;
    Ok(())
}

/// # Errors
/// `M_TOO_LARGE`.
pub(crate) fn check_size(key: &Value) -> Result<(), Refusal> {
    if MAX_BYTES < key.to_string().len() {
        return Err(Refusal::new(413, "M_TOO_LARGE", "the key is too large"));
    }
    Ok(())
}

fn check(caller: &Caller, keys: &Value) -> Result<(), Refusal> {
    let text = |name: &str| {
        let text = keys.get(name).and_then(Value::as_str);
        text.ok_or_else(|| Refusal::bad_json(format!("device_keys has no {name}")))
    };
    if text("user_id")? != caller.user {
        return Err(Refusal::bad_json("device_keys are for another user"));
    }
    if text("device_id")? != caller.device {
        return Err(Refusal::bad_json("device_keys are for another device"));
    }
    let algorithms = keys.get("algorithms").and_then(Value::as_array);
    if !algorithms.is_some_and(|list| list.iter().all(Value::is_string)) {
        return Err(Refusal::bad_json("the algorithms are no list of texts"));
    }
    if !keys.get("keys").is_some_and(is_map_of_texts) {
        return Err(Refusal::bad_json("the keys are no map of texts"));
    }
    if !keys.get("signatures").is_some_and(are_signatures) {
        return Err(Refusal::bad_json("the signatures are malformed"));
    }
    Ok(())
}

fn is_map_of_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

/// Whether this has the shape of signatures: user, key id, signature.
pub(crate) fn are_signatures(value: &Value) -> bool {
    value.as_object().is_some_and(|users| users.values().all(is_map_of_texts))
}

/// The keys of one device, with the signatures that `viewer` may see, and its name.
pub(crate) fn of_device(
    step: &Step<'_>,
    user: &UserId,
    device: &DeviceId,
) -> Result<Option<Value>, Broken> {
    let Some(mut keys) = step.get(DEVICE_KEYS, (user, device))? else {
        return Ok(None);
    };
    signatures::merge(step, &mut keys, (user, device.as_str()), user)?;
    let name = step.get(DEVICES, (user, device))?.and_then(|device| device.display_name);
    let unsigned = name.map_or(json!({}), |name| json!({ "device_display_name": name }));
    if let Some(keys) = keys.as_object_mut() {
        keys.insert("unsigned".to_owned(), unsigned);
    }
    Ok(Some(keys))
}

/// Takes all keys of a device away.
pub(crate) fn delete(step: &mut Step<'_>, user: &UserId, device: &DeviceId) -> Result<(), Broken> {
    step.delete(DEVICE_KEYS, (user, device));
    step.delete(KEY_SUPPLY, (user, device));
    step.clear(ONE_TIME_KEYS, (user, device))?;
    step.clear(ONE_TIME_KEY_IDS, (user, device))?;
    step.clear(FALLBACK_KEYS, (user, device))?;
    step.clear(KEY_SIGNATURES, (user, device))?;
    let master = step.get(CROSS_SIGNING_KEYS, (user, "master"))?;
    if let Some(key) = master.as_ref().and_then(signatures::public_key) {
        step.delete(KEY_SIGNATURES, (user, key, user, format!("ed25519:{device}")));
    }
    Ok(())
}
