//! What a room holds: its state and its events.

use ruma::api::{
    Direction,
    client::{
        message::get_message_events,
        state::{get_state_event_for_key, get_state_events},
    },
};

use crate::server::model::{
    records::TIMELINE,
    refusal::{Refusal, Stop},
    rooms::{Reader, RoomEvent, Sight, client_event, current, current_state, raw, room},
    route::{Context, Routes},
    step::{Span, Step},
    table::Order,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(state_event);
    routes.add(state);
    routes.add(messages);
}

fn state(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_state_events::v3::Request,
) -> Result<get_state_events::v3::Response, Stop> {
    let caller = context.caller()?;
    room(step, &request.room_id)?;
    let sight = Sight::read(step, &request.room_id, &caller.user)?;
    let reader = Reader { caller, sight: &sight };
    if !sight.is_joined() {
        return Err(Refusal::forbidden("you are not in this room").into());
    }
    let state = current_state(step, &request.room_id)?
        .iter()
        .map(|event| Ok(raw(client_event(step, event, reader)?)))
        .collect::<Result<_, Refusal>>()?;
    Ok(get_state_events::v3::Response::new(state))
}

fn state_event(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_state_event_for_key::v3::Request,
) -> Result<get_state_event_for_key::v3::Response, Stop> {
    let caller = context.caller()?;
    room(step, &request.room_id)?;
    let sight = Sight::read(step, &request.room_id, &caller.user)?;
    let reader = Reader { caller, sight: &sight };
    if !sight.is_joined() {
        return Err(Refusal::forbidden("you are not in this room").into());
    }
    let kind = request.event_type.to_string();
    let event = current(step, &request.room_id, &kind, &request.state_key)?
        .ok_or_else(|| Refusal::not_found("the room has no such state"))?;
    let answer = match request.format {
        get_state_event_for_key::v3::StateEventFormat::Event => client_event(step, &event, reader)?,
        _ => event.fields.content,
    };
    Ok(get_state_event_for_key::v3::Response::new(answer))
}

fn messages(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_message_events::v3::Request,
) -> Result<get_message_events::v3::Response, Stop> {
    let caller = context.caller()?;
    room(step, &request.room_id)?;
    let sight = Sight::read(step, &request.room_id, &caller.user)?;
    let reader = Reader { caller, sight: &sight };
    let number = |token: &str| token.get(1..).and_then(|digits| digits.parse::<u64>().ok());
    let from = request.from.as_deref().and_then(number);
    let span = match request.dir {
        Direction::Backward => {
            Span { after: 0, up_to: from.unwrap_or(u64::MAX), order: Order::Descending, limit: 100 }
        }
        Direction::Forward => {
            Span { after: from.unwrap_or(0), up_to: u64::MAX, order: Order::Ascending, limit: 100 }
        }
    };
    let mut response = get_message_events::v3::Response::new();
    for (_, id) in step.scan_numbers(TIMELINE, (&request.room_id,), &span)? {
        let event = RoomEvent::expect(step, &id)?;
        if sight.sees(&event) {
            response.chunk.push(raw(client_event(step, &event, reader)?));
        }
    }
    response.start = request.from.unwrap_or_default();
    Ok(response)
}
