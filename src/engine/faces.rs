//! Who listens, and to what.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::{Audience, CommandError, CommandId, FaceId, Outcome, Update, turn::Turn},
    matrix::{OwnedRoomId, OwnedTransactionId, RoomId, TransactionId},
    rooms::TimelineDelta,
};

/// The faces; outlives an engine that must be built anew.
#[derive(Clone, Debug, Default)]
pub struct Faces {
    faces: BTreeMap<FaceId, Attention>,
}

/// What one face follows and waits for.
#[derive(Clone, Debug, Default)]
struct Attention {
    open: BTreeSet<OwnedRoomId>,
    everything: bool,
    awaits_sent: BTreeMap<OwnedTransactionId, BTreeSet<CommandId>>,
}

impl Faces {
    pub(super) fn add(&mut self, face: FaceId) {
        self.faces.entry(face).or_default();
    }

    pub(super) fn remove(&mut self, face: FaceId) {
        self.faces.remove(&face);
    }

    pub(super) fn follow(&mut self, face: FaceId, room: &RoomId) {
        self.faces.entry(face).or_default().open.insert(room.to_owned());
    }

    pub(super) fn unfollow(&mut self, face: FaceId, room: &RoomId) {
        if let Some(attention) = self.faces.get_mut(&face) {
            attention.open.remove(room);
        }
    }

    /// Nobody has the room open any more.
    pub(super) fn close(&mut self, room: &RoomId) {
        for attention in self.faces.values_mut() {
            attention.open.remove(room);
        }
    }

    pub(super) fn follow_all(&mut self, face: FaceId) {
        self.faces.entry(face).or_default().everything = true;
    }

    /// All rooms that are open, by face.
    pub(super) fn views(&self) -> Vec<(FaceId, OwnedRoomId)> {
        let open = |(face, attention): (&FaceId, &Attention)| {
            attention.open.iter().map(|room| (*face, room.clone())).collect::<Vec<_>>()
        };
        self.faces.iter().flat_map(open).collect()
    }

    /// Who has the room open.
    pub(super) fn viewers(&self, room: &RoomId) -> Vec<FaceId> {
        let open = self.faces.iter().filter(|(_, attention)| attention.open.contains(room));
        open.map(|(face, _)| *face).collect()
    }

    /// Who has the room open or follows every room.
    pub(super) fn followers(&self, room: &RoomId) -> Vec<FaceId> {
        let follows = |attention: &Attention| attention.everything || attention.open.contains(room);
        let following = self.faces.iter().filter(|(_, attention)| follows(attention));
        following.map(|(face, _)| *face).collect()
    }

    /// Whether a face follows every room and does not have this one open: it holds nothing of it.
    pub(super) fn is_passer_by(&self, face: FaceId, room: &RoomId) -> bool {
        self.faces.get(&face).is_some_and(|it| it.everything && !it.open.contains(room))
    }

    /// Notes that a face waits for a message's end.
    pub(super) fn await_sent(&mut self, face: FaceId, id: CommandId, txn: &TransactionId) {
        let attention = self.faces.entry(face).or_default();
        attention.awaits_sent.entry(txn.to_owned()).or_default().insert(id);
    }

    /// Who waits for a message's end, under which names.
    pub(super) fn waiting_for(&self, txn: &TransactionId) -> Vec<Asker> {
        let waiting = self.faces.iter().flat_map(|(face, attention)| {
            attention.awaits_sent.get(txn).into_iter().flatten().map(|id| (*face, *id))
        });
        waiting.collect()
    }

    /// Tells those who wait for a message what became of it.
    pub(super) fn settle_sent(
        &mut self,
        txn: &TransactionId,
        result: &Result<Outcome, CommandError>,
        turn: &mut Turn<'_>,
    ) {
        for (face, attention) in &mut self.faces {
            for id in attention.awaits_sent.remove(txn).unwrap_or_default() {
                answer((*face, id), result.clone(), turn);
            }
        }
    }

    /// Tells those who have the room open about its timeline.
    pub(super) fn tell_viewers(&self, room: &RoomId, delta: &TimelineDelta, turn: &mut Turn<'_>) {
        for face in self.viewers(room) {
            tell_timeline(face, room, delta.clone(), turn);
        }
    }
}

/// A timeline change that is not news.
pub(super) fn tell_timeline(
    face: FaceId,
    room: &RoomId,
    delta: TimelineDelta,
    turn: &mut Turn<'_>,
) {
    let update = Update::Timeline { room: room.to_owned(), delta, live: false };
    turn.tell(Audience::One(face), update);
}

/// Who asked, and under which name.
pub(super) type Asker = (FaceId, CommandId);

/// Answers a request.
pub(super) fn answer(
    (face, id): Asker,
    result: Result<Outcome, CommandError>,
    turn: &mut Turn<'_>,
) {
    turn.tell(Audience::One(face), Update::Outcome { id, result });
}

/// A refusal of ours.
pub(super) fn refusal(code: &str, message: impl Into<String>) -> CommandError {
    CommandError { code: code.to_owned(), message: message.into() }
}
