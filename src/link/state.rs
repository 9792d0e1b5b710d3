//! The pure half: dial, resume, acknowledge, back off. Liveness by WebSocket pings is the
//! transport's; it reports a dead peer as lost.
//!
//! ```text
//!            tick            on_up
//!  ┌─▶ Due ───────▶ Dialing ───────▶ Up ──┐ M_UNKNOWN_TOKEN, end()
//!  │    ▲ tick: retry_at     │ on_lost    ├───────────────────────▶ Ended
//!  │    └───── Down ◀────────┴────────────┤
//!  ├──────────────────────────────────────┘ tick: the clock jumped (resume from suspend)
//!  └─── Held ◀── hold(): a new access token is awaited; release() ends it
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    matrix::Position,
    time::{Backoff, Timestamp},
    wire::{
        ChunkFrame, ClientFrame, ErrorFrame, ResponseFrame, ServerFrame, SyncFrame, UpdateFrame,
        WindowFrame,
    },
};

/// Pause after the first failure, doubled with each further one.
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Longest pause between two dials.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// A connection that lived this long was a success: its loss is answered by a dial at once.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How often the clock is looked at, to notice a suspend: well within the 5 s that a resume may
/// take, and 900 cheap wake-ups an hour.
const CLOCK_CHECK: Duration = Duration::from_secs(4);
/// A clock that advanced this much between two looks means that the machine slept.
const CLOCK_JUMP: Duration = Duration::from_secs(12);
/// Longest pause that a server can ask for.
const LONGEST_HINT: Duration = Duration::from_secs(60);

/// Messages of a room in one sync answer: the first page, and what is asked for instead after an
/// answer that was larger than the stream takes.
const PAGES: [u32; 3] = [50, 10, 1];

/// Sync v2 with lazy-loaded members, without presence (nothing shows it), and these many messages
/// per room.
fn filter(page: u32) -> Option<Box<RawValue>> {
    let filter = serde_json::json!({
        "presence": { "not_types": ["*"] },
        "room": { "state": { "lazy_load_members": true }, "timeline": { "limit": page } },
    });
    serde_json::value::to_raw_value(&filter).ok()
}

/// Where the connection stands, for the status line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// A dial is under way.
    Connecting,
    /// Up.
    Online,
    /// Down; the next try is at `retry_at`.
    Offline {
        /// When the next dial is due.
        retry_at: Timestamp,
        /// In words for people.
        reason: String,
    },
    /// Over for good: the access token is no longer valid, or the user ended it.
    Ended {
        /// In words for people.
        reason: String,
    },
}

/// What a frame from the server means to the engine.
#[derive(Debug)]
pub enum LinkEvent {
    /// The answer to one of our requests. A request that the stream itself refused is answered
    /// with status 400.
    Response(ResponseFrame),
    /// The next sync answer, in order. To be committed, then [`Link::acknowledge`]d.
    Update(UpdateFrame),
    /// An update is missing: this frame asks for it, to be sent now.
    Resume(ClientFrame),
    /// A piece of a download.
    Chunk(ChunkFrame),
    /// More chunks of an upload may be sent.
    Window(WindowFrame),
    /// Nothing to do: a duplicate, or a notice of the stream.
    Nothing,
    /// The access token is not (or no longer) valid.
    LoggedOut {
        /// Whether the keys must be kept (`soft_logout`).
        soft: bool,
    },
}

/// Notices of the stream that mean: the homeserver behind it does not answer, or nothing that can
/// be taken.
const SERVER_IS_GONE: [&str; 5] =
    ["GROTTO_UNREACHABLE", "GROTTO_TIMEOUT", "GROTTO_NOT_JSON", "M_UNKNOWN", "M_TOO_LARGE"];

/// The pure half of the connection.
#[derive(Debug)]
pub struct Link {
    position: Option<Position>,
    /// Which of [`PAGES`] is asked for.
    page: usize,
    /// Whether an update of that page was taken.
    page_fits: bool,
    phase: Phase,
    state: LinkState,
    backoff: Backoff,
    /// The pause that the server asked for before it closed.
    hint: Option<Duration>,
    /// When we were last called with the time.
    seen: Option<Timestamp>,
}

/// What [`LinkState`] does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Due,
    Dialing,
    Up {
        since: Timestamp,
    },
    Down {
        retry_at: Timestamp,
    },
    /// Waiting for an access token.
    Held,
    Ended,
}

impl Link {
    /// Starts from the last committed position; wants to dial at once.
    pub fn new(position: Option<Position>) -> Self {
        Self {
            position,
            page: 0,
            page_fits: true,
            phase: Phase::Due,
            state: LinkState::Connecting,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            hint: None,
            seen: None,
        }
    }

    /// State for the status line.
    pub fn state(&self) -> &LinkState {
        &self.state
    }

    /// The last acknowledged position.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// When [`Link::tick`] wants to be called.
    pub fn deadline(&self) -> Option<Timestamp> {
        let check = self.seen.unwrap_or_default().plus(CLOCK_CHECK);
        match self.phase {
            Phase::Due => Some(Timestamp::default()),
            Phase::Down { retry_at } => Some(retry_at.min(check)),
            Phase::Dialing | Phase::Up { .. } => Some(check),
            Phase::Held | Phase::Ended => None,
        }
    }

    /// Time passed. Answers whether to dial now; a dial or a connection that exists is given up
    /// for it.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let jumped = self.look_at_clock(now);
        let dial = match self.phase {
            Phase::Due => true,
            Phase::Down { retry_at } => jumped || retry_at <= now,
            Phase::Dialing | Phase::Up { .. } => jumped,
            Phase::Held | Phase::Ended => false,
        };
        if dial {
            self.phase = Phase::Dialing;
            self.state = LinkState::Connecting;
        }
        dial
    }

    /// The dial succeeded. Gives the frames to send first: the sync frame with our position.
    pub fn on_up(&mut self, now: Timestamp) -> Vec<ClientFrame> {
        if matches!(self.phase, Phase::Ended | Phase::Held) {
            return Vec::new();
        }
        self.look_at_clock(now);
        self.phase = Phase::Up { since: now };
        self.state = LinkState::Online;
        self.hint = None;
        if self.page_fits {
            self.page = 0;
        }
        vec![self.sync_frame()]
    }

    /// The dial failed or the connection was lost; `draw` is uniform in `0.0..1.0` and jitters the
    /// pause. The first try after a connection that had held comes at once.
    pub fn on_lost(&mut self, reason: &str, now: Timestamp, draw: f64) {
        self.look_at_clock(now);
        let pause = match self.phase {
            Phase::Ended | Phase::Held => return,
            Phase::Up { since } if now.since(since) >= STABLE_AFTER && self.page_fits => {
                self.backoff.reset();
                self.hint.take().unwrap_or_default()
            }
            Phase::Due | Phase::Dialing | Phase::Up { .. } | Phase::Down { .. } => {
                let pause = self.backoff.next_pause(draw);
                self.hint.take().unwrap_or_default().max(pause)
            }
        };
        let retry_at = now.plus(pause);
        self.phase = Phase::Down { retry_at };
        self.state = LinkState::Offline { retry_at, reason: reason.to_owned() };
    }

    /// The connection was lost because an update is larger than this end takes: the next one is
    /// asked for with fewer messages of each room. The rest of them is history, which is loaded.
    pub fn on_too_large(&mut self) {
        self.page = (self.page + 1).min(PAGES.len() - 1);
        self.page_fits = false;
    }

    /// The user ended it: no more dials.
    pub fn end(&mut self, reason: &str) {
        self.phase = Phase::Ended;
        self.state = LinkState::Ended { reason: reason.to_owned() };
    }

    /// The token is not valid, and another one is on its way: no dials before [`Link::release`].
    /// Brings back a link that [`LinkEvent::LoggedOut`] ended.
    pub fn hold(&mut self) {
        self.phase = Phase::Held;
        self.state = LinkState::Connecting;
    }

    /// While it is held: the token does not come yet, the next try is at `retry_at`.
    pub fn wait(&mut self, retry_at: Timestamp, reason: &str) {
        if self.phase == Phase::Held {
            self.state = LinkState::Offline { retry_at, reason: reason.to_owned() };
        }
    }

    /// The token is here: dials, if it was held for that.
    pub fn release(&mut self) {
        if self.phase == Phase::Held {
            self.phase = Phase::Due;
            self.state = LinkState::Connecting;
        }
    }

    /// Whether it waits for a token.
    pub fn is_held(&self) -> bool {
        self.phase == Phase::Held
    }

    /// A frame came.
    pub fn on_frame(&mut self, frame: ServerFrame, now: Timestamp) -> LinkEvent {
        self.look_at_clock(now);
        match frame {
            ServerFrame::Response(response) => LinkEvent::Response(response),
            ServerFrame::Update(update) => self.on_update(update),
            ServerFrame::Error(error) => self.on_error(&error, now),
            ServerFrame::Chunk(chunk) => LinkEvent::Chunk(chunk),
            ServerFrame::Window(window) => LinkEvent::Window(window),
        }
    }

    /// The position was committed: gives the frame that says so.
    pub fn acknowledge(&mut self, position: Position) -> ClientFrame {
        self.position = Some(position.clone());
        self.page_fits = true;
        ClientFrame::Ack(position)
    }

    fn sync_frame(&self) -> ClientFrame {
        ClientFrame::Sync(SyncFrame {
            since: self.position.clone(),
            filter: PAGES.get(self.page).copied().and_then(filter),
            set_presence: None,
            // Whoever reads the socket knows it.
            max_update_bytes: None,
        })
    }

    fn on_update(&mut self, update: UpdateFrame) -> LinkEvent {
        if let Phase::Up { .. } = self.phase {
            self.state = LinkState::Online;
        }
        if update.since == self.position {
            LinkEvent::Update(update)
        } else if Some(&update.position) == self.position.as_ref() {
            LinkEvent::Nothing
        } else {
            LinkEvent::Resume(self.sync_frame())
        }
    }

    fn on_error(&mut self, error: &ErrorFrame, now: Timestamp) -> LinkEvent {
        if error.errcode == "M_UNKNOWN_TOKEN" {
            self.end("the access token is no longer valid");
            return LinkEvent::LoggedOut { soft: error.soft_logout };
        }
        if error.fatal {
            self.hint = error.retry_after.map(|pause| pause.min(LONGEST_HINT));
        }
        if let Some(id) = error.id {
            return LinkEvent::Response(refusal(id, error));
        }
        if error.errcode == "M_TOO_LARGE" {
            let smaller = self.page + 1 < PAGES.len();
            self.on_too_large();
            if smaller {
                return LinkEvent::Resume(self.sync_frame());
            }
        }
        // The stream is up but what is behind it is not; the next update says that it is back.
        if let Phase::Up { .. } = self.phase
            && SERVER_IS_GONE.contains(&error.errcode.as_str())
        {
            self.state = LinkState::Offline { retry_at: now, reason: error.error.clone() };
        }
        LinkEvent::Nothing
    }

    /// Answers whether the machine slept since the last look. A clock that was set back moves the
    /// next dial with it.
    fn look_at_clock(&mut self, now: Timestamp) -> bool {
        let seen = self.seen.replace(now).unwrap_or(now);
        if now < seen
            && let Phase::Down { retry_at } = self.phase
        {
            let retry_at = now.plus(retry_at.since(seen));
            self.phase = Phase::Down { retry_at };
            if let LinkState::Offline { retry_at: shown, .. } = &mut self.state {
                *shown = retry_at;
            }
        }
        if now < seen
            && let Phase::Up { .. } = self.phase
        {
            self.phase = Phase::Up { since: now };
        }
        now.since(seen) >= CLOCK_JUMP
    }
}

/// The stream's refusal of a request, in the shape of an answer.
fn refusal(id: u64, error: &ErrorFrame) -> ResponseFrame {
    let body = serde_json::json!({"errcode": error.errcode, "error": error.error});
    ResponseFrame {
        id,
        status: 400,
        body: serde_json::value::to_raw_value(&body).unwrap_or_else(|_| crate::wire::empty_body()),
        retry_after: error.retry_after,
        download: None,
    }
}
