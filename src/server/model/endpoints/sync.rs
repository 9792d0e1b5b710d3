//! `/sync`: what is new for a device.
//!
//! # Spec
//! Client-Server API, "Syncing".

use std::time::Duration;

use ruma::{
    UInt,
    api::client::{
        filter::FilterDefinition,
        sync::sync_events::v3::{Filter, Request, Response, Rooms},
    },
};

use crate::{
    server::model::{
        filters,
        keys::one_time,
        records::JOINED,
        refusal::{Refusal, Stop},
        route::{Caller, Context, Routes},
        step::Step,
        sync::{Extent, News, Placing, Question, RoomNews, account_data, device_lists, presence},
        to_device,
        token::SyncToken,
    },
    time::Timestamp,
};

/// Messages for the device in one answer.
const MAX_TO_DEVICE: usize = 100;

pub(super) fn add(routes: &mut Routes) {
    routes.add(sync);
}

fn sync(step: &mut Step<'_>, context: &Context<'_>, request: Request) -> Result<Response, Stop> {
    let question = question(step, context, &request)?;
    let news = News::read(step, &question)?;
    let mut response = Response::new(String::new());
    if question.since.is_none() {
        step.volatile.sent_members.forget(question.caller);
    }
    response.rooms = rooms(step, &question, &news)?;
    let timeout = request.timeout.unwrap_or_default();
    response.account_data.events = account_data::global(step, &question, &news)?;
    response.device_lists = device_lists::read(step, &question, &news)?;
    response.presence.events = presence::read(step, &question)?;
    let end = to_device(step, &question, &mut response)?;
    response.next_batch = end.to_string();
    add_supply(step, &question, &mut response)?;
    let may_wait = !question.wants_all() && !context.is_late && !timeout.is_zero();
    if may_wait && is_empty(&response) {
        return Err(Stop::Wait(patience(step, &question, timeout)?));
    }
    Ok(response)
}

fn question<'a>(
    step: &mut Step<'_>,
    context: &Context<'a>,
    request: &Request,
) -> Result<Question<'a>, Stop> {
    let caller = context.caller()?;
    let volatile = &mut *step.volatile;
    volatile.typing.expire(step.now, &mut volatile.serials);
    let now = SyncToken {
        number: step.position()?,
        serial: step.volatile.serials.last(),
        to_device: None,
    };
    let since = request.since.as_deref().map(SyncToken::parse).transpose()?;
    // A token from the future is one of a file that was put back.
    let since = since.map(|since| SyncToken { number: since.number.min(now.number), ..since });
    Ok(Question {
        caller,
        filter: filter(step, caller, request)?,
        since,
        now,
        extent: if request.full_state { Extent::Full } else { Extent::Changes },
        placing: if request.use_state_after { Placing::After } else { Placing::Before },
    })
}

fn filter(
    step: &Step<'_>,
    caller: &Caller,
    request: &Request,
) -> Result<FilterDefinition, Refusal> {
    match &request.filter {
        None => Ok(FilterDefinition::default()),
        Some(Filter::FilterDefinition(filter)) => Ok(filter.clone()),
        Some(Filter::FilterId(text)) if text.starts_with('{') => {
            match serde_json::from_str::<serde_json::Value>(text) {
                Ok(_) => Err(Refusal::bad_json("this is no filter")),
                Err(_) => Err(Refusal::new(400, "M_NOT_JSON", "the filter is not JSON")),
            }
        }
        Some(Filter::FilterId(id)) => {
            let filter = filters::get(step, &caller.user, id)?
                .ok_or_else(|| Refusal::invalid("no such filter"))?;
            serde_json::from_str(filter.get()).map_err(|error| Refusal::bad_json(error.to_string()))
        }
        Some(_) => Err(Refusal::invalid("no such filter")),
    }
}

fn rooms(step: &mut Step<'_>, question: &Question<'_>, news: &News) -> Result<Rooms, Stop> {
    let mut rooms = Rooms::new();
    for room in &news.rooms {
        match RoomNews::read(step, question, news, room)? {
            None => {}
            Some(RoomNews::Joined(joined)) => {
                rooms.join.insert(room.clone(), *joined);
            }
            Some(RoomNews::Left(left)) => {
                rooms.leave.insert(room.clone(), *left);
            }
            Some(RoomNews::Invited(invited)) => {
                rooms.invite.insert(room.clone(), invited);
            }
            Some(RoomNews::Knocked(knocked)) => {
                rooms.knock.insert(room.clone(), knocked);
            }
        }
    }
    Ok(rooms)
}

/// Messages for the device. Those that its token says it has are forgotten. Gives where the answer
/// ends.
fn to_device(
    step: &mut Step<'_>,
    question: &Question<'_>,
    response: &mut Response,
) -> Result<SyncToken, Stop> {
    let device = (&*question.caller.user, &*question.caller.device);
    let since = question.since.map_or(0, |since| since.device_number());
    if question.since.is_some() {
        to_device::delete_up_to(step, device, since)?;
    }
    let span = (since, question.now.number);
    let messages = to_device::waiting(step, device, span, MAX_TO_DEVICE + 1)?;
    let mut end = question.now;
    for (index, (number, message)) in messages.into_iter().enumerate() {
        if index == MAX_TO_DEVICE {
            break;
        }
        end.to_device = (index + 1 == MAX_TO_DEVICE).then_some(number);
        response.to_device.events.push(to_device::event(&message)?);
    }
    Ok(end)
}

fn add_supply(
    step: &Step<'_>,
    question: &Question<'_>,
    response: &mut Response,
) -> Result<(), Stop> {
    let supply = one_time::supply(step, &question.caller.user, &question.caller.device)?;
    response.device_one_time_keys_count = supply
        .one_time_keys
        .into_iter()
        .filter_map(|(algorithm, count)| Some((algorithm.into(), UInt::try_from(count).ok()?)))
        .collect();
    let unused = supply.unused_fallback.into_iter().map(Into::into);
    response.device_unused_fallback_key_types = Some(unused.collect());
    Ok(())
}

/// Whether the client would learn nothing.
fn is_empty(response: &Response) -> bool {
    let Response { rooms, presence, account_data, to_device, device_lists, .. } = response;
    rooms.is_empty()
        && presence.is_empty()
        && account_data.is_empty()
        && to_device.is_empty()
        && device_lists.is_empty()
}

/// How long to wait: until the client gives up, or somebody is no longer typing.
fn patience(
    step: &Step<'_>,
    question: &Question<'_>,
    timeout: Duration,
) -> Result<Duration, Refusal> {
    let ends = typing_ends(step, question)?;
    Ok(ends.map_or(timeout, |ends| timeout.min(ends.since(step.now))))
}

/// When somebody's typing ends in a room that the caller is in.
pub(super) fn typing_ends(
    step: &Step<'_>,
    question: &Question<'_>,
) -> Result<Option<Timestamp>, Refusal> {
    let mut first: Option<Timestamp> = None;
    for (room, ends) in step.volatile.typing.ends() {
        if step.get(JOINED, (&**room, &*question.caller.user))?.is_some() {
            first = Some(first.map_or(ends, |first| Timestamp(first.0.min(ends.0))));
        }
    }
    Ok(first)
}
