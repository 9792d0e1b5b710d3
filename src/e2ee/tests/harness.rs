//! Machines over records in memory, and a key server that serves them as a homeserver does:
//! uploads, queries, claims (in order of upload, then the fallback key), to-device queues, device
//! list announcements. Nothing here is an imitation of the machine: the server only keeps and
//! hands out what it was given, and tests change what it keeps to play a hostile one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::{Map, Value, json, value::to_raw_value};
use zeroize::Zeroizing;

use crate::{
    e2ee::{
        Alarm, Changes, CryptoSync, Lookup, LookupError, Machine, Notice, OutgoingRequest,
        RecordKey, RequestFailure, RequestId, RequestKind, Step, Table, devices::find_device,
    },
    matrix::{
        DeviceLists, Event, KeyCounts, MatrixError, OwnedDeviceId, OwnedUserId, RoomId,
        ToDeviceEvent, UserId,
    },
    time::Timestamp,
};

use super::account_server::Backup;

/// To-device events in one sync answer.
const PAGE: usize = 100;

/// The committed records of one client.
#[derive(Clone, Default)]
pub(in crate::e2ee) struct Records(
    pub(in crate::e2ee) BTreeMap<(Table, RecordKey), Zeroizing<Vec<u8>>>,
);

impl Records {
    pub(in crate::e2ee) fn commit(&mut self, changes: Changes) {
        for write in changes.writes {
            match write.value {
                Some(value) => drop(self.0.insert((write.table, write.key), value)),
                None => drop(self.0.remove(&(write.table, write.key))),
            }
        }
    }
}

impl Lookup for Records {
    fn get(
        &self,
        table: Table,
        key: &RecordKey,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, LookupError> {
        Ok(self.0.get(&(table, key.clone())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        first: Option<&str>,
    ) -> Result<Vec<(RecordKey, Zeroizing<Vec<u8>>)>, LookupError> {
        let all = self.0.iter().filter(|((other, key), _)| {
            *other == table && first.is_none_or(|first| first == key.0)
        });
        Ok(all.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

/// One logged-in device.
pub(in crate::e2ee) struct Client {
    pub(in crate::e2ee) user: OwnedUserId,
    pub(in crate::e2ee) device: OwnedDeviceId,
    pub(in crate::e2ee) machine: Machine,
    pub(in crate::e2ee) records: Records,
    /// Committed and not sent yet.
    pub(in crate::e2ee) outbox: VecDeque<OutgoingRequest>,
    /// Everything told since last looked at.
    pub(in crate::e2ee) notices: Vec<Notice>,
    /// How much of the server's list of announcements it was told; `None` before its first sync.
    announced: Option<usize>,
}

impl Client {
    pub(in crate::e2ee) fn new(user: &str, device: &str, now: Timestamp) -> Self {
        Self::over(Records::default(), user, device, now)
    }

    /// Opens a machine over records, as after a start of the program.
    pub(in crate::e2ee) fn over(
        mut records: Records,
        user: &str,
        device: &str,
        now: Timestamp,
    ) -> Self {
        let user = OwnedUserId::try_from(user).unwrap();
        let device = OwnedDeviceId::from(device);
        let mut step = Step::new(&records, now);
        let machine = Machine::open(&user, &device, &mut step).unwrap();
        let (changes, _, notices) = step.finish();
        records.commit(changes);
        let step = Step::new(&records, now);
        let outbox = machine.unanswered(&step).unwrap().into();
        drop(step);
        Self { user, device, machine, records, outbox, notices, announced: None }
    }

    /// Runs one step and commits it.
    pub(in crate::e2ee) fn step<T>(
        &mut self,
        now: Timestamp,
        work: impl FnOnce(&mut Machine, &mut Step<'_>) -> T,
    ) -> T {
        let mut step = Step::new(&self.records, now);
        let result = work(&mut self.machine, &mut step);
        let (changes, requests, notices) = step.finish();
        self.records.commit(changes);
        self.outbox.extend(requests);
        self.notices.extend(notices);
        result
    }

    /// Kills the program and starts it again: whatever was not committed is gone.
    pub(in crate::e2ee) fn restart(&mut self, now: Timestamp) {
        let announced = self.announced;
        let records = std::mem::take(&mut self.records);
        *self = Self::over(records, self.user.as_str(), self.device.as_str(), now);
        self.announced = announced;
    }

    pub(in crate::e2ee) fn name(&self) -> (OwnedUserId, OwnedDeviceId) {
        (self.user.clone(), self.device.clone())
    }

    /// Takes the notices told so far.
    pub(in crate::e2ee) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The same; gives the alarms among them.
    pub(in crate::e2ee) fn take_alarms(&mut self) -> Vec<Alarm> {
        let told = self.take_notices().into_iter();
        told.filter_map(|it| if let Notice::Alarm(alarm) = it { Some(alarm) } else { None })
            .collect()
    }
}

type DeviceName = (OwnedUserId, OwnedDeviceId);

/// What a server keeps for one device.
#[derive(Clone, Debug, Default)]
pub(in crate::e2ee) struct Kept {
    /// In order of upload.
    pub(in crate::e2ee) one_time_keys: VecDeque<(String, Value)>,
    /// Ids ever uploaded: one may not come again with another key.
    pub(in crate::e2ee) seen: BTreeMap<String, Value>,
    pub(in crate::e2ee) fallback: Option<(String, Value)>,
    pub(in crate::e2ee) fallback_used: bool,
    pub(in crate::e2ee) inbox: VecDeque<(String, OwnedUserId, Value)>,
}

/// A homeserver, as far as keys go; it speaks for the servers of all users.
#[derive(Clone, Debug, Default)]
pub(in crate::e2ee) struct Server {
    pub(in crate::e2ee) device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Value>>,
    pub(in crate::e2ee) kept: BTreeMap<DeviceName, Kept>,
    /// `master_keys`, `self_signing_keys`, `user_signing_keys` of query answers.
    pub(in crate::e2ee) identities: BTreeMap<String, BTreeMap<OwnedUserId, Value>>,
    /// Users whose devices changed, in order.
    pub(in crate::e2ee) announcements: Vec<OwnedUserId>,
    /// Names of other servers that do not answer now.
    pub(in crate::e2ee) unreachable: BTreeSet<String>,
    /// Global account data, by user and type.
    pub(in crate::e2ee) account_data: BTreeMap<(OwnedUserId, String), Value>,
    /// Key backups of each user; the last one that was not deleted is the current one.
    pub(in crate::e2ee) backups: BTreeMap<OwnedUserId, Vec<Backup>>,
    /// What waits for the next login of each user; `None` where the server does not offer it.
    pub(in crate::e2ee) dehydrated: Option<BTreeMap<OwnedUserId, Value>>,
    /// Whether replacing signing keys needs the user's password, which is `secret`.
    pub(in crate::e2ee) wants_password: bool,
    /// Fails every request with this.
    pub(in crate::e2ee) outage: Option<RequestFailure>,
    /// All requests served, with who sent them.
    pub(in crate::e2ee) served: Vec<(DeviceName, OutgoingRequest)>,
    transactions: BTreeSet<(DeviceName, String)>,
}

impl Server {
    /// Serves one request.
    pub(in crate::e2ee) fn serve(
        &mut self,
        from: &DeviceName,
        request: &OutgoingRequest,
    ) -> Result<String, RequestFailure> {
        if let Some(failure) = &self.outage {
            return Err(failure.clone());
        }
        self.served.push((from.clone(), request.clone()));
        let body = match request.body.as_str() {
            "" => Value::Null,
            body => serde_json::from_str(body).unwrap(),
        };
        let answer = match request.kind {
            RequestKind::KeysUpload => self.upload(from, &body)?,
            RequestKind::KeysQuery => self.query(from, &body),
            RequestKind::KeysClaim => self.claim(&body),
            RequestKind::ToDevice | RequestKind::Verification => self.deliver(from, request, &body),
            RequestKind::SigningKeysUpload => self.take_signing_keys(from, &body)?,
            RequestKind::SignaturesUpload => self.take_signatures(&body),
            RequestKind::AccountData => self.account_data(from, request, &body)?,
            RequestKind::BackupWrite | RequestKind::BackupRead => {
                self.backup(from, request, &body)?
            }
            RequestKind::DehydratedDevice => self.dehydration(from, request, &body)?,
        };
        Ok(answer.to_string())
    }

    pub(super) fn upload(
        &mut self,
        from: &DeviceName,
        body: &Value,
    ) -> Result<Value, RequestFailure> {
        let kept = self.kept.entry(from.clone()).or_default();
        for (id, key) in members(&body["one_time_keys"]) {
            match kept.seen.get(id) {
                Some(old) if old != key => {
                    let error = format!("One time key {id} already exists. Old key: {old}");
                    return Err(RequestFailure::Refused(matrix_error(400, "M_UNKNOWN", &error)));
                }
                Some(_) => {}
                None => {
                    kept.seen.insert(id.clone(), key.clone());
                    kept.one_time_keys.push_back((id.clone(), key.clone()));
                }
            }
        }
        for (id, key) in members(&body["fallback_keys"]) {
            if kept.fallback.as_ref().is_none_or(|old| old.0 != *id) {
                kept.fallback = Some((id.clone(), key.clone()));
                kept.fallback_used = false;
            }
        }
        let count = kept.one_time_keys.len();
        if let Some(keys) = body.get("device_keys") {
            let devices = self.device_keys.entry(from.0.clone()).or_default();
            if devices.insert(from.1.clone(), keys.clone()).as_ref() != Some(keys) {
                self.announcements.push(from.0.clone());
            }
        }
        Ok(json!({ "one_time_key_counts": { "signed_curve25519": count } }))
    }

    fn query(&self, from: &DeviceName, body: &Value) -> Value {
        let mut answer = json!({ "device_keys": {}, "failures": {} });
        for user in members(&body["device_keys"]).map(|(user, _)| user) {
            let id = <&UserId>::try_from(user.as_str()).unwrap();
            let server = id.server_name().as_str();
            if self.unreachable.contains(server) {
                answer["failures"][server] = json!({});
                continue;
            }
            if let Some(devices) = self.device_keys.get(id) {
                answer["device_keys"][user] = json!(devices);
            }
            for (part, keys) in &self.identities {
                if let Some(key) = keys.get(id)
                    && (part != "user_signing_keys" || *id == *from.0)
                {
                    answer[part][user] = key.clone();
                }
            }
        }
        answer
    }

    fn claim(&mut self, body: &Value) -> Value {
        let mut answer = json!({ "one_time_keys": {}, "failures": {} });
        for (user, devices) in members(&body["one_time_keys"]) {
            let id = OwnedUserId::try_from(user.as_str()).unwrap();
            let server = id.server_name().to_string();
            if self.unreachable.contains(&server) {
                answer["failures"][server] = json!({});
                continue;
            }
            for device in members(devices).map(|(device, _)| device) {
                let name = (id.clone(), OwnedDeviceId::from(device.as_str()));
                let Some(kept) = self.kept.get_mut(&name) else { continue };
                let key = kept.one_time_keys.pop_front().or_else(|| {
                    kept.fallback_used |= kept.fallback.is_some();
                    kept.fallback.clone()
                });
                if let Some((id, key)) = key {
                    answer["one_time_keys"][user][device] = json!({ id: key });
                }
            }
        }
        answer
    }

    fn deliver(&mut self, from: &DeviceName, request: &OutgoingRequest, body: &Value) -> Value {
        let mut path = request.path.rsplit('/');
        let (transaction, kind) = (path.next().unwrap(), path.next().unwrap());
        if self.transactions.insert((from.clone(), transaction.to_owned())) {
            for (user, devices) in members(&body["messages"]) {
                for (device, content) in members(devices) {
                    let user = OwnedUserId::try_from(user.as_str()).unwrap();
                    let name = (user, OwnedDeviceId::from(device.as_str()));
                    self.put_in_inbox(&name, kind, &from.0, content.clone());
                }
            }
        }
        json!({})
    }

    /// Lays a to-device event into an inbox, as sent by `sender`.
    pub(in crate::e2ee) fn put_in_inbox(
        &mut self,
        to: &DeviceName,
        kind: &str,
        sender: &UserId,
        content: Value,
    ) {
        let inbox = &mut self.kept.entry(to.clone()).or_default().inbox;
        inbox.push_back((kind.to_owned(), sender.to_owned(), content));
    }

    /// One sync answer for `client`: what is in its inbox, its counts, whose devices changed.
    /// The client takes it in one step, which is its acknowledgement.
    pub(in crate::e2ee) fn sync(&mut self, client: &mut Client, now: Timestamp) {
        let kept = self.kept.entry(client.name()).or_default();
        let page = kept.inbox.len().min(PAGE);
        let to_device: Vec<ToDeviceEvent> = kept.inbox.drain(..page).map(to_device).collect();
        let is_used = kept.fallback.is_none() || kept.fallback_used;
        let unused = if is_used { vec![] } else { vec!["signed_curve25519".to_owned()] };
        let changed = match client.announced {
            Some(from) => self.announcements[from..].to_vec(),
            None => Vec::new(),
        };
        let lists = DeviceLists { changed, left: Vec::new() };
        let sync = CryptoSync {
            to_device: &to_device,
            device_lists: &lists,
            key_counts: KeyCounts::Absolute(kept.one_time_keys.len() as u64),
            unused_fallback_keys: Some(&unused),
            is_initial: client.announced.is_none(),
        };
        client.announced = Some(self.announcements.len());
        client.step(now, |machine, step| machine.receive_sync(sync, step)).unwrap();
    }
}

fn to_device((kind, sender, content): (String, OwnedUserId, Value)) -> ToDeviceEvent {
    ToDeviceEvent { kind, sender, content: to_raw_value(&content).unwrap() }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

pub(in crate::e2ee) fn matrix_error(status: u16, errcode: &str, error: &str) -> MatrixError {
    MatrixError {
        status,
        errcode: errcode.to_owned(),
        error: error.to_owned(),
        retry_after_ms: None,
        auth: None,
    }
}

/// Clients, their server, and the time.
pub(in crate::e2ee) struct World {
    pub(in crate::e2ee) server: Server,
    pub(in crate::e2ee) clients: Vec<Client>,
    pub(in crate::e2ee) now: Timestamp,
}

impl World {
    /// Logs in one device for each name; `@a:x` gets the device `A`, and so on.
    pub(in crate::e2ee) fn new(users: &[&str]) -> Self {
        let now = Timestamp(1_800_000_000_000);
        let clients = users
            .iter()
            .enumerate()
            .map(|(i, user)| Client::new(user, &format!("DEVICE{i}"), now))
            .collect();
        let mut world = Self { server: Server::default(), clients, now };
        world.settle();
        world
    }

    /// One client that has sent nothing yet.
    pub(in crate::e2ee) fn with(client: Client, now: Timestamp) -> Self {
        Self { server: Server::default(), clients: vec![client], now }
    }

    /// Logs in one more device and gives its place.
    pub(in crate::e2ee) fn log_in(&mut self, user: &str, device: &str) -> usize {
        self.clients.push(Client::new(user, device, self.now));
        self.clients.len() - 1
    }

    /// Lets time pass, and tells those who wanted to be told.
    pub(in crate::e2ee) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        for client in &mut self.clients {
            if client.machine.deadline().is_some_and(|at| at <= self.now) {
                client.step(self.now, Machine::tick).unwrap();
            }
        }
    }

    /// Runs one step of a client and commits it.
    pub(in crate::e2ee) fn at<T>(
        &mut self,
        client: usize,
        work: impl FnOnce(&mut Machine, &mut Step<'_>) -> T,
    ) -> T {
        self.clients[client].step(self.now, work)
    }

    /// Time passes until everybody has done what was due within half a minute.
    pub(in crate::e2ee) fn rest(&mut self) {
        for _ in 0..30 {
            self.settle();
            self.pass(Duration::from_secs(1));
        }
        self.settle();
    }

    /// Sends one request of a client and hands it the answer; `false` when it has none.
    pub(in crate::e2ee) fn send_one(&mut self, client: usize) -> bool {
        let Some(request) = self.clients[client].outbox.pop_front() else { return false };
        let answer = self.server.serve(&self.clients[client].name(), &request);
        self.answer(client, &request.id, answer.as_deref());
        true
    }

    /// Hands a client the answer to a request.
    pub(in crate::e2ee) fn answer(
        &mut self,
        client: usize,
        id: &RequestId,
        answer: Result<&str, &RequestFailure>,
    ) {
        let answer = answer.map_err(Clone::clone);
        self.at(client, |machine, step| machine.receive_response(id, answer, step)).unwrap();
    }

    /// Has a client see that a room is encrypted.
    pub(in crate::e2ee) fn has_encrypted(&mut self, client: usize, room: &RoomId) {
        let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        let content = content.as_object().unwrap().clone();
        let event = Event::state("m.room.encryption", "", content);
        self.at(client, |machine, step| machine.receive_state(room, &event, step)).unwrap();
    }

    /// Sends requests and syncs until nobody has anything to send or to fetch.
    pub(in crate::e2ee) fn settle(&mut self) {
        for _ in 0..1_000 {
            for client in 0..self.clients.len() {
                while self.send_one(client) {}
                self.server.sync(&mut self.clients[client], self.now);
            }
            let is_quiet = self.clients.iter().all(|client| {
                client.outbox.is_empty()
                    && self.server.kept.get(&client.name()).is_none_or(|kept| kept.inbox.is_empty())
            });
            if is_quiet {
                return;
            }
        }
        panic!("the clients never come to rest");
    }

    /// Has `client` track the user of `other` and learn that user's devices.
    pub(in crate::e2ee) fn acquaint(&mut self, client: usize, other: usize) {
        let user = self.clients[other].user.clone();
        self.clients[client].step(self.now, |machine, step| {
            machine.core.refresh([&user], step).unwrap();
        });
        self.settle();
    }

    /// Sends an event over Olm from one client to another, getting a session where there is none;
    /// it lies in the inbox afterwards.
    pub(in crate::e2ee) fn send_olm(
        &mut self,
        from: usize,
        to: usize,
        kind: &str,
        content: &Value,
    ) {
        let to = self.clients[to].name();
        self.send_olm_to(from, to, kind, content);
    }

    /// The same to a device that may be nobody's client.
    pub(in crate::e2ee) fn send_olm_to(
        &mut self,
        from: usize,
        (user, device): DeviceName,
        kind: &str,
        content: &Value,
    ) {
        let now = self.now;
        let device = self.clients[from].step(now, |machine, step| {
            let device = find_device(&user, &device, step).unwrap().unwrap();
            machine.core.ensure_sessions(std::slice::from_ref(&device), step).unwrap();
            device
        });
        while self.send_one(from) {}
        let content = to_raw_value(content).unwrap();
        let sealed = self.clients[from].step(now, |machine, step| {
            machine.core.encrypt_to_device(&device, kind, &content, step).unwrap().unwrap()
        });
        let sealed = serde_json::from_str(sealed.get()).unwrap();
        let sender = self.clients[from].user.clone();
        self.server.put_in_inbox(&(user, device.device_id), "m.room.encrypted", &sender, sealed);
    }
}
