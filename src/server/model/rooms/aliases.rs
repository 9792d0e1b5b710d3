//! The names of rooms.

use ruma::{OwnedRoomAliasId, RoomAliasId};
use serde::Deserialize;

use super::{power::Powers, version::rules_of};
use crate::{
    matrix::{OwnedRoomId, RoomId, UserId},
    server::model::{
        records::{ALIASES, AliasRecord, ROOM_ALIASES, ROOMS, USERS},
        refusal::Refusal,
        rooms::{Draft, RoomEvent, append_event, current, membership_of, room},
        step::Step,
        table::Broken,
    },
};

/// Longest alias, in bytes.
const MAX_BYTES: usize = 255;
/// Most aliases of a room.
const MAX_ALIASES: usize = 100;

/// The room of this id or alias.
///
/// # Errors
/// `M_INVALID_PARAM` when the text is neither; `M_NOT_FOUND` for an alias of no room.
pub(crate) fn room_of(step: &Step<'_>, id_or_alias: &str) -> Result<OwnedRoomId, Refusal> {
    if id_or_alias.starts_with('#') {
        let alias =
            RoomAliasId::parse(id_or_alias).map_err(|error| Refusal::invalid(error.to_string()))?;
        return find(step, &alias);
    }
    OwnedRoomId::try_from(id_or_alias).map_err(|error| Refusal::invalid(error.to_string()))
}

/// The room of an alias.
///
/// # Errors
/// `M_NOT_FOUND` when there is none.
pub(crate) fn find(step: &Step<'_>, alias: &RoomAliasId) -> Result<OwnedRoomId, Refusal> {
    let found = step.get(ALIASES, (alias.as_str(),))?;
    Ok(found.ok_or_else(|| Refusal::not_found("there is no room of this name"))?.room)
}

/// Gives a room a name.
///
/// # Errors
/// `M_INVALID_PARAM` and `M_UNKNOWN` for names that cannot be; `M_UNKNOWN` with 409 for one that is
/// taken; `M_FORBIDDEN` for rooms that the user is not in.
pub(crate) fn add(
    step: &mut Step<'_>,
    alias: &RoomAliasId,
    room_id: &RoomId,
    creator: &UserId,
) -> Result<(), Refusal> {
    let refuse = |error: &str| Err(Refusal::new(400, "M_UNKNOWN", error));
    if MAX_BYTES < alias.as_str().len() {
        return Err(Refusal::invalid("the alias is too long"));
    }
    if alias.alias().contains(char::is_whitespace) {
        return refuse("the alias has blanks");
    }
    if alias.server_name().as_str() != step.settings.name {
        return refuse("the alias is not of this server");
    }
    if step.get(ROOMS, (room_id,))?.is_none() {
        return refuse("there is no such room");
    }
    if membership_of(step, room_id, creator)?.as_deref() != Some("join") {
        return Err(Refusal::forbidden("you are not in this room"));
    }
    if step.get(ALIASES, (alias.as_str(),))?.is_some() {
        return Err(Refusal::new(409, "M_UNKNOWN", "the alias is taken"));
    }
    if MAX_ALIASES <= of_room(step, room_id)?.len() {
        return Err(Refusal::forbidden("the room has too many aliases"));
    }
    let record = AliasRecord { room: room_id.to_owned(), creator: creator.to_owned() };
    step.put(ALIASES, (alias.as_str(),), &record)?;
    Ok(step.put(ROOM_ALIASES, (room_id, alias.as_str()), &())?)
}

/// Takes a name away, also from the event that names the room, if the user may change that.
///
/// # Errors
/// `M_NOT_FOUND` when there is none; `M_FORBIDDEN` for those who neither made it nor have the power
/// to name the room.
pub(crate) fn remove(
    step: &mut Step<'_>,
    alias: &RoomAliasId,
    user: &UserId,
) -> Result<(), Refusal> {
    let record = step
        .get(ALIASES, (alias.as_str(),))?
        .ok_or_else(|| Refusal::not_found("there is no room of this name"))?;
    if record.creator != *user && !may_publish(step, &record.room, user)? {
        return Err(Refusal::forbidden("the alias was made by somebody else"));
    }
    step.delete(ALIASES, (alias.as_str(),));
    step.delete(ROOM_ALIASES, (&record.room, alias.as_str()));
    drop_from_event(step, alias, (&record.room, user))
}

/// Whether somebody may change how a room is found: who runs the server, and members with the
/// power to name it.
///
/// # Errors
/// When the records are broken.
pub(crate) fn may_publish(
    step: &Step<'_>,
    room_id: &RoomId,
    user: &UserId,
) -> Result<bool, Refusal> {
    if step.get(USERS, (user,))?.is_some_and(|user| user.is_admin) {
        return Ok(true);
    }
    if membership_of(step, room_id, user)?.as_deref() != Some("join") {
        return Ok(false);
    }
    let rules = rules_of(&room(step, room_id)?)?;
    let powers = Powers::read(step, room_id, &rules)?;
    powers.is_enough_to_send(user, "m.room.canonical_alias", Some(""))
}

fn drop_from_event(
    step: &mut Step<'_>,
    alias: &RoomAliasId,
    (room_id, user): (&RoomId, &UserId),
) -> Result<(), Refusal> {
    let Some(event) = current(step, room_id, CANONICAL_ALIAS, "")? else {
        return Ok(());
    };
    let mut content: serde_json::Map<String, serde_json::Value> =
        event.content().unwrap_or_default();
    let old = content.clone();
    if content.get("alias").and_then(|value| value.as_str()) == Some(alias.as_str()) {
        content.remove("alias");
    }
    if let Some(others) = content.get_mut("alt_aliases").and_then(|value| value.as_array_mut()) {
        others.retain(|other| other.as_str() != Some(alias.as_str()));
        if others.is_empty() {
            content.remove("alt_aliases");
        }
    }
    if content == old {
        return Ok(());
    }
    let place = (CANONICAL_ALIAS, "");
    let draft = Draft::state(room_id.to_owned(), user.to_owned(), place, content.into())?;
    match append_event(step, draft) {
        // Whoever made an alias may take it away, even without the power to change the event.
        Err(refusal) if refusal.status != 403 => Err(refusal),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// All names of a room.
///
/// # Errors
/// When the records are broken.
pub(crate) fn of_room(step: &Step<'_>, room: &RoomId) -> Result<Vec<OwnedRoomAliasId>, Broken> {
    let rows = step.scan(ROOM_ALIASES, (room,))?;
    rows.into_iter()
        .map(|(mut key, ())| {
            key.text()?;
            OwnedRoomAliasId::try_from(key.text()?).map_err(|error| Broken(error.to_string()))
        })
        .collect()
}

const CANONICAL_ALIAS: &str = "m.room.canonical_alias";

/// The names that an event gives a room.
#[derive(Debug, Default, Deserialize)]
struct Names {
    alias: Option<String>,
    #[serde(default)]
    alt_aliases: Vec<String>,
}

/// Whether the names in a new event are names of the room; those that it had before are not asked
/// for again.
///
/// # Errors
/// `M_BAD_ALIAS` for one that is none of this room; `M_INVALID_PARAM` for what is no name.
///
/// # Spec
/// Client-Server API, "`m.room.canonical_alias`".
pub(super) fn check(step: &Step<'_>, event: &RoomEvent) -> Result<(), Refusal> {
    if !event.is(CANONICAL_ALIAS, "") {
        return Ok(());
    }
    let room = &event.record.room;
    let read = |event: &RoomEvent| serde_json::from_str::<Names>(event.fields.content.get());
    let new = read(event).map_err(|error| Refusal::invalid(error.to_string()))?;
    let old = current(step, room, CANONICAL_ALIAS, "")?;
    let old = old.and_then(|event| read(&event).ok()).unwrap_or_default();
    let is_new_name = new.alias.as_ref().filter(|alias| Some(*alias) != old.alias.as_ref());
    let are_new = new.alt_aliases.iter().filter(|alias| !old.alt_aliases.contains(alias));
    for alias in is_new_name.into_iter().filter(|alias| !alias.is_empty()).chain(are_new) {
        RoomAliasId::parse(alias).map_err(|error| Refusal::invalid(error.to_string()))?;
        let found = step.get(ALIASES, (alias,))?;
        if found.is_none_or(|found| found.room != *room) {
            let error = format!("{alias} is no name of this room");
            return Err(Refusal::new(400, "M_BAD_ALIAS", error));
        }
    }
    Ok(())
}
