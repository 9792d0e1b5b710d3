//! What users show of themselves: name, picture and other fields.

use serde_json::{Map, Value};

use super::{
    records::{PROFILES, USERS},
    refusal::Refusal,
    rooms::{Action, MemberChange, joined_rooms},
    step::Step,
    table::Broken,
};
use crate::matrix::UserId;

/// Longest name of a field, in bytes.
const MAX_FIELD: usize = 255;
/// Largest profile, in bytes.
const MAX_PROFILE: usize = 64 << 10;
/// Longest name to show, in characters.
const MAX_NAME: usize = 256;
/// Longest address of a picture, in characters.
const MAX_PICTURE: usize = 1_000;

/// The profile of somebody; `None` without an account.
pub(crate) fn of(step: &Step<'_>, user: &UserId) -> Result<Option<Map<String, Value>>, Broken> {
    if step.get(USERS, (user,))?.is_none() {
        return Ok(None);
    }
    Ok(Some(step.get(PROFILES, (user,))?.unwrap_or_default()))
}

/// Whether the field is one that shows in rooms.
pub(crate) fn is_in_rooms(field: &str) -> bool {
    ["displayname", "avatar_url"].contains(&field)
}

/// # Errors
/// `M_INVALID_PARAM`, `M_KEY_TOO_LARGE` for a name that no field can have.
pub(crate) fn check_field(field: &str) -> Result<(), Refusal> {
    if MAX_FIELD < field.len() {
        return Err(Refusal::new(400, "M_KEY_TOO_LARGE", "the name of the field is too long"));
    }
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    if !field.starts_with(|c: char| c.is_ascii_lowercase()) || !field.chars().all(is_allowed) {
        return Err(Refusal::invalid("this is no name of a field"));
    }
    Ok(())
}

/// Sets a field, or takes it away, and tells the rooms.
///
/// # Errors
/// `M_INVALID_PARAM`, `M_UNKNOWN`, `M_PROFILE_TOO_LARGE` for a value that cannot be.
pub(crate) fn set(
    step: &mut Step<'_>,
    user: &UserId,
    (field, value): (&str, Option<Value>),
) -> Result<(), Refusal> {
    let value = match value {
        Some(value) if is_in_rooms(field) => in_rooms(field, &value)?,
        value => value,
    };
    let mut profile = step.get(PROFILES, (user,))?.unwrap_or_default();
    let old = match value.clone() {
        Some(value) => profile.insert(field.to_owned(), value),
        None => profile.remove(field),
    };
    if old == value {
        return Ok(());
    }
    if MAX_PROFILE < serde_json::to_string(&profile).map_or(usize::MAX, |text| text.len()) {
        return Err(Refusal::new(400, "M_PROFILE_TOO_LARGE", "the profile is too large"));
    }
    step.put(PROFILES, (user,), &profile)?;
    if is_in_rooms(field) {
        tell_rooms(step, user)?;
    }
    Ok(())
}

/// Checks a field that shows in rooms; an empty text takes it away.
fn in_rooms(field: &str, value: &Value) -> Result<Option<Value>, Refusal> {
    let is_name = field == "displayname";
    let text = value.as_str().ok_or_else(|| Refusal::invalid(format!("{field} is not a text")))?;
    let most = if is_name { MAX_NAME } else { MAX_PICTURE };
    if most < text.chars().count() {
        return Err(Refusal::new(400, "M_UNKNOWN", format!("{field} is too long")));
    }
    let text = if is_name { text.trim() } else { text };
    Ok((!text.is_empty()).then(|| text.into()))
}

/// Renews the member event in every room; one that does not allow it keeps the old name.
fn tell_rooms(step: &mut Step<'_>, user: &UserId) -> Result<(), Refusal> {
    for room in joined_rooms(step, user)? {
        let change = MemberChange::new(room, (user, Action::Join, user), None);
        if let Err(refusal) = change.apply(step)
            && 500 <= refusal.status
        {
            return Err(refusal);
        }
    }
    Ok(())
}
