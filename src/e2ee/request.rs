//! Requests the machine wants sent, and their answers.
//!
//! A request is stored before it is sent and repeated byte for byte until it is answered; the
//! answer comes back by its id.

use serde::{Deserialize, Serialize};

/// Names one request across restarts; doubles as the transaction id of to-device requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// `POST /keys/upload`; strictly one at a time.
    KeysUpload,
    /// `POST /keys/query`.
    KeysQuery,
    /// `POST /keys/claim`; strictly one at a time.
    KeysClaim,
    /// `PUT /sendToDevice/{type}/{txn}`.
    ToDevice,
}

/// One request of the client-server API, ready to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingRequest {
    /// Its name.
    pub id: RequestId,
    /// What it is for.
    pub kind: RequestKind,
    /// `POST` or `PUT`.
    pub method: String,
    /// Path below the server's address, percent-encoded, for instance
    /// `/_matrix/client/v3/keys/query`.
    pub path: String,
    /// JSON text of the body.
    pub body: String,
}

/// Why a request got no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// The server refused it for good: a status below 500 other than 408 and 429.
    Refused(crate::matrix::MatrixError),
    /// Not now: rate limit, server fault. (A lost link is no answer: the request just stays.)
    Later(crate::matrix::MatrixError),
}
