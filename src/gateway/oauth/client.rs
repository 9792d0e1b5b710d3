//! The calls: register, begin, poll, renew, revoke.

use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderValue, header};
use reqwest::{Client, Response, redirect::Policy};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use url::{Url, form_urlencoded::Serializer};
use zeroize::Zeroizing;

use super::{
    device::{DeviceGrant, Poll},
    error::OAuthError,
    metadata::{self, Metadata},
    token::Tokens,
};
use crate::{
    gateway::{GatewayOptions, http::client},
    secret::Secret,
};

/// For each call.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Far more than any answer has.
const MAX_ANSWER_BYTES: usize = 64 << 10;
const MAX_CLIENT_ID_BYTES: usize = 1024;
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A page about the client, which the specification asks of a registration. While the package has
/// none, an address that nobody can own (RFC 2606) says so: another page would be taken for ours
/// where the user is asked to consent.
const CLIENT_URI: &str = if env!("CARGO_PKG_HOMEPAGE").is_empty() {
    "https://grotto.invalid/"
} else {
    env!("CARGO_PKG_HOMEPAGE")
};

/// A client of authorization servers.
#[derive(Clone, Debug)]
pub struct OAuth {
    client: Client,
}

/// The name that an authorization server gave us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// `client_id`.
    pub client_id: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl OAuth {
    /// Makes one with the options' proxy and certificates.
    ///
    /// # Errors
    /// When one of these is wrong.
    pub fn new(options: &GatewayOptions) -> Result<Self, OAuthError> {
        Ok(Self { client: client(options, Policy::none())? })
    }

    /// Registers this program as a client that has no secret of its own.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    ///
    /// # Spec
    /// RFC 7591; Client-Server API, "Dynamic client registration flow".
    pub async fn register(&self, server: &Metadata) -> Result<Registered, OAuthError> {
        #[derive(Deserialize)]
        struct Answer {
            client_id: String,
        }
        let what = OAuthError::Endpoint("registration_endpoint");
        let endpoint = server.registration_endpoint.as_ref().ok_or(what)?;
        let body = json!({
            "client_name": "grotto",
            "client_uri": CLIENT_URI,
            "application_type": "native",
            "token_endpoint_auth_method": "none",
            "grant_types": [DEVICE_GRANT, "refresh_token"],
            "response_types": [],
        });
        let body = Zeroizing::new(body.to_string());
        let answer = self.post(endpoint, "application/json", body).await?;
        let Answer { client_id } =
            serde_json::from_slice(&answer).map_err(|_other| OAuthError::Malformed("client_id"))?;
        let is_usable = (1..=MAX_CLIENT_ID_BYTES).contains(&client_id.len())
            && client_id.bytes().all(|byte| byte.is_ascii_graphic());
        if is_usable {
            Ok(Registered { client_id })
        } else {
            Err(OAuthError::Malformed("client_id"))
        }
    }

    /// Begins a device authorization grant.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, for instance with `invalid_scope`.
    pub async fn begin(
        &self,
        server: &Metadata,
        registered: &Registered,
        scope: &str,
    ) -> Result<DeviceGrant, OAuthError> {
        let what = OAuthError::Endpoint("device_authorization_endpoint");
        let endpoint = server.device_authorization_endpoint.as_ref().ok_or(what)?;
        let form = form(&[("client_id", &registered.client_id), ("scope", scope)]);
        let answer = self.post(endpoint, FORM, form).await?;
        server.device_grant(&answer)
    }

    /// Asks whether somebody has allowed it.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses for another reason than those of [`Poll`].
    pub async fn poll(
        &self,
        server: &Metadata,
        registered: &Registered,
        grant: &DeviceGrant,
    ) -> Result<Poll, OAuthError> {
        let form = form(&[
            ("grant_type", DEVICE_GRANT),
            ("device_code", grant.device_code.expose()),
            ("client_id", &registered.client_id),
        ]);
        let answer = self.post(&server.token_endpoint, FORM, form).await;
        Poll::of(answer.and_then(|answer| Tokens::parse(&answer)))
    }

    /// Renews the tokens of a client that a homeserver once led us to.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn refresh(
        &self,
        (token_endpoint, homeserver): (&str, &str),
        client_id: &str,
        refresh_token: &Secret<String>,
    ) -> Result<Tokens, OAuthError> {
        let endpoint = metadata::kept(token_endpoint, homeserver, "token_endpoint")?;
        let form = form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
            ("client_id", client_id),
        ]);
        Tokens::parse(&self.post(&endpoint, FORM, form).await?)
    }

    /// Gives a token back, and with it the login it belongs to.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    ///
    /// # Spec
    /// RFC 7009.
    pub async fn revoke(
        &self,
        (revocation_endpoint, homeserver): (&str, &str),
        client_id: &str,
        (hint, token): (&str, &Secret<String>),
    ) -> Result<(), OAuthError> {
        let endpoint = metadata::kept(revocation_endpoint, homeserver, "revocation_endpoint")?;
        let form =
            form(&[("token", token.expose()), ("token_type_hint", hint), ("client_id", client_id)]);
        self.post(&endpoint, FORM, form).await.map(drop)
    }

    /// The body of a good answer.
    async fn post(
        &self,
        endpoint: &Url,
        content_type: &'static str,
        body: Zeroizing<String>,
    ) -> Result<Zeroizing<Vec<u8>>, OAuthError> {
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        let asked = self
            .client
            .post(endpoint.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .body(body.as_str().to_owned())
            .send();
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| {
            OAuthError::Unreachable { host: host.clone(), source }
        };
        let call = async {
            let response =
                asked.await.map_err(|error| unreachable(Box::new(error.without_url())))?;
            let status = response.status();
            if status.is_redirection() {
                return Err(OAuthError::Redirected { host: host.clone() });
            }
            if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 {
                return Err(OAuthError::Fault { host: host.clone(), status: status.as_u16() });
            }
            let is_good = status.is_success();
            let body = read(response, &host).await?;
            if is_good { Ok(body) } else { Err(refusal(&body, status.as_u16())) }
        };
        timeout(TIMEOUT, call).await.map_err(|elapsed| unreachable(Box::new(elapsed)))?
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A form, in memory that is wiped.
fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    // Every byte may become three; a text that grew would leave its beginning behind.
    let most = fields.iter().map(|(key, value)| 3 * (key.len() + value.len()) + 2).sum();
    let mut form = Serializer::new(String::with_capacity(most));
    Zeroizing::new(form.extend_pairs(fields).finish())
}

async fn read(response: Response, host: &str) -> Result<Zeroizing<Vec<u8>>, OAuthError> {
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| OAuthError::Unreachable {
            host: host.to_owned(),
            source: Box::new(error.without_url()),
        })?;
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(OAuthError::TooLong { host: host.to_owned() });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Why it said no, cut to what fits a line.
fn refusal(body: &[u8], status: u16) -> OAuthError {
    let short = |text: &str, most| text.chars().take(most).collect::<String>();
    match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { error, error_description }) => {
            OAuthError::Refused { code: short(&error, 64), words: short(&error_description, 200) }
        }
        Err(_other) => OAuthError::Refused { code: format!("HTTP {status}"), words: String::new() },
    }
}
