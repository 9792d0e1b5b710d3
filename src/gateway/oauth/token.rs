//! Tokens, and what they are asked for.

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::OAuthError;
use crate::secret::Secret;

/// Longest token that is taken, in bytes: it has to stand in a header.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// What a server gave.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For the homeserver.
    pub access_token: Secret<String>,
    /// For the next access token.
    pub refresh_token: Option<Secret<String>>,
    /// How long the access token lives; `None`: it does not say.
    pub expires_in: Option<Duration>,
}

#[derive(Deserialize)]
struct Raw {
    access_token: Zeroizing<String>,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    refresh_token: Option<Zeroizing<String>>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Tokens {
    /// Reads a good answer of a token endpoint.
    ///
    /// # Errors
    /// When it has no token, or one that no header can hold.
    pub fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let raw: Raw =
            serde_json::from_slice(body).map_err(|_other| OAuthError::Malformed("access_token"))?;
        if !raw.token_type.eq_ignore_ascii_case("bearer") {
            return Err(OAuthError::Malformed("token_type (Bearer)"));
        }
        let secret = |token: Zeroizing<String>, what| {
            if is_token(&token) {
                Ok(Secret::new(token.as_str().to_owned()))
            } else {
                Err(OAuthError::Malformed(what))
            }
        };
        let seconds = raw.expires_in.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        Ok(Self {
            access_token: secret(raw.access_token, "access_token")?,
            refresh_token: raw
                .refresh_token
                .map(|token| secret(token, "refresh_token"))
                .transpose()?,
            expires_in: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }
}

/// Whether it can stand in a header and in a form.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Under which names a server knows the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichScope {
    /// Those of the specification.
    Stable,
    /// Those of before, MSC2967.
    Unstable,
}

/// The scope of a login: all of the client-server API, as this device.
///
/// # Spec
/// Client-Server API, "Allocated scope tokens".
pub fn scope(which: WhichScope, device_id: &str) -> String {
    let prefix = match which {
        WhichScope::Stable => "urn:matrix:client",
        WhichScope::Unstable => "urn:matrix:org.matrix.msc2967.client",
    };
    format!("{prefix}:api:* {prefix}:device:{device_id}")
}
