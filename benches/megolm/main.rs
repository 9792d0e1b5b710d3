//! What the session layer costs on top of vodozemac, in one run: encrypting, decrypting, sharing.
//!
//! `cargo bench --bench megolm` prints a table; it takes half a minute.

#![expect(clippy::indexing_slicing, reason = "a benchmark may end when the world is not as made")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../../tests/it/world.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    reason = "the tests' world; a benchmark may end when it breaks"
)]
mod world;

mod watch;

use std::{path::Path, time::Duration};

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
use watch::{Spent, Watch};
use world::{Client, Memory, World};

type Failure = Box<dyn std::error::Error>;

const MESSAGES: usize = 2_000;
const BATCH: usize = 100;
const ROUNDS: usize = 9;
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
    line(&format!(
        "{MESSAGES} messages of {} bytes, a commit per {BATCH}; medians of {ROUNDS} rounds, each \
         beside vodozemac alone",
        BODY.len()
    ));
    let (mut world, to) = world_of(1);
    let alice = |world: &World| Side::open(world, ALICE, world.clients[ALICE].store.clone());
    let events = alice(&world)?.encrypt_all(&world, &to)?.1;
    measure("encrypt, machine, records in memory", Aim::OfRaw(0.8), Raw::Encrypt, || {
        Ok(alice(&world)?.encrypt_all(&world, &to)?.0)
    })?;
    world.settle();
    measure("decrypt, machine, records in memory", Aim::OfRaw(0.8), Raw::Decrypt, || {
        let bob = Side::open(&world, BOB, world.clients[BOB].store.clone());
        bob?.decrypt_all(&world, &events)
    })?;
    measure("encrypt, machine, store in memory", Aim::None, Raw::Encrypt, || {
        let alice = Side::open(&world, ALICE, store(&world, ALICE, None)?);
        Ok(alice?.encrypt_all(&world, &to)?.0)
    })?;
    measure("decrypt, machine, store in memory", Aim::None, Raw::Decrypt, || {
        Side::open(&world, BOB, store(&world, BOB, None)?)?.decrypt_all(&world, &events)
    })?;
    measure("encrypt, machine, store on disk", Aim::None, Raw::Encrypt, || {
        let dir = tempfile::tempdir()?;
        let alice = Side::open(&world, ALICE, store(&world, ALICE, Some(dir.path()))?);
        Ok(alice?.encrypt_all(&world, &to)?.0)
    })?;
    measure("decrypt, machine, store on disk", Aim::PerSecond(5_000.0), Raw::Decrypt, || {
        let dir = tempfile::tempdir()?;
        let bob = Side::open(&world, BOB, store(&world, BOB, Some(dir.path()))?);
        bob?.decrypt_all(&world, &events)
    })?;
    measure("decrypt, machine, event rows on disk", Aim::PerSecond(5_000.0), Raw::Decrypt, || {
        let dir = tempfile::tempdir()?;
        let bob = Side::open(&world, BOB, store(&world, BOB, Some(dir.path()))?);
        bob?.receive_all(&world, &events)
    })?;
    line("\na room's first message: devices queried, keys claimed, Olm sessions made, key shared");
    for devices in [100, 1_000] {
        share(devices)?;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line(&format!("\nload of this machine at the end: {}", load.trim()));
    Ok(())
}

/// What a row should reach.
#[derive(Clone, Copy)]
enum Aim {
    None,
    /// This part of vodozemac's speed.
    OfRaw(f64),
    /// So many messages a second.
    PerSecond(f64),
}

impl Aim {
    /// The aim and whether it is met, in words.
    fn judge(self, ratio: f64, rate: f64) -> String {
        let word = |met| if met { "met" } else { "NOT MET" };
        match self {
            Self::None => String::new(),
            Self::OfRaw(aim) => format!("aim {aim:.2}: {}", word(aim <= ratio)),
            Self::PerSecond(aim) => format!("aim {aim:.0} /s: {}", word(aim <= rate)),
        }
    }
}

/// Takes the time of `ours` [`ROUNDS`] times, each right after `raw`, so that whatever else the
/// machine does burdens both; prints the medians. The ratio is that of processor times, the rate is
/// what the wall clock says: it counts the waiting for the disk.
fn measure(
    name: &str,
    aim: Aim,
    raw: Raw,
    ours: impl Fn() -> Result<Spent, Failure>,
) -> Result<(), Failure> {
    let (mut raws, mut all, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (raw, ours) = (raw.time()?, ours()?);
        ratios.push(raw.processor.as_secs_f64() / ours.processor.as_secs_f64());
        raws.push(each(raw.processor, MESSAGES)?);
        all.push(each(ours.processor, MESSAGES)?);
        walls.push(each(ours.wall, MESSAGES)?);
    }
    let (raw, ours, wall) = (median(&mut raws), median(&mut all), median(&mut walls));
    let (rate, ratio) = (1e6 / wall, median(&mut ratios));
    let (low, high) = (ratios.first().unwrap_or(&0.0), ratios.last().unwrap_or(&0.0));
    let aim = aim.judge(ratio, rate);
    line(&format!(
        "{name:<37}{ours:>6.1} µs ({wall:>6.1} by the clock,{rate:>6.0} /s){ratio:>6.2} of \
         vodozemac's {raw:.1} µs ({low:.2} to {high:.2})  {aim}"
    ));
    Ok(())
}

/// Microseconds for each of `count`.
fn each(spent: Duration, count: usize) -> Result<f64, Failure> {
    Ok(spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(count)?))
}

/// The middle of the values, which are left in order; zero without values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What vodozemac does alone, beside a row.
#[derive(Clone, Copy)]
enum Raw {
    Encrypt,
    Decrypt,
}

impl Raw {
    fn time(self) -> Result<Spent, Failure> {
        match self {
            Self::Encrypt => Ok(raw_encrypt()),
            Self::Decrypt => raw_decrypt(),
        }
    }
}

/// What is encrypted, without a session layer to write it.
fn payload() -> String {
    let content = json!({ "msgtype": "m.text", "body": BODY });
    json!({ "type": "m.room.message", "content": content, "room_id": "!room:x" }).to_string()
}

/// vodozemac's time to encrypt, base64 included.
fn raw_encrypt() -> Spent {
    let (mut outbound, payload) = (GroupSession::new(SessionConfig::version_1()), payload());
    let watch = Watch::start();
    let texts: Vec<_> = (0..MESSAGES).map(|_| outbound.encrypt(&payload).to_base64()).collect();
    let spent = watch.stop();
    assert_eq!(texts.len(), MESSAGES);
    spent
}

/// vodozemac's time to decrypt, base64 included.
fn raw_decrypt() -> Result<Spent, Failure> {
    let (mut outbound, payload) = (GroupSession::new(SessionConfig::version_1()), payload());
    let mut inbound = InboundGroupSession::new(&outbound.session_key(), SessionConfig::version_1());
    let texts: Vec<_> = (0..MESSAGES).map(|_| outbound.encrypt(&payload).to_base64()).collect();
    let watch = Watch::start();
    for text in &texts {
        let decrypted = inbound.decrypt(&MegolmMessage::from_base64(text)?)?;
        assert_eq!(decrypted.plaintext.len(), payload.len());
    }
    Ok(watch.stop())
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
    /// Opens the machine of a client over a copy of its records.
    fn open(world: &World, at: usize, records: R) -> Result<Self, Failure> {
        let Client { user, device, .. } = &world.clients[at];
        let machine = Machine::open(user, device, &mut Step::new(&records, world.now))?;
        Ok(Self { machine, records, now: world.now })
    }

    fn encrypt_all(
        &mut self,
        world: &World,
        to: &Recipients,
    ) -> Result<(Spent, Vec<Event>), Failure> {
        let content = json!({ "msgtype": "m.text", "body": BODY });
        let content = content.as_object().cloned().unwrap_or_default();
        let plaintext = Plaintext::new("m.room.message", content);
        let mut contents = Vec::with_capacity(MESSAGES);
        let watch = Watch::start();
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
        let spent = watch.stop();
        let sender = &world.clients[ALICE].user;
        let events = contents.iter().enumerate().map(|(at, content)| {
            let content: serde_json::Value = serde_json::from_str(content.json())?;
            let event = json!({ "type": "m.room.encrypted", "event_id": format!("$event{at}"),
                "sender": sender, "origin_server_ts": self.now, "content": content });
            Ok(Event::parse(&event.to_string())?)
        });
        Ok((spent, events.collect::<Result<_, Failure>>()?))
    }

    fn decrypt_all(&mut self, world: &World, events: &[Event]) -> Result<Spent, Failure> {
        let watch = Watch::start();
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
        Ok(watch.stop())
    }
}

impl Side<Store> {
    /// Decrypts everything and keeps it as the engine does: the event as it came, what it says, and
    /// the room's line, in one commit with the machine's records.
    fn receive_all(&mut self, world: &World, events: &[Event]) -> Result<Spent, Failure> {
        let mut position = 0;
        let watch = Watch::start();
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
        let spent = watch.stop();
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

/// Prepares a room for `devices` others, [`ROUNDS`] times or fewer; prints the median.
fn share(devices: usize) -> Result<(), Failure> {
    let rounds = if devices < 1_000 { ROUNDS } else { 3 };
    let (mut all, mut walls) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let spent = share_once(devices)?;
        all.push(spent.processor.as_secs_f64() * 1e3);
        walls.push(spent.wall.as_secs_f64() * 1e3);
    }
    let (all, wall) = (median(&mut all), median(&mut walls));
    let each = all * 1e3 / f64::from(u32::try_from(devices)?);
    let name = format!("{devices} devices, median of {rounds}");
    line(&format!("{name:<37}{all:>6.1} ms ({wall:>6.1} by the clock){each:>9.1} µs each"));
    Ok(())
}

/// Prepares a room for `devices` others who never heard of us: what the machine takes for the
/// queries, the claims and the shares, without the server.
fn share_once(devices: usize) -> Result<Spent, Failure> {
    let (mut world, to) = world_of(devices);
    let (room, now) = (world.room.clone(), world.now);
    let mut spent = Spent::default();
    for _ in 0..100 {
        let watch = Watch::start();
        let ready = world.prepare(ALICE, &to)?;
        spent.add(watch.stop());
        if ready {
            return Ok(spent);
        }
        for request in std::mem::take(&mut world.clients[ALICE].outgoing) {
            let client = &mut world.clients[ALICE];
            let answer = world.server.answer(&client.user, &request);
            let answer = answer.as_deref().map_err(Clone::clone);
            let watch = Watch::start();
            client
                .step(now, |machine, step| machine.receive_response(&request.id, answer, step))?;
            spent.add(watch.stop());
        }
    }
    Err(format!("{room} does not get ready").into())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its table")]
fn line(line: &str) {
    println!("{line}");
}
