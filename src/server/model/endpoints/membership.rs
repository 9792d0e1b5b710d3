//! Who is in a room: join, invite, knock, leave, kick, ban.

use ruma::api::client::{
    knock::knock_room,
    membership::{
        ban_user, forget_room, invite_user, join_room_by_id, join_room_by_id_or_alias,
        joined_rooms, kick_user, leave_room, unban_user,
    },
};
use serde::Deserialize;

use crate::{
    matrix::OwnedRoomId,
    server::model::{
        body::{Given, Loose},
        rate::Limited,
        records::MEMBERSHIPS,
        refusal::{Refusal, Stop},
        rooms::{self, Action, MemberChange, aliases, membership_of},
        route::{Context, Routes},
        step::Step,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(join);
    routes.add(join_by_name);
    routes.add(knock);
    routes.add(forget);
    routes.add(invite);
    routes.add(leave);
    routes.add(kick);
    routes.add(ban);
    routes.add(unban);
    routes.add(joined_rooms);
}

fn join(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: join_room_by_id::v3::Request,
) -> Result<join_room_by_id::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let what = (&**user, Action::Join, &**user);
    change(step, MemberChange::new(request.room_id.clone(), what, request.reason))?;
    Ok(join_room_by_id::v3::Response::new(request.room_id))
}

/// Makes a change, unless its sender makes too many.
fn change(step: &mut Step<'_>, change: MemberChange) -> Result<(), Refusal> {
    step.limit(Limited::Send, change.sender.as_str())?;
    change.apply(step)?;
    Ok(())
}

#[derive(Deserialize)]
struct WithReason {
    reason: Option<String>,
}

/// By hand, as ruma's type wants a body.
fn join_by_name(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<join_room_by_id_or_alias::v3::Request>,
) -> Result<join_room_by_id_or_alias::v3::Response, Stop> {
    let room = enter(step, context, Action::Join, &request)?;
    Ok(join_room_by_id_or_alias::v3::Response::new(room))
}

/// By hand, as ruma's type wants a body.
fn knock(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<knock_room::v3::Request>,
) -> Result<knock_room::v3::Response, Stop> {
    let room = enter(step, context, Action::Knock, &request)?;
    Ok(knock_room::v3::Response::new(room))
}

fn enter(
    step: &mut Step<'_>,
    context: &Context<'_>,
    action: Action,
    request: &Given,
) -> Result<OwnedRoomId, Refusal> {
    let user = &context.caller()?.user;
    let room = aliases::room_of(step, request.argument(0))?;
    let WithReason { reason } = request.read()?;
    change(step, MemberChange::new(room.clone(), (user, action, user), reason))?;
    Ok(room)
}

fn forget(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: forget_room::v3::Request,
) -> Result<forget_room::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let membership = membership_of(step, &request.room_id, user)?;
    if !matches!(membership.as_deref(), None | Some("leave" | "ban")) {
        return Err(Refusal::new(400, "M_UNKNOWN", "you are in this room").into());
    }
    step.delete(MEMBERSHIPS, (user, &request.room_id));
    Ok(forget_room::v3::Response::new())
}

fn invite(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: invite_user::v3::Request,
) -> Result<invite_user::v3::Response, Stop> {
    let invite_user::v3::InvitationRecipient::UserId(invited) = request.recipient else {
        let error = "there is no identity server here";
        return Err(Refusal::new(400, "M_THREEPID_DENIED", error).into());
    };
    let what = (&*context.caller()?.user, Action::Invite, &*invited.user_id);
    change(step, MemberChange::new(request.room_id, what, invited.reason))?;
    Ok(invite_user::v3::Response::new())
}

fn leave(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: leave_room::v3::Request,
) -> Result<leave_room::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let what = (&**user, Action::Leave, &**user);
    // Never too often: nobody is to be kept.
    MemberChange::new(request.room_id, what, request.reason).apply(step)?;
    Ok(leave_room::v3::Response::new())
}

fn kick(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: kick_user::v3::Request,
) -> Result<kick_user::v3::Response, Stop> {
    let what = (&*context.caller()?.user, Action::Kick, &*request.user_id);
    change(step, MemberChange::new(request.room_id, what, request.reason))?;
    Ok(kick_user::v3::Response::new())
}

fn ban(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: ban_user::v3::Request,
) -> Result<ban_user::v3::Response, Stop> {
    let what = (&*context.caller()?.user, Action::Ban, &*request.user_id);
    change(step, MemberChange::new(request.room_id, what, request.reason))?;
    Ok(ban_user::v3::Response::new())
}

fn unban(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: unban_user::v3::Request,
) -> Result<unban_user::v3::Response, Stop> {
    let what = (&*context.caller()?.user, Action::Unban, &*request.user_id);
    change(step, MemberChange::new(request.room_id, what, request.reason))?;
    Ok(unban_user::v3::Response::new())
}

fn joined_rooms(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: joined_rooms::v3::Request,
) -> Result<joined_rooms::v3::Response, Stop> {
    let user = &context.caller()?.user;
    Ok(joined_rooms::v3::Response::new(rooms::joined_rooms(step, user)?))
}
