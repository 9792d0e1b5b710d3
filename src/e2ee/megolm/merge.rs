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
pub enum Source {
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
    let mut claimed = name_maker(old, &new);
    if old.source < new.source {
        old.shared_history = new.shared_history;
        old.creator = new.creator;
        old.sender = new.sender;
        old.source = new.source;
        old.chain = new.chain;
    } else if old.source == new.source {
        old.shared_history &= new.shared_history;
        if old.creator != new.creator {
            claimed |= old.source == Source::Olm && old.add_claim(new.creator, new.sender);
        } else if matches!(old.sender, SenderData::Unknown { .. }) {
            old.sender = new.sender;
        }
    }
    let after = (old.session.first_known_index(), old.source, old.shared_history);
    if before == after && sender_before == old.sender && !claimed {
        Merged::Kept
    } else {
        Merged::Improved
    }
}

/// Of two copies one proves who handed it over; the other, which we kept ourselves, names somebody
/// else as the maker. Any member can hand a key over as theirs: the maker's messages must not be
/// lost by that.
fn name_maker(old: &mut InboundSession, new: &InboundSession) -> bool {
    let counts = |it: &InboundSession| !matches!(it.source, Source::Own | Source::Bundle);
    if !counts(old) || !counts(new) || old.creator == new.creator {
        return false;
    }
    match (old.source.is_proof(), new.source.is_proof()) {
        (true, false) => old.add_named(&new.creator),
        (false, true) => old.add_named(&old.creator.clone()),
        (true, true) | (false, false) => false,
    }
}

fn replace_forged(old: &mut InboundSession, new: InboundSession) -> Merged {
    if new.source.is_proof() && !old.source.is_proof() {
        *old = new;
        return Merged::Improved;
    }
    tracing::warn!(source = ?new.source, "a group session with a known id has another ratchet");
    Merged::Kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vodozemac::megolm::{ExportedSessionKey, GroupSession, InboundGroupSession, SessionConfig};

    use super::*;
    use crate::{e2ee::megolm::inbound::Creator, matrix::UserId};

    const SOURCES: [Source; 6] = [
        Source::Import,
        Source::Backup,
        Source::Bundle,
        Source::Forwarded,
        Source::Olm,
        Source::Own,
    ];

    /// A copy of `group` from `index` on, as it would come from `source`.
    fn copy(group: &GroupSession, source: Source, index: u32) -> InboundSession {
        let config = SessionConfig::version_1();
        let mut session = InboundGroupSession::new(&group.session_key(), config);
        session = InboundGroupSession::import(&session.export_at(index).unwrap(), config);
        let creator = Creator { curve25519: "curve".into(), ed25519: "ed".into() };
        let user = UserId::parse("@a:x").unwrap();
        let sender = match source {
            Source::Olm => SenderData::Device { user, device: "DEVICE".into(), vouched: None },
            Source::Own => SenderData::Own { user },
            Source::Import | Source::Backup | Source::Bundle | Source::Forwarded => {
                SenderData::Unknown { claimed: None }
            }
        };
        let others = Vec::new();
        InboundSession {
            session,
            creator,
            source,
            sender,
            others,
            shared_history: false,
            shared_by: None,
            chain: Vec::new(),
        }
    }

    /// Another ratchet under the id of `group`: what anybody can make who knows the id.
    fn forged(group: &GroupSession, source: Source, index: u32) -> InboundSession {
        let mut bytes = copy(group, source, index).session.export_at(index).unwrap().to_bytes();
        bytes[60] ^= 1;
        let key = ExportedSessionKey::from_bytes(&bytes).unwrap();
        let session = InboundGroupSession::import(&key, SessionConfig::version_1());
        InboundSession { session, ..copy(group, source, index) }
    }

    /// Everything that counts of a session, as one value.
    fn outcome(mut it: InboundSession) -> (Vec<u8>, Source, SenderData, bool) {
        let index = it.session.first_known_index();
        let key = it.session.export_at(index).unwrap().to_bytes();
        (key, it.source, it.sender, it.shared_history)
    }

    fn merged(mut old: InboundSession, new: InboundSession) -> InboundSession {
        merge(&mut old, new);
        old
    }

    // T-55, connected half
    #[test]
    fn copies_of_one_ratchet_join_the_lower_index_and_the_better_source() {
        let group = GroupSession::new(SessionConfig::version_1());
        for old in SOURCES {
            for new in SOURCES {
                for (old_index, new_index) in [(3, 1), (2, 2), (1, 3)] {
                    let mut it = copy(&group, old, old_index);
                    let what = merge(&mut it, copy(&group, new, new_index));
                    assert_eq!(it.session.first_known_index(), old_index.min(new_index));
                    assert_eq!(it.source, old.max(new));
                    assert_eq!(it.sender, copy(&group, old.max(new), 0).sender);
                    let better = new_index < old_index || old < new;
                    assert_eq!(what == Merged::Improved, better, "{old:?} {new:?}");
                }
            }
        }
    }

    // T-55, unconnected half
    #[test]
    fn a_forged_copy_neither_replaces_nor_blocks_the_real_one() {
        let group = GroupSession::new(SessionConfig::version_1());
        for old in SOURCES {
            for new in SOURCES {
                for (old_index, new_index) in [(3, 1), (2, 2), (1, 3)] {
                    let before = outcome(copy(&group, old, old_index));
                    let newcomer = outcome(forged(&group, new, new_index));
                    let it = merged(copy(&group, old, old_index), forged(&group, new, new_index));
                    let replaced = new.is_proof() && !old.is_proof();
                    assert_eq!(outcome(it), if replaced { newcomer } else { before });
                }
            }
        }
    }

    #[test]
    fn history_is_shared_only_if_the_best_sources_agree() {
        let group = GroupSession::new(SessionConfig::version_1());
        let with =
            |source, shared_history| InboundSession { shared_history, ..copy(&group, source, 0) };
        assert!(merged(with(Source::Backup, false), with(Source::Olm, true)).shared_history);
        assert!(!merged(with(Source::Olm, false), with(Source::Backup, true)).shared_history);
        assert!(!merged(with(Source::Olm, true), with(Source::Olm, false)).shared_history);
    }

    #[test]
    fn another_device_that_passes_a_key_on_does_not_become_its_creator() {
        let group = GroupSession::new(SessionConfig::version_1());
        let thief = InboundSession {
            creator: Creator { curve25519: "other".into(), ed25519: "other".into() },
            sender: SenderData::Unknown { claimed: Some(UserId::parse("@m:x").unwrap()) },
            ..copy(&group, Source::Olm, 0)
        };
        let it = merged(copy(&group, Source::Olm, 0), thief);
        assert_eq!(it.sender, copy(&group, Source::Olm, 0).sender);
        assert_eq!(it.creator.curve25519, "curve");
    }

    fn copies() -> impl Strategy<Value = Vec<(usize, u32, bool)>> {
        prop::collection::vec((0..SOURCES.len(), 0..4_u32, any::<bool>()), 3)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn merging_is_the_same_in_any_order_and_grouping(copies in copies()) {
            let group = GroupSession::new(SessionConfig::version_1());
            let make = |at: usize| {
                let (source, index, shared_history) = copies[at];
                InboundSession { shared_history, ..copy(&group, SOURCES[source], index) }
            };
            let expected = outcome(merged(merged(make(0), make(1)), make(2)));
            for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let [a, b, c] = order;
                prop_assert_eq!(&expected, &outcome(merged(merged(make(a), make(b)), make(c))));
                prop_assert_eq!(&expected, &outcome(merged(make(a), merged(make(b), make(c)))));
            }
            let twice = merged(make(0), make(0));
            prop_assert_eq!(outcome(make(0)), outcome(twice));
        }
    }
}
