//! Drives one [`Peer`]: the socket, the calls of the homeserver, the clock. It decides nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{
    calls::{CallEvent, Calls},
    homeserver::Homeserver,
    peer::{Identity, Peer, PeerEffect, PeerInput},
    pipe::{Pipe, PipeEvent, Queued},
};
use crate::{
    secret::Secret,
    wire::{ClientFrame, CloseCode, Limits, Payload, ServerFrame},
};

/// While this many frames wait to be written, no further answer is taken up.
const QUEUE_PAUSE: usize = 4;

/// What a connection is made of.
pub(super) struct Parts<H> {
    pub(super) homeserver: Arc<H>,
    pub(super) token: Option<Secret<String>>,
    pub(super) limits: Limits,
    /// Turns true when the service stops.
    pub(super) stop: watch::Receiver<bool>,
}

/// Serves a connection to its end.
pub(super) async fn run<S, H>(socket: WebSocketStream<S>, parts: Parts<H>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Homeserver,
{
    let identity = if parts.token.is_some() { Identity::Token } else { Identity::Anonymous };
    let mut connection = Connection {
        pipe: Pipe::new(socket),
        peer: Peer::new(identity, parts.limits.clone()),
        calls: Calls::new(parts.homeserver, parts.token, &parts.limits),
        clock: Clock::new(&parts.limits, identity),
        limits: parts.limits,
        stop: parts.stop,
    };
    let end = connection.serve().await;
    let Connection { pipe, calls, .. } = connection;
    drop(calls);
    if let Some(code) = end {
        pipe.close(code).await;
    }
}

struct Connection<S, H> {
    pipe: Pipe<S>,
    peer: Peer,
    calls: Calls<H>,
    clock: Clock,
    limits: Limits,
    stop: watch::Receiver<bool>,
}

/// What the loop woke up for.
enum Event {
    Pipe(PipeEvent),
    Calls(CallEvent),
    Timer,
    Stop,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Homeserver> Connection<S, H> {
    /// Runs until the connection ends; gives the code to close with, if it is still there.
    async fn serve(&mut self) -> Option<CloseCode> {
        loop {
            let event = self.next().await;
            let step = match event {
                Event::Pipe(PipeEvent::Over) => return None,
                Event::Pipe(PipeEvent::Broken) => return Some(CloseCode::Protocol),
                Event::Pipe(PipeEvent::NotText) => return Some(CloseCode::NotText),
                Event::Pipe(PipeEvent::TooLarge) => return Some(CloseCode::TooLarge),
                Event::Pipe(PipeEvent::SlowReader) => return Some(CloseCode::SlowReader),
                Event::Pipe(PipeEvent::Written) => continue,
                Event::Pipe(PipeEvent::Taken) => {
                    self.clock.heard();
                    continue;
                }
                Event::Pipe(PipeEvent::Message(message)) => self.on_message(message),
                Event::Calls(event) => self.on_call(event),
                Event::Timer => self.on_timer(),
                Event::Stop => self.on_stop(),
            };
            if let Err(code) = step {
                return Some(code);
            }
        }
    }

    /// Every arm is cancel-safe: `event` by its own word, the others by tokio's. None goes before
    /// the others: a client that sends without pause must not keep the rest from its turn.
    async fn next(&mut self) -> Event {
        let room = self.pipe.queued() < QUEUE_PAUSE;
        let deadline = self.clock.deadline();
        tokio::select! {
            event = self.pipe.event() => Event::Pipe(event),
            event = self.calls.event(), if room => Event::Calls(event),
            () = sleep_until(deadline) => Event::Timer,
            () = stopped(&mut self.stop), if !self.clock.is_draining() => Event::Stop,
        }
    }

    fn on_message(&mut self, message: Message) -> Result<(), CloseCode> {
        self.clock.heard();
        let decoded = match message {
            Message::Text(text) => ClientFrame::decode_text(&text),
            Message::Binary(bytes) => ClientFrame::decode_binary(&bytes),
            // The socket answers pings and closes itself; the next event says that it is over.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                return Ok(());
            }
        };
        let input = match decoded {
            Ok(frame) => PeerInput::Frame(frame),
            Err(error) => PeerInput::BadFrame(error),
        };
        self.step(input, None)
    }

    fn on_call(&mut self, event: CallEvent) -> Result<(), CloseCode> {
        match event {
            CallEvent::Answered { call, answer, took, permit } => {
                self.step(PeerInput::Answered { call, answer, took }, permit)
            }
            CallEvent::Downloaded(chunk) => self.step(PeerInput::Downloaded(chunk), None),
            CallEvent::Taken(id) => self.step(PeerInput::Taken(id), None),
        }
    }

    fn on_timer(&mut self) -> Result<(), CloseCode> {
        match self.clock.rings(&self.limits) {
            Ring::Ping => {
                self.pipe.ping();
                Ok(())
            }
            Ring::Idle => Err(CloseCode::Idle),
            Ring::DrainOver => self.step(PeerInput::DrainOver, None),
        }
    }

    fn on_stop(&mut self) -> Result<(), CloseCode> {
        self.clock.drain(self.limits.drain);
        self.step(PeerInput::Stop, None)
    }

    /// Lets the peer handle an input and does what it says. `permit` is the room of the one answer
    /// in it.
    fn step(
        &mut self,
        input: PeerInput,
        mut permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), CloseCode> {
        for effect in self.peer.handle(input, draw()) {
            match effect {
                PeerEffect::Send(frame) => self.send(&frame, permit.take())?,
                PeerEffect::Call(call) => self.calls.start(call),
                PeerEffect::Abort(id) => self.calls.abort(id),
                PeerEffect::Done(id) => self.calls.forget(id),
                PeerEffect::Push(chunk) => self.calls.push(chunk)?,
                PeerEffect::Pull(id) => self.calls.pull(id),
                PeerEffect::Present(frame) => self.calls.present(&frame),
                PeerEffect::Close(code) => return Err(code),
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        frame: &ServerFrame,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), CloseCode> {
        if self.pipe.queued() >= self.limits.max_queued_frames {
            return Err(CloseCode::SlowReader);
        }
        let message = match frame.encode().map_err(|_unwritable| CloseCode::Internal)? {
            Payload::Text(text) => Message::text(text),
            Payload::Binary(bytes) => Message::binary(bytes),
        };
        self.pipe.push(Queued { message, permit });
        Ok(())
    }
}

/// Ready when the service stops; never when its other end is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A number in `0.0..1.0` to jitter a pause.
fn draw() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / (f64::from(u32::MAX) + 1.0)
}

/// When the client was last heard, and when the service has to be gone.
struct Clock {
    heard_at: Instant,
    pinged: bool,
    drain_until: Option<Instant>,
    /// When a connection without a token is over.
    login_until: Option<Instant>,
    idle_timeout: Duration,
    ping_after: Duration,
}

/// What time it is.
enum Ring {
    Ping,
    Idle,
    DrainOver,
}

impl Clock {
    fn new(limits: &Limits, identity: Identity) -> Self {
        let now = Instant::now();
        Self {
            heard_at: now,
            pinged: false,
            drain_until: None,
            login_until: match identity {
                Identity::Anonymous => Some(now + limits.login_timeout),
                Identity::Token => None,
            },
            idle_timeout: limits.idle_timeout,
            ping_after: limits.ping_after,
        }
    }

    fn heard(&mut self) {
        self.heard_at = Instant::now();
        self.pinged = false;
    }

    fn drain(&mut self, limit: Duration) {
        self.drain_until = Some(Instant::now() + limit);
    }

    fn is_draining(&self) -> bool {
        self.drain_until.is_some()
    }

    fn deadline(&self) -> Instant {
        let silence = if self.pinged { self.idle_timeout } else { self.ping_after };
        let silent = self.heard_at + silence;
        let ends = [self.drain_until, self.login_until];
        ends.into_iter().flatten().fold(silent, Instant::min)
    }

    /// Called at the deadline.
    fn rings(&mut self, limits: &Limits) -> Ring {
        let now = Instant::now();
        if self.drain_until.is_some_and(|until| until <= now) {
            Ring::DrainOver
        } else if now.duration_since(self.heard_at) >= limits.idle_timeout
            || self.login_until.is_some_and(|until| until <= now)
        {
            Ring::Idle
        } else {
            self.pinged = true;
            Ring::Ping
        }
    }
}
