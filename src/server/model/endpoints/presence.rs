//! Presence.

use ruma::{
    api::client::presence::{get_presence, set_presence},
    presence::PresenceState,
};

use crate::server::model::{
    accounts::devices,
    presence,
    records::JOINED,
    refusal::{Refusal, Stop},
    rooms::joined_rooms,
    route::{Context, Routes},
    step::Step,
};

/// Longest status, in characters.
const MAX_STATUS: usize = 1_000;

pub(super) fn add(routes: &mut Routes) {
    routes.add(get);
    routes.add(set);
}

/// For those who share a room.
fn get(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_presence::v3::Request,
) -> Result<get_presence::v3::Response, Stop> {
    let caller = &context.caller()?.user;
    let mut is_visible = *caller == request.user_id;
    for room in joined_rooms(step, caller)? {
        is_visible |= step.get(JOINED, (&*room, &*request.user_id))?.is_some();
    }
    if !is_visible {
        return Err(Refusal::forbidden("nothing connects you with this user").into());
    }
    let known = presence::of(step, &request.user_id);
    let state = known.map_or(PresenceState::Offline, |known| known.state.as_str().into());
    let is_online = state == PresenceState::Online;
    let mut response = get_presence::v3::Response::new(state);
    if let Some(known) = known {
        response.status_msg.clone_from(&known.status);
        response.last_active_ago = Some(step.now.since(known.since));
        response.currently_active = Some(is_online);
    }
    Ok(response)
}

fn set(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: set_presence::v3::Request,
) -> Result<set_presence::v3::Response, Stop> {
    let caller = &context.caller()?.user;
    if *caller != request.user_id {
        return Err(Refusal::forbidden("this is another user").into());
    }
    let is_known = [PresenceState::Online, PresenceState::Unavailable, PresenceState::Offline]
        .contains(&request.presence);
    let status = request.status_msg;
    if !is_known || status.as_ref().is_some_and(|text| MAX_STATUS < text.chars().count()) {
        return Err(Refusal::new(400, "M_UNKNOWN", "this is no presence").into());
    }
    presence::set(step, caller.clone(), request.presence.to_string(), status);
    devices::wake_neighbors(step, caller)?;
    Ok(set_presence::v3::Response::new())
}
