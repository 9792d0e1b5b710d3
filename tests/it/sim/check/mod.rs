//! What must hold when the faults have ceased and everything has drained.

mod keys;
mod oracle;
mod secrecy;

use std::collections::BTreeMap;

use grotto::{
    e2ee::{Shield, ShieldReason},
    matrix::{Membership, OwnedRoomId},
    rooms::{EventBody, StoredEvent},
    store::{OutboxRow, OutboxState},
};

pub(super) use oracle::Tally;

use super::{
    client::Client,
    seal::{DeviceKey, Seal},
    server::RoomEvent,
    world::World,
};

/// All of it; gives how many messages were read, and why others were not.
pub(super) fn all(seed: u64, world: &World, rooms: &[String]) -> Tally {
    let mut tally = Tally::new();
    for client in world.clients.iter().filter(|client| !client.ended) {
        let name = format!("seed {seed}, {}", client.caller.device);
        let user = &client.caller.user;
        nothing_is_left_to_send(&name, client, world, rooms);
        for room in rooms {
            let id: OwnedRoomId = room.as_str().try_into().expect("a room");
            let stored = client.store.newest(&id, 10_000).expect("readable");
            let seat = Seat { name: &name, client, world, room, stored };
            match world.server.membership(room, user).as_deref() {
                Some("join") => {
                    oracle::all(&seat, &mut tally);
                    nothing_stays_red(&seat);
                    every_line_arrived_once_and_in_order(&seat);
                }
                Some("leave") => what_one_left_is_not_listed(&seat),
                Some(_) | None => {}
            }
        }
        keys::all(&name, client, world);
    }
    for client in world.clients.iter().filter(|client| client.ended) {
        let there = world.server.devices.contains_key(&client.caller.key());
        assert!(!there, "seed {seed}: nobody ended the login of {:?}", client.caller);
    }
    secrecy::all(seed, world);
    tally
}

/// One device and one room.
struct Seat<'a> {
    name: &'a str,
    client: &'a Client,
    world: &'a World,
    room: &'a str,
    /// Its timeline.
    stored: Vec<StoredEvent>,
}

impl Seat<'_> {
    /// Whether the device that sent an event is signed by its owner, as the server has it.
    fn is_signed(&self, stored: &StoredEvent) -> bool {
        let server = &self.world.server;
        let events = &server.rooms[self.room].events;
        let sent = events.iter().find(|it| stored.id().is_some_and(|id| id.as_str() == it.id));
        let sent = sent.expect("it came from the server");
        let (device, _) = sent.txn.as_ref().expect("somebody sent it");
        let device = server.devices.get(&(sent.sender.clone(), device.clone()));
        let keys = device.and_then(|device| device.keys.as_ref());
        let signatures = keys.and_then(|keys| keys["signatures"][&sent.sender].as_object());
        signatures.is_some_and(|signatures| 1 < signatures.len())
    }

    /// The message that an event is, as it was encrypted, and by which device.
    fn seal(&self, event: &RoomEvent) -> Option<(&Seal, DeviceKey)> {
        let (device, txn) = event.txn.as_ref()?;
        let sender = self.world.clients.iter().find(|it| it.caller.device == *device)?;
        let seal = sender.seals.iter().find(|it| it.txn == *txn)?;
        Some((seal, sender.caller.key()))
    }
}

/// Whether a user came or went after the founding of a room, or is not there at all.
fn has_moved(world: &World, room: &str, user: &str) -> bool {
    let changes = world.server.memberships(room, user);
    changes.last().is_none_or(|last| world.founded < last.0 || last.1 != "join")
}

fn nothing_is_left_to_send(name: &str, client: &Client, world: &World, rooms: &[String]) {
    let left = client.store.outbox().expect("readable");
    // Lines of somebody who was put out may fail, and those of a device that is not signed.
    let unsigned =
        |row: &&OutboxRow| client.owner.careless && matches!(row.state, OutboxState::Failed(_));
    let moved = |row: &&OutboxRow| {
        matches!(row.state, OutboxState::Failed(_))
            && rooms.iter().any(|room| {
                *room == row.room.as_str() && has_moved(world, room, &client.caller.user)
            })
    };
    let left: Vec<_> = left.iter().filter(|row| !moved(row) && !unsigned(row)).collect();
    assert!(left.is_empty(), "{name}: {left:?} is left in the outbox");
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

/// Every sender's device is known in the end, so no mark made before is left, but for those of
/// devices that their owner did not sign: nobody verifies a second device here.
fn nothing_stays_red(seat: &Seat<'_>) {
    let stored = &seat.stored;
    let red = stored.iter().filter(|it| match it.shield() {
        Shield::Red(ShieldReason::UnsignedDevice) => seat.is_signed(it),
        Shield::Red(_) => true,
        Shield::None | Shield::Grey(_) => false,
    });
    let red: Vec<_> = red.map(|it| (&it.event.event_id, it.shield())).collect();
    assert!(red.is_empty(), "{}, {}: red: {red:?}", seat.name, seat.room);
}

fn every_line_arrived_once_and_in_order(seat: &Seat<'_>) {
    let Seat { name, world, room, stored, .. } = seat;
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
    let user = &seat.client.caller.user;
    let seen = events.iter().filter(|it| world.server.may_see(room, user, it));
    let server: Vec<&str> = seen.map(|it| &*it.id).collect();
    let ours: Vec<&str> =
        stored.iter().filter_map(|it| it.event.event_id.as_deref().map(|id| id.as_str())).collect();
    assert_eq!(ours, server, "{name}: the timeline of {room} is not the server's");
    for it in stored {
        let EventBody::Decrypted(inner) = &it.body else { continue };
        let event = events.iter().find(|event| it.id().is_some_and(|id| id.as_str() == event.id));
        let line = event.and_then(typed_by).expect("somebody typed it");
        assert_eq!(inner.content["body"].as_str(), Some(&*line.1.text), "{name}: {event:?}");
    }
    for device in &world.clients {
        let got = lines.remove(&device.caller.device).unwrap_or_default();
        let typed = device.taken.iter().filter(|it| it.room == *room).map(|it| it.text.clone());
        if device.ended || device.owner.careless || has_moved(world, room, &device.caller.user) {
            let mut typed = typed;
            let in_order = got.iter().all(|line| typed.any(|it| it == *line));
            assert!(in_order, "{name}: lines of {} in {room}: {got:?}", device.caller.device);
        } else {
            let typed: Vec<_> = typed.collect();
            assert_eq!(got, typed, "{name}: lines of {} in {room}", device.caller.device);
        }
    }
}

/// A few words on where everything stands, for a schedule that does not end.
pub(super) fn state(world: &World) -> String {
    let clients = world.clients.iter().map(|client| {
        let outbox = client.store.outbox().expect("readable");
        format!(
            "{}: {:?}, connection {:?}, outbox {:?}, crashes {}",
            client.caller.device,
            client.owner,
            client.connection,
            outbox.iter().map(|row| &row.state).collect::<Vec<_>>(),
            client.crashes,
        )
    });
    clients.collect::<Vec<_>>().join("; ")
}
