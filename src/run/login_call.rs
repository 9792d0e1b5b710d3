//! The few calls of the homeserver that are made without an engine: to log in, and to end a login
//! that came to nothing. They go over the stream, as everything does.

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    link::{DialError, Route, Transport, TransportError},
    matrix::{MatrixError, OwnedDeviceId, OwnedUserId, UserId},
    secret::Secret,
    wire::{ClientFrame, RequestFrame, ServerFrame},
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
            Self::Stream { .. } | Self::Malformed(_) | Self::Request(_) => false,
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

/// Logs in with a password.
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
    let answer = answer?;
    let text = |field| answer.get(field).and_then(Value::as_str).ok_or(CallError::Malformed(field));
    let user_id =
        UserId::parse(text("user_id")?).map_err(|_invalid| CallError::Malformed("user_id"))?;
    Ok(LoggedIn {
        user_id,
        device_id: text("device_id")?.into(),
        access_token: Secret::new(text("access_token")?.to_owned()),
    })
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
    // Every byte may become six; a text that grew would leave its beginning behind.
    let typed = body.password.len() + body.initial_device_display_name.len();
    let room = 6 * (typed + credentials.user.len()) + 256;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *text, &body)?;
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

    /// Makes one call and waits for its answer.
    async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<Value, CallError> {
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
                    let body = response.body.get();
                    if !(200..300).contains(&response.status) {
                        return Err(MatrixError::parse(response.status, body.as_bytes()).into());
                    }
                    return Ok(serde_json::from_str(body)?);
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
