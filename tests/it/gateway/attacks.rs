//! Clients that mean harm, against the program: each loses its own connection and nothing else.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use grotto::wire::{CloseCode, STREAM_PATH};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    ends::{Client, Raw, close_code, raw_client, remote, request_text, run},
    program::Program,
    recorder::Recorder,
};

/// A frame of a client with a mask that changes nothing; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The next frame of the server as JSON.
async fn json_of(raw: &mut Raw) -> Value {
    loop {
        match raw.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_that_break_the_rules_end_their_own_connection() {
    let homeserver = Recorder::start();
    let program = Program::start(&homeserver.base, &[]);
    run(async {
        let url = program.url();
        let mut honest = Client::connect(&remote(&url), "honest").await;
        let huge = [&[0x81, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
        let inside = [frame(0x01, b"{"), frame(0x81, b"}")].concat();
        for (what, bytes, code) in [
            ("not masked", vec![0x81, 2, b'{', b'}'], CloseCode::Protocol),
            ("a reserved kind of data", frame(0x83, b"{}"), CloseCode::Protocol),
            ("a reserved kind of control", frame(0x8b, b""), CloseCode::Protocol),
            ("compressed, as it says", frame(0xc1, b"{}"), CloseCode::Protocol),
            ("another reserved bit", frame(0x91, b"{}"), CloseCode::Protocol),
            ("a long ping", frame(0x89, &[0; 126]), CloseCode::Protocol),
            ("a ping in pieces", frame(0x09, b""), CloseCode::Protocol),
            ("the middle of nothing", frame(0x80, b"{}"), CloseCode::Protocol),
            ("a message inside another", inside, CloseCode::Protocol),
            ("a close of one byte", frame(0x88, &[3]), CloseCode::Protocol),
            ("no UTF-8", frame(0x81, b"{\"kind\":\"\xff\"}"), CloseCode::NotText),
            ("half a character", frame(0x81, b"\xf0\x9f\x91"), CloseCode::NotText),
            ("larger than the world", huge, CloseCode::TooLarge),
        ] {
            let mut raw = raw_client(&url, Some("evil")).await;
            raw.get_mut().write_all(&bytes).await.unwrap();
            assert_eq!(close_code(&mut raw).await, code.code(), "{what}");
        }

        // A message in pieces without end: of nothing, and of something.
        let mut raw = raw_client(&url, Some("evil")).await;
        raw.get_mut().write_all(&frame(0x01, b"")).await.unwrap();
        for _ in 0..10_000 {
            raw.get_mut().write_all(&frame(0x00, b"")).await.unwrap();
        }
        let piece = frame(0x00, &[b' '; 60_000]);
        while raw.get_mut().write_all(&piece).await.is_ok() {
            // It closes behind 4 MiB.
            tokio::task::yield_now().await;
        }
        assert_eq!(honest.call("GET", "/_matrix/client/versions", None).await.0, 200);
    });
    program.stop();
}

#[test]
fn nothing_is_compressed_whatever_is_offered() {
    let program = Program::start("http://127.0.0.1:1", &[]);
    run(async {
        let offer = format!(
            "GET {STREAM_PATH} HTTP/1.1\r\n{UPGRADE}\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        stream.write_all(offer.as_bytes()).await.unwrap();
        let head = head(&mut stream).await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && !head.contains("extensions"), "{head}");
        // A bomb of a megabyte of nothing, deflated.
        stream.write_all(&frame(0xc1, b"\xec\xc1\x01\x01\x00\x00\x00\x80\x90")).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer[..4], [0x88, 16, 0x03, 0xea], "closed with 1002: {answer:?}");
    });
    program.stop();
}

/// What a handshake needs.
const UPGRADE: &str = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: grotto.stream.v1\r\n";

/// Reads to the end of an answer's head; what there is of it when the connection ends before.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn heads_that_two_readers_may_read_differently_are_refused() {
    let homeserver = Recorder::start();
    let program = Program::start(&homeserver.base, &[]);
    run(async {
        let get = format!("GET {STREAM_PATH} HTTP/1.1\r\n{UPGRADE}");
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (what, head_sent, status) in [
            ("two hosts", format!("{get}Host: y\r\n\r\n"), "400"),
            ("no host", format!("{get}\r\n").replace("Host: x\r\n", ""), "400"),
            (
                "two tokens",
                format!("{get}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
                "400",
            ),
            ("two keys", format!("{get}{key}\r\n"), "400"),
            ("a short key", format!("{get}\r\n").replace("dGhl", ""), "400"),
            ("a body", format!("{get}Content-Length: 30\r\n\r\n"), "400"),
            ("two lengths", format!("{get}Content-Length: 0\r\nContent-Length: 30\r\n\r\n"), "400"),
            ("chunks", format!("{get}Transfer-Encoding: chunked\r\n\r\n"), "400"),
            (
                "both",
                format!("{get}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
                "400",
            ),
            ("a folded line", format!("{get}X-A: b\r\n Host: y\r\n\r\n"), "400"),
            ("a space before the colon", format!("{get}Host : y\r\n\r\n"), "400"),
            ("a nothing in a value", format!("{get}X-A: b\0c\r\n\r\n"), "400"),
            ("a bare return", format!("{get}X-A: b\rHost: y\r\n\r\n"), "400"),
            ("HTTP/1.0", format!("{get}\r\n").replace("HTTP/1.1", "HTTP/1.0"), "426"),
            ("another path", format!("{get}\r\n").replace(STREAM_PATH, "/_matrix/../x"), "404"),
            ("too many lines", format!("{get}{}\r\n", "X-A: b\r\n".repeat(200)), "431"),
            ("a long line", format!("{get}X-A: {}\r\n\r\n", "b".repeat(100_000)), "431"),
        ] {
            let mut stream = TcpStream::connect(program.address).await.unwrap();
            // A large head is answered, and closed, before it is whole.
            drop(stream.write_all(head_sent.as_bytes()).await);
            let answer = head(&mut stream).await;
            assert!(answer.starts_with("HTTP/1."), "{what}: {answer}");
            assert_eq!(answer.split(' ').nth(1), Some(status), "{what}: {answer}");
        }
        // Bare line feeds end lines for us as for everybody, and smuggle nothing.
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        stream.write_all(format!("{get}Host: y\n\n").as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 400"));
    });
    assert!(homeserver.so_far().is_empty(), "no handshake reaches the homeserver");
    program.stop();
}

#[test]
fn nothing_of_a_client_reaches_the_homeserver_but_its_request() {
    let homeserver = Recorder::start();
    let program = Program::start(&homeserver.base, &[]);
    run(async {
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        let hello = format!(
            "GET {STREAM_PATH} HTTP/1.1\r\n{UPGRADE}Authorization: Bearer the-token\r\n\
             Cookie: a=b\r\nX-Forwarded-For: 192.0.2.66\r\nX-Evil: 1\r\nUser-Agent: evil\r\n\r\n"
        );
        stream.write_all(hello.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 101"));
        let mut raw = Raw::from_raw_socket(
            stream,
            tokio_tungstenite::tungstenite::protocol::Role::Client,
            None,
        )
        .await;
        let mut id = 0;
        let mut refused = Vec::new();
        for path in [
            "/_synapse/admin/v1/users",
            "http://127.0.0.1:1/_matrix/client/versions",
            "//127.0.0.1:1/_matrix/client/versions",
            "/_matrix/../_synapse/admin",
            "/_matrix/%2e%2e/_synapse/admin",
            "/_matrix/%252e%252e/_synapse/admin",
            "/_matrix/x%2f%2e%2e%2f..%2f_synapse/admin",
            "/_matrix/..%5c_synapse/admin",
            "/_matrix/\\..\\_synapse",
            "/_matrix/client/versions HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET /_synapse/admin",
            "/_matrix/client/versions%0d%0aX-Evil: 1",
            "/_matrix/client/versions?access_token=other",
            "/_matrix/client/versions#fragment",
            "@127.0.0.1:1/_matrix/",
        ] {
            id += 1;
            raw.send(Message::text(request_text(id, path))).await.unwrap();
            refused.push(json_of(&mut raw).await["status"].clone());
        }
        assert!(refused.iter().all(|status| *status == 404), "{refused:?}");
        assert!(homeserver.so_far().is_empty(), "and none of them arrived");

        // What is not path is written so that it stays where it belongs.
        let request = json!({
            "kind": "request", "id": 100, "method": "PUT", "path": "/_matrix/x",
            "query": [["a b", "c\r\nX-Evil: 1"], ["d&e=f", "#?"]], "body": {"x": "\r\n\r\nGET /"},
        });
        raw.send(Message::text(request.to_string())).await.unwrap();
        assert_eq!(json_of(&mut raw).await["status"], 200);
        let heard = homeserver.next();
        assert_eq!(heard.path(), "/_matrix/x?a+b=c%0D%0AX-Evil%3A+1&d%26e%3Df=%23%3F");
        assert_eq!(heard.body, br#"{"x":"\r\n\r\nGET /"}"#);
        let head = heard.head.to_ascii_lowercase();
        assert!(head.contains("authorization: bearer the-token\r\n"), "{head}");
        for theirs in ["cookie", "x-forwarded", "evil", "upgrade", "sec-websocket"] {
            assert!(!head.replace("x-evil%3a+1", "").contains(theirs), "{theirs}: {head}");
        }

        // It is not led elsewhere by the homeserver either.
        raw.send(Message::text(request_text(101, "/_matrix/leave"))).await.unwrap();
        assert_eq!(json_of(&mut raw).await["status"], 302);
        assert_eq!(homeserver.next().path(), "/_matrix/leave");
        raw.send(Message::text(request_text(102, "/_matrix/y"))).await.unwrap();
        json_of(&mut raw).await;
        assert_eq!(homeserver.next().path(), "/_matrix/y");
    });
    let log = program.stop();
    for theirs in ["the-token", "_matrix", "_synapse", "192.0.2.66", "Evil", "127.0.0.1"] {
        assert!(!log.contains(theirs), "{theirs}: {log}");
    }
}

#[test]
fn an_upload_that_lies_about_its_length_is_not_two_requests() {
    let homeserver = Recorder::start();
    let program = Program::start(&homeserver.base, &[]);
    run(async {
        let mut raw = raw_client(&program.url(), Some("t")).await;
        let second = b"x\r\nGET /_matrix/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        for (id, length) in [(1_u64, 1), (2, 10_000)] {
            let upload = json!({
                "kind": "request", "id": id, "method": "POST", "path": "/_matrix/media/v3/upload",
                "upload": {"content_type": "text/plain", "length": length},
            });
            raw.send(Message::text(upload.to_string())).await.unwrap();
            let chunk = [&id.to_be_bytes()[..], &[1], second].concat();
            raw.send(Message::binary(chunk)).await.unwrap();
            while json_of(&mut raw).await["id"] != id {}
        }
        let upload = json!({
            "kind": "request", "id": 3, "method": "POST", "path": "/_matrix/media/v3/upload",
            "upload": {"content_type": "text/plain\r\nX-Evil: 1"},
        });
        raw.send(Message::text(upload.to_string())).await.unwrap();
        assert_eq!(json_of(&mut raw).await["status"], 400);
        raw.send(Message::text(request_text(4, "/_matrix/last"))).await.unwrap();
        while json_of(&mut raw).await["id"] != 4 {}
        // An upload that is given up may arrive in part, or not at all.
        let mut heard = homeserver.so_far();
        assert_eq!(heard.pop().unwrap().path(), "/_matrix/last");
        for upload in heard {
            assert_eq!(upload.path(), "/_matrix/media/v3/upload");
            assert!(second.starts_with(&upload.body), "{:?}", upload.body);
        }
    });
    program.stop();
}

#[test]
fn nonsense_is_answered_and_the_stream_goes_on() {
    let homeserver = Recorder::start();
    let program = Program::start(&homeserver.base, &[]);
    run(async {
        let mut raw = raw_client(&program.url(), Some("t")).await;
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for (text, errcode) in [
            (deep.clone(), "M_BAD_JSON"),
            ("[".repeat(10_000), "M_BAD_JSON"),
            (format!(r#"{{"kind":"ack","position":{deep}}}"#), "M_BAD_JSON"),
            (format!(r#"{{"kind":{deep}}}"#), "M_BAD_JSON"),
            (format!(r#"{{"x":{deep},"kind":"nothing"}}"#), "M_UNRECOGNIZED"),
            (String::new(), "M_NOT_JSON"),
            ("\u{0}".to_owned(), "M_NOT_JSON"),
            (r#"{"kind":"ack","position":"never-sent"}"#.to_owned(), "GROTTO_WRONG_POSITION"),
            (r#"{"kind":"ack","kind":"ack","position":"s1"}"#.to_owned(), "M_BAD_JSON"),
            (r#"{"kind":"request","id":-1,"method":"GET","path":"/"}"#.to_owned(), "M_BAD_JSON"),
            (r#"{"kind":"cancel","id":1e99}"#.to_owned(), "M_BAD_JSON"),
        ] {
            raw.send(Message::text(text.as_str())).await.unwrap();
            let error = json_of(&mut raw).await;
            assert_eq!(error["errcode"], errcode, "{text:.60}");
        }
        for bytes in [&[][..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 1, 9], &[0; 70_000]] {
            raw.send(Message::binary(bytes.to_vec())).await.unwrap();
            assert_eq!(json_of(&mut raw).await["kind"], "error");
        }
        // For requests nobody made, nothing happens.
        raw.send(Message::text(r#"{"kind":"cancel","id":7}"#)).await.unwrap();
        raw.send(Message::text(r#"{"kind":"window","id":7,"chunks":4294967295}"#)).await.unwrap();
        raw.send(Message::binary(vec![0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 2])).await.unwrap();
        // A body of any depth is the homeserver's business, byte by byte.
        let request = format!(
            r#"{{"kind":"request","id":1,"method":"PUT","path":"/_matrix/deep","body":{deep}}}"#
        );
        raw.send(Message::text(request)).await.unwrap();
        assert_eq!(json_of(&mut raw).await["status"], 200);
        assert_eq!(homeserver.next().body, deep.as_bytes());
    });
    program.stop();
}

#[test]
fn floods_of_one_client_do_not_fill_the_memory_nor_reach_the_homeserver() {
    let homeserver = Recorder::start();
    let program = Program::start(&homeserver.base, &[]);
    run(async {
        let url = program.url();
        let mut honest = Client::connect(&remote(&url), "honest").await;
        assert_eq!(honest.call("GET", "/_matrix/client/versions", None).await.0, 200);
        homeserver.so_far();
        let before = program.memory();

        // More requests at once than are allowed, and one id twice.
        let mut raw = raw_client(&url, Some("t")).await;
        for id in 0..3_000 {
            raw.feed(Message::text(request_text(id, "/_matrix/hang"))).await.unwrap();
        }
        drop(raw.flush().await);
        assert_eq!(close_code(&mut raw).await, CloseCode::TooManyRequests.code());
        let mut raw = raw_client(&url, Some("t")).await;
        for _ in 0..2 {
            raw.send(Message::text(request_text(1, "/_matrix/hang"))).await.unwrap();
        }
        assert_eq!(close_code(&mut raw).await, CloseCode::IdInUse.code());
        assert!(homeserver.so_far().len() <= 65);

        // Sync frames without pause, before a homeserver that takes its time.
        let mut raw = raw_client(&url, Some("t")).await;
        for id in 0..50 {
            raw.send(Message::text(r#"{"kind":"sync","since":"hang"}"#)).await.unwrap();
            raw.send(Message::text(request_text(id, "/_matrix/x"))).await.unwrap();
            assert_eq!(json_of(&mut raw).await["id"], id);
        }
        let heard = homeserver.so_far();
        let polls = heard.iter().filter(|heard| heard.path().contains("/sync?")).count();
        assert!(polls <= 3, "{polls} polls for a client that hurries");

        // Requests given up at once, by a client that reads nothing.
        let mut raw = raw_client(&url, Some("t")).await;
        let pair =
            [request_text(1, "/_matrix/client/versions"), r#"{"kind":"cancel","id":1}"#.to_owned()];
        for text in pair.iter().cycle().take(40_000) {
            raw.feed(Message::text(text.as_str())).await.unwrap();
        }
        raw.flush().await.unwrap();

        // Pings by a client that takes no answer.
        let mut deaf = raw_client(&url, Some("t")).await.into_inner();
        let pings = frame(0x89, &[7; 125]).repeat(1000);
        while deaf.write_all(&pings).await.is_ok() {}

        // Large answers that nobody reads wait at the homeserver.
        let deaf = deaf_reader(&url).await;
        let (status, _) = honest.call("GET", "/_matrix/client/versions", None).await;
        assert_eq!(status, 200, "others are served all the while");
        let grown = program.memory().saturating_sub(before);
        assert!(grown < 64 << 10, "{grown} KiB more");
        drop(deaf);
    });
    program.stop();
}

/// Asks for sixty megabytes and reads none of it.
async fn deaf_reader(url: &str) -> Raw {
    let mut raw = raw_client(url, Some("t")).await;
    for id in 0..60 {
        raw.send(Message::text(request_text(id, "/_matrix/large"))).await.unwrap();
    }
    raw
}

#[test]
fn whoever_drips_is_dropped_in_time() {
    let homeserver = Recorder::start();
    let options = ["--handshake-timeout", "1", "--idle-timeout", "2"];
    let program = Program::start(&homeserver.base, &options);
    run(async {
        let url = program.url();
        drip_head(program.address).await;
        let mut raw = raw_client(&url, Some("t")).await;
        raw.get_mut().write_all(&[0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0]).await.unwrap();
        let (mut read, mut write) = raw.into_inner().into_split();
        let drip = async {
            while write.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let end = async {
            let mut all = Vec::new();
            drop(read.read_to_end(&mut all).await);
            // A ping, then the close with 4005.
            assert_eq!(all[..6], [0x89, 0, 0x88, all[3], 0x0f, 0xa5], "{all:?}");
        };
        // Nobody takes the drops any more, and what was said before is still to be read.
        tokio::join!(end, drip);
        let mut honest = Client::connect(&remote(&url), "honest").await;
        assert_eq!(honest.call("GET", "/_matrix/client/versions", None).await.0, 200);
    });
    program.stop();
}

/// A head byte by byte, and a connection that says nothing.
async fn drip_head(address: SocketAddr) {
    let mut silent = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let end = async {
        let mut all = Vec::new();
        drop(read.read_to_end(&mut all).await);
        drop(silent.read_to_end(&mut all).await);
    };
    tokio::select! {
        () = end => {}
        () = drip => {}
    }
}

/// Allows this process as many files as it may have.
fn raise_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

#[test]
fn thousands_of_silent_connections_keep_nobody_out() {
    raise_files();
    let homeserver = Recorder::start();
    let options = ["--handshake-timeout", "20", "--max-connections", "2500"];
    let program = Program::start(&homeserver.base, &options);
    run(async {
        let url = program.url();
        let before = program.memory();
        let mut honest = Client::connect(&remote(&url), "honest").await;
        let mut silent = Vec::new();
        // From one address no more than its share, each told so; from many, all.
        for number in 0..2_200_u32 {
            let last = if number < 200 { 2 } else { 3 + (number - 200) / 63 };
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, u8::try_from(last).unwrap()], 0))).unwrap();
            silent.push(socket.connect(program.address).await.unwrap());
        }
        let mut refused = silent.remove(199);
        refused.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut words = String::new();
        drop(refused.read_to_string(&mut words).await);
        assert!(words.is_empty() || words.starts_with("HTTP/1.1 503"), "{words}");
        assert_eq!(honest.call("GET", "/_matrix/client/versions", None).await.0, 200);
        let mut other = Client::connect(&remote(&url), "another").await;
        assert_eq!(other.call("GET", "/_matrix/client/versions", None).await.0, 200);
        let grown = program.memory().saturating_sub(before);
        assert!(grown < 60 << 10, "{grown} KiB for 2,000 silent connections");
        drop(silent);
    });
    program.stop();
}

#[test]
fn whoever_is_one_too_many_is_told_when_to_come_again() {
    let program = Program::start("http://127.0.0.1:1", &["--max-connections", "1"]);
    run(async {
        let first = raw_client(&program.url(), None).await;
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 10\r\n") && answer.contains("M_LIMIT_EXCEEDED"));
        drop(first);
    });
    program.stop();
}
