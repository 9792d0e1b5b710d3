//! What a face shows of a verification.

use serde::{Deserialize, Serialize};

use super::{code::CancelCode, emoji::Emoji};
use crate::{
    matrix::{OwnedDeviceId, OwnedRoomId, OwnedUserId},
    time::Timestamp,
};

/// Names a verification; never used twice by one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VerificationId(pub u64);

/// One verification as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationView {
    /// Its name.
    pub id: VerificationId,
    /// Whom it is with.
    pub user: OwnedUserId,
    /// With which of their devices, once that is known.
    pub device: Option<OwnedDeviceId>,
    /// Whether the other side is a device of our own account.
    pub is_own: bool,
    /// Whether we asked for it.
    pub is_ours: bool,
    /// The chat in which it takes place; none between devices.
    pub room: Option<OwnedRoomId>,
    /// When it ends unless something happens.
    pub until: Timestamp,
    /// Where it stands.
    pub stage: VerificationStage,
}

/// Where a verification stands, and what the user is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum VerificationStage {
    /// We asked; the other side has to accept.
    Asked,
    /// They ask: accept or cancel.
    Invited,
    /// Both are there: choose how.
    Ready {
        /// Whether emoji can be compared.
        emoji: bool,
        /// Base64 of the bytes of a code for the other side to scan.
        code: Option<String>,
        /// Whether the other side can show a code.
        scan: bool,
    },
    /// Keys are on their way.
    Waiting,
    /// Compare; then confirm, or say that it differs.
    Compare {
        /// Seven emoji.
        emoji: Vec<Emoji>,
        /// The same as three numbers.
        decimals: [u16; 3],
    },
    /// We confirmed; the other side has to.
    Confirmed,
    /// The other side scanned our code: confirm that it says so.
    Scanned,
    /// We scanned their code; their user has to confirm.
    Reciprocated,
    /// Both sides hold the keys that they should.
    Done,
    /// It ended without a result.
    Cancelled {
        /// Why.
        code: CancelCode,
        /// Who ended it.
        by: Ending,
    },
    /// Another device of ours took it.
    Elsewhere,
}

/// Who ended a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// This device.
    Us,
    /// The other side.
    Them,
}

impl VerificationStage {
    /// Whether nothing can happen any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Done | Self::Cancelled { .. } | Self::Elsewhere => true,
            Self::Asked
            | Self::Invited
            | Self::Ready { .. }
            | Self::Waiting
            | Self::Compare { .. }
            | Self::Confirmed
            | Self::Scanned
            | Self::Reciprocated => false,
        }
    }
}
