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
        accounts::{
            devices::{self, NewDevice},
            invites, users,
        },
        body::{Given, Loose},
        rate::Limited,
        refusal::{Done, Refusal, Stop, Work},
        route::{Context, Routes},
        settings::Registration,
        step::Step,
        uia::{self, Operation},
    },
};

/// Longest name, in characters, that is looked at.
const MAX_NAME: usize = 512;

pub(super) fn add(routes: &mut Routes) {
    routes.add(register);
    routes.add(is_available);
    routes.add(is_token_valid);
}

/// What an account is to be.
struct Wish<'a> {
    /// Without one, a name is found.
    name: Option<&'a str>,
    password: Option<&'a str>,
    device: NewDevice,
}

impl<'a> Wish<'a> {
    fn read(request: &'a Given) -> Result<Self, Refusal> {
        match request.query("kind").as_deref() {
            None | Some("user") => {}
            Some("guest") => return Err(Refusal::forbidden("there are no guests here")),
            Some(_) => return Err(Refusal::new(400, "M_UNRECOGNIZED", "unknown kind of account")),
        }
        let body = &request.body;
        let device = new_device(body)?;
        let text = |field: &str, longest: usize, wrong: &str| match body.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= longest => Ok(Some(text.as_str())),
            Some(_) => Err(Refusal::new(400, "M_UNKNOWN", wrong)),
        };
        Ok(Self {
            name: text("username", MAX_NAME, "this is no user name")?,
            password: text("password", users::MAX_PASSWORD, "this is no password")?,
            device,
        })
    }
}

/// The body is read loosely for its `auth`, see [`uia`].
fn register(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<register::v3::Request>,
) -> Result<register::v3::Response, Stop> {
    let wish = Wish::read(&request)?;
    let user = wish.name.map(|name| users::available(step, name)).transpose()?;
    let operation = Operation { name: "POST register", auth: request.body.get("auth") };
    let proven = uia::registering(step, context, operation)?;
    let password = wish.password.ok_or_else(|| Refusal::missing("there is no password"))?;
    let Some(Done::Hash(hash)) = context.done else {
        step.limit(Limited::Register, context.address)?;
        return Err(Stop::Work(Work::Hash { password: Secret::new(password.to_owned()) }));
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
    if request.body.get("inhibit_login") != Some(&Value::Bool(true)) {
        let (device, tokens) = devices::log_in(step, &user, wish.device)?;
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
