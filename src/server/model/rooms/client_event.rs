//! An event as clients get it: without the fields that only servers need, with what this client
//! has to know beside it.
//!
//! # Spec
//! Client-Server API, "Room event format".

use ruma::serde::Raw;
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{redaction, relations};
use crate::{
    matrix::{EventId, OwnedEventId, RoomId, UserId},
    server::model::{
        rooms::{RoomEvent, Sight},
        route::Caller,
        step::Step,
        table::Broken,
    },
};

/// Who gets events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) caller: &'a Caller,
    /// What they see of the room.
    pub(crate) sight: &'a Sight,
}

#[derive(Serialize)]
struct ClientEvent<'a> {
    content: &'a RawValue,
    event_id: &'a EventId,
    origin_server_ts: ruma::MilliSecondsSinceUnixEpoch,
    /// For clients that do not know where version 11 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<OwnedEventId>,
    /// Not within a sync, where the room is the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    sender: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
    unsigned: Map<String, Value>,
}

/// An event as this reader gets it, with what relates to it. Whether they may see it has been
/// asked before.
///
/// # Errors
/// When the records are broken.
pub(crate) fn client_event(
    step: &Step<'_>,
    event: &RoomEvent,
    reader: Reader<'_>,
) -> Result<Box<RawValue>, Broken> {
    let relations = relations::bundle(step, event, reader)?;
    write(event, unsigned(step, event, reader, relations)?)
}

/// The same without the id of its room, as syncs have it.
///
/// # Errors
/// When the records are broken.
pub(crate) fn sync_event(
    step: &Step<'_>,
    event: &RoomEvent,
    reader: Reader<'_>,
) -> Result<Box<RawValue>, Broken> {
    let relations = relations::bundle(step, event, reader)?;
    write_in(None, event, unsigned(step, event, reader, relations)?)
}

/// An event as this reader gets it within another, with these of its relations.
///
/// # Errors
/// When the records are broken.
pub(super) fn shown(
    step: &Step<'_>,
    event: &RoomEvent,
    reader: Reader<'_>,
    relations: Option<Map<String, Value>>,
) -> Result<Value, Broken> {
    let text = write(event, unsigned(step, event, reader, relations)?)?;
    serde_json::from_str(text.get()).map_err(|error| Broken(error.to_string()))
}

fn unsigned(
    step: &Step<'_>,
    event: &RoomEvent,
    reader: Reader<'_>,
    relations: Option<Map<String, Value>>,
) -> Result<Map<String, Value>, Broken> {
    let mut unsigned = past(step, event, reader)?;
    let membership = reader.sight.membership_at(event.number());
    unsigned.insert("membership".to_owned(), membership.into());
    if let Some((device, transaction)) = &event.record.sent_by
        && *device == reader.caller.device
        && event.fields.sender == reader.caller.user
    {
        unsigned.insert("transaction_id".to_owned(), transaction.as_str().into());
    }
    if let Some(relations) = relations {
        unsigned.insert("m.relations".to_owned(), relations.into());
    }
    Ok(unsigned)
}

/// What was before an event, as far as its reader sees it.
fn past(
    step: &Step<'_>,
    event: &RoomEvent,
    reader: Reader<'_>,
) -> Result<Map<String, Value>, Broken> {
    let mut unsigned = Map::new();
    let age = step.now.0.saturating_sub(u64::from(event.fields.origin_server_ts.get()));
    unsigned.insert("age".to_owned(), age.into());
    if let Some(replaced) = &event.record.replaces {
        let old = RoomEvent::expect(step, replaced)?;
        if reader.sight.sees(&old) || old.is("m.room.member", reader.caller.user.as_str()) {
            let content: Option<Value> = old.content();
            unsigned.insert("prev_content".to_owned(), content.unwrap_or_else(|| json!({})));
            unsigned.insert("prev_sender".to_owned(), old.fields.sender.as_str().into());
        }
        unsigned.insert("replaces_state".to_owned(), replaced.as_str().into());
    }
    if let Some(because) = &event.record.redacted_because {
        let because = RoomEvent::expect(step, because)?;
        let text = write(&because, Map::new())?;
        let value = serde_json::from_str(text.get()).map_err(|e| Broken(e.to_string()))?;
        unsigned.insert("redacted_because".to_owned(), value);
    }
    Ok(unsigned)
}

fn write(event: &RoomEvent, unsigned: Map<String, Value>) -> Result<Box<RawValue>, Broken> {
    write_in(Some(&event.record.room), event, unsigned)
}

fn write_in(
    room_id: Option<&RoomId>,
    event: &RoomEvent,
    unsigned: Map<String, Value>,
) -> Result<Box<RawValue>, Broken> {
    let fields = &event.fields;
    let redacts = redaction::target(event);
    let content = with_target(event, redacts.as_deref())?;
    serde_json::value::to_raw_value(&ClientEvent {
        content: content.as_deref().unwrap_or(&fields.content),
        event_id: &event.id,
        origin_server_ts: fields.origin_server_ts,
        redacts,
        room_id,
        sender: &fields.sender,
        state_key: fields.state_key.as_deref(),
        kind: &fields.kind,
        unsigned,
    })
    .map_err(|error| Broken(error.to_string()))
}

/// The content of a redaction of a room before version 11 as later ones have it, for clients that
/// know only these; nothing for other events.
fn with_target(
    event: &RoomEvent,
    target: Option<&EventId>,
) -> Result<Option<Box<RawValue>>, Broken> {
    let Some(target) = target else { return Ok(None) };
    let mut content: Map<String, Value> = event.content().unwrap_or_default();
    if content.contains_key("redacts") {
        return Ok(None);
    }
    content.insert("redacts".to_owned(), target.as_str().into());
    let content = serde_json::value::to_raw_value(&content);
    content.map(Some).map_err(|error| Broken(error.to_string()))
}

/// As ruma's responses want it.
pub(crate) fn raw<T>(text: Box<RawValue>) -> Raw<T> {
    Raw::from_json(text)
}
