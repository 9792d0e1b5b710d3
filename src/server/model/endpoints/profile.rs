//! Profiles.

use ruma::api::client::profile::{
    delete_profile_field, get_profile, get_profile_field, set_profile_field,
};
use serde_json::{Value, json};

use crate::{
    matrix::{OwnedUserId, UserId},
    server::model::{
        body::{LooseResponse, Plain},
        profile,
        rate::Limited,
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        step::Step,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(whole);
    routes.add(field);
    routes.add(set);
    routes.add(remove);
}

fn user(text: &str) -> Result<OwnedUserId, Refusal> {
    UserId::parse(text).map_err(|_error| Refusal::invalid("this is no user id"))
}

fn unknown() -> Refusal {
    Refusal::not_found("there is no such profile")
}

/// Loose, so that any field comes back as it went in.
fn whole(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: Plain<get_profile::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let profile = profile::of(step, &user(request.argument(0))?)?;
    Ok(LooseResponse(Value::Object(profile.ok_or_else(unknown)?)))
}

/// Loose for the same reason. A name or picture that was never set is no error, other fields are.
fn field(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: Plain<get_profile_field::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let name = request.argument(1);
    let user = user(request.argument(0))?;
    profile::check_field(name)?;
    let profile = profile::of(step, &user)?.ok_or_else(unknown)?;
    match profile.get(name) {
        Some(value) => Ok(LooseResponse(json!({ name: value }))),
        None if profile::is_in_rooms(name) => Ok(LooseResponse(json!({}))),
        None => Err(Refusal::not_found("the profile has no such field").into()),
    }
}

fn check_own(context: &Context<'_>, user: &str) -> Result<(), Refusal> {
    let user = self::user(user)?;
    if context.caller()?.user != user {
        return Err(Refusal::forbidden("this is another user's profile"));
    }
    Ok(())
}

/// Loose for the same reason.
fn set(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<set_profile_field::v3::Request>,
) -> Result<LooseResponse, Stop> {
    check_own(context, request.argument(0))?;
    let name = request.argument(1);
    profile::check_field(name)?;
    let value = request.body.get(name).cloned();
    let value = value.ok_or_else(|| Refusal::missing(format!("there is no {name}")))?;
    step.limit(Limited::Send, context.caller()?.user.as_str())?;
    profile::set(step, &context.caller()?.user, (name, Some(value)))?;
    Ok(LooseResponse(json!({})))
}

/// Loose for the same reason.
fn remove(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<delete_profile_field::v3::Request>,
) -> Result<LooseResponse, Stop> {
    check_own(context, request.argument(0))?;
    let name = request.argument(1);
    profile::check_field(name)?;
    step.limit(Limited::Send, context.caller()?.user.as_str())?;
    profile::set(step, &context.caller()?.user, (name, None))?;
    Ok(LooseResponse(json!({})))
}
