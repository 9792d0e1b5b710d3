//! Account data and tags.

use ruma::{
    api::client::{
        config::{
            get_global_account_data, get_room_account_data, set_global_account_data,
            set_room_account_data,
        },
        tag::{create_tag, delete_tag, get_tags},
    },
    serde::Raw,
};
use serde_json::{Map, Value, json, value::to_raw_value};

use crate::{
    matrix::{RoomId, UserId},
    server::model::{
        account_data::{self, FULLY_READ, PUSH_RULES, Place, TAGS},
        body::{LooseResponse, Plain},
        push_rules,
        records::MEMBERSHIPS,
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        step::Step,
        table::Broken,
    },
};

/// Longest name of a tag, in bytes.
const MAX_TAG: usize = 255;
/// Most tags of a room.
const MAX_TAGS: usize = 100;

pub(super) fn add(routes: &mut Routes) {
    routes.add(get_global);
    routes.add(set_global);
    routes.add(get_of_room);
    routes.add(set_of_room);
    routes.add(tags);
    routes.add(put_tag);
    routes.add(remove_tag);
}

/// # Errors
/// `M_FORBIDDEN` when `user` is not the caller.
fn check_own(context: &Context<'_>, user: &UserId) -> Result<(), Refusal> {
    if context.caller()?.user == user {
        return Ok(());
    }
    Err(Refusal::forbidden("this is another user's"))
}

/// What only its own endpoint writes.
fn check_kind(kind: &str) -> Result<(), Refusal> {
    if kind == FULLY_READ || kind == PUSH_RULES {
        let text = format!("{kind} has an endpoint of its own");
        return Err(Refusal::new(405, "M_BAD_JSON", text));
    }
    Ok(())
}

fn get_global(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_global_account_data::v3::Request,
) -> Result<get_global_account_data::v3::Response, Stop> {
    check_own(context, &request.user_id)?;
    let kind = request.event_type.to_string();
    let found = if kind == PUSH_RULES {
        Some(push_rules::content(step, &request.user_id)?)
    } else {
        account_data::get(step, &request.user_id, None, &kind)?
    };
    let found = found.ok_or_else(|| Refusal::not_found("there is no such account data"))?;
    Ok(get_global_account_data::v3::Response::new(Raw::from_json(found)))
}

/// Loose, because ruma's type takes more than objects.
fn set_global(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<set_global_account_data::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = user(request.argument(0))?;
    check_own(context, user)?;
    let kind = request.argument(1);
    check_kind(kind)?;
    put(step, Place { user, room: None, kind }, &request.body)?;
    Ok(LooseResponse(json!({})))
}

fn user(text: &str) -> Result<&UserId, Refusal> {
    text.try_into().map_err(|_error| Refusal::invalid("this is no user id"))
}

fn room(text: &str) -> Result<&RoomId, Refusal> {
    text.try_into().map_err(|_error| Refusal::invalid("this is no room id"))
}

fn put(step: &mut Step<'_>, place: Place<'_>, content: &Map<String, Value>) -> Result<(), Refusal> {
    let content = to_raw_value(content).map_err(|error| Refusal::bad_json(error.to_string()))?;
    account_data::put(step, place, &content)
}

fn get_of_room(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_room_account_data::v3::Request,
) -> Result<get_room_account_data::v3::Response, Stop> {
    check_own(context, &request.user_id)?;
    let kind = request.event_type.to_string();
    let found = account_data::get(step, &request.user_id, Some(&request.room_id), &kind)?
        .ok_or_else(|| Refusal::not_found("there is no such account data"))?;
    Ok(get_room_account_data::v3::Response::new(Raw::from_json(found)))
}

/// Loose, because ruma's type takes more than objects.
fn set_of_room(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<set_room_account_data::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = user(request.argument(0))?;
    check_own(context, user)?;
    let room = room(request.argument(1))?;
    let kind = request.argument(2);
    check_kind(kind)?;
    put(step, Place { user, room: Some(room), kind }, &request.body)?;
    Ok(LooseResponse(json!({})))
}

/// The tags of a room.
fn tags_of(step: &Step<'_>, user: &UserId, room: &RoomId) -> Result<Map<String, Value>, Broken> {
    let content = account_data::get(step, user, Some(room), TAGS)?;
    let content = content.and_then(|content| serde_json::from_str::<Value>(content.get()).ok());
    let tags = content.as_ref().and_then(|content| content.get("tags")).and_then(Value::as_object);
    Ok(tags.cloned().unwrap_or_default())
}

fn put_tags(
    step: &mut Step<'_>,
    (user, room): (&UserId, &RoomId),
    tags: Map<String, Value>,
) -> Result<(), Refusal> {
    let mut content = Map::new();
    content.insert("tags".to_owned(), tags.into());
    put(step, Place { user, room: Some(room), kind: TAGS }, &content)
}

/// Loose, because tags may carry more than ruma's type has.
fn tags(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_tags::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = user(request.argument(0))?;
    check_own(context, user)?;
    let tags = tags_of(step, user, room(request.argument(1))?)?;
    Ok(LooseResponse(json!({ "tags": tags })))
}

/// Loose for the same reason.
fn put_tag(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<create_tag::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = user(request.argument(0))?;
    check_own(context, user)?;
    let (room, tag) = (room(request.argument(1))?, request.argument(2));
    if MAX_TAG < tag.len() {
        return Err(Refusal::invalid("the name of the tag is too long").into());
    }
    if step.get(MEMBERSHIPS, (user, room))?.is_none() {
        return Err(Refusal::forbidden("nothing connects the user with this room").into());
    }
    let mut tags = tags_of(step, user, room)?;
    tags.insert(tag.to_owned(), request.body.clone().into());
    if MAX_TAGS < tags.len() {
        return Err(Refusal::too_many("tags").into());
    }
    put_tags(step, (user, room), tags)?;
    Ok(LooseResponse(json!({})))
}

fn remove_tag(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: delete_tag::v3::Request,
) -> Result<delete_tag::v3::Response, Stop> {
    check_own(context, &request.user_id)?;
    let mut tags = tags_of(step, &request.user_id, &request.room_id)?;
    if tags.remove(&request.tag).is_some() {
        put_tags(step, (&request.user_id, &request.room_id), tags)?;
    }
    Ok(delete_tag::v3::Response::new())
}
