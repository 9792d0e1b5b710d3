//! Server-side key backup, version 1: which one is ours, what is uploaded, what is fetched and when.
//!
//! ```text
//!  GET version ─▶ pinned (version, public key) ─▶ trusted to upload? ─▶ 100 at a time, in background
//!                          │                       our key, or signed by us
//!                          └▶ our private key fits ─▶ rooms in bulk, on-screen ones first
//!                                                  └▶ then single sessions, with growing pauses
//! ```
//!
//! A backup is never known by its number alone: two with one number and different keys occur. The
//! entries are not authenticated, so what comes from there proves nothing about its creator; see
//! [`super::exported`].
//!
//! # Spec
//! End-to-End Encryption, "Server-side key backups", `m.megolm_backup.v1.curve25519-aes-sha2`.

mod create;
mod entry;
mod record;
mod restore;
mod search;
mod state;
mod upload;
mod version;

pub use search::BackupSearch;
pub(super) use state::{Backup, BackupPurpose};
pub use state::{BackupProblem, BackupState};
pub(super) use upload::{has_pending, session_changed};

/// The one algorithm of backups.
const ALGORITHM: &str = "m.megolm_backup.v1.curve25519-aes-sha2";
