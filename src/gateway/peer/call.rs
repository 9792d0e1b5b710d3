//! Calls of the homeserver as values, and what comes of them.

use std::{fmt, time::Duration};

use serde_json::value::RawValue;

use crate::{
    matrix::MatrixError,
    wire::{AnswerKind, MediaInfo, empty_body},
};

/// Names a call that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallId {
    /// The long poll, by its number: an answer with an old number is thrown away.
    Sync(u64),
    /// A request of the client, by its id.
    Request(u64),
}

/// One HTTP call to make.
#[derive(Clone)]
pub struct Call {
    /// Names its answer.
    pub id: CallId,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// Checked: begins with `/_matrix/` (or is the one `.well-known` path), leads nowhere else.
    pub path: String,
    /// Query parameters, not encoded.
    pub query: Vec<(String, String)>,
    /// JSON body.
    pub body: Option<Box<RawValue>>,
    /// A body that comes by [`super::PeerEffect::Push`], instead.
    pub upload: Option<MediaInfo>,
    /// How the body of a good answer is wanted.
    pub answer: AnswerKind,
    /// To wait before the call.
    pub delay: Duration,
    /// For the answer to begin, and again for its body to come; `None` for uploads, which take as
    /// long as the client does.
    pub timeout: Option<Duration>,
    /// Largest JSON answer in bytes.
    pub max_answer_bytes: usize,
}

impl fmt::Debug for Call {
    /// Without query and body: they hold passwords and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

/// What came of a call.
#[derive(Clone)]
pub enum Answer {
    /// An answer with its whole body.
    Json {
        /// HTTP status.
        status: u16,
        /// `null` when there was none.
        body: Box<RawValue>,
        /// The pause that the homeserver asked for.
        retry_after: Option<Duration>,
    },
    /// A good answer whose body is read by [`super::PeerEffect::Pull`].
    Binary {
        /// HTTP status.
        status: u16,
        /// What it is.
        info: MediaInfo,
    },
    /// No answer.
    Failed(CallFailure),
}

impl Answer {
    /// What a homeserver's answer is whose body is to be JSON. `header` is its `Retry-After`; older
    /// servers say the pause in the body of a refusal.
    pub fn of(status: u16, body: &[u8], header: Option<Duration>) -> Self {
        if body.is_empty() {
            return Self::Json { status, body: empty_body(), retry_after: header };
        }
        let is_good = (200..300).contains(&status);
        match serde_json::from_slice::<Box<RawValue>>(body) {
            Ok(json) => {
                let asked =
                    || MatrixError::parse(status, body).retry_after().filter(|_| 400 <= status);
                Self::Json { status, body: json, retry_after: header.or_else(asked) }
            }
            Err(_) if is_good => Self::Failed(CallFailure::NotJson),
            Err(_) => Self::Json { status, body: empty_body(), retry_after: header },
        }
    }
}

impl fmt::Debug for Answer {
    /// Without the body: the answer to a login holds its token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { status, body, .. } => f
                .debug_struct("Json")
                .field("status", status)
                .field("body_bytes", &body.get().len())
                .finish_non_exhaustive(),
            Self::Binary { status, info } => {
                f.debug_struct("Binary").field("status", status).field("info", info).finish()
            }
            Self::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// No connection, or it broke.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// The answer is larger than allowed.
    TooLarge,
    /// A good answer that is not JSON.
    NotJson,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for CallFailure {}

impl CallFailure {
    /// The status a client gets; the 5xx ones are worth another try.
    pub fn status(self) -> u16 {
        match self {
            Self::Unreachable | Self::NotJson => 502,
            Self::TimedOut => 504,
            Self::TooLarge => 413,
        }
    }

    /// The error code a client gets.
    pub fn errcode(self) -> &'static str {
        match self {
            Self::Unreachable => "GROTTO_UNREACHABLE",
            Self::TimedOut => "GROTTO_TIMEOUT",
            Self::TooLarge => "M_TOO_LARGE",
            Self::NotJson => "GROTTO_NOT_JSON",
        }
    }

    /// In words for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "the homeserver cannot be reached",
            Self::TimedOut => "the homeserver did not answer in time",
            Self::TooLarge => {
                "the homeserver's answer is larger than allowed: see sync_mib and answer_mib"
            }
            Self::NotJson => "the homeserver's answer is not JSON",
        }
    }
}
