//! Wires the house together; the only module that knows all others.
//!
//! ```text
//! main thread              engine thread           doors thread
//! screen or command ─────▶ engine::driver ───────▶ gateway of this process (no stream offered)
//!                              ▲                   control socket: commands of other processes
//!                              └── faces ──────────────┘
//! ```
//!
//! One process holds an account's store. Another one that finds it held becomes a guest: it hands
//! its work over through the control socket, with the same output and exit code.

mod account;
mod caller;
mod commands;
mod context;
mod control;
mod demo;
mod doors;
mod failure;
mod gateway;
mod holder;
mod login;
mod login_again;
mod login_call;
mod login_device;
mod login_offers;
mod login_questions;
mod login_recovery;
mod login_register;
mod login_sso;
mod logout;
mod passphrase;
mod process;
mod prompt;
mod recovery;
mod renewal;
mod screen;
mod seat;
mod secrets;
mod serve;
mod start;
mod trust;
mod verify;

pub use failure::Failure;
pub use start::run;
