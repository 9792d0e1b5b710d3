//! The state of one connected client: one function in, effects out.

use std::time::Duration;

use super::{
    call::{Answer, Call, CallId},
    path::Refusal,
    requests::{Requests, refuse},
    sync::{Polled, Sync, notice},
};
use crate::wire::{
    ChunkFrame, ClientFrame, CloseCode, DecodeError, ErrorFrame, Limits, ServerFrame, SyncFrame,
    TokenFrame,
};

/// Whether the connection has an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// None: it may only log in.
    Anonymous,
    /// The driver has one, and puts it into every call.
    Token,
}

/// What happens to a client's connection.
#[derive(Debug)]
pub enum PeerInput {
    /// It sent a frame.
    Frame(ClientFrame),
    /// It sent something that is no frame.
    BadFrame(DecodeError),
    /// A call was answered.
    Answered {
        /// Which.
        call: CallId,
        /// With what.
        answer: Answer,
        /// How long it took, its delay left out.
        took: Duration,
    },
    /// The chunk that [`PeerEffect::Pull`] asked for.
    Downloaded(ChunkFrame),
    /// The homeserver took a chunk of this request's upload.
    Taken(u64),
    /// The server is to stop: no new work; ends once every request is answered.
    Stop,
    /// The time for that is over.
    DrainOver,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum PeerEffect {
    /// Send this frame, after those before it.
    Send(ServerFrame),
    /// Make this call.
    Call(Call),
    /// Give this call up; nothing of it is wanted any more.
    Abort(CallId),
    /// The request is over: forget its body streams.
    Done(u64),
    /// The next chunk of this request's upload.
    Push(ChunkFrame),
    /// Read one chunk of this request's answer.
    Pull(u64),
    /// Present this access token from now on.
    Present(TokenFrame),
    /// Close, once everything before it is sent. No input is taken after it.
    Close(CloseCode),
}

/// One connected client.
#[derive(Debug)]
pub struct Peer {
    identity: Identity,
    limits: Limits,
    sync: Sync,
    requests: Requests,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Waiting for the open requests.
    Draining,
    Closed,
}

impl Peer {
    /// A client that has just connected.
    pub fn new(identity: Identity, limits: Limits) -> Self {
        Self {
            identity,
            limits,
            sync: Sync::new(),
            requests: Requests::default(),
            stage: Stage::Serving,
        }
    }

    /// Takes an input; gives what to do, in order. `draw` is uniform in `0.0..1.0` and jitters
    /// pauses.
    pub fn handle(&mut self, input: PeerInput, draw: f64) -> Vec<PeerEffect> {
        if self.stage == Stage::Closed {
            return Vec::new();
        }
        let mut effects = match input {
            PeerInput::Frame(frame) => self.on_frame(frame),
            PeerInput::BadFrame(error) => {
                vec![notice(error.errcode(), &error.to_string(), error.request())]
            }
            PeerInput::Answered { call: CallId::Sync(poll), answer, took } => {
                self.sync.answered(Polled { poll, answer, took, draw }, &self.limits)
            }
            PeerInput::Answered { call: CallId::Request(id), answer, took: _ } => {
                self.requests.answered(id, answer)
            }
            PeerInput::Downloaded(chunk) => self.requests.downloaded(chunk),
            PeerInput::Taken(id) => self.requests.taken(id),
            PeerInput::Stop => self.drain(),
            PeerInput::DrainOver => self.go_away(draw),
        };
        if self.stage == Stage::Draining && self.requests.is_empty() {
            effects.extend(self.go_away(draw));
        }
        if effects.iter().any(|effect| matches!(effect, PeerEffect::Close(_))) {
            self.stage = Stage::Closed;
        }
        effects
    }

    fn on_frame(&mut self, frame: ClientFrame) -> Vec<PeerEffect> {
        match frame {
            ClientFrame::Request(request) if self.stage == Stage::Draining => {
                vec![refuse(request.id, Refusal::Stopping)]
            }
            ClientFrame::Request(request) => {
                self.requests.start(request, self.identity, &self.limits)
            }
            ClientFrame::Sync(frame) => self.on_sync(frame),
            ClientFrame::Ack(_) if self.stage == Stage::Draining => Vec::new(),
            ClientFrame::Ack(position) => self.sync.acknowledge(position, &self.limits),
            ClientFrame::Cancel(cancel) => self.requests.cancel(cancel.id),
            ClientFrame::Window(window) => self.requests.widen(window, &self.limits),
            ClientFrame::Chunk(chunk) => self.requests.uploaded(chunk),
            ClientFrame::Token(token) => self.on_token(token),
        }
    }

    fn on_sync(&mut self, frame: SyncFrame) -> Vec<PeerEffect> {
        match (self.identity, self.stage) {
            (Identity::Anonymous, _) => {
                let refusal = Refusal::NoToken;
                vec![notice(refusal.errcode(), refusal.reason(), None)]
            }
            (Identity::Token, Stage::Draining | Stage::Closed) => Vec::new(),
            (Identity::Token, Stage::Serving) => self.sync.start(frame, &self.limits),
        }
    }

    /// Another token of the same login. A connection without one has other limits, and stays so.
    fn on_token(&self, token: TokenFrame) -> Vec<PeerEffect> {
        match self.identity {
            Identity::Token => vec![PeerEffect::Present(token)],
            Identity::Anonymous => {
                let refusal = Refusal::NoToken;
                vec![notice(refusal.errcode(), refusal.reason(), None)]
            }
        }
    }

    fn drain(&mut self) -> Vec<PeerEffect> {
        self.stage = Stage::Draining;
        self.sync.stop()
    }

    /// Says goodbye, and when to come back: at a random moment, so that the clients of a server
    /// that starts again do not all come at once.
    fn go_away(&mut self, draw: f64) -> Vec<PeerEffect> {
        self.stage = Stage::Closed;
        let refusal = Refusal::Stopping;
        let error = ErrorFrame {
            errcode: refusal.errcode().to_owned(),
            error: refusal.reason().to_owned(),
            fatal: true,
            retry_after: Some(self.limits.drain.mul_f64(draw.clamp(0.0, 1.0))),
            ..ErrorFrame::default()
        };
        vec![PeerEffect::Send(ServerFrame::Error(error)), PeerEffect::Close(CloseCode::GoingAway)]
    }
}
