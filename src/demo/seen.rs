//! What a person of the demo notices of all that their engine tells.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::{
    engine::{Update, VerificationId, VerificationStage as Stage, VerificationView},
    matrix::{Membership, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
    rooms::{EventBody, Relation, StoredEvent, TimelineDelta},
};

/// How many events are remembered, so that none is noticed twice.
const MEMORY: usize = 4096;

/// Where something happens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The chat of the user and the guide.
    Direct,
    /// The room of all three.
    Group,
    /// A room that the user made.
    Elsewhere(OwnedRoomId),
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The person before the screen.
    User,
    /// Whoever notices.
    Me,
    /// Somebody else.
    Other,
}

/// Something that a person notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Everybody is there.
    Curtain,
    /// A message.
    Said(Said),
    /// A message has other words now.
    Edited(Place, Who),
    /// A reaction.
    Reacted(Place, Who),
    /// A message is gone.
    Removed(Place, Who),
    /// The user wants us in a room.
    Invited(OwnedRoomId),
    /// The user asks to verify us.
    AskedToVerify(VerificationId),
    /// The user may compare; this is what we see.
    Compare(VerificationId, Place, String),
    /// The user and we verified each other.
    Verified(Place),
    /// A verification ended without a result.
    NotVerified(Place),
    /// Nothing happened for a while.
    Quiet,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) place: Place,
    pub(super) by: Who,
    pub(super) event: OwnedEventId,
    pub(super) text: String,
    /// What sort of message it is.
    pub(super) shape: Shape,
    /// Whether it answers a message.
    pub(super) is_reply: bool,
    /// Whether it is meant for whoever notices.
    pub(super) names_me: bool,
}

/// Sorts of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Words.
    Words,
    /// What its sender does.
    Emote,
    /// A file.
    File,
}

impl Shape {
    /// The shape of this `msgtype`; `None` for what is no message to people.
    fn of(msgtype: Option<&str>) -> Option<Self> {
        Some(match msgtype {
            Some("m.emote") => Self::Emote,
            Some("m.file" | "m.image" | "m.audio" | "m.video") => Self::File,
            Some("m.key.verification.request") => return None,
            Some(_) | None => Self::Words,
        })
    }
}

/// Who and where is who and where.
#[derive(Clone, Debug)]
pub(super) struct Bearings {
    pub(super) user: OwnedUserId,
    pub(super) me: OwnedUserId,
    pub(super) direct: OwnedRoomId,
    pub(super) group: OwnedRoomId,
}

impl Bearings {
    fn place(&self, room: &RoomId) -> Place {
        if *room == *self.direct {
            Place::Direct
        } else if *room == *self.group {
            Place::Group
        } else {
            Place::Elsewhere(room.to_owned())
        }
    }

    /// The room at a place.
    pub(super) fn room<'a>(&'a self, place: &'a Place) -> &'a OwnedRoomId {
        match place {
            Place::Direct => &self.direct,
            Place::Group => &self.group,
            Place::Elsewhere(room) => room,
        }
    }
}

/// Turns updates into what is noticed, each thing once.
#[derive(Debug)]
pub(super) struct Senses {
    bearings: Bearings,
    known: BTreeSet<OwnedEventId>,
    in_order: VecDeque<OwnedEventId>,
    invited: BTreeSet<OwnedRoomId>,
    /// Where the verifications stand that are under way.
    verifications: BTreeMap<VerificationId, Stage>,
}

impl Senses {
    pub(super) fn new(bearings: Bearings) -> Self {
        Self {
            bearings,
            known: BTreeSet::new(),
            in_order: VecDeque::new(),
            invited: BTreeSet::new(),
            verifications: BTreeMap::new(),
        }
    }

    pub(super) fn bearings(&self) -> &Bearings {
        &self.bearings
    }

    /// What of an update is noticed.
    pub(super) fn notice(&mut self, update: &Update) -> Vec<Seen> {
        match update {
            Update::Timeline { room, delta: TimelineDelta::Events(events), live: true } => {
                events.iter().filter_map(|event| self.event(room, event)).collect()
            }
            Update::Rooms(rooms) => {
                let invites = rooms.iter().filter(|room| room.membership == Membership::Invite);
                let new = invites.filter(|room| self.invited.insert(room.room_id.clone()));
                new.map(|room| Seen::Invited(room.room_id.clone())).collect()
            }
            Update::Verification(view) => self.verification(view).into_iter().collect(),
            Update::Timeline { .. }
            | Update::Link(_)
            | Update::Synced
            | Update::CaughtUp
            | Update::RoomsGone(_)
            | Update::LastVisited(_)
            | Update::Members { .. }
            | Update::Typing { .. }
            | Update::Receipts { .. }
            | Update::Outbox { .. }
            | Update::Progress { .. }
            | Update::Recovery(_)
            | Update::Alarm(_)
            | Update::AuthNeeded(_)
            | Update::AuthOver
            | Update::RoomTrust(_)
            | Update::Backup(_)
            | Update::Outcome { .. }
            | Update::Ended { .. } => Vec::new(),
        }
    }

    fn verification(&mut self, view: &VerificationView) -> Option<Seen> {
        let VerificationView { id, stage, .. } = view;
        let before = if stage.is_over() {
            self.verifications.remove(id)
        } else {
            self.verifications.insert(*id, stage.clone())
        };
        if view.user != self.bearings.user || before.as_ref() == Some(stage) {
            return None;
        }
        let place = self.bearings.place(view.room.as_deref()?);
        Some(match stage {
            Stage::Invited => Seen::AskedToVerify(*id),
            Stage::Compare { emoji, .. } => {
                let seen = emoji.iter().map(|it| format!("{} {}", it.name, it.picture));
                Seen::Compare(*id, place, seen.collect::<Vec<_>>().join(", "))
            }
            Stage::Done => Seen::Verified(place),
            Stage::Cancelled { .. } => Seen::NotVerified(place),
            Stage::Asked
            | Stage::Ready { .. }
            | Stage::Waiting
            | Stage::Confirmed
            | Stage::Scanned
            | Stage::Reciprocated
            | Stage::Elsewhere => return None,
        })
    }

    fn event(&mut self, room: &RoomId, stored: &StoredEvent) -> Option<Seen> {
        let event = stored.id()?.to_owned();
        // One that cannot be read yet comes again when it can.
        if matches!(stored.body, EventBody::Undecryptable(_)) || self.known.contains(&event) {
            return None;
        }
        let place = self.bearings.place(room);
        let by = self.who(stored)?;
        let seen = match (stored.relation(), stored.kind()) {
            (Some(Relation::Edit(_)), _) => Seen::Edited(place, by),
            (Some(Relation::Reaction { .. }), _) => Seen::Reacted(place, by),
            (_, "m.room.redaction") => {
                // Taking a reaction back removes no message.
                self.known.contains(stored.redacts()?).then_some(Seen::Removed(place, by))?
            }
            (relation, "m.room.message") => {
                self.remember(event.clone());
                let content = stored.content();
                let text = content.get("body").and_then(Value::as_str)?.to_owned();
                let shape = Shape::of(content.get("msgtype").and_then(Value::as_str))?;
                let me = &self.bearings.me;
                let is_called = text.to_lowercase().contains(&me.localpart().to_lowercase());
                let names_me = is_called || stored.mentions(me);
                let is_reply = relation.is_some();
                Seen::Said(Said { place, by, event, text, shape, is_reply, names_me })
            }
            (_, _) => return None,
        };
        Some(seen)
    }

    fn who(&self, stored: &StoredEvent) -> Option<Who> {
        let sender = stored.sender()?;
        Some(if *sender == *self.bearings.user {
            Who::User
        } else if *sender == *self.bearings.me {
            Who::Me
        } else {
            Who::Other
        })
    }

    fn remember(&mut self, event: OwnedEventId) {
        self.known.insert(event.clone());
        self.in_order.push_back(event);
        while MEMORY < self.in_order.len() {
            if let Some(oldest) = self.in_order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{matrix::Event, rooms::Shield};

    fn senses() -> Senses {
        Senses::new(Bearings {
            user: "@you:demo".try_into().unwrap(),
            me: "@guide:demo".try_into().unwrap(),
            direct: "!direct:demo".try_into().unwrap(),
            group: "!group:demo".try_into().unwrap(),
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn update(room: &str, (id, sender, kind): (&str, &str, &str), content: Value) -> Update {
        let event = json!({"type": kind, "event_id": id, "sender": sender,
            "origin_server_ts": 1, "content": content});
        let event: Event = serde_json::from_value(event).unwrap();
        let body = EventBody::Clear(Shield::None);
        let events = vec![StoredEvent { position: 1, event, body }];
        let room = room.try_into().unwrap();
        Update::Timeline { room, delta: TimelineDelta::Events(events), live: true }
    }

    #[test]
    fn a_message_is_noticed_once() {
        let mut senses = senses();
        let said = update(
            "!direct:demo",
            ("$a", "@you:demo", "m.room.message"),
            json!({"msgtype": "m.text", "body": "Hello, Guide"}),
        );
        let expected = Said {
            place: Place::Direct,
            by: Who::User,
            event: "$a".try_into().unwrap(),
            text: "Hello, Guide".into(),
            shape: Shape::Words,
            is_reply: false,
            names_me: true,
        };
        assert_eq!(senses.notice(&said), [Seen::Said(expected)]);
        assert_eq!(senses.notice(&said), []);
    }

    #[test]
    fn only_messages_count_as_removed() {
        let mut senses = senses();
        let text = json!({"msgtype": "m.text", "body": "x"});
        senses.notice(&update("!group:demo", ("$a", "@you:demo", "m.room.message"), text));
        let mut remove = |id: &str, target: &str| {
            let content = json!({"redacts": target});
            senses.notice(&update("!group:demo", (id, "@you:demo", "m.room.redaction"), content))
        };
        assert_eq!(remove("$b", "$reaction"), []);
        assert_eq!(remove("$c", "$a"), [Seen::Removed(Place::Group, Who::User)]);
    }
}
