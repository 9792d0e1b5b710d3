//! Making an account.

use ruma::api::client::account::{
    check_registration_token_validity as token_validity, get_username_availability as availability,
    register,
};
use serde_json::Value;

use super::login::new_device;
use crate::{
    secret::Secret,
    server::model::{
        accounts::{devices, invites, users},
        body::Loose,
        rate::Limited,
        refusal::{Done, Refusal, Stop, Work},
        route::{Context, Routes},
        settings::Registration,
        step::Step,
        uia::{self, Operation},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(register);
    routes.add(is_available);
    routes.add(is_token_valid);
}

/// The body is read loosely for its `auth`, see [`uia`].
fn register(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<register::v3::Request>,
) -> Result<register::v3::Response, Stop> {
    let body = &request.body;
    match request.query("kind").as_deref() {
        None | Some("user") => {}
        Some("guest") => return Err(Refusal::forbidden("there are no guests here").into()),
        Some(_) => {
            let text = "unknown kind of account";
            return Err(Refusal::new(400, "M_UNRECOGNIZED", text).into());
        }
    }
    let device = new_device(body)?;
    let name = match body.get("username") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.chars().count() <= 512 => Some(name.as_str()),
        Some(_) => return Err(Refusal::new(400, "M_UNKNOWN", "this is no user name").into()),
    };
    let password = match body.get("password") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() <= users::MAX_PASSWORD => Some(text),
        Some(_) => return Err(Refusal::new(400, "M_UNKNOWN", "this is no password").into()),
    };
    let user = name.map(|name| users::available(step, name)).transpose()?;
    let operation = Operation { name: "POST register", auth: body.get("auth") };
    let proven = uia::registering(step, context, operation)?;
    let password = password.ok_or_else(|| Refusal::missing("there is no password"))?;
    let Some(Done::Hash(hash)) = context.done else {
        step.limit(Limited::Register, context.address)?;
        return Err(Stop::Work(Work::Hash { password: Secret::new(password.clone()) }));
    };
    if let Some(invite) = &proven.invite {
        if !invites::is_valid(step, invite)? {
            return Err(Refusal::new(401, "M_UNAUTHORIZED", "the invitation is used up").into());
        }
        invites::consume(step, invite);
    }
    let user = if let Some(user) = user {
        user
    } else {
        let name = step.random_name(16);
        users::available(step, &name)?
    };
    users::create(step, &user, Some(hash.clone()))?;
    proven.finish(step);
    let mut response = register::v3::Response::new(user.clone());
    if body.get("inhibit_login") != Some(&Value::Bool(true)) {
        let (device, tokens) = devices::log_in(step, &user, device)?;
        response.access_token = Some(tokens.access.expose().clone());
        response.device_id = Some(device);
        response.refresh_token = tokens.refresh.map(|token| token.expose().clone());
        response.expires_in = tokens.expires_in;
    }
    Ok(response)
}

fn is_available(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: availability::v3::Request,
) -> Result<availability::v3::Response, Stop> {
    users::available(step, &request.username)?;
    Ok(availability::v3::Response::new(true))
}

fn is_token_valid(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: token_validity::v1::Request,
) -> Result<token_validity::v1::Response, Stop> {
    let is_valid = match step.settings.registration {
        Registration::ByInvite => invites::is_valid(step, &request.token)?,
        Registration::Open => false,
    };
    Ok(token_validity::v1::Response::new(is_valid))
}
