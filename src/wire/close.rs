//! Why a connection is closed, as a WebSocket close code.

/// Why one end closes the connection. Every limit has its own code, so that the other end can say
/// which one it ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The client is done.
    Normal,
    /// The server stops; an error frame before it says when to come back.
    GoingAway,
    /// The other end broke the rules of WebSocket or of the stream.
    Protocol,
    /// A text message was not UTF-8.
    NotText,
    /// A message was larger than allowed.
    TooLarge,
    /// The server cannot go on.
    Internal,
    /// The access token is not valid (any more).
    Unauthorized,
    /// More unanswered requests than allowed.
    TooManyRequests,
    /// A request's id is that of another one that is not answered yet.
    IdInUse,
    /// More chunks than the window allowed.
    WindowExceeded,
    /// Nothing was heard for too long, or a connection without a token is too old.
    Idle,
    /// The client does not read what it asks for.
    SlowReader,
}

impl CloseCode {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 12] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::NotText,
        Self::TooLarge,
        Self::Internal,
        Self::Unauthorized,
        Self::TooManyRequests,
        Self::IdInUse,
        Self::WindowExceeded,
        Self::Idle,
        Self::SlowReader,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::NotText => 1007,
            Self::TooLarge => 1009,
            Self::Internal => 1011,
            Self::Unauthorized => 4001,
            Self::TooManyRequests => 4002,
            Self::IdInUse => 4003,
            Self::WindowExceeded => 4004,
            Self::Idle => 4005,
            Self::SlowReader => 4006,
        }
    }

    /// The words beside it on the wire, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "done",
            Self::GoingAway => "going away",
            Self::Protocol => "protocol error",
            Self::NotText => "text that is not UTF-8",
            Self::TooLarge => "message over the limit max_frame_bytes",
            Self::Internal => "internal error",
            Self::Unauthorized => "access token not valid",
            Self::TooManyRequests => "over the limit max_in_flight",
            Self::IdInUse => "request id is in use",
            Self::WindowExceeded => "over the limit window_chunks",
            Self::Idle => "over the limit idle_timeout, or login_timeout",
            Self::SlowReader => "over the limit max_queued_frames",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_close_has_its_own_code() {
        let mut codes: Vec<u16> = CloseCode::ALL.iter().map(|close| close.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), CloseCode::ALL.len());
        assert!(codes.is_sorted());
    }
}
