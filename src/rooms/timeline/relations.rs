//! What hangs on what: by target, whether or not the target is known.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Relation, StoredEvent};
use crate::{
    matrix::{EventId, OwnedEventId, OwnedUserId, UserId},
    time::Timestamp,
};

/// Everything that hangs on one event. What it is worth is looked at when it is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Related {
    /// Edits by sender and by whether they came encrypted, so that edits by others cost nothing.
    edits: BTreeMap<(OwnedUserId, bool), BTreeSet<(Timestamp, OwnedEventId)>>,
    /// Reactions by key and user.
    pub(super) reactions: BTreeMap<String, BTreeMap<OwnedUserId, BTreeSet<OwnedEventId>>>,
    /// Redactions of it.
    pub(super) redactions: BTreeSet<(Timestamp, OwnedEventId)>,
    /// Positions of events that quote it.
    quoted_at: BTreeSet<i64>,
    /// When it last said something else: those that quote it look different since then.
    pub(super) said: u64,
    /// Positions of the events of its thread.
    pub(super) thread: BTreeSet<i64>,
}

impl Related {
    /// Edits by `sender`, the newest first; only encrypted ones if `original` was.
    pub(super) fn edits_for<'a>(
        &'a self,
        original: &StoredEvent,
    ) -> impl Iterator<Item = &'a EventId> + use<'a> {
        let of = |encrypted: bool| {
            let sender = original.sender().map(UserId::to_owned);
            let edits = sender.and_then(|sender| self.edits.get(&(sender, encrypted)));
            edits.into_iter().flatten().rev().peekable()
        };
        let mut encrypted = of(true);
        let mut clear = of(false);
        let only_encrypted = original.was_encrypted();
        std::iter::from_fn(move || {
            let take_clear = !only_encrypted
                && clear.peek().is_some_and(|edit| encrypted.peek().is_none_or(|e| e < edit));
            let edits = if take_clear { &mut clear } else { &mut encrypted };
            edits.next().map(|(_, id)| id.as_ref())
        })
    }
}

/// What an event hangs on.
pub(super) struct Links {
    /// Targets that look different with it, and so do those that quote them.
    pub(super) rewrites: Option<OwnedEventId>,
    /// Targets that look different with it.
    pub(super) touches: Option<OwnedEventId>,
}

/// Relations of all events, by target.
#[derive(Clone, Debug, Default)]
pub(super) struct Relations {
    by_target: BTreeMap<OwnedEventId, Related>,
}

/// Whether an event comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// It comes.
    Bind,
    /// It goes.
    Loose,
}

impl Relations {
    pub(super) fn of(&self, target: &EventId) -> Option<&Related> {
        self.by_target.get(target)
    }

    /// A target says something else from now on.
    pub(super) fn rewrite(&mut self, target: &EventId, revision: u64) {
        if let Some(related) = self.by_target.get_mut(target) {
            related.said = revision;
        }
    }

    /// Forgets targets on which nothing hangs any more.
    pub(super) fn prune(&mut self) {
        self.by_target.retain(|_, related| {
            related.edits.retain(|_, edits| !edits.is_empty());
            related.reactions.retain(|_, users| {
                users.retain(|_, events| !events.is_empty());
                !users.is_empty()
            });
            let Related { edits, reactions, redactions, quoted_at, thread, said: _ } = related;
            let hangs = !edits.is_empty() || !reactions.is_empty() || !redactions.is_empty();
            hangs || !quoted_at.is_empty() || !thread.is_empty()
        });
    }

    /// Binds an event to what it relates to, or looses it; tells what it touches.
    pub(super) fn tie(&mut self, stored: &StoredEvent, tie: Tie) -> Links {
        let mut links = Links { rewrites: None, touches: None };
        let (Some(id), Some(sender)) = (stored.id(), stored.sender()) else { return links };
        let at = (stored.event.origin_server_ts, id.to_owned());
        if let Some(target) = stored.redacts() {
            change(&mut self.target(target).redactions, at, tie);
            links.rewrites = Some(target.to_owned());
            return links;
        }
        match stored.relation() {
            None => {}
            Some(Relation::Edit(target)) => {
                let by = (sender.to_owned(), stored.was_encrypted());
                change(self.target(target).edits.entry(by).or_default(), at, tie);
                links.rewrites = Some(target.to_owned());
            }
            Some(Relation::Reaction { target, key }) => {
                let users = self.target(target).reactions.entry(key.to_owned()).or_default();
                change(users.entry(sender.to_owned()).or_default(), at.1, tie);
                links.touches = Some(target.to_owned());
            }
            Some(Relation::Reply(target)) => {
                change(&mut self.target(target).quoted_at, stored.position, tie);
            }
            Some(Relation::Thread { root, reply }) => {
                if let Some(target) = reply {
                    change(&mut self.target(target).quoted_at, stored.position, tie);
                }
                change(&mut self.target(root).thread, stored.position, tie);
                links.touches = Some(root.to_owned());
            }
        }
        links
    }

    fn target(&mut self, id: &EventId) -> &mut Related {
        self.by_target.entry(id.to_owned()).or_default()
    }
}

fn change<T: Ord>(set: &mut BTreeSet<T>, value: T, tie: Tie) {
    match tie {
        Tie::Bind => drop(set.insert(value)),
        Tie::Loose => drop(set.remove(&value)),
    }
}
