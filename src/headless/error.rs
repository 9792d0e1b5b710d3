//! Why a command without a screen did not end well, by what the caller must do.

use std::{io, time::Duration};

use crate::{engine::CommandError, matrix::OwnedTransactionId};

/// Codes of the engine for what would have left this machine unencrypted, or for an identity that
/// changed: the room's algorithm is not ours, the server publishes other keys for this device, a
/// clear text for an encrypted room, this device not signed by its owner, a recipient's identity
/// reset.
const POLICY: &[&str] = &[
    "policy",
    "unsupported_algorithm",
    "own_keys_replaced",
    "no_own_identity",
    "not_cross_signed",
    "identity_changed",
    "verification_violation",
];

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum HeadlessError {
    /// The homeserver or the stream did not answer in time.
    #[error("no answer from the homeserver within {}{}; check the connection, or give more --timeout",
        seconds(*.after), because(.reason.as_deref()))]
    Timeout {
        /// How long it was waited for.
        after: Duration,
        /// Why the link is down, if it is.
        reason: Option<String>,
    },
    /// The server was not reached, so that it is not known who may read the message: it was not kept.
    #[error("not sent, and nothing was kept: no answer from the homeserver within {}{}; repeat the \
             command when it can be reached, or give it longer with --timeout",
            seconds(*.after), because(.reason.as_deref()))]
    NotBegun {
        /// How long it was waited for.
        after: Duration,
        /// Why the link is down, if it is.
        reason: Option<String>,
    },
    /// The message is on disk, the server's answer did not come in time.
    #[error("not sent within {}{}; the message is queued and will be sent, once, by the next \
             grotto that runs; to wait for it, repeat the command with --txn {txn}",
        seconds(*.after), because(.reason.as_deref()))]
    Queued {
        /// How long it was waited for.
        after: Duration,
        /// Why the link is down, if it is.
        reason: Option<String>,
        /// The attempt's name.
        txn: OwnedTransactionId,
    },
    /// The process that was to send the message ended, and no other took its place in time.
    #[error("the grotto that held this account ended before the server had the message, and none \
             could take its place within {}; repeat the command with --txn {txn}: the message is \
             sent once", seconds(*.after))]
    Unsure {
        /// How long it was tried.
        after: Duration,
        /// The attempt's name.
        txn: OwnedTransactionId,
    },
    /// The engine or the server refused.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The room cannot be told from its name.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The engine ended, and said why.
    #[error("{0}")]
    Ended(String),
    /// The engine ended without a word: its process is gone.
    #[error("the grotto that held this account ended; try again")]
    Gone,
    /// The server ended this login.
    #[error(
        "this device is logged out ({0}); remove what it left with `grotto logout`, then log in again"
    )]
    LoggedOut(String),
    /// The result could not be written.
    #[error("cannot write the result")]
    Output(#[source] io::Error),
    /// Standard input could not be read.
    #[error("cannot read the message from standard input")]
    Input(#[source] io::Error),
    /// A key file cannot be written or read.
    #[error("{}", .path.display())]
    KeyFile {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: crate::engine::KeyFileError,
    },
    /// There is nothing to send.
    #[error("the message is empty; nothing was sent")]
    Empty,
}

/// A room's name does not say which room.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// No room has this name.
    #[error("no joined room is named {0:?}; `grotto rooms` lists them")]
    Unknown(String),
    /// Several have.
    #[error("{count} rooms are named {name:?}; use the id instead: {ids}")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many.
        count: usize,
        /// Their ids.
        ids: String,
    },
    /// It looks like a room id and is none.
    #[error("{0:?} is not a room id")]
    Malformed(String),
}

impl HeadlessError {
    /// Whether the server could not be reached in time (exit code 4).
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Timeout { .. }
            | Self::NotBegun { .. }
            | Self::Queued { .. }
            | Self::Unsure { .. } => true,
            Self::Refused(error) => ["timeout", "unreachable"].contains(&error.code.as_str()),
            Self::Room(_)
            | Self::Ended(_)
            | Self::Gone
            | Self::LoggedOut(_)
            | Self::Output(_)
            | Self::Input(_)
            | Self::KeyFile { .. }
            | Self::Empty => false,
        }
    }

    /// Whether it is not known if the work was done.
    pub fn is_open(&self) -> bool {
        self.is_unreachable() || matches!(self, Self::Gone)
    }

    /// Whether policy forbids it (exit code 5).
    pub fn is_refused_by_policy(&self) -> bool {
        matches!(self, Self::Refused(error) if POLICY.contains(&error.code.as_str()))
    }

    /// Whether nobody reads the result any more.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn seconds(duration: Duration) -> String {
    let tenths = (duration.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths} s")
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_that_protect_the_user_are_policy() {
        let is_policy = |code: &str| {
            let error = CommandError { code: code.to_owned(), message: String::new() };
            HeadlessError::from(error).is_refused_by_policy()
        };
        assert!(
            ["policy", "unsupported_algorithm", "own_keys_replaced"].into_iter().all(is_policy)
        );
        assert!(!["M_FORBIDDEN", "not_joined", "session_layer", ""].into_iter().any(is_policy));
    }

    #[test]
    fn a_message_whose_fate_is_open_names_its_transaction() {
        let (after, txn) = (Duration::from_secs(2), OwnedTransactionId::from("job-17"));
        let unsure = HeadlessError::Unsure { after, txn: txn.clone() };
        let queued = HeadlessError::Queued { after, reason: None, txn };
        let lost = HeadlessError::NotBegun { after, reason: None };
        assert!(lost.is_unreachable());
        assert!(lost.to_string().contains("nothing was kept"), "{lost}");
        for error in [unsure, queued] {
            assert!(error.is_unreachable());
            assert!(error.to_string().contains("--txn job-17"), "{error}");
        }
    }
}
