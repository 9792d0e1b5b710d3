//! Tests of the session layer with several machines and a key server between them.

mod account;
mod claims;
mod forger;
pub(super) mod harness;
mod hostile;
mod olm;
mod sessions;
mod tracking;
mod unwedging;
