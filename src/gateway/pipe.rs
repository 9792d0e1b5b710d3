//! The gateway's end of one WebSocket: a bounded queue of what is to be written, and reading, in
//! one poll, so that neither direction ever waits for the other.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as SocketError, Message,
        error::CapacityError,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::wire::CloseCode;

/// How long a client has to take the last frames and to close from its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest WebSocket frame of a text message; a longer message goes in several. So what answers a
/// ping gets in between, and no socket keeps room for its longest message until it is closed.
const FRAME_BYTES: usize = 64 << 10;
/// Pings that are taken while nothing can be written: each leaves its answer in memory.
const MAX_PINGS: usize = 256;

#[derive(Debug)]
pub(super) struct Pipe<S> {
    socket: WebSocketStream<S>,
    queue: VecDeque<Queued>,
    writing: Option<Writing>,
    /// Whether a ping is to go out before anything else.
    ping: bool,
    /// Pings that came since the socket was last written empty.
    pings: usize,
}

/// A message that is being written.
#[derive(Debug)]
struct Writing {
    /// What is still to come of it.
    rest: Bytes,
    /// Held until all of it is written.
    _permit: Option<OwnedSemaphorePermit>,
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
    /// A message was begun.
    Written,
    /// The client took a part of a long message.
    Taken,
    /// A message was larger than allowed.
    TooLarge,
    /// The client broke the rules of WebSocket.
    Broken,
    /// A text message was not UTF-8.
    NotText,
    /// The client asks without end and takes no answer.
    SlowReader,
    /// The connection is over.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(super) fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, queue: VecDeque::new(), writing: None, ping: false, pings: 0 }
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

    /// Asks the client whether it is there, before anything else that waits.
    pub(super) fn ping(&mut self) {
        self.ping = true;
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<PipeEvent> {
        let mut blocked = false;
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Pending => blocked = true,
            Poll::Ready(Err(_)) => return Poll::Ready(PipeEvent::Over),
            Poll::Ready(Ok(())) => {
                self.pings = 0;
                if let Some((message, event)) = self.next_to_write() {
                    let sent = Pin::new(&mut self.socket).start_send(message);
                    return Poll::Ready(if sent.is_ok() { event } else { PipeEvent::Over });
                }
            }
        }
        let message = ready!(Pin::new(&mut self.socket).poll_next(cx));
        if blocked && matches!(message, Some(Ok(Message::Ping(_)))) {
            self.pings += 1;
            if self.pings > MAX_PINGS {
                return Poll::Ready(PipeEvent::SlowReader);
            }
        }
        Poll::Ready(read(message))
    }

    /// What is to be written next; everything before it is.
    fn next_to_write(&mut self) -> Option<(Message, PipeEvent)> {
        if std::mem::take(&mut self.ping) {
            return Some((Message::Ping(Bytes::new()), PipeEvent::Written));
        }
        if let Some(writing) = &mut self.writing
            && !writing.rest.is_empty()
        {
            let piece = writing.rest.split_to(writing.rest.len().min(FRAME_BYTES));
            let last = writing.rest.is_empty();
            return Some((part(piece, Data::Continue, last), PipeEvent::Taken));
        }
        self.writing = None;
        let Queued { message, permit } = self.queue.pop_front()?;
        let (message, rest) = match message {
            Message::Text(text) if text.len() > FRAME_BYTES => {
                let mut rest = Bytes::from(text);
                let piece = rest.split_to(FRAME_BYTES);
                (part(piece, Data::Text, false), rest)
            }
            whole @ (Message::Text(_)
            | Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => (whole, Bytes::new()),
        };
        self.writing = Some(Writing { rest, _permit: permit });
        Some((message, PipeEvent::Written))
    }

    /// Closes with a code: writes the queue unless the reader was too slow for it, then waits a
    /// little for the client to close too, so that the code reaches it.
    pub(super) async fn close(mut self, code: CloseCode) {
        if matches!(code, CloseCode::SlowReader | CloseCode::Idle) {
            self.queue.clear();
            self.writing = None;
        }
        let frame = CloseFrame { code: code.code().into(), reason: code.reason().into() };
        self.queue.push_back(Queued { message: Message::Close(Some(frame)), permit: None });
        let in_order = timeout(CLOSE_TIMEOUT, self.finish()).await.is_ok();
        tracing::debug!(code = code.code(), in_order, "connection closed");
    }

    async fn finish(&mut self) {
        let mut event = PipeEvent::Written;
        while matches!(event, PipeEvent::Message(_) | PipeEvent::Written | PipeEvent::Taken) {
            event = self.event().await;
        }
        // What is still unread would reset the connection and take the close frame with it.
        let raw = self.socket.get_mut();
        let mut rest = [0; 4096];
        drop(raw.shutdown().await);
        while matches!(raw.read(&mut rest).await, Ok(1..)) {}
    }
}

/// A frame of a text message.
fn part(piece: Bytes, kind: Data, last: bool) -> Message {
    Message::Frame(Frame::message(piece, OpCode::Data(kind), last))
}

fn read(message: Option<Result<Message, SocketError>>) -> PipeEvent {
    match message {
        Some(Ok(message)) => PipeEvent::Message(message),
        Some(Err(SocketError::Capacity(CapacityError::MessageTooLong { .. }))) => {
            PipeEvent::TooLarge
        }
        Some(Err(SocketError::Protocol(_))) => PipeEvent::Broken,
        Some(Err(SocketError::Utf8(_))) => PipeEvent::NotText,
        Some(Err(_)) | None => PipeEvent::Over,
    }
}
