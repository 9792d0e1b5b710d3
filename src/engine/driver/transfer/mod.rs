//! The files under way: each transfer is one future that reads or writes a file and speaks to the
//! server through a [`Line`]. They advance while the driver waits, in between everything else.
//!
//! What a transfer wants sent is taken one frame at a time, and only when the socket has room: a
//! message that is typed meanwhile waits for no more than one chunk.

mod download;
mod line;
mod save;
mod upload;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use self::line::{FromServer, Line};
use crate::{
    engine::{CommandError, TransferEvent, TransferFailure, TransferKind, TransferOrder},
    wire::{CancelFrame, ClientFrame, ServerFrame},
};

/// Messages of the server that a transfer has not looked at. The server may send eight chunks and
/// an answer; who sends more breaks the rules of the stream.
const INBOX: usize = 16;
/// Frames and progress that the driver has not taken. One frame of each transfer is enough.
const TO_DRIVER: usize = 4;

/// Both ends of a queue from the transfers.
type Queue<T> = (Sender<T>, Receiver<T>);
type Work = Pin<Box<dyn Future<Output = TransferEvent>>>;

struct Running {
    work: Work,
    inbox: Sender<FromServer>,
}

/// What a transfer wants.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The engine is told.
    Tell(u64, TransferEvent),
    /// [`Transfers::take_frame`] has something: it waits for the socket.
    Frame,
}

/// The transfers under way on this connection.
pub(super) struct Transfers {
    running: BTreeMap<u64, Running>,
    frames: Queue<ClientFrame>,
    progress: Queue<(u64, TransferEvent)>,
    /// The next frame that leaves.
    next: Option<ClientFrame>,
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            running: BTreeMap::new(),
            frames: channel(TO_DRIVER),
            progress: channel(TO_DRIVER),
            next: None,
        }
    }
}

impl Transfers {
    /// Begins, or gives up, what the engine ordered.
    pub(super) fn take_order(&mut self, order: TransferOrder) {
        let TransferOrder { id, kind } = order;
        let (inbox, from_server) = channel(INBOX);
        let line = Line::new(id, from_server, self.frames.0.clone(), self.progress.0.clone());
        let work: Work = match kind {
            TransferKind::Upload(order) => Box::pin(upload::run(order, line)),
            TransferKind::Download(order) => Box::pin(download::run(order, line)),
            TransferKind::Cancel => return self.cancel(id),
        };
        self.running.insert(id, Running { work, inbox });
    }

    /// The connection is gone, and everything on it; the engine orders it anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a frame that is for a transfer; gives back any other.
    pub(super) fn on_frame(&mut self, frame: ServerFrame) -> Result<Option<u64>, Box<ServerFrame>> {
        let (id, message) = match frame {
            ServerFrame::Response(frame) if self.has(frame.id) => {
                (frame.id, FromServer::Response(frame))
            }
            ServerFrame::Chunk(frame) if self.has(frame.id) => (frame.id, FromServer::Chunk(frame)),
            ServerFrame::Window(frame) if self.has(frame.id) => {
                (frame.id, FromServer::Window(frame.chunks))
            }
            ServerFrame::Error(frame) if frame.id.is_some_and(|id| self.has(id)) => {
                (frame.id.unwrap_or_default(), FromServer::Refused(frame))
            }
            other @ (ServerFrame::Response(_)
            | ServerFrame::Chunk(_)
            | ServerFrame::Window(_)
            | ServerFrame::Error(_)
            | ServerFrame::Update(_)) => return Err(Box::new(other)),
        };
        let full = self.running.get(&id).is_some_and(|running| {
            matches!(running.inbox.try_send(message), Err(TrySendError::Full(_)))
        });
        Ok(full.then_some(id))
    }

    /// Ends a transfer because the server sent more than it was allowed.
    pub(super) fn end_flooded(&mut self, id: u64) -> TransferEvent {
        self.cancel(id);
        TransferEvent::Failed(TransferFailure::Final(CommandError {
            code: "flooded".to_owned(),
            message: "the server sent more at once than it may; the transfer was given up"
                .to_owned(),
        }))
    }

    fn has(&self, id: u64) -> bool {
        self.running.contains_key(&id)
    }

    fn cancel(&mut self, id: u64) {
        if self.running.remove(&id).is_some() {
            let is_its =
                |frame: &ClientFrame| matches!(frame, ClientFrame::Chunk(chunk) if chunk.id == id);
            if self.next.as_ref().is_some_and(is_its) {
                self.next = None;
            }
            // Without room it goes unsaid: the server's answer is then nobody's.
            let cancel = ClientFrame::Cancel(CancelFrame { id });
            if self.next.is_none() {
                self.next = Some(cancel);
            } else {
                drop(self.frames.0.try_send(cancel));
            }
        }
    }

    /// Whether a frame waits for the socket.
    pub(super) fn has_frame(&self) -> bool {
        self.next.is_some()
    }

    /// The frame that waits, if there is one.
    pub(super) fn take_frame(&mut self) -> Option<ClientFrame> {
        self.next.take()
    }

    /// Advances every transfer. Cancel-safe: what is ready is taken only in the poll that returns
    /// it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Wanted> {
        if let Poll::Ready(Some((id, event))) = self.progress.1.poll_recv(cx)
            && self.has(id)
        {
            return Poll::Ready(Wanted::Tell(id, event));
        }
        let mut ended = None;
        for (id, running) in &mut self.running {
            if let Poll::Ready(event) = running.work.as_mut().poll(cx) {
                ended = Some((*id, event));
                break;
            }
        }
        if let Some((id, event)) = ended {
            if matches!(event, TransferEvent::Failed(_)) {
                self.cancel(id);
            } else {
                self.running.remove(&id);
            }
            return Poll::Ready(Wanted::Tell(id, event));
        }
        if self.next.is_none()
            && let Poll::Ready(Some(frame)) = self.frames.1.poll_recv(cx)
        {
            self.next = Some(frame);
            return Poll::Ready(Wanted::Frame);
        }
        Poll::Pending
    }
}
