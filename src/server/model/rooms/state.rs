//! The current state of a room, and who is in it.

use super::kept;
use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::{JOINED, MEMBERSHIPS, ROOMS, RoomRecord, STATE, STATE_HISTORY},
        refusal::Refusal,
        rooms::RoomEvent,
        step::{Span, Step},
        table::{Broken, Order},
    },
};

/// A room of this server.
///
/// # Errors
/// `M_FORBIDDEN` for any other, as for a room that the caller is not in: nobody learns here which
/// rooms there are.
pub(crate) fn room(step: &Step<'_>, room: &RoomId) -> Result<RoomRecord, Refusal> {
    step.get(ROOMS, (room,))?.ok_or_else(|| Refusal::forbidden("you are not in this room"))
}

/// The current state event of this type and key.
///
/// # Errors
/// When the records are broken.
pub(crate) fn current(
    step: &Step<'_>,
    room: &RoomId,
    kind: &str,
    state_key: &str,
) -> Result<Option<RoomEvent>, Broken> {
    step.get(STATE, (room, kind, state_key))?
        .map(|place| RoomEvent::expect(step, &place.event))
        .transpose()
}

/// The whole current state, ordered by type and key.
///
/// # Errors
/// When the records are broken.
pub(crate) fn current_state(step: &Step<'_>, room: &RoomId) -> Result<Vec<RoomEvent>, Broken> {
    let places = step.scan(STATE, (room,))?;
    places.iter().map(|(_, place)| RoomEvent::expect(step, &place.event)).collect()
}

/// The state event of this type and key as it was once the event of this number was there.
///
/// # Errors
/// When the records are broken.
pub(crate) fn state_event_at(
    step: &Step<'_>,
    room: &RoomId,
    (kind, state_key): (&str, &str),
    number: u64,
) -> Result<Option<RoomEvent>, Broken> {
    let span = Span { after: 0, up_to: number, order: Order::Descending, limit: 1 };
    let newest = step.scan_numbers(STATE_HISTORY, (room, kind, state_key), &span)?;
    newest.first().map(|(_, id)| RoomEvent::expect(step, id)).transpose()
}

/// The whole state as it was once the event of this number was there.
///
/// # Errors
/// When the records are broken.
pub(crate) fn state_at(
    step: &Step<'_>,
    room: &RoomId,
    number: u64,
) -> Result<Vec<RoomEvent>, Broken> {
    let mut state = Vec::new();
    for (mut key, place) in step.scan(STATE, (room,))? {
        if place.number <= number {
            state.push(RoomEvent::expect(step, &place.event)?);
            continue;
        }
        key.text()?;
        let (kind, state_key) = (key.text()?, key.text()?);
        state.extend(state_event_at(step, room, (&kind, &state_key), number)?);
    }
    Ok(state)
}

/// Who is joined.
///
/// # Errors
/// When the records are broken.
pub(crate) fn joined_members(step: &Step<'_>, room: &RoomId) -> Result<Vec<OwnedUserId>, Broken> {
    match kept::joined(step, room) {
        Some(joined) => Ok(joined.to_vec()),
        None => read_joined(step, room),
    }
}

/// Who is joined, by the records.
pub(super) fn read_joined(step: &Step<'_>, room: &RoomId) -> Result<Vec<OwnedUserId>, Broken> {
    let rows = step.scan(JOINED, (room,))?;
    rows.into_iter()
        .map(|(mut key, ())| {
            key.text()?;
            OwnedUserId::try_from(key.text()?).map_err(|error| Broken(error.to_string()))
        })
        .collect()
}

/// The rooms that somebody is joined to.
///
/// # Errors
/// When the records are broken.
pub(crate) fn joined_rooms(step: &Step<'_>, user: &UserId) -> Result<Vec<OwnedRoomId>, Broken> {
    let mut rooms = Vec::new();
    for (mut key, record) in step.scan(MEMBERSHIPS, (user,))? {
        if record.membership == "join" {
            key.text()?;
            let room = OwnedRoomId::try_from(key.text()?);
            rooms.push(room.map_err(|error| Broken(error.to_string()))?);
        }
    }
    Ok(rooms)
}

/// What somebody is to a room: `join`, `invite`, `knock`, `leave` or `ban`; `None` when they never
/// were anything.
///
/// # Errors
/// When the records are broken.
pub(crate) fn membership_of(
    step: &Step<'_>,
    room: &RoomId,
    user: &UserId,
) -> Result<Option<String>, Broken> {
    if step.get(JOINED, (room, user))?.is_some() {
        return Ok(Some("join".to_owned()));
    }
    if let Some(record) = step.get(MEMBERSHIPS, (user, room))? {
        return Ok(Some(record.membership));
    }
    // They may have forgotten the room.
    let member = current(step, room, "m.room.member", user.as_str())?;
    Ok(member.and_then(|event| event.content::<MemberContent>()).map(|content| content.membership))
}

/// The part of a member event that makes a member.
#[derive(Debug, serde::Deserialize)]
pub(super) struct MemberContent {
    pub(super) membership: String,
}
