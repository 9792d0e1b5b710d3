//! Calls of the homeserver that are made without an engine, one after the other. They go over the
//! stream, as everything does.

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    link::{DialError, Route, Transport, TransportError},
    matrix::MatrixError,
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
    /// The invitation was not taken.
    #[error(
        "the homeserver does not take this invitation: it may have been used, or be too old; ask for another"
    )]
    BadInvite,
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
            | Self::BadInvite
            | Self::Request(_) => false,
        }
    }
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
    ///
    /// # Errors
    /// When none comes, or another.
    pub(super) async fn call(
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

/// A body as JSON, in memory that is wiped; `typed` is the length of what people typed.
///
/// # Errors
/// When serde cannot write it.
pub(super) fn wiped(
    body: &impl Serialize,
    typed: usize,
) -> Result<Zeroizing<String>, serde_json::Error> {
    // Every byte may become six; a text that grew would leave its beginning behind.
    let mut text = Zeroizing::new(Vec::with_capacity(6 * typed + 512));
    serde_json::to_writer(&mut *text, body)?;
    match String::from_utf8(std::mem::take(&mut *text)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => Err(serde::ser::Error::custom(error.utf8_error())),
    }
}
