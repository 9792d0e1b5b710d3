//! What an authorization server offers, as the homeserver tells it.
//!
//! # Spec
//! Client-Server API, "Server metadata discovery"; RFC 8414.

use serde::Deserialize;
use url::Url;

use super::{device::DeviceGrant, error::OAuthError};

/// The addresses of an authorization server, each of them checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where tokens are given and renewed.
    pub token_endpoint: Url,
    /// Where tokens are given back.
    pub revocation_endpoint: Option<Url>,
    /// Where a client gets its name.
    pub registration_endpoint: Option<Url>,
    /// Where the device authorization grant begins.
    pub device_authorization_endpoint: Option<Url>,
    /// The page where people look after their account.
    pub account_management_uri: Option<Url>,
    /// Whether pages and endpoints may lie on this machine.
    reach: Reach,
}

/// Where an authorization server may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anywhere, over TLS. Not on this machine: a homeserver elsewhere must not make us call what
    /// listens here.
    Network,
    /// Also on this machine, in the clear: the homeserver itself is there.
    ThisMachine,
}

#[derive(Deserialize)]
struct Raw {
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    account_management_uri: Option<String>,
}

impl Metadata {
    /// Reads the answer of `auth_metadata`. `homeserver` is the base URL of who gave it.
    ///
    /// # Errors
    /// When there is no token endpoint, or one that is there is not to be used.
    pub fn parse(json: &str, homeserver: &str) -> Result<Self, OAuthError> {
        let raw: Raw = serde_json::from_str(json)
            .map_err(|_other| OAuthError::Malformed("server metadata"))?;
        let reach = Reach::of(homeserver);
        let endpoint = |text: Option<String>, what| {
            let url = text.map(|text| reach.url(&text).ok_or(OAuthError::Endpoint(what)));
            url.transpose()
        };
        Ok(Self {
            token_endpoint: endpoint(raw.token_endpoint, "token_endpoint")?
                .ok_or(OAuthError::Endpoint("token_endpoint"))?,
            revocation_endpoint: endpoint(raw.revocation_endpoint, "revocation_endpoint")?,
            registration_endpoint: endpoint(raw.registration_endpoint, "registration_endpoint")?,
            device_authorization_endpoint: endpoint(
                raw.device_authorization_endpoint,
                "device_authorization_endpoint",
            )?,
            // Only ever shown: a bad one is left out.
            account_management_uri: raw.account_management_uri.and_then(|uri| reach.url(&uri)),
            reach,
        })
    }

    /// Reads what the device authorization endpoint answered.
    ///
    /// # Errors
    /// When a part is missing, cannot be shown or leads elsewhere.
    pub fn device_grant(&self, answer: &[u8]) -> Result<DeviceGrant, OAuthError> {
        DeviceGrant::parse(answer, self.reach)
    }

    /// Whether a login by a code is offered.
    pub fn has_device_grant(&self) -> bool {
        self.device_authorization_endpoint.is_some() && self.registration_endpoint.is_some()
    }
}

/// An endpoint that was kept from an earlier login, checked again: the disk is no reason to trust
/// it more.
///
/// # Errors
/// When it is not to be used.
pub(super) fn kept(text: &str, homeserver: &str, what: &'static str) -> Result<Url, OAuthError> {
    Reach::of(homeserver).url(text).ok_or(OAuthError::Endpoint(what))
}

/// Longest address that is taken.
const MAX_URL_BYTES: usize = 2048;

impl Reach {
    fn of(homeserver: &str) -> Self {
        let url = Url::parse(homeserver).ok();
        let is_here =
            url.as_ref().and_then(Url::host).is_some_and(|it| crate::tls::may_be_clear(&it));
        if is_here { Self::ThisMachine } else { Self::Network }
    }

    /// An address that may be used.
    pub(super) fn url(self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL_BYTES)?;
        let is_here = crate::tls::may_be_clear(&url.host()?);
        let is_allowed = match (self, url.scheme()) {
            (Self::Network, "https") => !is_here,
            (Self::ThisMachine, "https") => true,
            (Self::ThisMachine, "http") => is_here,
            (Self::Network | Self::ThisMachine, _) => false,
        };
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && !text.chars().any(char::is_control);
        (is_allowed && is_plain).then_some(url)
    }
}
