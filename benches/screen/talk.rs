//! A conversation through a real Synapse: delivery beside the floor, keys, bytes, rest.
//!
//! The floor is another client in the same room that hears the same messages (matrix-nio), so both
//! wait for the same homeserver. Messages of ours alternate with messages of another client, so that
//! the homeserver and the disk are in the same mood for both; how long the disk takes for what every
//! one of them must wait for, an `fsync`, is measured between them.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use super::{
    Failure,
    homeserver::{Homeserver, On, RateLimits},
    program::Grotto,
    rig::{Peer, Stack, Terminal},
    stats,
};

const MESSAGES: u64 = 60;
const KEYS: usize = 40;
const SENT: u64 = 40;
/// What a person would call stuck, in seconds.
const STUCK: f64 = 0.5;
const REST: Duration = Duration::from_secs(20);

pub(super) fn measure() -> Result<(), Failure> {
    let synapse = Homeserver::start(On::Synapse, RateLimits::Raised);
    let mut alice = Peer::start(Stack::Sdk, &synapse.place.base, "alice");
    let mut bob = Peer::start(Stack::Nio, &synapse.place.base, "bob");
    let grotto = Grotto::log_in(&synapse.place, "carol");
    let room = alice.create("Delivery", &[&bob.user, &grotto.user]);
    bob.find("bob's joining", |line| line["k"] == "joined");
    grotto.json(&["join", &room]);
    let mut terminal = grotto.open((120, 40));
    terminal.shows("Delivery");
    terminal.type_keys("\r");
    for warm in 0..5 {
        let body = format!("warm-{warm}");
        alice.say(&room, &body);
        terminal.shows(&body);
        bob.hears(&body);
    }
    let mut talk = Talk { room, alice, bob, terminal, dice: 0x2545_F491_4F6C_DD1D };
    talk.delivery()?;
    talk.keys()?;
    talk.sending()?;
    talk.rest()
}

struct Talk {
    room: String,
    alice: Peer,
    bob: Peer,
    terminal: Terminal,
    dice: u64,
}

impl Talk {
    /// The next of a fixed row of pauses between 0.1 and 0.9 s.
    fn pause(&mut self) {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        thread::sleep(Duration::from_millis(100 + self.dice % 800));
    }

    fn bytes(&mut self) -> Result<f64, Failure> {
        number(&self.terminal.ask(&json!({ "do": "screen" }))["bytes"])
    }

    fn delivery(&mut self) -> Result<(), Failure> {
        let (mut ours, mut floor, mut over) = (Vec::new(), Vec::new(), Vec::new());
        let mut received = Vec::new();
        for message in 0..MESSAGES {
            self.pause();
            let before = self.bytes()?;
            let body = format!("message-{message:03} of the sixty");
            let content = json!({ "msgtype": "m.text", "body": body });
            let send = json!({ "do": "send", "room": self.room, "content": content });
            let called = number(&self.alice.ask(send)["called"])?;
            let wait = json!({ "do": "wait", "text": body, "ms": 30_000 });
            let shown = number(&self.terminal.ask(&wait)["t"])? - called;
            let heard = number(&self.bob.hears(&body)["t"])? - called;
            received.push(self.bytes()? - before);
            ours.push(shown);
            floor.push(heard);
            over.push(shown - heard);
        }
        let title = format!("delivery: {MESSAGES} messages, random pauses of 0.1 to 0.9 s");
        stats::head(&title);
        stats::times("peer's send call to the text on the screen", &ours);
        stats::times("floor: the same call to another peer's decrypted log", &floor);
        stats::times("difference, message by message", &over);
        stats::bytes("bytes to the terminal per received message", &received);
        Ok(())
    }

    fn keys(&mut self) -> Result<(), Failure> {
        let (mut first, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..KEYS {
            let press = json!({ "do": "press", "text": "a", "quiet": 0.1 });
            let answer = self.terminal.ask(&press);
            first.push(number(&answer["first"])?);
            bytes.push(number(&answer["bytes"])?);
        }
        stats::head(&format!("keys: {KEYS}"));
        stats::times("key to the first byte on the terminal", &first);
        stats::bytes("bytes per key", &bytes);
        Ok(())
    }

    fn sending(&mut self) -> Result<(), Failure> {
        let (mut heard, mut sooner, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut floor, mut disk) = (Vec::new(), Vec::new());
        // What the keys left in the composer goes first.
        self.terminal.ask(&json!({ "do": "press", "text": "\r", "quiet": 0.5 }));
        for message in 0..SENT {
            disk.push(stats::sync_time(&self.terminal.recording)?);
            floor.push(self.floor(&format!("between-{message:03}"))?);
            self.pause();
            let body = format!("answer-{message:03}");
            self.terminal.ask(&json!({ "do": "press", "text": body, "quiet": 0.2 }));
            let press = json!({ "do": "press", "text": "\r", "quiet": 0.5 });
            let answer = self.terminal.ask(&press);
            let entered = number(&answer["t"])?;
            heard.push(number(&self.bob.hears(&body)["t"])? - entered);
            sooner.push(number(&self.alice.hears(&body)["t"])? - entered);
            bytes.push(number(&answer["bytes"])?);
        }
        stats::head(&format!("sending: {SENT} messages"));
        stats::times("Enter to the decrypted log of matrix-nio", &heard);
        stats::times("Enter to the decrypted log of matrix-sdk-crypto", &sooner);
        stats::times("floor: matrix-sdk-crypto's send call to matrix-nio's log", &floor);
        stats::times("the disk: one fsync of 16 kB", &disk);
        let stuck = |times: &[f64]| times.iter().filter(|time| STUCK < **time).count();
        let (ours, others) = (stuck(&heard), stuck(&floor));
        stats::line(&format!("over {STUCK} s: {ours} of ours, {others} of the floor's"));
        stats::bytes("bytes to the terminal per sent message", &bytes);
        Ok(())
    }

    /// The seconds from the other client's send call to matrix-nio's decrypted log.
    fn floor(&mut self, body: &str) -> Result<f64, Failure> {
        self.pause();
        let content = json!({ "msgtype": "m.text", "body": body });
        let send = json!({ "do": "send", "room": self.room, "content": content });
        let called = number(&self.alice.ask(send)["called"])?;
        Ok(number(&self.bob.hears(body)["t"])? - called)
    }

    fn rest(&mut self) -> Result<(), Failure> {
        let pid = self.terminal.ask(&json!({ "do": "pid" }))["pid"].as_u64().ok_or("no process")?;
        let (bytes, spent) = (self.bytes()?, stats::processor(pid)?);
        thread::sleep(REST);
        let minutes = REST.as_secs_f64() / 60.0;
        let bytes = (self.bytes()? - bytes) / minutes;
        let spent = (stats::processor(pid)? - spent) / minutes;
        let memory = stats::resident(pid)?;
        stats::line(&format!("\nrest: {} s", REST.as_secs()));
        stats::line(&format!("{:<52}{bytes:>9.0} B", "bytes to the terminal per minute"));
        stats::line(&format!("{:<52}{spent:>9.2} s", "processor time per minute"));
        stats::line(&format!("{:<52}{memory:>9.1} MB", "resident memory after the conversation"));
        Ok(())
    }
}

fn number(value: &Value) -> Result<f64, Failure> {
    value.as_f64().ok_or_else(|| format!("no number: {value}").into())
}
