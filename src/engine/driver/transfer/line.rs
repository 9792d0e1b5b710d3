//! What one transfer hears and says.

use std::time::Duration;

use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::{Instant, timeout},
};

use crate::{
    engine::{CommandError, TransferEvent, TransferFailure},
    matrix::MatrixError,
    wire::{ChunkFrame, ClientFrame, ErrorFrame, ResponseFrame},
};

/// How long a transfer may hear nothing. The link notices a dead server; this is for one that is
/// alive and does not answer.
const SILENCE: Duration = Duration::from_secs(120);
/// The shortest time between two words about how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// What the server sends to a transfer.
#[derive(Debug)]
pub(super) enum FromServer {
    /// The answer.
    Response(ResponseFrame),
    /// A piece of a download.
    Chunk(ChunkFrame),
    /// So many more chunks of an upload may come.
    Window(u32),
    /// The stream itself refuses the request.
    Refused(ErrorFrame),
}

/// One transfer's way to the server and to the engine.
#[derive(Debug)]
pub(super) struct Line {
    /// Its request.
    pub(super) id: u64,
    inbox: Receiver<FromServer>,
    frames: Sender<ClientFrame>,
    progress: Sender<(u64, TransferEvent)>,
    told: Option<Instant>,
}

impl Line {
    pub(super) fn new(
        id: u64,
        inbox: Receiver<FromServer>,
        frames: Sender<ClientFrame>,
        progress: Sender<(u64, TransferEvent)>,
    ) -> Self {
        Self { id, inbox, frames, progress, told: None }
    }

    /// Sends a frame, as soon as the driver takes it.
    pub(super) async fn send(&self, frame: ClientFrame) -> Result<(), TransferFailure> {
        self.frames.send(frame).await.map_err(|_closed| gone())
    }

    /// Waits for what the server sends next.
    pub(super) async fn hear(&mut self) -> Result<FromServer, TransferFailure> {
        match timeout(SILENCE, self.inbox.recv()).await {
            Ok(Some(FromServer::Refused(error))) => Err(refused_by_stream(error)),
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(gone()),
            Err(_elapsed) => Err(broken("timeout", "the server does not answer; try again")),
        }
    }

    /// What the server sent already.
    pub(super) fn heard(&mut self) -> Option<FromServer> {
        self.inbox.try_recv().ok()
    }

    /// Tells how far it is, now and then.
    pub(super) fn tell(&mut self, done: u64, total: Option<u64>) {
        let is_due = self.told.is_none_or(|told| PROGRESS_EVERY <= told.elapsed());
        if is_due {
            self.told = Some(Instant::now());
            // Who has not taken the last word needs no other.
            drop(self.progress.try_send((self.id, TransferEvent::Progress { done, total })));
        }
    }
}

/// The answer said no.
pub(super) fn refused(response: &ResponseFrame) -> TransferFailure {
    let error = MatrixError::parse(response.status, response.body.get().as_bytes());
    TransferFailure::Refused { error, retry_after: response.retry_after }
}

fn refused_by_stream(frame: ErrorFrame) -> TransferFailure {
    let ErrorFrame { errcode, error, retry_after, .. } = frame;
    let error = MatrixError { errcode, error, ..MatrixError::parse(400, b"") };
    TransferFailure::Refused { error, retry_after }
}

/// It broke on its way.
pub(super) fn broken(code: &str, message: &str) -> TransferFailure {
    TransferFailure::Broken(CommandError { code: code.to_owned(), message: message.to_owned() })
}

/// It cannot be done.
pub(super) fn impossible(code: &str, message: impl Into<String>) -> TransferFailure {
    TransferFailure::Final(CommandError { code: code.to_owned(), message: message.into() })
}

fn gone() -> TransferFailure {
    broken("link_lost", "the connection was lost")
}
