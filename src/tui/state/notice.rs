//! Something said once in the status line, for a few seconds.

use std::time::Duration;

use crate::{matrix::SafeText, time::Timestamp};

/// How long it stays.
const SHOWN: Duration = Duration::from_secs(6);

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Notice {
    /// In words.
    pub text: SafeText,
    /// Whether it is good or bad.
    pub tone: Tone,
    /// When it goes away.
    pub until: Timestamp,
}

/// Good or bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Tone {
    /// Something was done.
    Done,
    /// Something failed.
    Failed,
}

impl Notice {
    /// Says `text`, made safe, from `now` on.
    pub(in crate::tui) fn new(text: &str, tone: Tone, now: Timestamp) -> Self {
        Self { text: SafeText::line(text), tone, until: now.plus(SHOWN) }
    }
}
