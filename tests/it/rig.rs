//! Real parts for tests: peers that others wrote, a terminal; homeservers are in `homeserver`. Each
//! is a program of `tests/rig/` that speaks JSON lines and ends when this process does.
//!
//! `tests/run` makes the Python environment; without it every test that needs one fails and says so.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU16, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long anything real may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The same for what is made of much: a homeserver's start, a program with all that it waits for.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(300);
/// The same as the first for a terminal: less, so that it can still answer with what is on its screen.
const SCREEN_PATIENCE: Duration = Duration::from_secs(80);

/// The grotto program under test.
pub(crate) const GROTTO: &str = env!("CARGO_BIN_EXE_grotto");

/// Python with what tests need.
pub(crate) fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/py/bin/python");
    assert!(path.exists(), "no Python environment: run tests/run once, it makes target/py");
    path
}

/// A fresh folder below `target/`, removed first if an earlier run left it.
pub(crate) fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}-{name}-{number}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A port that nobody listens on, each time another one: below those that the system gives to
/// connections and to whoever asks for any, so that it stays free while a server starts, or is dead.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 500).unwrap() * 20;
    (0..1_000)
        .map(|_| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .unwrap()
}

/// Waits for the end of a program and takes what it writes; kills it when that takes too long.
///
/// # Panics
/// When it did not end by itself in [`LONG_PATIENCE`].
#[track_caller]
pub(crate) fn finish(child: Child) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(child.wait_with_output().unwrap()));
    if let Ok(output) = told.recv_timeout(LONG_PATIENCE) {
        return output;
    }
    // Nobody has asked for its exit status, so that the id is still its own.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    let output = told.recv_timeout(PATIENCE).expect("a program that was killed ends");
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    panic!("it does not end within {LONG_PATIENCE:?}; it wrote:\n{out}\nand said:\n{error}");
}

/// A program that speaks JSON lines and ends when its input does.
pub(crate) struct Lines {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// Every line so far that nobody asked for yet, oldest first.
    unread: Vec<Value>,
    /// Whether it does not read its input, and has to be told by SIGTERM that it is to end.
    deaf: bool,
}

impl Lines {
    /// Starts `command` with piped input and output.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, lines, unread: Vec::new(), deaf: false }
    }

    /// Starts `command`, which reads no input: it is ended by SIGTERM.
    pub(crate) fn start_deaf(command: Command) -> Self {
        let mut lines = Self::start(command);
        lines.deaf = true;
        lines
    }

    /// Writes one JSON line.
    pub(crate) fn tell(&mut self, value: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{value}").unwrap();
    }

    /// Waits for its end; its exit code, if it came to one.
    ///
    /// # Panics
    /// When it did not end in [`LONG_PATIENCE`].
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.ends_within(LONG_PATIENCE, "it does not end by itself")
    }

    #[track_caller]
    fn ends_within(&mut self, patience: Duration, otherwise: &str) -> Option<i32> {
        let give_up = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            if give_up < Instant::now() {
                self.unread();
                panic!("{otherwise}; unread: {}", self.last());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nothing more is typed.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Writes one line as it is.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Takes the first line, seen or still to come, that `wanted` accepts; the others stay.
    ///
    /// # Panics
    /// When none came in [`PATIENCE`], or the program ended.
    #[track_caller]
    pub(crate) fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.find_within(PATIENCE, what, wanted)
    }

    /// Waits until a server says that it is ready.
    #[track_caller]
    pub(crate) fn ready(&mut self, what: &str) {
        self.find_within(LONG_PATIENCE, what, |line| line["ready"] == true);
    }

    #[track_caller]
    fn find_within(
        &mut self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let give_up = Instant::now() + patience;
        if let Some(at) = self.unread.iter().position(&wanted) {
            return self.unread.remove(at);
        }
        loop {
            match self.lines.recv_timeout(give_up.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.unread.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no {what} within {patience:?}; unread: {}", self.last())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the program ended before {what}; unread: {}", self.last())
                }
            }
        }
    }

    /// The newest lines that nobody took, shortened.
    fn last(&self) -> String {
        let from = self.unread.len().saturating_sub(20);
        let short = |line: &Value| line.to_string().chars().take(300).collect::<String>();
        let lines: Vec<String> = self.unread[from..].iter().map(short).collect();
        format!("{} lines, the last:\n{}", self.unread.len(), lines.join("\n"))
    }

    /// Everything printed so far that was not taken, without waiting.
    pub(crate) fn unread(&mut self) -> &mut Vec<Value> {
        self.unread.extend(self.lines.try_iter());
        &mut self.unread
    }

    /// Leaves it running for the life of this process, with its standard input open: its end is
    /// the order to end.
    pub(crate) fn keep(self) {
        std::thread::Builder::new()
            .name("kept".to_owned())
            .spawn(move || while self.lines.recv().is_ok() {})
            .unwrap();
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits; its exit code.
    ///
    /// # Panics
    /// When it did not end in [`PATIENCE`].
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.ask_to_end();
        self.ends_within(PATIENCE, "SIGTERM does not end it")
    }

    fn ask_to_end(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Lines {
    /// Closes its input, which it takes as the order to end what it started and then itself.
    fn drop(&mut self) {
        drop(self.stdin.take());
        if self.deaf && matches!(self.child.try_wait(), Ok(None)) {
            self.ask_to_end();
        }
        let give_up = Instant::now() + PATIENCE;
        while self.lines.recv_timeout(give_up.saturating_duration_since(Instant::now())).is_ok() {}
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program of `tests/rig`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig").join(name)
}

/// Password of every test account.
pub(crate) const PASSWORD: &str = "correct-horse-7Qz";

/// Makes an account with [`PASSWORD`]; gives its user id.
pub(crate) fn register(base: &str, name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let user = format!("{name}{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let body = json!({
        "username": user, "password": PASSWORD, "inhibit_login": true,
        "auth": {"type": "m.login.dummy"},
    });
    let answer = http(base, "POST", "/_matrix/client/v3/register", None, &body);
    answer["user_id"].as_str().unwrap_or_else(|| panic!("not registered: {answer}")).to_owned()
}

/// Logs in behind grotto's back, on a device of its own; gives the access token.
pub(crate) fn log_in(base: &str, user: &str, password: &str) -> String {
    let body = json!({
        "type": "m.login.password", "password": password,
        "identifier": {"type": "m.id.user", "user": user},
    });
    let answer = http(base, "POST", "/_matrix/client/v3/login", None, &body);
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no login: {answer}")).to_owned()
}

/// A plain HTTP call of the homeserver, for what a test arranges or checks behind grotto's back.
pub(crate) fn http(
    base: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client.request(method, format!("{base}{path}")).timeout(PATIENCE);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    })
}

/// Which program a peer is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stack {
    /// matrix-nio, in Python.
    Nio,
    /// matrix-sdk-crypto, the stack inside Element.
    Sdk,
}

/// A client that nobody of grotto wrote. What those on matrix-sdk-crypto can do besides is in `peer`.
pub(crate) struct Peer {
    lines: Lines,
    /// Its user id.
    pub(crate) user: String,
    /// Its device id.
    pub(crate) device: String,
    next: u64,
}

impl Peer {
    /// Registers an account and starts a client on it.
    pub(crate) fn start(stack: Stack, base: &str, name: &str) -> Self {
        Self::start_with(stack, base, name, &[])
    }

    /// The same, answering every text with a notice.
    pub(crate) fn start_echo(stack: Stack, base: &str, name: &str) -> Self {
        Self::start_with(stack, base, name, &["--echo"])
    }

    /// A client on matrix-nio that makes its account itself, with an invitation if need be.
    pub(crate) fn newcomer(base: &str, user: &str, invitation: Option<&str>) -> Self {
        let options: Vec<&str> = ["--register"].into_iter().chain(invitation).collect();
        Self::on(Stack::Nio, base, user.to_owned(), &options)
    }

    /// The same with options: see the program.
    pub(crate) fn start_with(stack: Stack, base: &str, name: &str, options: &[&str]) -> Self {
        Self::on(stack, base, register(base, name), options)
    }

    /// A client on another device of an account that is there.
    pub(crate) fn on(stack: Stack, base: &str, user: String, options: &[&str]) -> Self {
        let mut command = match stack {
            Stack::Nio => {
                let mut command = Command::new(python());
                command.arg(script("peer.py"));
                command
            }
            Stack::Sdk => {
                let beside = Path::new(GROTTO).with_file_name("sdk-peer");
                let debug = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debug/sdk-peer");
                let peer = if beside.exists() { beside } else { debug };
                assert!(peer.exists(), "no peer on matrix-sdk-crypto: tests/run builds it");
                Command::new(peer)
            }
        };
        command.args([base, &user, PASSWORD]);
        command.arg(folder("peer")).args(options);
        let mut lines = Lines::start(command);
        let ready = lines.find("the peer's start", |line| line["k"] == "ready");
        let device = ready["device"].as_str().unwrap().to_owned();
        Self { lines, user, device, next: 0 }
    }

    /// Gives a command (see `peer.py`) and waits for its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, mut command: Value) -> Value {
        self.next += 1;
        let id = self.next;
        command["id"] = id.into();
        self.lines.tell(&command);
        self.lines.find("the peer's answer", |line| line["k"] == "answer" && line["id"] == id)
    }

    /// Makes an encrypted room with these invited; gives its id.
    #[track_caller]
    pub(crate) fn create(&mut self, name: &str, invite: &[&str]) -> String {
        let answer = self.ask(json!({"do": "create", "name": name, "invite": invite}));
        answer["room"].as_str().unwrap_or_else(|| panic!("no room: {answer}")).to_owned()
    }

    /// Sends a text; gives its event id.
    #[track_caller]
    pub(crate) fn say(&mut self, room: &str, body: &str) -> String {
        let content = json!({"msgtype": "m.text", "body": body});
        let answer = self.ask(json!({"do": "send", "room": room, "content": content}));
        answer["event"].as_str().unwrap_or_else(|| panic!("not sent: {answer}")).to_owned()
    }

    /// Waits until it has decrypted a message with this body.
    #[track_caller]
    pub(crate) fn hears(&mut self, body: &str) -> Value {
        self.lines.find(&format!("message {body:?} at the peer"), |line| {
            (line["k"] == "decrypted" || line["k"] == "late") && line["content"]["body"] == body
        })
    }

    /// Waits for a line that `wanted` accepts.
    #[track_caller]
    pub(crate) fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.lines.find(what, wanted)
    }

    /// Everything it told that no test took yet.
    pub(crate) fn unread(&mut self) -> &mut Vec<Value> {
        self.lines.unread()
    }
}

/// A program in a pseudo-terminal.
pub(crate) struct Terminal {
    lines: Lines,
    /// Every byte the program wrote.
    pub(crate) recording: PathBuf,
}

impl Terminal {
    /// Starts `program` in a terminal of this size.
    pub(crate) fn start(size: (u16, u16), program: &[&str], environment: &[(&str, &str)]) -> Self {
        let recording = folder("terminal").join("recording");
        let mut command = Command::new(python());
        command.arg(script("terminal.py")).arg(&recording);
        command.args([size.0.to_string(), size.1.to_string()]).arg("--").args(program);
        command.envs(environment.iter().copied());
        Self { lines: Lines::start(command), recording }
    }

    /// Gives a command (see `terminal.py`) and waits for its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &Value) -> Value {
        self.lines.tell(command);
        self.lines.find("the terminal's answer", |_| true)
    }

    /// Types, as a keyboard sends it.
    #[track_caller]
    pub(crate) fn type_keys(&mut self, text: &str) {
        self.ask(&json!({"do": "type", "text": text}));
    }

    /// Waits until `text` is on the screen, and gives the screen.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) -> Vec<String> {
        let (found, lines) = self.wait(text, false);
        assert!(found, "{text:?} is not on the screen:\n{}", lines.join("\n"));
        lines
    }

    /// Waits until `text` is on the screen no more, and gives the screen.
    #[track_caller]
    pub(crate) fn hides(&mut self, text: &str) -> Vec<String> {
        let (found, lines) = self.wait(text, true);
        assert!(found, "{text:?} is still on the screen:\n{}", lines.join("\n"));
        lines
    }

    #[track_caller]
    fn wait(&mut self, text: &str, gone: bool) -> (bool, Vec<String>) {
        let ms = u64::try_from(SCREEN_PATIENCE.as_millis()).unwrap();
        let answer = self.ask(&json!({"do": "wait", "text": text, "gone": gone, "ms": ms}));
        (answer["found"] == true, lines_of(&answer))
    }

    /// The screen as it is.
    pub(crate) fn screen(&mut self) -> Vec<String> {
        lines_of(&self.ask(&json!({"do": "screen"})))
    }

    /// Changes the window's size.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.ask(&json!({"do": "resize", "columns": columns, "rows": rows}));
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&mut self, name: &str) {
        self.ask(&json!({"do": "signal", "name": name}));
    }

    /// Waits for the program's end; its exit status.
    #[track_caller]
    pub(crate) fn exit_status(&mut self) -> i64 {
        let ms = u64::try_from(SCREEN_PATIENCE.as_millis()).unwrap();
        let answer = self.ask(&json!({"do": "exit", "ms": ms}));
        let screen = lines_of(&answer).join("\n");
        answer["status"].as_i64().unwrap_or_else(|| panic!("it did not end:\n{screen}"))
    }
}

fn lines_of(answer: &Value) -> Vec<String> {
    answer["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}
