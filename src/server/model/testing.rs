//! A whole server for tests: no disk, no network, and time stands still until a test moves it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    accounts::tokens::token_hash,
    machine::{Answer, Ask, Model, Outcome},
    records::{
        DEVICE_TOKENS, DEVICES, DeviceRecord, TOKENS, TokenKind, TokenRecord, USERS, UserRecord,
    },
    refusal::{Done, Work},
    settings::{Rate, Registration, Settings},
    step::{Parts, Step},
    table::{Broken, Changes, Lookup, Order, Range, Record},
    volatile::Volatile,
};
use crate::{
    matrix::{OwnedUserId, UserId},
    secret::Secret,
    time::Timestamp,
};

/// Somebody with an account and a device.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: OwnedUserId,
    pub(super) device: String,
    pub(super) token: String,
}

/// A server at `test`, and everything that happened to it.
pub(super) struct World {
    pub(super) model: Model,
    pub(super) records: Records,
    pub(super) now: Timestamp,
    /// Everybody who was woken by the last call.
    pub(super) woken: Vec<OwnedUserId>,
    counter: u64,
}

/// All records, as the model sees them.
#[derive(Debug, Default)]
pub(super) struct Records(pub(super) BTreeMap<Vec<u8>, Vec<u8>>);

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

impl Records {
    pub(super) fn write(&mut self, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

/// Status and body.
pub(super) type Reply = (u16, Value);

impl World {
    /// An empty server, open to everybody, without limits of rate.
    pub(super) fn new() -> Self {
        let mut settings = Settings::new("test");
        settings.registration = Registration::Open;
        let free = Rate { burst: 1_000_000, pause: Duration::from_millis(1) };
        settings.rates.login = free;
        settings.rates.register = free;
        settings.rates.send = free;
        Self::with(settings)
    }

    /// An empty server that is set up like this.
    pub(super) fn with(settings: Settings) -> Self {
        Self {
            model: Model::new(settings),
            records: Records::default(),
            now: Timestamp(1_700_000_000_000),
            woken: Vec::new(),
            counter: 0,
        }
    }

    /// Somebody new, with one device, by records: no call is made.
    pub(super) fn user(&mut self, name: &str) -> User {
        let id = UserId::parse(format!("@{name}:test")).unwrap();
        let now = self.now;
        self.edit(|step| {
            let user = UserRecord {
                password_hash: None,
                created: now,
                is_admin: false,
                is_deactivated: false,
            };
            step.put(USERS, (&id,), &user)
        });
        self.device(&id, &format!("{}1", name.to_uppercase()))
    }

    /// Somebody new, who registers with the password `secret`.
    pub(super) fn register(&mut self, name: &str) -> User {
        let body =
            json!({"username": name, "password": "secret", "auth": {"type": "m.login.dummy"}});
        let (status, reply) = self.call(("POST", "/register"), None, Some(body));
        assert_eq!(status, 200, "{reply}");
        user_of(&reply)
    }

    /// A further device of somebody, by records.
    pub(super) fn device(&mut self, user: &UserId, device: &str) -> User {
        let token = format!("token-{}-{device}", user.localpart());
        let record = DeviceRecord { display_name: None, last_seen: self.now };
        let holder = TokenRecord {
            user: user.to_owned(),
            device: device.into(),
            expires: None,
            seen: self.now,
            replaces: None,
        };
        self.edit(|step| {
            step.put(DEVICES, (user, device), &record)?;
            let hash = token_hash(&token);
            step.put(DEVICE_TOKENS, (user, device, hash.as_str()), &TokenKind::Access)?;
            step.put(TOKENS, (token_hash(&token).as_str(),), &holder)
        });
        User { id: user.to_owned(), device: device.to_owned(), token }
    }

    /// Reads and writes records directly.
    pub(super) fn edit<T>(&mut self, edit: impl FnOnce(&mut Step<'_>) -> Result<T, Broken>) -> T {
        let settings = self.model.settings().clone();
        let mut volatile = Volatile::default();
        let mut random = filler(&mut self.counter);
        let mut step = Step::new(Parts {
            lookup: &self.records,
            volatile: &mut volatile,
            settings: &settings,
            now: self.now,
            random: &mut random,
        });
        let value = edit(&mut step).unwrap();
        let (changes, _) = step.finish();
        self.records.write(changes);
        value
    }

    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// `GET` with a token.
    pub(super) fn get(&mut self, path: &str, user: &User) -> Reply {
        self.call(("GET", path), Some(user), None)
    }

    /// `PUT` with a token.
    pub(super) fn put(&mut self, path: &str, user: &User, body: Value) -> Reply {
        self.call(("PUT", path), Some(user), Some(body))
    }

    /// `POST` with a token.
    pub(super) fn post(&mut self, path: &str, user: &User, body: Value) -> Reply {
        self.call(("POST", path), Some(user), Some(body))
    }

    /// `DELETE` with a token.
    pub(super) fn delete(&mut self, path: &str, user: &User) -> Reply {
        self.call(("DELETE", path), Some(user), None)
    }

    /// Any call, answered now; one that would wait gets the answer it gets when it is late.
    /// Paths may leave out `/_matrix/client/v3`.
    pub(super) fn call(
        &mut self,
        (method, path): (&str, &str),
        user: Option<&User>,
        body: Option<Value>,
    ) -> Reply {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let mut done = None;
        let mut is_late = false;
        loop {
            let outcome = self.ask((method, path), user, &body, (done.as_ref(), is_late));
            match outcome.answer {
                Answer::Now(response) => {
                    self.records.write(outcome.changes);
                    self.woken = outcome.woken.into_iter().collect();
                    let body = serde_json::from_slice(response.body()).unwrap_or(json!(null));
                    return (response.status().as_u16(), body);
                }
                Answer::Wait(..) => is_late = true,
                Answer::Work(work) => done = Some(work_of(work)),
            }
        }
    }

    /// One question to the model; nothing of its outcome is written.
    pub(super) fn ask(
        &mut self,
        (method, path): (&str, &str),
        user: Option<&User>,
        body: &[u8],
        (done, is_late): (Option<&Done>, bool),
    ) -> Outcome {
        let path = if path.starts_with("/_matrix") || path.starts_with("/.well-known") {
            path.to_owned()
        } else {
            format!("/_matrix/client/v3{path}")
        };
        let request = http::Request::builder().method(method).uri(path).body(body).unwrap();
        let token = user.map(|user| Secret::new(user.token.clone()));
        let ask = Ask { request, token: token.as_ref(), done, is_late };
        let mut random = filler(&mut self.counter);
        self.model.handle(&ask, &self.records, self.now, &mut random)
    }
}

// Rooms.
impl World {
    /// A room that `user` makes with this body; gives its id.
    pub(super) fn room(&mut self, user: &User, body: Value) -> String {
        let (status, reply) = self.post("/createRoom", user, body);
        assert_eq!(status, 200, "{reply}");
        reply["room_id"].as_str().unwrap().to_owned()
    }

    /// A public room with these members, the first of whom makes it.
    pub(super) fn room_of(&mut self, members: &[&User]) -> String {
        let room = self.room(members[0], json!({"preset": "public_chat"}));
        for member in &members[1..] {
            self.join(member, &room);
        }
        room
    }

    /// Joins.
    pub(super) fn join(&mut self, user: &User, room: &str) {
        let reply = self.post(&format!("/rooms/{room}/join"), user, json!({}));
        assert_eq!(reply.0, 200, "{reply:?}");
    }

    /// Says something; gives the event's id.
    pub(super) fn say(&mut self, user: &User, room: &str, text: &str) -> String {
        self.send(user, room, "m.room.message", json!({"msgtype": "m.text", "body": text}))
    }

    /// Sends an event; gives its id.
    pub(super) fn send(&mut self, user: &User, room: &str, kind: &str, content: Value) -> String {
        self.counter += 1;
        let path = format!("/rooms/{room}/send/{kind}/t{}", self.counter);
        let (status, reply) = self.put(&path, user, content);
        assert_eq!(status, 200, "{reply}");
        reply["event_id"].as_str().unwrap().to_owned()
    }
}

/// Who is logged in by this reply.
pub(super) fn user_of(reply: &Value) -> User {
    User {
        id: UserId::parse(reply["user_id"].as_str().unwrap()).unwrap(),
        device: reply["device_id"].as_str().unwrap().to_owned(),
        token: reply["access_token"].as_str().unwrap().to_owned(),
    }
}

/// Random bytes that are the same in every run of a test.
fn filler(counter: &mut u64) -> impl FnMut(&mut [u8]) {
    move |bytes| {
        for byte in bytes {
            *counter = counter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            *byte = counter.to_be_bytes()[0];
        }
    }
}

/// Work without its slowness: the hash of a password is the password.
fn work_of(work: Work) -> Done {
    match work {
        Work::Hash { password } => Done::Hash(password.expose().clone()),
        Work::Verify { password, hash } => Done::Verified(*password.expose() == hash),
    }
}
