//! The ends that the tests put together: the service on a thread, our link, raw sockets.

use std::{net::SocketAddr, sync::mpsc::channel, thread::JoinHandle};

use futures_util::StreamExt;
use grotto::{
    gateway::{Gateway, GatewayOptions, ListenOptions, Listener, TlsFiles},
    link::{RemoteRoute, Route, Transport, TransportError},
    matrix::Position,
    secret::Secret,
    wire::{
        ClientFrame, ErrorFrame, Limits, RequestFrame, ResponseFrame, STREAM_PATH, ServerFrame,
        SyncFrame, UpdateFrame,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::{
    homeserver::On,
    rig::{PASSWORD, PATIENCE, http, register},
};

/// Runs `test` within the patience of all tests.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
}

/// A server end of the stream: a gateway service on a thread of its own, which stops when dropped,
/// or a homeserver's own.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// The server end of the shared homeserver by this way.
    pub(crate) fn before(on: On) -> Self {
        let base = on.shared().base.as_str();
        match on {
            On::Synapse | On::SynapseByGateway | On::ServeOverHttp | On::ServeByGateway => {
                Self::start(base)
            }
            On::Serve => {
                let address = base.strip_prefix("http://").unwrap().parse().unwrap();
                Self { address, stop: None, thread: None }
            }
        }
    }

    pub(crate) fn start(homeserver: &str) -> Self {
        Self::with(homeserver, Limits::default(), None)
    }

    pub(crate) fn with(homeserver: &str, limits: Limits, tls: Option<TlsFiles>) -> Self {
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

    pub(crate) fn url(&self) -> String {
        format!("ws://{}{STREAM_PATH}", self.address)
    }

    pub(crate) fn route(&self) -> Route {
        remote(&self.url())
    }

    pub(crate) async fn client(&self, account: &Account) -> Client {
        Client::connect(&self.route(), &account.token).await
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

pub(crate) fn remote(url: &str) -> Route {
    Route::Remote(RemoteRoute {
        url: url.to_owned(),
        proxy: None,
        extra_ca: None,
        limits: Limits::default(),
    })
}

/// A login, made behind the gateway's back.
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) token: String,
}

pub(crate) fn account(base: &str, name: &str) -> Account {
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
pub(crate) fn room(base: &str, owner: &Account, invite: &[&Account]) -> String {
    let invite: Vec<&str> = invite.iter().map(|other| other.user.as_str()).collect();
    let body = json!({"invite": invite});
    let answer = http(base, "POST", "/_matrix/client/v3/createRoom", Some(&owner.token), &body);
    answer["room_id"].as_str().unwrap().to_owned()
}

pub(crate) fn send_path(room: &str, txn: &str) -> String {
    let room = room.replace('!', "%21").replace(':', "%3A");
    format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}")
}

/// Our own end, as the engine uses it.
pub(crate) struct Client {
    pub(crate) transport: Transport,
    pub(crate) last_id: u64,
    /// Frames that came while another one was waited for.
    pub(crate) seen: Vec<ServerFrame>,
}

impl Client {
    pub(crate) async fn connect(route: &Route, token: &str) -> Self {
        let token = Secret::new(token.to_owned());
        let transport = Transport::connect(route, Some(&token)).await.unwrap();
        Self { transport, last_id: 0, seen: Vec::new() }
    }

    pub(crate) async fn send(&mut self, frame: ClientFrame) {
        self.transport.send(&frame).await.unwrap();
    }

    pub(crate) async fn sync(&mut self, since: Option<&Position>) {
        self.send(ClientFrame::Sync(SyncFrame { since: since.cloned(), ..Default::default() }))
            .await;
    }

    /// The first frame, seen or to come, that `wanted` takes.
    pub(crate) async fn find<T>(&mut self, mut wanted: impl FnMut(&ServerFrame) -> Option<T>) -> T {
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

    pub(crate) async fn update(&mut self) -> UpdateFrame {
        self.find(
            |frame| {
                if let ServerFrame::Update(update) = frame { Some(update.clone()) } else { None }
            },
        )
        .await
    }

    pub(crate) async fn ack(&mut self, update: &UpdateFrame) {
        self.send(ClientFrame::Ack(update.position.clone())).await;
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, body: Option<Value>) -> u64 {
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

    pub(crate) async fn response(&mut self, id: u64) -> ResponseFrame {
        self.find(|frame| {
            let ServerFrame::Response(response) = frame else { return None };
            (response.id == id).then(|| response.clone())
        })
        .await
    }

    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let id = self.request(method, path, body).await;
        let response = self.response(id).await;
        (response.status, serde_json::from_str(response.body.get()).unwrap())
    }

    pub(crate) async fn say(&mut self, room: &str, txn: &str, text: &str) -> String {
        let body = json!({"msgtype": "m.text", "body": text});
        let (status, answer) = self.call("PUT", &send_path(room, txn), Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["event_id"].as_str().unwrap().to_owned()
    }

    /// Reads to the close frame.
    pub(crate) async fn closed(mut self) -> u16 {
        loop {
            match self.transport.recv().await {
                Ok(_) => {}
                Err(TransportError::Closed { code, .. }) => return code,
                Err(other) => panic!("not closed but {other:?}"),
            }
        }
    }
}

pub(crate) fn error_in(frame: &ServerFrame) -> Option<ErrorFrame> {
    if let ServerFrame::Error(error) = frame { Some(error.clone()) } else { None }
}

/// Bodies of a room's messages in an update.
pub(crate) fn texts(update: &UpdateFrame, room: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(update.body.get()).unwrap();
    let events = body["rooms"]["join"][room]["timeline"]["events"].as_array();
    let bodies = events.into_iter().flatten().filter(|event| event["type"] == "m.room.message");
    bodies.filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect()
}

pub(crate) fn to_device(update: &UpdateFrame) -> Vec<u64> {
    let body: Value = serde_json::from_str(update.body.get()).unwrap();
    let events = body["to_device"]["events"].as_array();
    events.into_iter().flatten().filter_map(|event| event["content"]["n"].as_u64()).collect()
}

pub(crate) type Raw<S = TcpStream> = tokio_tungstenite::WebSocketStream<S>;

/// A client that may break every rule.
pub(crate) async fn raw_client(url: &str, token: Option<&str>) -> Raw {
    let host = url.strip_prefix("ws://").unwrap().split('/').next().unwrap();
    let stream = TcpStream::connect(host).await.unwrap();
    raw_client_over(stream, url, token).await
}

pub(crate) async fn raw_client_over<S>(stream: S, url: &str, token: Option<&str>) -> Raw<S>
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

pub(crate) fn request_text(id: u64, path: &str) -> String {
    json!({"kind": "request", "id": id, "method": "GET", "path": path}).to_string()
}

/// Reads to the close code.
pub(crate) async fn close_code<S: AsyncRead + AsyncWrite + Unpin>(raw: &mut Raw<S>) -> u16 {
    loop {
        match raw.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("ended without a code: {other:?}"),
        }
    }
}
