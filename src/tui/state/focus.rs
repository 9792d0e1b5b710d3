//! Which part of the screen takes the keys when nothing stands over it.

use super::areas::NarrowPane;
use crate::tui::action::Mode;

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum Focus {
    /// The room list.
    #[default]
    Rooms,
    /// The text being written.
    Composer,
    /// The selected message.
    Messages,
}

impl Focus {
    /// The next part, going round.
    pub(in crate::tui) fn next(self) -> Self {
        match self {
            Self::Composer => Self::Messages,
            Self::Messages => Self::Rooms,
            Self::Rooms => Self::Composer,
        }
    }

    /// The part before, going round.
    pub(in crate::tui) fn previous(self) -> Self {
        self.next().next()
    }

    /// The keys that hold here.
    pub(in crate::tui) fn mode(self) -> Mode {
        match self {
            Self::Rooms => Mode::Rooms,
            Self::Composer => Mode::Composer,
            Self::Messages => Mode::Messages,
        }
    }

    /// What a narrow screen shows.
    pub(in crate::tui) fn narrow_pane(self) -> NarrowPane {
        match self {
            Self::Rooms => NarrowPane::Rooms,
            Self::Composer | Self::Messages => NarrowPane::Room,
        }
    }
}
