//! The few calls of the homeserver that are made without an engine: to log in, and to end a login
//! that came to nothing. They go over the stream, as everything does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use zeroize::{Zeroize as _, Zeroizing};

use super::failure::Failure;
use crate::{
    cli::Exit,
    engine::{RenewError, Tokens, driver::Clock, renew_at},
    link::{DialError, Route, Transport, TransportError},
    matrix::{DeviceId, MatrixError, OwnedDeviceId, OwnedUserId, UserId},
    secret::Secret,
    store::{Lease, Standing},
    wire::{ClientFrame, RequestFrame, ResponseFrame, ServerFrame},
};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There is no connection.
    #[error("the homeserver's stream cannot be reached")]
    Dial(#[from] DialError),
    /// The connection broke.
    #[error("the connection to the homeserver broke")]
    Transport(#[from] TransportError),
    /// The stream said no.
    #[error("the stream refused: {errcode}: {error}")]
    Stream {
        /// Its code.
        errcode: String,
        /// Its words; untrusted.
        error: String,
    },
    /// The homeserver said no.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// The answer is not what the specification says.
    #[error("the homeserver's answer has no {0}")]
    Malformed(&'static str),
    /// It wants proofs for a new account that only its own page takes.
    #[error("the homeserver makes no account with an invitation alone: register on its own page")]
    Stages,
    /// It wants an invitation.
    #[error("the homeserver takes new accounts by invitation only: give one with --invite-file")]
    NoInvite,
    /// A body could not be written as JSON.
    #[error("the request cannot be written")]
    Request(#[from] serde_json::Error),
}

impl CallError {
    /// Whether the server was not reached, or not able to answer.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Transport(_) => true,
            Self::Matrix(error) => error.is_retryable(),
            Self::Stream { .. }
            | Self::Malformed(_)
            | Self::Stages
            | Self::NoInvite
            | Self::Request(_) => false,
        }
    }
}

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

/// Asks the homeserver for new tokens.
///
/// # Errors
/// When the server cannot be reached, or does not renew them.
///
/// # Spec
/// Client-Server API, "Refreshing access tokens".
pub(super) async fn refresh(
    route: &Route,
    refresh_token: &Secret<String>,
) -> Result<Tokens, RenewError> {
    #[derive(Serialize)]
    struct Body<'a> {
        refresh_token: &'a str,
    }
    let later = |error: CallError| RenewError::Later(Failure::new(Exit::Failed, error).words());
    let body = Body { refresh_token: refresh_token.expose() };
    let body = wiped(&body, refresh_token.expose().len()).map_err(|error| later(error.into()))?;
    // Without a token: the present one may have expired, and is not asked for.
    let mut caller = Caller::connect(route, None).await.map_err(later)?;
    let answer = caller.ask("POST", "/_matrix/client/v3/refresh", Some(&body)).await;
    caller.close().await;
    let answer = answer.map_err(later)?;
    let body = answer.body.get();
    if !(200..300).contains(&answer.status) {
        return Err(not_renewed(answer.status, body));
    }
    let answer: Value = serde_json::from_str(body).map_err(|error| later(error.into()))?;
    tokens(&answer).map_err(later)
}

/// Only what speaks of the refresh token ends a login: a gateway or proxy on the way may refuse for
/// reasons of its own.
fn not_renewed(status: u16, body: &str) -> RenewError {
    let error = MatrixError::parse(status, body.as_bytes());
    let words = error.to_string();
    if !["M_UNKNOWN_TOKEN", "M_FORBIDDEN", "M_USER_DEACTIVATED"].contains(&error.errcode.as_str()) {
        return RenewError::Later(words);
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match body.get("soft_logout").and_then(Value::as_bool) {
        Some(true) => RenewError::Refused(Standing::Expired, words),
        Some(false) | None => RenewError::Refused(Standing::Ended, words),
    }
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
fn tokens(answer: &Value) -> Result<Tokens, CallError> {
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

/// Makes an account, proving what the server asks for as far as an invitation does.
///
/// # Spec
/// Client-Server API, "Account registration" and "User-interactive authentication".
async fn register(
    caller: &mut Caller,
    credentials: &Credentials,
    registration: &Registration,
) -> Result<Value, CallError> {
    let mut proof: Option<Value> = None;
    // Each round trip proves one stage; no flow that we can do has more than two.
    for _ in 0..4 {
        let body = new_account(credentials, proof.as_ref())?;
        let answer = caller.ask("POST", "/_matrix/client/v3/register", Some(&body)).await?;
        let open: Stages = match answer.status {
            200..300 => return Ok(serde_json::from_str(answer.body.get())?),
            401 => serde_json::from_str(answer.body.get())?,
            status => return Err(MatrixError::parse(status, answer.body.get().as_bytes()).into()),
        };
        if let Some(errcode) = open.errcode {
            let error = json!({"errcode": errcode, "error": open.error}).to_string();
            return Err(MatrixError::parse(401, error.as_bytes()).into());
        }
        let next = open.next().ok_or(CallError::Stages)?;
        proof = Some(match &registration.invite {
            Some(invite) if next == TOKEN_STAGE => {
                json!({"type": next, "session": open.session, "token": invite.expose()})
            }
            None if next == TOKEN_STAGE => return Err(CallError::NoInvite),
            Some(_) | None => json!({"type": next, "session": open.session}),
        });
    }
    Err(CallError::Stages)
}

/// The stage that takes an invitation.
const TOKEN_STAGE: &str = "m.login.registration_token";
/// The stages that we can do.
const STAGES: &[&str] = &[TOKEN_STAGE, "m.login.dummy"];

/// What a server still wants proved.
#[derive(Deserialize)]
struct Stages {
    #[serde(default)]
    flows: Vec<Flow>,
    #[serde(default)]
    completed: Vec<String>,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    errcode: Option<String>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Flow {
    #[serde(default)]
    stages: Vec<String>,
}

impl Stages {
    /// The next stage of the first flow that we can do.
    fn next(&self) -> Option<&str> {
        let flow = self
            .flows
            .iter()
            .find(|flow| flow.stages.iter().all(|stage| STAGES.contains(&stage.as_str())))?;
        let is_open = |stage: &&String| !self.completed.contains(stage);
        flow.stages.iter().find(is_open).map(String::as_str)
    }
}

/// The body of a registration, in memory that is wiped.
fn new_account(
    credentials: &Credentials,
    proof: Option<&Value>,
) -> Result<Zeroizing<String>, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        username: &'a str,
        password: &'a str,
        initial_device_display_name: &'a str,
        refresh_token: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<&'a Value>,
    }
    let name = credentials.user.trim_start_matches('@').split(':').next().unwrap_or_default();
    let body = Body {
        username: name,
        password: credentials.password.expose(),
        initial_device_display_name: &credentials.device.name,
        refresh_token: true,
        auth: proof,
    };
    let proof_bytes = proof.map_or(0, |proof| proof.to_string().len());
    wiped(&body, name.len() + credentials.password.expose().len() + proof_bytes)
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

/// A body as JSON, in memory that is wiped; `typed` is the length of what people typed.
fn wiped(body: &impl Serialize, typed: usize) -> Result<Zeroizing<String>, serde_json::Error> {
    // Every byte may become six; a text that grew would leave its beginning behind.
    let mut text = Zeroizing::new(Vec::with_capacity(6 * typed + 512));
    serde_json::to_writer(&mut *text, body)?;
    match String::from_utf8(std::mem::take(&mut *text)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => Err(serde::ser::Error::custom(error.utf8_error())),
    }
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

/// A connection for a few calls, one after the other.
pub(super) struct Caller {
    transport: Transport,
    last: u64,
}

impl Caller {
    /// Connects; without a token it may only make calls that need none.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(super) async fn connect(
        route: &Route,
        token: Option<&Secret<String>>,
    ) -> Result<Self, CallError> {
        Ok(Self { transport: Transport::connect(route, token).await?, last: 0 })
    }

    /// Makes one call and waits for its answer, which must be a good one.
    async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<Value, CallError> {
        let answer = self.ask(method, path, body).await?;
        if !(200..300).contains(&answer.status) {
            return Err(MatrixError::parse(answer.status, answer.body.get().as_bytes()).into());
        }
        Ok(serde_json::from_str(answer.body.get())?)
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        self.transport.close().await;
    }

    /// Makes one call and waits for its answer, whatever it is.
    ///
    /// # Errors
    /// When none comes.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<ResponseFrame, CallError> {
        self.last += 1;
        let body = body.map(|body| RawValue::from_string(body.to_owned())).transpose()?;
        let request = RequestFrame {
            id: self.last,
            method: method.to_owned(),
            path: path.to_owned(),
            body,
            ..RequestFrame::default()
        };
        let frame = ClientFrame::Request(request);
        let sent = self.transport.send(&frame).await;
        if let ClientFrame::Request(RequestFrame { body: Some(body), .. }) = frame {
            Box::<str>::from(body).zeroize();
        }
        sent?;
        loop {
            match self.transport.recv().await? {
                ServerFrame::Response(response) if response.id == self.last => {
                    return Ok(response);
                }
                ServerFrame::Error(error) if error.fatal => {
                    return Err(CallError::Stream { errcode: error.errcode, error: error.error });
                }
                ServerFrame::Response(_)
                | ServerFrame::Error(_)
                | ServerFrame::Update(_)
                | ServerFrame::Window(_)
                | ServerFrame::Chunk(_) => {}
            }
        }
    }
}
