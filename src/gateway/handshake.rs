//! From a fresh connection to a WebSocket: the HTTP part, by hyper. Refuses what must not connect,
//! with a reason, before anything is upgraded.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    homeserver::Homeserver,
    options::{Gateway, GatewayOptions},
    service::Host as _,
};
use crate::{
    secret::Secret,
    wire::{Limits, STREAM_PATH, Subprotocol, negotiate},
};

/// Room for the request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Read at once, and kept by each connection however idle.
const READ_BYTES: usize = 8 << 10;

/// What a `Sec-WebSocket-Key` encodes.
const NONCE_BYTES: usize = 16;

/// A connection that is upgraded.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What a client said in its handshake.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) token: Option<Secret<String>>,
}

/// A handshake that was answered with a WebSocket.
pub struct Upgrade {
    upgrade: OnUpgrade,
    token: Option<Secret<String>>,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade(..)")
    }
}

impl Upgrade {
    /// Waits for the answer to be written.
    pub(super) async fn finish(self, limits: &Limits) -> Option<Accepted> {
        let upgraded = timeout(limits.header_timeout, self.upgrade).await.ok()?.ok()?;
        let config = socket_config(limits, self.token.is_some());
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Some(Accepted { socket, token: self.token })
    }
}

/// Serves HTTP until the connection ends or becomes a WebSocket.
pub(super) async fn accept<S, H>(stream: S, gateway: &Gateway<H>) -> Option<Upgrade>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Homeserver,
{
    let (sender, mut receiver) = mpsc::channel(1);
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = if request.uri().path() == "/healthz" {
            plain(StatusCode::OK, "ok\n")
        } else {
            match gateway.upgrade(&mut request) {
                (response, None) => response,
                (response, Some(upgrade)) => sender.try_send(upgrade).map_or_else(
                    |_second| refuse(&Refusal::new(StatusCode::BAD_REQUEST, "one upgrade only")),
                    |()| response,
                ),
            }
        };
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let limits = gateway.limits();
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // Everything before the upgrade is short: the head's time limit holds for all of it.
    let served = timeout(limits.header_timeout, http).await;
    tracing::debug!(in_time = served.is_ok(), "http served");
    receiver.try_recv().ok()
}

/// Answers a request that should be a handshake.
pub(super) fn answer<B>(
    request: &mut Request<B>,
    options: &GatewayOptions,
) -> (Response<Full<Bytes>>, Option<Upgrade>) {
    match check(request, options) {
        Err(refusal) => (refuse(&refusal), None),
        Ok(offer) => {
            let upgrade = Upgrade { upgrade: hyper::upgrade::on(request), token: offer.token };
            (switch(offer.accept_key, offer.subprotocol), Some(upgrade))
        }
    }
}

/// A handshake that may go on.
struct Offer {
    token: Option<Secret<String>>,
    accept_key: HeaderValue,
    subprotocol: HeaderValue,
}

struct Refusal {
    status: StatusCode,
    errcode: &'static str,
    reason: &'static str,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, errcode: "M_UNKNOWN", reason }
    }
}

fn check<B>(request: &Request<B>, options: &GatewayOptions) -> Result<Offer, Refusal> {
    let headers = request.headers();
    if request.uri().path() != STREAM_PATH {
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            errcode: "M_UNRECOGNIZED",
            reason: "here is only the stream, at /_matrix/client/unstable/stream",
        });
    }
    check_upgrade(request, headers)?;
    check_one_meaning(headers)?;
    if request.uri().query().is_some_and(|query| query.contains("access_token")) {
        let reason = "the token stands in the Authorization header, not in the query";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, reason));
    }
    if !origin_is_allowed(headers, &options.allowed_origins) {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            errcode: "M_FORBIDDEN",
            reason: "pages of this origin may not connect",
        });
    }
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let subprotocol = negotiate(&offered.join(",")).and_then(header_value).ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, "no common subprotocol: offer grotto.stream.v1")
    })?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let accept_key = key
        .filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == NONCE_BYTES))
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key)).ok())
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key of 16 bytes"))?;
    Ok(Offer { token: token(headers)?, accept_key, subprotocol })
}

fn check_upgrade<B>(request: &Request<B>, headers: &HeaderMap) -> Result<(), Refusal> {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let wanted = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade");
    if !wanted {
        let reason = "connect with a WebSocket: GET over HTTP/1.1 with Upgrade: websocket";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, reason));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        let reason = "the WebSocket version is 13";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, reason));
    }
    Ok(())
}

/// A relay before us may have read the head otherwise than we do: nothing in it may stand there
/// twice that has one meaning, and no body may hide what follows.
fn check_one_meaning(headers: &HeaderMap) -> Result<(), Refusal> {
    let refused = |reason| Err(Refusal::new(StatusCode::BAD_REQUEST, reason));
    for name in [header::HOST, header::AUTHORIZATION, header::SEC_WEBSOCKET_KEY] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return refused("Host, Authorization and Sec-WebSocket-Key may stand there once");
        }
    }
    if !headers.contains_key(header::HOST) {
        return refused("no Host");
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || lengths.iter().any(|it| it != "0") {
        return refused("a handshake has no body");
    }
    Ok(())
}

/// Only browsers send an `Origin`; a page there acts for whoever opened it.
fn origin_is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        origin.to_str().is_ok_and(|origin| allowed.iter().any(|known| known == origin))
    })
}

fn token(headers: &HeaderMap) -> Result<Option<Secret<String>>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
        .map(|(_, token)| Some(Secret::new(token.trim().to_owned())))
        .ok_or(Refusal {
            status: StatusCode::UNAUTHORIZED,
            errcode: "M_MISSING_TOKEN",
            reason: "the Authorization header is Bearer and a token",
        })
}

fn socket_config(limits: &Limits, has_token: bool) -> WebSocketConfig {
    let most = if has_token { limits.max_frame_bytes } else { limits.max_anonymous_frame_bytes };
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
}

fn switch(accept_key: HeaderValue, subprotocol: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept_key);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    response
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"errcode": refusal.errcode, "error": refusal.reason});
    let mut response = plain(refusal.status, &body.to_string());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if refusal.status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

fn plain(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn header_value(subprotocol: Subprotocol) -> Option<HeaderValue> {
    HeaderValue::from_str(subprotocol.name()).ok()
}
