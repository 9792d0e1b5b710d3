//! The pure half: dial, resume, acknowledge, back off. Liveness by WebSocket pings is the
//! transport's; it reports a dead peer as lost.

use serde::{Deserialize, Serialize};

use crate::{
    matrix::Position,
    time::Timestamp,
    wire::{ClientFrame, ServerFrame, UpdateFrame},
};

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
    /// The answer to one of our requests.
    Response(crate::wire::ResponseFrame),
    /// The next sync answer, in order. To be committed, then [`Link::acknowledge`]d.
    Update(UpdateFrame),
    /// Nothing to do: a duplicate, or a notice of the stream.
    Nothing,
    /// The access token is not (or no longer) valid.
    LoggedOut {
        /// Whether the keys must be kept (`soft_logout`).
        soft: bool,
    },
}

/// The pure half of the connection.
#[derive(Debug)]
pub struct Link {
    position: Option<Position>,
}

impl Link {
    /// Starts from the last committed position.
    pub fn new(position: Option<Position>) -> Self {
        Self { position }
    }

    /// State for the status line.
    pub fn state(&self) -> &LinkState {
        todo!("link")
    }

    /// When [`Link::tick`] wants to be called.
    pub fn deadline(&self) -> Option<Timestamp> {
        todo!("link")
    }

    /// Time passed. Answers whether to dial now.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        todo!("link {now:?}")
    }

    /// The dial succeeded. Gives the frames to send first: the sync frame with our position.
    pub fn on_up(&mut self, now: Timestamp) -> Vec<ClientFrame> {
        todo!("link {now:?}")
    }

    /// The dial failed or the connection was lost; `draw` is uniform in `0.0..1.0` and jitters the
    /// pause.
    pub fn on_lost(&mut self, reason: &str, now: Timestamp, draw: f64) {
        todo!("link {reason} {now:?} {draw}")
    }

    /// A frame came.
    pub fn on_frame(&mut self, frame: ServerFrame, now: Timestamp) -> LinkEvent {
        todo!("link {frame:?} {now:?}")
    }

    /// The position was committed: gives the frame that says so.
    pub fn acknowledge(&mut self, position: Position) -> ClientFrame {
        self.position = Some(position.clone());
        ClientFrame::Ack(position)
    }
}
