//! What the stream is for: talking, with nothing lost.

use std::{path::Path, process::Command};

use futures_util::{SinkExt, StreamExt};
use grotto::{
    gateway::{Gateway, GatewayOptions},
    link::{DuplexConnector, Route},
    wire::{CancelFrame, ClientFrame, RequestFrame, ServerFrame},
};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;

use super::ends::{
    Client, Service, account, raw_client, request_text, room, run, texts, to_device,
};
use crate::{
    homeserver::On,
    rig::{PASSWORD, register},
    scenario,
};

scenario::on_each_stream! {
    two_clients_talk_through_one_server_end,
    a_script_written_from_the_document_logs_in_syncs_and_sends,
    no_to_device_message_is_lost_when_the_client_dies_before_its_ack,
    a_slow_reader_holds_up_nobody_else,
    a_canceled_request_gets_no_answer,
}

scenario::on_both! {
    the_gateway_in_this_process_is_reached_the_same_way,
}

fn two_clients_talk_through_one_server_end(on: On) {
    let base = on.shared().base.as_str();
    let (alice, bob) = (account(base, "alice"), account(base, "bob"));
    let room = room(base, &alice, &[&bob]);
    let service = Service::before(on);
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

fn a_script_written_from_the_document_logs_in_syncs_and_sends(on: On) {
    let base = on.shared().base.as_str();
    let user = register(base, "script");
    let service = Service::before(on);
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

fn the_gateway_in_this_process_is_reached_the_same_way(on: On) {
    let base = on.shared().base.as_str();
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

fn no_to_device_message_is_lost_when_the_client_dies_before_its_ack(on: On) {
    let base = on.shared().base.as_str();
    let (alice, bob) = (account(base, "sender"), account(base, "receiver"));
    let service = Service::before(on);
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
        let mut last = service.client(&bob).await;
        last.sync(Some(&start.position)).await;
        let mut got = Vec::new();
        while got.len() < 5 {
            let update = last.update().await;
            got.extend(to_device(&update));
            last.ack(&update).await;
        }
        assert_eq!(got, [0, 1, 2, 3, 4], "all of them, in order, each once");
        let body = json!({"messages": {&bob.user: {&bob.device: {"n": 5}}}});
        let path = "/_matrix/client/v3/sendToDevice/org.example.test/t5";
        assert_eq!(a.call("PUT", path, Some(body)).await.0, 200);
        assert_eq!(to_device(&last.update().await), [5], "an acknowledged one comes once");
    });
}

fn a_slow_reader_holds_up_nobody_else(on: On) {
    let base = on.shared().base.as_str();
    let (slow, quick) = (account(base, "slow"), account(base, "quick"));
    let room = room(base, &quick, &[]);
    let service = Service::before(on);
    run(async {
        let url = service.url();
        let mut raw = raw_client(&url, Some(&slow.token)).await;
        // Answers pile up at a client that never reads.
        for id in 0..60 {
            let text = request_text(id, "/_matrix/client/versions");
            raw.send(Message::text(text)).await.unwrap();
        }
        let mut other = service.client(&quick).await;
        let talk = async {
            for n in 0..20 {
                other.say(&room, &format!("t{n}"), "quick").await;
            }
        };
        // While nothing of it is read: who held them up would do so for good.
        talk.await;
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

fn a_canceled_request_gets_no_answer(on: On) {
    let base = on.shared().base.as_str();
    let alice = account(base, "cancel");
    let service = Service::before(on);
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
