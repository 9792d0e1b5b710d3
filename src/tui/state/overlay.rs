//! What can stand over the screen: the help, the list of rooms, a line to type, a question.

use super::sheet::Sheet;
use crate::matrix::{OwnedEventId, OwnedRoomId};

/// Something over the screen; it takes the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Overlay {
    /// All keys.
    Help {
        /// Rows scrolled away at the top.
        scrolled: usize,
    },
    /// Something told in lines.
    Sheet {
        /// What.
        sheet: Sheet,
        /// Rows scrolled away at the top.
        scrolled: usize,
    },
    /// All rooms, filtered by what is typed.
    Switcher {
        /// What is typed.
        typed: String,
        /// Which of the matches is chosen.
        chosen: usize,
    },
    /// A line to type.
    Prompt {
        /// What for.
        kind: Prompt,
        /// What is typed.
        typed: String,
    },
    /// A question with a few answers.
    Question {
        /// Which.
        kind: Question,
        /// Which of the answers is chosen.
        chosen: usize,
    },
}

/// What is asked for in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Prompt {
    /// The name of a new room.
    NewRoom,
    /// With whom to chat.
    NewDirect,
    /// A room's id or alias.
    Join,
    /// Whom to invite.
    Invite(OwnedRoomId),
    /// What to react with.
    React {
        /// In which room.
        room: OwnedRoomId,
        /// To what.
        event: OwnedEventId,
    },
}

impl Prompt {
    /// Says what is wanted.
    pub(in crate::tui) fn title(&self) -> &'static str {
        match self {
            Self::NewRoom => "New encrypted room: its name",
            Self::NewDirect => "New direct chat: with whom (@name:server)",
            Self::Join => "Join a room: #alias:server or !id",
            Self::Invite(_) => "Invite: @name:server",
            Self::React { .. } => "React: emoji, :name: or text",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Question {
    /// Whether to remove a message.
    Redact {
        /// In which room.
        room: OwnedRoomId,
        /// Which.
        event: OwnedEventId,
        /// How it begins; safe text.
        shown: String,
    },
    /// Whether to leave a room.
    Leave {
        /// Which.
        room: OwnedRoomId,
        /// Its name; safe text.
        name: String,
    },
    /// What to do with an invite.
    Invitation {
        /// To which room.
        room: OwnedRoomId,
        /// Its name; safe text.
        name: String,
        /// Who invites; safe text.
        inviter: String,
    },
    /// Whether to quit.
    Quit {
        /// How many messages are on their way.
        waiting: usize,
        /// How many were given up.
        failed: usize,
    },
}

/// What the user answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Answer {
    /// Do it.
    Yes,
    /// Refuse the invite.
    Decline,
    /// Do nothing.
    Cancel,
}

impl Question {
    /// The question, in words.
    pub(in crate::tui) fn text(&self) -> String {
        match self {
            Self::Redact { shown, .. } => {
                format!("Remove this message for everybody?\n“{shown}”")
            }
            Self::Leave { name, .. } => {
                format!("Leave {name}? Without a new invite you may not come back.")
            }
            Self::Invitation { name, inviter, .. } => {
                format!("{inviter} invites you to {name}.")
            }
            Self::Quit { waiting, failed } => {
                let line = |words: &str, count: &usize| match count {
                    0 => String::new(),
                    count => format!("\n{words}: {count}"),
                };
                let waiting = line("Not sent yet, goes out next time", waiting);
                let failed = line("Could not be sent, can be tried again next time", failed);
                format!("Quit grotto?{waiting}{failed}")
            }
        }
    }

    /// The answers, the first of which `y` chooses.
    pub(in crate::tui) fn answers(&self) -> &'static [(Answer, &'static str)] {
        match self {
            Self::Redact { .. } => &[(Answer::Yes, "Remove it"), (Answer::Cancel, "Keep it")],
            Self::Leave { .. } => &[(Answer::Yes, "Leave"), (Answer::Cancel, "Stay")],
            Self::Invitation { .. } => &[
                (Answer::Yes, "Join"),
                (Answer::Decline, "Decline"),
                (Answer::Cancel, "Decide later"),
            ],
            Self::Quit { .. } => &[(Answer::Yes, "Quit"), (Answer::Cancel, "Stay")],
        }
    }

    /// The answer that is chosen at first: the one that loses nothing.
    pub(in crate::tui) fn first_choice(&self) -> usize {
        match self {
            Self::Redact { .. } | Self::Leave { .. } => 1,
            Self::Invitation { .. } => 2,
            Self::Quit { .. } => 0,
        }
    }
}
