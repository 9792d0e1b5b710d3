//! The gateway's end of one WebSocket: a bounded queue of what is to be written, and reading, in
//! one poll, so that neither direction ever waits for the other.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error as SocketError, Message, error::CapacityError, protocol::CloseFrame},
};

use crate::wire::CloseCode;

/// How long a client has to take the last frames and to close from its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Pipe<S> {
    socket: WebSocketStream<S>,
    queue: VecDeque<Queued>,
    /// Held while its message is being written.
    writing: Option<OwnedSemaphorePermit>,
}

/// A message to write, and the room in memory it takes.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: Message,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// What happened on the socket.
#[derive(Debug)]
pub(super) enum PipeEvent {
    /// A message came.
    Message(Message),
    /// The queue became shorter.
    Written,
    /// A message was larger than allowed.
    TooLarge,
    /// The client broke the rules of WebSocket.
    Broken,
    /// The connection is over.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(super) fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, queue: VecDeque::new(), writing: None }
    }

    /// Messages not yet handed to the network.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.queue.push_back(queued);
    }

    /// Writes what can be written, then gives what happened. Cancel-safe: everything that is not
    /// done stays in the queue or in the socket's buffer.
    pub(super) async fn event(&mut self) -> PipeEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<PipeEvent> {
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(_)) => return Poll::Ready(PipeEvent::Over),
            Poll::Ready(Ok(())) => {
                self.writing = None;
                if let Some(next) = self.queue.pop_front() {
                    self.writing = next.permit;
                    return Poll::Ready(
                        match Pin::new(&mut self.socket).start_send(next.message) {
                            Ok(()) => PipeEvent::Written,
                            Err(_) => PipeEvent::Over,
                        },
                    );
                }
            }
        }
        Pin::new(&mut self.socket).poll_next(cx).map(|message| match message {
            Some(Ok(message)) => PipeEvent::Message(message),
            Some(Err(SocketError::Capacity(CapacityError::MessageTooLong { .. }))) => {
                PipeEvent::TooLarge
            }
            Some(Err(SocketError::Protocol(_) | SocketError::Utf8(_))) => PipeEvent::Broken,
            Some(Err(_)) | None => PipeEvent::Over,
        })
    }

    /// Closes with a code: writes the queue unless the reader was too slow for it, then waits a
    /// little for the client to close too, so that the code reaches it.
    pub(super) async fn close(mut self, code: CloseCode) {
        if matches!(code, CloseCode::SlowReader | CloseCode::Idle) {
            self.queue.clear();
        }
        let frame = CloseFrame { code: code.code().into(), reason: code.reason().into() };
        self.queue.push_back(Queued { message: Message::Close(Some(frame)), permit: None });
        let in_order = timeout(CLOSE_TIMEOUT, self.finish()).await.is_ok();
        tracing::debug!(code = code.code(), in_order, "connection closed");
    }

    async fn finish(&mut self) {
        let mut event = PipeEvent::Written;
        while matches!(event, PipeEvent::Message(_) | PipeEvent::Written) {
            event = self.event().await;
        }
        // What is still unread would reset the connection and take the close frame with it.
        let raw = self.socket.get_mut();
        let mut rest = [0; 4096];
        drop(raw.shutdown().await);
        while matches!(raw.read(&mut rest).await, Ok(1..)) {}
    }
}
