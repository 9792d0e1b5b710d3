//! The device authorization grant: what to show, and what a poll answers.
//!
//! # Spec
//! RFC 8628; Client-Server API, "Device authorisation flow".

use std::time::Duration;

use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::{error::OAuthError, metadata::Reach, token::Tokens};
use crate::secret::Secret;

/// What RFC 8628 says where the server does not.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of what a server may say.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// Nobody waits longer at a prompt.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);
const MAX_CODE_CHARS: usize = 64;
const MAX_DEVICE_CODE_BYTES: usize = 4096;

/// A grant that waits for somebody to allow it.
#[derive(Clone, Debug)]
pub struct DeviceGrant {
    /// What is polled with.
    pub(super) device_code: Secret<String>,
    /// What people type; printable ASCII.
    pub user_code: String,
    /// Where they type it.
    pub verification_uri: Url,
    /// The same address with the code in it.
    pub verification_uri_complete: Option<Url>,
    /// How long it waits, half an hour at most.
    pub expires_in: Duration,
    /// The pause between two polls, a minute at most.
    pub interval: Duration,
}

#[derive(Deserialize)]
struct Raw {
    device_code: Zeroizing<String>,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

impl DeviceGrant {
    /// Reads a good answer of the device authorization endpoint.
    pub(super) fn parse(body: &[u8], reach: Reach) -> Result<Self, OAuthError> {
        let raw: Raw =
            serde_json::from_slice(body).map_err(|_other| OAuthError::Malformed("user_code"))?;
        let is_device_code = (1..=MAX_DEVICE_CODE_BYTES).contains(&raw.device_code.len())
            && raw.device_code.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_device_code {
            return Err(OAuthError::Malformed("device_code"));
        }
        let is_user_code = (1..=MAX_CODE_CHARS).contains(&raw.user_code.len())
            && raw.user_code.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !is_user_code {
            return Err(OAuthError::Malformed("user_code"));
        }
        let verification_uri =
            reach.url(&raw.verification_uri).ok_or(OAuthError::Malformed("verification_uri"))?;
        let interval = raw.interval.map_or(DEFAULT_INTERVAL, Duration::from_secs);
        Ok(Self {
            device_code: Secret::new(raw.device_code.as_str().to_owned()),
            user_code: raw.user_code,
            // Only a short way to the same page: one that leads elsewhere is left out.
            verification_uri_complete: raw
                .verification_uri_complete
                .and_then(|uri| reach.url(&uri))
                .filter(|uri| uri.origin() == verification_uri.origin()),
            verification_uri,
            expires_in: Duration::from_secs(raw.expires_in).min(LONGEST_LIFE),
            interval: interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
        })
    }
}

/// What a poll answers.
#[derive(Debug)]
pub enum Poll {
    /// Nobody has allowed it yet.
    Pending,
    /// The same, and to be asked less often.
    SlowDown,
    /// Somebody said no.
    Denied,
    /// Nobody came in time.
    Expired,
    /// Here they are.
    Granted(Tokens),
}

impl Poll {
    /// Reads what the token endpoint answered.
    ///
    /// # Errors
    /// When that was another refusal than those of a poll.
    pub(super) fn of(answer: Result<Tokens, OAuthError>) -> Result<Self, OAuthError> {
        match answer {
            Ok(tokens) => Ok(Self::Granted(tokens)),
            Err(error) if error.is("authorization_pending") => Ok(Self::Pending),
            Err(error) if error.is("slow_down") => Ok(Self::SlowDown),
            Err(error) if error.is("access_denied") => Ok(Self::Denied),
            Err(error) if error.is("expired_token") => Ok(Self::Expired),
            Err(error) => Err(error),
        }
    }
}
