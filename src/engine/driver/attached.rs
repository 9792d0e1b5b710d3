//! The faces attached to the engine: what they ask, taken in turn; what they are told.

use std::task::{Context, Poll};

use tokio::sync::mpsc::error::TrySendError;

use crate::engine::{Audience, Command, FaceId, Update};

use super::face::{Face, FaceKind};

/// What a face did.
#[derive(Debug)]
pub(super) enum FaceEvent {
    /// It asks for something.
    Asks(FaceId, Command),
    /// It hung up.
    Gone(FaceId, FaceKind),
}

/// Whether somebody is left to work for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audible {
    /// All that should hear heard.
    Yes,
    /// The main face is gone.
    MainGone,
}

/// The attached faces.
#[derive(Debug, Default)]
pub(super) struct Attached {
    faces: Vec<(FaceId, Face)>,
    last: u64,
    /// Where the next look for commands begins, so that nobody is starved.
    turn: usize,
}

impl Attached {
    /// Attaches a face under a new id.
    pub(super) fn add(&mut self, face: Face) -> FaceId {
        self.last += 1;
        let id = FaceId(self.last);
        self.faces.push((id, face));
        id
    }

    /// Lets a face go; its queue of updates closes.
    pub(super) fn remove(&mut self, id: FaceId) {
        self.faces.retain(|(face, _)| *face != id);
    }

    /// Whether this is the face the program was started for.
    pub(super) fn is_main(&self, id: FaceId) -> bool {
        self.faces.iter().any(|(face, it)| *face == id && it.kind == FaceKind::Main)
    }

    /// The next thing a face did. Takes a command only in the poll that returns it, so the future
    /// around it is cancel-safe.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<FaceEvent> {
        let count = self.faces.len();
        let turn = self.turn;
        let (before, from) = self.faces.split_at_mut(turn.min(count));
        for (offset, (id, face)) in from.iter_mut().chain(before).enumerate() {
            if let Poll::Ready(command) = face.commands.poll_recv(cx) {
                self.turn = (turn + offset + 1) % count.max(1);
                return Poll::Ready(match command {
                    Some(command) => FaceEvent::Asks(*id, command),
                    None => FaceEvent::Gone(*id, face.kind),
                });
            }
        }
        Poll::Pending
    }

    /// Hands out an update. The main face is waited for; a guest that does not read is dropped and
    /// named in `dropped`.
    pub(super) async fn tell(
        &mut self,
        audience: Audience,
        update: &Update,
        dropped: &mut Vec<FaceId>,
    ) -> Audible {
        let mut audible = Audible::Yes;
        for (id, face) in &mut self.faces {
            let meant = match audience {
                Audience::All => true,
                Audience::One(one) => one == *id,
            };
            if !meant || dropped.contains(id) {
                continue;
            }
            match face.kind {
                FaceKind::Main => {
                    if face.updates.send(update.clone()).await.is_err() {
                        audible = Audible::MainGone;
                    }
                }
                FaceKind::Guest => match face.updates.try_send(update.clone()) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_) | TrySendError::Closed(_)) => dropped.push(*id),
                },
            }
        }
        audible
    }
}
