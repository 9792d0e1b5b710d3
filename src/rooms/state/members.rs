//! The people of a room and what they are called.
//!
//! Everything is logarithmic in the number of members, so that rooms with a hundred thousand of
//! them cost nothing extra per event.

use std::collections::{BTreeMap, BTreeSet};

use super::skeleton::skeleton;
use crate::matrix::{Event, OwnedUserId, SafeText, UserId};

/// A user's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// In the room.
    Join,
    /// Invited.
    Invite,
    /// Asked to be let in.
    Knock,
    /// Left, was removed, refused or was never in it.
    Leave,
    /// Banned.
    Ban,
}

impl MemberState {
    /// Reads `membership`; anything unknown counts as not being in the room.
    pub fn parse(text: &str) -> Self {
        match text {
            "join" => Self::Join,
            "invite" => Self::Invite,
            "knock" => Self::Knock,
            "ban" => Self::Ban,
            _ => Self::Leave,
        }
    }

    /// Joined or invited.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Join | Self::Invite)
    }
}

/// One user's place in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Membership.
    pub state: MemberState,
    /// Display name as sent, if it shows anything; untrusted.
    pub name: Option<String>,
    /// Who caused this membership: the inviter, for an invite.
    pub by: Option<OwnedUserId>,
}

/// Longest display name that is kept, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// All members by user, and the active ones by the skeleton of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    by_user: BTreeMap<OwnedUserId, Member>,
    by_name: BTreeMap<String, BTreeSet<OwnedUserId>>,
    joined: u64,
    invited: u64,
}

impl Members {
    /// Takes an `m.room.member` event; one whose state key is no user id is not a membership.
    pub(super) fn apply(&mut self, event: &Event) {
        let Some(Ok(user)) = event.state_key.as_deref().map(UserId::parse) else { return };
        let name = event.content_str("displayname");
        let name = name.filter(|name| name.len() <= MAX_NAME_BYTES);
        let name = name.filter(|name| !SafeText::line(name).is_blank());
        let state = MemberState::parse(event.content_str("membership").unwrap_or_default());
        let member = Member { state, name: name.map(str::to_owned), by: event.sender.clone() };
        self.set(user, member);
    }

    /// Counts a user as invited until the server says otherwise, because an invite of ours was
    /// just accepted.
    pub(super) fn assume_invited(&mut self, user: &UserId, by: &UserId) {
        let known = self.by_user.get(user);
        if known.is_none_or(|member| !member.state.is_active()) {
            let name = known.and_then(|member| member.name.clone());
            let member = Member { state: MemberState::Invite, name, by: Some(by.to_owned()) };
            self.set(user.to_owned(), member);
        }
    }

    fn set(&mut self, user: OwnedUserId, member: Member) {
        if let Some(old) = self.by_user.remove(&user) {
            self.count(old.state, |count| count.saturating_sub(1));
            let key = old.name.as_deref().map(skeleton).unwrap_or_default();
            if let Some(users) = self.by_name.get_mut(&key) {
                users.remove(&user);
                if users.is_empty() {
                    self.by_name.remove(&key);
                }
            }
        }
        self.count(member.state, |count| count.saturating_add(1));
        if let (true, Some(name)) = (member.state.is_active(), &member.name) {
            self.by_name.entry(skeleton(name)).or_default().insert(user.clone());
        }
        self.by_user.insert(user, member);
    }

    fn count(&mut self, state: MemberState, change: impl Fn(u64) -> u64) {
        match state {
            MemberState::Join => self.joined = change(self.joined),
            MemberState::Invite => self.invited = change(self.invited),
            MemberState::Knock | MemberState::Leave | MemberState::Ban => {}
        }
    }

    pub(super) fn get(&self, user: &UserId) -> Option<&Member> {
        self.by_user.get(user)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OwnedUserId, &Member)> {
        self.by_user.iter()
    }

    pub(super) fn joined(&self) -> u64 {
        self.joined
    }

    pub(super) fn invited(&self) -> u64 {
        self.invited
    }

    /// What to call a user: the display name, with the id behind it when the name alone could be
    /// taken for somebody else's; the id when there is no name.
    ///
    /// # Spec
    /// Client-Server API, "Calculating the display name for a user"; look-alikes are ours.
    pub(super) fn display_name(&self, user: &UserId) -> String {
        let Some(name) = self.get(user).and_then(|member| member.name.as_deref()) else {
            return user.as_str().to_owned();
        };
        let shared = self
            .by_name
            .get(&skeleton(name))
            .is_some_and(|users| users.len() > 1 || !users.contains(user));
        let poses = SafeText::line(name).as_str() != name.trim() || poses_as_id(name, user);
        if shared || poses { format!("{name} ({user})") } else { name.to_owned() }
    }
}

/// Whether a name has the form of somebody else's user id.
fn poses_as_id(name: &str, user: &UserId) -> bool {
    let name = name.trim();
    name != user.as_str() && name.contains('@') && name.contains(':')
}
