//! What a hostile client sends to `grotto serve`: the right refusals, bounded memory, and others
//! are served meanwhile.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    rig::{self, GROTTO},
    served::{Answer, Client, OPEN, Served, message_path, runtime},
};

pub(crate) const V3: &str = "/_matrix/client/v3";
/// What the server may take of memory, however it is treated, in KiB. It is a debug build.
const MOST_MEMORY: u64 = 400 << 10;

pub(crate) fn start(name: &str) -> Served {
    Served::start(Path::new(GROTTO), &rig::folder(name), OPEN)
}

/// After an attack: it lives, did not grow too much, and says nothing of a panic.
pub(crate) async fn is_well(served: &Served, client: &Client) {
    let begun = Instant::now();
    assert_eq!(client.get(&format!("{V3}/account/whoami")).await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30), "others wait");
    let (_, most) = served.resident();
    assert!(most < MOST_MEMORY, "{most} KiB");
    let log = served.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// Sends these bytes as they are; gives everything that comes back within the time.
async fn raw(served: &Served, bytes: &[u8], time: Duration) -> String {
    let mut stream = connect(served, [127, 0, 0, 1]).await;
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    drop(timeout(time, stream.read_to_end(&mut answer)).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Connects from an address of this machine.
pub(crate) async fn connect(served: &Served, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let address = served.base.strip_prefix("http://").unwrap().parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// A body of objects within objects.
fn nested(depth: usize) -> Vec<u8> {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)).into_bytes()
}

#[test]
fn bodies_that_make_no_sense_are_refused_each_with_its_code() {
    let served = start("bodies");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let room = ada.create(&json!({})).await;
        let try_all = async |bodies: Vec<Vec<u8>>, wanted: &[(u16, &str)]| {
            let targets = [
                (Method::PUT, message_path(&room, "t")),
                (Method::PUT, format!("{V3}/rooms/{room}/state/org.example.state")),
                (Method::POST, format!("{V3}/createRoom")),
                (Method::POST, format!("{V3}/keys/upload")),
                (Method::POST, format!("{V3}/keys/query")),
                (Method::POST, format!("{V3}/keys/claim")),
                (Method::POST, format!("{V3}/user/{}/filter", ada.user)),
                (Method::PUT, format!("{V3}/user/{}/account_data/x", ada.user)),
                (Method::PUT, format!("{V3}/sendToDevice/m.x/t")),
                (Method::PUT, format!("{V3}/profile/{}/displayname", ada.user)),
                (Method::POST, format!("{V3}/login")),
                (Method::POST, format!("{V3}/register")),
                (Method::POST, format!("{V3}/search")),
                (Method::POST, format!("{V3}/user_directory/search")),
                (
                    Method::POST,
                    "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync".into(),
                ),
            ];
            for (method, path) in targets {
                for body in &bodies {
                    let answer =
                        ada.attempt(method.clone(), &path, Some(body.clone())).await.unwrap();
                    let short = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
                    assert!(
                        wanted.contains(&(answer.status, answer.code())),
                        "{path} of {short}: {answer:?}"
                    );
                }
            }
        };
        let broken: [&[u8]; 8] = [
            b"{",
            b"}",
            b"nonsense",
            b"{\"a\":}",
            b"\xff\xfe",
            b"{\"a\":\"\xc3\"}",
            b"{\"a\":1}{\"b\":2}",
            b"{'a':1}",
        ];
        let broken = broken.iter().map(|body| body.to_vec()).collect();
        let unrecognized = (404, "M_UNRECOGNIZED");
        try_all(broken, &[(400, "M_NOT_JSON"), unrecognized]).await;
        let not_objects: [&[u8]; 6] = [b"[]", b"1", b"null", b"\"text\"", b"true", b"[{}]"];
        let not_objects = not_objects.iter().map(|body| body.to_vec()).collect();
        try_all(not_objects, &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON"), unrecognized]).await;
        let large = json!({"a": "x".repeat(5 << 20)}).to_string().into_bytes();
        try_all(vec![large], &[(413, "M_TOO_LARGE")]).await;
        // Ten thousand deep: never a crash, and nowhere kept.
        for (method, path) in [
            (Method::PUT, message_path(&room, "deep")),
            (Method::PUT, format!("{V3}/rooms/{room}/state/m.room.topic")),
            (Method::POST, format!("{V3}/keys/upload")),
            (Method::POST, format!("{V3}/user/{}/filter", ada.user)),
            (Method::PUT, format!("{V3}/user/{}/account_data/deep", ada.user)),
            (Method::PUT, format!("{V3}/rooms/{room}/typing/{}", ada.user)),
            (Method::POST, format!("{V3}/login")),
        ] {
            for body in [nested(10_000), vec![b'['; 10_000], nested(200)] {
                let answer = ada.attempt(method.clone(), &path, Some(body)).await.unwrap();
                assert_eq!(answer.status / 100, 4, "{path}: {answer:?}");
            }
        }
        let deep = json!({"messages": {&ada.user: {"*": {"a": 1}}}}).to_string();
        let deep = deep.replace(r#"{"a":1}"#, &String::from_utf8(nested(10_000)).unwrap());
        let path = format!("{V3}/sendToDevice/m.x/deep");
        let answer = ada.attempt(Method::PUT, &path, Some(deep.into_bytes())).await.unwrap();
        assert!(answer.status < 500, "{answer:?}");
        assert_eq!(ada.get(&format!("{V3}/sync")).await.status, 200, "nothing of it spoils a sync");
        is_well(&served, &ada).await;
    });
}

#[test]
fn counts_are_told_at_an_address_of_their_own_and_nothing_else_is() {
    let counts = format!("127.0.0.1:{}", rig::free_port());
    let config = format!("{OPEN}[network]\nmetrics = \"{counts}\"\n");
    let served = Served::start(Path::new(GROTTO), &rig::folder("counts"), &config);
    runtime().block_on(async {
        let public = Client::stranger(&served.base);
        let private = Client::stranger(&format!("http://{counts}"));
        let alice = Client::register(&served.base, "alice").await;
        for path in ["/metrics", "//metrics"] {
            for client in [&public, &alice] {
                let answer = client.get(path).await;
                assert_eq!((answer.status, answer.code()), (404, "M_UNRECOGNIZED"), "{path}");
            }
        }
        let told = private.get("/metrics").await;
        let text = told.body.as_str().unwrap_or_default();
        assert_eq!(told.status, 200);
        for line in
            ["grotto_http_answers{status=\"2xx\"} 1", "grotto_http_answers{status=\"4xx\"} 4"]
        {
            assert!(text.lines().any(|it| it == line), "{text}");
        }
        assert!(!text.contains("alice"), "{text}");
        for path in ["/_matrix/client/versions", "/_matrix/client/v3/login", "/"] {
            assert_eq!(private.get(path).await.status, 404, "{path}");
        }
        for client in [&public, &private] {
            assert_eq!(client.get("/healthz").await.body, "ok\n");
        }
    });
}

#[test]
fn odd_paths_and_parameters_lead_nowhere() {
    let served = start("paths");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let room = ada.create(&json!({})).await;
        let deep = "/a".repeat(3_000);
        for path in [
            "/",
            "//",
            "/_matrix",
            "/_matrix/client",
            "/_matrix/client/v3",
            "/_matrix/client/v3/",
            "/_matrix/client/v3/../../../etc/passwd",
            "/_matrix/client/v3/%2e%2e/%2e%2e/healthz",
            "/_matrix/client/v3/rooms/%00/state",
            "/_matrix/client/v3/rooms/%ff%fe/state",
            "/_matrix/client/v3/rooms/!a%2Fb:c/state",
            "/_matrix/client/v3/rooms/../sync",
            "/_matrix/client/v3/rooms/%2e%2e/messages?dir=f",
            "/_matrix/client/v3//sync",
            "/_matrix/client/v3/sync/",
            "/_matrix/client/v3/profile/%40a%00b:localhost",
            "/_matrix/client/v1/media/download/localhost/..%2f..%2fserver.db",
            "/_matrix/client/v1/media/download/localhost/%00",
            "/_matrix/client/v1/media/download/..%2f/server.db",
            &deep,
        ] {
            let bytes = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
                 Connection: close\r\n\r\n",
                ada.token
            );
            let answer = raw(&served, bytes.as_bytes(), Duration::from_secs(10)).await;
            let status: u16 = answer.get(9..12).and_then(|it| it.parse().ok()).unwrap_or(0);
            assert!([400, 403, 404].contains(&status), "{path}: {answer}");
            assert!(answer.contains("\"errcode\":\"M_"), "{path}: {answer}");
        }
        for query in [
            "dir=b&limit=99999999999999999999",
            "dir=b&limit=-1",
            "dir=b&limit=x",
            "dir=up",
            "dir=b&from=t99999999999999999999",
            "dir=b&from=%ff",
            "dir=b&from=s1_2_3_4_5_6",
            "dir=b&from=../..",
        ] {
            let answer = ada.get(&format!("{V3}/rooms/{room}/messages?{query}")).await;
            assert_eq!(answer.status, 400, "{query}: {answer:?}");
        }
        let answer = ada.get(&format!("{V3}/rooms/{room}/messages?dir=b&limit=4000000000")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for query in ["since=x", "since=s%00", "timeout=x", "filter=%7b", "filter=%7b%7d%7d"] {
            let answer = ada.get(&format!("{V3}/sync?{query}")).await;
            assert_eq!(answer.status, 400, "{query}: {answer:?}");
        }
        let longest = u64::MAX >> 12;
        let path = format!("{V3}/sync?timeout={longest}");
        assert_eq!(ada.get(&path).await.status, 200, "there is something to say at once");
        is_well(&served, &ada).await;
    });
}

#[test]
fn methods_that_an_endpoint_does_not_have_are_refused_and_pages_may_ask() {
    let served = start("methods");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        for method in ["DELETE", "PATCH", "TRACE", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = ada.call(method, &format!("{V3}/sync"), &Value::Null).await;
            assert_eq!((answer.status, answer.code()), (405, "M_UNRECOGNIZED"));
        }
        let head = "HEAD /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = raw(&served, head.as_bytes(), Duration::from_secs(10)).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
        let options = "OPTIONS /_matrix/client/v3/sync HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\
                       Connection: close\r\n\r\n";
        let answer = raw(&served, options.as_bytes(), Duration::from_secs(10)).await;
        assert!(
            answer.starts_with("HTTP/1.1 204") && answer.contains("allow-origin: *"),
            "{answer}"
        );
        is_well(&served, &ada).await;
    });
}

#[test]
fn one_request_is_never_read_as_two() {
    let served = start("smuggling");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let bea = Client::register(&served.base, "bea").await;
        let inner = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let length = format!("Content-Length: {}\r\n", inner.len());
        let whoami = "/_matrix/client/v3/account/whoami";
        for head in [
            format!("Content-Length: 4\r\nContent-Length: {}\r\n", inner.len()),
            format!("Content-Length: {}\r\nContent-Length: 4\r\n", inner.len()),
            "Content-Length: 4, 5\r\n".to_owned(),
            "Content-Length: +4\r\n".to_owned(),
            "Content-Length: -1\r\n".to_owned(),
            "Content-Length: 99999999999999999999999\r\n".to_owned(),
            "Transfer-Encoding: chunked, identity\r\n".to_owned(),
            "Transfer-Encoding: xchunked\r\n".to_owned(),
            "Transfer-Encoding : chunked\r\n".to_owned(),
            format!("{length}Authorization: Bearer {}\r\n", bea.token),
            format!("{length}Host: y\r\n"),
        ] {
            let request = format!(
                "POST {whoami} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{head}\r\n{inner}",
                ada.token
            );
            let answer = raw(&served, request.as_bytes(), Duration::from_secs(2)).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
            assert!(!answer.contains("\r\n\r\nok\n"), "{head}: the inner one is answered {answer}");
        }
        // Both, as a relay that reads only the length might pass it: the chunks are what counts, and
        // nothing after them is taken for a request.
        let both = format!(
            "POST {whoami} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
            5 + inner.len()
        );
        let answer = raw(&served, both.as_bytes(), Duration::from_secs(2)).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(!answer.contains("\r\n\r\nok\n"), "the inner one is answered: {answer}");
        let many = "X-Header: x\r\n".repeat(2_000);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n");
        let answer = raw(&served, request.as_bytes(), Duration::from_secs(2)).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        is_well(&served, &ada).await;
    });
}

#[test]
fn tokens_open_only_what_is_their_owners() {
    let served = start("tokens");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let mut bea = Client::register(&served.base, "bea").await;
        let refused = |answer: Answer, status, code: &str| {
            assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        };
        let whoami = format!("{V3}/account/whoami");
        refused(Client::stranger(&served.base).get(&whoami).await, 401, "M_MISSING_TOKEN");
        for token in ["x", "%00", &ada.token[1..], &ada.token.to_uppercase(), &"x".repeat(8_000)] {
            let eve = Client { token: token.to_owned(), ..ada.clone() };
            refused(eve.get(&whoami).await, 401, "M_UNKNOWN_TOKEN");
        }
        for path in [
            format!("{V3}/user/{}/account_data/m.x", ada.user),
            format!("{V3}/user/{}/filter/0", ada.user),
            format!("{V3}/user/{}/rooms/!x:localhost/tags", ada.user),
        ] {
            refused(bea.get(&path).await, 403, "M_FORBIDDEN");
        }
        let path = format!("{V3}/profile/{}/displayname", ada.user);
        refused(bea.put(&path, &json!({"displayname": "x"})).await, 403, "M_FORBIDDEN");
        refused(bea.get(&format!("{V3}/devices/{}", ada.device)).await, 404, "M_NOT_FOUND");
        // What is logged out is out at once, also where it waits.
        let second = bea.again().await;
        let waiting = second.clone();
        let since = second.get(&format!("{V3}/sync")).await.text("next_batch");
        let mut tasks = JoinSet::new();
        tasks.spawn(
            async move { waiting.get(&format!("{V3}/sync?since={since}&timeout=60000")).await },
        );
        assert_eq!(second.post(&format!("{V3}/logout"), &json!({})).await.status, 200);
        refused(second.get(&whoami).await, 401, "M_UNKNOWN_TOKEN");
        bea.post(&format!("{V3}/logout/all"), &json!({})).await;
        refused(bea.get(&whoami).await, 401, "M_UNKNOWN_TOKEN");
        bea = bea.again().await;
        assert_eq!(bea.get(&whoami).await.status, 200);
        tasks.abort_all();
        is_well(&served, &ada).await;
    });
}

#[test]
fn who_is_not_in_a_room_reads_nothing_of_it() {
    let served = start("membership");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let bea = Client::register(&served.base, "bea").await;
        let eve = Client::register(&served.base, "eve").await;
        let secret = ada.create(&json!({"invite": [&bea.user]})).await;
        bea.post(&format!("{V3}/join/{secret}"), &json!({})).await;
        let first = ada.say(&secret, "a", "while bea was there").await.text("event_id");
        let before = bea.get(&format!("{V3}/sync")).await.text("next_batch");
        bea.post(&format!("{V3}/rooms/{secret}/leave"), &json!({})).await;
        let later = ada.say(&secret, "b", "after bea left").await.text("event_id");
        let own = eve.create(&json!({})).await;
        for (who, event) in [(&eve, &first), (&eve, &later), (&bea, &later)] {
            for room in [&secret, &own] {
                for path in ["event", "context"] {
                    let answer = who.get(&format!("{V3}/rooms/{room}/{path}/{event}")).await;
                    assert!([403, 404].contains(&answer.status), "{answer:?}");
                }
                let relations =
                    who.get(&format!("/_matrix/client/v1/rooms/{room}/relations/{event}")).await;
                assert!([403, 404].contains(&relations.status), "{relations:?}");
            }
        }
        for path in ["messages?dir=b", "state", "members", "joined_members", "state/m.room.create"]
        {
            let answer = eve.get(&format!("{V3}/rooms/{secret}/{path}")).await;
            assert_eq!((answer.status, answer.code()), (403, "M_FORBIDDEN"), "{path}: {answer:?}");
        }
        let seen = bea.get(&format!("{V3}/rooms/{secret}/messages?dir=b&limit=100")).await;
        let sync = bea.get(&format!("{V3}/sync?since={before}")).await;
        for answer in [seen, sync] {
            assert!(!answer.body.to_string().contains("after bea left"), "{answer:?}");
        }
        // Nor does she write, react, report or read receipts there.
        for (method, path) in [
            (Method::PUT, message_path(&secret, "x")),
            (Method::PUT, format!("{V3}/rooms/{secret}/redact/{first}/x")),
            (Method::PUT, format!("{V3}/rooms/{secret}/state/m.room.topic")),
            (Method::PUT, format!("{V3}/rooms/{secret}/typing/{}", eve.user)),
            (Method::POST, format!("{V3}/rooms/{secret}/receipt/m.read/{first}")),
            (Method::POST, format!("{V3}/rooms/{secret}/invite")),
            (Method::POST, format!("{V3}/join/{secret}")),
        ] {
            let body = json!({"typing": true, "user_id": eve.user, "topic": "x", "body": "x", "msgtype": "m.text"});
            let answer = eve.call(method, &path, &body).await;
            assert_eq!((answer.status, answer.code()), (403, "M_FORBIDDEN"), "{path}: {answer:?}");
        }
        is_well(&served, &ada).await;
    });
}

#[test]
fn enormous_filters_and_lists_are_refused() {
    let served = start("filters");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let rooms: Vec<String> = (0..40_000).map(|it| format!("!room{it}:localhost")).collect();
        let filter = json!({"room": {"rooms": rooms}});
        let answer = ada.post(&format!("{V3}/user/{}/filter", ada.user), &filter).await;
        assert_eq!(answer.status / 100, 4, "{}", answer.status);
        let users: serde_json::Map<String, Value> =
            (0..40_000).map(|it| (format!("@u{it}:localhost"), json!([]))).collect();
        let answer = ada.post(&format!("{V3}/keys/query"), &json!({"device_keys": users})).await;
        assert!(answer.status < 500, "{}", answer.status);
        let messages: serde_json::Map<String, Value> =
            (0..20_000).map(|it| (format!("@u{it}:localhost"), json!({"*": {}}))).collect();
        let path = format!("{V3}/sendToDevice/m.x/1");
        let answer = ada.put(&path, &json!({"messages": messages})).await;
        assert!(answer.status < 500, "{}", answer.status);
        is_well(&served, &ada).await;
    });
}
