//! A homeserver's door that does not do as it is told: stands before a homeserver, answers some
//! calls itself, keeps answers back, changes them, and remembers every call.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar},
    time::Duration,
};

use serde_json::{Value, json};

use crate::homeserver::Place;

/// A call as the client made it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Null when it is no JSON.
    pub(crate) body: Value,
}

type Change = Box<dyn Fn(&Call, &mut Value) + Send>;

#[derive(Default)]
struct Orders {
    /// Part of the path, and how often yet to answer 503.
    refused: Vec<(String, usize)>,
    /// Parts of paths whose answers stay here.
    held: Vec<String>,
    /// Part of the path, and what to do with the answer.
    changes: Vec<(String, Change)>,
    calls: Vec<Call>,
}

/// One owner for what all connections and the test look at.
#[expect(clippy::disallowed_types, reason = "shared between threads of a test's rig")]
#[derive(Default)]
struct Shared(std::sync::Mutex<Orders>, Condvar);

/// The door; stays open for the life of the process.
pub(crate) struct Meddler {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Meddler {
    /// Stands before the homeserver at `base`.
    pub(crate) fn before(base: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (base, to_all) = (base.to_owned(), shared.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (base, shared) = (base.clone(), to_all.clone());
                // A client that goes away in the middle is none of our business.
                std::thread::spawn(move || drop(serve(client, &base, &shared)));
            }
        });
        Self { address, shared }
    }

    /// The way through it.
    pub(crate) fn place(&self) -> Place {
        Place::at(format!("http://{}", self.address))
    }

    /// Answers the next `times` calls whose path has `part` in it with 503, without the homeserver.
    pub(crate) fn refuses(&self, part: &str, times: usize) {
        self.shared.0.lock().unwrap().refused.push((part.to_owned(), times));
    }

    /// Gives calls with `part` in their path to the homeserver and keeps the answers.
    pub(crate) fn holds_answers(&self, part: &str) {
        self.shared.0.lock().unwrap().held.push(part.to_owned());
    }

    /// Lets every answer go that it kept, and refuses nothing any more.
    pub(crate) fn lets_go(&self) {
        let mut orders = self.shared.0.lock().unwrap();
        orders.held.clear();
        orders.refused.clear();
        self.shared.1.notify_all();
    }

    /// Changes answers of the homeserver to calls with `part` in their path.
    pub(crate) fn changes(&self, part: &str, how: impl Fn(&Call, &mut Value) + Send + 'static) {
        self.shared.0.lock().unwrap().changes.push((part.to_owned(), Box::new(how)));
    }

    /// Every call so far with `part` in its path.
    pub(crate) fn calls(&self, part: &str) -> Vec<Call> {
        let orders = self.shared.0.lock().unwrap();
        orders.calls.iter().filter(|call| call.path.contains(part)).cloned().collect()
    }

    /// Waits until there were `count` calls with `part` in their path.
    pub(crate) fn sees(&self, part: &str, count: usize) {
        let orders = self.shared.0.lock().unwrap();
        let short = |orders: &mut Orders| {
            orders.calls.iter().filter(|call| call.path.contains(part)).count() < count
        };
        let waited = self.shared.1.wait_timeout_while(orders, crate::rig::PATIENCE, short).unwrap();
        let paths = || waited.0.calls.iter().map(|call| &call.path).collect::<Vec<_>>();
        assert!(!waited.1.timed_out(), "no {count} calls of {part} in {:#?}", paths());
    }
}

struct Request {
    call: Call,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn read(client: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Request { call: Call { method, path, body: json }, headers, body })
}

fn serve(mut client: TcpStream, base: &str, shared: &Shared) -> std::io::Result<()> {
    let request = read(&client)?;
    let call = request.call.clone();
    let refused = {
        let mut orders = shared.0.lock().unwrap();
        orders.calls.push(call.clone());
        let found =
            orders.refused.iter_mut().find(|(part, left)| call.path.contains(part) && 0 < *left);
        found.map(|(_, left)| *left -= 1).is_some()
    };
    shared.1.notify_all();
    let (status, kind, mut body) = if refused {
        let body = json!({"errcode": "M_UNKNOWN", "error": "not now"}).to_string().into_bytes();
        (503, "application/json".to_owned(), body)
    } else {
        forward(base, request)
    };
    {
        let held = |orders: &mut Orders| orders.held.iter().any(|part| call.path.contains(part));
        let orders = shared.1.wait_while(shared.0.lock().unwrap(), held).unwrap();
        let wanted = orders.changes.iter().filter(|(part, _)| call.path.contains(part));
        for (_, change) in wanted {
            if let Ok(mut json) = serde_json::from_slice::<Value>(&body) {
                change(&call, &mut json);
                body = json.to_string().into_bytes();
            }
        }
    }
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    )?;
    client.write_all(&body)
}

/// What the homeserver answers; 502 when there is none.
fn forward(base: &str, request: Request) -> (u16, String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    let answer = runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let method = reqwest::Method::from_bytes(request.call.method.as_bytes()).unwrap();
        let mut call = client.request(method, format!("{base}{}", request.call.path));
        for (name, value) in &request.headers {
            if matches!(name.as_str(), "authorization" | "content-type") {
                call = call.header(name, value);
            }
        }
        let answer = call.timeout(Duration::from_mins(2)).body(request.body).send().await?;
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or("application/json").to_owned();
        Ok::<_, reqwest::Error>((status, kind, answer.bytes().await?.to_vec()))
    });
    answer.unwrap_or_else(|_| (502, "application/json".to_owned(), b"{}".to_vec()))
}
