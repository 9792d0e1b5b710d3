//! A homeserver and accounts on it, made once: for targets whose input comes only after other
//! things went well. The homeserver is the model of `grotto serve`.

use std::collections::BTreeMap;

use grotto::{
    e2ee::{Bootstrap, CryptoSync, Machine, OutgoingRequest, RecoverySecret, RequestFailure, Step},
    matrix::{MatrixError, OwnedDeviceId, OwnedUserId, SyncDelta},
    secret::Secret,
    server::{
        Answer, Ask, Broken, Done, Lookup, Model, Order, Range, Rate, Record, Registration,
        Settings, Work,
    },
};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    super::world::{Client, Memory, commit},
    NOW,
};

/// The user of every account here.
pub(super) const USER: &str = "@ann:house";

/// What the homeserver keeps.
#[derive(Clone, Default)]
struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Lookup for Records {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &Range) -> Result<Vec<Record>, Broken> {
        if range.end <= range.start {
            return Ok(Vec::new());
        }
        let rows = self.0.range(range.start.clone()..range.end.clone());
        let copy = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(match range.order {
            Order::Ascending => rows.take(range.limit).map(copy).collect(),
            Order::Descending => rows.rev().take(range.limit).map(copy).collect(),
        })
    }
}

/// The homeserver. What is not in its records is made anew for each input.
pub(super) struct House {
    model: Model,
    records: Records,
    random: u64,
}

impl House {
    fn over(records: Records, random: u64) -> Self {
        let mut settings = Settings::new("house");
        settings.registration = Registration::Open;
        let free = Rate { burst: u32::MAX, pause: std::time::Duration::from_millis(1) };
        settings.rates.login = free;
        settings.rates.register = free;
        Self { model: Model::new(settings), records, random }
    }

    /// Any call, answered now.
    pub(super) fn call(
        &mut self,
        (method, path): (&str, &str),
        token: &str,
        body: &[u8],
    ) -> Option<(u16, Vec<u8>)> {
        let token = Some(Secret::new(token.to_owned())).filter(|it| !it.expose().is_empty());
        let (mut done, mut is_late) = (None, false);
        for _ in 0..4 {
            let request = http::Request::builder().method(method).uri(path).body(body).ok()?;
            let ask = Ask { request, token: token.as_ref(), done: done.as_ref(), is_late };
            let random = &mut self.random;
            let mut fill = |bytes: &mut [u8]| {
                for byte in bytes {
                    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = random.to_be_bytes()[0];
                }
            };
            let outcome = self.model.handle(&ask, &self.records, NOW, &mut fill);
            match outcome.answer {
                Answer::Now(response) => {
                    for (key, value) in outcome.changes {
                        match value {
                            Some(value) => self.records.0.insert(key, value),
                            None => self.records.0.remove(&key),
                        };
                    }
                    return Some((response.status().as_u16(), response.into_body()));
                }
                Answer::Wait(..) => is_late = true,
                Answer::Work(Work::Hash { password }) => {
                    done = Some(Done::Hash(password.expose().clone()));
                }
                Answer::Work(Work::Verify { password, hash }) => {
                    done = Some(Done::Verified(*password.expose() == hash));
                }
            }
        }
        None
    }

    /// A call that must be answered with JSON.
    pub(super) fn ask(&mut self, call: (&str, &str), token: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.call(call, token, body.as_bytes()).expect("an answer");
        assert_eq!(status, 200, "{call:?}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// What a device of ours asks.
    fn serve(&mut self, token: &str, request: &OutgoingRequest) -> Result<String, RequestFailure> {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(&request.query).finish();
        let path = format!("{}?{query}", request.path);
        let body = request.body.as_bytes();
        let Some((status, answer)) = self.call((&request.method, &path), token, body) else {
            return Err(RequestFailure::Refused(MatrixError::parse(400, b"{}")));
        };
        match status {
            200 => Ok(String::from_utf8(answer).unwrap()),
            _ => Err(RequestFailure::Refused(MatrixError::parse(status, &answer))),
        }
    }
}

/// A device at the homeserver.
pub(super) struct Device {
    pub(super) house: House,
    pub(super) client: Client,
    pub(super) token: String,
    since: Option<String>,
}

/// What is kept of it from one input to the next.
#[derive(Clone)]
pub(super) struct Kept {
    records: Records,
    random: u64,
    store: Memory,
    device: OwnedDeviceId,
    token: String,
    since: Option<String>,
}

impl Device {
    pub(super) fn keep(&self) -> Kept {
        Kept {
            records: self.house.records.clone(),
            random: self.house.random,
            store: self.client.store.clone(),
            device: self.client.device.clone(),
            token: self.token.clone(),
            since: self.since.clone(),
        }
    }

    pub(super) fn over(kept: Kept) -> Self {
        let Kept { records, random, store, device, token, since } = kept;
        let user = OwnedUserId::try_from(USER).unwrap();
        let mut step = Step::new(&store, NOW);
        let machine = Machine::open(&user, &device, &mut step).unwrap();
        let outgoing = machine.unanswered(&step).unwrap();
        let (changes, requests, notices) = step.finish();
        let mut client = Client { user, device, machine, store, outgoing, notices };
        commit(&mut client.store, changes);
        client.outgoing.extend(requests);
        Self { house: House::over(records, random), client, token, since }
    }

    pub(super) fn step<T>(&mut self, work: impl FnOnce(&mut Machine, &mut Step<'_>) -> T) -> T {
        self.client.step(NOW, work)
    }

    /// Takes the next request of ours that `is_wanted`, once all others were answered.
    pub(super) fn wait_for(
        &mut self,
        is_wanted: impl Fn(&OutgoingRequest) -> bool,
    ) -> Option<OutgoingRequest> {
        for _ in 0..100 {
            while let Some(place) = self.client.outgoing.iter().position(|it| !is_wanted(it)) {
                let request = self.client.outgoing.remove(place);
                self.pass_on(&request);
            }
            if !self.client.outgoing.is_empty() {
                return Some(self.client.outgoing.remove(0));
            }
            self.sync();
            self.step(Machine::tick).unwrap();
            if self.client.outgoing.is_empty() {
                return None;
            }
        }
        None
    }

    /// Has the homeserver answer.
    pub(super) fn pass_on(&mut self, request: &OutgoingRequest) {
        let answer = self.house.serve(&self.token, request);
        self.answer(request, answer.as_deref().map_err(Clone::clone));
    }

    pub(super) fn answer(
        &mut self,
        request: &OutgoingRequest,
        answer: Result<&str, RequestFailure>,
    ) {
        self.step(|it, step| it.receive_response(&request.id, answer, step)).unwrap();
    }

    /// Answers everything until nothing is left.
    pub(super) fn settle(&mut self) {
        assert!(self.wait_for(|_| false).is_none());
    }

    fn sync(&mut self) {
        let since = self.since.as_ref().map(|it| format!("&since={it}")).unwrap_or_default();
        let path = format!("/_matrix/client/v3/sync?timeout=0{since}");
        let (token, is_initial) = (self.token.clone(), self.since.is_none());
        let answer = self.house.ask(("GET", &path), &token, &Value::Null);
        self.since = answer["next_batch"].as_str().map(str::to_owned);
        let delta = SyncDelta::parse_v2(&answer.to_string()).unwrap();
        self.step(|it, step| it.receive_sync(CryptoSync::of(&delta, is_initial), step)).unwrap();
    }
}

fn entered(house: House, store: Memory, login: &Value) -> Device {
    let text = |name: &str| login[name].as_str().unwrap().to_owned();
    let House { records, random, .. } = house;
    let device = OwnedDeviceId::from(text("device_id").as_str());
    Device::over(Kept { records, random, store, device, token: text("access_token"), since: None })
}

/// A further login.
pub(super) fn log_in(house: &mut House, device: &str) -> Value {
    let body = json!({ "type": "m.login.password", "password": "secret", "device_id": device,
        "identifier": { "type": "m.id.user", "user": "ann" } });
    house.ask(("POST", "/_matrix/client/v3/login"), "", &body)
}

/// The first device of an account that has an identity, a backup, secret storage and a device that
/// waits for the next login; and the recovery key.
fn first() -> (Device, Secret<String>) {
    let mut house = House::over(Records::default(), 1);
    let body = json!({ "username": "ann", "password": "secret", "device_id": "FIRST",
        "auth": { "type": "m.login.dummy" } });
    let login = house.ask(("POST", "/_matrix/client/v3/register"), "", &body);
    let mut device = entered(house, Memory::default(), &login);
    device.settle();
    assert_eq!(device.step(Machine::bootstrap_cross_signing).unwrap(), Bootstrap::Begun);
    device.settle();
    device.step(Machine::create_backup).unwrap();
    device.settle();
    let key = device.step(|it, step| it.create_secret_storage(None, step)).unwrap();
    device.settle();
    (device, key)
}

/// A second login after [`first`] went, whose keys are at the homeserver; nobody typed the key.
fn second() -> (Device, Secret<String>) {
    let (first, key) = first();
    let Device { mut house, .. } = first;
    let login = log_in(&mut house, "SECOND");
    let mut device = entered(house, Memory::default(), &login);
    device.settle();
    (device, key)
}

thread_local! {
    static FIRST: Kept = first().0.keep();
    static SECOND: (Kept, Secret<String>) = { let (device, key) = second(); (device.keep(), key) };
}

/// A copy of the first device.
pub(super) fn verified() -> Device {
    Device::over(FIRST.with(Clone::clone))
}

/// A copy of the second device, where the recovery key was just typed.
pub(super) fn recovering() -> Device {
    let (kept, key) = SECOND.with(Clone::clone);
    let mut device = Device::over(kept);
    let typed = RecoverySecret::typed(key);
    device.step(|it, step| it.open_secret_storage(typed, step)).unwrap();
    device
}
