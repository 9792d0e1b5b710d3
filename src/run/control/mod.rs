//! The control socket: work handed from one process to the one that holds the account.
//!
//! The wire is one JSON value a line, in both directions, over a Unix socket that only the owner
//! can open. A guest says hello, the holder answers with a welcome or a refusal; from then on the
//! guest's lines are [`crate::engine::Command`]s and the holder's are [`crate::engine::Update`]s.
//! Lines have a limit; a guest that does not read is dropped by the engine.

mod address;
mod guest;
mod host;
mod wire;

pub(super) use address::address;
pub(super) use guest::{Guest, connect};
pub(super) use host::{Door, Guests};
pub(super) use wire::Stay;
