//! Signatures of keys that come after the keys: by a user's own keys, and by other users.
//!
//! # Spec
//! Client-Server API, "Cross-signing": `POST /keys/signatures/upload`.

use serde_json::{Map, Value, json};

use super::cross_signing::Usage;
use crate::{
    matrix::{OwnedUserId, SignedJson, UserId, ed25519_from_base64},
    server::model::{
        accounts::devices,
        records::{CROSS_SIGNING_KEYS, Change, DEVICE_KEYS, KEY_SIGNATURES},
        refusal::Refusal,
        step::Step,
        table::Broken,
    },
};

/// The one key of a cross-signing key, without its algorithm.
pub(crate) fn public_key(key: &Value) -> Option<&str> {
    signing_key(key).map(|key| key.public)
}

/// An Ed25519 key and its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningKey<'a> {
    /// `ed25519:` and a device or the public key.
    pub(crate) id: &'a str,
    /// What stands behind `ed25519:`.
    pub(crate) name: &'a str,
    /// Base64.
    pub(crate) public: &'a str,
}

/// The one key of a cross-signing key.
pub(crate) fn signing_key(key: &Value) -> Option<SigningKey<'_>> {
    let keys = key.get("keys")?.as_object()?;
    let (id, public) = keys.iter().next()?;
    Some(SigningKey { id, name: id.strip_prefix("ed25519:")?, public: public.as_str()? })
}

/// Checks that `user` signed this JSON with that key.
///
/// # Errors
/// `M_INVALID_SIGNATURE`.
pub(crate) fn check(signed: &Value, user: &UserId, key: &SigningKey<'_>) -> Result<(), Refusal> {
    let invalid = || Refusal::new(400, "M_INVALID_SIGNATURE", "the signature is not valid");
    let public = ed25519_from_base64(key.public).ok_or_else(invalid)?;
    let signed = SignedJson::parse(&signed.to_string()).map_err(|error| {
        Refusal::new(400, "M_INVALID_SIGNATURE", format!("this cannot be signed: {error}"))
    })?;
    signed.verify(user, key.id, &public).map_err(|error| {
        Refusal::new(400, "M_INVALID_SIGNATURE", format!("the signature is not valid: {error}"))
    })
}

/// Adds the signatures of a key by `signer` that came after it.
pub(crate) fn merge(
    step: &Step<'_>,
    key: &mut Value,
    (owner, name): (&UserId, &str),
    signer: &UserId,
) -> Result<(), Broken> {
    let found = step.scan(KEY_SIGNATURES, (owner, name, signer))?;
    if found.is_empty() {
        return Ok(());
    }
    let Some(key) = key.as_object_mut() else {
        return Ok(());
    };
    let users = entry(key, "signatures");
    let signatures = users.map(|users| entry(users, signer.as_str()));
    let Some(Some(signatures)) = signatures else {
        return Ok(());
    };
    for (mut parts, signature) in found {
        for _ in 0..3 {
            parts.text()?;
        }
        signatures.insert(parts.text()?, signature.into());
    }
    Ok(())
}

fn entry<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

/// What was wrong with which signed key, by user and name of the key.
#[derive(Debug, Default)]
pub(crate) struct Failures(Map<String, Value>);

impl Failures {
    fn add(&mut self, user: &UserId, name: &str, refusal: &Refusal) {
        if let Some(keys) = entry(&mut self.0, user.as_str()) {
            let mut failure = refusal.body();
            if let Some(failure) = failure.as_object_mut() {
                failure.insert("status".to_owned(), refusal.status.into());
                // So do other servers name it.
                failure.insert("message".to_owned(), refusal.error.as_str().into());
            }
            keys.insert(name.to_owned(), failure);
        }
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Takes signatures by `user` of keys: their own devices and master key, and master keys of
/// others.
///
/// # Errors
/// `M_INVALID_PARAM` when the request has another shape; a signature that is not good is a
/// failure among others.
pub(crate) fn upload(
    step: &mut Step<'_>,
    user: &UserId,
    request: &Map<String, Value>,
) -> Result<Failures, Refusal> {
    let mut failures = Failures::default();
    let mut is_own_changed = false;
    for (target, keys) in request {
        let malformed = || Refusal::invalid("a signed key is not an object");
        let target = OwnedUserId::try_from(target.as_str())
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        for (name, signed) in keys.as_object().ok_or_else(malformed)? {
            if !signed.is_object() {
                return Err(malformed());
            }
            let taken = if target == user {
                take_own(step, user, (name, signed))
            } else {
                take_others(step, user, (&target, name, signed))
            };
            match taken {
                Ok(is_new) => is_own_changed |= is_new && target == user,
                Err(refusal) => failures.add(&target, name, &refusal),
            }
        }
    }
    if is_own_changed {
        devices::changed(step, user)?;
    }
    Ok(failures)
}

fn cross_signing_key(step: &Step<'_>, user: &UserId, usage: Usage) -> Result<Value, Refusal> {
    step.get(CROSS_SIGNING_KEYS, (user, usage.name()))?
        .ok_or_else(|| Refusal::not_found(format!("there is no {} key", usage.name())))
}

fn invalid_key() -> Refusal {
    Refusal::new(400, "M_INVALID_SIGNATURE", "the stored key is malformed")
}

/// A signature of a key of `user` by themselves; whether it is a new one.
fn take_own(
    step: &mut Step<'_>,
    user: &UserId,
    (name, signed): (&str, &Value),
) -> Result<bool, Refusal> {
    let self_signing = cross_signing_key(step, user, Usage::SelfSigning)?;
    let master = cross_signing_key(step, user, Usage::Master)?;
    let master_key = signing_key(&master).ok_or_else(invalid_key)?;
    if name == master_key.name {
        return take_master(step, user, (name, signed, &master));
    }
    let key = signing_key(&self_signing).ok_or_else(invalid_key)?;
    let signature = signature_of(signed, user, key.id)?;
    let stored = step
        .get(DEVICE_KEYS, (user, name))?
        .ok_or_else(|| Refusal::not_found("there is no such device"))?;
    check_same(signed, &stored)?;
    check(signed, user, &key)?;
    put(step, (user, name), (user, key.id), signature)
}

/// Signatures of the master key of `user` by their devices.
fn take_master(
    step: &mut Step<'_>,
    user: &UserId,
    (name, signed, stored): (&str, &Value, &Value),
) -> Result<bool, Refusal> {
    check_same(signed, stored)?;
    let invalid = || Refusal::new(400, "M_INVALID_SIGNATURE", "not signed by a device");
    let signatures = signed.get("signatures").and_then(|users| users.get(user.as_str()));
    let signatures = signatures.and_then(Value::as_object).ok_or_else(invalid)?;
    let mut is_new = false;
    for (id, signature) in signatures {
        let Some(device) = id.strip_prefix("ed25519:").filter(|device| *device != name) else {
            continue;
        };
        let keys = step.get(DEVICE_KEYS, (user, device))?.ok_or_else(invalid)?;
        let public = keys.get("keys").and_then(|keys| keys.get(id)).and_then(Value::as_str);
        let key = SigningKey { id, name: device, public: public.ok_or_else(invalid)? };
        check(signed, user, &key)?;
        let signature = signature.as_str().ok_or_else(invalid)?;
        is_new |= put(step, (user, name), (user, id), signature)?;
    }
    Ok(is_new)
}

/// A signature of somebody else's master key by `user`; whether it is a new one.
fn take_others(
    step: &mut Step<'_>,
    user: &UserId,
    (target, name, signed): (&UserId, &str, &Value),
) -> Result<bool, Refusal> {
    let user_signing = cross_signing_key(step, user, Usage::UserSigning)?;
    let key = signing_key(&user_signing).ok_or_else(invalid_key)?;
    let stored = cross_signing_key(step, target, Usage::Master)?;
    if signing_key(&stored).ok_or_else(invalid_key)?.name != name {
        return Err(Refusal::not_found("only master keys of others can be signed"));
    }
    let signature = signature_of(signed, user, key.id)?;
    check_same(signed, &stored)?;
    check(signed, user, &key)?;
    let is_new = put(step, (target, name), (user, key.id), signature)?;
    if is_new {
        let change = Change::Signed { user: user.to_owned(), other: target.to_owned() };
        step.publish(&change)?;
        step.wake(user.to_owned());
    }
    Ok(is_new)
}

fn signature_of<'a>(signed: &'a Value, user: &UserId, id: &str) -> Result<&'a str, Refusal> {
    let signatures = signed.get("signatures").and_then(|users| users.get(user.as_str()));
    signatures
        .and_then(|signatures| signatures.get(id))
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::new(400, "M_INVALID_SIGNATURE", "not signed by the right key"))
}

/// What was signed must be what is stored, but for its signatures.
fn check_same(signed: &Value, stored: &Value) -> Result<(), Refusal> {
    let bare = |value: &Value| {
        let mut map = value.as_object().cloned().unwrap_or_default();
        map.remove("signatures");
        map.remove("unsigned");
        map
    };
    if bare(signed) != bare(stored) {
        return Err(Refusal::new(400, "M_UNKNOWN", "this is another key than the stored one"));
    }
    Ok(())
}

/// Keeps a signature; whether it is a new one. A cross-signing key signs another once, so that
/// the signatures of keys that were replaced go.
fn put(
    step: &mut Step<'_>,
    (owner, name): (&UserId, &str),
    (signer, id): (&UserId, &str),
    signature: &str,
) -> Result<bool, Refusal> {
    let key = (owner, name, signer, id);
    if step.get(KEY_SIGNATURES, key)?.as_deref() == Some(signature) {
        return Ok(false);
    }
    let signed_id = id.strip_prefix("ed25519:").unwrap_or(id);
    if step.get(DEVICE_KEYS, (signer, signed_id))?.is_none() {
        step.clear(KEY_SIGNATURES, (owner, name, signer))?;
    }
    step.put(KEY_SIGNATURES, key, &signature.to_owned())?;
    Ok(true)
}
