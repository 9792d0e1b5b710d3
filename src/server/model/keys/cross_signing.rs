//! The cross-signing keys of users.
//!
//! # Spec
//! Client-Server API, "Cross-signing".

use serde_json::{Map, Value};

use super::{
    device_keys::check_size,
    signatures::{self, signing_key},
};
use crate::{
    matrix::UserId,
    server::model::{
        accounts::devices, records::CROSS_SIGNING_KEYS, refusal::Refusal, step::Step, table::Broken,
    },
};

/// What a cross-signing key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Signs the other two.
    Master,
    /// Signs the user's devices.
    SelfSigning,
    /// Signs the master keys of others; nobody else gets to see it.
    UserSigning,
}

impl Usage {
    pub(crate) const ALL: [Self; 3] = [Self::Master, Self::SelfSigning, Self::UserSigning];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::SelfSigning => "self_signing",
            Self::UserSigning => "user_signing",
        }
    }

    /// The field of an upload.
    fn field(self) -> &'static str {
        match self {
            Self::Master => "master_key",
            Self::SelfSigning => "self_signing_key",
            Self::UserSigning => "user_signing_key",
        }
    }

    /// The field of an answer to a query.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Master => "master_keys",
            Self::SelfSigning => "self_signing_keys",
            Self::UserSigning => "user_signing_keys",
        }
    }
}

/// What an upload would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Nothing: the same keys are there.
    Same,
    /// The first keys.
    First,
    /// Other keys than those that are there.
    Replacing,
}

/// What this upload would change.
pub(crate) fn compare(
    step: &Step<'_>,
    user: &UserId,
    body: &Map<String, Value>,
) -> Result<Upload, Broken> {
    let mut is_same = true;
    for usage in Usage::ALL {
        if let Some(key) = body.get(usage.field()) {
            is_same &= step.get(CROSS_SIGNING_KEYS, (user, usage.name()))?.as_ref() == Some(key);
        }
    }
    let is_first = step.get(CROSS_SIGNING_KEYS, (user, Usage::Master.name()))?.is_none();
    Ok(match (is_same, is_first) {
        (true, _) => Upload::Same,
        (false, true) => Upload::First,
        (false, false) => Upload::Replacing,
    })
}

/// Takes new cross-signing keys.
///
/// # Errors
/// `M_INVALID_PARAM`, `M_INVALID_SIGNATURE`, `M_MISSING_PARAM` without a master key.
pub(crate) fn upload(
    step: &mut Step<'_>,
    user: &UserId,
    body: &Map<String, Value>,
) -> Result<(), Refusal> {
    let stored = step.get(CROSS_SIGNING_KEYS, (user, Usage::Master.name()))?;
    let master = body
        .get(Usage::Master.field())
        .cloned()
        .or(stored)
        .ok_or_else(|| Refusal::missing("there is no master key"))?;
    let uploaded =
        || Usage::ALL.into_iter().filter_map(|usage| Some((usage, body.get(usage.field())?)));
    let invalid = |usage: Usage| Refusal::invalid(format!("the {} key is malformed", usage.name()));
    let master_key = signing_key(&master).ok_or_else(|| invalid(Usage::Master))?;
    for (usage, key) in uploaded() {
        check_size(key)?;
        let usages = key.get("usage").and_then(Value::as_array);
        let keys = key.get("keys").and_then(Value::as_object);
        let is_good = key.get("user_id").and_then(Value::as_str) == Some(user.as_str())
            && usages.is_some_and(|list| list.iter().any(|item| item == usage.name()))
            && keys.is_some_and(|keys| keys.len() == 1)
            && signing_key(key).is_some();
        if !is_good {
            return Err(invalid(usage));
        }
        if usage != Usage::Master {
            signatures::check(key, user, &master_key)?;
        }
    }
    for (usage, key) in uploaded() {
        step.put(CROSS_SIGNING_KEYS, (user, usage.name()), key)?;
    }
    devices::changed(step, user)?;
    Ok(())
}

/// A cross-signing key as `viewer` may see it.
pub(crate) fn seen_by(
    step: &Step<'_>,
    viewer: &UserId,
    user: &UserId,
    usage: Usage,
) -> Result<Option<Value>, Broken> {
    if usage == Usage::UserSigning && viewer != user {
        return Ok(None);
    }
    let Some(mut key) = step.get(CROSS_SIGNING_KEYS, (user, usage.name()))? else {
        return Ok(None);
    };
    if let Some(name) = signing_key(&key).map(|key| key.name.to_owned()) {
        signatures::merge(step, &mut key, (user, &name), viewer)?;
    }
    Ok(Some(key))
}
