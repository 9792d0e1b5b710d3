//! Who is, was or may come into a room.

use std::collections::BTreeMap;

use ruma::api::client::membership::{
    get_member_events::v3 as get_members,
    joined_members::v3::{self as get_joined, RoomMember},
};
use serde::Deserialize;

use crate::server::model::{
    refusal::{Refusal, Stop},
    rooms::{RoomEvent, Visit, joined_members, state_at},
    route::{Context, Routes},
    step::Step,
    token::page_number,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(members);
    routes.add(joined);
}

#[derive(Default, Deserialize)]
struct Member {
    #[serde(default)]
    membership: String,
    displayname: Option<String>,
    avatar_url: Option<String>,
}

fn member(event: &RoomEvent) -> Member {
    event.content().unwrap_or_default()
}

fn members(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_members::Request,
) -> Result<get_members::Response, Stop> {
    let visit = Visit::of_reader(step, context.caller()?, request.room_id)?;
    let mut events = match &request.at {
        Some(token) => {
            let at = page_number(token)?.min(visit.end());
            if !visit.sight.sees_number(at) {
                let error = "you may not see the room as it was then";
                return Err(Refusal::forbidden(error).into());
            }
            state_at(step, &visit.room, at)?
        }
        None => visit.state(step)?,
    };
    events.retain(|event| {
        let is = |wanted: &str| member(event).membership == wanted;
        event.kind() == "m.room.member"
            && request.membership.as_ref().is_none_or(|wanted| is(wanted.as_str()))
            && request.not_membership.as_ref().is_none_or(|other| !is(other.as_str()))
    });
    Ok(get_members::Response::new(visit.show_all(step, &events)?))
}

fn joined(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_joined::Request,
) -> Result<get_joined::Response, Stop> {
    let visit = Visit::of_member(step, context.caller()?, request.room_id)?;
    let mut members = BTreeMap::new();
    for user in joined_members(step, &visit.room)? {
        let event = visit.state_event(step, "m.room.member", user.as_str())?;
        let Member { displayname, avatar_url, .. } = event.as_ref().map(member).unwrap_or_default();
        let mut member = RoomMember::new();
        member.display_name = displayname;
        member.avatar_url = avatar_url.map(Into::into);
        members.insert(user, member);
    }
    Ok(get_joined::Response::new(members))
}
