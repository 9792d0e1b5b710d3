//! Why a verification ended before its time: the codes of the specification and words for them.

use serde::{Deserialize, Serialize};

/// Longest code of a peer that is kept.
const MAX_CODE_CHARS: usize = 64;

/// The code of an `m.key.verification.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCode {
    /// Somebody at one of the devices stopped it.
    User,
    /// It took too long.
    Timeout,
    /// An event of a verification that is not known.
    UnknownTransaction,
    /// Nothing that both sides can do.
    UnknownMethod,
    /// An event that does not fit the state.
    UnexpectedMessage,
    /// A key is not the one that was expected.
    KeyMismatch,
    /// A user is not the one that was expected.
    UserMismatch,
    /// An event that cannot be read.
    InvalidMessage,
    /// Another device took it.
    Accepted,
    /// The other side changed its key after it had promised it.
    MismatchedCommitment,
    /// The short strings differ.
    MismatchedSas,
    /// A message of it could not be sent; why, in words for people. The specification has no code
    /// for that.
    Unsent(String),
    /// A code that the specification does not have.
    Other(String),
}

/// What is told of a message that could not be sent.
const UNSENT: &str = "grotto.unsent";

impl CancelCode {
    /// Reads the code of an event.
    pub fn parse(code: &str) -> Self {
        match code {
            "m.user" => Self::User,
            "m.timeout" => Self::Timeout,
            "m.unknown_transaction" => Self::UnknownTransaction,
            "m.unknown_method" => Self::UnknownMethod,
            "m.unexpected_message" => Self::UnexpectedMessage,
            "m.key_mismatch" => Self::KeyMismatch,
            "m.user_mismatch" => Self::UserMismatch,
            "m.invalid_message" => Self::InvalidMessage,
            "m.accepted" => Self::Accepted,
            "m.mismatched_commitment" => Self::MismatchedCommitment,
            "m.mismatched_sas" => Self::MismatchedSas,
            UNSENT => Self::Unsent(String::new()),
            other => Self::Other(other.chars().take(MAX_CODE_CHARS).collect()),
        }
    }

    /// The code as the specification writes it. One of [`CancelCode::Other`] is the network's
    /// text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::User => "m.user",
            Self::Timeout => "m.timeout",
            Self::UnknownTransaction => "m.unknown_transaction",
            Self::UnknownMethod => "m.unknown_method",
            Self::UnexpectedMessage => "m.unexpected_message",
            Self::KeyMismatch => "m.key_mismatch",
            Self::UserMismatch => "m.user_mismatch",
            Self::InvalidMessage => "m.invalid_message",
            Self::Accepted => "m.accepted",
            Self::MismatchedCommitment => "m.mismatched_commitment",
            Self::MismatchedSas => "m.mismatched_sas",
            Self::Unsent(_) => UNSENT,
            Self::Other(code) => code,
        }
    }

    /// Whether it means that somebody may stand between the two sides.
    pub fn is_suspicious(&self) -> bool {
        match self {
            Self::KeyMismatch
            | Self::UserMismatch
            | Self::MismatchedCommitment
            | Self::MismatchedSas => true,
            Self::User
            | Self::Timeout
            | Self::UnknownTransaction
            | Self::UnknownMethod
            | Self::UnexpectedMessage
            | Self::InvalidMessage
            | Self::Accepted
            | Self::Unsent(_)
            | Self::Other(_) => false,
        }
    }

    /// What it means, in words for people.
    pub fn words(&self) -> &'static str {
        match self {
            Self::User => "it was cancelled",
            Self::Timeout => "it took too long",
            Self::UnknownTransaction => "the other side does not know of this verification",
            Self::UnknownMethod => "the two sides have no way of verifying in common",
            Self::UnexpectedMessage => "the other side did not follow the protocol",
            Self::KeyMismatch => {
                "a key is not the one that was expected; somebody may be interfering"
            }
            Self::UserMismatch => "the other side is not who was expected",
            Self::InvalidMessage => "a message could not be understood",
            Self::Accepted => "another device took it",
            Self::MismatchedCommitment => {
                "the other side changed its key midway; somebody may be interfering"
            }
            Self::MismatchedSas => "what the two sides see differs; somebody may be interfering",
            Self::Unsent(_) => "a message of it could not be sent",
            Self::Other(_) => "the other side gave a reason that grotto does not know",
        }
    }

    /// What it means with what only this device knows of it: not for the other side. Not made safe
    /// for a terminal.
    pub fn explained(&self) -> String {
        match self {
            Self::Unsent(why) if !why.is_empty() => format!("{}: {why}", self.words()),
            Self::Unsent(_)
            | Self::User
            | Self::Timeout
            | Self::UnknownTransaction
            | Self::UnknownMethod
            | Self::UnexpectedMessage
            | Self::KeyMismatch
            | Self::UserMismatch
            | Self::InvalidMessage
            | Self::Accepted
            | Self::MismatchedCommitment
            | Self::MismatchedSas
            | Self::Other(_) => self.words().to_owned(),
        }
    }
}
