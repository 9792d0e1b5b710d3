//! The client's socket: dials a [`Route`], shakes hands, turns frames into messages and back, and
//! notices a dead server.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Sink, Stream};
use http::{HeaderValue, header};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as SocketError, Message,
        client::IntoClientRequest,
        error::CapacityError,
        protocol::{CloseFrame, WebSocketConfig},
    },
};
use url::Url;

use super::{
    heard::{Heard, Io},
    route::{DialError, RemoteRoute, Route},
};
use crate::{
    secret::Secret,
    wire::{
        ClientFrame, CloseCode, DecodeError, Limits, Payload, STREAM_PATH, ServerFrame,
        Subprotocol, SyncFrame,
    },
};

/// Pings that are taken while nothing can be written: each leaves its answer in memory.
const MAX_PINGS: usize = 256;

/// Room for what stands around the body of an answer.
const ENVELOPE_BYTES: usize = 4 << 10;

/// A connection that is up.
///
/// The socket's own buffer holds what is not yet written, so a dropped future never leaves half a
/// frame behind.
pub struct Transport {
    socket: WebSocketStream<Heard>,
    liveness: Liveness,
    /// The largest update that is taken, in bytes.
    takes: usize,
    /// Pings that came since the socket was last written empty.
    pings: usize,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The server closed.
    #[error("the server closed the stream: {reason} ({code})")]
    Closed {
        /// The close code; 1005 when it gave none, 1006 when the connection just ended.
        code: u16,
        /// Its words; untrusted text.
        reason: String,
    },
    /// The server has not answered a ping.
    #[error("the server does not answer any more")]
    Dead,
    /// The server asks without end whether we are there.
    #[error("the server sends pings without end and takes no answer")]
    Deaf,
    /// The server sent something that is no frame.
    #[error("the server sent something that is no frame")]
    Frame(#[source] DecodeError),
    /// The server sent more at once than this end takes.
    #[error(
        "the server sent more than {} MiB at once: raise sync_mib and answer_mib in [limits] of config.toml",
        .0 >> 20
    )]
    TooLarge(usize),
    /// A frame of ours cannot be written.
    #[error("the frame cannot be written")]
    Encode(#[source] DecodeError),
    /// The socket failed.
    #[error("the connection broke")]
    Socket(#[source] Box<SocketError>),
}

impl Transport {
    /// Connects: network, proxy, TLS and handshake, within the time limit for all of it. Without a
    /// token only the calls that need none are answered.
    ///
    /// # Errors
    /// [`DialError`]; most go away by themselves.
    pub async fn connect(route: &Route, token: Option<&Secret<String>>) -> Result<Self, DialError> {
        let limits = route.limits();
        timeout(limits.dial_timeout, Self::dial(route, token, limits))
            .await
            .map_err(|_elapsed| DialError::Timeout(limits.dial_timeout))?
    }

    async fn dial(
        route: &Route,
        token: Option<&Secret<String>>,
        limits: &Limits,
    ) -> Result<Self, DialError> {
        let (url, stream): (String, Box<dyn Io>) = match route {
            Route::Remote(remote) => (remote.url.clone(), open(remote).await?),
            Route::InProcess(connector) => {
                let stream = connector.connect().map_err(DialError::InProcess)?;
                (format!("ws://localhost{STREAM_PATH}"), Box::new(stream))
            }
        };
        let request = handshake(&url, token)?;
        let answer = limits.max_answer_bytes.saturating_add(ENVELOPE_BYTES);
        let largest = limits.max_update_bytes.max(answer);
        let config = WebSocketConfig::default()
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        let stream = Heard::new(stream);
        let (socket, _response) =
            client_async_with_config(request, stream, Some(config)).await.map_err(refusal)?;
        let takes = limits.max_update_bytes;
        Ok(Self { socket, liveness: Liveness::new(limits), takes, pings: 0 })
    }

    /// Waits for the next frame, and writes on what [`Transport::send`] left over. Frames of
    /// unknown kind are skipped.
    ///
    /// Cancel-safe: a frame is taken from the socket only in the poll that returns it.
    ///
    /// # Errors
    /// When the connection is over; every further call says so too.
    pub async fn recv(&mut self) -> Result<ServerFrame, TransportError> {
        loop {
            let deadline = self.liveness.deadline(self.socket.get_ref().at());
            let message = tokio::select! {
                biased;
                message = poll_fn(|cx| self.poll_message(cx)) => message?,
                () = sleep_until(deadline) => {
                    self.listen()?;
                    continue;
                }
            };
            if let Some(frame) = frame(message)? {
                return Ok(frame);
            }
        }
    }

    /// Waits for the next frame, or until the network has taken all that was sent (`None`).
    ///
    /// Cancel-safe, as [`Transport::recv`] is.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn recv_or_room(&mut self) -> Result<Option<ServerFrame>, TransportError> {
        loop {
            let deadline = self.liveness.deadline(self.socket.get_ref().at());
            let message = tokio::select! {
                biased;
                message = poll_fn(|cx| self.poll_message_or_room(cx)) => message?,
                () = sleep_until(deadline) => {
                    self.listen()?;
                    continue;
                }
            };
            let Some(message) = message else { return Ok(None) };
            if let Some(frame) = frame(message)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Sends a frame. What the network does not take at once stays in the socket's buffer and goes
    /// out in the next calls of [`Transport::recv`] and [`Transport::send`]; while more than about
    /// 128 KiB wait there, this waits too.
    ///
    /// When its future is dropped, the frame was either taken whole or not at all.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), TransportError> {
        let encoded = match frame {
            ClientFrame::Sync(sync) if sync.max_update_bytes.is_none() => {
                let max_update_bytes = u64::try_from(self.takes).ok();
                ClientFrame::Sync(SyncFrame { max_update_bytes, ..sync.clone() }).encode()
            }
            ClientFrame::Sync(_)
            | ClientFrame::Request(_)
            | ClientFrame::Ack(_)
            | ClientFrame::Cancel(_)
            | ClientFrame::Window(_)
            | ClientFrame::Token(_)
            | ClientFrame::Chunk(_) => frame.encode(),
        };
        let message = match encoded.map_err(TransportError::Encode)? {
            Payload::Text(text) => Message::text(text),
            Payload::Binary(bytes) => Message::binary(bytes),
        };
        let ready = poll_fn(|cx| Pin::new(&mut self.socket).poll_ready(cx));
        timeout(self.liveness.patience(), ready)
            .await
            .map_err(|_elapsed| TransportError::Dead)?
            .map_err(lost)?;
        Pin::new(&mut self.socket).start_send(message).map_err(lost)?;
        poll_fn(|cx| self.poll_write(cx).map_or(Poll::Ready(Ok(())), Poll::Ready)).await
    }

    /// Writes what is left and closes, within a short time.
    pub async fn close(mut self) {
        let close = CloseFrame {
            code: CloseCode::Normal.code().into(),
            reason: CloseCode::Normal.reason().into(),
        };
        let closed = timeout(Duration::from_secs(2), self.socket.close(Some(close))).await;
        tracing::debug!(in_order = matches!(closed, Ok(Ok(()))), "stream closed");
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, TransportError>> {
        let blocked = match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
            Poll::Ready(Ok(())) => {
                self.pings = 0;
                false
            }
            Poll::Pending => true,
        };
        let Some(message) = ready!(Pin::new(&mut self.socket).poll_next(cx)) else {
            return Poll::Ready(Err(ended()));
        };
        if blocked && matches!(message, Ok(Message::Ping(_))) {
            self.pings += 1;
            if self.pings > MAX_PINGS {
                return Poll::Ready(Err(TransportError::Deaf));
            }
        }
        Poll::Ready(message.map_err(lost))
    }

    fn poll_message_or_room(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, TransportError>> {
        match self.poll_message(cx) {
            Poll::Ready(message) => Poll::Ready(message.map(Some)),
            Poll::Pending => match self.poll_write(cx) {
                Some(written) => Poll::Ready(written.map(|()| None)),
                None => Poll::Pending,
            },
        }
    }

    /// `None` while the network takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Option<Result<(), TransportError>> {
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(done) => Some(done.map_err(lost)),
            Poll::Pending => None,
        }
    }

    /// The time to ask, or to give up, unless something came meanwhile.
    fn listen(&mut self) -> Result<(), TransportError> {
        let heard_at = self.socket.get_ref().at();
        if Instant::now() < self.liveness.deadline(heard_at) {
            return Ok(());
        }
        if self.liveness.unanswered(heard_at).is_some() {
            return Err(TransportError::Dead);
        }
        self.liveness.ask(heard_at);
        Pin::new(&mut self.socket).start_send(Message::Ping(Vec::new().into())).map_err(lost)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("liveness", &self.liveness).finish_non_exhaustive()
    }
}

/// Whether the server was asked if it is there, and how long to wait for what.
#[derive(Debug)]
struct Liveness {
    asked: Option<Asked>,
    ping_after: Duration,
    ping_timeout: Duration,
}

#[derive(Debug)]
struct Asked {
    at: Instant,
    /// When it was last heard before that.
    heard_at: Instant,
}

impl Liveness {
    fn new(limits: &Limits) -> Self {
        Self {
            asked: None,
            ping_after: limits.link_ping_after,
            ping_timeout: limits.link_ping_timeout,
        }
    }

    fn ask(&mut self, heard_at: Instant) {
        self.asked = Some(Asked { at: Instant::now(), heard_at });
    }

    /// When it was asked, if it has sent nothing since.
    fn unanswered(&self, heard_at: Instant) -> Option<Instant> {
        self.asked.as_ref().filter(|asked| asked.heard_at == heard_at).map(|asked| asked.at)
    }

    fn deadline(&self, heard_at: Instant) -> Instant {
        match self.unanswered(heard_at) {
            Some(asked_at) => asked_at + self.ping_timeout,
            None => heard_at + self.ping_after,
        }
    }

    fn patience(&self) -> Duration {
        self.ping_after + self.ping_timeout
    }
}

/// Connects to the network, by proxy and TLS as the route says.
async fn open(remote: &RemoteRoute) -> Result<Box<dyn Io>, DialError> {
    let wrong = || DialError::Url(remote.url.clone());
    let url = Url::parse(&remote.url).map_err(|_not_a_url| wrong())?;
    let host = url.host().ok_or_else(wrong)?;
    let name = host.to_string().trim_matches(['[', ']']).to_owned();
    let (encrypted, default_port) = match url.scheme() {
        "wss" => (true, 443),
        "ws" if crate::tls::may_be_clear(&host) => (false, 80),
        "ws" => return Err(DialError::Insecure(name)),
        _ => return Err(wrong()),
    };
    let port = url.port().unwrap_or(default_port);
    let tcp = match &remote.proxy {
        Some(proxy) => proxy.connect(&name, port).await?,
        None => direct(&name, port).await?,
    };
    if !encrypted {
        return Ok(Box::new(tcp));
    }
    let config = crate::tls::client_config(remote.extra_ca.as_deref())?;
    let server = ServerName::try_from(name.clone()).map_err(|_not_a_name| wrong())?;
    let tls = TlsConnector::from(std::sync::Arc::new(config))
        .connect(server, tcp)
        .await
        .map_err(|source| DialError::Handshake { host: name, source })?;
    Ok(Box::new(tls))
}

async fn direct(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let unreachable = |source| DialError::Unreachable { host: host.to_owned(), source };
    let tcp = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    Ok(tcp)
}

fn handshake(url: &str, token: Option<&Secret<String>>) -> Result<http::Request<()>, DialError> {
    let mut request =
        url.into_client_request().map_err(|_not_a_uri| DialError::Url(url.to_owned()))?;
    let names: Vec<&str> = Subprotocol::ALL.iter().map(|known| known.name()).collect();
    let names = HeaderValue::from_str(&names.join(", "))
        .map_err(|_not_a_header| DialError::Url(url.to_owned()))?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, names);
    if let Some(token) = token {
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        let mut value =
            HeaderValue::from_str(bearer.expose()).map_err(|_not_a_header| DialError::Token)?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

fn refusal(error: SocketError) -> DialError {
    let SocketError::Http(response) = error else {
        return DialError::Upgrade(Box::new(error));
    };
    let said = response.body().as_deref().unwrap_or_default();
    let said: String = String::from_utf8_lossy(said).chars().take(200).collect();
    let reason = if said.is_empty() { said } else { format!(": {said}") };
    DialError::Refused { status: response.status().as_u16(), reason }
}

/// The frame in a message, if there is one.
fn frame(message: Message) -> Result<Option<ServerFrame>, TransportError> {
    let decoded = match message {
        Message::Text(text) => ServerFrame::decode_text(&text),
        Message::Binary(bytes) => ServerFrame::decode_binary(&bytes),
        Message::Close(frame) => return Err(closed(frame.as_ref())),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(None),
    };
    match decoded {
        Ok(frame) => Ok(Some(frame)),
        Err(DecodeError::UnknownKind { .. } | DecodeError::UnknownChunk(_)) => Ok(None),
        Err(
            error @ (DecodeError::Malformed { .. }
            | DecodeError::ShortChunk
            | DecodeError::LongChunk(_)
            | DecodeError::Unwritable(_)),
        ) => Err(TransportError::Frame(error)),
    }
}

fn closed(frame: Option<&CloseFrame>) -> TransportError {
    let code = frame.map_or(1005, |frame| frame.code.into());
    let reason = frame.map_or("no reason given", |frame| frame.reason.as_str()).to_owned();
    TransportError::Closed { code, reason }
}

fn ended() -> TransportError {
    TransportError::Closed { code: 1006, reason: "the connection ended".to_owned() }
}

fn lost(error: SocketError) -> TransportError {
    if let SocketError::Capacity(CapacityError::MessageTooLong { max_size, .. }) = error {
        return TransportError::TooLarge(max_size);
    }
    TransportError::Socket(Box::new(error))
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, SinkExt, StreamExt};
    use tokio::{
        io::{AsyncWriteExt, DuplexStream},
        sync::mpsc,
    };
    use tokio_tungstenite::{
        accept_hdr_async,
        tungstenite::handshake::server::{Request, Response},
    };

    use super::*;
    use crate::{link::DuplexConnector, wire::CancelFrame};

    /// Our end and a server's, over a pipe with room for so many bytes.
    async fn pair(room: usize) -> (Transport, WebSocketStream<DuplexStream>) {
        limited(room, Limits::default()).await
    }

    async fn limited(room: usize, limits: Limits) -> (Transport, WebSocketStream<DuplexStream>) {
        let (sender, mut receiver) = mpsc::channel(1);
        let connector = DuplexConnector::new(move || {
            let (ours, theirs) = tokio::io::duplex(room);
            sender.try_send(theirs).map_err(std::io::Error::other)?;
            Ok(ours)
        });
        #[expect(clippy::result_large_err, reason = "the signature tungstenite asks for")]
        let agree = |request: &Request, mut response: Response| {
            let offered = request.headers()[header::SEC_WEBSOCKET_PROTOCOL].clone();
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
            Ok(response)
        };
        let route = Route::InProcess(connector.with_limits(limits));
        let server = async { accept_hdr_async(receiver.recv().await.unwrap(), agree).await };
        let (ours, theirs) = tokio::join!(Transport::connect(&route, None), server);
        (ours.unwrap(), theirs.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_said_before_it_comes_and_when_it_came() {
        let limits =
            Limits { max_update_bytes: 1 << 20, max_answer_bytes: 1 << 20, ..Limits::default() };
        let (mut transport, mut server) = limited(1 << 22, limits).await;
        transport.send(&ClientFrame::Sync(SyncFrame::default())).await.unwrap();
        let text = server.next().await.unwrap().unwrap().into_text().unwrap();
        let ClientFrame::Sync(sync) = ClientFrame::decode_text(&text).unwrap() else {
            panic!("{text}")
        };
        assert_eq!(sync.max_update_bytes, Some(1 << 20));
        // A server that does not know of it.
        server.send(Message::text(json_update(1 << 21))).await.unwrap();
        let error = transport.recv().await.unwrap_err();
        assert!(matches!(error, TransportError::TooLarge(_)), "{error}");
        assert!(error.to_string().contains("more than 1 MiB at once: raise sync_mib"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_server_is_noticed_within_thirty_seconds() {
        let (mut transport, _silent) = pair(1 << 16).await;
        let begin = Instant::now();
        let error = transport.recv().await.unwrap_err();
        assert!(matches!(error, TransportError::Dead), "{error}");
        assert!(begin.elapsed() <= Duration::from_secs(30), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_pings_is_alive_however_quiet() {
        let (mut transport, mut server) = pair(1 << 16).await;
        let quiet = async {
            // Reading is what answers pings.
            let end = timeout(Duration::from_secs(3600), server.next()).await;
            assert!(end.is_ok_and(|message| message.unwrap().unwrap().is_ping()));
            timeout(Duration::from_secs(10), server.next()).await.unwrap_err();
            server.send(Message::text(r#"{"kind":"error","errcode":"X"}"#)).await.unwrap();
        };
        let (frame, ()) = tokio::join!(transport.recv(), quiet);
        assert!(matches!(frame, Ok(ServerFrame::Error(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_message_over_a_slow_line_arrives() {
        let (mut transport, mut server) = pair(1 << 16).await;
        let update = json_update(60_000);
        let slow = async {
            // A frame of a server: text, whole, with a length of 16 bits.
            let raw = server.get_mut();
            raw.write_all(&[0x81, 126]).await.unwrap();
            raw.write_all(&u16::try_from(update.len()).unwrap().to_be_bytes()).await.unwrap();
            for piece in update.as_bytes().chunks(5_000) {
                tokio::time::sleep(Duration::from_secs(15)).await;
                raw.write_all(piece).await.unwrap();
            }
        };
        let (frame, ()) = tokio::join!(transport.recv(), slow);
        assert!(matches!(frame, Ok(ServerFrame::Update(_))), "{frame:?}");
    }

    fn json_update(bytes: usize) -> String {
        format!(r#"{{"kind":"update","position":"s","body":{{"x":"{}"}}}}"#, "x".repeat(bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn pings_of_a_server_that_takes_no_answer_do_not_fill_the_memory() {
        let (mut transport, mut server) = pair(4096).await;
        let flood = async {
            let ping = [&[0x89, 125][..], &[7; 125]].concat();
            // Never read from: the answers have nowhere to go.
            while server.get_mut().write_all(&ping).await.is_ok() {}
        };
        tokio::select! {
            error = transport.recv() => {
                assert!(matches!(error, Err(TransportError::Deaf)), "{error:?}");
            }
            () = flood => panic!("the server's end closed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_futures_leave_no_half_frame_behind() {
        let (mut transport, mut server) = pair(64).await;
        for id in 0..50 {
            // Each send is polled once and dropped, each recv too; the pipe takes 64 bytes at once.
            let path = "x".repeat(1000);
            let request = crate::wire::RequestFrame { id, path, ..Default::default() };
            let frame = ClientFrame::Request(request);
            let sent = transport.send(&frame).now_or_never();
            assert!(sent.is_some_and(|sent| sent.is_ok()), "it fits the buffer");
            assert!(transport.recv().now_or_never().is_none());
        }
        let mut ids = Vec::new();
        while ids.len() < 50 {
            tokio::select! {
                message = server.next() => {
                    let text = message.unwrap().unwrap().into_text().unwrap();
                    let ClientFrame::Request(request) = ClientFrame::decode_text(&text).unwrap()
                    else { panic!("{text}") };
                    ids.push(request.id);
                }
                end = transport.recv() => panic!("{end:?}"),
            }
        }
        assert_eq!(ids, (0..50).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_read_is_given_up() {
        let (mut transport, _deaf) = pair(64).await;
        let path = "x".repeat(200_000);
        let request = crate::wire::RequestFrame { path, ..Default::default() };
        transport.send(&ClientFrame::Request(request)).await.unwrap();
        let begin = Instant::now();
        let error = transport.send(&ClientFrame::Cancel(CancelFrame { id: 0 })).await.unwrap_err();
        assert!(matches!(error, TransportError::Dead), "{error}");
        assert!(begin.elapsed() <= Duration::from_secs(30), "{:?}", begin.elapsed());
    }
}
