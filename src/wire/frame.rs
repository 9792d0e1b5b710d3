//! The frames as values.

use std::time::Duration;

use serde_json::value::RawValue;

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
}

/// A call of the client-server API.
#[derive(Clone, Debug)]
pub struct RequestFrame {
    /// Chosen by the client, unique among its unanswered requests.
    pub id: u64,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// Path, percent-encoded, beginning with `/_matrix/`.
    pub path: String,
    /// Query parameters, not encoded.
    pub query: Vec<(String, String)>,
    /// JSON body, passed on as it is.
    pub body: Option<Box<RawValue>>,
}

/// Sync parameters.
#[derive(Clone, Debug, Default)]
pub struct SyncFrame {
    /// The last committed position; `None` for an initial sync.
    pub since: Option<Position>,
    /// The filter, as JSON.
    pub filter: Option<Box<RawValue>>,
    /// `set_presence`: `online`, `offline`, `unavailable`.
    pub set_presence: Option<String>,
}

/// Gives a request up.
#[derive(Clone, Copy, Debug)]
pub struct CancelFrame {
    /// Which request.
    pub id: u64,
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
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct ResponseFrame {
    /// Of which request.
    pub id: u64,
    /// HTTP status.
    pub status: u16,
    /// JSON body; `null` when the answer had none.
    pub body: Box<RawValue>,
    /// The pause that the homeserver asked for.
    pub retry_after: Option<Duration>,
}

/// One answer of the sync stream.
#[derive(Clone, Debug)]
pub struct UpdateFrame {
    /// Position after it; to be acknowledged once committed.
    pub position: Position,
    /// The position it continues from; `None` on an initial sync.
    pub since: Option<Position>,
    /// Body of the homeserver's sync answer.
    pub body: Box<RawValue>,
}

/// A fault of the stream.
#[derive(Clone, Debug)]
pub struct ErrorFrame {
    /// Matrix error code, for instance `M_UNKNOWN_TOKEN`.
    pub errcode: String,
    /// For people; untrusted text.
    pub error: String,
    /// Whether the connection closes after it.
    pub fatal: bool,
}
