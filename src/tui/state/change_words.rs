//! Changes of a room in words: who came and went, what was renamed.

use crate::{
    matrix::{SafeText, UserId},
    rooms::{Change, ChangeKind, FoldedChange, MemberChange, fold_changes},
};

/// How many users are named before the others are counted.
const MOST_NAMED: usize = 4;
/// The longest name or topic that is quoted, in columns.
const MOST_QUOTED: usize = 60;

/// One line for changes that follow each other; `name` gives the safe name of a user.
pub(super) fn sentence(changes: &[Change<'_>], name: impl Fn(&UserId) -> SafeText) -> String {
    let lines: Vec<String> =
        fold_changes(changes).iter().map(|change| folded(change, &name)).collect();
    lines.join("; ")
}

fn folded(change: &FoldedChange<'_>, name: &impl Fn(&UserId) -> SafeText) -> String {
    match change {
        FoldedChange::Members { what, users } => members(*what, users, name),
        FoldedChange::Single(change) => single(change, name),
    }
}

fn members(
    what: MemberChange<'_>,
    users: &[&UserId],
    name: &impl Fn(&UserId) -> SafeText,
) -> String {
    let named: Vec<String> =
        users.iter().take(MOST_NAMED).map(|user| name(user).truncated(24).into_string()).collect();
    let who = match users.len().saturating_sub(MOST_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    };
    format!("{who} {}", verb(what))
}

fn verb(what: MemberChange<'_>) -> &'static str {
    match what {
        MemberChange::Joined => "joined",
        MemberChange::Left => "left",
        MemberChange::Invited => "got an invite",
        MemberChange::Knocked => "asked to be let in",
        MemberChange::Kicked => "had to leave",
        MemberChange::Banned => "got banned",
        MemberChange::Unbanned => "may come back (ban lifted)",
        MemberChange::Refused => "declined",
        MemberChange::Withdrawn => "lost the invite",
        MemberChange::Renamed { .. } => "changed names",
        MemberChange::Avatar => "changed the picture",
    }
}

fn single(change: &Change<'_>, name: &impl Fn(&UserId) -> SafeText) -> String {
    let who = name(change.sender).truncated(24);
    match change.kind {
        ChangeKind::Member { user, what: MemberChange::Renamed { from, to }, .. } => {
            let from = from.map_or_else(|| SafeText::line(user.as_str()), quoted);
            let to = to.map_or_else(|| SafeText::line(user.as_str()), quoted);
            format!("{from} is now {to}")
        }
        ChangeKind::Member { user, what, .. } => members(what, &[user], name),
        ChangeKind::Created => format!("{who} made this room"),
        ChangeKind::Encrypted => format!("{who} turned encryption on"),
        ChangeKind::Name(Some(text)) => format!("{who} named the room “{}”", quoted(text)),
        ChangeKind::Name(None) => format!("{who} took the room's name away"),
        ChangeKind::Topic(Some(text)) => format!("{who} set the topic “{}”", quoted(text)),
        ChangeKind::Topic(None) => format!("{who} took the topic away"),
        ChangeKind::Avatar => format!("{who} changed the room's picture"),
        ChangeKind::HistoryVisibility(value) => {
            format!("{who} made the history readable for: {}", quoted(value))
        }
        ChangeKind::JoinRule(value) => format!("{who} set who may join: {}", quoted(value)),
        ChangeKind::PowerLevels => format!("{who} changed what members may do"),
        ChangeKind::Pinned => format!("{who} changed the pinned messages"),
        ChangeKind::Upgraded(words) => {
            format!("{who} moved the room elsewhere: {}", quoted(words))
        }
        ChangeKind::VerificationAsked { is_us: true, .. } => {
            format!("{who} asked to verify you (alt-v)")
        }
        ChangeKind::VerificationAsked { to, is_us: false } => {
            format!("{who} asked to verify {}", name(to).truncated(24))
        }
        ChangeKind::Verified { with } => match with {
            Some(user) => format!("verified: {}", name(user).truncated(24)),
            None => "verified".to_owned(),
        },
        ChangeKind::VerificationCancelled(why) => format!("verification cancelled: {why}"),
    }
}

fn quoted(text: &str) -> SafeText {
    SafeText::short(text, MOST_QUOTED)
}
