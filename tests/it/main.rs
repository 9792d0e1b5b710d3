//! The one integration-test binary.

#![expect(
    clippy::disallowed_methods,
    clippy::pedantic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    reason = "tests wait by the real clock, look at one case of many, and may panic"
)]

#[cfg(test)]
mod cli;
#[cfg(test)]
mod complement;
#[cfg(test)]
mod config;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod cutter;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod differ;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod evil_homeserver;
#[cfg(test)]
mod evil_server;
#[cfg(test)]
mod files;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod grotto;
#[cfg(test)]
mod headless;
#[cfg(test)]
mod headless_accounts;
#[cfg(test)]
mod headless_handover;
#[cfg(test)]
mod headless_secrets;
#[cfg(test)]
mod headless_tail;
#[cfg(test)]
mod history_sharing;
#[cfg(test)]
mod homeserver;
#[cfg(test)]
mod hostile_terminal;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod login;
#[cfg(test)]
mod meddler;
#[cfg(test)]
mod megolm;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod real_parts;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod screens;
#[cfg(test)]
mod secret_hunt;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod serve_attacks;
#[cfg(test)]
mod serve_floods;
#[cfg(test)]
mod serve_kill;
#[cfg(test)]
mod served;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod store;
#[cfg(test)]
mod store_model;
#[cfg(test)]
mod story;
#[cfg(test)]
mod supply;
#[cfg(test)]
mod talk;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod together;
#[cfg(test)]
mod torture;
#[cfg(test)]
mod verification;
#[cfg(test)]
mod world;
