//! Push rules: the default ones, and what a user made of them.

use ruma::push::Ruleset;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    account_data::{self, PUSH_RULES, Place},
    refusal::Refusal,
    step::Step,
    table::Broken,
};
use crate::matrix::UserId;

/// All kinds of rules, in the order in which they are looked at.
const KINDS: [&str; 5] = ["override", "content", "room", "sender", "underride"];

/// The rules of a user.
pub(crate) fn of(step: &Step<'_>, user: &UserId) -> Result<Ruleset, Broken> {
    Ok(own(step, user)?.unwrap_or_else(|| Ruleset::server_default(user)))
}

/// The rules of a user who ever changed one; `None` for everybody else.
pub(crate) fn own(step: &Step<'_>, user: &UserId) -> Result<Option<Ruleset>, Broken> {
    let stored = account_data::get(step, user, None, PUSH_RULES)?;
    let stored = stored.and_then(|content| {
        let mut content: Value = serde_json::from_str(content.get()).ok()?;
        serde_json::from_value::<Ruleset>(content.get_mut("global")?.take()).ok()
    });
    Ok(stored.map(|mut rules| {
        // Rules that the specification added since.
        rules.update_with_server_default(Ruleset::server_default(user));
        rules
    }))
}

/// Replaces the rules of a user.
///
/// # Errors
/// `M_TOO_LARGE`.
pub(crate) fn put(step: &mut Step<'_>, user: &UserId, rules: &Ruleset) -> Result<(), Refusal> {
    let content = content_of(rules)?;
    account_data::put(step, Place { user, room: None, kind: PUSH_RULES }, &content)
}

/// The rules of a user as the content of `m.push_rules`.
pub(crate) fn content(step: &Step<'_>, user: &UserId) -> Result<Box<RawValue>, Broken> {
    content_of(&of(step, user)?)
}

fn content_of(rules: &Ruleset) -> Result<Box<RawValue>, Broken> {
    let broken = |error: serde_json::Error| Broken(error.to_string());
    to_raw_value(&json!({ "global": to_value(rules)? })).map_err(broken)
}

/// The rules as JSON, with a list for every kind: clients look into them without asking.
pub(crate) fn to_value(rules: &Ruleset) -> Result<Value, Broken> {
    let mut value = serde_json::to_value(rules).map_err(|error| Broken(error.to_string()))?;
    if let Some(lists) = value.as_object_mut() {
        for kind in KINDS {
            lists.entry(kind).or_insert_with(|| json!([]));
        }
    }
    Ok(value)
}
