//! Who is there. Not on the disk: a restart forgets it.

use std::time::Duration;

use super::step::Step;
use crate::{
    matrix::{OwnedUserId, UserId},
    time::Timestamp,
};

/// How long what somebody said about themselves holds.
const LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// What somebody said about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    /// `online`, `unavailable` or `offline`.
    pub(crate) state: String,
    pub(crate) status: Option<String>,
    pub(crate) since: Timestamp,
    /// Its number among what is not on the disk, for syncs.
    pub(crate) serial: u64,
}

/// What `user` said last.
pub(crate) fn of<'a>(step: &'a Step<'_>, user: &UserId) -> Option<&'a Presence> {
    step.volatile.presence.get(user, step.now).map(|(_, presence)| presence)
}

/// What everybody said last.
pub(crate) fn all<'a>(step: &'a Step<'_>) -> impl Iterator<Item = (&'a OwnedUserId, &'a Presence)> {
    step.volatile.presence.iter(step.now)
}

/// Keeps what `user` says.
pub(crate) fn set(step: &mut Step<'_>, user: OwnedUserId, state: String, status: Option<String>) {
    let serial = step.volatile.serials.next();
    let presence = Presence { state, status, since: step.now, serial };
    let until = step.now.plus(LASTS);
    step.volatile.presence.put(user, (until, presence), step.now);
}
