//! Redactions: who may make them, and what they leave of an event.

use ruma::{
    canonical_json::redact, room_version_rules::RoomVersionRules,
    state_res::events::RoomPowerLevelsIntField,
};

use super::{power::Powers, relations};
use crate::{
    matrix::OwnedEventId,
    server::model::{
        records::{EVENTS, EventRecord},
        refusal::Refusal,
        rooms::RoomEvent,
        step::Step,
        table::Broken,
    },
};

#[derive(serde::Deserialize)]
struct RedactionContent {
    redacts: Option<OwnedEventId>,
}

/// What an event redacts.
pub(crate) fn target(event: &RoomEvent) -> Option<OwnedEventId> {
    if event.kind() != "m.room.redaction" || event.is_state() {
        return None;
    }
    let in_content = || event.content::<RedactionContent>().and_then(|content| content.redacts);
    event.fields.redacts.clone().or_else(in_content)
}

/// Whether the sender may redact what they want to redact. Since rooms of version 3 that is not
/// among the authorization rules, but up to whoever applies the redaction.
///
/// # Errors
/// `M_FORBIDDEN` for events of others without the power for it; `M_NOT_FOUND` for no event.
///
/// # Spec
/// Room version 11, "Handling redactions".
pub(super) fn check(
    step: &Step<'_>,
    event: &RoomEvent,
    rules: &RoomVersionRules,
) -> Result<(), Refusal> {
    if event.kind() != "m.room.redaction" {
        return Ok(());
    }
    let Some(target) = target(event) else {
        return Err(Refusal::bad_json("a redaction names the event that it redacts"));
    };
    let found = RoomEvent::load(step, &target)?;
    if let Some(found) = &found {
        if found.record.room != event.record.room {
            return Err(Refusal::new(400, "M_UNKNOWN", "the event is not of this room"));
        }
        if ["m.room.create", "m.room.server_acl"].contains(&found.kind()) {
            return Err(Refusal::forbidden(format!("{} cannot be redacted", found.kind())));
        }
    }
    let powers = Powers::read(step, &event.record.room, rules)?;
    if powers.is_enough(&event.fields.sender, RoomPowerLevelsIntField::Redact)? {
        return Ok(());
    }
    match found {
        None => Err(Refusal::not_found("there is no such event")),
        Some(found) if found.fields.sender == event.fields.sender => Ok(()),
        Some(_) => Err(Refusal::forbidden("only those with the power for it redact others")),
    }
}

/// Redacts what the event redacts.
pub(super) fn apply(
    step: &mut Step<'_>,
    event: &RoomEvent,
    rules: &RoomVersionRules,
) -> Result<(), Broken> {
    let Some(target) = target(event) else {
        return Ok(());
    };
    let Some(found) = RoomEvent::load(step, &target)? else {
        return Ok(());
    };
    relations::unfile(step, &found)?;
    let broken = |error: String| Broken(error);
    let pdu = serde_json::from_str(found.record.pdu.get()).map_err(|e| broken(e.to_string()))?;
    let pdu = redact(pdu, &rules.redaction, None).map_err(|e| broken(e.to_string()))?;
    let pdu = serde_json::value::to_raw_value(&pdu).map_err(|e| broken(e.to_string()))?;
    let record =
        EventRecord { pdu, redacted_because: Some(event.id.clone()), ..found.record.clone() };
    step.put(EVENTS, (&target,), &record)?;
    if found.fields.state_key.is_some() {
        // It may be what the room's power levels are.
        step.forget_room(&event.record.room);
    }
    Ok(())
}
