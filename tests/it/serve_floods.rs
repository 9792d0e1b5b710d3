//! Floods and slowness against `grotto serve`: bounded memory, and others are served meanwhile.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

use crate::{
    rig::{self, GROTTO},
    serve_attacks::{V3, connect, is_well, start},
    served::{Client, OPEN, Served, runtime},
};

/// Connections of the flood.
const FLOOD: usize = 10_000;

#[test]
fn whoever_sends_or_reads_too_slowly_is_cut_off() {
    let served = start("slow");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let head = "PUT /_matrix/client/v3/profile/x HTTP/1.1\r\nHost: x\r\n";
        let body =
            format!("{head}Authorization: Bearer {}\r\nContent-Length: 60000\r\n\r\n", ada.token);
        let upload = format!(
            "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: 6000000\r\n\r\n",
            ada.token
        );
        let mut tasks = JoinSet::new();
        for begin in [head.to_owned(), body, upload] {
            let mut stream = connect(&served, [127, 0, 0, 1]).await;
            tasks.spawn(async move {
                let begun = Instant::now();
                stream.write_all(begin.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = stream.into_split();
                let dripping = async {
                    while writer.write_all(b"x").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                };
                let mut answer = Vec::new();
                let over = tokio::select! {
                    ended = timeout(Duration::from_secs(40), reader.read_to_end(&mut answer)) => {
                        ended.is_ok()
                    }
                    () = dripping => true,
                };
                assert!(over, "{begin:?} goes on");
                (begun.elapsed(), String::from_utf8_lossy(&answer).into_owned())
            });
        }
        let mut refusals = 0;
        while let Some(done) = tasks.join_next().await {
            let (time, answer) = done.unwrap();
            assert!(time < Duration::from_secs(35), "{time:?}");
            refusals += usize::from(answer.starts_with("HTTP/1.1 408"));
        }
        assert_eq!(refusals, 2, "who sends a body is told");
        is_well(&served, &ada).await;
    });
}

#[test]
fn ten_thousand_half_open_connections_keep_nobody_out() {
    let served = start("flood");
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(24_000), maximum: Some(24_000) },
    )
    .ok();
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let room = ada.create(&json!({})).await;
        let (before, _) = served.resident();
        let mut streams = Vec::new();
        for number in 0..FLOOD {
            let from = [127, 0, 1, u8::try_from(number % 250).unwrap() + 1];
            let mut stream = connect(&served, from).await;
            if number % 2 == 0 {
                stream.write_all(b"GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: ").await.unwrap();
            }
            streams.push(stream);
        }
        let begun = Instant::now();
        for number in 0..20 {
            assert_eq!(ada.say(&room, &format!("t{number}"), "x").await.status, 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let (during, _) = served.resident();
        let each = during.saturating_sub(before) / (FLOOD as u64 / 1024);
        assert!(each < 40 << 10, "{each} bytes a connection");
        // And they end by themselves.
        let mut ended = 0;
        for mut stream in streams {
            let mut answer = Vec::new();
            let read = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
            ended += usize::from(read.is_ok());
        }
        assert_eq!(ended, FLOOD);
        is_well(&served, &ada).await;
    });
}

#[test]
fn a_flood_from_one_address_leaves_the_others_their_places() {
    let config = OPEN.replace("max_connections_per_address = 30000", "");
    let served = Served::start(Path::new(GROTTO), &rig::folder("crowd"), &config);
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let mut streams = Vec::new();
        for _ in 0..500 {
            streams.push(connect(&served, [127, 0, 0, 9]).await);
        }
        let mut last = connect(&served, [127, 0, 0, 9]).await;
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(30), last.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "one too many is turned away at once");
        is_well(&served, &ada).await;
    });
}

#[test]
fn waiting_syncs_of_one_user_are_bounded_and_hurt_nobody() {
    let served = start("waiting");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let eve = Client::register(&served.base, "eve").await;
        let since = eve.get(&format!("{V3}/sync")).await.text("next_batch");
        let mut tasks = JoinSet::new();
        for _ in 0..400 {
            let (eve, since) = (eve.clone(), since.clone());
            tasks.spawn(async move {
                eve.get(&format!("{V3}/sync?since={since}&timeout=4000000000")).await.status
            });
        }
        // All but the newest are answered without news.
        for _ in 0..400 - 64 {
            let done = timeout(Duration::from_secs(30), tasks.join_next()).await;
            assert_eq!(done.expect("more than 64 wait").unwrap().unwrap(), 200);
        }
        let more = timeout(Duration::from_millis(300), tasks.join_next()).await;
        assert!(more.is_err(), "the newest go on waiting");
        is_well(&served, &ada).await;
        // News reach those that wait.
        eve.create(&json!({})).await;
        while let Some(done) = timeout(Duration::from_secs(30), tasks.join_next()).await.unwrap() {
            assert_eq!(done.unwrap(), 200);
        }
    });
}

#[test]
fn large_bodies_are_read_of_few_at_once_and_of_nobody_without_an_account() {
    let served = start("large");
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let eve = Client { token: "not a token".to_owned(), ..ada.clone() };
        let large = vec![b' '; 3 << 20];
        let path = format!("{V3}/user/{}/account_data/x", ada.user);
        let answer = eve.attempt(Method::PUT, &path, Some(large.clone())).await.unwrap();
        assert_eq!((answer.status, answer.code()), (401, "M_UNKNOWN_TOKEN"));
        let stranger = Client::stranger(&served.base);
        let answer =
            stranger.attempt(Method::POST, "/_matrix/client/v3/login", Some(large.clone()));
        assert_eq!(answer.await.unwrap().status, 413);
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let (ada, path, large) = (ada.clone(), path.clone(), large.clone());
            tasks.spawn(async move { ada.attempt(Method::PUT, &path, Some(large)).await });
        }
        while let Some(done) = tasks.join_next().await {
            let status = done.unwrap().unwrap().status;
            assert!(status == 400 || status == 429, "{status}");
        }
        is_well(&served, &ada).await;
    });
}

#[test]
fn floods_of_logins_and_registrations_are_told_to_wait() {
    let config = "[registration]\nopen = true\n[limits]\nmax_connections_per_address = 1000\n";
    let served = Served::start(Path::new(GROTTO), &rig::folder("logins"), config);
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let stranger = Client::stranger(&served.base);
        let mut tasks = JoinSet::new();
        for number in 0..60 {
            let stranger = stranger.clone();
            let user = ada.user.clone();
            tasks.spawn(async move {
                let identifier = json!({"type": "m.id.user", "user": user});
                let body =
                    json!({"type": "m.login.password", "password": "x", "identifier": identifier});
                let login = stranger.post(&format!("{V3}/login"), &body).await;
                let auth = json!({"type": "m.login.dummy"});
                let body = json!({"username": format!("u{number}"), "password": "x", "auth": auth});
                [login, stranger.post(&format!("{V3}/register"), &body).await]
            });
        }
        let mut refused = [0, 0];
        while let Some(done) = tasks.join_next().await {
            for (answer, count) in done.unwrap().into_iter().zip(&mut refused) {
                if answer.status == 429 {
                    assert_eq!(answer.code(), "M_LIMIT_EXCEEDED");
                    assert!(answer.body["retry_after_ms"].as_u64().is_some(), "{answer:?}");
                    *count += 1;
                }
            }
        }
        assert!(refused.iter().all(|count| 30 < *count), "{refused:?}");
        is_well(&served, &ada).await;
    });
}
