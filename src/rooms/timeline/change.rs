//! State events as lines: who came and went, what was renamed.

use serde_json::Value;

use super::event::StoredEvent;
use crate::{
    matrix::{EventId, UserId},
    rooms::MemberState,
    time::Timestamp,
};

/// One change of the room's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its event.
    pub event_id: Option<&'a EventId>,
    /// Who did it.
    pub sender: &'a UserId,
    /// When, says the sender's server.
    pub ts: Timestamp,
    /// What.
    pub kind: ChangeKind<'a>,
}

/// What changed; all text is untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind<'a> {
    /// Somebody's membership or profile.
    Member {
        /// Whose.
        user: &'a UserId,
        /// How.
        what: MemberChange<'a>,
        /// Why, if it was said.
        reason: Option<&'a str>,
    },
    /// The room was made.
    Created,
    /// Encryption was turned on.
    Encrypted,
    /// The room has this name, or none.
    Name(Option<&'a str>),
    /// The room has this topic, or none.
    Topic(Option<&'a str>),
    /// The room has another picture.
    Avatar,
    /// Who may read history: the value of the event.
    HistoryVisibility(&'a str),
    /// Who may join: the value of the event.
    JoinRule(&'a str),
    /// Somebody may do more or less.
    PowerLevels,
    /// Messages were pinned or unpinned.
    Pinned,
    /// The room goes on elsewhere, with these words.
    Upgraded(&'a str),
    /// Somebody wants to verify somebody.
    VerificationAsked {
        /// Who was asked.
        to: &'a UserId,
        /// Whether that is us.
        is_us: bool,
    },
    /// We verified somebody.
    Verified {
        /// Whom, if that is known.
        with: Option<&'a UserId>,
    },
    /// A verification ended without a result, for this reason.
    VerificationCancelled(&'static str),
}

impl ChangeKind<'_> {
    /// Whether it is about a verification, and not about the room's state.
    pub fn is_verification(&self) -> bool {
        match self {
            Self::VerificationAsked { .. }
            | Self::Verified { .. }
            | Self::VerificationCancelled(_) => true,
            Self::Member { .. }
            | Self::Created
            | Self::Encrypted
            | Self::Name(_)
            | Self::Topic(_)
            | Self::Avatar
            | Self::HistoryVisibility(_)
            | Self::JoinRule(_)
            | Self::PowerLevels
            | Self::Pinned
            | Self::Upgraded(_) => false,
        }
    }
}

/// How a membership or profile changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberChange<'a> {
    /// Came in.
    Joined,
    /// Went.
    Left,
    /// Was invited.
    Invited,
    /// Asked to be let in.
    Knocked,
    /// Was removed.
    Kicked,
    /// Was banned.
    Banned,
    /// Is no longer banned.
    Unbanned,
    /// Refused an invite, or took a knock back.
    Refused,
    /// The invite was taken back, or the knock refused.
    Withdrawn,
    /// Changed the display name.
    Renamed {
        /// Before.
        from: Option<&'a str>,
        /// Now.
        to: Option<&'a str>,
    },
    /// Changed the picture.
    Avatar,
}

/// Several changes told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoldedChange<'a> {
    /// These users did, or were done, the same; each named once, in the order of events.
    Members {
        /// What.
        what: MemberChange<'a>,
        /// Who.
        users: Vec<&'a UserId>,
    },
    /// A change that is told by itself.
    Single(Change<'a>),
}

/// Folds changes that follow each other: all who joined in one, all who left in one; renames and
/// changes of the room by themselves. Who was invited and then came is only told to have come.
pub fn fold_changes<'a>(changes: &[Change<'a>]) -> Vec<FoldedChange<'a>> {
    let mut folded: Vec<FoldedChange<'a>> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for change in without_answered_invites(changes) {
        let ChangeKind::Member { user, what, .. } = change.kind else {
            folded.push(FoldedChange::Single(*change));
            continue;
        };
        if matches!(what, MemberChange::Renamed { .. }) {
            folded.push(FoldedChange::Single(*change));
            continue;
        }
        if !seen.insert((what, user)) {
            continue;
        }
        let same = folded.iter_mut().find_map(|line| match line {
            FoldedChange::Members { what: other, users } if *other == what => Some(users),
            FoldedChange::Members { .. } | FoldedChange::Single(_) => None,
        });
        match same {
            Some(users) => users.push(user),
            None => folded.push(FoldedChange::Members { what, users: vec![user] }),
        }
    }
    folded
}

fn without_answered_invites<'c, 'a>(changes: &'c [Change<'a>]) -> Vec<&'c Change<'a>> {
    let mut comes_later = std::collections::BTreeSet::new();
    let mut kept: Vec<&'c Change<'a>> = Vec::with_capacity(changes.len());
    for change in changes.iter().rev() {
        if let ChangeKind::Member { user, what, .. } = change.kind {
            match what {
                MemberChange::Joined => drop(comes_later.insert(user)),
                MemberChange::Invited if comes_later.remove(user) => continue,
                MemberChange::Left
                | MemberChange::Invited
                | MemberChange::Knocked
                | MemberChange::Kicked
                | MemberChange::Banned
                | MemberChange::Unbanned
                | MemberChange::Refused
                | MemberChange::Withdrawn
                | MemberChange::Renamed { .. }
                | MemberChange::Avatar => {}
            }
        }
        kept.push(change);
    }
    kept.reverse();
    kept
}

/// The line of a state event; `None` when it shows nothing.
pub(super) fn change(stored: &StoredEvent) -> Option<Change<'_>> {
    let event = &stored.event;
    let key = event.state_key.as_deref()?;
    let text = |field: &str| event.content_str(field);
    let kind = match (event.kind.as_str(), key) {
        ("m.room.member", user) => member(stored, <&UserId>::try_from(user).ok()?)?,
        ("m.room.create", "") => ChangeKind::Created,
        ("m.room.encryption", "") => ChangeKind::Encrypted,
        ("m.room.name", "") => ChangeKind::Name(text("name").filter(|name| !name.is_empty())),
        ("m.room.topic", "") => ChangeKind::Topic(text("topic").filter(|topic| !topic.is_empty())),
        ("m.room.avatar", "") => ChangeKind::Avatar,
        ("m.room.history_visibility", "") => {
            ChangeKind::HistoryVisibility(text("history_visibility")?)
        }
        ("m.room.join_rules", "") => ChangeKind::JoinRule(text("join_rule")?),
        ("m.room.power_levels", "") => ChangeKind::PowerLevels,
        ("m.room.pinned_events", "") => ChangeKind::Pinned,
        ("m.room.tombstone", "") => ChangeKind::Upgraded(text("body").unwrap_or_default()),
        _ => return None,
    };
    let (sender, ts) = (stored.sender()?, event.origin_server_ts);
    Some(Change { event_id: stored.id(), sender, ts, kind })
}

fn member<'a>(stored: &'a StoredEvent, user: &'a UserId) -> Option<ChangeKind<'a>> {
    let content = &stored.event.content;
    let before = stored.event.unsigned.prev_content.as_ref();
    let field = |name: &str| content.get(name).and_then(Value::as_str);
    let old = |name: &str| before.and_then(|content| content.get(name)).and_then(Value::as_str);
    let state = MemberState::parse(field("membership").unwrap_or_default());
    let was = old("membership").map_or(MemberState::Leave, MemberState::parse);
    let alone = stored.sender() == Some(user);
    let what = match (was, state) {
        (MemberState::Join, MemberState::Join) => {
            let (from, to) = (old("displayname"), field("displayname"));
            if from != to {
                MemberChange::Renamed { from, to }
            } else if old("avatar_url") != field("avatar_url") {
                MemberChange::Avatar
            } else {
                return None;
            }
        }
        (_, MemberState::Join) => MemberChange::Joined,
        (_, MemberState::Invite) => MemberChange::Invited,
        (_, MemberState::Knock) => MemberChange::Knocked,
        (_, MemberState::Ban) => MemberChange::Banned,
        (MemberState::Ban, MemberState::Leave) => MemberChange::Unbanned,
        (MemberState::Invite | MemberState::Knock, MemberState::Leave) if alone => {
            MemberChange::Refused
        }
        (MemberState::Invite | MemberState::Knock, MemberState::Leave) => MemberChange::Withdrawn,
        (MemberState::Join | MemberState::Leave, MemberState::Leave) if alone => MemberChange::Left,
        (MemberState::Join | MemberState::Leave, MemberState::Leave) => MemberChange::Kicked,
    };
    Some(ChangeKind::Member { user, what, reason: field("reason") })
}
