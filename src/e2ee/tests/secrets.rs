//! Nothing that holds a key prints it: every type of the session layer that has a `Debug` form is
//! printed with keys in it that are known, and the text is searched for them.

use std::{collections::BTreeSet, fmt::Debug};

use serde_json::{Value, json, value::to_raw_value};

use super::harness::{Client, World};
use crate::{
    e2ee::{
        Decryption, Machine, MegolmCiphertext, Plaintext, Readiness, Recipients, Step,
        device::Device, lookup::Table, request, session::Peer,
    },
    matrix::{Event, RoomId},
    time::Timestamp,
};

/// Fields of vodozemac's pickles that hold nothing secret.
const PUBLIC: [&str; 3] = ["public_keys", "session_keys", "parent_ratchet_key"];
const TEXT: &str = "meet me at the old mill";

/// Every run of 32 bytes or more in the records that hold keys, but for what is public.
fn secrets(client: &Client) -> BTreeSet<Vec<u8>> {
    let tables = [
        Table::Account,
        Table::OlmSession,
        Table::InboundGroupSession,
        Table::OutboundGroupSession,
        Table::CrossSigning,
    ];
    let mut found = BTreeSet::new();
    let mut public = Vec::new();
    for ((table, key), value) in &client.records.0 {
        if tables.contains(table) {
            collect(&serde_json::from_slice(value).unwrap(), &mut found);
        }
        if *table == Table::CrossSigning {
            let record: Value = serde_json::from_slice(value).unwrap();
            for name in ["master", "self_signing", "user_signing"] {
                let seed = record["keys"][name].as_str().unwrap();
                found.insert(vodozemac::base64_decode(seed).unwrap());
            }
        }
        // The name of a group session is its public key.
        public.extend([&key.0, &key.1].map(|part| vodozemac::base64_decode(part).ok()));
    }
    for key in public.into_iter().flatten() {
        found.remove(&key);
    }
    let devices = client.records.0.iter().filter(|((table, _), _)| *table == Table::Device);
    for (_, value) in devices {
        let device: Value = serde_json::from_slice(value).unwrap();
        for key in ["curve25519", "ed25519"] {
            found.remove(&vodozemac::base64_decode(device[key].as_str().unwrap()).unwrap());
        }
    }
    found
}

fn collect(value: &Value, found: &mut BTreeSet<Vec<u8>>) {
    if let Ok(bytes) = serde_json::from_value::<Vec<u8>>(value.clone()) {
        if 32 <= bytes.len() {
            found.insert(bytes);
        }
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            // Only our own half of a ratchet has its secret key beside a root key.
            let is_ours = fields.get("root_key").is_some_and(Value::is_array);
            let is_public =
                |name: &str| PUBLIC.contains(&name) || name == "ratchet_key" && !is_ours;
            let secret = fields.iter().filter(|(name, _)| !is_public(name));
            secret.for_each(|(_, field)| collect(field, found));
        }
        Value::String(text) if 200 < text.len() => {
            found.extend(vodozemac::base64_decode(text).ok());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The ways in which bytes are commonly printed; their beginning is enough.
fn spellings(bytes: &[u8]) -> [String; 4] {
    let join = |spell: &dyn Fn(&u8) -> String, between: &str| {
        bytes[..8].iter().map(spell).collect::<Vec<_>>().join(between)
    };
    let base64 = vodozemac::base64_encode(bytes);
    [
        join(&|byte| byte.to_string(), ","),
        join(&|byte| format!("{byte:02x}"), ""),
        join(&|byte| format!("{byte:02X}"), ""),
        base64.chars().take(16).collect(),
    ]
}

/// Printed texts, all of them.
#[derive(Default)]
struct Printed(String);

impl Printed {
    fn print(&mut self, thing: &impl Debug) {
        self.0.extend(format!("{thing:?}{thing:#?}").split_whitespace());
    }
}

/// Alice encrypts a message; everything on the way is printed.
fn encrypt(world: &mut World, room: &RoomId, printed: &mut Printed) -> MegolmCiphertext {
    let encryption = json!({ "type": "m.room.encryption", "state_key": "", "event_id": "$e",
        "sender": "@bob:x", "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
    let encryption = Event::parse(&encryption.to_string()).unwrap();
    world.at(0, |machine, step| machine.receive_state(room, &encryption, step)).unwrap();
    let joined = world.clients.iter().map(|client| client.user.clone()).collect();
    let to = Recipients { joined, ..Recipients::default() };
    let plaintext =
        Plaintext::new("m.room.message", json!({ "body": TEXT }).as_object().unwrap().clone());
    printed.print(&plaintext);
    for _ in 0..10 {
        let ciphertext = world.at(0, |machine, step| {
            let readiness = machine.prepare_room(room, &to, step).unwrap();
            printed.print(&readiness);
            let Readiness::Ready(ready) = readiness else { return None };
            let ciphertext = ready.encrypt(&plaintext, step).unwrap();
            printed.print(&*step);
            printed.print(machine.megolm.outbound_mut(room).unwrap());
            Some(ciphertext)
        });
        printed.print(&world.clients[0].outbox);
        world.settle();
        if let Some(ciphertext) = ciphertext {
            return ciphertext;
        }
    }
    panic!("the room never gets ready");
}

/// Prints what a client holds, and a step in which it writes to everybody it knows.
fn print_all(client: &mut Client, now: Timestamp, printed: &mut Printed) {
    let mut step = Step::new(&client.records, now);
    let devices = step.scan::<Device>(Table::Device, None).unwrap();
    let empty = to_raw_value(&json!({})).unwrap();
    for (_, device) in &devices {
        let core = &mut client.machine.core;
        printed.print(&Peer::load(&device.curve25519, &step).unwrap());
        drop(core.encrypt_to_device(device, "m.dummy", &empty, &mut step).unwrap());
    }
    printed.print(&devices);
    printed.print(&request::records(&step).unwrap());
    printed.print(&client.machine);
    printed.print(&client.notices);
    printed.print(&step);
    printed.print(&step.finish());
}

#[test]
fn nothing_that_holds_a_key_prints_it() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    for client in &mut world.clients {
        client.step(world.now, Machine::bootstrap_cross_signing).unwrap();
    }
    world.settle();
    world.acquaint(0, 1);
    world.acquaint(1, 0);
    world.send_olm(1, 0, "m.dummy", &json!({}));
    world.settle();
    let (room, now) = (RoomId::parse("!room:x").unwrap(), world.now);
    let mut printed = Printed::default();
    let ciphertext = encrypt(&mut world, &room, &mut printed);
    let event = json!({ "type": "m.room.encrypted", "event_id": "$1", "sender": "@alice:x",
        "content": serde_json::from_str::<Value>(ciphertext.json()).unwrap() });
    let event = Event::parse(&event.to_string()).unwrap();
    for client in &mut world.clients {
        let read =
            client.step(now, |machine, step| machine.decrypt_event(&room, &event, step)).unwrap();
        assert!(matches!(read, Decryption::Decrypted(_)));
        printed.print(&read);
        print_all(client, now, &mut printed);
    }
    for client in &world.clients {
        let secrets = secrets(client);
        assert!(50 < secrets.len(), "the keys are looked for where they are");
        for spelling in secrets.iter().flat_map(|secret| spellings(secret)) {
            let found = printed.0.split_once(&spelling);
            assert_eq!(found.map(|(before, _)| before.rsplit('{').next()), None, "prints a key");
        }
    }
    assert!(!printed.0.contains(&TEXT.replace(' ', "")));
    assert!(printed.0.contains("Outbound{") && printed.0.contains("Kept{"), "they were printed");
}
