//! One-time keys: used up, refused, and uploaded by a program that is killed.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::{reads, says};
use crate::{
    grotto::Grotto,
    homeserver::On,
    meddler::Meddler,
    rig::{self, Lines, PASSWORD, Peer},
    scenario,
};

scenario::over_http! {
    test_fallback_key_is_used_if_one_time_keys_run_out,
    test_failed_one_time_key_upload_retries,
    test_sigkill_before_keys_upload_response,
}

/// Somebody who takes keys of others.
struct Taker {
    base: String,
    token: String,
}

impl Taker {
    fn at(base: &str) -> Self {
        let user = rig::register(base, "taker");
        Self { base: base.to_owned(), token: rig::log_in(base, &user, PASSWORD) }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let path = format!("/_matrix/client/v3/keys/{path}");
        rig::http(&self.base, "POST", &path, Some(&self.token), body)
    }

    /// The only device of a user.
    fn device_of(&self, user: &str) -> String {
        let found = self.post("query", &json!({"device_keys": {user: []}}));
        let devices = found["device_keys"][user].as_object().unwrap();
        assert_eq!(devices.len(), 1, "{found}");
        devices.keys().next().unwrap().clone()
    }

    /// Takes one key; whether it was the fallback key.
    fn takes(&self, user: &str, device: &str) -> bool {
        let wanted = json!({"one_time_keys": {user: {device: "signed_curve25519"}}});
        let found = self.post("claim", &wanted);
        let keys = found["one_time_keys"][user][device].as_object();
        let key = keys.and_then(|keys| keys.values().next()).unwrap_or_else(|| panic!("{found}"));
        key["fallback"] == true
    }

    /// Takes all; how many there were.
    fn takes_all(&self, user: &str) -> usize {
        let device = self.device_of(user);
        (0..200).take_while(|_| !self.takes(user, &device)).count()
    }
}

fn test_fallback_key_is_used_if_one_time_keys_run_out(on: On) {
    let place = on.shared();
    let base = &place.base;
    let bob = Grotto::log_in_strictly(place, "bob");
    let rooms: Vec<(Peer, String)> = ["alice", "carol"]
        .iter()
        .map(|name| {
            let mut peer = Peer::cross_signed(base, name);
            let room = peer.create("one", &[&bob.user]);
            bob.json(&["join", &room]);
            peer.sees_join(&room, &bob.user);
            (peer, room)
        })
        .collect();
    let taker = Taker::at(base);
    assert_eq!(taker.takes_all(&bob.user), 50);
    // Both get the fallback key, and Bob reads both.
    for (mut peer, room) in rooms {
        peer.say(&room, "by the fallback key");
        reads(&bob, &room, "by the fallback key");
    }
    // A program that ends may leave the upload to the next.
    let _tail = super::follow(&bob);
    let give_up = Instant::now() + rig::PATIENCE;
    let found = loop {
        let found = taker.takes_all(&bob.user);
        if found != 0 || give_up < Instant::now() {
            break found;
        }
    };
    assert_eq!(found, 50, "there are new ones");
}

fn test_failed_one_time_key_upload_retries(on: On) {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let alice = Grotto::log_in_strictly(&meddler.place(), "alice");
    let taker = Taker::at(base);
    let before = meddler.calls("/keys/upload").len();
    assert_eq!(taker.takes_all(&alice.user), 50);
    meddler.refuses("/keys/upload", 3);
    let _tail = super::follow(&alice);
    meddler.sees("/keys/upload", before + 4);
    let mut bob = Peer::cross_signed(base, "bob");
    let room = bob.create("pair", &[&alice.user]);
    alice.json(&["join", &room]);
    bob.sees_join(&room, &alice.user);
    bob.say(&room, "by a new key");
    reads(&alice, &room, "by a new key");
    says(&alice, &room, "read");
    bob.hears("read");
}

fn test_sigkill_before_keys_upload_response(on: On) {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let alice = Grotto::log_in_strictly(&meddler.place(), "alice");
    let taker = Taker::at(base);
    let before = meddler.calls("/keys/upload").len();
    taker.takes_all(&alice.user);
    meddler.holds_answers("/keys/upload");
    let tail = alice.tail();
    meddler.sees("/keys/upload", before + 1);
    kill(&tail);
    meddler.lets_go();
    let _tail = super::follow(&alice);
    meddler.sees("/keys/upload", before + 2);
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    for call in &meddler.calls("/keys/upload")[before..] {
        for (id, key) in call.body["one_time_keys"].as_object().into_iter().flatten() {
            let first = keys.entry(id.clone()).or_insert_with(|| key.clone());
            assert_eq!(first["key"], key["key"], "another key under the id {id}");
        }
    }
    assert_eq!(keys.len(), 50, "the keys of the first upload are those of the second");
    // Whoever takes one of them reaches Alice.
    let mut bob = Peer::cross_signed(base, "bob");
    let room = bob.create("pair", &[&alice.user]);
    alice.json(&["join", &room]);
    bob.sees_join(&room, &alice.user);
    bob.say(&room, "by a key of the dead");
    reads(&alice, &room, "by a key of the dead");
}

/// Ends a program as the system does when memory runs out.
pub(super) fn kill(lines: &Lines) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(lines.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
