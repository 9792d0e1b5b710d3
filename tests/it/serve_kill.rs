//! `grotto serve` is killed again and again while clients use it, and its disk fills up: what it
//! acknowledged is there, once.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
    time::Duration,
};

use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::{
    rig::{self, GROTTO},
    served::{Client, OPEN, Served, message_path, runtime},
    torture::{Dice, Faults},
};

const KILLS: usize = 50;
/// Longest life of a server under load, in milliseconds.
const LIFE: u64 = 500;
const ROOMS: usize = 60;
const V3: &str = "/_matrix/client/v3";

/// The load: whether it goes on, and how much of each kind was acknowledged.
#[derive(Default)]
struct Load {
    is_over: Cell<bool>,
    said: Cell<usize>,
    sent: Cell<usize>,
    keys: Cell<usize>,
    joined: Cell<usize>,
    files: Cell<usize>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.is_over.get()
    }

    fn end(&self) {
        self.is_over.set(true);
    }

    /// Whether what is checked afterwards says anything.
    fn is_enough(&self) -> bool {
        let enough = [
            (&self.said, 300),
            (&self.sent, 100),
            (&self.keys, 100),
            (&self.joined, 5),
            (&self.files, 5),
        ];
        enough.iter().all(|(count, least)| *least < count.get())
    }
}

fn count(of: &Cell<usize>, more: usize) {
    of.set(of.get() + more);
}

type Going = Rc<Load>;

/// Says numbered texts; each try has the transaction id of the first. Gives event ids by text.
async fn say(client: Client, room: String, going: Going) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    while going.goes_on() {
        let body = format!("{} {}", client.user, said.len());
        let path = message_path(&room, &format!("t{}", said.len()));
        let content = json!({"msgtype": "m.text", "body": body});
        let (answer, _) = client.insist(Method::PUT, &path, &content).await;
        said.insert(body, answer.text("event_id"));
        count(&going.said, 1);
    }
    said
}

/// Sends numbered messages to a device. Gives how many.
async fn send_to_device(client: Client, to: Client, going: Going) -> usize {
    let mut number = 0;
    while going.goes_on() {
        let path = format!("{V3}/sendToDevice/m.test/d{number}");
        let messages =
            json!({&to.user: {&to.device: {"text": format!("{} {number}", client.user)}}});
        client.insist(Method::PUT, &path, &json!({"messages": messages})).await;
        number += 1;
        count(&going.sent, 1);
    }
    number
}

/// What somebody saw who synced all the time.
#[derive(Default)]
struct Seen {
    /// Texts of messages, in order.
    messages: Vec<String>,
    to_device: Vec<String>,
    /// Whether a timeline had a gap, so that messages may have been left out.
    gaps: usize,
}

/// Syncs; each answer that comes whole counts, and its token is used from then on.
async fn sync(client: Client, going: Going) -> Seen {
    let mut seen = Seen::default();
    let mut since = String::new();
    let filter = r#"{"room":{"timeline":{"limit":1000}}}"#;
    let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
    loop {
        let is_last = !going.goes_on();
        let timeout = if is_last { 0 } else { 200 };
        let path = format!("{V3}/sync?timeout={timeout}&filter={filter}{since}");
        let (answer, _) = client.insist(Method::GET, &path, &Value::Null).await;
        let texts = |events: &Value, field: &str| -> Vec<String> {
            let events = events.as_array().cloned().unwrap_or_default();
            let texts = events.iter().filter_map(|event| event["content"][field].as_str());
            texts.map(str::to_owned).collect()
        };
        let mut is_empty = true;
        for room in answer.body["rooms"]["join"].as_object().into_iter().flat_map(|it| it.values())
        {
            let messages = texts(&room["timeline"]["events"], "body");
            is_empty &= messages.is_empty();
            seen.gaps += usize::from(room["timeline"]["limited"] == true && !since.is_empty());
            seen.messages.extend(messages);
        }
        let to_device = texts(&answer.body["to_device"]["events"], "text");
        is_empty &= to_device.is_empty();
        seen.to_device.extend(to_device);
        since = format!("&since={}", answer.text("next_batch"));
        if is_last && is_empty {
            return seen;
        }
    }
}

/// Uploads numbered one-time keys, five at a time. Gives how many are there.
async fn upload_keys(client: Client, going: Going) -> usize {
    let mut first = 0;
    while going.goes_on() {
        let keys: serde_json::Map<String, Value> = (first..first + 5)
            .map(|number| (format!("curve25519:k{number:06}"), json!(format!("key {number}"))))
            .collect();
        let body = json!({"one_time_keys": keys});
        let (answer, _) = client.insist(Method::POST, &format!("{V3}/keys/upload"), &body).await;
        first += 5;
        count(&going.keys, 5);
        if answer.body["one_time_key_counts"]["curve25519"].as_u64().unwrap() > 300 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    first
}

/// Claims keys of that device. Gives what it got, and how many claims were not answered.
async fn claim_keys(client: Client, of: Client, going: Going) -> (Vec<String>, usize) {
    let (mut got, mut unanswered) = (Vec::new(), 0);
    while going.goes_on() {
        let (key, lost) = claim(&client, &of).await;
        unanswered += lost;
        got.extend(key);
    }
    (got, unanswered)
}

async fn claim(client: &Client, of: &Client) -> (Option<String>, usize) {
    let body = json!({"one_time_keys": {&of.user: {&of.device: "curve25519"}}});
    let (answer, lost) = client.insist(Method::POST, &format!("{V3}/keys/claim"), &body).await;
    let keys = answer.body["one_time_keys"][&of.user][&of.device].as_object().cloned();
    (keys.and_then(|keys| keys.into_iter().next()).map(|(id, _)| id), lost)
}

/// Reads what there is, all the time; gives the event of the last receipt.
async fn send_receipts(client: Client, room: String, going: Going) -> String {
    let mut last = String::new();
    while going.goes_on() {
        let page = format!("{V3}/rooms/{room}/messages?dir=b&limit=1");
        let (page, _) = client.insist(Method::GET, &page, &Value::Null).await;
        let event = page.body["chunk"][0]["event_id"].as_str().unwrap().to_owned();
        let path = format!("{V3}/rooms/{room}/receipt/m.read/{event}");
        client.insist(Method::POST, &path, &json!({})).await;
        last = event;
    }
    last
}

/// Joins these rooms one by one; gives which.
async fn join(client: Client, rooms: Vec<String>, going: Going) -> BTreeSet<String> {
    let mut joined = BTreeSet::new();
    for room in rooms {
        if !going.goes_on() {
            break;
        }
        client.insist(Method::POST, &format!("{V3}/join/{room}"), &json!({})).await;
        joined.insert(room);
        count(&going.joined, 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    joined
}

/// Uploads files of two pieces; gives addresses and contents.
async fn upload_files(client: Client, going: Going) -> Vec<(String, String)> {
    let mut files = Vec::new();
    while going.goes_on() {
        let text = format!("file {} ", files.len()).repeat(30_000);
        let body = Value::String(text.clone());
        let upload = "/_matrix/media/v3/upload?filename=x";
        let (answer, _) = client.insist(Method::POST, upload, &body).await;
        files.push((answer.text("content_uri"), text));
        count(&going.files, 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    files
}

/// Kills and starts, as often as it takes for a load that says something; at the end it runs.
async fn kill_again_and_again(mut served: Served, going: Going) -> Served {
    let mut dice = Dice(7);
    let mut kills = 0;
    while kills < KILLS || !going.is_enough() {
        kills += 1;
        tokio::time::sleep(Duration::from_millis(30 + dice.roll(LIFE))).await;
        // Off this thread: the clients go on meanwhile.
        served = tokio::task::spawn_blocking(move || {
            served.kill();
            served.start_again();
            served
        })
        .await
        .unwrap();
    }
    going.end();
    served
}

/// Everybody who takes part.
struct People {
    senders: Vec<Client>,
    reader: Client,
    device: Client,
    room: String,
    rooms: Vec<String>,
}

impl People {
    async fn register(base: &str) -> Self {
        let mut senders = Vec::new();
        for name in ["ada", "bea", "cleo"] {
            senders.push(Client::register(base, name).await);
        }
        let room = senders[0].create(&json!({"preset": "public_chat"})).await;
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            rooms.push(senders[0].create(&json!({"preset": "public_chat"})).await);
        }
        let reader = Client::register(base, "dora").await;
        for client in senders.iter().skip(1).chain([&reader]) {
            client.post(&format!("{V3}/join/{room}"), &json!({})).await;
        }
        let device = Client::register(base, "eve").await;
        Self { senders, reader, device, room, rooms }
    }
}

#[test]
fn killed_at_any_moment_it_keeps_everything_it_acknowledged_and_doubles_nothing() {
    let served = Served::start(Path::new(GROTTO), &rig::folder("kill"), OPEN);
    runtime().block_on(LocalSet::new().run_until(kill_under_load(served)));
}

#[expect(
    clippy::cognitive_complexity,
    reason = "one story: begin all, kill, then ask what is left"
)]
async fn kill_under_load(served: Served) {
    let base = served.base.clone();
    let people = People::register(&base).await;
    let People { senders, reader, device, room, rooms } = &people;
    let going: Going = Rc::new(Load::default());
    let on = || Rc::clone(&going);
    let killing = spawn_local(kill_again_and_again(served, on()));
    let said: Vec<JoinHandle<_>> =
        senders.iter().map(|it| spawn_local(say(it.clone(), room.clone(), on()))).collect();
    let sent: Vec<JoinHandle<_>> = senders
        .iter()
        .take(2)
        .map(|it| spawn_local(send_to_device(it.clone(), device.clone(), on())))
        .collect();
    let watching = Rc::new(Load::default());
    let watched = spawn_local(sync(reader.clone(), Rc::clone(&watching)));
    let received = spawn_local(sync(device.clone(), Rc::clone(&watching)));
    let uploaded = spawn_local(upload_keys(device.clone(), on()));
    let claimed: Vec<JoinHandle<_>> = senders
        .iter()
        .take(2)
        .map(|it| spawn_local(claim_keys(it.clone(), device.clone(), on())))
        .collect();
    let read = spawn_local(send_receipts(reader.clone(), room.clone(), on()));
    let joined = spawn_local(join(device.clone(), rooms.clone(), on()));
    let files = spawn_local(upload_files(senders[2].clone(), on()));

    let served = killing.await.unwrap();
    let mut acknowledged = BTreeMap::new();
    for task in said {
        acknowledged.extend(task.await.unwrap());
    }
    let mut to_device = BTreeSet::new();
    for (task, sender) in sent.into_iter().zip(senders) {
        let count = task.await.unwrap();
        to_device.extend((0..count).map(|number| format!("{} {number}", sender.user)));
    }
    watching.end();
    let (watched, received) = (watched.await.unwrap(), received.await.unwrap());
    check_messages(&people, &acknowledged, &watched).await;
    let received_once: BTreeSet<String> = received.to_device.iter().cloned().collect();
    assert_eq!(received.to_device.len(), received_once.len(), "one came twice");
    assert!(received_once == to_device, "to-device: {:?}", first(&received_once, &to_device));
    let mut got = Vec::new();
    let mut unanswered = 0;
    for task in claimed {
        let (keys, lost) = task.await.unwrap();
        got.extend(keys);
        unanswered += lost;
    }
    check_keys(&people, uploaded.await.unwrap(), got, unanswered).await;
    check_rest(&people, &read.await.unwrap(), &joined.await.unwrap()).await;
    check_files(reader, files.await.unwrap()).await;
    let log = served.log();
    assert!(!log.contains("ERROR"), "{log}");
    let database = served.database();
    drop(served);
    let connection = Connection::open(database).unwrap();
    let sound: String =
        connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

/// One that is in only one of the sets.
fn first<'a>(a: &'a BTreeSet<String>, b: &'a BTreeSet<String>) -> Option<&'a String> {
    a.symmetric_difference(b).next()
}

async fn check_messages(people: &People, said: &BTreeMap<String, String>, watched: &Seen) {
    let People { senders, room, .. } = people;
    let held = senders[0].messages(room).await;
    let bodies: BTreeSet<String> = held.iter().map(|(_, _, body)| body.clone()).collect();
    assert_eq!(held.len(), bodies.len(), "a message is there twice");
    let wanted: BTreeSet<String> = said.keys().cloned().collect();
    assert!(bodies == wanted, "messages: {:?}", first(&bodies, &wanted));
    for (_, event, body) in &held {
        assert_eq!(said.get(body), Some(event), "{body} was acknowledged under another id");
    }
    for sender in senders {
        let own = said.keys().filter(|body| body.starts_with(&*sender.user)).count();
        let again = message_path(room, &format!("t{}", own - 1));
        let (answer, _) = sender.insist(Method::PUT, &again, &json!({"body": "again"})).await;
        let before = &said[&format!("{} {}", sender.user, own - 1)];
        assert_eq!(&answer.text("event_id"), before, "the transaction is forgotten");
    }
    let seen: BTreeSet<String> = watched.messages.iter().cloned().collect();
    assert_eq!(seen.len(), watched.messages.len(), "a sync brought a message twice");
    assert!(watched.gaps > 0 || seen == wanted, "syncs: {:?}", first(&seen, &wanted));
    assert!(seen.is_subset(&wanted));
    let anew = senders[0].again().await.get(&format!("{V3}/sync")).await;
    let timeline = &anew.body["rooms"]["join"][room]["timeline"]["events"];
    let newest = timeline.as_array().unwrap().last().unwrap();
    assert_eq!(newest["event_id"], held.last().unwrap().1, "a sync from the beginning ends there");
}

/// Each key was given out at most once, and is gone only where a claim was not answered.
async fn check_keys(people: &People, uploaded: usize, mut got: Vec<String>, unanswered: usize) {
    while let (Some(key), _) = claim(&people.senders[0], &people.device).await {
        got.push(key);
    }
    let once: BTreeSet<String> = got.iter().cloned().collect();
    assert_eq!(once.len(), got.len(), "a one-time key was given out twice");
    let all = (0..uploaded).map(|number| format!("curve25519:k{number:06}"));
    let all: BTreeSet<String> = all.collect();
    assert!(once.is_subset(&all), "keys: {:?}", once.difference(&all).next());
    let gone = all.difference(&once).count();
    assert!(gone <= unanswered, "{gone} keys are gone, {unanswered} claims were not answered");
}

async fn check_rest(people: &People, read: &str, joined: &BTreeSet<String>) {
    let People { reader, device, room, .. } = people;
    let answer = reader.again().await.get(&format!("{V3}/sync")).await;
    let ephemeral = answer.body["rooms"]["join"][room]["ephemeral"]["events"].to_string();
    assert!(ephemeral.contains(read), "the receipt is gone: {ephemeral}");
    let answer = device.get(&format!("{V3}/joined_rooms")).await;
    let rooms: BTreeSet<String> =
        serde_json::from_value(answer.body["joined_rooms"].clone()).unwrap();
    assert!(rooms == *joined, "rooms: {:?}", first(&rooms, joined));
}

async fn check_files(client: &Client, files: Vec<(String, String)>) {
    for (address, content) in files {
        let path = address.strip_prefix("mxc://").unwrap();
        let answer = client.get(&format!("/_matrix/client/v1/media/download/{path}")).await;
        assert!(answer.body == content, "{address} has another content");
    }
}

#[test]
fn when_its_disk_is_full_it_says_so_and_goes_on_when_there_is_room() {
    let faults = Faults::build();
    let folder = rig::folder("full");
    let environment = faults.environment();
    let served = Served::start_with(Path::new(GROTTO), &folder, OPEN, &environment);
    runtime().block_on(async {
        let ada = Client::register(&served.base, "ada").await;
        let room = ada.create(&json!({})).await;
        assert_eq!(ada.say(&room, "before", "before").await.status, 200);
        let keys = json!({"one_time_keys": {"curve25519:k1": "key", "curve25519:k2": "key"}});
        assert_eq!(ada.post(&format!("{V3}/keys/upload"), &keys).await.status, 200);

        faults.fill_disk();
        for number in 0..20 {
            let answer = ada.say(&room, &format!("full{number}"), &format!("full {number}")).await;
            assert_eq!((answer.status, answer.code()), (503, "M_UNKNOWN"));
        }
        let body = json!({"one_time_keys": {&ada.user: {&ada.device: "curve25519"}}});
        assert_eq!(ada.post(&format!("{V3}/keys/claim"), &body).await.status, 503);
        let file = json!("x".repeat(600_000));
        assert_eq!(ada.post("/_matrix/media/v3/upload", &file).await.status, 503);
        let sync = ada.get(&format!("{V3}/sync")).await;
        assert_eq!(sync.status, 200, "what is there can still be read");

        faults.free_disk();
        let answer = ada.say(&room, "full0", "full 0").await;
        assert_eq!(answer.status, 200);
        let bodies: Vec<String> =
            ada.messages(&room).await.into_iter().map(|(_, _, body)| body).collect();
        assert_eq!(bodies, ["before", "full 0"], "nothing of what was refused is there");
        assert_eq!(claim(&ada, &ada).await.0.as_deref(), Some("curve25519:k1"));
        let since = sync.text("next_batch");
        let sync = ada.get(&format!("{V3}/sync?since={since}")).await;
        let events = sync.body["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["event_id"], answer.text("event_id"));
        assert_eq!(ada.post("/_matrix/media/v3/upload", &file).await.status, 200);
    });
    let log = served.log();
    assert!(!log.contains("panicked"), "{log}");
}

const POWER_CUTS: usize = 12;

#[test]
fn a_power_cut_loses_nothing_that_was_answered_and_doubles_nothing() {
    let faults = Faults::build();
    faults.watch_disk();
    let folder = rig::folder("power");
    let environment = faults.environment();
    let mut served = Served::start_with(Path::new(GROTTO), &folder, OPEN, &environment);
    runtime().block_on(LocalSet::new().run_until(async move {
        let ada = Client::register(&served.base, "ada").await;
        let bob = Client::register(&served.base, "bob").await;
        let room = ada.create(&json!({"preset": "public_chat"})).await;
        assert_eq!(bob.post(&format!("{V3}/join/{room}"), &json!({})).await.status, 200);
        let going: Going = Rc::new(Load::default());
        let load = [&ada, &bob]
            .map(|client| spawn_local(say(client.clone(), room.clone(), going.clone())));
        let mut dice = Dice(20_261_122);
        let mut cuts = 0;
        while cuts < POWER_CUTS || going.said.get() <= 2 * POWER_CUTS {
            cuts += 1;
            tokio::time::sleep(Duration::from_millis(50 + dice.roll(LIFE))).await;
            served.kill();
            let file = |end: &str| folder.join(format!("server.db{end}"));
            let (whole, log, index) = (file(""), file("-wal"), file("-shm"));
            faults.lose_what_was_not_synced(&[&whole, &log, &index]);
            served.start_again();
        }
        going.end();
        let mut said = BTreeMap::new();
        for texts in load {
            said.extend(texts.await.unwrap());
        }
        let there = ada.messages(&room).await;
        let bodies: BTreeSet<&String> = there.iter().map(|(_, _, body)| body).collect();
        assert_eq!(bodies.len(), there.len(), "a message is there twice");
        for text in said.keys() {
            assert!(bodies.contains(text), "{text} was answered and is gone");
        }
        assert_eq!(there.len(), said.len());
    }));
}
