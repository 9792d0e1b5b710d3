//! New events: from what somebody wants to say to an event of the room.

use std::time::Duration;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, RoomVersionId,
    room_version_rules::RoomVersionRules,
    signatures::{JsonError, add_content_hash_to_event, reference_hash},
};
use serde_json::value::RawValue;

use super::{
    aliases,
    allow::{AuthState, Question},
    filing,
    power::Powers,
    redaction, relations, validate,
    version::{rules, rules_of},
};
use crate::{
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::{
        records::{EventRecord, JOINED, ROOMS, RoomRecord},
        refusal::Refusal,
        rooms::{RoomEvent, current, room},
        step::Step,
        usage,
    },
    time::Timestamp,
};

/// Largest event, in bytes of its canonical JSON.
///
/// # Spec
/// Client-Server API, "Size limits".
const MAX_EVENT_BYTES: usize = 65_536;
/// Longest type, state key and user id, in bytes.
const MAX_FIELD_BYTES: usize = 255;
/// Rooms that one call can make alike.
const MAX_TRIES: usize = 100;

/// An event that somebody wants in a room.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) room: OwnedRoomId,
    pub(crate) sender: OwnedUserId,
    /// Its type.
    pub(crate) kind: String,
    /// Of whom or what, if it is state.
    pub(crate) state_key: Option<String>,
    pub(crate) content: CanonicalJsonObject,
    /// The device that sends it, and its transaction id.
    pub(crate) sent_by: Option<(OwnedDeviceId, String)>,
}

impl Draft {
    /// A state event.
    ///
    /// # Errors
    /// `M_BAD_JSON` when the content has numbers that canonical JSON does not know.
    pub(crate) fn state(
        room: OwnedRoomId,
        sender: OwnedUserId,
        (kind, state_key): (&str, &str),
        content: serde_json::Value,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            room,
            sender,
            kind: kind.to_owned(),
            state_key: Some(state_key.to_owned()),
            content: canonical(content)?,
            sent_by: None,
        })
    }
}

/// Content as canonical JSON, which all events are made of.
///
/// # Errors
/// `M_BAD_JSON` when it is not an object, or has numbers that canonical JSON does not know.
pub(crate) fn canonical(content: serde_json::Value) -> Result<CanonicalJsonObject, Refusal> {
    match CanonicalJsonValue::try_from(content) {
        Ok(CanonicalJsonValue::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::bad_json("the content of an event is an object")),
        Err(error) => Err(Refusal::bad_json(error.to_string())),
    }
}

/// Content as canonical JSON, from its text.
///
/// # Errors
/// `M_BAD_JSON`, as above; also when it is nested too deep.
pub(crate) fn canonical_text(content: &RawValue) -> Result<CanonicalJsonObject, Refusal> {
    serde_json::from_str(content.get()).map_err(|error| Refusal::bad_json(error.to_string()))
}

/// Appends an event to its room, if the room's rules allow it: makes the event, files it
/// everywhere, and wakes who is joined. A state event that changes nothing is not made again: its
/// id is that of the event that stands.
///
/// # Errors
/// `M_FORBIDDEN` by the rules, `M_TOO_LARGE`, `M_BAD_JSON`.
pub(crate) fn append_event(step: &mut Step<'_>, draft: Draft) -> Result<OwnedEventId, Refusal> {
    let record = room(step, &draft.room)?;
    let rules = rules_of(&record)?;
    let is_member = draft.kind == "m.room.member";
    if !is_member && step.get(JOINED, (&draft.room, &draft.sender))?.is_none() {
        // Before anything that is said of the content: it may tell what holds in the room.
        return Err(Refusal::forbidden("you are not in this room"));
    }
    validate::check(&draft)?;
    if let Some(same) = standing(step, &draft)? {
        return Ok(same);
    }
    let content = to_raw(&draft.content)?;
    let question = Question {
        room: &draft.room,
        sender: &draft.sender,
        kind: &draft.kind,
        state_key: draft.state_key.as_deref(),
        content: &content,
    };
    let auth = AuthState::read(step, question, &rules.authorization)?;
    if let Err(refusal) = auth.check_creators(question, &rules.authorization) {
        // Only those who may set power levels are told what is wrong with them.
        let powers = Powers::read(step, &draft.room, &rules)?;
        let may = powers.is_enough_to_send(&draft.sender, &draft.kind, Some(""))?;
        let forbidden = || Refusal::forbidden("you may not set power levels");
        return Err(if may { refusal } else { forbidden() });
    }
    let place = Place { room: &record, auth_events: auth.ids() };
    let event = make(draft, &rules, step.now, Some(&place))?;
    auth.check(&event, &rules.authorization)?;
    redaction::check(step, &event, &rules)?;
    relations::check(step, &event)?;
    aliases::check(step, &event)?;
    if !is_member && event.fields.kind != "m.room.redaction" {
        // Whoever has no room left can still leave, and take back what they said.
        let sender = event.fields.sender.clone();
        usage::charge(step, &sender, event.record.pdu.get().len())?;
    }
    finish(step, event, record, &rules)
}

/// A name for a room that is made. Rooms from version 12 on get another, by their first event.
///
/// # Errors
/// When the server's own name makes no id.
pub(crate) fn new_name(step: &mut Step<'_>) -> Result<OwnedRoomId, Refusal> {
    let name = format!("!{}:{}", step.random_name(22), step.settings.name);
    name.try_into().map_err(|_odd| Refusal::invalid("the server's name is odd"))
}

/// Makes a room, by this name if its version lets it have one: appends its first event. Gives the
/// room's id.
///
/// # Errors
/// `M_UNSUPPORTED_ROOM_VERSION`, `M_FORBIDDEN` by the rules, `M_TOO_LARGE`.
pub(crate) fn append_create(
    step: &mut Step<'_>,
    (name, sender): (OwnedRoomId, OwnedUserId),
    version: &RoomVersionId,
    content: CanonicalJsonObject,
) -> Result<OwnedRoomId, Refusal> {
    let rules = rules(version)?;
    let mut draft = Draft {
        room: name,
        sender: sender.clone(),
        kind: "m.room.create".to_owned(),
        state_key: Some(String::new()),
        content,
        sent_by: None,
    };
    let mut time = step.now;
    if rules.authorization.room_create_event_id_as_room_id {
        time = free_time(step, &draft, &rules)?;
        draft.room = room_of(&make(draft.clone(), &rules, time, None)?)?;
    }
    let room = draft.room.clone();
    let event = make(draft, &rules, time, None)?;
    AuthState::default().check(&event, &rules.authorization)?;
    let record = RoomRecord {
        creator: sender,
        version: version.to_string(),
        head: event.id.clone(),
        depth: 0,
        joined: 0,
        invited: 0,
    };
    finish(step, event, record, &rules)?;
    Ok(room)
}

/// Where an event comes after another: nothing for the first one.
struct Place<'a> {
    room: &'a RoomRecord,
    auth_events: Vec<OwnedEventId>,
}

/// The event that already says what the draft says.
fn standing(step: &Step<'_>, draft: &Draft) -> Result<Option<OwnedEventId>, Refusal> {
    let Some(state_key) = &draft.state_key else {
        return Ok(None);
    };
    let standing = current(step, &draft.room, &draft.kind, state_key)?;
    Ok(standing
        .filter(|event| event.fields.sender == draft.sender)
        .filter(|event| event.content().as_ref() == Some(&draft.content))
        .map(|event| event.id))
}

/// When a room of version 12 is made: its id is that of its first event, so two that are alike and
/// made in the same millisecond would be one. Then the second is a millisecond younger.
fn free_time(
    step: &Step<'_>,
    draft: &Draft,
    rules: &RoomVersionRules,
) -> Result<Timestamp, Refusal> {
    let mut time = step.now;
    for _ in 0..MAX_TRIES {
        let event = make(draft.clone(), rules, time, None)?;
        if step.get(ROOMS, (room_of(&event)?.as_str(),))?.is_none() {
            return Ok(time);
        }
        time = time.plus(Duration::from_millis(1));
    }
    Err(Refusal::too_often(Duration::from_secs(1)))
}

/// The room of version 12 whose first event this is.
fn room_of(event: &RoomEvent) -> Result<OwnedRoomId, Refusal> {
    let hash = event.id.as_str().trim_start_matches('$');
    OwnedRoomId::try_from(format!("!{hash}"))
        .map_err(|error| Refusal::new(500, "M_UNKNOWN", error.to_string()))
}

/// Makes the event: all fields of a PDU of the room's version, and the id by its hash.
fn make(
    draft: Draft,
    rules: &RoomVersionRules,
    time: Timestamp,
    place: Option<&Place<'_>>,
) -> Result<RoomEvent, Refusal> {
    check_lengths(&draft)?;
    let room = draft.room.clone();
    let sent_by = draft.sent_by.clone();
    let mut pdu = fields(draft, rules, time, place);
    add_content_hash_to_event(&mut pdu).map_err(|error| unhashed(&error))?;
    let hash = reference_hash(&pdu, rules).map_err(|error| unhashed(&error))?;
    let id = OwnedEventId::try_from(format!("${hash}"))
        .map_err(|error| Refusal::new(500, "M_UNKNOWN", error.to_string()))?;
    let pdu = to_raw(&pdu)?;
    if MAX_EVENT_BYTES < pdu.get().len() {
        return Err(too_large("the event"));
    }
    let record =
        EventRecord { room, number: 0, pdu, sent_by, redacted_because: None, replaces: None };
    Ok(RoomEvent::new(id, record)?)
}

fn fields(
    draft: Draft,
    rules: &RoomVersionRules,
    time: Timestamp,
    place: Option<&Place<'_>>,
) -> CanonicalJsonObject {
    let text = |text: String| CanonicalJsonValue::String(text);
    let number = |number: u64| {
        CanonicalJsonValue::Integer(ruma::Int::try_from(number).unwrap_or(ruma::Int::MAX))
    };
    let ids = |ids: &[OwnedEventId]| {
        CanonicalJsonValue::Array(ids.iter().map(|id| id.as_str().into()).collect())
    };
    let mut content = draft.content;
    let mut pdu = CanonicalJsonObject::new();
    let mut put = |field: &str, value| pdu.insert(field.to_owned(), value);
    if !rules.redaction.content_field_redacts
        && draft.kind == "m.room.redaction"
        && let Some(target) = content.remove("redacts")
    {
        put("redacts", target);
    }
    if place.is_some() || !rules.authorization.room_create_event_id_as_room_id {
        put("room_id", text(draft.room.to_string()));
    }
    if let Some(state_key) = draft.state_key {
        put("state_key", text(state_key));
    }
    put("sender", text(draft.sender.to_string()));
    put("type", text(draft.kind));
    put("content", CanonicalJsonValue::Object(content));
    put("origin_server_ts", number(time.0));
    put("depth", number(place.map_or(1, |place| place.room.depth + 1)));
    put("prev_events", ids(place.map_or(&[], |place| std::slice::from_ref(&place.room.head))));
    put("auth_events", ids(place.map_or(&[], |place| &place.auth_events)));
    pdu
}

fn check_lengths(draft: &Draft) -> Result<(), Refusal> {
    let fields = [
        ("its type", draft.kind.len()),
        ("its state key", draft.state_key.as_deref().map_or(0, str::len)),
    ];
    match fields.into_iter().find(|(_, length)| MAX_FIELD_BYTES < *length) {
        Some((name, _)) => Err(too_large(name)),
        None => Ok(()),
    }
}

fn too_large(what: &str) -> Refusal {
    Refusal::new(413, "M_TOO_LARGE", format!("{what} is too large"))
}

fn unhashed(error: &JsonError) -> Refusal {
    if matches!(error, JsonError::PduTooLarge) {
        too_large("the event")
    } else {
        Refusal::bad_json(error.to_string())
    }
}

fn to_raw(object: &CanonicalJsonObject) -> Result<Box<RawValue>, Refusal> {
    serde_json::value::to_raw_value(object).map_err(|error| Refusal::bad_json(error.to_string()))
}

/// Files a new event, and does what it means.
fn finish(
    step: &mut Step<'_>,
    mut event: RoomEvent,
    room: RoomRecord,
    rules: &RoomVersionRules,
) -> Result<OwnedEventId, Refusal> {
    // First what it takes away: then nobody is notified of that any more.
    redaction::apply(step, &event, rules)?;
    filing::file(step, &mut event, room)?;
    Ok(event.id)
}
