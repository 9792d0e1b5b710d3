//! A file sent, and history shared with an invite.

use std::time::Duration;

use grotto::{
    engine::{Command, FileDraft, Request},
    matrix::OwnedRoomId,
    rooms::EventBody,
};
use serde_json::json;

use super::{Story, pause, person::Person, survives};
use crate::sim::{
    client::{Client, Death},
    server::{Caller, VISIBILITY, WEB},
    world::{Faults, World},
};

const ALICE: &str = "@a:sim";
const BOB: &str = "@b:sim";
const LINE: &str = "before you came";

/// An encrypted room with these people in it, made by the first.
pub(super) fn room_of(world: &mut World, people: &[&str], visibility: &str) -> String {
    let founder = Caller::new(people[0], WEB);
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let encryption = json!({ "type": "m.room.encryption", "content": content });
    let visibility = json!({ "history_visibility": visibility });
    let visibility = json!({ "type": VISIBILITY, "content": visibility });
    let body = json!({ "invite": people[1..], "initial_state": [encryption, visibility] });
    let path = "/_matrix/client/v3/createRoom";
    let (_, body) = world.server.call(&founder, ("POST", path), &[], &body);
    let room = body["room_id"].as_str().expect("a room").to_owned();
    for user in &people[1..] {
        world.server.member(&Caller::new(user, WEB), &room, user, "join");
    }
    room
}

/// Somebody says something, and all is on the server in the end, the key in the backup too.
pub(super) fn says(world: &mut World, client: usize, room: &str, text: &str) {
    world.type_after(0, client, room, text);
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
    world.run(Duration::from_secs(30), |_| false);
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
}

/// A client reads this line, once, in a room that is on its screen.
pub(super) fn reads(world: &mut World, client: usize, room: &str, text: &str) {
    let room: OwnedRoomId = room.try_into().expect("a room");
    world.command(client, Command::Open(room.clone()));
    for _ in 0..120 {
        pause(world);
        if lines(world, client, &room).iter().any(|line| line == text) {
            break;
        }
    }
    let read = lines(world, client, &room);
    assert_eq!(read.iter().filter(|line| *line == text).count(), 1, "{read:?}");
}

/// What a client can read of a room.
pub(super) fn lines(world: &World, client: usize, room: &OwnedRoomId) -> Vec<String> {
    let stored = world.clients[client].store.newest(room, 1_000).expect("readable").into_iter();
    let lines = stored.filter_map(|stored| match stored.body {
        EventBody::Decrypted(inner) => inner.content["body"].as_str().map(str::to_owned),
        EventBody::Clear(_) | EventBody::Undecryptable(_) => None,
    });
    lines.collect()
}

/// Alice and Bob with a device each, and their recovery keys.
fn two(people: &[&str], visibility: &str) -> (World, Person, Person, String) {
    let clients = vec![Client::new(ALICE, "A1"), Client::new(BOB, "B1")];
    let mut world = World::new(9, clients, Faults::default(), false);
    let room = room_of(&mut world, people, visibility);
    let (mut alice, mut bob) = (Person::at(&mut world, 0), Person::at(&mut world, 1));
    alice.settle(&mut world);
    bob.settle(&mut world);
    (world, alice, bob, room)
}

/// A file in an encrypted room.
struct SendFile {
    alice: Person,
    room: String,
}

impl SendFile {
    fn is_sent(&self, world: &World) -> bool {
        let room: OwnedRoomId = self.room.as_str().try_into().expect("a room");
        lines(world, 0, &room).iter().any(|line| line == "plan.txt")
    }
}

impl Story for SendFile {
    fn begin() -> (World, Self) {
        let (world, alice, _, room) = two(&[ALICE, BOB], "shared");
        (world, Self { alice, room })
    }

    fn look(&mut self, world: &mut World) {
        self.alice.read(world);
        let queued = world.clients[0].store.outbox_row("file").expect("readable").is_some();
        if !queued && !self.is_sent(world) {
            let content =
                json!({ "msgtype": "m.file", "body": "plan.txt", "filename": "plan.txt" });
            let file = FileDraft {
                room: self.room.as_str().try_into().expect("a room"),
                txn: "file".into(),
                path: "/plan.txt".to_owned(),
                content: content.as_object().expect("an object").clone(),
            };
            world.command(0, Command::SendFile(file));
        }
    }

    fn is_over(&self, world: &World) -> bool {
        self.is_sent(world)
    }

    fn check(&mut self, world: &mut World) {
        for client in [0, 1] {
            reads(world, client, &self.room, "plan.txt");
        }
        let room: OwnedRoomId = self.room.as_str().try_into().expect("a room");
        let stored = world.clients[1].store.newest(&room, 1_000).expect("readable");
        let file = stored.iter().find(|it| it.content().get("file").is_some()).expect("a file");
        let url = file.content()["file"]["url"].as_str().expect("an address");
        let id = url.rsplit('/').next().expect("an id");
        let bytes = world.server.media[id].clone();
        assert!(!bytes.windows(4).any(|it| it == b"what"), "it lies there in clear");
    }
}

/// Bob is invited with the room's history.
struct Invite {
    alice: Person,
    bob: Person,
    room: String,
    /// Alice asked for it, and the program did not die over it before it was on disk.
    said: bool,
}

impl Invite {
    fn membership(&self, world: &World) -> Option<String> {
        world.server.membership(&self.room, BOB)
    }
}

impl Story for Invite {
    fn begin() -> (World, Self) {
        let (mut world, alice, bob, room) = two(&[ALICE], "shared");
        says(&mut world, 0, &room, LINE);
        (world, Self { alice, bob, room, said: false })
    }

    fn look(&mut self, world: &mut World) {
        self.alice.read(world);
        self.bob.read(world);
        let room: OwnedRoomId = self.room.as_str().try_into().expect("a room");
        let rows = world.clients[1].store.rooms().expect("readable");
        let is_listed = rows.iter().any(|row| row.summary.room_id == room);
        match self.membership(world).as_deref() {
            None if !self.said && self.alice.sees(world).is_some() => {
                let user = BOB.try_into().expect("a user");
                self.alice.ask(world, Request::Invite { room, user });
                let alice = &world.clients[0];
                self.said = alice.doom != Some((alice.steps, Death::BeforeCommit));
            }
            Some("invite") if is_listed && self.bob.is_idle() => {
                self.bob.ask(world, Request::Join { room: self.room.clone() });
            }
            _ => {}
        }
    }

    fn is_over(&self, world: &World) -> bool {
        self.membership(world).as_deref() == Some("join")
    }

    fn check(&mut self, world: &mut World) {
        reads(world, 1, &self.room, LINE);
        let invites = world.server.memberships(&self.room, BOB);
        assert_eq!(invites.len(), 2, "{invites:?}");
        says(world, 0, &self.room, "welcome");
        reads(world, 1, &self.room, "welcome");
    }
}

#[test]
fn a_file_survives_a_death_of_its_sender_at_any_point() {
    survives::<SendFile>(0, 5);
}

#[test]
fn a_file_survives_a_death_of_who_gets_it_at_any_point() {
    survives::<SendFile>(1, 2);
}

#[test]
fn history_shared_with_an_invite_survives_a_death_of_who_invites_at_any_point() {
    survives::<Invite>(0, 8);
}

#[test]
fn history_shared_with_an_invite_survives_a_death_of_who_is_invited_at_any_point() {
    survives::<Invite>(1, 5);
}
