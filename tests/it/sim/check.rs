//! What must hold when the faults have ceased and everything has drained.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use grotto::{
    e2ee::{Lookup, Shield, Table},
    matrix::{Membership, OwnedRoomId},
    rooms::{EventBody, StoredEvent},
    store::{OutboxRow, OutboxState},
};
use serde_json::Value;
use vodozemac::olm::{Account, AccountPickle};

use super::{client::Client, server::RoomEvent, world::World};

/// All of it.
pub(super) fn all(seed: u64, world: &World, rooms: &[String]) {
    for client in &world.clients {
        let name = format!("seed {seed}, {}", client.caller.device);
        let user = &client.caller.user;
        nothing_is_left_to_send(&name, client, world, rooms);
        for room in rooms {
            let seat = Seat { name: &name, client, world, room };
            match world.server.membership(room, user).as_deref() {
                Some("join") => {
                    everything_it_was_there_for_is_readable(&seat);
                    nothing_stays_red(&seat);
                    every_line_arrived_once_and_in_order(&seat);
                }
                Some("leave") => {
                    nothing_said_after_it_left_is_readable(&seat);
                    what_one_left_is_not_listed(&seat);
                }
                Some(_) | None => {}
            }
        }
        one_time_keys_have_private_halves(&name, client, world);
    }
    no_index_was_used_twice(seed, world);
    no_session_was_used_for_too_long(seed, world);
}

/// One device and one room.
struct Seat<'a> {
    name: &'a str,
    client: &'a Client,
    world: &'a World,
    room: &'a str,
}

impl Seat<'_> {
    fn id(&self) -> OwnedRoomId {
        self.room.try_into().expect("a room")
    }

    fn stored(&self) -> Vec<StoredEvent> {
        self.client.store.newest(&self.id(), 10_000).expect("readable")
    }

    /// From where in the stream on its user was in the room, or invited, without a break.
    fn active_since(&self) -> u64 {
        let changes = self.world.server.memberships(self.room, &self.client.caller.user);
        let active = changes.iter().rev().take_while(|it| it.1 != "leave");
        active.last().map_or(u64::MAX, |it| it.0)
    }

    /// What the sending device of an event knew of the stream when the line was typed.
    fn known_to_sender(&self, event: &RoomEvent) -> Option<u64> {
        let (device, txn) = event.txn.as_ref()?;
        let sender = self.world.clients.iter().find(|it| it.caller.device == *device)?;
        sender.taken.iter().find(|it| it.txn == *txn).map(|it| it.known)
    }
}

/// Whether a user ever came or went after the founding of a room.
fn has_moved(world: &World, room: &str, user: &str) -> bool {
    let founding = if user == "@a:sim" { 1 } else { 2 };
    world.server.memberships(room, user).len() > founding
}

fn nothing_is_left_to_send(name: &str, client: &Client, world: &World, rooms: &[String]) {
    let left = client.store.outbox().expect("readable");
    // Lines of somebody who was put out may fail.
    let moved = |row: &&OutboxRow| {
        matches!(row.state, OutboxState::Failed(_))
            && rooms.iter().any(|room| {
                *room == row.room.as_str() && has_moved(world, room, &client.caller.user)
            })
    };
    let left: Vec<_> = left.iter().filter(|row| !moved(row)).collect();
    assert!(left.is_empty(), "{name}: {left:?} is left in the outbox");
}

/// What was typed by a device that knew of us, and we stayed, can be read.
fn everything_it_was_there_for_is_readable(seat: &Seat<'_>) {
    let since = seat.active_since();
    let stored = seat.stored();
    let lost = stored.iter().filter(|it| matches!(it.body, EventBody::Undecryptable(_)));
    for it in lost {
        let events = &seat.world.server.rooms[seat.room].events;
        let sent = events.iter().find(|event| it.id().is_some_and(|id| id.as_str() == event.id));
        let known = sent.and_then(|event| seat.known_to_sender(event));
        assert!(
            known.is_some_and(|known| known < since),
            "{}, {}: undecryptable: {:?} {:?}, there since {since}, sender knew {known:?}",
            seat.name,
            seat.room,
            sent,
            it.body,
        );
    }
}

/// Who left holds no key of anything that was typed by devices that had seen it.
fn nothing_said_after_it_left_is_readable(seat: &Seat<'_>) {
    let changes = seat.world.server.memberships(seat.room, &seat.client.caller.user);
    let left = changes.last().map_or(0, |it| it.0);
    let keys = seat.client.store.scan(Table::InboundGroupSession, Some(seat.room));
    let held: BTreeSet<String> =
        keys.expect("readable").into_iter().map(|(key, _)| key.1).collect();
    for event in &seat.world.server.rooms[seat.room].events {
        let after = seat.known_to_sender(event).is_some_and(|known| left <= known);
        let Some(session) = event.content["session_id"].as_str().filter(|_| after) else {
            continue;
        };
        assert!(!held.contains(session), "{}: holds the key of {event:?}, left {left}", seat.name);
    }
}

fn what_one_left_is_not_listed(seat: &Seat<'_>) {
    let user = &seat.client.caller.user;
    let changes = seat.world.server.memberships(seat.room, user);
    let by_itself = changes.last().is_some_and(|(_, _, sender)| sender == user);
    let rows = seat.client.store.rooms().expect("readable");
    let listed = rows.iter().find(|row| row.summary.room_id.as_str() == seat.room);
    if by_itself {
        assert!(listed.is_none(), "{}: {} is still listed", seat.name, seat.room);
    } else if let Some(row) = listed {
        assert_eq!(row.summary.membership, Membership::Leave, "{}: {}", seat.name, seat.room);
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

/// Every sender's device is known in the end, so no mark made before is left.
fn nothing_stays_red(seat: &Seat<'_>) {
    let stored = seat.stored();
    let red = stored.iter().filter(|it| matches!(it.shield(), Shield::Red(_)));
    let red: Vec<_> = red.map(|it| (&it.event.event_id, it.shield())).collect();
    assert!(red.is_empty(), "{}, {}: red: {red:?}", seat.name, seat.room);
}

fn every_line_arrived_once_and_in_order(seat: &Seat<'_>) {
    let Seat { name, world, room, .. } = seat;
    let stored = seat.stored();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let events = &world.server.rooms[*room].events;
    let typed_by = |event: &RoomEvent| {
        let (device, txn) = event.txn.as_ref()?;
        let client = world.clients.iter().find(|it| it.caller.device == *device)?;
        client.taken.iter().find(|it| it.txn == *txn).map(|it| (device.clone(), it))
    };
    for event in events {
        if let Some((device, line)) = typed_by(event) {
            lines.entry(device).or_default().push(line.text.clone());
        }
    }
    let server: Vec<&str> = events.iter().map(|it| &*it.id).collect();
    let ours: Vec<&str> =
        stored.iter().filter_map(|it| it.event.event_id.as_deref().map(|id| id.as_str())).collect();
    assert_eq!(ours, server, "{name}: the timeline of {room} is not the server's");
    for it in &stored {
        let EventBody::Decrypted(inner) = &it.body else { continue };
        let event = events.iter().find(|event| it.id().is_some_and(|id| id.as_str() == event.id));
        let line = event.and_then(typed_by).expect("somebody typed it");
        assert_eq!(inner.content["body"].as_str(), Some(&*line.1.text), "{name}: {event:?}");
    }
    for device in &world.clients {
        let got = lines.remove(&device.caller.device).unwrap_or_default();
        let typed = device.taken.iter().filter(|it| it.room == *room).map(|it| it.text.clone());
        if has_moved(world, room, &device.caller.user) {
            let mut typed = typed;
            let in_order = got.iter().all(|line| typed.any(|it| it == *line));
            assert!(in_order, "{name}: lines of {} in {room}: {got:?}", device.caller.device);
        } else {
            let typed: Vec<_> = typed.collect();
            assert_eq!(got, typed, "{name}: lines of {} in {room}", device.caller.device);
        }
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

/// Version byte, then field 1 (tag 0x08) as a varint.
fn message_index(ciphertext: &str) -> u32 {
    let bytes = STANDARD_NO_PAD.decode(ciphertext).expect("unpadded base64");
    assert_eq!(bytes[..2], [3, 8], "a Megolm message begins so");
    let mut index = 0;
    for (position, byte) in bytes[2..].iter().enumerate() {
        index |= u32::from(byte & 0x7F) << (7 * position);
        if byte & 0x80 == 0 {
            return index;
        }
    }
    panic!("the varint does not end");
}

/// Somebody who claims a key that the server holds can write to the device.
fn one_time_keys_have_private_halves(name: &str, client: &Client, world: &World) {
    let device = &world.server.devices[&(client.caller.user.clone(), client.caller.device.clone())];
    let fallback = device.fallback_key.iter().map(|(id, key, _)| (id, key));
    let held = device.one_time_keys.iter().map(|(id, key)| (id, key)).chain(fallback);
    let mut account = stored_account(client);
    let stranger = Account::new();
    for (id, key) in held {
        let public = key["key"].as_str().expect("a signed key");
        let theirs = vodozemac::Curve25519PublicKey::from_base64(public).expect("a key");
        let config = vodozemac::olm::SessionConfig::version_1();
        let mut session = stranger
            .create_outbound_session(config, account.curve25519_key(), theirs)
            .expect("a session");
        let message = session.encrypt("hello").expect("a message");
        let vodozemac::olm::OlmMessage::PreKey(message) = message else {
            panic!("the first message is a pre-key message");
        };
        let opened = account.create_inbound_session(config, stranger.curve25519_key(), &message);
        assert!(opened.is_ok(), "{name}: the private half of {id} is gone");
    }
}

/// The Olm account in the client's store, wherever its record has the pickle.
fn stored_account(client: &Client) -> Account {
    let records = client.store.scan(Table::Account, None).expect("readable");
    let found = records.iter().find_map(|(_, bytes)| {
        find_account(&serde_json::from_slice::<Value>(bytes).expect("records are JSON"))
    });
    found.expect("the account is in its table")
}

fn find_account(value: &Value) -> Option<Account> {
    if let Ok(pickle) = serde_json::from_value::<AccountPickle>(value.clone()) {
        return Some(Account::from_pickle(pickle));
    }
    value.as_object()?.values().find_map(find_account)
}

/// A few words on where everything stands, for a schedule that does not end.
pub(super) fn state(world: &World) -> String {
    let clients = world.clients.iter().map(|client| {
        let outbox = client.store.outbox().expect("readable");
        format!(
            "{}: connection {:?}, outbox {:?}, crashes {}",
            client.caller.device,
            client.connection,
            outbox.iter().map(|row| &row.state).collect::<Vec<_>>(),
            client.crashes,
        )
    });
    clients.collect::<Vec<_>>().join("; ")
}
