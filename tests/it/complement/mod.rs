//! The scenarios of complement-crypto, the suite of the Matrix project for what clients get wrong with keys, each as a test of
//! the same name: grotto as one client, matrix-sdk-crypto as the other. `docs/scenarios.md` says which test is which, also of
//! those that are elsewhere.

mod history;
mod one_time_keys;
mod processes;
mod rotation;
mod servers;
mod spoofing;
mod talking;
mod to_device;

use serde_json::Value;

use crate::{
    grotto::Grotto,
    homeserver::Place,
    rig::{Lines, PATIENCE, Peer},
};

/// Alice on grotto, who follows everything, and Bob on matrix-sdk-crypto, who has an identity, in a
/// room that Bob made.
struct Pair {
    alice: Grotto,
    tail: Lines,
    bob: Peer,
    room: String,
}

/// At `base`; alice takes the way of `place`.
fn pair(base: &str, place: &Place) -> Pair {
    let mut bob = Peer::cross_signed(base, "bob");
    let alice = Grotto::log_in_strictly(place, "alice");
    let room = bob.create("pair", &[&alice.user]);
    alice.json(&["join", &room]);
    bob.sees_join(&room, &alice.user);
    let tail = follow(&alice);
    Pair { alice, tail, bob, room }
}

/// Follows everything, from the moment that it is connected.
pub(crate) fn follow(grotto: &Grotto) -> Lines {
    let mut tail = grotto.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    tail
}

/// Sends a text; its event id.
fn says(grotto: &Grotto, room: &str, body: &str) -> String {
    let sent = grotto.json(&["send", room, body]);
    sent[0]["event_id"].as_str().unwrap().to_owned()
}

/// Waits until a message is readable.
fn hears(tail: &mut Lines, body: &str) -> Value {
    tail.find(body, |line| {
        (line["type"] == "message" || line["type"] == "decrypted_late") && line["body"] == body
    })
}

/// Waits until somebody's membership changed.
fn sees(tail: &mut Lines, user: &str, membership: &str) {
    tail.find(&format!("{user}: {membership}"), |line| {
        line["type"] == "membership" && line["user"] == user && line["membership"] == membership
    });
}

/// The room's history, once a message in it is readable.
#[expect(clippy::disallowed_methods, reason = "waits by the real clock")]
pub(crate) fn reads(grotto: &Grotto, room: &str, body: &str) -> Vec<Value> {
    let give_up = std::time::Instant::now() + PATIENCE;
    loop {
        let history = grotto.json(&["history", room, "--limit", "500"]);
        if history.iter().any(|line| line["body"] == body) {
            return history;
        }
        assert!(std::time::Instant::now() < give_up, "no {body:?} in {history:#?}");
    }
}

/// Checks that the event is in the history, and cannot be decrypted; the reason.
fn cannot_read(history: &[Value], event: &str) -> String {
    let line = history.iter().find(|line| line["event_id"] == event);
    let line = line.unwrap_or_else(|| panic!("no {event} in {history:#?}"));
    assert_eq!(line["type"], "undecryptable", "{line}");
    line["reason"].as_str().unwrap().to_owned()
}

/// The session by which the peer read a message.
fn session(peer: &mut Peer, body: &str) -> String {
    peer.hears(body)["session"].as_str().unwrap().to_owned()
}
