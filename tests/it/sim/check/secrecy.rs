//! Who can read what: the checks on ciphertexts. They ask vodozemac, with every key that a device ever
//! wrote down, not the program.

use std::{collections::BTreeMap, time::Duration};

use grotto::time::Timestamp;

use crate::sim::{
    client::Client,
    seal::{Seal, message_index},
    world::World,
};

pub(super) fn all(seed: u64, world: &World) {
    for sender in &world.clients {
        for seal in &sender.seals {
            only_members_can_read(seed, world, sender, seal);
        }
        a_departure_ends_every_session(seed, world, sender);
        a_week_ends_every_session(seed, sender);
    }
    no_index_was_used_twice(seed, world);
    no_session_was_used_for_too_long(seed, world);
}

/// Whoever was in the room (or invited) at no moment between what the sender knew and when the
/// message was encrypted holds no key of it; nor does a device that the sender knew to be gone, or
/// had blocked. That a device is gone ends every session of a room of its user: it may have the
/// key of one that it was never sent, from the backup of its user or with shared history. A device
/// that came and went unseen by the sender may have it so, and nobody can know.
fn only_members_can_read(seed: u64, world: &World, sender: &Client, seal: &Seal) {
    let calm = world.calm_since <= seal.known;
    for reader in world.clients.iter().filter(|it| it.caller != sender.caller) {
        let key = reader.caller.key();
        let mut others = world.clients.iter().filter(|it| it.caller != reader.caller);
        let others = others.any(|it| it.caller.user == key.0);
        let is_gone = calm && !world.server.devices.contains_key(&key);
        let out = !was_active(world, &seal.room, &key.0, (seal.known, seal.place));
        // Others of the same user may have it from the backup, and history may be shared.
        let backed_up = reader.owner.has_keys() && others;
        let shared = has_shared_history(world, &seal.room, &key.0, seal);
        let out = out && !shared;
        let gone = seal.gone.contains(&key) || (is_gone && !others && !shared);
        let barred = seal.barred.contains(&key) && !backed_up;
        if out || gone || barred || is_never_signed(world, reader) {
            assert!(
                !reader.archive.opens(seal),
                "seed {seed}: {key:?} can read {seal:?} of {:?} (out {out}, gone {gone})",
                sender.caller,
            );
        }
    }
}

/// Whether a user came after a message, and may have been given the keys of what was before.
fn has_shared_history(world: &World, room: &str, user: &str, seal: &Seal) -> bool {
    let shared = world.server.visibility(room, seal.known + 1) == "shared";
    let mut changes = world.server.memberships(room, user).into_iter();
    shared && changes.any(|change| seal.known < change.0 && change.1 == "invite")
}

/// Whether nobody ever vouched for a device.
fn is_never_signed(world: &World, reader: &Client) -> bool {
    let device = world.server.devices.get(&reader.caller.key());
    reader.owner.careless && device.is_some_and(|device| device.signed.is_none())
}

/// Whether a user was joined or invited at any moment between two places in the stream.
fn was_active(world: &World, room: &str, user: &str, (from, to): (u64, u64)) -> bool {
    let is_active = |membership: &str| matches!(membership, "join" | "invite");
    let at_first = world.server.membership_before(room, user, from + 1);
    let changes = world.server.memberships(room, user).into_iter();
    let mut later = changes.filter(|change| from < change.0 && change.0 <= to);
    at_first.is_some_and(|it| is_active(&it)) || later.any(|change| is_active(&change.1))
}

/// A session is not used on once its device knows that somebody left since its last message:
/// whoever left may have the key from anybody.
fn a_departure_ends_every_session(seed: u64, world: &World, sender: &Client) {
    let mut first_known: BTreeMap<&str, u64> = BTreeMap::new();
    for seal in &sender.seals {
        let first = *first_known.entry(&seal.session).or_insert(seal.known);
        let departures = world.server.departures(&seal.room);
        let missed = departures.iter().find(|at| first < **at && **at <= seal.known);
        assert!(
            missed.is_none(),
            "seed {seed}: {:?} went on with a session after the departure at {missed:?}: {seal:?}",
            sender.caller,
        );
    }
}

/// No room here asks for another age. (Clocks are set by some hours at most.)
fn a_week_ends_every_session(seed: u64, sender: &Client) {
    const MOST: Duration = Duration::from_secs((7 * 24 + 12) * 3_600);
    let mut first: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for seal in &sender.seals {
        let first = *first.entry(&seal.session).or_insert(seal.at);
        let age = seal.at.since(first);
        assert!(age < MOST, "seed {seed}: {:?}: after {age:?}: {seal:?}", sender.caller);
    }
}

/// A Megolm message index under a session is one ciphertext, however often it was sent.
fn no_index_was_used_twice(seed: u64, world: &World) {
    let mut used: BTreeMap<(String, u32), &str> = BTreeMap::new();
    for content in &world.server.ciphertexts {
        let session = content["session_id"].as_str().expect("a session").to_owned();
        let ciphertext = content["ciphertext"].as_str().expect("a ciphertext");
        let index = message_index(ciphertext);
        let first = *used.entry((session.clone(), index)).or_insert(ciphertext);
        assert_eq!(first, ciphertext, "seed {seed}: {session} index {index} was used twice");
    }
}

/// Rooms that ask for it get a new session after so many messages.
fn no_session_was_used_for_too_long(seed: u64, world: &World) {
    for room in world.server.rooms.values() {
        let settings = room.events.iter().find(|event| event.kind == "m.room.encryption");
        let most = settings.and_then(|it| it.content["rotation_period_msgs"].as_u64());
        let Some(most) = most else { continue };
        for event in &room.events {
            let Some(ciphertext) = event.content["ciphertext"].as_str() else { continue };
            let index = u64::from(message_index(ciphertext));
            assert!(index < most, "seed {seed}: {event:?} is number {index} of {most}");
        }
    }
}
