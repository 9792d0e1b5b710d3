//! Why a call does not get what it asked for, in the words of the specification.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::table::Broken;
use crate::secret::Secret;

/// A call that is refused: HTTP status, error code, words for people.
///
/// # Spec
/// Client-Server API, "Standard error response".
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// `errcode`.
    pub errcode: &'static str,
    /// `error`.
    pub error: String,
    /// Further fields of the body.
    pub fields: Map<String, Value>,
}

impl Refusal {
    /// Any refusal.
    pub(crate) fn new(status: u16, errcode: &'static str, error: impl Into<String>) -> Self {
        Self { status, errcode, error: error.into(), fields: Map::new() }
    }

    /// The caller may not do this.
    pub(super) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(403, "M_FORBIDDEN", error)
    }

    /// There is no such thing.
    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(404, "M_NOT_FOUND", error)
    }

    /// JSON, but not what this endpoint takes.
    pub(super) fn bad_json(error: impl Into<String>) -> Self {
        Self::new(400, "M_BAD_JSON", error)
    }

    /// A parameter has a value that cannot be.
    pub(super) fn invalid(error: impl Into<String>) -> Self {
        Self::new(400, "M_INVALID_PARAM", error)
    }

    /// A parameter is not there.
    pub(super) fn missing(error: impl Into<String>) -> Self {
        Self::new(400, "M_MISSING_PARAM", error)
    }

    /// No endpoint of this name.
    pub(super) fn unrecognized() -> Self {
        Self::new(404, "M_UNRECOGNIZED", "no such endpoint")
    }

    /// The endpoint knows other methods only.
    pub(crate) fn wrong_method() -> Self {
        Self::new(405, "M_UNRECOGNIZED", "the endpoint has no such method")
    }

    /// There are so many that no more are taken.
    pub(super) fn too_many(what: &str) -> Self {
        Self::new(400, "M_TOO_LARGE", format!("there are too many {what}"))
    }

    /// Too often; try again after `pause`.
    pub(crate) fn too_often(pause: Duration) -> Self {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Self::new(429, "M_LIMIT_EXCEEDED", "too many requests")
            .with("retry_after_ms", json!(millis))
    }

    /// With a further field of the body.
    #[must_use]
    pub(super) fn with(mut self, field: &str, value: Value) -> Self {
        self.fields.insert(field.to_owned(), value);
        self
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let mut body = self.fields.clone();
        if !self.errcode.is_empty() {
            body.insert("errcode".to_owned(), self.errcode.into());
            body.insert("error".to_owned(), self.error.as_str().into());
        }
        Value::Object(body)
    }

    /// The answer.
    pub fn response(&self) -> http::Response<Vec<u8>> {
        let mut response = http::Response::new(self.body().to_string().into_bytes());
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::BAD_REQUEST);
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }
}

impl From<Broken> for Refusal {
    /// The details are for the log of whoever runs the server, not for the caller.
    fn from(broken: Broken) -> Self {
        tracing::error!(%broken, "a call failed");
        Self::new(500, "M_UNKNOWN", "the server cannot read its records")
    }
}

/// Why a handler has no answer now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stop {
    /// It never will.
    Refuse(Refusal),
    /// Nothing new: ask again when the caller is woken, at the latest after this time.
    Wait(Duration),
    /// Something slow has to be computed first; then ask again with its result.
    Work(Work),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Refuse(broken.into())
    }
}

/// Slow computations, which are done away from the model's thread.
#[derive(Clone, PartialEq, Eq)]
pub enum Work {
    /// Derive a new password's hash.
    Hash {
        /// The password.
        password: Secret<String>,
    },
    /// Compare a password with a hash.
    Verify {
        /// The password.
        password: Secret<String>,
        /// The hash, as text.
        hash: String,
    },
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hash { .. } => "Hash",
            Self::Verify { .. } => "Verify",
        })
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Done {
    /// The hash, as text.
    Hash(String),
    /// Whether the password is the right one.
    Verified(bool),
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hash(_) => "Hash",
            Self::Verified(_) => "Verified",
        })
    }
}
