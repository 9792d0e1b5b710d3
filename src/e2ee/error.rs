//! What can go wrong in the session layer, by who must act.

use crate::matrix::{OwnedUserId, UserId};

use super::lookup::LookupError;

/// The machine cannot go on: the store failed, or a record in it is damaged. The engine ends.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The store could not be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A record did not have the form this version writes.
    #[error("a record of the table {table} cannot be read")]
    Record {
        /// Name of the table.
        table: &'static str,
        /// What serde said; holds no content.
        source: serde_json::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
    /// The store belongs to another user or device than the login.
    #[error("the store belongs to {found}, not to {expected}")]
    OtherAccount {
        /// Who logged in.
        expected: OwnedUserId,
        /// Whose keys these are.
        found: OwnedUserId,
    },
}

impl MachineError {
    /// Says that the keys belong to somebody else.
    pub(super) fn other_account(expected: &UserId, found: &UserId) -> Self {
        Self::OtherAccount { expected: expected.to_owned(), found: found.to_owned() }
    }
}

/// Why a room's key cannot be shared; the message stays queued until the cause is gone or the user
/// decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The room uses an algorithm that this client does not speak.
    #[error("this room is encrypted with {0}, which grotto does not support")]
    UnsupportedAlgorithm(String),
    /// The room was never seen encrypted.
    #[error("this room is not encrypted")]
    NotEncrypted,
    /// The server publishes other keys for this device, or lost them.
    #[error("the server publishes other keys for this device; log out and in again")]
    OwnKeysReplaced,
    /// The machine itself failed.
    #[error("the session layer failed: {0}")]
    Machine(String),
}

impl From<MachineError> for ShareError {
    fn from(error: MachineError) -> Self {
        Self::Machine(error.to_string())
    }
}

/// Why a prepared room could not encrypt.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// The event would be larger than servers accept once encrypted.
    #[error("the message has {bytes} bytes; at most {limit} fit into one encrypted event")]
    TooLarge {
        /// Bytes of the plaintext event.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The machine itself failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}
