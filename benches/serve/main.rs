//! `grotto serve` beside Synapse in the same run: messages a second into one room of 100 members,
//! delivery with 100 and 1,000 clients connected, a sync of 1,000 rooms, memory.
//!
//! `cargo bench --bench serve` prints a table; it takes some minutes, most of them Synapse's. It
//! needs the Python environment of `tests/run`. `-- --ours` leaves Synapse out; a path after `--`
//! is another build of grotto to measure.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark reads the clock, prints, and may end when the world is not as made"
)]

#[path = "../../tests/it/served.rs"]
#[expect(dead_code, reason = "the tests' clients")]
mod served;
mod synapse;

use std::{
    cell::RefCell,
    path::Path,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use served::{Client, OPEN, Served, message_path, resident, runtime};
use synapse::Synapse;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const V3: &str = "/_matrix/client/v3";
/// Members of the one room.
const MEMBERS: usize = 100;
/// Who sends into it at once.
const SENDERS: usize = 20;
/// How long messages are counted.
const SPAN: Duration = Duration::from_secs(10);
/// Messages whose delivery is timed.
const TIMED: usize = 40;
/// Clients connected for the second time.
const MANY: usize = 1_000;
/// Rooms of the one who syncs.
const ROOMS: usize = 1_000;

/// What is measured of a server.
#[derive(Debug, Default)]
struct Figures {
    idle: u64,
    /// Messages a second, with nobody who listens and with all members syncing.
    quiet: f64,
    heard: f64,
    /// Of deliveries, in milliseconds, with few and with many clients.
    few: [f64; 2],
    many: [f64; 2],
    /// Seconds of a first sync of many rooms, its bytes, and milliseconds of the next.
    sync: f64,
    bytes: usize,
    next: f64,
    loaded: u64,
    most: u64,
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours");
    std::fs::create_dir_all(&ours).unwrap();
    println!("load of this machine: {}", load());
    let program = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_grotto").to_owned());
    let served = Served::start(Path::new(&program), &ours, OPEN);
    let ours = run("grotto serve", &served.base, served.pid());
    drop(served);
    if std::env::args().any(|it| it == "--ours") {
        return;
    }
    let synapse = Synapse::start(&folder.path().join("theirs"));
    let theirs = run("Synapse", &synapse.base, synapse.server);
    drop(synapse);
    table(&ours, &theirs);
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

fn run(name: &str, base: &str, pid: u32) -> Figures {
    let figures = runtime().block_on(LocalSet::new().run_until(measure(base.to_owned(), pid)));
    println!("{name}: {figures:?}\nload: {}", load());
    figures
}

async fn measure(base: String, pid: u32) -> Figures {
    let mut figures = Figures { idle: resident(pid).0, ..Figures::default() };
    let members = register(&base, "member", MEMBERS).await;
    let room = members[0].create(&json!({"preset": "public_chat"})).await;
    for member in &members[1..] {
        join(member, &room).await;
    }
    figures.quiet = throughput(&members, &room).await;
    let listeners: Vec<JoinHandle<()>> =
        members.iter().map(|it| spawn_local(listen(it.clone(), Heard::default()))).collect();
    figures.heard = throughput(&members, &room).await;
    end(listeners).await;
    figures.few = delivery(&members, &room).await;
    // The rest takes another homeserver minutes.
    println!("so far: {figures:?}");
    let others = register(&base, "other", MANY - MEMBERS).await;
    let idle: Vec<JoinHandle<()>> =
        others.iter().map(|it| spawn_local(listen(it.clone(), Heard::default()))).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    figures.many = delivery(&members, &room).await;
    figures.loaded = resident(pid).0;
    println!("so far: {figures:?}");
    end(idle).await;
    sync(&members[0], &mut figures).await;
    figures.most = resident(pid).1;
    figures
}

async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        drop(task.await);
    }
}

/// Makes accounts, some at a time.
async fn register(base: &str, name: &str, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for start in (0..count).step_by(8) {
        let tasks: Vec<_> = (start..count.min(start + 8))
            .map(|number| {
                let (base, name) = (base.to_owned(), format!("{name}{number}"));
                spawn_local(async move { Client::register(&base, &name).await })
            })
            .collect();
        for task in tasks {
            clients.push(task.await.unwrap());
        }
    }
    clients
}

async fn join(client: &Client, room: &str) {
    let answer = client.post(&format!("{V3}/join/{room}"), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Messages a second that the server acknowledges to those who send at once.
async fn throughput(members: &[Client], room: &str) -> f64 {
    let begun = Instant::now();
    let tasks: Vec<JoinHandle<usize>> = members
        .iter()
        .take(SENDERS)
        .map(|client| {
            let (client, room) = (client.clone(), room.to_owned());
            spawn_local(async move {
                let mut count = 0;
                while begun.elapsed() < SPAN {
                    let answer = client.say(&room, &unique(), "It was a bright cold day.").await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    sum as f64 / begun.elapsed().as_secs_f64()
}

/// A transaction id that was not used before.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// When which text came.
type Heard = Rc<RefCell<Vec<(String, Instant)>>>;

const FILTER: &str = "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A20%7D%7D%7D";

/// Syncs for ever, and notes what comes.
async fn listen(client: Client, heard: Heard) {
    let first = client.get(&format!("{V3}/sync?filter={FILTER}")).await;
    let mut since = first.text("next_batch");
    loop {
        let path = format!("{V3}/sync?filter={FILTER}&timeout=30000&since={since}");
        let Ok(answer) = client.attempt(Method::GET, &path, None).await else {
            continue;
        };
        let now = Instant::now();
        let rooms = answer.body["rooms"]["join"].as_object();
        for room in rooms.into_iter().flat_map(|rooms| rooms.values()) {
            for event in room["timeline"]["events"].as_array().into_iter().flatten() {
                let body = event["content"]["body"].as_str().unwrap_or_default();
                heard.borrow_mut().push((body.to_owned(), now));
            }
        }
        since = answer.text("next_batch");
    }
}

/// From the call that sends to the answer of the sync that brings it, to each of some members;
/// median and 99th percentile in milliseconds.
async fn delivery(members: &[Client], room: &str) -> [f64; 2] {
    let heard: Vec<Heard> = members.iter().map(|_| Heard::default()).collect();
    let tasks: Vec<JoinHandle<()>> = members
        .iter()
        .zip(&heard)
        .map(|(client, heard)| spawn_local(listen(client.clone(), Rc::clone(heard))))
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut times = Vec::new();
    for number in 0..TIMED {
        let body = format!("timed {number} {}", unique());
        let begun = Instant::now();
        let path = message_path(room, &unique());
        let content = json!({"msgtype": "m.text", "body": body});
        assert_eq!(members[1].put(&path, &content).await.status, 200);
        let give_up = begun + Duration::from_secs(60);
        let mut arrived = 0;
        while arrived < members.len() && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(5)).await;
            arrived = heard.iter().filter(|it| it.borrow().iter().any(|it| it.0 == body)).count();
        }
        for one in &heard {
            if let Some((_, at)) = one.borrow().iter().find(|it| it.0 == body) {
                times.push(at.duration_since(begun).as_secs_f64() * 1e3);
            }
            one.borrow_mut().clear();
        }
        assert_eq!(arrived, members.len(), "a message did not arrive");
    }
    end(tasks).await;
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// A first sync of many rooms, and one after a message.
async fn sync(client: &Client, figures: &mut Figures) {
    for start in (0..ROOMS).step_by(8) {
        let tasks: Vec<_> = (start..ROOMS.min(start + 8))
            .map(|number| {
                let client = client.clone();
                let name = json!({"name": format!("room {number}")});
                spawn_local(async move { client.create(&name).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    let room = client.create(&json!({})).await;
    let begun = Instant::now();
    let answer = client.get(&format!("{V3}/sync")).await;
    figures.sync = begun.elapsed().as_secs_f64();
    figures.bytes = answer.body.to_string().len();
    let mut since = answer.text("next_batch");
    let mut times = Vec::new();
    for number in 0..20 {
        client.say(&room, &unique(), &format!("x {number}")).await;
        let begun = Instant::now();
        let answer = client.get(&format!("{V3}/sync?since={since}")).await;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        since = answer.text("next_batch");
    }
    times.sort_by(f64::total_cmp);
    figures.next = times[times.len() / 2];
}

fn table(ours: &Figures, theirs: &Figures) {
    let row = |name: &str, a: String, b: String, aim: String| {
        println!("| {name} | {a} | {b} | {aim} |");
    };
    let speed = |a: f64, b: f64| {
        let word = if a >= 10.0 * b { "met" } else { "NOT MET" };
        format!("10 times: {word} ({:.1} times)", a / b)
    };
    let memory = |a: u64, b: u64| {
        let word = if a * 5 <= b { "met" } else { "NOT MET" };
        format!("a fifth: {word} (1/{:.1})", b as f64 / a as f64)
    };
    let mb = |kib: u64| format!("{:.0} MB", kib as f64 / 1e3 * 1.024);
    let ms = |it: [f64; 2]| format!("{:.1} / {:.1} ms", it[0], it[1]);
    println!("| | grotto serve | Synapse | aim |\n|---|---|---|---|");
    let per = |it: f64| format!("{it:.0} /s");
    row(
        &format!("messages into a room of {MEMBERS}, {SENDERS} send, nobody syncs"),
        per(ours.quiet),
        per(theirs.quiet),
        speed(ours.quiet, theirs.quiet),
    );
    row(
        "the same, all members sync",
        per(ours.heard),
        per(theirs.heard),
        speed(ours.heard, theirs.heard),
    );
    row("delivery, 100 clients, p50 / p99", ms(ours.few), ms(theirs.few), String::new());
    row("delivery, 1,000 clients, p50 / p99", ms(ours.many), ms(theirs.many), String::new());
    row(
        &format!("first sync of {ROOMS} rooms"),
        format!("{:.2} s, {} kB", ours.sync, ours.bytes / 1000),
        format!("{:.2} s, {} kB", theirs.sync, theirs.bytes / 1000),
        String::new(),
    );
    row(
        "the next one, after a message",
        format!("{:.1} ms", ours.next),
        format!("{:.1} ms", theirs.next),
        String::new(),
    );
    row("memory, idle", mb(ours.idle), mb(theirs.idle), memory(ours.idle, theirs.idle));
    row(
        "memory, 1,000 clients connected",
        mb(ours.loaded),
        mb(theirs.loaded),
        memory(ours.loaded, theirs.loaded),
    );
    row("memory, the most", mb(ours.most), mb(theirs.most), memory(ours.most, theirs.most));
}
