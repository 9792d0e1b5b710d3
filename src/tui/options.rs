//! What the screen is given when it starts, and how it can end.

use std::io;

use super::{Keymap, Theme};
use crate::matrix::{OwnedRoomId, OwnedUserId};

// Its queues are bounded: the screen only ever tries to send, and says when one is full.
pub use crate::engine::Handle;

/// How the screen looks and whom it is for.
#[derive(Debug)]
pub struct TuiOptions {
    /// Our own user id.
    pub user_id: OwnedUserId,
    /// Colors by name.
    pub theme: Theme,
    /// Keys and what they do.
    pub keymap: Keymap,
    /// What people see beside and between messages.
    pub timeline: TimelineOptions,
    /// Absolute path of the folder where files are saved, if there is one.
    pub downloads: Option<String>,
    /// The room that is opened as soon as it is known; none: the list of rooms is shown first.
    pub first_room: Option<OwnedRoomId>,
    /// Whether an account without a recovery key is a reason to say so.
    pub recovery_key: Reminder,
}

/// Whether the screen comes to speak of something by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reminder {
    /// It does.
    #[default]
    Shown,
    /// It does not.
    Never,
}

impl TuiOptions {
    /// The defaults, for this user.
    pub fn new(user_id: OwnedUserId) -> Self {
        Self {
            user_id,
            theme: Theme::default(),
            keymap: Keymap::default(),
            timeline: TimelineOptions::default(),
            downloads: None,
            first_room: None,
            recovery_key: Reminder::default(),
        }
    }
}

/// What people see beside and between messages, and what others learn of them.
#[derive(Clone, Debug)]
pub struct TimelineOptions {
    /// The zone in which times and days are shown.
    pub time_zone: jiff::tz::TimeZone,
    /// Whether joins, leaves and other changes of state are shown (folded) or left out.
    pub state_lines: StateLines,
    /// Whether others learn what was on our screen.
    pub read_receipts: Disclosure,
    /// Whether others learn that we type.
    pub typing_notices: Disclosure,
    /// How many older messages are loaded at once.
    pub page_size: u32,
    /// When the terminal's bell rings.
    pub bell: Bell,
}

impl Default for TimelineOptions {
    fn default() -> Self {
        Self {
            time_zone: jiff::tz::TimeZone::system(),
            state_lines: StateLines::Folded,
            read_receipts: Disclosure::Sent,
            typing_notices: Disclosure::Sent,
            page_size: 50,
            bell: Bell::Mentions,
        }
    }
}

/// What becomes of joins, leaves and other changes of state in the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateLines {
    /// Neighbors are folded into one line.
    Folded,
    /// They are not shown.
    Hidden,
}

/// Whether something about us is told to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// It is sent.
    Sent,
    /// It is kept back.
    KeptBack,
}

/// When the terminal's bell rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bell {
    /// Never.
    Never,
    /// At mentions, and in direct chats.
    Mentions,
    /// At each message that counts as unread.
    Messages,
}

/// Why the screen ended, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Standard input or output is not a terminal.
    #[error("the interface needs a terminal; in scripts use `grotto send`, `tail` or `history`")]
    NotATerminal,
    /// The terminal refused something.
    #[error("the terminal cannot be used")]
    Terminal(#[from] io::Error),
    /// The engine ended without being asked to.
    #[error("{reason}")]
    EngineEnded {
        /// In words for people.
        reason: String,
    },
}
