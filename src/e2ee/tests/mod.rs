//! Tests of the session layer with several machines and a key server between them.

mod account;
pub(super) mod harness;
mod hostile;
mod olm;
mod tracking;
