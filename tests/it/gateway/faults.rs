//! Cut connections and a homeserver that goes away.

use std::net::SocketAddr;

use grotto::{
    link::{Link, LinkEvent, Route, Transport, TransportError},
    secret::Secret,
    time::Timestamp,
    wire::{ClientFrame, RequestFrame, STREAM_PATH},
};
use serde_json::json;
use tokio::net::TcpListener;

use super::ends::{Account, Service, account, error_in, remote, room, run, send_path, texts};
use crate::{
    homeserver::{Homeserver, On, RateLimits},
    scenario,
};

scenario::on_each_stream! {
    cuts_anywhere_lose_double_and_reorder_nothing,
}

scenario::on_both! {
    a_homeserver_that_starts_again_is_waited_for,
}

/// A relay that passes on a number of bytes in each direction, then cuts.
async fn cut_after(to: SocketAddr, up: usize, down: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let (client, _) = listener.accept().unwrap();
        let server = std::net::TcpStream::connect(to).unwrap();
        let copy = |mut from: std::net::TcpStream, mut to: std::net::TcpStream, most: usize| {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut left, mut buffer) = (most, [0; 1024]);
                while left > 0 {
                    let room = left.min(buffer.len());
                    match from.read(&mut buffer[..room]) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => {
                            left -= n;
                            if to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                    }
                }
                drop(from.shutdown(std::net::Shutdown::Both));
                drop(to.shutdown(std::net::Shutdown::Both));
            })
        };
        let there = copy(client.try_clone().unwrap(), server.try_clone().unwrap(), up);
        let back = copy(server, client, down);
        there.join().unwrap();
        back.join().unwrap();
    });
    address
}

/// One life of a client behind a connection that breaks: syncs, sends what is not answered yet, as
/// the engine does; gives up when the connection does.
async fn one_life(
    route: &Route,
    account: &Account,
    link: &mut Link,
    work: &mut Work,
) -> Result<(), TransportError> {
    let token = Secret::new(account.token.clone());
    let Ok(mut transport) = Transport::connect(route, Some(&token)).await else {
        return Ok(());
    };
    for frame in link.on_up(Timestamp(0)) {
        transport.send(&frame).await?;
    }
    let mut sent = None;
    loop {
        if sent.is_none()
            && let Some((n, frame)) = work.next()
        {
            transport.send(&frame).await?;
            sent = Some(n);
        }
        if work.is_done() {
            transport.close().await;
            return Ok(());
        }
        match link.on_frame(transport.recv().await?, Timestamp(0)) {
            LinkEvent::Response(response) => {
                assert_eq!((Some(response.id), response.status), (sent, 200));
                work.answered(sent.take().unwrap());
            }
            LinkEvent::Update(update) => {
                work.seen.extend(texts(&update, &work.room));
                transport.send(&link.acknowledge(update.position)).await?;
            }
            LinkEvent::Resume(frame) => transport.send(&frame).await?,
            LinkEvent::Nothing | LinkEvent::Chunk(_) | LinkEvent::Window(_) => {}
            LinkEvent::LoggedOut { .. } => panic!("logged out"),
        }
    }
}

/// Messages to send in order, and what came back.
struct Work {
    room: String,
    total: u64,
    answered: u64,
    seen: Vec<String>,
}

impl Work {
    fn next(&self) -> Option<(u64, ClientFrame)> {
        let n = self.answered;
        let body = json!({"msgtype": "m.text", "body": format!("message {n}")});
        let frame = ClientFrame::Request(RequestFrame {
            id: n,
            method: "PUT".to_owned(),
            path: send_path(&self.room, &format!("cut{n}")),
            body: Some(serde_json::value::to_raw_value(&body).unwrap()),
            ..RequestFrame::default()
        });
        (n < self.total).then_some((n, frame))
    }

    fn answered(&mut self, n: u64) {
        self.answered = self.answered.max(n + 1);
    }

    fn is_done(&self) -> bool {
        self.answered == self.total && u64::try_from(self.seen.len()).unwrap() >= self.total
    }
}

fn cuts_anywhere_lose_double_and_reorder_nothing(on: On) {
    let base = on.shared().base.as_str();
    let alice = account(base, "cut");
    let room = room(base, &alice, &[]);
    let service = Service::before(on);
    run(async {
        let mut link = Link::new(None);
        let mut work = Work { room, total: 30, answered: 0, seen: Vec::new() };
        // The lengths walk through handshake, frames and answers, so the cuts fall anywhere: in a
        // frame's header, in its middle, between a request and its answer.
        for life in 0_usize.. {
            if work.is_done() {
                break;
            }
            assert!(life < 400, "no end in sight: {} of {}", work.answered, work.total);
            let (up, down) = (300 + (life * 397) % 4001, 200 + (life * 911) % 9001);
            let relay = cut_after(service.address, up, down).await;
            let route = remote(&format!("ws://{relay}{STREAM_PATH}"));
            drop(one_life(&route, &alice, &mut link, &mut work).await);
        }
        let expected: Vec<String> = (0..30).map(|n| format!("message {n}")).collect();
        assert_eq!(work.seen, expected);
    });
}

fn a_homeserver_that_starts_again_is_waited_for(on: On) {
    let mut homeserver = Homeserver::start(on, RateLimits::Raised);
    let base = homeserver.place.base.clone();
    let alice = account(&base, "patient");
    let room = room(&base, &alice, &[]);
    let service = Service::start(&base);
    run(async {
        let mut client = service.client(&alice).await;
        client.sync(None).await;
        let update = client.update().await;
        client.ack(&update).await;
        homeserver.kill();
        let error = client.find(error_in).await;
        assert_eq!((error.errcode.as_str(), error.fatal), ("GROTTO_UNREACHABLE", false));
        let path = send_path(&room, "while-down");
        let (status, _) = client.call("PUT", &path, Some(json!({"body": "x"}))).await;
        assert_eq!(status, 502);
        homeserver.start_again();
        client.say(&room, "while-down", "after the restart").await;
        let mut seen = Vec::new();
        while seen.is_empty() {
            let update = client.update().await;
            seen = texts(&update, &room);
            client.ack(&update).await;
        }
        assert_eq!(seen, ["after the restart"]);
    });
}
