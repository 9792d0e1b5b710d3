//! The stream between real ends: our link, a third party's client, raw sockets; the gateway as a
//! service; a real Synapse behind it.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::mpsc::channel,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use grotto::{
    gateway::{Discovered, Gateway, GatewayOptions, ListenOptions, Listener, TlsFiles, discover},
    link::{
        DuplexConnector, Link, LinkEvent, Proxy, RemoteRoute, Route, Transport, TransportError,
    },
    matrix::Position,
    secret::Secret,
    time::Timestamp,
    wire::{
        AnswerKind, CancelFrame, ChunkEnd, ChunkFrame, ClientFrame, CloseCode, ErrorFrame, Limits,
        MediaInfo, RequestFrame, ResponseFrame, STREAM_PATH, ServerFrame, SyncFrame, UpdateFrame,
        WindowFrame,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::rig::{PASSWORD, PATIENCE, RateLimits, Synapse, folder, free_port, http, register};

/// Runs `test` within the patience of all tests.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// A gateway service on a thread of its own; stops when dropped.
struct Service {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(homeserver: &str) -> Self {
        Self::with(homeserver, Limits::default(), None)
    }

    fn with(homeserver: &str, limits: Limits, tls: Option<TlsFiles>) -> Self {
        let options = GatewayOptions {
            homeserver: homeserver.to_owned(),
            allowed_origins: vec!["https://good.example".to_owned()],
            limits,
            ..GatewayOptions::default()
        };
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
                async {
                    let address = "127.0.0.1:0".parse().unwrap();
                    let listener = Listener::bind(ListenOptions { address, tls }).await.unwrap();
                    tell.send(listener.local_addr().unwrap()).unwrap();
                    let gateway = Gateway::new(options).unwrap();
                    listener.serve(gateway, async { drop(stopped.await) }).await;
                },
            );
        });
        Self { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("ws://{}{STREAM_PATH}", self.address)
    }

    fn route(&self) -> Route {
        remote(&self.url())
    }

    async fn client(&self, account: &Account) -> Client {
        Client::connect(&self.route(), &account.token).await
    }

    fn stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn remote(url: &str) -> Route {
    Route::Remote(RemoteRoute { url: url.to_owned(), proxy: None, extra_ca: None })
}

/// A login on Synapse, made behind the gateway's back.
struct Account {
    user: String,
    device: String,
    token: String,
}

fn account(base: &str, name: &str) -> Account {
    let user = register(base, name);
    let login = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": user},
    });
    let answer = http(base, "POST", "/_matrix/client/v3/login", None, &login);
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    Account { user, device: text("device_id"), token: text("access_token") }
}

/// A room of one's own.
fn room(base: &str, owner: &Account, invite: &[&Account]) -> String {
    let invite: Vec<&str> = invite.iter().map(|other| other.user.as_str()).collect();
    let body = json!({"invite": invite});
    let answer = http(base, "POST", "/_matrix/client/v3/createRoom", Some(&owner.token), &body);
    answer["room_id"].as_str().unwrap().to_owned()
}

fn send_path(room: &str, txn: &str) -> String {
    let room = room.replace('!', "%21").replace(':', "%3A");
    format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}")
}

/// Our own end, as the engine uses it.
struct Client {
    transport: Transport,
    last_id: u64,
    /// Frames that came while another one was waited for.
    seen: Vec<ServerFrame>,
}

impl Client {
    async fn connect(route: &Route, token: &str) -> Self {
        let token = Secret::new(token.to_owned());
        let transport = Transport::connect(route, Some(&token)).await.unwrap();
        Self { transport, last_id: 0, seen: Vec::new() }
    }

    async fn send(&mut self, frame: ClientFrame) {
        self.transport.send(&frame).await.unwrap();
    }

    async fn sync(&mut self, since: Option<&Position>) {
        self.send(ClientFrame::Sync(SyncFrame { since: since.cloned(), ..Default::default() }))
            .await;
    }

    /// The first frame, seen or to come, that `wanted` takes.
    async fn find<T>(&mut self, mut wanted: impl FnMut(&ServerFrame) -> Option<T>) -> T {
        for at in 0..self.seen.len() {
            if let Some(found) = wanted(&self.seen[at]) {
                self.seen.remove(at);
                return found;
            }
        }
        loop {
            let frame = self.transport.recv().await.unwrap();
            match wanted(&frame) {
                Some(found) => return found,
                None => self.seen.push(frame),
            }
        }
    }

    async fn update(&mut self) -> UpdateFrame {
        self.find(
            |frame| {
                if let ServerFrame::Update(update) = frame { Some(update.clone()) } else { None }
            },
        )
        .await
    }

    async fn ack(&mut self, update: &UpdateFrame) {
        self.send(ClientFrame::Ack(update.position.clone())).await;
    }

    async fn request(&mut self, method: &str, path: &str, body: Option<Value>) -> u64 {
        self.last_id += 1;
        self.send(ClientFrame::Request(RequestFrame {
            id: self.last_id,
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.map(|body| serde_json::value::to_raw_value(&body).unwrap()),
            ..RequestFrame::default()
        }))
        .await;
        self.last_id
    }

    async fn response(&mut self, id: u64) -> ResponseFrame {
        self.find(|frame| {
            let ServerFrame::Response(response) = frame else { return None };
            (response.id == id).then(|| response.clone())
        })
        .await
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let id = self.request(method, path, body).await;
        let response = self.response(id).await;
        (response.status, serde_json::from_str(response.body.get()).unwrap())
    }

    async fn say(&mut self, room: &str, txn: &str, text: &str) -> String {
        let body = json!({"msgtype": "m.text", "body": text});
        let (status, answer) = self.call("PUT", &send_path(room, txn), Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["event_id"].as_str().unwrap().to_owned()
    }

    /// Reads to the close frame.
    async fn closed(mut self) -> u16 {
        loop {
            match self.transport.recv().await {
                Ok(_) => {}
                Err(TransportError::Closed { code, .. }) => return code,
                Err(other) => panic!("not closed but {other:?}"),
            }
        }
    }
}

fn error_in(frame: &ServerFrame) -> Option<ErrorFrame> {
    if let ServerFrame::Error(error) = frame { Some(error.clone()) } else { None }
}

/// Bodies of a room's messages in an update.
fn texts(update: &UpdateFrame, room: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(update.body.get()).unwrap();
    let events = body["rooms"]["join"][room]["timeline"]["events"].as_array();
    let bodies = events.into_iter().flatten().filter(|event| event["type"] == "m.room.message");
    bodies.filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect()
}

fn to_device(update: &UpdateFrame) -> Vec<u64> {
    let body: Value = serde_json::from_str(update.body.get()).unwrap();
    let events = body["to_device"]["events"].as_array();
    events.into_iter().flatten().filter_map(|event| event["content"]["n"].as_u64()).collect()
}

#[test]
fn two_clients_talk_through_one_gateway() {
    let base = Synapse::shared();
    let (alice, bob) = (account(base, "alice"), account(base, "bob"));
    let room = room(base, &alice, &[&bob]);
    let service = Service::start(base);
    run(async {
        let (mut a, mut b) = (service.client(&alice).await, service.client(&bob).await);
        let (status, _) =
            b.call("POST", &format!("/_matrix/client/v3/join/{room}"), Some(json!({}))).await;
        assert_eq!(status, 200);
        a.sync(None).await;
        b.sync(None).await;
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        for n in 0..3 {
            a.say(&room, &format!("a{n}"), &format!("from alice {n}")).await;
            b.say(&room, &format!("b{n}"), &format!("from bob {n}")).await;
        }
        for (client, seen) in [(&mut a, &mut at_a), (&mut b, &mut at_b)] {
            while seen.len() < 6 {
                let update = client.update().await;
                client.ack(&update).await;
                seen.extend(texts(&update, &room));
            }
        }
        assert_eq!(at_a, at_b, "both see the same messages in the same order");
        assert_eq!(at_a.iter().filter(|text| text.starts_with("from alice")).count(), 3);
    });
}

#[test]
fn a_script_written_from_the_document_logs_in_syncs_and_sends() {
    let base = Synapse::shared();
    let user = register(base, "script");
    let service = Service::start(base);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("target/py/bin/python"))
        .arg(root.join("tests/stream_client.py"))
        .args([&service.url(), &user, PASSWORD, "héllo 🦇"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!({"user": user, "seen": 1, "same_event": true, "other_event": true});
    assert_eq!(found, expected);
}

#[test]
fn the_gateway_in_this_process_is_reached_the_same_way() {
    let base = Synapse::shared();
    let alice = account(base, "inside");
    let (halves, mut arriving) = tokio::sync::mpsc::channel::<DuplexStream>(4);
    let connector = DuplexConnector::new(move || {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        halves.try_send(theirs).map_err(std::io::Error::other)?;
        Ok(ours)
    });
    let gateway =
        Gateway::new(GatewayOptions { homeserver: base.to_owned(), ..GatewayOptions::default() })
            .unwrap();
    run(async {
        let serve = async {
            let stream = arriving.recv().await.unwrap();
            gateway.serve_connection(stream).await;
        };
        let ask = async {
            let mut client = Client::connect(&Route::InProcess(connector), &alice.token).await;
            let (_, me) = client.call("GET", "/_matrix/client/v3/account/whoami", None).await;
            client.transport.close().await;
            me
        };
        let ((), me) = tokio::join!(serve, ask);
        assert_eq!(me["user_id"], alice.user.as_str());
    });
}

#[test]
fn no_to_device_message_is_lost_when_the_client_dies_before_its_ack() {
    let base = Synapse::shared();
    let (alice, bob) = (account(base, "sender"), account(base, "receiver"));
    let service = Service::start(base);
    run(async {
        let mut first = service.client(&bob).await;
        first.sync(None).await;
        let start = first.update().await;
        first.ack(&start).await;
        let mut a = service.client(&alice).await;
        for n in 0..5 {
            let body = json!({"messages": {&bob.user: {&bob.device: {"n": n}}}});
            let path = format!("/_matrix/client/v3/sendToDevice/org.example.test/t{n}");
            assert_eq!(a.call("PUT", &path, Some(body)).await.0, 200);
        }
        // Three lives read the first one and die without an ack; nothing may be gone. (Synapse
        // repeats its answer to the same position, so the others may come in a later update.)
        drop(first);
        for _ in 0..3 {
            let mut dying = service.client(&bob).await;
            dying.sync(Some(&start.position)).await;
            assert_eq!(to_device(&dying.update().await).first(), Some(&0));
        }
        let mut alive = service.client(&bob).await;
        alive.sync(Some(&start.position)).await;
        let mut got = Vec::new();
        while got.len() < 5 {
            let update = alive.update().await;
            got.extend(to_device(&update));
            alive.ack(&update).await;
        }
        assert_eq!(got, [0, 1, 2, 3, 4], "all of them, in order, each once");
        let body = json!({"messages": {&bob.user: {&bob.device: {"n": 5}}}});
        let path = "/_matrix/client/v3/sendToDevice/org.example.test/t5";
        assert_eq!(a.call("PUT", path, Some(body)).await.0, 200);
        assert_eq!(to_device(&alive.update().await), [5], "an acknowledged one comes once");
    });
}

/// A relay that passes on a number of bytes in each direction, then cuts.
async fn cut_after(to: SocketAddr, up: usize, down: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let (client, _) = listener.accept().unwrap();
        let server = std::net::TcpStream::connect(to).unwrap();
        let copy = |mut from: std::net::TcpStream, mut to: std::net::TcpStream, most: usize| {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut left, mut buffer) = (most, [0; 1024]);
                while left > 0 {
                    let room = left.min(buffer.len());
                    match from.read(&mut buffer[..room]) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => {
                            left -= n;
                            if to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                    }
                }
                drop(from.shutdown(std::net::Shutdown::Both));
                drop(to.shutdown(std::net::Shutdown::Both));
            })
        };
        let there = copy(client.try_clone().unwrap(), server.try_clone().unwrap(), up);
        let back = copy(server, client, down);
        there.join().unwrap();
        back.join().unwrap();
    });
    address
}

/// One life of a client behind a connection that breaks: syncs, sends what is not answered yet, as
/// the engine does; gives up when the connection does.
async fn one_life(
    route: &Route,
    account: &Account,
    link: &mut Link,
    work: &mut Work,
) -> Result<(), TransportError> {
    let token = Secret::new(account.token.clone());
    let Ok(mut transport) = Transport::connect(route, Some(&token)).await else {
        return Ok(());
    };
    for frame in link.on_up(Timestamp(0)) {
        transport.send(&frame).await?;
    }
    let mut sent = None;
    loop {
        if sent.is_none()
            && let Some((n, frame)) = work.next()
        {
            transport.send(&frame).await?;
            sent = Some(n);
        }
        if work.is_done() {
            transport.close().await;
            return Ok(());
        }
        match link.on_frame(transport.recv().await?, Timestamp(0)) {
            LinkEvent::Response(response) => {
                assert_eq!((Some(response.id), response.status), (sent, 200));
                work.answered(sent.take().unwrap());
            }
            LinkEvent::Update(update) => {
                work.seen.extend(texts(&update, &work.room));
                transport.send(&link.acknowledge(update.position)).await?;
            }
            LinkEvent::Resume(frame) => transport.send(&frame).await?,
            LinkEvent::Nothing | LinkEvent::Chunk(_) | LinkEvent::Window(_) => {}
            LinkEvent::LoggedOut { .. } => panic!("logged out"),
        }
    }
}

/// Messages to send in order, and what came back.
struct Work {
    room: String,
    total: u64,
    answered: u64,
    seen: Vec<String>,
}

impl Work {
    fn next(&self) -> Option<(u64, ClientFrame)> {
        let n = self.answered;
        let body = json!({"msgtype": "m.text", "body": format!("message {n}")});
        let frame = ClientFrame::Request(RequestFrame {
            id: n,
            method: "PUT".to_owned(),
            path: send_path(&self.room, &format!("cut{n}")),
            body: Some(serde_json::value::to_raw_value(&body).unwrap()),
            ..RequestFrame::default()
        });
        (n < self.total).then_some((n, frame))
    }

    fn answered(&mut self, n: u64) {
        self.answered = self.answered.max(n + 1);
    }

    fn is_done(&self) -> bool {
        self.answered == self.total && u64::try_from(self.seen.len()).unwrap() >= self.total
    }
}

#[test]
fn cuts_anywhere_lose_double_and_reorder_nothing() {
    let base = Synapse::shared();
    let alice = account(base, "cut");
    let room = room(base, &alice, &[]);
    let service = Service::start(base);
    run(async {
        let mut link = Link::new(None);
        let mut work = Work { room, total: 30, answered: 0, seen: Vec::new() };
        // The lengths walk through handshake, frames and answers, so the cuts fall anywhere: in a
        // frame's header, in its middle, between a request and its answer.
        for life in 0_usize.. {
            if work.is_done() {
                break;
            }
            assert!(life < 400, "no end in sight: {} of {}", work.answered, work.total);
            let (up, down) = (300 + (life * 397) % 4001, 200 + (life * 911) % 9001);
            let relay = cut_after(service.address, up, down).await;
            let route = remote(&format!("ws://{relay}{STREAM_PATH}"));
            drop(one_life(&route, &alice, &mut link, &mut work).await);
        }
        let expected: Vec<String> = (0..30).map(|n| format!("message {n}")).collect();
        assert_eq!(work.seen, expected);
    });
}

#[test]
fn a_slow_reader_holds_up_nobody_else() {
    let base = Synapse::shared();
    let (slow, quick) = (account(base, "slow"), account(base, "quick"));
    let room = room(base, &quick, &[]);
    let service = Service::start(base);
    run(async {
        let url = service.url();
        let mut raw = raw_client(&url, Some(&slow.token)).await;
        // Answers pile up at a client that never reads.
        for id in 0..60 {
            let text = request_text(id, "/_matrix/client/versions");
            raw.send(Message::text(text)).await.unwrap();
        }
        let mut other = service.client(&quick).await;
        let begin = Instant::now();
        for n in 0..20 {
            other.say(&room, &format!("t{n}"), "quick").await;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        // And the slow one has lost nothing once it reads.
        let mut ids = Vec::new();
        while ids.len() < 60 {
            if let Message::Text(text) = raw.next().await.unwrap().unwrap() {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(frame["status"], 200);
                ids.push(frame["id"].as_u64().unwrap());
            }
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..60).collect::<Vec<_>>());
    });
}

type Raw<S = TcpStream> = tokio_tungstenite::WebSocketStream<S>;

/// A client that may break every rule.
async fn raw_client(url: &str, token: Option<&str>) -> Raw {
    let host = url.strip_prefix("ws://").unwrap().split('/').next().unwrap();
    let stream = TcpStream::connect(host).await.unwrap();
    raw_client_over(stream, url, token).await
}

async fn raw_client_over<S>(stream: S, url: &str, token: Option<&str>) -> Raw<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "grotto.stream.v1".parse().unwrap());
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

fn request_text(id: u64, path: &str) -> String {
    json!({"kind": "request", "id": id, "method": "GET", "path": path}).to_string()
}

/// Reads to the close code.
async fn close_code<S: AsyncRead + AsyncWrite + Unpin>(raw: &mut Raw<S>) -> u16 {
    loop {
        match raw.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("ended without a code: {other:?}"),
        }
    }
}

#[test]
fn limits_are_answered_with_the_code_that_names_them() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let limits = Limits {
        max_frame_bytes: 20_000,
        max_anonymous_frame_bytes: 1_000,
        max_in_flight: 2,

        ping_after: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        ..Limits::default()
    };
    // A homeserver that takes calls and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let service = Service::with(&silent_url, limits.clone(), None);
    let unreachable = Service::with(&nobody, limits, None);
    run(async {
        let url = service.url();
        for (token, bytes) in [(Some("t"), 20_001), (None, 1_001)] {
            let mut raw = raw_client(&url, token).await;
            raw.send(Message::text(" ".repeat(bytes))).await.unwrap();
            assert_eq!(close_code(&mut raw).await, CloseCode::TooLarge.code());
        }

        let mut raw = raw_client(&url, Some("t")).await;
        for id in 0..3 {
            let text = request_text(id, "/_matrix/client/versions");
            raw.send(Message::text(text)).await.unwrap();
        }
        assert_eq!(close_code(&mut raw).await, CloseCode::TooManyRequests.code());

        let mut raw = raw_client(&url, Some("t")).await;
        for _ in 0..2 {
            let text = request_text(1, "/_matrix/client/versions");
            raw.send(Message::text(text)).await.unwrap();
        }
        assert_eq!(close_code(&mut raw).await, CloseCode::IdInUse.code());

        let mut raw = raw_client(&url, Some("t")).await;
        let upload = json!({
            "kind": "request", "id": 1, "method": "POST", "path": "/_matrix/media/v3/upload",
            "upload": {"content_type": "text/plain"},
        });
        raw.send(Message::text(upload.to_string())).await.unwrap();
        for _ in 0..40 {
            let chunk = [&1_u64.to_be_bytes()[..], &[0], &[7; 1000]].concat();
            raw.feed(Message::binary(chunk)).await.unwrap();
        }
        drop(raw.flush().await);
        assert_eq!(close_code(&mut raw).await, CloseCode::WindowExceeded.code());

        let mut raw = raw_client(&url, Some("t")).await;
        raw.get_mut().write_all(&[0xff; 16]).await.unwrap();
        assert_eq!(close_code(&mut raw).await, CloseCode::Protocol.code());

        // Not even the pings of the server are answered while nobody reads.
        let mut raw = raw_client(&url, Some("t")).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(close_code(&mut raw).await, CloseCode::Idle.code());

        let mut client = Client::connect(&unreachable.route(), "t").await;
        let (status, body) = client.call("GET", "/_matrix/client/versions", None).await;
        assert_eq!((status, body["errcode"].as_str()), (502, Some("GROTTO_UNREACHABLE")));
    });
    drop(silent);
}

#[test]
fn a_client_that_does_not_read_is_closed_before_its_answers_fill_the_memory() {
    let gateway = Gateway::new(GatewayOptions {
        homeserver: "http://127.0.0.1:1".to_owned(),
        limits: Limits { max_queued_frames: 100, ..Limits::default() },
        ..GatewayOptions::default()
    })
    .unwrap();
    run(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        let client = async {
            let url = format!("ws://localhost{STREAM_PATH}");
            let mut raw = raw_client_over(ours, &url, Some("t")).await;
            // Nonsense, each answered with an error that nobody reads.
            for _ in 0..300 {
                raw.send(Message::text("{}")).await.unwrap();
            }
            close_code(&mut raw).await
        };
        let ((), code) = tokio::join!(gateway.serve_connection(theirs), client);
        assert_eq!(code, CloseCode::SlowReader.code());
    });
}

#[test]
fn too_many_connections_of_one_address_are_turned_away() {
    let limits = Limits { max_connections_per_address: 2, ..Limits::default() };
    let service = Service::with("http://127.0.0.1:1", limits, None);
    run(async {
        let first = raw_client(&service.url(), None).await;
        let _second = raw_client(&service.url(), None).await;
        let route = service.route();
        assert!(Transport::connect(&route, None).await.is_err());
        // A place that becomes free is given away again.
        drop(first);
        while Transport::connect(&route, None).await.is_err() {}
    });
}

#[test]
fn without_a_token_one_may_log_in_and_nothing_else() {
    let base = Synapse::shared();
    let user = register(base, "anonymous");
    let service = Service::start(base);
    run(async {
        let transport = Transport::connect(&service.route(), None).await.unwrap();
        let mut client = Client { transport, last_id: 0, seen: Vec::new() };
        let (status, body) = client.call("GET", "/_matrix/client/v3/account/whoami", None).await;
        assert_eq!((status, body["errcode"].as_str()), (401, Some("M_MISSING_TOKEN")));
        client.sync(None).await;
        let errcode = client.find(|frame| Some(error_in(frame)?.errcode)).await;
        assert_eq!(errcode, "M_MISSING_TOKEN");
        let (status, _) = client.call("GET", "/_synapse/admin/v1/server_version", None).await;
        assert_eq!(status, 404);
        assert_eq!(client.call("GET", "/_matrix/client/versions", None).await.0, 200);
        let login = json!({
            "type": "m.login.password", "password": PASSWORD,
            "identifier": {"type": "m.id.user", "user": user},
        });
        let (status, body) = client.call("POST", "/_matrix/client/v3/login", Some(login)).await;
        assert_eq!((status, body["user_id"].as_str()), (200, Some(user.as_str())));
    });
}

#[test]
fn a_token_that_is_no_longer_valid_ends_the_stream() {
    let base = Synapse::shared();
    let alice = account(base, "logged-out");
    let service = Service::start(base);
    run(async {
        let mut client = service.client(&alice).await;
        client.sync(None).await;
        let update = client.update().await;
        client.ack(&update).await;
        let path = "/_matrix/client/v3/logout";
        assert_eq!(client.call("POST", path, Some(json!({}))).await.0, 200);
        let mut client = service.client(&alice).await;
        client.sync(Some(&update.position)).await;
        let error = client.find(|frame| error_in(frame)).await;
        assert_eq!((error.errcode.as_str(), error.fatal), ("M_UNKNOWN_TOKEN", true));
        let mut link = Link::new(None);
        let event = link.on_frame(ServerFrame::Error(error), Timestamp(0));
        assert!(matches!(event, LinkEvent::LoggedOut { soft: false }));
        assert_eq!(client.closed().await, CloseCode::Unauthorized.code());
    });
}

/// Sends an HTTP request as it is and gives the head of the answer.
async fn http_head(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn handshakes_that_must_not_pass_are_refused_with_a_reason() {
    let limits = Limits { header_timeout: Duration::from_millis(500), ..Limits::default() };
    let service = Service::with("http://127.0.0.1:1", limits, None);
    let upgrade = "Host: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";
    let stream = format!("GET {STREAM_PATH} HTTP/1.1\n{upgrade}");
    let offer = "Sec-WebSocket-Protocol: grotto.stream.v1\n";
    run(async {
        for (request, status, words) in [
            ("GET /healthz HTTP/1.1\nHost: x\n\n".to_owned(), "200", "ok"),
            (format!("{stream}\n"), "400", "subprotocol"),
            (format!("{stream}Sec-WebSocket-Protocol: other\n\n"), "400", "subprotocol"),
            (format!("{stream}{offer}Origin: https://evil.example\n\n"), "403", "origin"),
            (format!("{stream}{offer}Authorization: Basic eDp5\n\n"), "401", "Bearer"),
            (
                format!("GET {STREAM_PATH}?access_token=x HTTP/1.1\n{upgrade}{offer}\n"),
                "400",
                "Authorization header",
            ),
            (format!("GET {STREAM_PATH} HTTP/1.1\nHost: x\n\n"), "426", "WebSocket"),
            ("GET /_matrix/client/versions HTTP/1.1\nHost: x\n\n".to_owned(), "404", "stream"),
        ] {
            let answer = http_head(service.address, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.contains(words), "{request}: {answer}");
        }
        let good = format!("{stream}{offer}Origin: https://good.example\n\n");
        let mut socket = TcpStream::connect(service.address).await.unwrap();
        socket.write_all(good.replace('\n', "\r\n").as_bytes()).await.unwrap();
        let mut start = [0; 12];
        socket.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 101");

        // Whoever does not finish a head is dropped.
        assert_eq!(http_head(service.address, "GET /hea").await, "");
    });
}

#[test]
fn a_stop_answers_what_is_under_way_and_says_when_to_come_back() {
    let base = Synapse::shared();
    let alice = account(base, "stop");
    let limits = Limits { drain: Duration::from_secs(3), ..Limits::default() };
    let mut service = Service::with(base, limits, None);
    run(async {
        let mut client = service.client(&alice).await;
        client.sync(None).await;
        let update = client.update().await;
        client.ack(&update).await;
        let under_way = client.request("GET", "/_matrix/client/v3/account/whoami", None).await;
        // The answer to a later one says that the service has the first one.
        client.call("GET", "/_matrix/client/versions", None).await;
        service.stop();
        assert_eq!(client.response(under_way).await.status, 200);
        let error = client.find(|frame| error_in(frame)).await;
        assert_eq!((error.errcode.as_str(), error.fatal), ("GROTTO_GOING_AWAY", true));
        assert!(error.retry_after.unwrap() <= Duration::from_secs(3));
        assert_eq!(client.closed().await, CloseCode::GoingAway.code());
        assert!(TcpStream::connect(service.address).await.is_err(), "it accepts no more");
    });
}

#[test]
fn media_go_both_ways_in_chunks_with_chat_between_them() {
    let base = Synapse::shared();
    let alice = account(base, "media");
    let room = room(base, &alice, &[]);
    let service = Service::start(base);
    let media: Vec<u8> = (0..3_000_000_u32).flat_map(|n| [(n % 251) as u8]).collect();
    run(async {
        let mut client = service.client(&alice).await;
        let uri = upload(&mut client, &room, &media).await;
        let path = format!("/_matrix/client/v1/media/download/{uri}");
        let got = download(&mut client, &path).await;
        assert!(got == media, "{} of {} bytes", got.len(), media.len());
        // What is no media comes as an ordinary answer, also when chunks were asked for.
        let id = client.request_binary("/_matrix/client/v1/media/download/localhost/nothing").await;
        let response = client.response(id).await;
        assert_eq!((response.status, response.download), (404, None));
    });
}

impl Client {
    async fn request_binary(&mut self, path: &str) -> u64 {
        self.last_id += 1;
        self.send(ClientFrame::Request(RequestFrame {
            id: self.last_id,
            method: "GET".to_owned(),
            path: path.to_owned(),
            answer: AnswerKind::Binary,
            ..RequestFrame::default()
        }))
        .await;
        self.last_id
    }
}

/// Uploads, with a message sent in the middle that must be answered before the end.
async fn upload(client: &mut Client, room: &str, media: &[u8]) -> String {
    client.last_id += 1;
    let id = client.last_id;
    client
        .send(ClientFrame::Request(RequestFrame {
            id,
            method: "POST".to_owned(),
            path: "/_matrix/media/v3/upload".to_owned(),
            upload: Some(MediaInfo {
                content_type: "application/octet-stream".to_owned(),
                length: Some(u64::try_from(media.len()).unwrap()),
            }),
            ..RequestFrame::default()
        }))
        .await;
    let mut window = Limits::default().window_chunks;
    let chunks: Vec<&[u8]> = media.chunks(64 << 10).collect();
    for (n, piece) in chunks.iter().enumerate() {
        if n == chunks.len() / 2 {
            client.say(room, "between", "typed during an upload").await;
        }
        while window == 0 {
            window += client
                .find(|frame| {
                    let ServerFrame::Window(window) = frame else { return None };
                    (window.id == id).then_some(window.chunks)
                })
                .await;
        }
        window -= 1;
        let end = if n + 1 == chunks.len() { ChunkEnd::Last } else { ChunkEnd::More };
        client.send(ClientFrame::Chunk(ChunkFrame { id, end, payload: piece.to_vec() })).await;
    }
    let response = client.response(id).await;
    let body: Value = serde_json::from_str(response.body.get()).unwrap();
    body["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

async fn download(client: &mut Client, path: &str) -> Vec<u8> {
    let id = client.request_binary(path).await;
    let info = client.response(id).await.download.unwrap();
    assert_eq!(info.length, Some(3_000_000));
    let mut whole = Vec::new();
    loop {
        let chunk = client
            .find(|frame| {
                let ServerFrame::Chunk(chunk) = frame else { return None };
                (chunk.id == id).then(|| chunk.clone())
            })
            .await;
        whole.extend_from_slice(&chunk.payload);
        match chunk.end {
            ChunkEnd::Last => return whole,
            ChunkEnd::Aborted => panic!("broke off at {}", whole.len()),
            ChunkEnd::More => {
                client.send(ClientFrame::Window(WindowFrame { id, chunks: 1 })).await;
            }
        }
    }
}

#[test]
fn a_homeserver_that_starts_again_is_waited_for() {
    let mut synapse = Synapse::start(RateLimits::Raised);
    let base = synapse.base.clone();
    let alice = account(&base, "patient");
    let room = room(&base, &alice, &[]);
    let service = Service::start(&base);
    run(async {
        let mut client = service.client(&alice).await;
        client.sync(None).await;
        let update = client.update().await;
        client.ack(&update).await;
        synapse.kill();
        let error = client.find(error_in).await;
        assert_eq!((error.errcode.as_str(), error.fatal), ("GROTTO_UNREACHABLE", false));
        let path = send_path(&room, "while-down");
        let (status, _) = client.call("PUT", &path, Some(json!({"body": "x"}))).await;
        assert_eq!(status, 502);
        synapse.start_again();
        client.say(&room, "while-down", "after the restart").await;
        let mut seen = Vec::new();
        while seen.is_empty() {
            let update = client.update().await;
            seen = texts(&update, &room);
            client.ack(&update).await;
        }
        assert_eq!(seen, ["after the restart"]);
    });
}

#[test]
fn a_canceled_request_gets_no_answer() {
    let base = Synapse::shared();
    let alice = account(base, "cancel");
    let service = Service::start(base);
    run(async {
        let mut client = service.client(&alice).await;
        client.sync(None).await;
        let update = client.update().await;
        // This poll would be held for 30 s.
        client.last_id += 1;
        let id = client.last_id;
        client
            .send(ClientFrame::Request(RequestFrame {
                id,
                method: "GET".to_owned(),
                path: "/_matrix/client/v3/sync".to_owned(),
                query: vec![
                    ("timeout".to_owned(), "30000".to_owned()),
                    ("since".to_owned(), update.position.0.clone()),
                ],
                ..RequestFrame::default()
            }))
            .await;
        client.send(ClientFrame::Cancel(CancelFrame { id })).await;
        client.call("GET", "/_matrix/client/versions", None).await;
        let answered = client
            .seen
            .iter()
            .any(|frame| matches!(frame, ServerFrame::Response(response) if response.id == id));
        assert!(!answered);
    });
}

/// A certificate for 127.0.0.1, signed by itself, in two PEM files.
fn certificate() -> TlsFiles {
    let dir = folder("tls");
    let files = TlsFiles { certificates: dir.join("cert.pem"), key: dir.join("key.pem") };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(root.join("target/py/bin/python"))
        .arg(root.join("tests/rig/certificate.py"))
        .args([&files.certificates, &files.key])
        .status()
        .unwrap();
    assert!(status.success());
    files
}

#[test]
fn tls_is_checked_and_an_extra_ca_is_believed() {
    let files = certificate();
    let extra_ca = Some(files.certificates.clone());
    let service = Service::with("http://127.0.0.1:1", Limits::default(), Some(files));
    let url = format!("wss://{}{STREAM_PATH}", service.address);
    run(async {
        let route =
            |extra_ca| Route::Remote(RemoteRoute { url: url.clone(), proxy: None, extra_ca });
        let refused = Transport::connect(&route(None), None).await.unwrap_err();
        assert!(refused.to_string().starts_with("no trusted TLS connection"), "{refused}");
        Transport::connect(&route(extra_ca), None).await.unwrap();
    });
}

/// A proxy for one connection that tells what it was asked for.
async fn proxy(speak: &'static str, target: SocketAddr) -> (SocketAddr, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let (mut client, _) = listener.accept().await.unwrap();
            let asked = match speak {
                "socks5" => socks_target(&mut client).await,
                _ => connect_target(&mut client).await,
            };
            tell.send(asked).unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        });
    });
    (address, told)
}

async fn connect_target(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    String::from_utf8(head).unwrap()
}

async fn socks_target(client: &mut TcpStream) -> String {
    let methods = {
        let mut head = [0; 2];
        client.read_exact(&mut head).await.unwrap();
        let mut methods = vec![0; usize::from(head[1])];
        client.read_exact(&mut methods).await.unwrap();
        methods
    };
    let mut login = String::new();
    if methods.contains(&2) {
        client.write_all(&[5, 2]).await.unwrap();
        client.read_u8().await.unwrap();
        for _ in 0..2 {
            let mut text = vec![0; usize::from(client.read_u8().await.unwrap())];
            client.read_exact(&mut text).await.unwrap();
            login += &format!("{} ", String::from_utf8(text).unwrap());
        }
        client.write_all(&[1, 0]).await.unwrap();
    } else {
        client.write_all(&[5, 0]).await.unwrap();
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 3, "the proxy resolves the name");
    let mut name = vec![0; usize::from(client.read_u8().await.unwrap())];
    client.read_exact(&mut name).await.unwrap();
    client.read_u16().await.unwrap();
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    login + &String::from_utf8(name).unwrap()
}

#[test]
fn proxies_resolve_the_name_and_get_the_login() {
    let service = Service::start("http://127.0.0.1:1");
    run(async {
        // No such name exists, so only the proxy can have resolved it.
        for (speak, login, expected) in [
            ("socks5", "", "hidden.onion"),
            ("socks5", "user:p%40ss@", "user p@ss hidden.onion"),
            ("http", "", "CONNECT hidden.onion:80 "),
            ("http", "user:p%40ss@", "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"),
        ] {
            let (address, told) = proxy(speak, service.address).await;
            let proxy = Proxy::parse(&format!("{speak}://{login}{address}")).unwrap();
            assert!(!format!("{proxy:?}").contains("p@ss"), "{proxy:?}");
            let url = format!("ws://hidden.onion{STREAM_PATH}");
            let route = Route::Remote(RemoteRoute { url, proxy: Some(proxy), extra_ca: None });
            Transport::connect(&route, None).await.unwrap();
            let asked = told.await.unwrap();
            assert!(asked.contains(expected), "{asked}");
        }
    });
}

#[test]
fn a_stream_in_the_clear_is_refused_away_from_this_machine() {
    run(async {
        let error = Transport::connect(&remote("ws://192.0.2.1/x"), None).await.unwrap_err();
        assert!(error.to_string().contains("not encrypted"), "{error}");
        let error = Transport::connect(&remote("https://example.org"), None).await.unwrap_err();
        assert!(error.to_string().contains("wss://"), "{error}");
    });
}

#[test]
fn a_homeserver_is_discovered_by_its_url() {
    let base = Synapse::shared();
    run(async {
        let options = GatewayOptions::default();
        let found = discover(&format!("{base}/"), &options).await.unwrap();
        assert_eq!(found, Discovered { homeserver: base.to_owned(), stream_url: None });
        let nobody = format!("http://127.0.0.1:{}", free_port());
        let error = discover(&nobody, &options).await.unwrap_err();
        assert!(error.to_string().contains("no homeserver"), "{error}");
    });
}
