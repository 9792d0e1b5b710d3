//! What the content of well-known events must look like, beyond what the authorization rules ask:
//! an event that no client could read is refused when it is made.
//!
//! The checks and their codes are those of Synapse, which clients know.

use ruma::{CanonicalJsonObject, CanonicalJsonValue};

use super::append::Draft;
use crate::server::model::refusal::Refusal;

/// Checks an event before it is made.
///
/// # Errors
/// `M_UNKNOWN` or `M_BAD_JSON`, with 400.
pub(super) fn check(draft: &Draft) -> Result<(), Refusal> {
    let content = &draft.content;
    match draft.kind.as_str() {
        "m.room.message" => has_texts(content, &["body", "msgtype"])?,
        "m.room.topic" => state_with_texts(draft, &["topic"])?,
        "m.room.name" => state_with_texts(draft, &["name"])?,
        "m.room.member" => state_with_texts(draft, &["membership"])?,
        "m.room.tombstone" => {
            state_with_texts(draft, &["replacement_room"])?;
            let replacement = content.get("replacement_room").and_then(CanonicalJsonValue::as_str);
            if replacement == Some(draft.room.as_str()) {
                return Err(bad("a room cannot replace itself"));
            }
        }
        "m.room.power_levels" => power_levels(content)?,
        _ => {}
    }
    content.get("m.mentions").map_or(Ok(()), mentions)
}

fn bad(error: impl Into<String>) -> Refusal {
    Refusal::new(400, "M_UNKNOWN", error)
}

fn has_texts(content: &CanonicalJsonObject, fields: &[&str]) -> Result<(), Refusal> {
    for field in fields {
        match content.get(*field) {
            Some(CanonicalJsonValue::String(_)) => {}
            Some(_) => return Err(bad(format!("'{field}' is no text"))),
            None => return Err(bad(format!("'{field}' is not in the content"))),
        }
    }
    Ok(())
}

fn state_with_texts(draft: &Draft, fields: &[&str]) -> Result<(), Refusal> {
    has_texts(&draft.content, fields)?;
    match draft.state_key {
        Some(_) => Ok(()),
        None => Err(bad(format!("{} must be a state event", draft.kind))),
    }
}

fn power_levels(content: &CanonicalJsonObject) -> Result<(), Refusal> {
    let levels =
        ["ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"];
    for field in levels {
        if content.get(field).is_some_and(|level| !is_number(level)) {
            return Err(Refusal::bad_json(format!("'{field}' is no number")));
        }
    }
    for field in ["events", "notifications", "users"] {
        let are_numbers = |value: &CanonicalJsonValue| {
            value.as_object().is_some_and(|levels| levels.values().all(is_number))
        };
        if content.get(field).is_some_and(|value| !are_numbers(value)) {
            return Err(Refusal::bad_json(format!("'{field}' is no object of numbers")));
        }
    }
    Ok(())
}

fn is_number(value: &CanonicalJsonValue) -> bool {
    matches!(value, CanonicalJsonValue::Integer(_))
}

fn mentions(mentions: &CanonicalJsonValue) -> Result<(), Refusal> {
    let wrong = || Refusal::bad_json("'m.mentions' is not what it should be");
    let mentions = mentions.as_object().ok_or_else(wrong)?;
    let is_text = |value: &CanonicalJsonValue| value.as_str().is_some();
    let are_texts = |value: &CanonicalJsonValue| {
        value.as_array().is_some_and(|users| users.iter().all(is_text))
    };
    let is_room_right = mentions.get("room").is_none_or(|room| room.as_bool().is_some());
    let are_users_right = mentions.get("user_ids").is_none_or(are_texts);
    if is_room_right && are_users_right { Ok(()) } else { Err(wrong()) }
}
