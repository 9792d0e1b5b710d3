//! Limits on what a peer may make us keep.

/// Upper bounds for one connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest text frame in bytes, after decompression. Default 16 MiB: an initial sync answer of
    /// a large account is some MiB, and the homeserver bounds it, not the peer.
    pub max_frame_bytes: usize,
    /// Requests that may be unanswered at once. Default 64.
    pub max_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame_bytes: 16 << 20, max_in_flight: 64 }
    }
}
