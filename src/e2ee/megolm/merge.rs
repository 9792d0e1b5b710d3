//! What becomes of a second copy of a session.
//!
//! A session id is a public key and forwarded copies carry no signature, so anybody can make a copy
//! with a known id and another ratchet. Two copies belong together only if one ratchet leads to the
//! other; such copies are joined, taking the lower index and the better provenance. Of two that do
//! not belong together the one proved by Olm stays, else the one we had.

use serde::{Deserialize, Serialize};
use vodozemac::megolm::SessionOrdering;

use super::inbound::InboundSession;
use crate::e2ee::trust::SenderData;

/// How a session reached us, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum Source {
    /// A key export file.
    Import,
    /// The server-side key backup.
    Backup,
    /// A history bundle of whoever invited us.
    Bundle,
    /// One of our own verified devices, on request.
    Forwarded,
    /// An Olm message of the creating device.
    Olm,
    /// We made it.
    Own,
}

impl Source {
    /// Whether the creator itself handed the session over.
    pub(in crate::e2ee) fn is_proof(self) -> bool {
        match self {
            Self::Olm | Self::Own => true,
            Self::Import | Self::Backup | Self::Bundle | Self::Forwarded => false,
        }
    }
}

/// What a second copy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Nothing: what we had was as good in every way, or the newcomer is not to be believed.
    Kept,
    /// The record changed; events that could not be decrypted may now be.
    Improved,
}

/// Joins `new` into `old`.
pub(super) fn merge(old: &mut InboundSession, mut new: InboundSession) -> Merged {
    let before = (old.session.first_known_index(), old.source, old.shared_history);
    match new.session.compare(&mut old.session) {
        SessionOrdering::Unconnected => return replace_forged(old, new),
        SessionOrdering::Better => std::mem::swap(&mut old.session, &mut new.session),
        SessionOrdering::Equal | SessionOrdering::Worse => {}
    }
    let sender_before = old.sender.clone();
    if old.source < new.source {
        old.shared_history = new.shared_history;
        old.creator = new.creator;
        old.sender = new.sender;
        old.source = new.source;
    } else if old.source == new.source {
        old.shared_history &= new.shared_history;
        if old.creator == new.creator && matches!(old.sender, SenderData::Unknown { .. }) {
            old.sender = new.sender;
        }
    }
    let after = (old.session.first_known_index(), old.source, old.shared_history);
    if before == after && sender_before == old.sender { Merged::Kept } else { Merged::Improved }
}

fn replace_forged(old: &mut InboundSession, new: InboundSession) -> Merged {
    if new.source.is_proof() && !old.source.is_proof() {
        *old = new;
        return Merged::Improved;
    }
    tracing::warn!(source = ?new.source, "a group session with a known id has another ratchet");
    Merged::Kept
}
