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
    /// The account has no cross-signing identity, so nobody could tell this device from one that
    /// the server made up.
    #[error(
        "your account has no identity yet; make one with: grotto reset-identity (or send to all \
         devices here, unsigned ones too: grotto policy ROOM --devices all)"
    )]
    NoOwnIdentity,
    /// Our identity did not sign this device.
    #[error(
        "this device is not verified; do it with: grotto recover, or grotto verify (or send to all \
         devices here, unsigned ones too: grotto policy ROOM --devices all)"
    )]
    NotSigned,
    /// The identity of a recipient is not the one it was.
    #[error(
        "the identity of {0} was reset; ask them if that was they, then accept it with: grotto \
         trust {0}"
    )]
    IdentityChanged(OwnedUserId),
    /// A recipient was verified, and the identity they show now is not.
    #[error(
        "{0} was verified and shows another identity now; verify them with: grotto verify {0}, or \
         give it up with: grotto trust {0} --withdraw"
    )]
    NotVerifiedAnyMore(OwnedUserId),
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
