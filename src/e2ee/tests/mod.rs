//! Tests of the session layer with several machines and a key server between them.

mod account;
mod account_server;
mod backup;
mod claims;
mod dehydrated;
mod evil;
mod forger;
pub(super) mod harness;
mod history_sharing;
mod hostile;
mod identities;
mod key_requests;
mod late_lists;
mod olm;
mod ratchets;
mod recovery;
mod renewal;
mod secret_sharing;
mod secrets;
mod sessions;
mod signing;
mod tracking;
mod unwedging;
mod verification;
