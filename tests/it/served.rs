//! A real `grotto serve` and plain HTTP clients of it.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause before another try.
const PAUSE: Duration = Duration::from_millis(15);
pub(crate) const PASSWORD: &str = "correct-horse-7Qz";

/// Everybody may register, and nothing is too often.
pub(crate) const OPEN: &str = "\
[registration]
open = true
[limits]
max_connections = 30000
max_connections_per_address = 30000
[rates]
login = { burst = 1000000, pause_ms = 1 }
register = { burst = 1000000, pause_ms = 1 }
send = { burst = 1000000, pause_ms = 1 }
";

/// A server of its own process; killed when dropped.
pub(crate) struct Served {
    program: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, PathBuf)>,
    port: u16,
    child: Option<Child>,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
}

impl Served {
    /// Starts `program` in `folder`, set up like this.
    pub(crate) fn start(program: &Path, folder: &Path, config: &str) -> Self {
        Self::start_with(program, folder, config, &[])
    }

    /// The same, with these in its environment.
    pub(crate) fn start_with(
        program: &Path,
        folder: &Path,
        config: &str,
        environment: &[(&str, &Path)],
    ) -> Self {
        std::fs::write(folder.join("server.toml"), config).unwrap();
        let port = port();
        let environment =
            environment.iter().map(|(name, path)| ((*name).to_owned(), path.to_path_buf()));
        let mut served = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            environment: environment.collect(),
            port,
            child: None,
            base: format!("http://127.0.0.1:{port}"),
        };
        served.start_again();
        served
    }

    /// Starts it again, on the same port with the same data.
    pub(crate) fn start_again(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        let mut command = Command::new(&self.program);
        command.args(["--json", "serve", "--data"]).arg(&self.folder);
        command.args(["--listen", &format!("0.0.0.0:{}", self.port)]);
        command.envs(self.environment.iter().map(|(name, path)| (name, path)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        assert!(line.contains("listening"), "it did not start: {line:?}\n{}", self.log());
    }

    /// SIGKILL, wherever it is.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What it said on standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Memory that it has now, and the most it ever had, in KiB.
    pub(crate) fn resident(&self) -> (u64, u64) {
        resident(self.pid())
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Its database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("server.db")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on, and that the system gives to no connection meanwhile: it is kept
/// while the server is dead. Those of `rig` are above these.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 500).unwrap() * 20;
    (0..1_000)
        .map(|_| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .unwrap()
}

/// Memory that a process has now, and the most it ever had, in KiB.
pub(crate) fn resident(pid: u32) -> (u64, u64) {
    let status = File::open(format!("/proc/{pid}/status")).unwrap();
    let lines: Vec<String> = BufReader::new(status).lines().map_while(Result::ok).collect();
    let number = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    (number("VmRSS:"), number("VmHWM:"))
}

/// A runtime for clients.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its body; a text when that is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// Its error code.
    pub(crate) fn code(&self) -> &str {
        self.body["errcode"].as_str().unwrap_or_default()
    }

    /// A text of its body.
    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {self:?}")).to_owned()
    }
}

/// Somebody logged in, by plain HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) token: String,
}

impl Client {
    /// Nobody yet.
    pub(crate) fn stranger(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let nothing = String::new;
        Self { http, base: base.to_owned(), user: nothing(), device: nothing(), token: nothing() }
    }

    /// Makes an account.
    pub(crate) async fn register(base: &str, name: &str) -> Self {
        let auth = json!({"type": "m.login.dummy"});
        let body = json!({"username": name, "password": PASSWORD, "auth": auth});
        Self::enter(base, "/_matrix/client/v3/register", &body).await
    }

    /// Logs the same account in on a device of its own.
    pub(crate) async fn again(&self) -> Self {
        let identifier = json!({"type": "m.id.user", "user": self.user});
        let body = json!({
            "type": "m.login.password", "password": PASSWORD, "identifier": identifier,
        });
        Self::enter(&self.base, "/_matrix/client/v3/login", &body).await
    }

    async fn enter(base: &str, path: &str, body: &Value) -> Self {
        let mut client = Self::stranger(base);
        let answer = client.post(path, body).await;
        client.user = answer.text("user_id");
        client.device = answer.text("device_id");
        client.token = answer.text("access_token");
        client
    }

    /// One try.
    pub(crate) async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.timeout(PATIENCE).send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// One try that the server answers.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        self.attempt(method, path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, body).await
    }

    /// Tries until the server did it. Also says how often it was not answered.
    pub(crate) async fn insist(&self, method: Method, path: &str, body: &Value) -> (Answer, usize) {
        for lost in 0..2_000 {
            let bytes = (!body.is_null()).then(|| body.to_string().into_bytes());
            match self.attempt(method.clone(), path, bytes).await {
                Ok(answer) if answer.status == 200 => return (answer, lost),
                Ok(answer) => assert!(500 <= answer.status, "{path}: {answer:?}"),
                Err(_gone) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{path} was never answered");
    }

    /// Makes a room.
    pub(crate) async fn create(&self, body: &Value) -> String {
        self.post("/_matrix/client/v3/createRoom", body).await.text("room_id")
    }

    /// Sends a text.
    pub(crate) async fn say(&self, room: &str, transaction: &str, body: &str) -> Answer {
        let content = json!({"msgtype": "m.text", "body": body});
        self.put(&message_path(room, transaction), &content).await
    }

    /// All messages of a room, oldest first, as sender, event id and text.
    pub(crate) async fn messages(&self, room: &str) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=500{from}");
            let page = self.get(&path).await;
            for event in page.body["chunk"].as_array().unwrap_or_else(|| panic!("{page:?}")) {
                if event["type"] == "m.room.message" {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    let body = text(&event["content"]["body"]);
                    found.push((text(&event["sender"]), text(&event["event_id"]), body));
                }
            }
            match page.body["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => return found,
            }
        }
    }
}

/// Where a message with this transaction id is put.
pub(crate) fn message_path(room: &str, transaction: &str) -> String {
    format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}")
}
