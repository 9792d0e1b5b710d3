//! Who may connect, and how a connection ends in good order.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use grotto::{
    link::{Link, LinkEvent, Transport},
    time::Timestamp,
    wire::{CloseCode, Limits, STREAM_PATH, ServerFrame},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::ends::{Client, Service, account, error_in, remote, run};
use crate::{
    homeserver::On,
    rig::{GROTTO, PASSWORD, free_port, register},
    scenario,
};

scenario::on_each_stream! {
    without_a_token_one_may_log_in_and_nothing_else,
    a_token_that_is_no_longer_valid_ends_the_stream,
}

scenario::on_both! {
    a_stop_answers_what_is_under_way_and_says_when_to_come_back,
    the_program_stops_in_good_order_on_sigterm,
}

fn without_a_token_one_may_log_in_and_nothing_else(on: On) {
    let base = on.shared().base.as_str();
    let user = register(base, "anonymous");
    let service = Service::before(on);
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

fn a_token_that_is_no_longer_valid_ends_the_stream(on: On) {
    let base = on.shared().base.as_str();
    let alice = account(base, "logged-out");
    let service = Service::before(on);
    run(async {
        let mut client = service.client(&alice).await;
        client.sync(None).await;
        let update = client.update().await;
        client.ack(&update).await;
        let path = "/_matrix/client/v3/logout";
        assert_eq!(client.call("POST", path, Some(json!({}))).await.0, 200);
        let mut client = service.client(&alice).await;
        client.sync(Some(&update.position)).await;
        let error = client.find(error_in).await;
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
    let limits = Limits { header_timeout: Duration::from_secs(4), ..Limits::default() };
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

fn a_stop_answers_what_is_under_way_and_says_when_to_come_back(on: On) {
    let base = on.shared().base.as_str();
    let alice = account(base, "stop");
    let limits = Limits { drain: Duration::from_secs(20), ..Limits::default() };
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
        let error = client.find(error_in).await;
        assert_eq!((error.errcode.as_str(), error.fatal), ("GROTTO_GOING_AWAY", true));
        assert!(error.retry_after.unwrap() <= Duration::from_secs(20));
        assert_eq!(client.closed().await, CloseCode::GoingAway.code());
        assert!(TcpStream::connect(service.address).await.is_err(), "it accepts no more");
    });
}

fn the_program_stops_in_good_order_on_sigterm(on: On) {
    let base = on.shared().base.as_str();
    let alice = account(base, "sigterm");
    let address = format!("127.0.0.1:{}", free_port());
    let mut program = Command::new(GROTTO)
        .args(["gateway", "--homeserver", base, "--listen", &address])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    run(async {
        // It says so once it listens.
        let mut said = [0; 1];
        std::io::Read::read_exact(program.stdout.as_mut().unwrap(), &mut said).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let health = http_head(address, "GET /healthz HTTP/1.1\nHost: x\n\n").await;
        assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"), "{health}");
        let route = remote(&format!("ws://{address}{STREAM_PATH}"));
        let mut client = Client::connect(&route, &alice.token).await;
        let (status, _) = client.call("GET", "/_matrix/client/v3/account/whoami", None).await;
        assert_eq!(status, 200);
        let pid = Pid::from_raw(program.id().try_into().unwrap()).unwrap();
        // A certificate that is read again is no reason to end.
        kill_process(pid, Signal::HUP).unwrap();
        assert_eq!(client.call("GET", "/_matrix/client/versions", None).await.0, 200);
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(client.find(error_in).await.errcode, "GROTTO_GOING_AWAY");
        assert_eq!(client.closed().await, CloseCode::GoingAway.code());
    });
    assert!(program.wait().unwrap().success());
}
