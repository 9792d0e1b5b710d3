//! The rooms that everybody may find, and rooms in a few words.

use ruma::api::client::{
    directory::{
        get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
    },
    room::{Visibility, get_summary},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    matrix::OwnedRoomId,
    server::model::{
        body::{LooseResponse, Plain},
        rate::Limited,
        records::{PUBLIC_ROOMS, ROOMS},
        refusal::{Refusal, Stop},
        rooms::{
            aliases, membership_of,
            summary::{Summary, may_know},
        },
        route::{Access, Context, Routes},
        step::Step,
        table::Broken,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add_for(Access::User, public_rooms);
    routes.add(search_public_rooms);
    routes.add(visibility);
    routes.add(set_visibility);
    routes.add(summary);
}

/// Most rooms of a page, and those of a page whose call names no number.
const MAX_LIMIT: usize = 100;

/// Most public rooms that are ordered for an answer.
const MAX_PUBLIC: usize = 10_000;
/// Most of them that are searched, the largest first.
const MAX_SEARCHED: usize = 1_000;

/// What is asked for.
#[derive(Default, Deserialize)]
struct Ask {
    limit: Option<usize>,
    since: Option<String>,
    #[serde(default)]
    filter: Filter,
}

#[derive(Default, Deserialize)]
struct Filter {
    generic_search_term: Option<String>,
    /// `None` among them stands for rooms without a type.
    room_types: Option<Vec<Option<String>>>,
}

/// Only for those with an account, as Synapse has it by default: a team's rooms are not for the
/// world.
fn public_rooms(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: Plain<get_public_rooms::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let limit = request.query("limit").map(|limit| limit.parse::<usize>()).transpose();
    let limit = limit.map_err(|_none| Refusal::invalid("the limit is no number"))?;
    let since = request.query("since");
    check_server(step, request.query("server"))?;
    find(step, &Ask { limit, since, filter: Filter::default() })
}

/// By hand, as ruma's type has no rooms without a type.
fn search_public_rooms(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_public_rooms_filtered::v3::Request>,
) -> Result<LooseResponse, Stop> {
    if let Ok(caller) = context.caller() {
        step.limit(Limited::Search, caller.user.as_str())?;
    }
    check_server(step, request.query("server"))?;
    find(step, &request.read()?)
}

/// There is no federation: the rooms of others are not known.
fn check_server(step: &Step<'_>, server: Option<String>) -> Result<(), Refusal> {
    match server {
        Some(server) if server != step.settings.name => {
            Err(Refusal::new(502, "M_UNKNOWN", "this server knows its own rooms only"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A page of the public rooms, the largest first. A token is the number of rooms before its page.
fn find(step: &Step<'_>, ask: &Ask) -> Result<LooseResponse, Stop> {
    let Ask { limit, since, filter } = ask;
    let limit = limit.unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);
    let start = since.as_deref().map_or(Ok(0), str::parse);
    let start: usize = start.map_err(|_none| Refusal::invalid("the token is none of mine"))?;
    let rooms = sorted(step)?;
    let mut found = Vec::new();
    if filter.generic_search_term.is_none() && filter.room_types.is_none() {
        let page = rooms.iter().skip(start).take(limit);
        for room in page {
            found.extend(Summary::read(step, room)?);
        }
        return Ok(answer(&found, (start, limit, rooms.len())));
    }
    let term = filter.generic_search_term.as_ref().map(|term| term.to_lowercase());
    for room in rooms.iter().take(MAX_SEARCHED) {
        found.extend(Summary::read(step, room)?.filter(|summary| {
            let types = filter.room_types.as_ref();
            types.is_none_or(|types| types.contains(&summary.room_type))
                && term.as_ref().is_none_or(|term| summary.is_like(term))
        }));
    }
    let count = found.len();
    let page: Vec<Summary> = found.into_iter().skip(start).take(limit).collect();
    Ok(answer(&page, (start, limit, count)))
}

fn answer(page: &[Summary], (start, limit, count): (usize, usize, usize)) -> LooseResponse {
    let mut answer = json!({"chunk": page, "total_room_count_estimate": count});
    let mut put = |field: &str, place: usize| {
        if let Value::Object(answer) = &mut answer {
            answer.insert(field.to_owned(), place.to_string().into());
        }
    };
    let end = start.saturating_add(limit);
    if end < count {
        put("next_batch", end);
    }
    if 0 < start {
        put("prev_batch", start.saturating_sub(limit));
    }
    LooseResponse(answer)
}

/// All public rooms, those with the most members first.
fn sorted(step: &Step<'_>) -> Result<Vec<OwnedRoomId>, Broken> {
    let mut rooms = Vec::new();
    for (mut key, ()) in step.scan_after(PUBLIC_ROOMS, (), None, MAX_PUBLIC)? {
        let room = OwnedRoomId::try_from(key.text()?).map_err(|error| Broken(error.to_string()))?;
        let joined = step.get(ROOMS, (&room,))?.map_or(0, |record| record.joined);
        if 0 < joined {
            rooms.push((u64::MAX - joined, room));
        }
    }
    rooms.sort_unstable();
    Ok(rooms.into_iter().map(|(_, room)| room).collect())
}

fn visibility(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: get_room_visibility::v3::Request,
) -> Result<get_room_visibility::v3::Response, Stop> {
    if step.get(ROOMS, (&request.room_id,))?.is_none() {
        return Err(Refusal::not_found("there is no such room").into());
    }
    let is_public = step.get(PUBLIC_ROOMS, (&request.room_id,))?.is_some();
    let visibility = if is_public { Visibility::Public } else { Visibility::Private };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

fn set_visibility(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: set_room_visibility::v3::Request,
) -> Result<set_room_visibility::v3::Response, Stop> {
    let room = &request.room_id;
    if step.get(ROOMS, (room,))?.is_none() {
        return Err(Refusal::new(400, "M_UNKNOWN", "there is no such room").into());
    }
    if !aliases::may_publish(step, room, &context.caller()?.user)? {
        let error = "only those with the power to name the room may publish it";
        return Err(Refusal::forbidden(error).into());
    }
    match request.visibility {
        Visibility::Public => step.put(PUBLIC_ROOMS, (room,), &())?,
        Visibility::Private => step.delete(PUBLIC_ROOMS, (room,)),
        other => return Err(Refusal::bad_json(format!("there is no visibility {other}")).into()),
    }
    Ok(set_room_visibility::v3::Response::new())
}

/// By hand, as ruma's type takes only names of rooms that it likes.
fn summary(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_summary::v1::Request>,
) -> Result<LooseResponse, Stop> {
    let user = context.caller().ok().map(|caller| &*caller.user);
    let room = aliases::room_of(step, request.argument(0))?;
    let unknown = || Refusal::not_found("there is no such room, or it is not for you");
    if !may_know(step, &room, user)? {
        return Err(unknown().into());
    }
    let summary = Summary::read(step, &room)?.ok_or_else(unknown)?;
    let mut answer = json!(summary);
    if let (Some(user), Value::Object(answer)) = (user, &mut answer) {
        let membership = membership_of(step, &room, user)?;
        let membership = membership.unwrap_or_else(|| "leave".to_owned());
        answer.insert("membership".to_owned(), membership.into());
    }
    Ok(LooseResponse(answer))
}
