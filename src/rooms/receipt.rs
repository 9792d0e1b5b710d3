//! Who read up to where.
//!
//! # Spec
//! Client-Server API, "Receipts".

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::matrix::{Event, EventId, OwnedEventId, OwnedUserId, UserId};

/// The latest receipt of every user, by user and by event. One receipt costs a logarithm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    by_user: BTreeMap<OwnedUserId, OwnedEventId>,
    by_event: BTreeMap<OwnedEventId, BTreeSet<OwnedUserId>>,
}

impl Receipts {
    /// Takes an `m.receipt` event; gives what it says, malformed parts left out. Public and
    /// private receipts count alike, threaded ones only for the main timeline.
    pub fn apply(&mut self, event: &Event) -> Vec<(OwnedUserId, OwnedEventId)> {
        let read = receipts(event);
        for (user, event) in &read {
            self.set(user, event);
        }
        read
    }

    /// A user has read up to this event.
    pub fn set(&mut self, user: &UserId, event: &EventId) {
        if let Some(old) = self.by_user.insert(user.to_owned(), event.to_owned()) {
            let readers = self.by_event.get_mut(&old);
            let is_empty = readers.is_some_and(|readers| {
                readers.remove(user);
                readers.is_empty()
            });
            if is_empty {
                self.by_event.remove(&old);
            }
        }
        self.by_event.entry(event.to_owned()).or_default().insert(user.to_owned());
    }

    /// Up to where a user has read.
    pub fn of(&self, user: &UserId) -> Option<&EventId> {
        self.by_user.get(user).map(AsRef::as_ref)
    }

    /// Whose latest receipt is at this event, by user id.
    pub fn at(&self, event: &EventId) -> impl Iterator<Item = &UserId> {
        self.by_event.get(event).into_iter().flatten().map(AsRef::as_ref)
    }
}

fn receipts(event: &Event) -> Vec<(OwnedUserId, OwnedEventId)> {
    let mut read = Vec::new();
    for (id, kinds) in &event.content {
        let Ok(id) = EventId::parse(id.as_str()) else { continue };
        for kind in ["m.read", "m.read.private"] {
            let users = kinds.get(kind).and_then(Value::as_object);
            for (user, receipt) in users.into_iter().flatten() {
                let thread = receipt.get("thread_id").and_then(Value::as_str);
                let is_main = matches!(thread, None | Some("main"));
                if let (true, Ok(user)) = (is_main, UserId::parse(user.as_str())) {
                    read.push((user, id.clone()));
                }
            }
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_is_at_one_event_only() {
        let mut receipts = Receipts::default();
        for id in ["$1", "$2"] {
            let event = json!({"type": "m.receipt", "content": {
                id: {"m.read": {"@a:b": {"ts": 1}, "nobody": {}, "@t:b": {"thread_id": "$t"}},
                    "m.read.private": {"@c:b": {}}, "m.other": 7},
                "no event": {"m.read": {"@a:b": {}}},
            }});
            let event = Event::parse(&event.to_string()).expect("an event");
            assert_eq!(receipts.apply(&event).len(), 2);
        }
        let (one, two) = (EventId::parse("$1").expect("id"), EventId::parse("$2").expect("id"));
        assert_eq!(receipts.at(&one).count(), 0);
        assert_eq!(receipts.at(&two).map(UserId::as_str).collect::<Vec<_>>(), ["@a:b", "@c:b"]);
        let alice = UserId::parse("@a:b").expect("id");
        assert_eq!(receipts.of(&alice), Some(two.as_ref()));
    }
}
