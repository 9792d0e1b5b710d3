//! What the session layer costs on top of vodozemac, in one run: encrypting, decrypting, sharing.
//!
//! `cargo bench --bench megolm` prints a table; it takes some ten seconds.

#![expect(clippy::indexing_slicing, reason = "a benchmark may end when the world is not as made")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../tests/it/world.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    reason = "the tests' world; a benchmark may end when it breaks"
)]
mod world;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use grotto::{
    e2ee::{Changes, Decryption, Lookup, Machine, Plaintext, Readiness, Recipients, Step, Write},
    matrix::{Event, Membership},
    rooms::{EventBody, RoomKind, RoomSummary, StoredEvent},
    secret::Secret,
    store::{Account, Pending, RoomRow, Store, StoreKey, Writes},
    time::Timestamp,
};
use serde_json::json;
use vodozemac::megolm::{GroupSession, InboundGroupSession, MegolmMessage, SessionConfig};
use world::{Client, Memory, World};

type Failure = Box<dyn std::error::Error>;

const MESSAGES: usize = 2_000;
const BATCH: usize = 100;
const ALICE: usize = 0;
const BOB: usize = 1;
const BODY: &str = "It was a bright cold day in April, and the clocks were striking thirteen.";

/// A place for records that can be written.
trait Records: Lookup {
    fn commit(&mut self, changes: Changes) -> Result<(), Failure>;
}

impl Records for Memory {
    fn commit(&mut self, changes: Changes) -> Result<(), Failure> {
        world::commit(self, changes);
        Ok(())
    }
}

impl Records for Store {
    fn commit(&mut self, changes: Changes) -> Result<(), Failure> {
        let writes = Writes { crypto: changes, ..Writes::default() };
        Ok(Store::commit(self, Pending::new(writes, ()))?)
    }
}

/// A machine over a place for records.
struct Side<R> {
    machine: Machine,
    records: R,
    now: Timestamp,
}

fn main() -> Result<(), Failure> {
    title(&format!("{MESSAGES} messages of {} bytes, a commit per {BATCH}", BODY.len()));
    let raw = raw()?;
    row("encrypt, vodozemac alone", raw.0, raw.0);
    row("decrypt, vodozemac alone", raw.1, raw.1);
    let (world, to) = world_of(1);
    let memory = |at: usize| world.clients[at].store.clone();
    let mut alice = Side::open(&world.clients[ALICE], memory(ALICE), world.now)?;
    let (spent, events) = alice.encrypt_all(&world, &to)?;
    row("encrypt, machine, records in memory", spent, raw.0);
    let mut world = world;
    world.settle();
    let mut bob = Side::open(&world.clients[BOB], world.clients[BOB].store.clone(), world.now)?;
    row("decrypt, machine, records in memory", bob.decrypt_all(&world, &events)?, raw.1);
    let dir = tempfile::tempdir()?;
    for (name, dir) in [("store in memory", None), ("store on disk", Some(dir.path()))] {
        let mut alice = Side::open(&world.clients[ALICE], store(&world, ALICE, dir)?, world.now)?;
        row(&format!("encrypt, machine, {name}"), alice.encrypt_all(&world, &to)?.0, raw.0);
        let mut bob = Side::open(&world.clients[BOB], store(&world, BOB, dir)?, world.now)?;
        row(&format!("decrypt, machine, {name}"), bob.decrypt_all(&world, &events)?, raw.1);
    }
    let records = store(&world, BOB, Some(&dir.path().join("rows")))?;
    let mut bob = Side::open(&world.clients[BOB], records, world.now)?;
    row("decrypt, machine + event rows on disk", bob.receive_all(&world, &events)?, raw.1);
    for devices in [100, 1_000] {
        share(devices)?;
    }
    Ok(())
}

/// vodozemac's time to encrypt and to decrypt, base64 included.
fn raw() -> Result<(Duration, Duration), Failure> {
    let mut outbound = GroupSession::new(SessionConfig::version_1());
    let key = outbound.session_key();
    let mut inbound = InboundGroupSession::new(&key, SessionConfig::version_1());
    let content = json!({ "msgtype": "m.text", "body": BODY });
    let payload = json!({ "type": "m.room.message", "content": content, "room_id": "!room:x" });
    let payload = payload.to_string();
    let start = Instant::now();
    let texts: Vec<_> = (0..MESSAGES).map(|_| outbound.encrypt(&payload).to_base64()).collect();
    let encrypting = start.elapsed();
    let start = Instant::now();
    for text in &texts {
        let decrypted = inbound.decrypt(&MegolmMessage::from_base64(text)?)?;
        assert_eq!(decrypted.plaintext.len(), payload.len());
    }
    Ok((encrypting, start.elapsed()))
}

/// Alice with `devices` others in a room whose session lasts; the key was shared.
fn world_of(devices: usize) -> (World, Recipients) {
    let mut world = World::new(&[("@alice:x", "ALICE")]);
    for at in 0..devices {
        world.add_quietly(&format!("@user{at}:x"), "DEVICE");
    }
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 10_000 });
    world.state("m.room.encryption", "", &content);
    let to = world.everybody();
    if devices == 1 {
        world.say(ALICE, &to, "first");
    }
    (world, to)
}

impl<R: Records> Side<R> {
    /// Opens the machine of `client` over a copy of its records.
    fn open(client: &Client, records: R, now: Timestamp) -> Result<Self, Failure> {
        let mut step = Step::new(&records, now);
        let machine = Machine::open(&client.user, &client.device, &mut step)?;
        Ok(Self { machine, records, now })
    }

    fn encrypt_all(
        &mut self,
        world: &World,
        to: &Recipients,
    ) -> Result<(Duration, Vec<Event>), Failure> {
        let content = json!({ "msgtype": "m.text", "body": BODY });
        let content = content.as_object().cloned().unwrap_or_default();
        let plaintext = Plaintext::new("m.room.message", content);
        let mut contents = Vec::with_capacity(MESSAGES);
        let start = Instant::now();
        for _ in 0..MESSAGES / BATCH {
            let mut step = Step::new(&self.records, self.now);
            for _ in 0..BATCH {
                match self.machine.prepare_room(&world.room, to, &mut step)? {
                    Readiness::Ready(room) => contents.push(room.encrypt(&plaintext, &mut step)?),
                    Readiness::Waiting => return Err("the room is not ready".into()),
                }
            }
            let (changes, _, _) = step.finish();
            self.records.commit(changes)?;
        }
        let spent = start.elapsed();
        let sender = &world.clients[ALICE].user;
        let events = contents.iter().enumerate().map(|(at, content)| {
            let content: serde_json::Value = serde_json::from_str(content.json())?;
            let event = json!({ "type": "m.room.encrypted", "event_id": format!("$event{at}"),
                "sender": sender, "origin_server_ts": self.now, "content": content });
            Ok(Event::parse(&event.to_string())?)
        });
        Ok((spent, events.collect::<Result<_, Failure>>()?))
    }

    fn decrypt_all(&mut self, world: &World, events: &[Event]) -> Result<Duration, Failure> {
        let start = Instant::now();
        for batch in events.chunks(BATCH) {
            let mut step = Step::new(&self.records, self.now);
            for event in batch {
                match self.machine.decrypt_event(&world.room, event, &mut step)? {
                    Decryption::Decrypted(_) => {}
                    Decryption::Undecryptable(why) => return Err(format!("{why:?}").into()),
                }
            }
            let (changes, _, _) = step.finish();
            self.records.commit(changes)?;
        }
        Ok(start.elapsed())
    }
}

impl Side<Store> {
    /// Decrypts everything and keeps it as the engine does: the event as it came, what it says, and
    /// the room's line, in one commit with the machine's records.
    fn receive_all(&mut self, world: &World, events: &[Event]) -> Result<Duration, Failure> {
        let mut position = 0;
        let start = Instant::now();
        for batch in events.chunks(BATCH) {
            let mut writes = Writes { rooms: vec![line_of(world)], ..Writes::default() };
            let mut step = Step::new(&self.records, self.now);
            for event in batch {
                position += 1;
                let body = match self.machine.decrypt_event(&world.room, event, &mut step)? {
                    Decryption::Decrypted(inner) => EventBody::Decrypted(inner),
                    Decryption::Undecryptable(why) => return Err(format!("{why:?}").into()),
                };
                let stored = StoredEvent { position, event: event.clone(), body };
                writes.events.push((world.room.clone(), stored));
            }
            (writes.crypto, _, _) = step.finish();
            self.records.commit(Pending::new(writes, ()))?;
        }
        let spent = start.elapsed();
        assert_eq!(self.records.newest(&world.room, usize::MAX)?.len(), events.len());
        Ok(spent)
    }
}

/// The line of the room.
fn line_of(world: &World) -> RoomRow {
    let summary = RoomSummary {
        room_id: world.room.clone(),
        name: "Room".to_owned(),
        kind: RoomKind::Group,
        membership: Membership::Join,
        encrypted: true,
        unread: 0,
        highlights: 0,
        members: 2,
        topic: None,
        last_activity: world.now,
        inviter: None,
    };
    RoomRow { summary, record: json!({}) }
}

/// A store with the records of a client; on disk below `dir`.
fn store(world: &World, at: usize, dir: Option<&Path>) -> Result<Store, Failure> {
    let client = &world.clients[at];
    let account = Account {
        user_id: client.user.clone(),
        device_id: client.device.clone(),
        homeserver: "http://127.0.0.1".to_owned(),
        stream_url: None,
        access_token: Secret::new("token".to_owned()),
    };
    let mut store = match dir {
        None => Store::in_memory(&account)?,
        Some(dir) => {
            let key = StoreKey::Key(Secret::new(vec![7; 32]));
            Store::create(&dir.join(client.device.as_str()), &key, &account)?
        }
    };
    let writes = client.store.0.iter().map(|((table, key), value)| Write {
        table: *table,
        key: key.clone(),
        value: Some(value.clone().into()),
    });
    Records::commit(&mut store, Changes { writes: writes.collect() })?;
    Ok(store)
}

/// Prepares a room for `devices` others who never heard of us: what the machine takes for the
/// queries, the claims and the shares, without the server.
fn share(devices: usize) -> Result<(), Failure> {
    let (mut world, to) = world_of(devices);
    let (room, now) = (world.room.clone(), world.now);
    let mut spent = Duration::ZERO;
    for _ in 0..100 {
        let start = Instant::now();
        let ready = world.prepare(ALICE, &to)?;
        spent += start.elapsed();
        if ready {
            let each = spent / u32::try_from(devices)?;
            let name = format!("share to {devices} devices");
            title(&format!(
                "{name:<38}{:>9.1} ms{:>11.1} µs each",
                millis(spent),
                millis(each) * 1e3
            ));
            return Ok(());
        }
        for request in std::mem::take(&mut world.clients[ALICE].outgoing) {
            let client = &mut world.clients[ALICE];
            let answer = world.server.answer(&client.user, &request);
            let answer = answer.as_deref().map_err(Clone::clone);
            let start = Instant::now();
            client
                .step(now, |machine, step| machine.receive_response(&request.id, answer, step))?;
            spent += start.elapsed();
        }
    }
    Err(format!("{room} does not get ready").into())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn row(name: &str, spent: Duration, raw: Duration) {
    let each = spent / u32::try_from(MESSAGES).unwrap_or(u32::MAX);
    let rate = 1.0 / each.as_secs_f64();
    let ratio = raw.as_secs_f64() / spent.as_secs_f64();
    let each = millis(each) * 1e3;
    title(&format!("{name:<38}{each:>9.1} µs{rate:>11.0} /s{ratio:>8.2} of vodozemac"));
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its table")]
fn title(line: &str) {
    println!("{line}");
}
