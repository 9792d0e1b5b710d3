//! Finds the homeserver and the stream behind what a person types.
//!
//! # Spec
//! Client-Server API, "Server Discovery"; the stream's own part is in `docs/stream.md`.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, StatusCode, header, redirect::Policy};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::Url;

use super::{
    http::{base_url, client},
    options::{GatewayError, GatewayOptions},
};
use crate::wire::STREAM_PATH;

/// For each of the two questions, redirects included.
const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_REDIRECTS: usize = 5;
/// Far more than either answer ever has.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// What discovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Base URL of the homeserver, without a slash at its end.
    pub homeserver: String,
    /// URL of its stream, where it offers one; otherwise the gateway in this process is used.
    pub stream_url: Option<String>,
}

/// Why no homeserver was found.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// Neither a server name nor a URL nor a user id.
    #[error("{0:?} is no server: give a name (example.org), a URL (https://…) or a user id")]
    Name(String),
    /// Its `.well-known` file is broken; the specification says to stop then.
    #[error("{server} points to no usable homeserver in its .well-known/matrix/client")]
    WellKnown {
        /// Whose.
        server: String,
    },
    /// Nobody there, or not a homeserver.
    #[error("{url} is no homeserver, or cannot be reached")]
    NoHomeserver {
        /// What was tried.
        url: String,
        /// Why, where something failed below HTTP.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Setup(#[from] GatewayError),
}

/// Finds the homeserver for a server name (`example.org`), a URL (`https://…`, `http://` to this
/// machine only) or a user id (`@name:example.org`). Proxy and extra CA are taken from `options`;
/// its `homeserver` is not looked at.
///
/// # Errors
/// When there is none, or it does not answer as a homeserver does.
pub async fn discover(server: &str, options: &GatewayOptions) -> Result<Discovered, DiscoverError> {
    let target = Target::parse(server).ok_or_else(|| DiscoverError::Name(server.to_owned()))?;
    let finder = Finder { client: client(options, Policy::none())? };
    let (homeserver, advertised) = match target {
        Target::Url(url) => (url, None),
        Target::Name(name) => finder.well_known(&name).await?,
    };
    let homeserver = homeserver.as_str().trim_end_matches('/').to_owned();
    let versions = finder.versions(&homeserver).await?;
    let stream_url = advertised.or_else(|| versions.stream(&homeserver));
    Ok(Discovered { homeserver, stream_url })
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A homeserver's own URL.
    Url(Url),
    /// A server name, whose `.well-known` file says where the homeserver is.
    Name(String),
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains("://") {
            return base_url(text).map(Self::Url);
        }
        let name = match text.strip_prefix('@') {
            Some(user) => user.split_once(':')?.1,
            None => text,
        };
        let url = Url::parse(&format!("https://{name}")).ok()?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        (is_bare && url.username().is_empty() && !name.is_empty() && !name.ends_with('/'))
            .then(|| Self::Name(name.to_owned()))
    }
}

#[derive(Deserialize)]
struct WellKnown {
    #[serde(rename = "m.homeserver")]
    homeserver: Homeserver,
    #[serde(rename = "grotto.stream")]
    stream: Option<Value>,
}

#[derive(Deserialize)]
struct Homeserver {
    base_url: String,
}

/// What a `.well-known` file names: the homeserver, and where its stream is if it says so. `None`
/// when it leads to no homeserver that may be used.
pub fn advertised(well_known: &[u8]) -> Option<(Url, Option<String>)> {
    let found: WellKnown = serde_json::from_slice(well_known).ok()?;
    let homeserver = base_url(&found.homeserver.base_url)?;
    let stream = found.stream.and_then(|stream| stream.get("url")?.as_str().map(str::to_owned));
    Some((homeserver, stream))
}

#[derive(Deserialize)]
struct Versions {
    #[serde(rename = "versions")]
    _versions: Vec<String>,
    #[serde(default)]
    unstable_features: Map<String, Value>,
}

impl Versions {
    /// The stream that the homeserver itself offers.
    fn stream(&self, homeserver: &str) -> Option<String> {
        let offered = self.unstable_features.get("grotto.stream.v1") == Some(&Value::Bool(true));
        // http → ws, https → wss.
        let rest = homeserver.strip_prefix("http").filter(|_| offered)?;
        Some(format!("ws{rest}{STREAM_PATH}"))
    }
}

struct Finder {
    client: Client,
}

impl Finder {
    /// Where the server's `.well-known` file points to; the server itself when it has none.
    async fn well_known(&self, name: &str) -> Result<(Url, Option<String>), DiscoverError> {
        let wrong = || DiscoverError::WellKnown { server: name.to_owned() };
        let itself = Url::parse(&format!("https://{name}")).map_err(|_not_a_url| wrong())?;
        let url = format!("https://{name}/.well-known/matrix/client");
        // Nobody there, or no such file: the specification lets us ask the server itself.
        let Ok((StatusCode::OK, body)) = self.get(&url).await else {
            return Ok((itself, None));
        };
        advertised(&body).ok_or_else(wrong)
    }

    async fn versions(&self, homeserver: &str) -> Result<Versions, DiscoverError> {
        let url = format!("{homeserver}/_matrix/client/versions");
        let none = |source| DiscoverError::NoHomeserver { url: homeserver.to_owned(), source };
        let (status, body) = self.get(&url).await.map_err(|error| none(Some(error)))?;
        if status != StatusCode::OK {
            return Err(none(None));
        }
        serde_json::from_slice(&body).map_err(|error| none(Some(error.into())))
    }

    /// Follows redirects by hand: anywhere, but never into the clear.
    async fn get(&self, url: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        timeout(TIMEOUT, self.follow(url)).await?
    }

    async fn follow(&self, url: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        let mut url = Url::parse(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let response =
                self.client.get(url.clone()).send().await.map_err(reqwest::Error::without_url)?;
            let status = response.status();
            if !status.is_redirection() {
                let mut body = Vec::new();
                let mut pieces = response.bytes_stream();
                while let Some(piece) = pieces.next().await {
                    body.extend_from_slice(&piece.map_err(reqwest::Error::without_url)?);
                    if body.len() > MAX_ANSWER_BYTES {
                        return Err("the answer is too long".into());
                    }
                }
                return Ok((status, body));
            }
            let target = response.headers().get(header::LOCATION).ok_or("no place to go")?;
            let next = url.join(target.to_str()?)?;
            if next.scheme() != "https" && next.origin() != url.origin() {
                return Err("redirected into the clear".into());
            }
            url = next;
        }
        Err("too many redirects".into())
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        match Target::parse(text)? {
            Target::Name(name) => Some(name),
            Target::Url(url) => Some(format!("URL {url}")),
        }
    }

    #[test]
    fn names_urls_and_user_ids_are_told_apart() {
        for (text, expected) in [
            ("example.org", Some("example.org")),
            ("example.org:8448", Some("example.org:8448")),
            ("@alice:example.org", Some("example.org")),
            ("@alice:example.org:8448", Some("example.org:8448")),
            (" example.org ", Some("example.org")),
            ("https://matrix.example.org/", Some("URL https://matrix.example.org/")),
            ("http://127.0.0.1:8008", Some("URL http://127.0.0.1:8008/")),
            ("http://example.org", None),
            ("example.org/path", None),
            ("user@example.org", None),
            ("@alice", None),
            ("", None),
            ("two words", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_homeserver_that_offers_the_stream_is_asked_at_its_own_place() {
        let versions = |json: &str| serde_json::from_str::<Versions>(json).unwrap();
        let offers = versions(r#"{"versions":[],"unstable_features":{"grotto.stream.v1":true}}"#);
        assert_eq!(
            offers.stream("https://matrix.example.org").as_deref(),
            Some("wss://matrix.example.org/_matrix/client/unstable/stream")
        );
        let silent = versions(r#"{"versions":[],"unstable_features":{"grotto.stream.v1":false}}"#);
        assert_eq!(silent.stream("https://matrix.example.org"), None);
    }
}
