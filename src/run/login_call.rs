//! The few calls of the homeserver that are made without an engine: to log in, and to end a login
//! that came to nothing. They go over the stream, as everything does.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    link::{DialError, Route, Transport, TransportError},
    matrix::{MatrixError, OwnedDeviceId, OwnedUserId, UserId},
    secret::Secret,
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
    /// What others see as the device's name.
    pub device_name: String,
    /// Make the account first.
    pub registration: Option<Registration>,
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
        caller.transport.close().await;
        return logged_in(&answer?);
    }
    let flows = caller.call("GET", "/_matrix/client/v3/login", None).await?;
    let flows = flows.get("flows").and_then(Value::as_array);
    let is_password = |flow: &Value| flow.get("type").is_some_and(|it| it == "m.login.password");
    let offers_password = flows.is_none_or(|flows| flows.iter().any(is_password));
    if !offers_password {
        caller.transport.close().await;
        return Err(CallError::Malformed("password login; it may offer single sign-on only"));
    }
    let body = password_login(credentials)?;
    let answer = caller.call("POST", "/_matrix/client/v3/login", Some(&body)).await;
    caller.transport.close().await;
    logged_in(&answer?)
}

/// What a login or a registration answers.
fn logged_in(answer: &Value) -> Result<LoggedIn, CallError> {
    let text = |field| answer.get(field).and_then(Value::as_str).ok_or(CallError::Malformed(field));
    let user_id =
        UserId::parse(text("user_id")?).map_err(|_invalid| CallError::Malformed("user_id"))?;
    Ok(LoggedIn {
        user_id,
        device_id: text("device_id")?.into(),
        access_token: Secret::new(text("access_token")?.to_owned()),
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
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<&'a Value>,
    }
    let name = credentials.user.trim_start_matches('@').split(':').next().unwrap_or_default();
    let body = Body {
        username: name,
        password: credentials.password.expose(),
        initial_device_display_name: &credentials.device_name,
        auth: proof,
    };
    let proof_bytes = proof.map_or(0, |proof| proof.to_string().len());
    wiped(&body, name.len() + credentials.password.expose().len() + proof_bytes)
}

/// The body of a login with a password, in memory that is wiped.
fn password_login(credentials: &Credentials) -> Result<Zeroizing<String>, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'static str,
        identifier: Value,
        password: &'a str,
        initial_device_display_name: &'a str,
    }
    let body = Body {
        r#type: "m.login.password",
        identifier: json!({"type": "m.id.user", "user": credentials.user}),
        password: credentials.password.expose(),
        initial_device_display_name: &credentials.device_name,
    };
    wiped(&body, body.password.len() + credentials.device_name.len() + credentials.user.len())
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
    caller.transport.close().await;
    answer.map(drop)
}

struct Caller {
    transport: Transport,
    last: u64,
}

impl Caller {
    async fn connect(route: &Route, token: Option<&Secret<String>>) -> Result<Self, CallError> {
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

    /// Makes one call and waits for its answer, whatever it is.
    async fn ask(
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
