//! The state of a room, read.

use ruma::{
    api::client::state::{
        get_state_event_for_key::v3::{self as get_one, StateEventFormat},
        get_state_events::v3 as get_all,
    },
    events::AnyStateEvent,
};

use crate::server::model::{
    refusal::{Refusal, Stop},
    rooms::Visit,
    route::{Context, Routes},
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(state_event);
    routes.add_at(WITHOUT_KEY, state_event);
    routes.add(state);
}

/// The paths that leave the empty state key out.
pub(super) const WITHOUT_KEY: &[&str] = &[
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
];

fn state(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_all::Request,
) -> Result<get_all::Response, Stop> {
    let visit = Visit::of_reader(step, context.caller()?, request.room_id)?;
    let state = visit.state(step)?;
    Ok(get_all::Response::new(visit.show_all(step, &state)?))
}

fn state_event(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_one::Request,
) -> Result<get_one::Response, Stop> {
    let visit = Visit::of_reader(step, context.caller()?, request.room_id)?;
    let event = visit
        .state_event(step, &request.event_type.to_string(), &request.state_key)?
        .ok_or_else(|| Refusal::not_found("the room has no such state"))?;
    match request.format {
        StateEventFormat::Content => Ok(get_one::Response::new(event.fields.content)),
        StateEventFormat::Event => {
            Ok(get_one::Response::new(visit.show::<AnyStateEvent>(step, &event)?.into_json()))
        }
        other => Err(Refusal::invalid(format!("there is no format {other}")).into()),
    }
}
