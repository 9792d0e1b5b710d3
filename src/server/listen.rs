//! The network of a server: the client-server API over HTTP and the stream, on one port.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body as _, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
};

use super::{
    front::Inside,
    host::Server,
    metrics::Metrics,
    model::Address,
    patience::{Ended, Paced, paced},
};
use crate::{
    gateway::{BodyStream, CallFailure, Gateway, GatewayOptions, Host, Upgrade, network},
    wire::{Limits, STREAM_PATH},
};

/// Room for a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The body of an answer.
type Body = UnsyncBoxBody<Bytes, CallFailure>;

/// A server and its network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Site {
    server: Server,
    gateway: Gateway<Inside>,
    limits: Limits,
    metrics: Arc<Metrics>,
    proxies: Arc<[IpAddr]>,
}

impl Site {
    /// Puts a server on the network.
    pub fn new(server: Server, limits: Limits) -> Self {
        let options = GatewayOptions { limits: limits.clone(), ..GatewayOptions::default() };
        let inside = Inside { server: server.clone(), limits: limits.clone(), from: None };
        let gateway = Gateway::before(inside, options);
        Self { server, gateway, limits, metrics: Arc::default(), proxies: Arc::default() }
    }

    /// Behind these relays, and only these: what they say of where a call comes from is believed.
    #[must_use]
    pub fn behind(self, proxies: Vec<IpAddr>) -> Self {
        Self { proxies: proxies.into(), ..self }
    }

    /// What it counts of itself, to be answered at another address.
    pub fn counts(&self) -> Counts {
        Counts { site: self.clone() }
    }

    fn health(&self) -> Response<Body> {
        if self.server.is_running() {
            plain(StatusCode::OK, "ok\n")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "stopped\n")
        }
    }

    /// The stream alone, for clients in this process.
    pub fn gateway(&self) -> &Gateway<impl crate::gateway::Homeserver + use<>> {
        &self.gateway
    }

    /// Answers one HTTP request, after it was said where it comes from.
    async fn answer(&self, mut request: Request<Incoming>, upgrades: &Upgrades) -> Response<Body> {
        let path = request.uri().path();
        let response = if path == STREAM_PATH {
            let from = request.extensions().get::<Address>().cloned();
            let (response, upgrade) = self.gateway.upgrade(&mut request);
            match upgrade.zip(from).map(|upgrade| upgrades.try_send(upgrade)) {
                None | Some(Ok(())) => response.map(full),
                Some(Err(_second)) => plain(StatusCode::BAD_REQUEST, "one upgrade only\n"),
            }
        } else if path == "/healthz" {
            self.health()
        } else if request.method() == Method::OPTIONS {
            plain(StatusCode::NO_CONTENT, "")
        } else {
            self.call(request).await
        };
        self.metrics.count(response.status());
        with_origins(response)
    }
}

impl Site {
    /// Answers a call of the client-server API.
    async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        let ended = Ended::default();
        let has_body = !request.body().is_end_stream();
        let request = request.map(|body| paced(incoming(body), ended.clone()));
        let answer = self.server.answer(request, &self.limits).await;
        let mut answer =
            answer.map(|body| StreamBody::new(body.map_ok(Frame::data)).boxed_unsync());
        if has_body && !ended.get() {
            // Its rest cannot be told from the next request.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// Upgrades of a connection, with where they come from.
type Upgrades = mpsc::Sender<(Upgrade, Address)>;

impl Host for Site {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn serve<S>(&self, stream: S, from: IpAddr, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = self.metrics.open();
        let (sender, mut upgrades) = mpsc::channel(1);
        let service = service_fn(|mut request: Request<Incoming>| {
            let from = origin(from, &self.proxies, request.headers());
            request.extensions_mut().insert(from);
            let answer = self.answer(request, &sender);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_timeout)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(Paced::new(stream)), service)
                .with_upgrades()
        );
        let mut is_stopping = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    tracing::debug!(in_order = ended.is_ok(), "http served");
                    break;
                }
                changed = stop.changed(), if !is_stopping => {
                    is_stopping = true;
                    if changed.is_ok() {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
        if let Ok((upgrade, from)) = upgrades.try_recv() {
            let (server, limits) = (self.server.clone(), self.limits.clone());
            let inside = Inside { server, limits, from: Some(from) };
            self.gateway.instead(inside).run(upgrade, stop).await;
        }
        drop(open);
    }
}

/// Where a call comes from: of relays that are trusted, who they say.
fn origin(from: IpAddr, proxies: &[IpAddr], headers: &HeaderMap) -> Address {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|proxy| network(*proxy) == *address);
    let mut origin = from;
    if is_proxy(&from) {
        // Each relay appends whom it talked to; what stands before that, anybody may have written.
        let lists = headers.get_all("x-forwarded-for").iter().filter_map(|it| it.to_str().ok());
        let hops: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
        for hop in hops.into_iter().rev() {
            let Ok(address) = hop.parse() else { break };
            origin = network(address);
            if !is_proxy(&origin) {
                break;
            }
        }
    }
    Address(origin.to_string())
}

/// What a server counts of itself, for an address of its own.
#[derive(Clone, Debug)]
pub struct Counts {
    site: Site,
}

impl Host for Counts {
    fn limits(&self) -> &Limits {
        &self.site.limits
    }

    async fn serve<S>(&self, stream: S, _from: IpAddr, _stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let response = match request.uri().path() {
                "/metrics" => plain(StatusCode::OK, &self.site.metrics.text()),
                "/healthz" => self.site.health(),
                _ => plain(StatusCode::NOT_FOUND, "no such page\n"),
            };
            async move { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.site.limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(Paced::new(stream)), service)
            .await;
        tracing::debug!(in_order = served.is_ok(), "counts told");
    }
}

/// A request's body as pieces.
fn incoming(body: Incoming) -> BodyStream {
    Box::pin(body.into_data_stream().map(|piece| piece.map_err(|_broken| CallFailure::Unreachable)))
}

fn full(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Pages of any origin may call, as the specification asks; there are no cookies to steal.
fn with_origins(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "X-Requested-With, Content-Type, Authorization"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::server::{
        db::Database,
        model::{Model, Settings},
    };

    /// The answer to a GET of this path.
    fn get(host: &impl Host, path: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut client, stream) = tokio::io::duplex(1 << 16);
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let (_run, stop) = watch::channel(false);
            let mut answer = String::new();
            let served = host.serve(stream, IpAddr::from([127, 0, 0, 1]), stop);
            let ((), read) = tokio::join!(served, client.read_to_string(&mut answer));
            read.unwrap();
            answer
        })
    }

    #[test]
    fn its_health_tells_whether_anybody_is_left_to_answer() {
        let settings = || Settings::new("x".to_owned());
        let database = Database::in_memory().unwrap();
        let server = Server::start(Model::new(settings()), database).unwrap();
        for (server, status) in [(server, "200"), (Server::gone(settings()), "503")] {
            let site = Site::new(server, Limits::default());
            let head = format!("HTTP/1.1 {status} ");
            assert!(get(&site, "/healthz").starts_with(&head), "{status}");
            assert!(get(&site.counts(), "/healthz").starts_with(&head), "{status}");
        }
    }

    #[test]
    fn only_trusted_relays_say_where_a_call_comes_from() {
        let proxies = ["127.0.0.1", "2001:db8::5"].map(|it| it.parse().unwrap());
        let from = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for list in forwarded {
                headers.append("x-forwarded-for", list.parse().unwrap());
            }
            origin(network(peer.parse().unwrap()), &proxies, &headers).0
        };
        assert_eq!(from("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "a stranger is not believed");
        assert_eq!(from("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(from("127.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        // What a client writes itself comes first.
        assert_eq!(from("127.0.0.1", &["10.0.0.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &["10.0.0.1", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &["198.51.100.7, 127.0.0.1"]), "198.51.100.7");
        assert_eq!(from("2001:db8::77", &["2001:db9::2:3:4:5"]), "2001:db9::", "one /64");
        assert_eq!(from("127.0.0.1", &["nonsense"]), "127.0.0.1");
    }
}
