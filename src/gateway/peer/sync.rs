//! The sync loop of one client: one long poll at a time, and the next one only from a position
//! that the client has acknowledged.
//!
//! ```text
//!            sync frame                200, new position
//!  Off ─────────────────▶ Polling ──────────────────────▶ AwaitingAck
//!                          ▲  ▲ │ 429, 5xx, unreachable        │
//!                          │  └─┘ after a pause                │
//!                          └───────────────────────────────────┘ ack of that position
//! ```
//! Using a position in `since` tells the homeserver to forget the to-device messages before it, so
//! nothing but the client's word may make it one.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    call::{Answer, Call, CallFailure, CallId},
    machine::PeerEffect,
    path::{Refusal, fits},
};
use crate::{
    matrix::{MatrixError, Position},
    time::Backoff,
    wire::{AnswerKind, CloseCode, ErrorFrame, Limits, ServerFrame, SyncFrame, UpdateFrame},
};

const SYNC_PATH: &str = "/_matrix/client/v3/sync";
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Least time between two polls that bring nothing new: a homeserver that does not hold the poll
/// must not be asked in a tight loop.
const LEAST_HOLD: Duration = Duration::from_secs(1);
/// What an update frame is larger than the answer in it: two positions, and the field names.
const ENVELOPE_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Sync {
    params: SyncFrame,
    state: State,
    /// Number of the newest poll.
    poll: u64,
    /// Whether the client still waits for its first answer on this link. That one is asked for
    /// without a hold and passed on even if it brings nothing: the client then knows that it has
    /// caught up.
    catching_up: bool,
    backoff: Backoff,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Off,
    Polling,
    AwaitingAck(Position),
}

/// The one thing that is read of a sync answer.
#[derive(Deserialize)]
struct NextBatch {
    next_batch: Position,
}

/// Of an error answer.
#[derive(Default, Deserialize)]
struct SoftLogout {
    #[serde(default)]
    soft_logout: bool,
}

impl Sync {
    pub(super) fn new() -> Self {
        Self {
            params: SyncFrame::default(),
            state: State::Off,
            poll: 0,
            catching_up: false,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
        }
    }

    /// New parameters replace the old ones, and the poll under way. Whoever sends them without
    /// waiting for an answer has their poll delayed: each frame would be a call otherwise.
    pub(super) fn start(&mut self, frame: SyncFrame, limits: &Limits) -> Vec<PeerEffect> {
        let hurried = self.state == State::Polling && self.catching_up;
        let mut effects = self.stop();
        self.params = frame;
        if !fits(SYNC_PATH, &self.query(Duration::ZERO)) {
            effects.extend(unusable(Refusal::TooLong));
            return effects;
        }
        self.catching_up = true;
        self.backoff.reset();
        effects.push(self.poll(if hurried { LEAST_HOLD } else { Duration::ZERO }, limits));
        effects
    }

    /// No more polls.
    pub(super) fn stop(&mut self) -> Vec<PeerEffect> {
        let was = std::mem::replace(&mut self.state, State::Off);
        match was {
            State::Polling => vec![PeerEffect::Abort(CallId::Sync(self.poll))],
            State::Off | State::AwaitingAck(_) => Vec::new(),
        }
    }

    /// The client has this position on disk.
    pub(super) fn acknowledge(&mut self, position: Position, limits: &Limits) -> Vec<PeerEffect> {
        if self.state != State::AwaitingAck(position.clone()) {
            let error = "this position is not the one last sent: it is ignored";
            return vec![notice("GROTTO_WRONG_POSITION", error, None)];
        }
        self.params.since = Some(position);
        vec![self.poll(Duration::ZERO, limits)]
    }

    /// The poll was answered, after `took`; `draw` jitters a pause.
    pub(super) fn answered(&mut self, answer: Polled, limits: &Limits) -> Vec<PeerEffect> {
        if answer.poll != self.poll || self.state != State::Polling {
            return Vec::new();
        }
        match answer.answer {
            Answer::Json { status: 200, body, .. } => self.update(body, answer.took, limits),
            Answer::Json { status, body, retry_after } => {
                let error = MatrixError::parse(status, body.get().as_bytes());
                if error.is_retryable() {
                    let told = notice(&error.errcode, "the homeserver puts the sync off", None);
                    self.again(told, retry_after, answer.draw, limits)
                } else {
                    self.refused(&error, &body)
                }
            }
            Answer::Binary { .. } => self.failed(CallFailure::NotJson, answer.draw, limits),
            Answer::Failed(failure) => self.failed(failure, answer.draw, limits),
        }
    }

    fn update(&mut self, body: Box<RawValue>, took: Duration, limits: &Limits) -> Vec<PeerEffect> {
        let Ok(NextBatch { next_batch }) = serde_json::from_str(body.get()) else {
            return self.failed(CallFailure::NotJson, 1.0, limits);
        };
        self.backoff.reset();
        let caught_up = std::mem::take(&mut self.catching_up);
        if !caught_up && Some(&next_batch) == self.params.since.as_ref() {
            return vec![self.poll(LEAST_HOLD.saturating_sub(took), limits)];
        }
        self.state = State::AwaitingAck(next_batch.clone());
        let since = self.params.since.clone();
        let update = UpdateFrame { position: next_batch, since, body };
        vec![PeerEffect::Send(ServerFrame::Update(update))]
    }

    fn failed(&mut self, failure: CallFailure, draw: f64, limits: &Limits) -> Vec<PeerEffect> {
        let told = match failure {
            CallFailure::TooLarge => notice(failure.errcode(), &self.too_large(limits), None),
            CallFailure::Unreachable | CallFailure::TimedOut | CallFailure::NotJson => {
                notice(failure.errcode(), failure.reason(), None)
            }
        };
        self.again(told, None, draw, limits)
    }

    /// Polls once more after a pause; says so to the client the first time.
    fn again(
        &mut self,
        told: PeerEffect,
        asked: Option<Duration>,
        draw: f64,
        limits: &Limits,
    ) -> Vec<PeerEffect> {
        let first = self.backoff.failures() == 0;
        // The next answer is passed on even if it is empty: it tells the client that all is well.
        self.catching_up = true;
        let pause = self.backoff.next_pause(draw).max(asked.unwrap_or_default());
        let poll = self.poll(pause, limits);
        if first { vec![told, poll] } else { vec![poll] }
    }

    /// The homeserver will not answer this one, however often it is asked.
    fn refused(&mut self, error: &MatrixError, body: &RawValue) -> Vec<PeerEffect> {
        self.state = State::Off;
        let unauthorized = error.status == 401;
        let soft: SoftLogout = serde_json::from_str(body.get()).unwrap_or_default();
        let frame = ErrorFrame {
            errcode: error.errcode.clone(),
            error: error.error.clone(),
            fatal: true,
            soft_logout: unauthorized && soft.soft_logout,
            ..ErrorFrame::default()
        };
        let close = if unauthorized { CloseCode::Unauthorized } else { CloseCode::Internal };
        vec![PeerEffect::Send(ServerFrame::Error(frame)), PeerEffect::Close(close)]
    }

    fn poll(&mut self, delay: Duration, limits: &Limits) -> PeerEffect {
        self.poll = self.poll.wrapping_add(1);
        self.state = State::Polling;
        let hold = if self.catching_up { Duration::ZERO } else { limits.sync_hold };
        PeerEffect::Call(Call {
            id: CallId::Sync(self.poll),
            method: "GET".to_owned(),
            path: SYNC_PATH.to_owned(),
            query: self.query(hold),
            body: None,
            upload: None,
            answer: AnswerKind::Json,
            delay,
            timeout: Some(hold + limits.sync_margin),
            max_answer_bytes: self.most(limits).saturating_sub(ENVELOPE_BYTES),
        })
    }

    /// The largest update frame that both ends take.
    fn most(&self, limits: &Limits) -> usize {
        let theirs = self.params.max_update_bytes.map(usize::try_from);
        let theirs = theirs.and_then(Result::ok).unwrap_or(usize::MAX);
        theirs.min(limits.max_update_bytes)
    }

    /// Words for an answer that is larger than that; what to do about it.
    fn too_large(&self, limits: &Limits) -> String {
        let most = self.most(limits);
        let is_theirs = self.params.max_update_bytes.is_some_and(|theirs| theirs <= most as u64);
        let whose = if is_theirs { "" } else { " where the stream is served" };
        format!(
            "the homeserver's sync answer is larger than {} MiB: raise sync_mib in [limits] of \
             config.toml{whose}",
            most >> 20
        )
    }

    fn query(&self, hold: Duration) -> Vec<(String, String)> {
        let mut query = vec![("timeout".to_owned(), hold.as_millis().to_string())];
        let since = self.params.since.as_ref().map(|position| position.0.clone());
        let filter = self.params.filter.as_ref().map(|filter| filter_text(filter));
        let presence = self.params.set_presence.clone();
        let given = [("since", since), ("filter", filter), ("set_presence", presence)];
        query.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        query
    }
}

/// An answered poll.
pub(super) struct Polled {
    /// Which poll.
    pub(super) poll: u64,
    pub(super) answer: Answer,
    /// Time since the call, its delay left out.
    pub(super) took: Duration,
    /// Uniform in `0.0..1.0`.
    pub(super) draw: f64,
}

/// A filter as the query has it: a JSON string is the id of a stored filter.
fn filter_text(filter: &RawValue) -> String {
    serde_json::from_str::<String>(filter.get()).unwrap_or_else(|_| filter.get().to_owned())
}

/// Parameters that cannot be asked with.
fn unusable(refusal: Refusal) -> [PeerEffect; 2] {
    let error = ErrorFrame {
        errcode: refusal.errcode().to_owned(),
        error: refusal.reason().to_owned(),
        fatal: true,
        ..ErrorFrame::default()
    };
    [PeerEffect::Send(ServerFrame::Error(error)), PeerEffect::Close(CloseCode::Internal)]
}

/// An error frame after which the stream goes on.
pub(super) fn notice(errcode: &str, error: &str, id: Option<u64>) -> PeerEffect {
    PeerEffect::Send(ServerFrame::Error(ErrorFrame {
        errcode: errcode.to_owned(),
        error: error.to_owned(),
        id,
        ..ErrorFrame::default()
    }))
}
