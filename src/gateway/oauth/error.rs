//! What can go wrong with an authorization server.

use crate::gateway::GatewayError;

/// Why an authorization server was of no use.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Setup(#[from] GatewayError),
    /// Nobody there, or the connection broke.
    #[error("the authorization server {host} cannot be reached")]
    Unreachable {
        /// Which.
        host: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is at fault, or asks to come back later.
    #[error("the authorization server {host} has a fault (HTTP {status}); try again later")]
    Fault {
        /// Which.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// It sends us elsewhere.
    #[error("the authorization server {host} answers with a redirect, which is not followed")]
    Redirected {
        /// Which.
        host: String,
    },
    /// The answer is longer than any such answer.
    #[error("the answer of the authorization server {host} is too long")]
    TooLong {
        /// Which.
        host: String,
    },
    /// An address is missing, or not one to send a secret to.
    #[error(
        "the homeserver names no usable {0} for OAuth: an https:// address without a user name"
    )]
    Endpoint(&'static str),
    /// The answer is not what the specification says.
    #[error("the authorization server's answer has no usable {0}")]
    Malformed(&'static str),
    /// It said no.
    #[error("the authorization server refused: {code}{}", after(.words))]
    Refused {
        /// The OAuth error code, `invalid_grant` for instance; untrusted.
        code: String,
        /// Its own words; untrusted.
        words: String,
    },
}

fn after(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

impl OAuthError {
    /// Whether the same call may succeed later.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Fault { .. } => true,
            Self::Setup(_)
            | Self::Redirected { .. }
            | Self::TooLong { .. }
            | Self::Endpoint(_)
            | Self::Malformed(_)
            | Self::Refused { .. } => false,
        }
    }

    /// Whether the server refused with this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}
