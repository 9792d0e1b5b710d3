//! One schedule: who is there, which faults strike, what people do meanwhile, and the calm after.

use std::time::Duration;

use grotto::engine::Command;
use serde_json::json;

use super::{
    check::{self, Tally},
    client::Client,
    incident::Incident,
    person::Act,
    queue::Event,
    rng::Rng,
    server::{self, Caller, VISIBILITY, WEB},
    world::{Faults, World},
};

/// The founder of every room, who stays.
pub(super) const FOUNDER: &str = "@a:sim";

/// How long the faults last, in milliseconds.
const TROUBLE: u64 = 60_000;
const WEEK: u64 = 7 * 24 * 3_600_000;

/// Seeds from here on are of crowds: five people with twelve devices, and those that come later.
pub(super) const CROWDS: u64 = 1_000_000;

/// One schedule, from first start to the last check.
pub(super) fn run(seed: u64, loud: bool) -> Tally {
    let mut rng = Rng::new(seed ^ 0x5EED);
    let clients = if seed < CROWDS { cast(&mut rng) } else { crowd() };
    let faults = draw_faults(&mut rng);
    let mut world = World::new(seed, clients, faults, loud);
    let rooms = found_rooms(&mut world, &mut rng);
    let ready = world.run(Duration::from_secs(900), has_keys);
    assert!(ready, "seed {seed}: not all devices got their keys: {}", check::state(&world));
    script(&mut world, &mut rng, &rooms);
    world.run(Duration::from_millis(TROUBLE), |_| false);
    calm(seed, &mut world, &rooms)
}

/// The faults cease; whatever happened, everything is well in the end.
pub(super) fn calm(seed: u64, world: &mut World, rooms: &[String]) -> Tally {
    world.faults = Faults::default();
    settle(seed, world);
    world.calm_since = world.server.now();
    probe(world, rooms);
    settle(seed, world);
    fill_gaps(world, rooms);
    open_rooms(world, rooms);
    settle(seed, world);
    check::all(seed, world, rooms)
}

/// Waits until nothing is under way, and so long that every pause is over.
fn settle(seed: u64, world: &mut World) {
    let quiet = world.run(Duration::from_secs(1_800), World::is_quiet);
    assert!(quiet, "seed {seed}: it never became quiet: {}", check::state(world));
    // The longest is that between two looks at the devices of somebody who left, a minute.
    world.run(Duration::from_secs(65), |_| false);
    let quiet = world.run(Duration::from_secs(600), World::is_quiet);
    assert!(quiet, "seed {seed}: it is not quiet any more: {}", check::state(world));
}

/// Two to five devices of two or three users.
fn cast(rng: &mut Rng) -> Vec<Client> {
    let mut clients = vec![Client::new(FOUNDER, "A1"), Client::new("@b:sim", "B1")];
    let others = [("@c:sim", "C1", 60), (FOUNDER, "A2", 25), ("@b:sim", "B2", 15)];
    for (user, device, percent) in others {
        if rng.percent(percent) {
            clients.push(Client::new(user, device));
        }
    }
    clients
}

/// Twelve devices of five users.
fn crowd() -> Vec<Client> {
    let devices = ["A1", "B1", "C1", "D1", "E1", "A2", "B2", "C2", "D2", "E2", "A3", "B3"];
    let user = |device: &str| format!("@{}:sim", device[..1].to_lowercase());
    devices.iter().map(|device| Client::new(&user(device), device)).collect()
}

fn draw_faults(rng: &mut Rng) -> Faults {
    let mut some = |percent: u64, most: u64| {
        if rng.percent(percent) { 1 + rng.below(most) } else { 0 }
    };
    Faults {
        crash: some(60, 4),
        cut: some(60, 8),
        repeat: some(40, 10),
        refuse: some(60, 15),
        full: some(30, 4),
        no_dial: some(40, 50),
    }
}

/// One or two encrypted rooms with everybody in them, but for the last, who may come later.
pub(super) fn found_rooms(world: &mut World, rng: &mut Rng) -> Vec<String> {
    let there: Vec<&str> = ["@b:sim", "@c:sim", "@d:sim", "@e:sim"]
        .into_iter()
        .filter(|user| world.clients.iter().any(|client| client.caller.user == *user))
        .collect();
    let mut rooms = Vec::new();
    for _ in 0..=rng.below(2) {
        let mut content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        if rng.percent(30) {
            content["rotation_period_msgs"] = json!(1 + rng.below(4));
        }
        let encryption = json!({ "type": "m.room.encryption", "content": content });
        let visibility = *pick(rng, &["shared", "shared", "invited", "joined"]);
        let visibility = json!({ "history_visibility": visibility });
        let visibility = json!({ "type": VISIBILITY, "content": visibility });
        let late = there.len() > 1 && rng.percent(25);
        let invited = if late { &there[..there.len() - 1] } else { &there[..] };
        let body = json!({ "invite": invited, "initial_state": [encryption, visibility] });
        let path = "/_matrix/client/v3/createRoom";
        let founder = Caller::new(FOUNDER, WEB);
        let (_, body) = world.server.call(&founder, ("POST", path), &[], &body);
        let room = body["room_id"].as_str().expect("a room").to_owned();
        for user in invited {
            world.server.member(&Caller::new(user, WEB), &room, user, "join");
        }
        rooms.push(room);
    }
    world.founded = world.server.now();
    rooms
}

/// Whether every device can be written to, and has its account's keys: before that, a message cannot
/// reach it.
pub(super) fn has_keys(world: &World) -> bool {
    let devices = world.server.devices.values();
    let ready = |device: &server::Device| device.keys.is_some() && !device.one_time_keys.is_empty();
    let synced = |client: &Client| client.store.position().expect("readable").is_some();
    let settled = |client: &Client| client.ended || client.owner.is_settled();
    devices.into_iter().all(ready) && world.clients.iter().all(|it| synced(it) && settled(it))
}

fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.below(all.len() as u64) as usize]
}

/// What the people do in the minute of faults, and what befalls them.
fn script(world: &mut World, rng: &mut Rng, rooms: &[String]) {
    for line in 0..8 + rng.below(14) {
        let client = rng.below(world.clients.len() as u64) as usize;
        let room = pick(rng, rooms);
        let pause = if rng.percent(30) { 1_000 } else { rng.below(50_000) };
        world.type_after(pause, client, room, &format!("line {line}"));
    }
    for _ in 0..rng.below(4) {
        let client = rng.below(world.clients.len() as u64) as usize;
        let room = pick(rng, rooms).clone();
        let act = if rng.percent(60) { Act::React } else { Act::Redact };
        world.after(rng.below(50_000), Event::Act { client, room, act });
    }
    if rng.percent(85) {
        for _ in 0..=rng.below(5) {
            come_and_go(world, rng, rooms);
        }
    }
    devices(world, rng, rooms);
    misfortunes(world, rng);
}

fn befalls(world: &mut World, pause: u64, incident: Incident) {
    world.after(pause, Event::Incident(incident));
}

/// Devices come, go, and are blocked.
fn devices(world: &mut World, rng: &mut Rng, rooms: &[String]) {
    let count = world.clients.len();
    if rng.percent(35) {
        let user = world.clients[rng.below(count as u64) as usize].caller.user.clone();
        let new = Incident::NewDevice((user, "N1".to_owned()), rooms.to_vec());
        befalls(world, rng.below(45_000), new);
    }
    if rng.percent(15) {
        let user = world.clients[rng.below(count as u64) as usize].caller.user.clone();
        befalls(world, rng.below(30_000), Incident::CarelessDevice((user, "X1".to_owned())));
    }
    if rng.percent(15) {
        let visibility = pick(rng, &["shared", "invited", "joined"]);
        let room = pick(rng, rooms).clone();
        befalls(world, rng.below(45_000), Incident::Visibility(room, visibility));
    }
    if rng.percent(30) {
        // The first device of the founder stays, to the last word.
        let client = 1 + rng.below(count as u64 - 1) as usize;
        befalls(world, 10_000 + rng.below(40_000), Incident::LogOut(client));
    }
    if rng.percent(15) {
        let (by, whom) = (rng.below(count as u64) as usize, rng.below(count as u64) as usize);
        let whom = world.clients[whom].caller.key();
        if whom.0 != world.clients[by].caller.user {
            befalls(world, 5_000 + rng.below(40_000), Incident::Block(by, whom));
        }
    }
}

/// Servers, clocks, keys and whole machines fail.
fn misfortunes(world: &mut World, rng: &mut Rng) {
    let count = world.clients.len() as u64;
    if rng.percent(30) {
        let pause = rng.below(8_000);
        befalls(world, rng.below(50_000), Incident::RestartServer(pause));
    }
    if rng.percent(20) {
        befalls(world, rng.below(50_000), Incident::StopGateway);
    }
    if rng.percent(30) {
        let client = rng.below(count) as usize;
        let at = rng.below(40_000);
        // Whoever is away cannot make new keys: those who write meanwhile get the fallback key.
        befalls(world, at, Incident::Kill(client, 5_000 + rng.below(20_000)));
        befalls(world, at + 1_000, Incident::Exhaust(client));
    }
    if rng.percent(25) {
        let by = rng.below(14_400_000) as i64 - 3_600_000;
        befalls(world, rng.below(50_000), Incident::ClockBack(rng.below(count) as usize, by));
    }
    if rng.percent(20) {
        let at = 5_000 + rng.below(20_000);
        befalls(world, at, Incident::Kill(rng.below(count) as usize, 25_000 + rng.below(10_000)));
        befalls(world, at + 10_000, Incident::Sleep(WEEK + rng.below(4 * WEEK)));
    }
}

/// Anybody but the founder leaves, is put out, is invited or comes again, by this program or
/// another one.
fn come_and_go(world: &mut World, rng: &mut Rng, rooms: &[String]) {
    let client = 1 + rng.below(world.clients.len() as u64 - 1) as usize;
    let user = world.clients[client].caller.user.clone();
    if user == FOUNDER {
        return;
    }
    let room = pick(rng, rooms).clone();
    let out = rng.below(40_000);
    let act = |client, act| Event::Act { client, room: room.clone(), act };
    let member = |by: &str, membership| {
        let (by, room, user) = (by.to_owned(), room.clone(), user.clone());
        Event::Incident(Incident::Member { by, room, user, membership })
    };
    if rng.percent(35) {
        return blink(world, rng, (&room, &user), out);
    }
    if rng.percent(25) {
        look_away(world, rng, &room, out);
    }
    let gone = match rng.below(3) {
        0 => act(client, Act::Leave),
        1 => member(&user, "leave"),
        _ => member(FOUNDER, "leave"),
    };
    world.after(out, gone);
    if rng.percent(70) {
        let back = out + 500 + rng.below(12_000);
        let by_program = act(0, Act::Invite(user.clone()));
        let invite = if rng.percent(50) { by_program } else { member(FOUNDER, "invite") };
        world.after(back, invite);
        let join = if rng.percent(50) { act(client, Act::Join) } else { member(&user, "join") };
        world.after(back + rng.below(8_000), join);
    }
}

/// Somebody leaves and is back in the twinkling of an eye: often seen by nobody, as much is said at
/// the same moment.
fn blink(world: &mut World, rng: &mut Rng, (room, user): (&String, &str), out: u64) {
    let changes = [(user, "leave"), (FOUNDER, "invite"), (user, "join")];
    for (moment, (by, membership)) in (out..).zip(changes) {
        let (by, room, user) = (by.to_owned(), room.clone(), user.to_owned());
        befalls(world, moment, Incident::Member { by, room, user, membership });
    }
    for line in 0..rng.below(4) {
        let speaker = rng.below(world.clients.len() as u64) as usize;
        world.type_after(out + rng.below(1_500), speaker, room, &format!("moment {line}"));
    }
}

/// Somebody's program is off while a member goes and so much is said that the departure is in a gap
/// when it starts again.
fn look_away(world: &mut World, rng: &mut Rng, room: &str, out: u64) {
    let count = world.clients.len() as u64;
    let witness = rng.below(count) as usize;
    befalls(world, out.saturating_sub(300), Incident::Kill(witness, 4_000));
    for line in 0..3 {
        let speaker = rng.below(count) as usize;
        world.type_after(out + 200 * line, speaker, room, &format!("behind a back {line}"));
    }
    world.type_after(out + 5_000, witness, room, "what did I miss?");
}

/// Everybody who is there says one more thing, which everybody there must be able to read.
fn probe(world: &mut World, rooms: &[String]) {
    for client in 0..world.clients.len() {
        let user = world.clients[client].caller.user.clone();
        for room in rooms.iter().filter(|_| !world.clients[client].ended).collect::<Vec<_>>() {
            if world.server.membership(room, &user).as_deref() == Some("join") {
                world.type_after(0, client, room, "still here");
            }
        }
    }
}

/// Every room comes on screen: what cannot be read there is looked for in the backup at once.
fn open_rooms(world: &mut World, rooms: &[String]) {
    for client in 0..world.clients.len() {
        for room in rooms.iter().filter(|_| !world.clients[client].ended).collect::<Vec<_>>() {
            let room = room.as_str().try_into().expect("a room");
            world.command(client, Command::Open(room));
        }
    }
}

/// Scrolls up in every room until nothing is missing.
fn fill_gaps(world: &mut World, rooms: &[String]) {
    for _ in 0..50 {
        let mut any = false;
        for client in 0..world.clients.len() {
            for room in rooms.iter().filter(|_| !world.clients[client].ended).collect::<Vec<_>>() {
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
