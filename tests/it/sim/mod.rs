//! The simulator: real engines on real stores, links that delay, repeat and break, the gateway's real
//! peer at their other end, a small homeserver behind it, one virtual clock; owners of accounts who
//! set recovery up and type the recovery key on each of their devices. A schedule is a seed; whatever
//! faults it draws, once they cease every message has arrived everywhere, once and in order, can be
//! read by whom it was for (`check::oracle` says so, and why not), and by nobody else.
//!
//! Models are the homeserver, the network, HTTP, and what drives the two machines (`engine::driver`,
//! `gateway::connection`). Randomness of keys is vodozemac's: a replayed schedule has other
//! ciphertexts. `docs/threat-model.md` lists the defences that were taken out, and what it took to
//! notice.
//!
//! `GROTTO_SIM_SEED=17` replays one schedule, `GROTTO_SIM_SCHEDULES=50` runs that many,
//! `GROTTO_SIM_CROWDS=50` that many of five people with twelve devices; `GROTTO_SIM_SKIP=20` leaves
//! out the first of them, that a run which was cut off can be continued.

mod check;
mod client;
mod crashes;
mod door;
mod incident;
mod owner;
mod person;
mod queue;
mod rng;
mod schedule;
mod seal;
mod server;
mod transfer;
mod world;

use std::{
    env,
    ops::Range,
    panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use grotto::{
    e2ee::{Shield, ShieldReason},
    engine::{Command, Draft, FileDraft},
    matrix::OwnedRoomId,
    rooms::EventBody,
    store::{Pending, Writes},
};
use serde_json::json;

use check::Tally;
use client::{Client, Death};
use person::Act;
use queue::Event;
use rng::Rng;
use schedule::{CROWDS, FOUNDER, calm, found_rooms, has_keys, run};
use server::{Caller, WEB};
use world::{Faults, World};

/// Schedules that every run of the tests plays; `docs/threat-model.md` says how to play more.
const SCHEDULES: u64 = 150;
/// The same of crowds.
const CROWD_SCHEDULES: u64 = 12;
const THREADS: usize = 4;
/// After so many failures a thread stops.
const MOST_FAILURES: usize = 5;

#[test]
fn any_schedule_of_faults_ends_with_every_message_everywhere() {
    if let Some(seed) = number("GROTTO_SIM_SEED") {
        eprintln!("{:#?}", run(seed, true));
        return;
    }
    play(0, number("GROTTO_SIM_SCHEDULES").unwrap_or(SCHEDULES));
}

#[test]
fn the_same_holds_of_five_people_with_twelve_devices() {
    let crowds = number("GROTTO_SIM_CROWDS").unwrap_or(CROWD_SCHEDULES);
    play(CROWDS, crowds);
}

/// Plays so many schedules from a seed on; tells how many messages were read and why others were not.
fn play(first: u64, schedules: u64) {
    let skipped = number("GROTTO_SIM_SKIP").unwrap_or_default();
    let seeds = first + skipped..first + schedules;
    let (failed, tally) = failing(seeds.clone(), |seed| run(seed, false));
    eprintln!("messages read, and not read by cause and label, of seeds {seeds:?}: {tally:#?}");
    assert!(failed.is_empty(), "replay with GROTTO_SIM_SEED, one of {failed:?}");
}

#[test]
fn a_crash_before_or_after_any_commit_loses_nothing() {
    let mut deaths = Vec::new();
    for (client, steps) in conversation(None).into_iter().enumerate() {
        for step in 1..=steps {
            deaths.push((client, step, Death::BeforeCommit));
            deaths.push((client, step, Death::BeforeRelease));
        }
    }
    assert!(100 < deaths.len(), "only {} deaths", deaths.len());
    let (failed, _) = failing(0..deaths.len() as u64, |death| {
        conversation(Some(deaths[death as usize]));
        Tally::new()
    });
    let failed: Vec<_> = failed.into_iter().map(|death| deaths[death as usize]).collect();
    assert!(failed.is_empty(), "client, step and death: {failed:?}");
}

/// A short story from the first start on, in which a client may die in one of its steps: identities,
/// recovery keys and backups are made, lines said, a device comes that is recovered and restores
/// the backup, a file is sent, somebody leaves and is invited again with the room's history.
/// Gives how many steps each client made.
fn conversation(death: Option<(usize, u64, Death)>) -> Vec<u64> {
    let doom = |number| {
        let death = death.filter(|(client, ..)| *client == number);
        death.map(|(_, step, death)| (step, death))
    };
    let mut clients = vec![Client::new("@a:sim", "A1"), Client::new("@b:sim", "B1")];
    clients.iter_mut().enumerate().for_each(|(number, client)| client.doom = doom(number));
    let mut world = World::new(3, clients, Faults::default(), false);
    let rooms = found_rooms(&mut world, &mut Rng::new(3));
    world.server.set_visibility(&Caller::new(FOUNDER, WEB), &rooms[0], "shared");
    assert!(world.run(Duration::from_secs(900), has_keys));
    for (pause, client, line) in [(0, 0, "one"), (10, 1, "two"), (20, 0, "three")] {
        world.type_after(pause, client, &rooms[0], line);
    }
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    let mut late = Client::new("@a:sim", "A2");
    late.doom = doom(2);
    world.add_client(late);
    assert!(world.run(Duration::from_secs(900), has_keys));
    let content = json!({ "msgtype": "m.file", "body": "plan.txt", "filename": "plan.txt" });
    let Draft { room, txn, content, .. } = draft(&rooms[0], "file", content);
    let file = FileDraft { room, txn, path: "/plan.txt".to_owned(), content };
    world.command(1, Command::SendFile(file));
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    world.type_after(0, 0, &rooms[0], "four");
    let acts = [(1, Act::Leave), (0, Act::Invite("@b:sim".to_owned())), (1, Act::Join)];
    for (pause, (client, act)) in (1_000..).step_by(1_000).zip(acts) {
        world.after(pause, Event::Act { client, room: rooms[0].clone(), act });
    }
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    let steps = world.clients.iter().map(|client| client.steps).collect();
    calm(3, &mut world, &rooms);
    steps
}

/// Those of the runs that fail, a few at most, and what all others told.
fn failing(runs: Range<u64>, run: impl Fn(u64) -> Tally + Sync) -> (Vec<u64>, Tally) {
    let (next, run) = (&AtomicU64::new(runs.start), &run);
    let work = move || {
        let (mut failed, mut tally) = (Vec::new(), Tally::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if runs.end <= number || MOST_FAILURES <= failed.len() {
                return (failed, tally);
            }
            match panic::catch_unwind(panic::AssertUnwindSafe(|| run(number))) {
                Ok(told) => told.into_iter().for_each(|(it, n)| *tally.entry(it).or_default() += n),
                Err(_) => failed.push(number),
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let (mut failed, mut tally) = (Vec::new(), Tally::new());
        for thread in threads {
            let (of_it, told) = thread.join().unwrap();
            failed.extend(of_it);
            told.into_iter().for_each(|(it, n)| *tally.entry(it).or_default() += n);
        }
        failed.sort_unstable();
        (failed, tally)
    })
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
    world.command(1, Command::MarkRead { room, event, receipt: grotto::engine::Receipt::Public });
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
