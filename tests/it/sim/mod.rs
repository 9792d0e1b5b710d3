//! The simulator: real engines on real stores, a small homeserver, links that lose, delay, repeat
//! and cut, one virtual clock. A schedule is a seed; whatever faults it draws, once they cease
//! every message has arrived everywhere, once and in order.
//!
//! `GROTTO_SIM_SEED=17` replays one schedule, `GROTTO_SIM_SCHEDULES=50` runs that many.

mod check;
mod client;
mod rng;
mod server;
mod world;

use std::{
    env, panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use grotto::{
    e2ee::{Shield, ShieldReason},
    engine::{Command, Draft},
    matrix::OwnedRoomId,
    rooms::EventBody,
    store::{Pending, Writes},
};
use serde_json::json;

use client::{Act, Client};
use rng::Rng;
use server::Caller;
use world::{Faults, World};

const SCHEDULES: u64 = 1_000;
const THREADS: usize = 4;

#[test]
fn any_schedule_of_faults_ends_with_every_message_everywhere() {
    if let Some(seed) = number("GROTTO_SIM_SEED") {
        run(seed, true);
        return;
    }
    let (next, end) = (AtomicU64::new(0), number("GROTTO_SIM_SCHEDULES").unwrap_or(SCHEDULES));
    let (next, end) = (&next, &end);
    let work = move || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= *end || 3 <= failed.len() {
                return failed;
            }
            if panic::catch_unwind(|| run(seed, false)).is_err() {
                failed.push(seed);
            }
        }
    };
    let failed: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "replay with GROTTO_SIM_SEED, one of {failed:?}");
}

#[test]
fn a_mention_in_an_encrypted_room_counts_until_it_is_read() {
    let clients = vec![Client::new("@a:sim", "A1"), Client::new("@b:sim", "B1")];
    let mut world = World::new(1, clients, Faults::default(), false);
    let rooms = found_rooms(&mut world, &mut Rng::new(1));
    assert!(world.run(Duration::from_secs(600), has_keys));
    let content = json!({ "body": "bob!", "m.mentions": { "user_ids": ["@b:sim"] } });
    world.command(0, Command::Send(draft(&rooms[0], "mention", content)));
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    let highlights = |world: &World, client: usize| {
        let rows = world.clients[client].store.rooms().unwrap();
        rows.iter().map(|row| row.summary.highlights).sum::<u64>()
    };
    assert_eq!((highlights(&world, 0), highlights(&world, 1)), (0, 1));
    let room: OwnedRoomId = rooms[0].as_str().try_into().unwrap();
    let newest = world.clients[1].store.newest(&room, 1).unwrap().remove(0);
    let event = newest.event.event_id.unwrap();
    world.command(1, Command::MarkRead { room, event });
    assert_eq!(highlights(&world, 1), 0);
}

#[test]
fn a_stored_mark_does_not_stay_red_when_the_devices_of_its_sender_became_known() {
    let clients = vec![Client::new("@a:sim", "A1"), Client::new("@b:sim", "B1")];
    let mut world = World::new(2, clients, Faults::default(), false);
    let rooms = found_rooms(&mut world, &mut Rng::new(2));
    assert!(world.run(Duration::from_secs(600), has_keys));
    world.type_after(0, 0, &rooms[0], "hello");
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    let room: OwnedRoomId = rooms[0].as_str().try_into().unwrap();
    let store = &mut world.clients[1].store;
    let mut stored = store.newest(&room, 1).unwrap().remove(0);
    let EventBody::Decrypted(inner) = &mut stored.body else { panic!("{stored:?}") };
    inner.shield = Shield::Red(ShieldReason::UnknownDevice);
    let writes = Writes { events: vec![(room.clone(), stored)], ..Writes::default() };
    store.commit(Pending::new(writes, ())).unwrap();
    world.add_client(Client::new("@a:sim", "A2"));
    assert!(world.run(Duration::from_secs(600), has_keys));
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    let stored = world.clients[1].store.newest(&room, 1).unwrap().remove(0);
    assert_eq!(stored.shield(), Shield::None);
}

fn draft(room: &str, txn: &str, content: serde_json::Value) -> Draft {
    Draft {
        room: room.try_into().unwrap(),
        txn: txn.into(),
        kind: "m.room.message".to_owned(),
        content: content.as_object().unwrap().clone(),
    }
}

fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is replayed by its environment")]
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// One schedule, from first start to the last check.
fn run(seed: u64, loud: bool) {
    let mut rng = Rng::new(seed ^ 0x5EED);
    let clients = cast(&mut rng);
    let faults = draw_faults(&mut rng);
    let mut world = World::new(seed, clients, faults, loud);
    let rooms = found_rooms(&mut world, &mut rng);
    let ready = world.run(Duration::from_secs(600), has_keys);
    assert!(ready, "seed {seed}: the devices never got their keys up");
    script(&mut world, &mut rng, &rooms);
    world.run(Duration::from_secs(60), |_| false);
    world.faults = Faults::default();
    let quiet = world.run(Duration::from_secs(1_800), World::is_quiet);
    assert!(quiet, "seed {seed}: it never became quiet: {}", check::state(&world));
    probe(&mut world, &rooms);
    fill_gaps(&mut world, &rooms);
    check::all(seed, &world, &rooms);
}

/// Two to four devices; the last may be a second one of the first user.
fn cast(rng: &mut Rng) -> Vec<Client> {
    let mut clients = vec![Client::new("@a:sim", "A1"), Client::new("@b:sim", "B1")];
    if rng.percent(50) {
        clients.push(Client::new("@c:sim", "C1"));
    }
    if rng.percent(30) {
        clients.push(Client::new("@a:sim", "A2"));
    }
    clients
}

fn draw_faults(rng: &mut Rng) -> Faults {
    let mut some = |percent: u64, most: u64| {
        if rng.percent(percent) { 1 + rng.below(most) } else { 0 }
    };
    Faults {
        crash: some(60, 4),
        cut: some(60, 5),
        repeat: some(40, 10),
        refuse: some(60, 15),
        full: some(30, 4),
        no_dial: some(40, 50),
    }
}

/// One or two encrypted rooms with everybody in them.
fn found_rooms(world: &mut World, rng: &mut Rng) -> Vec<String> {
    let users = ["@a:sim", "@b:sim", "@c:sim"];
    let as_user = |user: &str| Caller { user: user.to_owned(), device: "web".to_owned() };
    let there: Vec<&str> = users
        .into_iter()
        .filter(|user| world.clients.iter().any(|client| client.caller.user == *user))
        .collect();
    let mut rooms = Vec::new();
    for _ in 0..=rng.below(2) {
        let mut content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        if rng.percent(40) {
            content["rotation_period_msgs"] = json!(1 + rng.below(4));
        }
        let encryption = json!({ "type": "m.room.encryption", "content": content });
        let body = json!({ "invite": &there[1..], "initial_state": [encryption] });
        let path = "/_matrix/client/v3/createRoom";
        let (_, body) = world.server.call(&as_user(there[0]), ("POST", path), &[], &body);
        let room = body["room_id"].as_str().expect("a room").to_owned();
        for user in &there[1..] {
            let path = format!("/_matrix/client/v3/join/{room}");
            world.server.call(&as_user(user), ("POST", &path), &[], &json!({}));
        }
        rooms.push(room);
    }
    rooms
}

/// Whether every device can be written to: before that, a message cannot reach it.
fn has_keys(world: &World) -> bool {
    let devices = world.server.devices.values();
    let ready = |device: &server::Device| device.keys.is_some() && !device.one_time_keys.is_empty();
    let synced = |client: &Client| client.store.position().expect("readable").is_some();
    devices.into_iter().all(ready) && world.clients.iter().all(synced)
}

/// What the people do in the minute of faults.
fn script(world: &mut World, rng: &mut Rng, rooms: &[String]) {
    let lines = 6 + rng.below(14);
    for line in 0..lines {
        let client = rng.below(world.clients.len() as u64) as usize;
        let room = &rooms[rng.below(rooms.len() as u64) as usize];
        let pause = if rng.percent(40) { 1_000 } else { rng.below(50_000) };
        world.type_after(pause, client, room, &format!("line {line}"));
    }
    for _ in 0..rng.below(5) {
        let client = rng.below(world.clients.len() as u64) as usize;
        let room = &rooms[rng.below(rooms.len() as u64) as usize];
        let act = if rng.percent(60) { Act::React } else { Act::Redact };
        world.act_after(rng.below(50_000), client, room, act);
    }
    if rng.percent(50) {
        for _ in 0..=rng.below(4) {
            come_and_go(world, rng, rooms);
        }
    }
    if rng.percent(30) {
        world.restart_server_after(rng.below(50_000));
    }
}

/// Anybody but the first user leaves, is put out, is invited or comes again, by this program or
/// another one.
fn come_and_go(world: &mut World, rng: &mut Rng, rooms: &[String]) {
    let client = 1 + rng.below(world.clients.len() as u64 - 1) as usize;
    let user = world.clients[client].caller.user.clone();
    if user == "@a:sim" {
        return;
    }
    let room = &rooms[rng.below(rooms.len() as u64) as usize];
    let (out, back) = (rng.below(40_000), 5_000 + rng.below(15_000));
    match rng.below(3) {
        0 => world.act_after(out, client, room, Act::Leave),
        1 => world.member_after(out, room, (&user, &user), "leave"),
        _ => world.member_after(out, room, ("@a:sim", &user), "leave"),
    }
    if rng.percent(60) {
        match rng.below(2) {
            0 => world.act_after(out + back, 0, room, Act::Invite(user.clone())),
            _ => world.member_after(out + back, room, ("@a:sim", &user), "invite"),
        }
        let back = back + rng.below(10_000);
        match rng.below(2) {
            0 => world.act_after(out + back, client, room, Act::Join),
            _ => world.member_after(out + back, room, (&user, &user), "join"),
        }
    }
}

/// Everybody who is there says one more thing, which everybody there must be able to read.
fn probe(world: &mut World, rooms: &[String]) {
    for client in 0..world.clients.len() {
        let user = world.clients[client].caller.user.clone();
        for room in rooms {
            if world.server.membership(room, &user).as_deref() == Some("join") {
                world.type_after(0, client, room, "still here");
            }
        }
    }
    assert!(world.run(Duration::from_secs(600), World::is_quiet), "{}", check::state(world));
}

/// Scrolls up in every room until nothing is missing.
fn fill_gaps(world: &mut World, rooms: &[String]) {
    for _ in 0..50 {
        let mut any = false;
        for client in 0..world.clients.len() {
            for room in rooms {
                let gaps = world.clients[client].gaps(room);
                if let Some(before) = gaps.last().copied() {
                    any = true;
                    let room = room.as_str().try_into().expect("a room");
                    world.command(client, Command::LoadOlder { room, before, limit: 20 });
                }
            }
        }
        if !any {
            return;
        }
        world.run(Duration::from_secs(60), World::is_quiet);
    }
    panic!("the gaps cannot be filled");
}
