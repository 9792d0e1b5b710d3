//! What must hold when the faults have ceased and everything has drained.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use grotto::{
    e2ee::{Lookup, Shield, Table},
    matrix::OwnedRoomId,
    rooms::EventBody,
};
use serde_json::Value;
use vodozemac::olm::{Account, AccountPickle};

use super::{client::Client, world::World};

/// All of it.
pub(super) fn all(seed: u64, world: &World, rooms: &[String]) {
    for client in &world.clients {
        let name = format!("seed {seed}, {}", client.caller.device);
        nothing_is_left_to_send(&name, client);
        nothing_is_undecryptable(&name, client, rooms);
        nothing_stays_red(&name, client, rooms);
        for room in rooms {
            every_line_arrived_once_and_in_order(&name, client, world, room);
        }
        one_time_keys_have_private_halves(&name, client, world);
    }
    no_index_was_used_twice(seed, world);
}

fn nothing_is_left_to_send(name: &str, client: &Client) {
    let left = client.store.outbox().expect("readable");
    assert!(left.is_empty(), "{name}: {left:?} is left in the outbox");
}

fn nothing_is_undecryptable(name: &str, client: &Client, rooms: &[String]) {
    for room in rooms {
        let id: OwnedRoomId = room.as_str().try_into().expect("a room");
        let stored = client.store.newest(&id, 10_000).expect("readable");
        let lost = stored.iter().filter(|it| matches!(it.body, EventBody::Undecryptable(_)));
        let lost: Vec<_> = lost
            .map(|it| (&it.event.event_id, it.event.content_str("device_id"), &it.body))
            .collect();
        assert!(lost.is_empty(), "{name}, {room}: undecryptable: {lost:?}");
    }
}

/// Every sender's device is known in the end, so no mark made before is left.
fn nothing_stays_red(name: &str, client: &Client, rooms: &[String]) {
    for room in rooms {
        let id: OwnedRoomId = room.as_str().try_into().expect("a room");
        let stored = client.store.newest(&id, 10_000).expect("readable");
        let red = stored.iter().filter(|it| matches!(it.shield(), Shield::Red(_)));
        let red: Vec<_> = red.map(|it| (&it.event.event_id, it.shield())).collect();
        assert!(red.is_empty(), "{name}, {room}: red: {red:?}");
    }
}

fn every_line_arrived_once_and_in_order(name: &str, client: &Client, world: &World, room: &str) {
    let id: OwnedRoomId = room.try_into().expect("a room");
    let stored = client.store.newest(&id, 10_000).expect("readable");
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in &stored {
        if let EventBody::Decrypted(inner) = &event.body {
            let sender = event.event.sender.clone().expect("a sender").to_string();
            let text = inner.content["body"].as_str().expect("text").to_owned();
            lines.entry(sender).or_default().push(text);
        }
    }
    let server: Vec<&str> = world.server.rooms[room].events.iter().map(|it| &*it.id).collect();
    let ours: Vec<&str> =
        stored.iter().filter_map(|it| it.event.event_id.as_deref().map(|id| id.as_str())).collect();
    assert_eq!(ours, server, "{name}: the timeline of {room} is not the server's");
    for user in world.clients.iter().map(|it| &it.caller.user).collect::<BTreeSet<_>>() {
        let got = lines.remove(user).unwrap_or_default();
        let devices: Vec<&Client> =
            world.clients.iter().filter(|it| it.caller.user == *user).collect();
        let typed = |it: &&Client| {
            let here = it.taken.iter().filter(|(place, _)| place == room);
            here.map(|(_, text)| text.clone()).collect::<Vec<_>>()
        };
        let all: BTreeSet<String> = devices.iter().flat_map(typed).collect();
        assert_eq!(got.len(), all.len(), "{name}: lines of {user} in {room}: {got:?} of {all:?}");
        for device in &devices {
            let typed = typed(device);
            let in_order: Vec<_> = got.iter().filter(|it| typed.contains(it)).cloned().collect();
            assert_eq!(in_order, typed, "{name}: lines of {}", device.caller.device);
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
