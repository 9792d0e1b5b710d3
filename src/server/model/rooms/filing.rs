//! Files a new event everywhere it belongs, and tells who has to know.

use super::{kept, relations};
use crate::{
    matrix::OwnedUserId,
    server::model::{
        push,
        records::{
            Change, EVENTS, JOINED, MEMBER_HISTORY, MEMBERSHIPS, MembershipRecord, ROOMS,
            RoomRecord, STATE, STATE_HISTORY, StateRecord, TIMELINE, VISIBILITY_HISTORY,
        },
        rooms::{RoomEvent, membership_of, state::MemberContent},
        step::Step,
        table::Broken,
    },
};

/// State that is kept ready.
const KEPT: [&str; 3] = ["m.room.create", "m.room.member", "m.room.power_levels"];

/// Gives the event its number and files it.
pub(super) fn file(
    step: &mut Step<'_>,
    event: &mut RoomEvent,
    mut room: RoomRecord,
) -> Result<(), Broken> {
    let id = event.record.room.clone();
    let change = Change::Event { room: id.clone(), event: event.id.clone() };
    event.record.number = step.publish(&change)?;
    room.head = event.id.clone();
    room.depth += 1;
    file_state(step, event, &mut room)?;
    step.put(EVENTS, (&event.id,), &event.record)?;
    step.put(TIMELINE, (&id, event.number()), &event.id)?;
    step.put(ROOMS, (&id,), &room)?;
    relations::file(step, event)?;
    let joined = kept::joined_kept(step, &id)?;
    push::on_event(step, event, &joined)?;
    for user in joined.iter() {
        step.wake(user.clone());
    }
    Ok(())
}

fn file_state(
    step: &mut Step<'_>,
    event: &mut RoomEvent,
    room: &mut RoomRecord,
) -> Result<(), Broken> {
    let Some(state_key) = event.fields.state_key.clone() else {
        return Ok(());
    };
    let (id, kind, number) = (event.record.room.clone(), event.kind().to_owned(), event.number());
    if let Some(old) = step.get(STATE, (&id, &kind, &state_key))? {
        event.record.replaces = Some(old.event);
    }
    if kind == "m.room.member" {
        file_member(step, event, room)?;
    }
    if kind == "m.room.history_visibility" && state_key.is_empty() {
        let content: VisibilityContent = event.content().unwrap_or_default();
        step.put(VISIBILITY_HISTORY, (&id, number), &content.history_visibility)?;
    }
    let place = StateRecord { event: event.id.clone(), number };
    step.put(STATE, (&id, &kind, &state_key), &place)?;
    step.put(STATE_HISTORY, (&id, &kind, &state_key, number), &event.id)?;
    if KEPT.contains(&kind.as_str()) {
        step.forget_room(&id);
    }
    Ok(())
}

/// What a history visibility says; `shared` when it says nothing that is known.
#[derive(Debug, serde::Deserialize)]
#[serde(default)]
struct VisibilityContent {
    history_visibility: String,
}

impl Default for VisibilityContent {
    fn default() -> Self {
        Self { history_visibility: "shared".to_owned() }
    }
}

/// Moves a member from what they were to what they are now.
fn file_member(
    step: &mut Step<'_>,
    event: &RoomEvent,
    room: &mut RoomRecord,
) -> Result<(), Broken> {
    let (id, number) = (&event.record.room, event.number());
    let Some(user) =
        event.fields.state_key.as_deref().and_then(|key| OwnedUserId::try_from(key).ok())
    else {
        return Ok(());
    };
    let Some(MemberContent { membership: new }) = event.content() else {
        return Ok(());
    };
    let old = membership_of(step, id, &user)?;
    let old = old.as_deref().unwrap_or("leave");
    if old != new {
        step.put(MEMBER_HISTORY, (id, &user, number), &new)?;
        match old {
            "join" => {
                room.joined = room.joined.saturating_sub(1);
                step.delete(JOINED, (id, &user));
                let volatile = &mut *step.volatile;
                volatile.typing.set(id, &user, None, &mut volatile.serials);
            }
            "invite" => room.invited = room.invited.saturating_sub(1),
            _ => {}
        }
        match new.as_str() {
            "join" => {
                room.joined += 1;
                step.put(JOINED, (id, &user), &())?;
            }
            "invite" => room.invited += 1,
            _ => {}
        }
    }
    let record = MembershipRecord { membership: new, event: event.id.clone(), number };
    step.put(MEMBERSHIPS, (&user, id), &record)?;
    // Whoever is invited or thrown out is not joined, and has to know.
    step.wake(user);
    Ok(())
}
