//! One room: its line, its state once it was needed, and the places of its events.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    matrix::{Event, Membership, OwnedEventId, OwnedUserId, RoomHeroes, RoomId, UserId},
    rooms::{Direct, RoomKind, RoomState, RoomSummary, StoredEvent},
    store::{RoomRow, Store},
    time::Timestamp,
};

use super::{error::EngineError, members::member_of, newcomers::Newcomers};

/// How far apart two live stretches stand, so that the history between them fits in.
const STRIDE: i64 = 1 << 20;

/// Unread mentions, and events of verifications, that are counted.
const MOST_COUNTED: usize = 99;

/// What is kept on disk beside a room's line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// `summary` of the sync answers, folded.
    pub(super) heroes: RoomHeroes,
    /// Whether the state holds every member.
    pub(super) members_complete: bool,
    /// Who came since we last wrote.
    pub(super) newcomers: Newcomers,
    /// Whether the server was asked, since anything was doubtful, if the room is encrypted.
    pub(super) encryption_asked: bool,
    /// For whom `m.direct` names the room.
    pub(super) direct: Vec<OwnedUserId>,
    /// With whom `m.direct` is to name the room once we are in it: their invite was accepted here.
    pub(super) direct_due: Option<OwnedUserId>,
    /// Up to where we read, here or on another device (`m.fully_read`).
    pub(super) read: Option<OwnedEventId>,
    /// Places of unread messages that name us and that the server could not read.
    pub(super) mentions: BTreeSet<i64>,
    /// Places of unread events that the server takes for messages and that are none: those of
    /// verifications, which it cannot read where they are encrypted, and whose requests it counts
    /// where they are not.
    pub(super) quiet: BTreeSet<i64>,
    /// When the user went there last, on a screen of this device.
    pub(super) visited: Option<Timestamp>,
    /// Unread messages, and those that mention us, as the server counts them.
    pub(super) unread: u64,
    pub(super) highlights: u64,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) summary: RoomSummary,
    pub(super) record: Record,
    pub(super) state: RoomState,
    /// Users whose membership changed since all members were asked for; `None` while nobody asked.
    pub(super) changed_members: Option<BTreeSet<OwnedUserId>>,
    /// Who types, ourselves left out.
    pub(super) typing: Vec<OwnedUserId>,
    /// Where the next live event goes.
    next: i64,
}

/// Whether events are missing before a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Some are.
    Before,
    /// None are.
    None,
}

impl Room {
    /// Reads what the store has of a room.
    pub(super) fn open(
        summary: RoomSummary,
        record: Record,
        me: &OwnedUserId,
        store: &Store,
    ) -> Result<Self, EngineError> {
        let id = summary.room_id.clone();
        let mut state = RoomState::new(&id, me);
        for event in store.state(&id)? {
            state.apply(&event);
        }
        state.apply_heroes(&record.heroes);
        if summary.encrypted {
            state.latch_encrypted();
        }
        let next = store.bounds(&id)?.map_or(1, |(_, last)| last.max(0).saturating_add(1));
        let (changed_members, typing) = (None, Vec::new());
        Ok(Self { summary, record, state, changed_members, typing, next })
    }

    /// Holds this state and no other.
    pub(super) fn reset(&mut self, state: &[Event]) {
        let fresh = RoomState::new(self.state.room_id(), self.state.own_user());
        let old = std::mem::replace(&mut self.state, fresh);
        for event in state {
            self.state.apply(event);
        }
        self.state.apply_heroes(&self.record.heroes);
        if old.is_encrypted() {
            self.state.latch_encrypted();
        }
    }

    /// Takes a state event.
    pub(super) fn apply(&mut self, event: &Event) {
        let member = member_of(event).map(|user| (self.state.membership(&user), user));
        self.state.apply(event);
        if let Some((before, user)) = member {
            if user != *self.state.own_user() {
                let now = self.state.membership(&user);
                self.record.newcomers.note(&user, before, now);
            }
            if let Some(changed) = &mut self.changed_members {
                changed.insert(user);
            }
        }
    }

    /// Takes the counts and heroes of a sync answer; what it leaves out is unchanged.
    pub(super) fn fold_heroes(&mut self, new: &RoomHeroes) {
        self.state.apply_heroes(new);
        let heroes = &mut self.record.heroes;
        heroes.joined = new.joined.or(heroes.joined);
        heroes.invited = new.invited.or(heroes.invited);
        if new.heroes.is_some() {
            heroes.heroes.clone_from(&new.heroes);
        }
    }

    /// The place for the next live event; after a gap it leaves room for what is missing.
    pub(super) fn place(&mut self, gap: Gap) -> i64 {
        let place = match gap {
            Gap::Before if self.next > 1 => self.next.saturating_add(STRIDE),
            Gap::Before | Gap::None => self.next,
        };
        self.next = place.saturating_add(1);
        place
    }

    /// Brings the line up to date with the state.
    pub(super) fn refresh(&mut self) {
        let direct = if self.record.direct.is_empty() { Direct::No } else { Direct::Yes };
        self.state.set_direct(direct);
        if self.record.members_complete {
            self.state.set_all_members();
        } else {
            self.state.doubt_members();
        }
        self.state.fill(&mut self.summary);
        let own = u64::try_from(self.record.mentions.len()).unwrap_or(u64::MAX);
        self.summary.highlights = self.record.highlights.max(own);
        let quiet = u64::try_from(self.record.quiet.len()).unwrap_or(u64::MAX);
        self.summary.unread = self.record.unread.saturating_sub(quiet).max(own);
    }

    /// Notes encrypted messages that name us: the server counts none of them; and events of
    /// verifications that it takes for messages: it counts all of them. The oldest are forgotten
    /// when there are too many.
    pub(super) fn note_unread(&mut self, events: &[StoredEvent], me: &UserId) {
        let named = events.iter().filter(|it| it.was_encrypted() && it.mentions(me));
        self.record.mentions.extend(named.map(|it| it.position));
        let by_others = events.iter().filter(|it| it.sender() != Some(me));
        let counted = |it: &&StoredEvent| it.was_encrypted() || it.kind() == "m.room.message";
        let quiet = by_others.filter(|it| it.is_verification()).filter(counted);
        self.record.quiet.extend(quiet.map(|it| it.position));
        for places in [&mut self.record.mentions, &mut self.record.quiet] {
            while MOST_COUNTED < places.len() {
                places.pop_first();
            }
        }
    }

    /// Nothing is unread, until the server says otherwise.
    pub(super) fn all_read(&mut self) {
        (self.record.unread, self.record.highlights) = (0, 0);
        self.record.mentions.clear();
        self.record.quiet.clear();
    }

    /// Everything up to this place was read.
    pub(super) fn forget_mentions(&mut self, up_to: i64) {
        self.record.mentions = self.record.mentions.split_off(&up_to.saturating_add(1));
    }

    /// A receipt of ours covers everything up to this place.
    pub(super) fn take_receipt(&mut self, up_to: i64) {
        self.forget_mentions(up_to);
        self.record.quiet = self.record.quiet.split_off(&up_to.saturating_add(1));
    }

    /// The server's count of unread messages: of what it takes for messages it counts no more.
    pub(super) fn take_unread(&mut self, count: u64) {
        self.record.unread = count;
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        while most < self.record.quiet.len() {
            self.record.quiet.pop_first();
        }
    }

    /// The line and record as they are now.
    pub(super) fn row(&self) -> RoomRow {
        let record = serde_json::to_value(&self.record).unwrap_or(Value::Null);
        RoomRow { summary: self.summary.clone(), record }
    }
}

/// The line of a room nothing is known of.
pub(super) fn empty_summary(room: &RoomId) -> RoomSummary {
    RoomSummary {
        room_id: room.to_owned(),
        name: String::new(),
        kind: RoomKind::Group,
        membership: Membership::Leave,
        encrypted: false,
        unread: 0,
        highlights: 0,
        members: 0,
        topic: None,
        last_activity: Timestamp::default(),
        inviter: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rooms::{EventBody, Shield};

    /// The request of a verification by Bob, in clear.
    fn asked(position: i64) -> StoredEvent {
        let event = json!({
            "type": "m.room.message", "event_id": "$asked", "sender": "@bob:x",
            "origin_server_ts": 1,
            "content": { "msgtype": "m.key.verification.request", "to": "@ana:x", "body": "verify" },
        });
        let event: Event = serde_json::from_value(event).unwrap();
        StoredEvent { position, event, body: EventBody::Clear(Shield::None) }
    }

    #[test]
    fn the_request_of_a_verification_in_clear_is_no_unread_message() {
        let id = <&RoomId>::try_from("!chat:x").unwrap();
        let me = OwnedUserId::try_from("@ana:x").unwrap();
        let mut room = Room {
            summary: empty_summary(id),
            record: Record::default(),
            state: RoomState::new(id, &me),
            changed_members: None,
            typing: Vec::new(),
            next: 1,
        };
        room.note_unread(&[asked(1)], &me);
        room.take_unread(1);
        room.refresh();
        assert_eq!(room.summary.unread, 0);
        room.take_unread(2);
        room.refresh();
        assert_eq!(room.summary.unread, 1, "a message after it");
    }
}
