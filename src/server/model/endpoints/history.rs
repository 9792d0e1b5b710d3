//! The events of a room, read: page by page, one by one, around one, by time.

use std::collections::BTreeSet;

use ruma::{
    MilliSecondsSinceUnixEpoch,
    api::{
        Direction,
        client::{
            context::get_context::v3 as get_context,
            message::get_message_events::v3 as get_messages,
            room::{get_event_by_timestamp::v1 as by_time, get_room_event::v3 as get_event},
        },
    },
};
use serde::de::DeserializeOwned;

use crate::{
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::{
        body::{Given, Loose},
        refusal::{Refusal, Stop},
        rooms::{
            RoomEvent, Visit,
            filter::RoomFilter,
            pages::{self, Page, Pages},
            state_event_at,
        },
        route::{Context, Routes},
        step::Step,
        table::Broken,
        token::{page_number, page_token},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(messages);
    routes.add(event);
    routes.add(around);
    routes.add(at_time);
}

/// Events when the call names no number.
const DEFAULT_LIMIT: usize = 10;

/// By hand, as ruma's filter knows nothing of relations.
fn messages(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<get_messages::Request>,
) -> Result<get_messages::Response, Stop> {
    let direction = direction(&request)?;
    let filter = filter(&request)?;
    let visit = Visit::of_reader(step, context.caller()?, room_id(&request)?)?;
    // An empty token is none: clients ask for their first page so.
    let token = |name: &str| request.query(name).filter(|token| !token.is_empty());
    let place = |name: &str| token(name).map(|token| page_number(&token)).transpose();
    let (from, to) = (place("from")?, place("to")?);
    let end = visit.end();
    let pages = match direction {
        Direction::Backward => {
            Pages { after: to.unwrap_or(0), up_to: from.unwrap_or(end).min(end) }
        }
        Direction::Forward => Pages { after: from.unwrap_or(0), up_to: to.unwrap_or(end).min(end) },
    };
    let limit = limit(&request)?;
    let Page { events, next } = pages.read(step, (&visit, &filter), direction, limit)?;
    let mut response = get_messages::Response::new();
    let start = match direction {
        Direction::Backward => from.unwrap_or(step.position()?),
        Direction::Forward => from.unwrap_or(0),
    };
    response.start = token("from").unwrap_or_else(|| page_token(start));
    response.end = next.map(page_token);
    if filter.is_lazy() {
        let members = members_of(step, &visit, &events)?;
        response.state = visit.show_all(step, &members)?;
    }
    response.chunk = visit.show_all(step, &events)?;
    Ok(response)
}

fn event(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_event::Request,
) -> Result<get_event::Response, Stop> {
    let visit = Visit::of_anybody(step, context.caller()?, request.room_id)?;
    let event = visit.event(step, &request.event_id)?;
    Ok(get_event::Response::new(visit.show(step, &event)?))
}

/// By hand, as ruma's filter knows nothing of relations.
fn around(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<get_context::Request>,
) -> Result<get_context::Response, Stop> {
    let filter = filter(&request)?;
    let limit = limit(&request)?;
    let visit = Visit::of_anybody(step, context.caller()?, room_id(&request)?)?;
    let id = OwnedEventId::try_from(request.argument(1))
        .map_err(|_none| Refusal::not_found("there is no such event"))?;
    let event = visit.event(step, &id)?;
    let number = event.number();
    let before = Pages { after: 0, up_to: number.saturating_sub(1) };
    let after = Pages { after: number, up_to: u64::MAX };
    let seen = (&visit, &filter);
    let before = before.read(step, seen, Direction::Backward, limit / 2)?.events;
    let after = after.read(step, seen, Direction::Forward, limit - limit / 2)?.events;
    let first = before.last().map_or(number, RoomEvent::number);
    let last = after.last().map_or(number, RoomEvent::number);
    let mut response = get_context::Response::new();
    response.start = Some(page_token(first.saturating_sub(1)));
    response.end = Some(page_token(last));
    response.state = visit.show_all(step, &state_around(step, seen, (&event, &before, &after))?)?;
    response.event = Some(visit.show(step, &event)?);
    response.events_before = visit.show_all(step, &before)?;
    response.events_after = visit.show_all(step, &after)?;
    Ok(response)
}

/// The state at the last of these events: all of it, or no members but their senders.
fn state_around(
    step: &Step<'_>,
    (visit, filter): (&Visit<'_>, &RoomFilter),
    (event, before, after): (&RoomEvent, &[RoomEvent], &[RoomEvent]),
) -> Result<Vec<RoomEvent>, Broken> {
    let last = after.last().unwrap_or(event).number();
    let mut state = crate::server::model::rooms::state_at(step, &visit.room, last)?;
    if filter.is_lazy() {
        let all = before.iter().chain([event]).chain(after);
        let senders: BTreeSet<&str> = all.map(|event| event.fields.sender.as_str()).collect();
        state.retain(|event| {
            let key = event.fields.state_key.as_deref().unwrap_or_default();
            event.kind() != "m.room.member" || senders.contains(key)
        });
    }
    Ok(state)
}

/// The members who sent these events, as they were at the first of them.
fn members_of(
    step: &Step<'_>,
    visit: &Visit<'_>,
    events: &[RoomEvent],
) -> Result<Vec<RoomEvent>, Broken> {
    let Some(first) = events.first() else {
        return Ok(Vec::new());
    };
    let senders: BTreeSet<&OwnedUserId> = events.iter().map(|event| &event.fields.sender).collect();
    let mut members = Vec::new();
    for sender in senders {
        let place = ("m.room.member", sender.as_str());
        members.extend(state_event_at(step, &visit.room, place, first.number())?);
    }
    Ok(members)
}

fn at_time(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: by_time::Request,
) -> Result<by_time::Response, Stop> {
    let visit = Visit::of_present(step, context.caller()?, request.room_id)?;
    let event = pages::at_time(step, &visit, request.ts, request.dir)?
        .ok_or_else(|| Refusal::not_found("there is no event before or after that time"))?;
    let time: MilliSecondsSinceUnixEpoch = event.fields.origin_server_ts;
    Ok(by_time::Response::new(event.id, time))
}

fn room_id(request: &Given) -> Result<OwnedRoomId, Refusal> {
    OwnedRoomId::try_from(request.argument(0)).map_err(|error| Refusal::invalid(error.to_string()))
}

fn direction(request: &Given) -> Result<Direction, Refusal> {
    match request.query("dir").as_deref() {
        Some("b") => Ok(Direction::Backward),
        Some("f") => Ok(Direction::Forward),
        Some(other) => Err(Refusal::invalid(format!("there is no direction {other}"))),
        None => Err(Refusal::missing("the direction is missing: dir")),
    }
}

fn limit(request: &Given) -> Result<usize, Refusal> {
    match request.query("limit") {
        None => Ok(DEFAULT_LIMIT),
        Some(limit) => limit
            .parse::<usize>()
            .map_err(|_none| Refusal::invalid("the limit is no number"))
            .map(|limit| limit.min(pages::MAX_EVENTS)),
    }
}

fn filter(request: &Given) -> Result<RoomFilter, Refusal> {
    request.query("filter").map_or_else(|| Ok(RoomFilter::default()), |text| read(&text))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|error| Refusal::bad_json(error.to_string()))
}
