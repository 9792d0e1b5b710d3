//! Group sessions between machines: who reads what, and what the server can do about it.

mod ending;
mod reading;
mod sharing;
mod writing;

use std::time::Duration;

use grotto::{
    e2ee::{
        Decryption, EncryptError, HistoryVisibility, Machine, Notice, Plaintext, Readiness,
        Recipients, ShareError, Shield, ShieldReason, UndecryptableReason as Reason,
    },
    matrix::{Event, OwnedRoomId},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::world::World;

const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice and Bob in an encrypted room.
fn pair() -> (World, Recipients) {
    let mut world = World::new(&[("@alice:x", "ALICE"), ("@bob:x", "BOB")]);
    world.encrypt_room();
    let to = world.everybody();
    (world, to)
}

/// The text that was read, or why not.
fn text(decryption: &Decryption) -> Result<String, Reason> {
    match decryption {
        Decryption::Decrypted(event) => Ok(event.content["body"].as_str().unwrap().to_owned()),
        Decryption::Undecryptable(why) => Err(why.reason.clone()),
    }
}

fn shield(decryption: &Decryption) -> Shield {
    match decryption {
        Decryption::Decrypted(event) => event.shield,
        Decryption::Undecryptable(why) => panic!("{why:?}"),
    }
}

fn session(event: &Event) -> String {
    event.content_str("session_id").unwrap().to_owned()
}

fn reads(world: &mut World, at: usize, event: &Event) -> Result<String, Reason> {
    text(&world.read(at, event))
}

/// Whether the next message of Alice is encrypted with another session.
fn rotates(
    world: &mut World,
    to: &Recipients,
    cause: impl FnOnce(&mut World) -> Recipients,
) -> bool {
    let before = session(&world.say(ALICE, to, "before"));
    let to = cause(world);
    before != session(&world.say(ALICE, &to, "after"))
}
