//! From a fresh connection to a WebSocket: the HTTP part, by hyper. Refuses what must not connect,
//! with a reason, before anything is upgraded.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
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

use super::options::GatewayOptions;
use crate::{
    secret::Secret,
    wire::{Limits, STREAM_PATH, Subprotocol, negotiate},
};

/// Room for the request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// A connection that is upgraded.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What a client said in its handshake.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) token: Option<Secret<String>>,
}

/// Serves HTTP until the connection ends or becomes a WebSocket.
pub(super) async fn accept<S>(stream: S, options: &Arc<GatewayOptions>) -> Option<Accepted>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(1);
    let service = service_fn(|request| {
        let answer = answer(request, options, &sender);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.limits.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // Everything before the upgrade is short: the head's time limit holds for all of it.
    let served = timeout(options.limits.header_timeout, http).await;
    tracing::debug!(in_time = served.is_ok(), "http served");
    let (upgrade, token) = receiver.try_recv().ok()?;
    let upgraded = timeout(options.limits.header_timeout, upgrade).await.ok()?.ok()?;
    let config = socket_config(&options.limits, token.is_some());
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    Some(Accepted { socket, token })
}

type Upgrades = mpsc::Sender<(OnUpgrade, Option<Secret<String>>)>;

fn answer(
    mut request: Request<Incoming>,
    options: &GatewayOptions,
    upgrades: &Upgrades,
) -> Response<Full<Bytes>> {
    if request.uri().path() == "/healthz" {
        return plain(StatusCode::OK, "ok\n");
    }
    match check(&request, options) {
        Err(refusal) => refuse(&refusal),
        Ok(offer) => {
            let upgrade = hyper::upgrade::on(&mut request);
            match upgrades.try_send((upgrade, offer.token)) {
                Ok(()) => switch(offer.accept_key, offer.subprotocol),
                Err(_) => refuse(&Refusal::new(StatusCode::BAD_REQUEST, "one upgrade only")),
            }
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
    check_upgrade(request.method(), headers)?;
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
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key)).ok())
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key"))?;
    Ok(Offer { token: token(headers)?, accept_key, subprotocol })
}

fn check_upgrade(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let wanted = method == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade");
    if !wanted {
        let reason = "connect with a WebSocket: GET with Upgrade: websocket";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, reason));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        let reason = "the WebSocket version is 13";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, reason));
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
    WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most))
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
