//! Who is in a room: join, invite, knock, leave, kick, ban.

use ruma::api::client::membership::{
    ban_user, invite_user, join_room_by_id, joined_rooms, kick_user, leave_room, unban_user,
};

use crate::{
    matrix::OwnedRoomId,
    server::model::{
        records::MEMBERSHIPS,
        refusal::{Refusal, Stop},
        rooms::{Action, MemberChange},
        route::{Context, Routes},
        step::Step,
        table::Broken,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(join);
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
    MemberChange::new(request.room_id.clone(), what, request.reason).apply(step)?;
    Ok(join_room_by_id::v3::Response::new(request.room_id))
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
    MemberChange::new(request.room_id, what, invited.reason).apply(step)?;
    Ok(invite_user::v3::Response::new())
}

fn leave(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: leave_room::v3::Request,
) -> Result<leave_room::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let what = (&**user, Action::Leave, &**user);
    MemberChange::new(request.room_id, what, request.reason).apply(step)?;
    Ok(leave_room::v3::Response::new())
}

fn kick(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: kick_user::v3::Request,
) -> Result<kick_user::v3::Response, Stop> {
    let what = (&*context.caller()?.user, Action::Kick, &*request.user_id);
    MemberChange::new(request.room_id, what, request.reason).apply(step)?;
    Ok(kick_user::v3::Response::new())
}

fn ban(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: ban_user::v3::Request,
) -> Result<ban_user::v3::Response, Stop> {
    let what = (&*context.caller()?.user, Action::Ban, &*request.user_id);
    MemberChange::new(request.room_id, what, request.reason).apply(step)?;
    Ok(ban_user::v3::Response::new())
}

fn unban(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: unban_user::v3::Request,
) -> Result<unban_user::v3::Response, Stop> {
    let what = (&*context.caller()?.user, Action::Unban, &*request.user_id);
    MemberChange::new(request.room_id, what, request.reason).apply(step)?;
    Ok(unban_user::v3::Response::new())
}

fn joined_rooms(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: joined_rooms::v3::Request,
) -> Result<joined_rooms::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let mut rooms = Vec::new();
    for (mut key, record) in step.scan(MEMBERSHIPS, (user,))? {
        if record.membership == "join" {
            key.text()?;
            let room = OwnedRoomId::try_from(key.text()?);
            rooms.push(room.map_err(|error| Broken(error.to_string()))?);
        }
    }
    Ok(joined_rooms::v3::Response::new(rooms))
}
