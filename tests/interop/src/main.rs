//! An end-to-end encrypted peer on matrix-sdk-crypto, the stack inside Element; speaks what `tests/rig/peer.py` speaks,
//! and the rest of end-to-end encryption besides: see the module of each feature for its commands.
//!
//! `sdk-peer BASE USER PASSWORD DIR [OPTION…]`: joins whatever it is invited to, prints a JSON line for each room event, takes
//! JSON commands on standard input, and lives as long as that is open. Keys are kept in memory only. Options:
//!
//! * `--echo`: answers every text with a notice
//! * `--no-join`: stays where it is until it is told to join
//! * `--share-with cross-signed | trusted | all | all-but-changed`: who gets its room keys (all)
//! * `--read cross-signed | all`: whose messages it decrypts (all)
//! * `--ask-keys`, `--forward-keys`: sends and answers requests for room keys, among its own verified devices

mod backup;
mod command;
mod dehydrated;
mod files;
mod history;
mod http;
mod identity;
mod keys;
mod options;
mod peer;
mod requests;
mod rooms;
mod storage;
mod sync;
mod verification;

use std::{rc::Rc, time::SystemTime};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{options::Options, peer::Peer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let peer = Rc::new(Peer::log_in(Options::parse(std::env::args().skip(1))?).await?);
    let since = peer.sync(None).await?;
    say(json!({"k": "ready", "user": peer.machine.user_id(), "device": peer.machine.device_id()}));
    tokio::select! {
        ended = peer.follow(since) => ended,
        ended = peer.obey_all() => ended,
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}

/// Prints a line.
fn say(mut line: Value) {
    line["t"] = json!(now());
    println!("{line}");
}
