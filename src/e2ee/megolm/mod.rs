//! Megolm: the sessions that encrypt and decrypt the events of a room, who is offered them, and
//! what is remembered of their use.
//!
//! ```text
//!  m.room_key ──▶ inbound ──▶ merge ──▶ record (room, session id) ──▶ decrypt
//!                                            ▲                          │
//!  prepare_room ──▶ outbound ── own copy ────┘                          ▼
//!        │             │ rotation                                     ledger
//!        └──▶ share ◀──┘ to-device batches, withheld
//! ```
//!
//! The machine calls in here from outside the rooms: [`inbound::receive_room_key`] and
//! [`withheld::receive`] with what came to this device, `Machine::share_answered` and
//! `Machine::share_postponed` with the fate of a share request, `Machine::share_progressed` after
//! the answer to any query, claim or upload, `Machine::tick_shares` by `Machine::share_deadline`.
//!
//! What goes wrong with one key or one event loses only that; errors are the store's alone.

mod cache;
mod encrypt;
pub(super) mod inbound;
pub(super) mod ledger;
mod merge;
mod outbound;
pub(super) mod payload;
mod pickled;
mod prepare;
mod recipients;
mod share;
pub(super) mod withheld;

pub(super) use cache::{Cached, Megolm};
pub(super) use encrypt::encrypt;
pub use merge::Source;
pub(super) use outbound::{Outbound, is_shared};
pub(super) use prepare::Prepared;
pub(super) use share::{Answer, SharePurpose};

/// The one algorithm of encrypted rooms.
pub(super) const MEGOLM_V1: &str = "m.megolm.v1.aes-sha2";

#[cfg(test)]
mod tests;
