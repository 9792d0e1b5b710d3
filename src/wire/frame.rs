//! The frames as values. How they are written is `codec`'s business.
//!
//! Bodies and queries hold passwords, tokens and messages: `Debug` says how long they are, not what.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::chunk::ChunkFrame;
use crate::matrix::Position;

/// What a client sends.
#[derive(Clone, Debug)]
pub enum ClientFrame {
    /// A call of the client-server API.
    Request(RequestFrame),
    /// Start syncing, or change the parameters.
    Sync(SyncFrame),
    /// Everything up to this position is on disk.
    Ack(Position),
    /// The answer to this request is no longer wanted.
    Cancel(CancelFrame),
    /// More chunks of a download may be sent.
    Window(WindowFrame),
    /// A piece of an upload.
    Chunk(ChunkFrame),
    /// From now on this access token, of the same login, is presented to the homeserver.
    Token(TokenFrame),
}

/// A call of the client-server API.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Chosen by the client, unique among its unanswered requests.
    pub id: u64,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// Path, percent-encoded, beginning with `/_matrix/`.
    pub path: String,
    /// Query parameters, not encoded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// JSON body, passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
    /// Announces a body that follows in chunks, instead of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<MediaInfo>,
    /// How a good answer's body is to come.
    #[serde(default, skip_serializing_if = "AnswerKind::is_json")]
    pub answer: AnswerKind,
}

/// How the body of an answer of the 2xx kind comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerKind {
    /// In the response frame, as JSON.
    #[default]
    Json,
    /// In chunks, as bytes.
    Binary,
}

impl AnswerKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    fn is_json(&self) -> bool {
        *self == Self::Json
    }
}

/// What a chunked body is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// `Content-Type`; untrusted.
    pub content_type: String,
    /// Length of the whole body in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// Sync parameters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SyncFrame {
    /// The last committed position; `None` for an initial sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
    /// The filter, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Box<RawValue>>,
    /// `set_presence`: `online`, `offline`, `unavailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_presence: Option<String>,
    /// The largest update frame that the client takes, in bytes; the server's own limit holds too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_update_bytes: Option<u64>,
}

/// Gives a request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelFrame {
    /// Which request.
    pub id: u64,
}

/// Permission to send more chunks of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowFrame {
    /// Of which request.
    pub id: u64,
    /// How many chunks more.
    pub chunks: u32,
}

/// A token that takes the place of the one of the handshake.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenFrame {
    /// The access token.
    pub token: Zeroizing<String>,
}

impl fmt::Debug for TokenFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFrame(..)")
    }
}

/// What a server sends.
#[derive(Clone, Debug)]
pub enum ServerFrame {
    /// The answer to a request.
    Response(ResponseFrame),
    /// One answer of the sync stream.
    Update(UpdateFrame),
    /// Something is wrong with the stream itself.
    Error(ErrorFrame),
    /// More chunks of an upload may be sent.
    Window(WindowFrame),
    /// A piece of a download.
    Chunk(ChunkFrame),
}

/// The answer to a request.
#[derive(Clone)]
pub struct ResponseFrame {
    /// Of which request.
    pub id: u64,
    /// HTTP status.
    pub status: u16,
    /// JSON body; `null` when the answer had none.
    pub body: Box<RawValue>,
    /// The pause that the homeserver asked for.
    pub retry_after: Option<Duration>,
    /// Announces a body that follows in chunks; `body` is then `null`.
    pub download: Option<MediaInfo>,
}

/// One answer of the sync stream.
#[derive(Clone, Serialize, Deserialize)]
pub struct UpdateFrame {
    /// Position after it; to be acknowledged once committed.
    pub position: Position,
    /// The position it continues from; `None` on an initial sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
    /// Body of the homeserver's sync answer.
    pub body: Box<RawValue>,
}

/// A fault of the stream.
#[derive(Clone, Debug, Default)]
pub struct ErrorFrame {
    /// Matrix error code, for instance `M_UNKNOWN_TOKEN`.
    pub errcode: String,
    /// For people; untrusted text.
    pub error: String,
    /// Whether the connection closes after it.
    pub fatal: bool,
    /// The request it is about: that one gets no other answer.
    pub id: Option<u64>,
    /// With `M_UNKNOWN_TOKEN`: whether a new login may keep the device and its keys.
    pub soft_logout: bool,
    /// When to connect again, or to try again.
    pub retry_after: Option<Duration>,
}

impl fmt::Debug for RequestFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFrame")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("parameters", &self.query.len())
            .field("body_bytes", &self.body.as_ref().map(|body| body.get().len()))
            .field("upload", &self.upload)
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFrame")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("body_bytes", &self.body.get().len())
            .field("retry_after", &self.retry_after)
            .field("download", &self.download)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UpdateFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateFrame")
            .field("position", &self.position)
            .field("since", &self.since)
            .field("body_bytes", &self.body.get().len())
            .finish_non_exhaustive()
    }
}

/// The body `null`: no body.
pub fn empty_body() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}
