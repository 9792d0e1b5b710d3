//! What a face can do with verifications, and why it may not go.

use serde::{Deserialize, Serialize};

use super::outgoing::Scan;
use crate::matrix::OwnedUserId;

/// What the user does with a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum VerificationAct {
    /// Agrees to a request.
    Accept {
        /// Whether a code of the other side can be read.
        #[serde(default)]
        scan: Scan,
    },
    /// Wants to compare emoji.
    StartSas,
    /// Read the code that the other side shows.
    Scanned {
        /// Base64 of its bytes.
        code: String,
    },
    /// Says that both sides show the same, or that the other side reports success.
    Confirm,
    /// Says that they differ.
    Mismatch,
    /// Ends it.
    Cancel,
}

/// Why a verification cannot begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerificationError {
    /// There is no other device of ours.
    #[error("this account has no other device that could be asked")]
    NoOtherDevice,
    /// The device is not known.
    #[error("{0} has no such device")]
    NoDevice(OwnedUserId),
    /// The user shows no cross-signing identity.
    #[error("{0} has no cross-signing keys that could be verified; their client has to make some")]
    NoIdentity(OwnedUserId),
    /// This device cannot vouch for others.
    #[error("this device is not verified itself; verify it first, or type in the recovery key")]
    OwnDevice,
    /// The lists are being asked for.
    #[error("the keys of {0} are being asked for; try again in a moment")]
    NotYet(OwnedUserId),
    /// There is no direct chat to verify in.
    #[error("there is no direct chat with {0}; make one first")]
    NoRoom(OwnedUserId),
    /// One is under way.
    #[error("a verification with {0} is under way; end that one first")]
    UnderWay(OwnedUserId),
    /// Too many are under way.
    #[error("too many verifications are under way; end some first")]
    TooMany,
    /// No such verification.
    #[error("this verification is over")]
    Unknown,
    /// It is not where this could be done.
    #[error("the verification is not at that point")]
    OutOfTurn,
    /// What was given is no code.
    #[error("this is not the base64 of a verification code")]
    BadCode,
}

impl VerificationError {
    /// A name for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoOtherDevice => "no_other_device",
            Self::NoDevice(_) => "unknown_device",
            Self::NoIdentity(_) => "no_identity",
            Self::OwnDevice => "own_device_unverified",
            Self::NotYet(_) => "looking_up",
            Self::NoRoom(_) => "unknown_room",
            Self::UnderWay(_) => "under_way",
            Self::TooMany => "too_many",
            Self::Unknown => "unknown_verification",
            Self::OutOfTurn => "out_of_turn",
            Self::BadCode => "bad_code",
        }
    }
}
