//! The names of rooms: make, look up, take away, list.

use ruma::{
    OwnedServerName,
    api::client::{
        alias::{create_alias, delete_alias, get_alias},
        room::aliases as list_aliases,
    },
};

use crate::server::model::{
    refusal::{Refusal, Stop},
    rooms::{Visit, aliases},
    route::{Context, Routes},
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(create);
    routes.add(get);
    routes.add(delete);
    routes.add(list);
}

fn create(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: create_alias::v3::Request,
) -> Result<create_alias::v3::Response, Stop> {
    aliases::add(step, &request.room_alias, &request.room_id, &context.caller()?.user)?;
    Ok(create_alias::v3::Response::new())
}

fn get(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: get_alias::v3::Request,
) -> Result<get_alias::v3::Response, Stop> {
    let room = aliases::find(step, &request.room_alias)?;
    let server = OwnedServerName::try_from(step.settings.name.as_str())
        .map_err(|error| Refusal::new(500, "M_UNKNOWN", error.to_string()))?;
    Ok(get_alias::v3::Response::new(room, vec![server]))
}

fn delete(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: delete_alias::v3::Request,
) -> Result<delete_alias::v3::Response, Stop> {
    aliases::remove(step, &request.room_alias, &context.caller()?.user)?;
    Ok(delete_alias::v3::Response::new())
}

fn list(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: list_aliases::v3::Request,
) -> Result<list_aliases::v3::Response, Stop> {
    let visit = Visit::of_reader(step, context.caller()?, request.room_id)?;
    if !visit.sight.is_joined() && !visit.sight.is_world_readable() {
        return Err(Refusal::forbidden("you are not in this room").into());
    }
    Ok(list_aliases::v3::Response::new(aliases::of_room(step, &visit.room)?))
}
