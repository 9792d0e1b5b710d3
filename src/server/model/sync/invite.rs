//! What those get to know of a room who are invited to it, or who knock.
//!
//! # Spec
//! Client-Server API, "Stripped state".

use ruma::serde::Raw;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::state::{MEMBER, entry_at};
use crate::{
    matrix::{OwnedEventId, UserId},
    server::model::{records::MembershipRecord, rooms::RoomEvent, step::Step, table::Broken},
};

/// The state that whoever is invited gets to know.
const SHOWN: [&str; 7] = [
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.name",
    "m.room.create",
    "m.room.topic",
];

#[derive(Serialize)]
struct Stripped<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    state_key: &'a str,
    sender: &'a UserId,
    content: &'a RawValue,
}

/// A state event in its stripped form.
///
/// # Errors
/// Never, for an event that was stored.
pub(crate) fn stripped<T>(event: &RoomEvent) -> Result<Raw<T>, Broken> {
    let fields = &event.fields;
    let stripped = Stripped {
        kind: &fields.kind,
        state_key: fields.state_key.as_deref().unwrap_or_default(),
        sender: &fields.sender,
        content: &fields.content,
    };
    let text = to_raw_value(&stripped).map_err(|error| Broken(error.to_string()))?;
    Ok(Raw::from_json(text))
}

/// The state that somebody gets with their invitation or knock, as it was then; the member event
/// itself is the last.
///
/// # Errors
/// When the records are broken.
pub(crate) fn stripped_state<T>(
    step: &Step<'_>,
    membership: &MembershipRecord,
) -> Result<Vec<Raw<T>>, Broken> {
    let member = RoomEvent::expect(step, &membership.event)?;
    let (room, moment) = (&member.record.room, membership.number);
    let mut ids: Vec<OwnedEventId> = Vec::new();
    for kind in SHOWN {
        ids.extend(entry_at(step, room, &(kind.to_owned(), String::new()), moment)?);
    }
    let sender = (MEMBER.to_owned(), member.fields.sender.to_string());
    ids.extend(entry_at(step, room, &sender, moment)?.filter(|id| *id != member.id));
    let mut state = Vec::new();
    for id in ids {
        state.push(stripped(&RoomEvent::expect(step, &id)?)?);
    }
    state.push(stripped(&member)?);
    Ok(state)
}
