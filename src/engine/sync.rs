//! What a sync answer means, in one order, written once: keys and devices, then state, then
//! timelines, then everything else; the position last, in the same commit, and the
//! acknowledgement only after it.
//!
//! # Spec
//! Client-Server API, "Syncing"; "End-to-End Encryption".

use crate::{
    e2ee::{CryptoSync, Decryption, Shield, ShieldReason},
    matrix::{Event, Membership, OwnedRoomId, Position, RoomDelta, RoomId, SyncDelta},
    rooms::{EventBody, StoredEvent, TimelineDelta},
    store::{self, GapWrite},
    time::Timestamp,
    wire::UpdateFrame,
};

use super::{
    Audience, Engine, Update, error::EngineError, faces::tell_timeline, history::edited, room::Gap,
    secrecy::ENCRYPTION, turn::Turn,
};

/// Whether an answer continues an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncKind {
    /// The first of this login, or after the server lost our place.
    Initial,
    /// It continues from what is on disk.
    Incremental,
}

impl Engine {
    /// Takes one answer of the sync stream.
    pub(super) fn on_update(
        &mut self,
        update: UpdateFrame,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let kind = match update.since {
            Some(_) => SyncKind::Incremental,
            None => SyncKind::Initial,
        };
        let Ok(delta) = SyncDelta::parse_v2(update.body.get()) else {
            turn.out.hang_up = Some("the server sent a sync answer that is not one".to_owned());
            return Ok(());
        };
        let crypto = CryptoSync::of(&delta, kind == SyncKind::Initial);
        self.machine.receive_sync(crypto, &mut turn.step)?;
        for event in &delta.account_data {
            self.on_account_data(event, turn)?;
        }
        let (over, rooms): (Vec<_>, Vec<_>) =
            delta.rooms.iter().partition(|(room, changes)| self.ends(room, changes));
        for (room, changes) in over {
            self.end_room(room, changes, turn)?;
        }
        if kind == SyncKind::Initial {
            self.drop_unnamed(|room| delta.rooms.contains_key(room), turn)?;
        }
        for (room, changes) in &rooms {
            self.begin_room(room, changes, kind, turn)?;
            self.on_room_state(room, changes, turn)?;
        }
        for (room, changes) in &rooms {
            self.on_timeline(room, changes, turn)?;
            self.on_room_rest(room, changes, turn)?;
        }
        self.commit_position(update.position, turn);
        self.on_caught_up(turn)
    }

    /// The position is in the commit that holds what it stands for; the acknowledgement, which
    /// lets the server delete it, leaves after that commit.
    fn commit_position(&mut self, position: Position, turn: &mut Turn<'_>) {
        turn.writes.position = Some(position.clone());
        turn.out.frames.push(self.link.acknowledge(position));
        if !self.rooms.synced {
            self.rooms.synced = true;
            self.recovery.note_change();
            turn.tell_all(Update::Synced);
        }
    }

    /// State before the timeline, and the state events in it: encryption, members, names.
    fn on_room_state(
        &mut self,
        room: &RoomId,
        changes: &RoomDelta,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let timeline = changes.timeline.iter().filter(|event| event.state_key.is_some());
        for event in changes.state.iter().chain(timeline) {
            self.apply_state(room, event, turn)?;
        }
        Ok(())
    }

    /// Our membership, and what a gap or a new start makes doubtful: members may have left unseen.
    fn begin_room(
        &mut self,
        room: &RoomId,
        changes: &RoomDelta,
        kind: SyncKind,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if kind == SyncKind::Initial && self.rooms.line(room).is_some() {
            self.reset_state(room, turn)?;
        }
        let entry = self.rooms.touch(room, turn.store)?;
        let before = entry.summary.membership;
        entry.summary.membership = changes.membership;
        let doubtful = changes.limited || kind == SyncKind::Initial || before != changes.membership;
        if doubtful {
            entry.record.members_complete = false;
            // A list that was asked for before may be from before the gap.
            entry.changed_members = None;
            entry.record.encryption_asked = false;
        }
        if changes.limited {
            self.machine.receive_gap(room, &mut turn.step)?;
        }
        Ok(())
    }

    /// The stream starts anew: the state it gives is all there is. Members stay as names, doubtful
    /// until the whole list is asked for; the encryption of a room stays in any case.
    fn reset_state(&mut self, room: &RoomId, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let kept = |event: &Event| matches!(event.kind.as_str(), "m.room.member" | ENCRYPTION);
        let state = turn.store.state(room)?.into_iter().filter(kept).collect::<Vec<_>>();
        self.rooms.touch(room, turn.store)?.reset(&state);
        turn.writes.reset_state.push(room.to_owned());
        turn.writes.state.extend(state.into_iter().map(|event| (room.to_owned(), event)));
        Ok(())
    }

    /// One state event, to all who keep state.
    pub(super) fn apply_state(
        &mut self,
        room: &RoomId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.rooms.touch(room, turn.store)?.apply(event);
        if event.kind == "m.room.member" {
            turn.members.insert(room.to_owned());
        }
        self.machine.receive_state(room, event, &mut turn.step)?;
        turn.writes.state.push((room.to_owned(), event.clone()));
        Ok(())
    }

    /// New events: their places, what they say, and which of them are ours.
    fn on_timeline(
        &mut self,
        room: &RoomId,
        changes: &RoomDelta,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let mut fresh = Vec::new();
        let mut touches_known = false;
        for event in &changes.timeline {
            self.on_remote_echo(room, event, turn)?;
            let Some(id) = &event.event_id else { continue };
            if turn.store.event(room, id)?.is_some() {
                touches_known = true;
            } else {
                fresh.push(event);
            }
        }
        let Some(first) = fresh.first() else { return Ok(()) };
        let first_id = first.event_id.clone();
        let is_start = first.is_state("m.room.create", "");
        let is_new = turn.store.bounds(room)?.is_none();
        let gap = if (changes.limited || is_new) && !touches_known && !is_start {
            Gap::Before
        } else {
            Gap::None
        };
        let mut stored = Vec::with_capacity(fresh.len());
        for (index, event) in fresh.into_iter().enumerate() {
            let gap = if index == 0 { gap } else { Gap::None };
            let position = self.rooms.touch(room, turn.store)?.place(gap);
            let body = self.decrypt(room, event, turn)?;
            stored.push(StoredEvent { position, event: event.clone(), body });
        }
        if is_start && first_id.is_some() {
            turn.writes.reached_start.push(room.to_owned());
        }
        self.announce(room, (stored, gap), changes.prev_batch.clone(), turn)
    }

    /// Writes new events and tells those who follow the room.
    fn announce(
        &mut self,
        room: &RoomId,
        (stored, gap): (Vec<StoredEvent>, Gap),
        token: Option<String>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let owned: OwnedRoomId = room.to_owned();
        if let (Gap::Before, Some(first)) = (gap, stored.first()) {
            let position = first.position;
            let gap = store::Gap { position, token };
            turn.writes.gaps.push(GapWrite::Open { room: owned.clone(), gap });
            for face in self.faces.viewers(room) {
                tell_timeline(face, room, TimelineDelta::Gap { position }, turn);
            }
        }
        self.note_activity(room, &stored, turn)?;
        self.note_unread(room, &stored, turn)?;
        self.note_verifications(room, &stored, turn)?;
        turn.writes.events.extend(stored.iter().map(|event| (owned.clone(), event.clone())));
        if !self.faces.followers(room).is_empty() {
            self.ask_for_keys(room, &stored, turn)?;
        }
        self.tell_news(room, &stored, turn)
    }

    /// Tells those who follow the room of events. Who holds nothing of the room is told before what
    /// edits among them are about.
    pub(super) fn tell_news(
        &mut self,
        room: &RoomId,
        stored: &[StoredEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for face in self.faces.followers(room) {
            if self.faces.is_passer_by(face, room) {
                let context = edited(room, stored, turn)?;
                if !context.is_empty() {
                    tell_timeline(face, room, TimelineDelta::Events(context), turn);
                }
            }
            let delta = TimelineDelta::Events(stored.to_vec());
            let update = Update::Timeline { room: room.to_owned(), delta, live: true };
            turn.tell(Audience::One(face), update);
        }
        Ok(())
    }

    /// The time of the newest message, for the order of the room list.
    fn note_activity(
        &mut self,
        room: &RoomId,
        stored: &[StoredEvent],
        turn: &Turn<'_>,
    ) -> Result<(), EngineError> {
        let spoken = stored.iter().filter(|stored| stored.event.state_key.is_none());
        let newest = spoken.map(|stored| stored.event.origin_server_ts).max();
        let newest = newest.or_else(|| stored.last().map(|last| last.event.origin_server_ts));
        let entry = self.rooms.touch(room, turn.store)?;
        let known = entry.summary.last_activity;
        if known == Timestamp::default() || stored.iter().any(|it| it.event.state_key.is_none()) {
            entry.summary.last_activity = known.max(newest.unwrap_or(known));
        }
        Ok(())
    }

    /// An event of ours came back, in the room that it was for: the message it was is sent.
    fn on_remote_echo(
        &mut self,
        room: &RoomId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match (&event.unsigned.transaction_id, &event.event_id, &event.sender) {
            (Some(txn), Some(id), Some(sender)) if *sender == self.me => {
                let row = self.outbox.get(txn).filter(|row| row.stored.room == *room);
                if row.is_some() { self.on_sent(txn, id, turn) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// What an event says.
    pub(super) fn decrypt(
        &mut self,
        room: &RoomId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<EventBody, EngineError> {
        if event.kind == "m.room.encrypted" && event.state_key.is_none() && !is_redacted(event) {
            return Ok(match self.machine.decrypt_event(room, event, &mut turn.step)? {
                Decryption::Decrypted(inner) => EventBody::Decrypted(inner),
                Decryption::Undecryptable(why) => EventBody::Undecryptable(why),
            });
        }
        let may_be_clear = event.state_key.is_some()
            || (is_redacted(event) && event.content.is_empty())
            || matches!(event.kind.as_str(), "m.room.redaction" | "m.reaction");
        let shield = if may_be_clear || !self.machine.is_encrypted(room, &turn.step)? {
            Shield::None
        } else {
            Shield::Red(ShieldReason::SentInClear)
        };
        Ok(EventBody::Clear(shield))
    }

    /// Counts, heroes, typing, receipts, room account data; a room we left.
    fn on_room_rest(
        &mut self,
        room: &RoomId,
        changes: &RoomDelta,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let entry = self.rooms.touch(room, turn.store)?;
        if let Some(unread) = changes.unread {
            entry.take_unread(unread);
        }
        entry.record.highlights = changes.highlights.unwrap_or(entry.record.highlights);
        entry.fold_heroes(&changes.heroes);
        for event in &changes.ephemeral {
            self.on_ephemeral(room, event, turn)?;
        }
        for event in &changes.account_data {
            self.on_room_account_data(room, event, turn)?;
        }
        match changes.membership {
            // Queued messages for a room that is joined by now, and members that became known.
            Membership::Join => {
                self.look_for_newcomers(room, turn)?;
                self.pump(room, turn)
            }
            Membership::Invite | Membership::Knock | Membership::Leave => Ok(()),
        }
    }
}

fn is_redacted(event: &Event) -> bool {
    event.unsigned.redacted_because.is_some()
}
