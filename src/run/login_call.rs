//! The calls that log in, and the one that ends a login that came to nothing.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    caller::{CallError, Caller, wiped},
    login_register::register,
};
use crate::{
    engine::{Tokens, driver::Clock, renew_at},
    link::Route,
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    secret::Secret,
    store::Lease,
};

/// Who logs in.
#[derive(Debug)]
pub(super) struct Credentials {
    /// User id, or the name before the colon.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
    /// What the device is to be called.
    pub device: NewDevice,
    /// Make the account first.
    pub registration: Option<Registration>,
}

/// The device of a login.
#[derive(Clone, Debug)]
pub(super) struct NewDevice {
    /// What others see as its name.
    pub name: String,
    /// Its id, where the login goes on with a device that exists.
    pub id: Option<OwnedDeviceId>,
}

/// An account that is to be made.
#[derive(Debug)]
pub(super) struct Registration {
    /// What lets its user in where not everybody may register.
    pub invite: Option<Secret<String>>,
}

/// A new login.
#[derive(Debug)]
pub(super) struct LoggedIn {
    /// The user.
    pub user_id: OwnedUserId,
    /// The new device.
    pub device_id: OwnedDeviceId,
    /// Its token.
    pub access_token: Secret<String>,
    /// How long that lives, and what renews it.
    pub lease: Lease,
    /// The password that was given for it, should the server want it once more.
    pub password: Option<Secret<String>>,
}

/// Logs in with a password, or makes an account with it.
///
/// # Errors
/// When the server cannot be reached, offers no password login, or refuses.
///
/// # Spec
/// Client-Server API, "Login".
pub(super) async fn log_in(
    route: &Route,
    credentials: &Credentials,
) -> Result<LoggedIn, CallError> {
    let mut caller = Caller::connect(route, None).await?;
    if let Some(registration) = &credentials.registration {
        let answer = register(&mut caller, credentials, registration).await;
        caller.close().await;
        return logged_in(&answer?);
    }
    let body = password_login(credentials)?;
    let answer = caller.call("POST", LOGIN, Some(&body)).await;
    caller.close().await;
    logged_in(&answer?)
}

/// Logs in with the token of a single sign-on, or one that another client of the user made.
///
/// # Errors
/// When the server cannot be reached or refuses.
///
/// # Spec
/// Client-Server API, "Client login via SSO".
pub(super) async fn log_in_by_token(
    route: &Route,
    token: &Secret<String>,
    device: &NewDevice,
) -> Result<LoggedIn, CallError> {
    let mut caller = Caller::connect(route, None).await?;
    let body = LoginBody { token: Some(token.expose()), ..LoginBody::new("m.login.token", device) };
    let body = wiped(&body, token.expose().len() + device.name.len())?;
    let answer = caller.call("POST", LOGIN, Some(&body)).await;
    caller.close().await;
    logged_in(&answer?)
}

/// Who an access token belongs to.
///
/// # Errors
/// When the server cannot be reached, or does not know the token.
pub(super) async fn who_am_i(
    route: &Route,
    tokens: &Tokens,
    lease: Lease,
) -> Result<LoggedIn, CallError> {
    let mut caller = Caller::connect(route, Some(&tokens.access_token)).await?;
    let answer = caller.call("GET", "/_matrix/client/v3/account/whoami", None).await;
    caller.close().await;
    let answer = answer?;
    let text = |field| answer.get(field).and_then(Value::as_str).ok_or(CallError::Malformed(field));
    Ok(LoggedIn {
        user_id: user_id(text("user_id")?)?,
        device_id: text("device_id")?.into(),
        access_token: tokens.access_token.clone(),
        lease,
        password: None,
    })
}

const LOGIN: &str = "/_matrix/client/v3/login";

/// What a login or a registration answers.
fn logged_in(answer: &Value) -> Result<LoggedIn, CallError> {
    let text = |field| answer.get(field).and_then(Value::as_str).ok_or(CallError::Malformed(field));
    let user_id = user_id(text("user_id")?)?;
    let Tokens { access_token, refresh_token, expires_in } = tokens(answer)?;
    let renew_at = renew_at(Clock::start().now(), expires_in);
    let lease = Lease { refresh_token, renew_at, ..Lease::default() };
    Ok(LoggedIn {
        user_id,
        device_id: text("device_id")?.into(),
        access_token,
        lease,
        password: None,
    })
}

fn user_id(text: &str) -> Result<OwnedUserId, CallError> {
    UserId::parse(text).map_err(|_invalid| CallError::Malformed("user_id"))
}

/// The tokens in an answer of the homeserver.
///
/// # Errors
/// When there are none.
pub(super) fn tokens(answer: &Value) -> Result<Tokens, CallError> {
    let secret = |field| {
        let text = answer.get(field).and_then(Value::as_str);
        text.map(|text| Secret::new(text.to_owned()))
    };
    Ok(Tokens {
        access_token: secret("access_token").ok_or(CallError::Malformed("access_token"))?,
        refresh_token: secret("refresh_token"),
        expires_in: answer.get("expires_in_ms").and_then(Value::as_u64).map(Duration::from_millis),
    })
}

/// The body of a login. The server is told that its access token may expire.
#[derive(Serialize)]
struct LoginBody<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    initial_device_display_name: &'a str,
    refresh_token: bool,
}

impl<'a> LoginBody<'a> {
    fn new(kind: &'static str, device: &'a NewDevice) -> Self {
        Self {
            r#type: kind,
            identifier: None,
            password: None,
            token: None,
            device_id: device.id.as_deref().map(DeviceId::as_str),
            initial_device_display_name: &device.name,
            refresh_token: true,
        }
    }
}

/// The body of a login with a password, in memory that is wiped.
fn password_login(credentials: &Credentials) -> Result<Zeroizing<String>, serde_json::Error> {
    let Credentials { user, password, device, .. } = credentials;
    let body = LoginBody {
        identifier: Some(json!({"type": "m.id.user", "user": user})),
        password: Some(password.expose()),
        ..LoginBody::new("m.login.password", device)
    };
    wiped(&body, password.expose().len() + device.name.len() + user.len())
}

/// Ends a login on the server.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) async fn log_out(route: &Route, token: &Secret<String>) -> Result<(), CallError> {
    let mut caller = Caller::connect(route, Some(token)).await?;
    let answer = caller.call("POST", "/_matrix/client/v3/logout", Some("{}")).await;
    caller.close().await;
    answer.map(drop)
}
