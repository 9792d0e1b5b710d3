//! Our Olm account: device keys, one-time keys, fallback keys, and their publication.

use serde::{Deserialize, Serialize};

/// What a `keys/upload` request published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UploadPurpose {}

/// Our account.
#[derive(Debug)]
pub(super) struct AccountPart {}

impl AccountPart {
    /// Whether our device keys are on the server: nothing is encrypted before.
    pub(super) fn is_published(&self) -> bool {
        todo!()
    }

    /// Whether the server publishes other keys for this device: nothing is encrypted any more.
    pub(super) fn is_replaced(&self) -> bool {
        todo!()
    }

    /// Our curve25519 key.
    pub(super) fn curve25519(&self) -> vodozemac::Curve25519PublicKey {
        todo!()
    }

    /// Our ed25519 key.
    pub(super) fn ed25519(&self) -> vodozemac::Ed25519PublicKey {
        todo!()
    }
}
