//! The exit codes, exactly as documented.

/// How a run ended. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Done (for `send`: the server has the event).
    Done,
    /// Failed; standard error says what, and what to do.
    Failed,
    /// Wrong usage.
    Usage,
    /// The store is locked: a passphrase is needed or wrong.
    Locked,
    /// The homeserver or the stream was not reachable in time.
    Unreachable,
    /// Refused by policy: it would have left the machine unencrypted, or to an identity that
    /// changed.
    Refused,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Locked => 3,
            Self::Unreachable => 4,
            Self::Refused => 5,
        }
    }
}
