//! Stream servers that mean harm, before the real program over real sockets: it says what is wrong,
//! comes back in its own time, and neither panics nor grows.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
};

use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket,
    handshake::server::{Request, Response},
};

use crate::{
    grotto::Grotto,
    headless::{code, files, said},
    homeserver::On,
    rig::{self, Lines, PATIENCE},
};

/// What a server does with one connection.
type Deed = fn(TcpStream);

/// Does the same to everybody who comes; tells when somebody came.
struct EvilServer {
    url: String,
    dials: Receiver<()>,
}

impl EvilServer {
    fn start(deed: Deed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/_matrix/client/unstable/stream", listener.local_addr().unwrap());
        let (tell, dials) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if tell.send(()).is_err() {
                    return;
                }
                std::thread::spawn(move || deed(stream));
            }
        });
        Self { url, dials }
    }
}

/// A handshake as it should be.
fn upgraded(stream: TcpStream) -> WebSocket<TcpStream> {
    #[expect(clippy::result_large_err, reason = "the signature tungstenite asks for")]
    let agree = |_: &Request, mut response: Response| {
        let name = "grotto.stream.v1".parse().unwrap();
        response.headers_mut().insert("sec-websocket-protocol", name);
        Ok(response)
    };
    tungstenite::accept_hdr(stream, agree).unwrap()
}

/// Handshake, these messages, then silence until the client goes.
fn say(stream: TcpStream, messages: impl IntoIterator<Item = Message>) {
    let mut socket = upgraded(stream);
    for message in messages {
        if socket.send(message).is_err() {
            return;
        }
    }
    while socket.read().is_ok() {}
}

/// Handshake, then these bytes.
fn write(stream: TcpStream, bytes: &[u8]) {
    let mut socket = upgraded(stream);
    drop(socket.get_mut().write_all(bytes));
    while socket.read().is_ok() {}
}

/// The request's head is read, this is the answer.
fn answer(mut stream: TcpStream, answer: &[u8]) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    drop(stream.write_all(answer));
    drop(stream.shutdown(std::net::Shutdown::Write));
    while matches!(stream.read(&mut byte), Ok(1)) {}
}

/// Where the client stands, as its first frame says.
fn position(socket: &mut WebSocket<TcpStream>) -> Option<String> {
    let frame = socket.read().unwrap();
    let frame: serde_json::Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
    assert_eq!(frame["kind"], "sync");
    frame["since"].as_str().map(str::to_owned)
}

fn update(since: Option<&str>, position: &str, body: &str) -> Message {
    let since = since.map_or_else(String::new, |since| format!(r#""since":"{since}","#));
    Message::text(format!(r#"{{"kind":"update",{since}"position":"{position}","body":{body}}}"#))
}

/// Each deed, and a word of what is said of it.
const DEEDS: [(&str, Deed, &str); 16] = [
    ("closes at once", drop, "stream"),
    ("speaks HTTP/0.9", |s| answer(s, b"<html>\x1b]52;c;AAAA\x07 hello</html>\n"), "stream"),
    ("speaks TLS", |s| answer(s, b"\x15\x03\x01\x00\x02\x02\x28"), "stream"),
    (
        "sends elsewhere",
        |s| answer(s, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n"),
        "302",
    ),
    (
        "refuses with escapes",
        |s| answer(s, b"HTTP/1.1 403 No\r\nContent-Length: 16\r\n\r\n\x1b]0;evil\x07\x1b[2J\x9b\n"),
        "403",
    ),
    ("agrees to nothing", |s| drop(tungstenite::accept(s)), "stream"),
    ("head without end", |mut s| while s.write_all(b"HTTP/1.1 101 X\r\nX: y\r\n").is_ok() {}, ""),
    ("text that is no frame", |s| say(s, [Message::text("hello\u{1b}[2J")]), "no frame"),
    ("deep", |s| say(s, [Message::text("[".repeat(100_000))]), "no frame"),
    ("wrong types", |s| say(s, [Message::text(r#"{"kind":"update","position":{}}"#)]), "no frame"),
    ("short chunk", |s| say(s, [Message::binary(vec![1, 2, 3])]), "no frame"),
    ("no UTF-8", |s| write(s, b"\x81\x02\xc3\x28"), "broke"),
    ("huge", |s| write(s, b"\x81\x7f\x00\x00\x00\xff\x00\x00\x00\x00"), "raise sync_mib"),
    ("masked, reserved", |s| write(s, b"\xf3\x80\x00\x00\x00\x00"), "broke"),
    (
        "a close full of escapes",
        |s| write(s, b"\x88\x19\x0f\xa6\x1b]52;c;ZXZpbA==\x07\x1b[2J\xe2\x80\xae"),
        "closed",
    ),
    (
        "a sync answer that is none",
        |s| {
            let mut socket = upgraded(s);
            let since = position(&mut socket);
            drop(socket.send(update(since.as_deref(), "s1", "[]")));
            while socket.read().is_ok() {}
        },
        "sync answer",
    ),
];

/// Somebody whose store has a place in the sync stream.
fn synced(name: &str) -> Grotto {
    let alice = Grotto::log_in(On::Synapse.shared(), name);
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    assert_eq!(tail.terminate(), Some(0));
    alice
}

/// A copy of somebody's folder, whose stream is at `url`.
fn led_astray(alice: &Grotto, url: &str) -> Grotto {
    let home = rig::folder("astray");
    for path in files(&alice.home) {
        let to = home.join(path.strip_prefix(&alice.home).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if path.is_file() {
            fs::copy(&path, &to).unwrap();
        }
    }
    restrict(&home);
    let config = home.join("xdg_config_home/grotto/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let text = format!("[accounts.home]\nuser_id = {:?}\nstream_url = {url:?}\n", alice.user);
    fs::write(config, text).unwrap();
    Grotto { home, user: alice.user.clone() }
}

/// For the owner alone, as the program made them.
fn restrict(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            restrict(&path);
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Finds a log without a panic in it.
fn no_panic(grotto: &Grotto) {
    for path in files(&grotto.home) {
        if path.extension().is_some_and(|it| it == "log") {
            let log = fs::read_to_string(&path).unwrap();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

#[test]
fn an_evil_stream_server_is_named_and_dialed_in_growing_pauses() {
    let alice = synced("astray");
    let tried: Vec<JoinHandle<()>> = DEEDS
        .into_iter()
        .map(|(what, deed, word)| {
            let server = EvilServer::start(deed);
            let astray = led_astray(&alice, &server.url);
            std::thread::Builder::new()
                .name(what.to_owned())
                .spawn(move || is_named_and_left(&server, &astray, word))
                .unwrap()
        })
        .collect();
    let failed = tried.into_iter().filter_map(|thread| {
        let name = thread.thread().name().unwrap().to_owned();
        thread.join().is_err().then_some(name)
    });
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn is_named_and_left(server: &EvilServer, astray: &Grotto, word: &str) {
    let mut command = astray.command(&["-vv", "--json", "--timeout", "40s", "tail"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    for _ in 0..3 {
        server.dials.recv_timeout(PATIENCE).expect("another try");
    }
    let used = memory(child.id());
    assert!(used < 200 << 10, "{used} KiB");
    let output = rig::finish(child);
    let words = said(&output);
    assert_eq!(code(&output), Some(4), "{words}");
    assert!(words.contains(word), "{word:?} is not in {words:?}");
    assert!(!words.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{words:?}");
    // The pauses are drawn from one, two, four and eight seconds; a hot loop dials thousands.
    let more = server.dials.try_iter().count();
    assert!(more < 60, "{more} more dials");
    no_panic(astray);
}

#[test]
fn frames_that_mean_nothing_to_us_change_nothing() {
    let alice = synced("unmoved");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let astray = led_astray(&alice, &format!("ws://{}/x", listener.local_addr().unwrap()));
    let (tell, acks) = channel();
    std::thread::spawn(move || {
        let mut socket = upgraded(listener.accept().unwrap().0);
        let from = position(&mut socket);
        for message in meaningless(from.as_deref()) {
            socket.send(message).unwrap();
        }
        while let Ok(message) = socket.read() {
            let Message::Text(text) = message else { continue };
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            if frame["kind"] == "ack" {
                tell.send(frame["position"].as_str().unwrap().to_owned()).unwrap();
            }
        }
    });
    let mut tail = Lines::start(astray.command(&["-vv", "--json", "tail"]));
    let ack = || acks.recv_timeout(PATIENCE).expect("an ack");
    assert_eq!([ack(), ack()], ["s1", "s2"], "each update once, in order");
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let used = memory(tail.pid());
    assert!(used < 200 << 10, "{used} KiB");
    assert_eq!(tail.terminate(), Some(0));
    assert!(acks.try_recv().is_err(), "nothing else was acknowledged");
    no_panic(&astray);
}

/// Where the client stands, how many messages of a room it asks for, and what it takes at most.
fn wish(socket: &mut WebSocket<TcpStream>) -> (Option<String>, u64, u64) {
    let frame = socket.read().unwrap();
    let frame: serde_json::Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
    let messages = &frame["filter"]["room"]["timeline"]["limit"];
    let since = frame["since"].as_str().map(str::to_owned);
    (since, messages.as_u64().unwrap(), frame["max_update_bytes"].as_u64().unwrap())
}

#[test]
fn a_server_that_does_not_know_how_much_we_take_is_asked_for_less_and_gone_on_with() {
    let alice = synced("smaller");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let astray = led_astray(&alice, &format!("ws://{}/x", listener.local_addr().unwrap()));
    let config = astray.home.join("xdg_config_home/grotto/config.toml");
    let accounts = fs::read_to_string(&config).unwrap();
    let limits = "[limits]\nsync_mib = 1\nanswer_mib = 1\n\n";
    fs::write(&config, format!("{limits}{accounts}")).unwrap();
    let (tell, wishes) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut socket = upgraded(stream);
            let (since, messages, takes) = wish(&mut socket);
            let bytes = if messages < 50 { 1_000 } else { 2 << 20 };
            let body = format!(r#"{{"unheard_of":"{}"}}"#, "x".repeat(bytes));
            drop(socket.send(update(since.as_deref(), "large", &body)));
            while let Ok(message) = socket.read() {
                let Message::Text(text) = message else { continue };
                let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                if frame["kind"] == "ack" {
                    tell.send((messages, takes, frame["position"].clone())).unwrap();
                }
            }
        }
    });
    let mut tail = Lines::start(astray.command(&["-vv", "--json", "tail"]));
    let taken = wishes.recv_timeout(PATIENCE).expect("an ack");
    assert_eq!(taken, (10, 1 << 20, "large".into()));
    let down = tail.find("why", |line| line["type"] == "link" && line["state"] == "down");
    assert!(down["reason"].as_str().unwrap().contains("raise sync_mib"), "{down}");
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    assert_eq!(tail.terminate(), Some(0));
    no_panic(&astray);
}

/// Five thousand frames that no question of ours asked for, pings, and two updates among others
/// that come again, from elsewhere, and backwards.
fn meaningless(from: Option<&str>) -> impl Iterator<Item = Message> {
    let texts = [
        r#"{"kind":"response","id":18446744073709551615,"status":200,"body":{}}"#,
        r#"{"kind":"response","id":1,"status":65535}"#,
        r#"{"kind":"window","id":9,"chunks":4294967295}"#,
        r#"{"kind":"error","errcode":"X","id":77,"retry_after_ms":18446744073709551615}"#,
        r#"{"kind":"nothing we know","x":[[[[]]]]}"#,
    ];
    let chunk = Message::binary(vec![0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 2]);
    let updates = [
        update(from, "s1", "{}"),
        update(from, "s1", "{}"),
        update(Some("s9"), "s10", "{}"),
        update(Some("s1"), "s2", "{}"),
        update(Some("s1"), "s0", "{}"),
    ];
    let pings = std::iter::repeat_n(Message::Ping(vec![7; 125].into()), 2_000);
    let texts = texts.map(Message::text).into_iter().cycle().take(5_000);
    texts.chain([chunk]).chain(updates).chain(pings)
}
