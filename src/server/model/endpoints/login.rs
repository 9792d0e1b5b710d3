//! Logging in and out.

use ruma::api::client::session::{
    get_login_token, get_login_types, login, logout, logout_all, refresh_token,
};
use serde_json::Value;

use crate::{
    matrix::OwnedUserId,
    secret::Secret,
    server::model::{
        accounts::{
            devices::{self, NewDevice},
            tokens::{self, LOGIN_TOKEN_FOR, Refreshing},
            users,
        },
        body::Loose,
        rate::Limited,
        refusal::{Done, Refusal, Stop, Work},
        route::{Context, Routes},
        step::Step,
        uia::{self, Operation},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(flows);
    routes.add(log_in);
    routes.add(refresh);
    routes.add(login_token);
    routes.add(log_out);
    routes.add(log_out_everywhere);
}

#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn flows(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: get_login_types::v3::Request,
) -> Result<get_login_types::v3::Response, Stop> {
    use get_login_types::v3::{LoginType, PasswordLoginType, TokenLoginType};
    let mut token = TokenLoginType::new();
    token.get_login_token = true;
    let password = LoginType::Password(PasswordLoginType::new());
    Ok(get_login_types::v3::Response::new(vec![password, LoginType::Token(token)]))
}

/// The body is read loosely: ruma's type refuses a missing `type` and odd identifiers with other
/// codes than the rest of the world.
fn log_in(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<login::v3::Request>,
) -> Result<login::v3::Response, Stop> {
    let device = new_device(&request.body)?;
    let user = match request.body.get("type").and_then(Value::as_str) {
        Some("m.login.password") => by_password(step, context, &request)?,
        Some("m.login.token") => by_token(step, context, &request)?,
        Some(_) => {
            users::named(&request.body)?;
            return Err(unknown("unknown kind of login").into());
        }
        None => return Err(unknown("the login has no type").into()),
    };
    let (device, tokens) = devices::log_in(step, &user, device)?;
    let access = tokens.access.expose().clone();
    let mut response = login::v3::Response::new(user, access, device);
    response.refresh_token = tokens.refresh.map(|token| token.expose().clone());
    response.expires_in = tokens.expires_in;
    response.well_known = step
        .settings
        .public_url
        .clone()
        .map(|url| login::v3::DiscoveryInfo::new(login::v3::HomeserverInfo::new(url)));
    Ok(response)
}

fn unknown(text: &str) -> Refusal {
    Refusal::new(400, "M_UNKNOWN", text)
}

/// What a login or a registration says about its device.
pub(super) fn new_device(body: &serde_json::Map<String, Value>) -> Result<NewDevice, Refusal> {
    let text = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::bad_json(format!("{name} is not a text"))),
    };
    let refreshing = match body.get("refresh_token") {
        None | Some(Value::Bool(false)) => Refreshing::No,
        Some(Value::Bool(true)) => Refreshing::Yes,
        Some(_) => return Err(unknown("refresh_token is neither true nor false")),
    };
    Ok(NewDevice {
        id: text("device_id")?.map(Into::into),
        name: text("initial_device_display_name")?,
        refreshing,
    })
}

fn by_password(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: &Loose<login::v3::Request>,
) -> Result<OwnedUserId, Stop> {
    let wrong = || Refusal::forbidden("wrong user name or password");
    let password = request
        .body
        .get("password")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("the password is not a text"))?;
    let name = users::named(&request.body)?;
    let found = users::find(step, &name)?;
    match context.done {
        None => {
            step.limit(Limited::LoginFrom, context.address)?;
            let who =
                found.as_ref().map_or_else(|| name.to_lowercase(), |(user, _)| user.to_string());
            step.limit(Limited::Login, &who.chars().take(255).collect::<String>())?;
            if users::MAX_PASSWORD < password.chars().count() {
                return Err(wrong().into());
            }
            // Somebody unknown costs as much time as a wrong password.
            let hash = users::hash_of(found.as_ref().map(|(_, record)| record));
            Err(Stop::Work(Work::Verify { password: Secret::new(password.to_owned()), hash }))
        }
        Some(Done::Verified(true)) => match found {
            Some((user, record)) if !record.is_deactivated => Ok(user),
            _ => Err(wrong().into()),
        },
        Some(Done::Verified(false) | Done::Hash(_)) => Err(wrong().into()),
    }
}

fn by_token(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: &Loose<login::v3::Request>,
) -> Result<OwnedUserId, Stop> {
    let token = request
        .body
        .get("token")
        .and_then(Value::as_str)
        .ok_or_else(|| unknown("the token is not a text"))?;
    step.limit(Limited::Login, context.address)?;
    let user = tokens::take_login_token(step, token)?;
    match users::find(step, user.as_str())? {
        Some((user, record)) if !record.is_deactivated => Ok(user),
        _ => Err(Refusal::forbidden("the account is no longer there").into()),
    }
}

fn refresh(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: refresh_token::v3::Request,
) -> Result<refresh_token::v3::Response, Stop> {
    let tokens = tokens::refresh(step, &request.refresh_token)?;
    let mut response = refresh_token::v3::Response::new(tokens.access.expose().clone());
    response.refresh_token = tokens.refresh.map(|token| token.expose().clone());
    response.expires_in_ms = tokens.expires_in;
    Ok(response)
}

/// Loosely read for its `auth`, see [`uia`].
fn login_token(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<get_login_token::v1::Request>,
) -> Result<get_login_token::v1::Response, Stop> {
    let operation = Operation { name: "POST login/get_token", auth: request.body.get("auth") };
    let proven = uia::password(step, context, operation)?;
    let token = tokens::issue_login_token(step, &context.caller()?.user);
    proven.finish(step);
    Ok(get_login_token::v1::Response::new(LOGIN_TOKEN_FOR, token.expose().clone()))
}

fn log_out(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: logout::v3::Request,
) -> Result<logout::v3::Response, Stop> {
    let caller = context.caller()?;
    devices::delete(step, &caller.user, &caller.device)?;
    Ok(logout::v3::Response::new())
}

fn log_out_everywhere(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: logout_all::v3::Request,
) -> Result<logout_all::v3::Response, Stop> {
    let caller = context.caller()?;
    for (device, _) in devices::of(step, &caller.user)? {
        devices::delete(step, &caller.user, &device)?;
    }
    Ok(logout_all::v3::Response::new())
}
