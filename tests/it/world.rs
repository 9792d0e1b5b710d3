//! Machines and the part of a homeserver that they talk to, in one thread and without a clock.
//!
//! Shared by the tests of the session layer and its benchmark, so it names only public items.

use std::collections::BTreeMap;

use grotto::{
    e2ee::{
        CryptoSync, Decryption, DevicePolicy, Lookup, LookupError, Machine, MegolmCiphertext,
        Notice, OutgoingRequest, Plaintext, Readiness, Recipients, RecordKey, RequestFailure,
        ShareError, Step, Table,
    },
    matrix::{
        DeviceLists, Event, KeyCounts, MatrixError, OwnedDeviceId, OwnedRoomId, OwnedUserId,
        RoomId, ToDeviceEvent, UserId,
    },
    time::Timestamp,
};
use serde_json::{Map, Value, json};

/// Records in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<(Table, RecordKey), Vec<u8>>);

impl Lookup for Memory {
    fn get(
        &self,
        table: Table,
        key: &RecordKey,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, LookupError> {
        Ok(self.0.get(&(table, key.clone())).map(|value| value.clone().into()))
    }

    fn scan(
        &self,
        table: Table,
        first: Option<&str>,
    ) -> Result<Vec<(RecordKey, zeroize::Zeroizing<Vec<u8>>)>, LookupError> {
        let start = (table, RecordKey(first.unwrap_or_default().to_owned(), String::new()));
        let rows = self
            .0
            .range(start..)
            .take_while(|((at, key), _)| *at == table && first.is_none_or(|first| key.0 == first));
        Ok(rows.map(|((_, key), value)| (key.clone(), value.clone().into())).collect())
    }
}

/// One device and its store.
pub(crate) struct Client {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    pub(crate) machine: Machine,
    pub(crate) store: Memory,
    pub(crate) outgoing: Vec<OutgoingRequest>,
    pub(crate) notices: Vec<Notice>,
}

/// What a homeserver knows of keys.
#[derive(Default)]
pub(crate) struct Server {
    devices: BTreeMap<String, BTreeMap<String, Value>>,
    one_time_keys: BTreeMap<(String, String), BTreeMap<String, Value>>,
    inbox: BTreeMap<(String, String), Vec<ToDeviceEvent>>,
    /// Every to-device request that was taken: type and devices.
    pub(crate) sent: Vec<(String, usize)>,
    /// Paths with this in them are answered 503.
    pub(crate) broken: Option<&'static str>,
    /// Users with this in their id are on a homeserver that cannot be reached.
    pub(crate) unreachable: Option<&'static str>,
}

/// Clients and their server.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) clients: Vec<Client>,
    pub(crate) server: Server,
    pub(crate) room: OwnedRoomId,
    events: u64,
}

impl Client {
    /// Runs one step and commits it.
    pub(crate) fn step<T>(
        &mut self,
        now: Timestamp,
        work: impl FnOnce(&mut Machine, &mut Step<'_>) -> T,
    ) -> T {
        let mut step = Step::new(&self.store, now);
        let result = work(&mut self.machine, &mut step);
        let (changes, requests, notices) = step.finish();
        commit(&mut self.store, changes);
        self.outgoing.extend(requests);
        self.notices.extend(notices);
        result
    }

    /// Forgets everything that is not in the store.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        let mut step = Step::new(&self.store, now);
        self.machine = Machine::open(&self.user, &self.device, &mut step).unwrap();
        let unanswered = self.machine.unanswered(&step).unwrap();
        let (changes, _, _) = step.finish();
        commit(&mut self.store, changes);
        self.outgoing = unanswered;
    }
}

/// Writes the changes of a step.
pub(crate) fn commit(store: &mut Memory, changes: grotto::e2ee::Changes) {
    for write in changes.writes {
        match write.value {
            Some(value) => drop(store.0.insert((write.table, write.key), value.to_vec())),
            None => drop(store.0.remove(&(write.table, write.key))),
        }
    }
}

impl Server {
    /// Answers a request.
    pub(crate) fn answer(
        &mut self,
        from: &UserId,
        request: &OutgoingRequest,
    ) -> Result<String, RequestFailure> {
        if self.broken.is_some_and(|path| request.path.contains(path)) {
            return Err(RequestFailure::Later(MatrixError::parse(503, b"{}")));
        }
        if request.method == "GET" {
            // Neither account data nor a backup of keys.
            let nothing = MatrixError::parse(404, br#"{"errcode":"M_NOT_FOUND"}"#);
            return Err(RequestFailure::Refused(nothing));
        }
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let path = request.path.trim_start_matches("/_matrix/client/v3/");
        Ok(match path.split('/').collect::<Vec<_>>().as_slice() {
            ["keys", "upload"] => self.upload(from, &body),
            ["keys", "query"] => self.query(&body),
            ["keys", "claim"] => self.claim(&body),
            ["sendToDevice", kind, _] => self.send(from, kind, &body),
            other => panic!("unknown path {other:?}"),
        }
        .to_string())
    }

    fn upload(&mut self, from: &UserId, body: &Value) -> Value {
        if let Some(keys) = body.get("device_keys") {
            let device = keys["device_id"].as_str().unwrap().to_owned();
            self.devices.entry(from.to_string()).or_default().insert(device, keys.clone());
        }
        let keys =
            body.get("one_time_keys").and_then(Value::as_object).cloned().unwrap_or_default();
        let fallback = body.get("fallback_keys").and_then(Value::as_object).cloned();
        for (id, key) in keys.into_iter().chain(fallback.unwrap_or_default()) {
            let device = Self::device_of(from, &key);
            self.one_time_keys.entry((from.to_string(), device)).or_default().insert(id, key);
        }
        json!({ "one_time_key_counts": { "signed_curve25519": 50 } })
    }

    /// Whose signature is on a one-time key.
    fn device_of(from: &UserId, key: &Value) -> String {
        let signatures = key["signatures"][from.as_str()].as_object().unwrap();
        signatures.keys().next().unwrap().trim_start_matches("ed25519:").to_owned()
    }

    fn query(&self, body: &Value) -> Value {
        let users = body["device_keys"].as_object().unwrap().keys();
        let found: Map<_, _> = users
            .filter(|user| self.reaches(user))
            .filter_map(|user| {
                Some((user.clone(), serde_json::to_value(self.devices.get(user)?).unwrap()))
            })
            .collect();
        json!({ "device_keys": found, "failures": self.failures() })
    }

    fn reaches(&self, user: &str) -> bool {
        self.unreachable.is_none_or(|part| !user.contains(part))
    }

    /// What the server says of homeservers that it does not reach.
    fn failures(&self) -> Value {
        match self.unreachable {
            Some(part) => json!({ part.trim_start_matches(':'): { "status": 503 } }),
            None => json!({}),
        }
    }

    fn claim(&mut self, body: &Value) -> Value {
        let mut found = json!({});
        for (user, devices) in body["one_time_keys"].as_object().unwrap() {
            if !self.reaches(user) {
                continue;
            }
            for device in devices.as_object().unwrap().keys() {
                let keys = self.one_time_keys.entry((user.clone(), device.clone())).or_default();
                if let Some((id, key)) = keys.pop_first() {
                    found[user][device] = json!({ id: key });
                }
            }
        }
        json!({ "one_time_keys": found, "failures": self.failures() })
    }

    fn send(&mut self, from: &UserId, kind: &str, body: &Value) -> Value {
        let mut count = 0;
        for (user, devices) in body["messages"].as_object().unwrap() {
            for (device, content) in devices.as_object().unwrap() {
                count += 1;
                let event = ToDeviceEvent {
                    kind: kind.to_owned(),
                    sender: from.to_owned(),
                    content: serde_json::value::to_raw_value(content).unwrap(),
                };
                self.inbox.entry((user.clone(), device.clone())).or_default().push(event);
            }
        }
        self.sent.push((kind.to_owned(), count));
        json!({})
    }

    /// The server forgets the one-time keys of a device.
    pub(crate) fn take_keys_of(&mut self, client: &Client) {
        self.one_time_keys.remove(&(client.user.to_string(), client.device.to_string()));
    }

    /// The device logs out.
    pub(crate) fn remove_device(&mut self, client: &Client) {
        let devices = self.devices.get_mut(client.user.as_str()).unwrap();
        devices.remove(client.device.as_str());
    }
}

/// A sync answer in which nothing is said of our own keys.
fn sync_answer<'a>(
    to_device: &'a [ToDeviceEvent],
    device_lists: &'a DeviceLists,
) -> CryptoSync<'a> {
    CryptoSync {
        to_device,
        device_lists,
        key_counts: KeyCounts::Absolute(50),
        unused_fallback_keys: None,
        is_initial: false,
    }
}

impl World {
    /// Devices whose keys are on the server, and a room.
    pub(crate) fn new(devices: &[(&str, &str)]) -> Self {
        let room = OwnedRoomId::try_from("!room:x").unwrap();
        let now = Timestamp(1_700_000_000_000);
        let mut world = Self { now, clients: vec![], server: Server::default(), room, events: 0 };
        for (user, device) in devices {
            world.add(user, device);
        }
        world
    }

    /// Adds a device of which all hear.
    pub(crate) fn add(&mut self, user: &str, device: &str) -> usize {
        let at = self.add_quietly(user, device);
        let user = self.clients[at].user.clone();
        self.announce(&user);
        at
    }

    /// Adds a device of which nobody hears.
    pub(crate) fn add_quietly(&mut self, user: &str, device: &str) -> usize {
        let user = OwnedUserId::try_from(user).unwrap();
        let device = OwnedDeviceId::from(device);
        let mut store = Memory::default();
        let mut step = Step::new(&store, self.now);
        let mut machine = Machine::open(&user, &device, &mut step).unwrap();
        // Nobody here has a cross-signing identity.
        machine.set_device_policy(None, DevicePolicy::All, &mut step).unwrap();
        let (changes, outgoing, notices) = step.finish();
        commit(&mut store, changes);
        self.clients.push(Client { user: user.clone(), device, machine, store, outgoing, notices });
        let at = self.clients.len() - 1;
        self.answer(at);
        at
    }

    /// Tells every client that the devices of `user` changed.
    pub(crate) fn announce(&mut self, user: &UserId) {
        let lists = DeviceLists { changed: vec![user.to_owned()], left: vec![] };
        for at in 0..self.clients.len() {
            self.sync(at, &[], &lists);
        }
        self.settle();
    }

    /// Gives a client a sync answer.
    pub(crate) fn sync(&mut self, at: usize, to_device: &[ToDeviceEvent], lists: &DeviceLists) {
        self.take(at, sync_answer(to_device, lists));
    }

    /// Gives a client a sync answer that continues no earlier one.
    pub(crate) fn initial_sync(&mut self, at: usize) {
        let lists = DeviceLists::default();
        self.take(at, CryptoSync { is_initial: true, ..sync_answer(&[], &lists) });
        self.settle();
    }

    fn take(&mut self, at: usize, sync: CryptoSync<'_>) {
        let now = self.now;
        self.clients[at].step(now, |machine, step| machine.receive_sync(sync, step)).unwrap();
    }

    /// Answers every request of a client, those that the answers cause included.
    pub(crate) fn answer(&mut self, at: usize) {
        let now = self.now;
        while !self.clients[at].outgoing.is_empty() {
            for request in std::mem::take(&mut self.clients[at].outgoing) {
                self.answer_one(at, &request, now);
            }
        }
    }

    /// Answers every request of a client but those whose path has `path` in it.
    pub(crate) fn answer_all_but(&mut self, at: usize, path: &str) {
        let now = self.now;
        let all = std::mem::take(&mut self.clients[at].outgoing);
        let (kept, answered) = all.into_iter().partition(|it| it.path.contains(path));
        self.clients[at].outgoing = kept;
        let answered: Vec<_> = answered;
        for request in answered {
            self.answer_one(at, &request, now);
        }
    }

    fn answer_one(&mut self, at: usize, request: &OutgoingRequest, now: Timestamp) {
        let client = &mut self.clients[at];
        let answer = self.server.answer(&client.user, request);
        let answer = answer.as_deref().map_err(Clone::clone);
        client
            .step(now, |machine, step| machine.receive_response(&request.id, answer, step))
            .unwrap();
    }

    /// Answers and delivers until nothing moves.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10 {
            for at in 0..self.clients.len() {
                self.answer(at);
                let client = &self.clients[at];
                let key = (client.user.to_string(), client.device.to_string());
                if let Some(events) = self.server.inbox.remove(&key) {
                    self.sync(at, &events, &DeviceLists::default());
                }
            }
        }
    }

    /// Every client sees a state event.
    pub(crate) fn state(&mut self, kind: &str, state_key: &str, content: &Value) {
        let event = json!({ "type": kind, "state_key": state_key, "sender": "@admin:x",
            "event_id": "$state", "content": content });
        let event = Event::parse(&event.to_string()).unwrap();
        let (room, now) = (self.room.clone(), self.now);
        for client in &mut self.clients {
            client.step(now, |machine, step| machine.receive_state(&room, &event, step)).unwrap();
        }
        self.settle();
    }

    /// The room becomes encrypted for all.
    pub(crate) fn encrypt_room(&mut self) {
        self.state("m.room.encryption", "", &json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
    }

    /// Everybody joined.
    pub(crate) fn everybody(&self) -> Recipients {
        let mut joined: Vec<_> = self.clients.iter().map(|client| client.user.clone()).collect();
        joined.sort();
        joined.dedup();
        Recipients { joined, ..Recipients::default() }
    }

    /// Prepares the room once: whether it is ready.
    pub(crate) fn prepare(&mut self, at: usize, to: &Recipients) -> Result<bool, ShareError> {
        let (room, now) = (self.room.clone(), self.now);
        self.clients[at].step(now, |machine, step| {
            Ok(matches!(machine.prepare_room(&room, to, step)?, Readiness::Ready(_)))
        })
    }

    /// Encrypts a message, answering what preparing it asks; `None` when it does not get ready.
    pub(crate) fn try_encrypt(
        &mut self,
        at: usize,
        to: &Recipients,
        plaintext: &Plaintext,
    ) -> Option<MegolmCiphertext> {
        let (room, now) = (self.room.clone(), self.now);
        for _ in 0..20 {
            let done = self.clients[at].step(now, |machine, step| {
                match machine.prepare_room(&room, to, step).unwrap() {
                    Readiness::Ready(ready) => Some(ready.encrypt(plaintext, step).unwrap()),
                    Readiness::Waiting => None,
                }
            });
            if done.is_some() {
                return done;
            }
            self.answer(at);
        }
        None
    }

    /// Sends a text: the event as the server gives it to all.
    pub(crate) fn say(&mut self, at: usize, to: &Recipients, text: &str) -> Event {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.send(at, to, "m.room.message", &content)
    }

    /// Sends an event.
    pub(crate) fn send(
        &mut self,
        at: usize,
        to: &Recipients,
        kind: &str,
        content: &Value,
    ) -> Event {
        let plaintext = Plaintext::new(kind, content.as_object().unwrap().clone());
        let ciphertext = self.try_encrypt(at, to, &plaintext).expect("the room gets ready");
        let event = self.event(at, ciphertext.json());
        self.settle();
        event
    }

    /// An event of a client with this content.
    pub(crate) fn event(&mut self, at: usize, content: &str) -> Event {
        self.events += 1;
        let content: Value = serde_json::from_str(content).unwrap();
        let event = json!({ "type": "m.room.encrypted", "event_id": format!("$event{}", self.events),
            "sender": self.clients[at].user, "origin_server_ts": self.now, "content": content });
        Event::parse(&event.to_string()).unwrap()
    }

    /// What a client reads.
    pub(crate) fn read(&mut self, at: usize, event: &Event) -> Decryption {
        let room = self.room.clone();
        self.read_in(at, &room, event)
    }

    /// What a client reads when the event comes in some room.
    pub(crate) fn read_in(&mut self, at: usize, room: &RoomId, event: &Event) -> Decryption {
        let now = self.now;
        self.clients[at]
            .step(now, |machine, step| machine.decrypt_event(room, event, step))
            .unwrap()
    }
}
