//! A small homeserver, in memory: accounts, devices, one-time keys that are handed out once, to-device
//! queues that empty only when a later position is used, device lists, rooms, sync v2, idempotent
//! transactions, account data, key backups. It knows nothing of connections and faults.

mod account;
mod keys;
mod rooms;
mod sync;

use std::collections::{BTreeMap, VecDeque};

pub(super) use rooms::VISIBILITY;
use serde_json::{Value, json};

/// The device of somebody who acts by other means than this program.
pub(super) const WEB: &str = "web";

/// Everybody's password.
pub(super) const PASSWORD: &str = "a password";

/// An answer: status and body.
pub(super) type Answer = (u16, Value);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) device: String,
}

impl Caller {
    pub(super) fn new(user: &str, device: &str) -> Self {
        Self { user: user.to_owned(), device: device.to_owned() }
    }

    pub(super) fn key(&self) -> (String, String) {
        (self.user.clone(), self.device.clone())
    }
}

#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) keys: Option<Value>,
    /// In the order of upload.
    pub(super) one_time_keys: VecDeque<(String, Value)>,
    /// Id, key, whether it was handed out.
    pub(super) fallback_key: Option<(String, Value, bool)>,
    /// Since when it has keys.
    pub(super) since: u64,
    /// Since when its owner's identity has signed it.
    pub(super) signed: Option<u64>,
    /// Every id that was ever uploaded, with its key: another key under it is a fault.
    uploaded: BTreeMap<String, Value>,
    to_device: VecDeque<(u64, Value)>,
}

#[derive(Clone, Debug)]
pub(super) struct RoomEvent {
    pub(super) at: u64,
    /// When it came, in milliseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) state_key: Option<String>,
    pub(super) sender: String,
    pub(super) content: Value,
    /// The sending device and its transaction id.
    pub(super) txn: Option<(String, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) events: Vec<RoomEvent>,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) devices: BTreeMap<(String, String), Device>,
    pub(super) rooms: BTreeMap<String, Room>,
    account_data: BTreeMap<(String, String), (u64, Value)>,
    /// The cross-signing keys of accounts, as they were uploaded.
    identities: BTreeMap<String, Value>,
    /// How many were taken, first ones and others.
    pub(super) identities_taken: u64,
    backups: BTreeMap<String, Vec<account::Backup>>,
    /// Files, by their id.
    pub(super) media: BTreeMap<String, Vec<u8>>,
    /// What time it is, in milliseconds since the Unix epoch.
    pub(super) clock: u64,
    /// User whose devices changed, by stream place.
    device_changes: Vec<(u64, String)>,
    txns: BTreeMap<(String, String), Value>,
    stream: u64,
    /// How many events a sync gives a room at most.
    pub(super) timeline_limit: usize,
    /// Every ciphertext that ever arrived, also of resent calls.
    pub(super) ciphertexts: Vec<Value>,
}

impl Server {
    pub(super) fn new(timeline_limit: usize) -> Self {
        Self { timeline_limit, ..Self::default() }
    }

    pub(super) fn add_device(&mut self, caller: &Caller) {
        self.devices.insert(caller.key(), Device::default());
    }

    fn advance(&mut self) -> u64 {
        self.stream += 1;
        self.stream
    }

    /// Answers a call of the client-server API.
    pub(super) fn call(
        &mut self,
        caller: &Caller,
        (method, path): (&str, &str),
        query: &[(String, String)],
        body: &Value,
    ) -> Answer {
        if !self.devices.contains_key(&caller.key()) && caller.device != WEB {
            return (401, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "logged out" }));
        }
        if path == "/_matrix/client/v1/media/config" {
            return (200, json!({ "m.upload.size": 1_000_000 }));
        }
        let Some(path) = path.strip_prefix("/_matrix/client/v3/") else {
            // Dehydrated devices, for one: not every server has them.
            assert!(path.starts_with("/_matrix/client/unstable/"), "the model has no {path}");
            return (404, json!({ "errcode": "M_UNRECOGNIZED", "error": "not here" }));
        };
        let parts: Vec<String> = path
            .split('/')
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["keys" | "sendToDevice", ..] => self.keys_call(caller, (method, &parts), body),
            ["rooms" | "createRoom" | "join", ..] => {
                self.room_call(caller, (method, &parts), query, body)
            }
            ["room_keys", ..] => self.backup_call(caller, (method, &parts), query, body),
            ["user", user, "account_data", kind] => {
                self.account_data_call((user, kind), method, body)
            }
            ["logout"] => {
                self.log_out(caller);
                (200, json!({}))
            }
            _ => panic!("the model has no {method} {path}"),
        }
    }

    /// The device is gone, and its token with it.
    pub(super) fn log_out(&mut self, caller: &Caller) {
        if self.devices.remove(&caller.key()).is_some() {
            let at = self.advance();
            self.device_changes.push((at, caller.user.clone()));
        }
    }

    /// The present place in the stream.
    pub(super) fn now(&self) -> u64 {
        self.stream
    }
}
