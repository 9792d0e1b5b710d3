//! What the simulator remembers of every commit: each message as it was encrypted, with what its
//! device knew at that moment, and every room key that a device ever wrote down. An adversary who
//! was put out of a room keeps what they had, whatever the program forgets.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use grotto::{
    e2ee::{Lookup, Table},
    store::{OutboxState, OutboxWrite, Store, Writes},
    time::Timestamp,
};
use serde_json::Value;
use vodozemac::megolm::{InboundGroupSession, InboundGroupSessionPickle, MegolmMessage};

/// A user and one of their devices.
pub(super) type DeviceKey = (String, String);

/// A message, at the commit that made its ciphertext.
#[derive(Clone, Debug)]
pub(super) struct Seal {
    pub(super) room: String,
    pub(super) txn: String,
    pub(super) session: String,
    pub(super) ciphertext: String,
    /// The place in the stream up to which its device had everything.
    pub(super) known: u64,
    /// How far the stream was.
    pub(super) place: u64,
    /// What the clock of its device showed.
    pub(super) at: Timestamp,
    /// Devices that its device knew and might write to.
    pub(super) listed: BTreeSet<DeviceKey>,
    /// Those of them that their owners had signed, as far as its device knew.
    pub(super) signed: BTreeSet<DeviceKey>,
    /// Devices that its device knew to be gone, or had blocked.
    pub(super) barred: BTreeSet<DeviceKey>,
    /// Those of them that it knew to be gone.
    pub(super) gone: BTreeSet<DeviceKey>,
}

/// Every room key that a device ever had, by room and session.
#[derive(Debug, Default)]
pub(super) struct Archive(BTreeMap<(String, String), BTreeSet<Vec<u8>>>);

impl Archive {
    /// Takes the keys that a commit writes.
    pub(super) fn note(&mut self, writes: &Writes) {
        for write in &writes.crypto.writes {
            if let (Table::InboundGroupSession, Some(value)) = (write.table, &write.value) {
                let key = (write.key.0.clone(), write.key.1.clone());
                self.0.entry(key).or_default().insert(value.to_vec());
            }
        }
    }

    /// Whether a message can be read with any of them.
    pub(super) fn opens(&self, seal: &Seal) -> bool {
        let kept = self.0.get(&(seal.room.clone(), seal.session.clone()));
        let message = MegolmMessage::from_base64(&seal.ciphertext).expect("a Megolm message");
        kept.into_iter().flatten().any(|bytes| {
            let record: Value = serde_json::from_slice(bytes).expect("records are JSON");
            let pickle: InboundGroupSessionPickle =
                serde_json::from_value(record["session"].clone()).expect("a pickle");
            InboundGroupSession::from_pickle(pickle).decrypt(&message).is_ok()
        })
    }
}

/// The messages that a commit has just encrypted: what it wrote into the outbox.
pub(super) fn made(writes: &Writes) -> Vec<(String, String)> {
    let encrypted = writes.outbox.iter().filter_map(|write| match write {
        OutboxWrite::State { txn, state: OutboxState::Encrypted(ciphertext) } => {
            Some((txn.to_string(), ciphertext.json().to_owned()))
        }
        _ => None,
    });
    encrypted.collect()
}

impl Seal {
    /// Looks around after the commit that made the message `txn`.
    pub(super) fn new(
        store: &Store,
        (txn, content): (String, String),
        (place, at): (u64, Timestamp),
    ) -> Self {
        let content: Value = serde_json::from_str(&content).expect("JSON");
        let ciphertext = content["ciphertext"].as_str().expect("a ciphertext").to_owned();
        let row = store.outbox_row(&txn).expect("readable").expect("it was just written");
        let all = devices(store);
        let names = |is: fn(&Seen) -> bool| {
            let named = all.iter().filter(|(_, seen)| is(seen));
            named.map(|(key, _)| key.clone()).collect()
        };
        Self {
            room: row.room.to_string(),
            txn,
            session: content["session_id"].as_str().expect("a session").to_owned(),
            ciphertext,
            known: known(store),
            place,
            at,
            listed: names(|seen| !seen.gone && !seen.blocked),
            signed: names(|seen| seen.signed),
            barred: names(|seen| seen.gone || seen.blocked),
            gone: names(|seen| seen.gone),
        }
    }
}

/// The place in the stream up to which everything is on this disk.
pub(super) fn known(store: &Store) -> u64 {
    let position = store.position().expect("readable");
    position.map_or(0, |it| it.0[1..].parse().expect("our position"))
}

/// How a device stands in a store.
struct Seen {
    /// It carries a signature beside its own.
    signed: bool,
    blocked: bool,
    gone: bool,
}

/// The devices in a store.
fn devices(store: &Store) -> Vec<(DeviceKey, Seen)> {
    let records = store.scan(Table::Device, None).expect("readable");
    let all = records.into_iter().map(|(key, bytes)| {
        let record: Value = serde_json::from_slice(&bytes).expect("records are JSON");
        let signatures = record["raw"]["signatures"][&key.0].as_object();
        let seen = Seen {
            signed: signatures.is_some_and(|signatures| 1 < signatures.len()),
            blocked: record["trust"] == "blocked",
            gone: record["listing"] == "deleted",
        };
        ((key.0, key.1), seen)
    });
    all.collect()
}

/// Version byte, then field 1 (tag 0x08) as a varint.
pub(super) fn message_index(ciphertext: &str) -> u32 {
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
