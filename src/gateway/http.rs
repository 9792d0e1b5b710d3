//! The HTTP client: the only place of the program that speaks HTTP to a homeserver.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, Method, Proxy, RequestBuilder, Response, header, redirect::Policy};
use url::Url;

use super::{
    homeserver::{BodyStream, Homeserver, Reply},
    options::{GatewayError, GatewayOptions},
    peer::{Call, CallFailure, is_ours},
};
use crate::{
    secret::Secret,
    wire::{AnswerKind, MediaInfo},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle connections kept to the homeserver: long polls do not count, they are not idle.
const POOL_PER_HOST: usize = 32;
/// A homeserver may move a call within its Matrix API this often.
const MAX_REDIRECTS: usize = 3;
/// Longest pause that a header may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One pooled client for one homeserver.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    /// Without a slash at its end.
    base: String,
    origin: url::Origin,
}

impl Http {
    pub(super) fn new(options: &GatewayOptions) -> Result<Self, GatewayError> {
        let wrong = || GatewayError::Homeserver(options.homeserver.clone());
        let url = base_url(&options.homeserver).ok_or_else(wrong)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let (origin, folder) = (url.origin(), url.path().trim_end_matches('/').to_owned());
        let policy = Policy::custom(move |attempt| {
            let to = attempt.url();
            let ours =
                to.origin() == origin && to.path().strip_prefix(&folder).is_some_and(is_ours);
            if ours && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let client = client(options, policy)?;
        Ok(Self { client, base, origin: url.origin() })
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder, CallFailure> {
        let text = format!("{}{}", self.base, call.path);
        let mut url = Url::parse(&text).map_err(|_not_a_url| CallFailure::Unreachable)?;
        // The path was checked; this holds even if that check should have a hole.
        if url.origin() != self.origin || url.as_str() != text {
            return Err(CallFailure::Unreachable);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let method = Method::from_bytes(call.method.as_bytes())
            .map_err(|_not_a_method| CallFailure::Unreachable)?;
        Ok(self.client.request(method, url))
    }
}

impl Homeserver for Http {
    async fn call(
        &self,
        call: &Call,
        token: Option<&Secret<String>>,
        upload: Option<BodyStream>,
    ) -> Result<Reply, CallFailure> {
        let mut request = self.request(call)?;
        if call.answer == AnswerKind::Binary {
            // Its length is then the body's, and a file that is an archive stays one.
            request = request.header(header::ACCEPT_ENCODING, "identity");
        }
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            request = request.body(body.get().to_owned());
        } else if let (Some(info), Some(body)) = (&call.upload, upload) {
            request = request.header(header::CONTENT_TYPE, &info.content_type);
            if let Some(length) = info.length {
                request = request.header(header::CONTENT_LENGTH, length);
            }
            request = request.body(reqwest::Body::wrap_stream(body.map(|piece| {
                piece.map_err(|_broken| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
            })));
        } else if matches!(call.method.as_str(), "POST" | "PUT") {
            request = request.header(header::CONTENT_LENGTH, 0_u16);
        }
        request.send().await.map(reply).map_err(|error| failure(&error))
    }
}

/// The client, with the options' proxy and certificates.
pub(super) fn client(options: &GatewayOptions, policy: Policy) -> Result<Client, GatewayError> {
    let mut tls = crate::tls::client_config(options.extra_ca.as_deref())?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(policy)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(POOL_PER_HOST)
        .tcp_nodelay(true)
        .user_agent(concat!("grotto/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    if let Some(address) = &options.proxy {
        builder = builder.proxy(proxy(address)?);
    }
    builder.build().map_err(|error| GatewayError::Http(Box::new(error.without_url())))
}

/// Host names are resolved by the proxy, whichever way its address is written.
fn proxy(address: &str) -> Result<Proxy, GatewayError> {
    let address = address
        .strip_prefix("socks5://")
        .map_or_else(|| address.to_owned(), |rest| format!("socks5h://{rest}"));
    Proxy::all(address).map_err(|error| GatewayError::Http(Box::new(error.without_url())))
}

/// A homeserver's base URL: `https`, or `http` where nothing between can read along.
pub(super) fn base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let clear = crate::tls::may_be_clear(&url.host()?);
    let secure = url.scheme() == "https" || (url.scheme() == "http" && clear);
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (secure && plain).then_some(url)
}

fn reply(response: Response) -> Reply {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = text(header::RETRY_AFTER)
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
    let content_type = text(header::CONTENT_TYPE).unwrap_or("application/octet-stream").to_owned();
    let info = MediaInfo { content_type, length: response.content_length() };
    Reply {
        status: response.status().as_u16(),
        retry_after,
        info,
        body: Box::pin(response.bytes_stream().map(|piece| piece.map_err(|error| failure(&error)))),
    }
}

fn failure(error: &reqwest::Error) -> CallFailure {
    tracing::debug!(
        timeout = error.is_timeout(),
        connect = error.is_connect(),
        body = error.is_body(),
        "call failed"
    );
    if error.is_timeout() { CallFailure::TimedOut } else { CallFailure::Unreachable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_homeserver_is_reached_encrypted_or_on_this_machine() {
        for good in [
            "https://matrix.example.org",
            "https://example.org/matrix/",
            "http://127.0.0.1:8008",
            "http://localhost:8008",
            "http://[::1]:8008",
            "http://abc.onion",
        ] {
            assert!(base_url(good).is_some(), "{good}");
        }
        for bad in [
            "http://matrix.example.org",
            "ftp://example.org",
            "matrix.example.org",
            "https://user:password@example.org",
            "https://example.org/?x",
            "",
        ] {
            assert!(base_url(bad).is_none(), "{bad}");
        }
    }
}
