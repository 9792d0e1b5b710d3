//! Every limit is answered with the code that names it.

use std::time::Duration;

use futures_util::SinkExt;
use grotto::{
    gateway::{Gateway, GatewayOptions},
    link::Transport,
    wire::{CloseCode, Limits, STREAM_PATH},
};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::ends::{Client, Service, close_code, raw_client, raw_client_over, request_text, run};
use crate::rig::free_port;

#[test]
fn limits_are_answered_with_the_code_that_names_them() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let limits = Limits {
        max_frame_bytes: 20_000,
        max_anonymous_frame_bytes: 1_000,
        max_in_flight: 2,
        ..Limits::default()
    };
    let hasty = Limits {
        ping_after: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        ..Limits::default()
    };
    // A homeserver that takes calls and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let service = Service::with(&silent_url, limits.clone(), None);
    let unreachable = Service::with(&nobody, limits, None);
    let hasty = Service::with(&silent_url, hasty, None);
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
        let mut raw = raw_client(&hasty.url(), Some("t")).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(close_code(&mut raw).await, CloseCode::Idle.code());

        let mut client = Client::connect(&unreachable.route(), "t").await;
        let (status, body) = client.call("GET", "/_matrix/client/versions", None).await;
        assert_eq!((status, body["errcode"].as_str()), (502, Some("GROTTO_UNREACHABLE")));
    });
    drop(silent);
}

#[test]
fn a_connection_without_a_token_ends_however_alive_it_is() {
    let limits = Limits {
        login_timeout: Duration::from_millis(500),
        ping_after: Duration::from_millis(50),
        ..Limits::default()
    };
    let service = Service::with("http://127.0.0.1:1", limits, None);
    run(async {
        let mut logged_in = Client::connect(&service.route(), "t").await;
        // Reading is what answers pings.
        let mut guest = raw_client(&service.url(), None).await;
        assert_eq!(close_code(&mut guest).await, CloseCode::Idle.code());
        let (status, _) = logged_in.call("GET", "/_matrix/client/versions", None).await;
        assert_eq!(status, 502, "a token keeps its connection");
    });
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
