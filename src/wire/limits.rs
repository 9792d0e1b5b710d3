//! Limits on what the other end may make us keep, and on how long it may take.

use std::time::Duration;

/// Every upper bound of the stream, for both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest text message of a logged-in client, in bytes. Default 4 MiB: the largest requests
    /// (key shares, key backups) are cut into pieces of less than 1 MiB by their senders.
    pub max_frame_bytes: usize,
    /// Largest message of a client without a token, in bytes. Default 64 KiB: it may only log in.
    pub max_anonymous_frame_bytes: usize,
    /// Largest JSON answer to a request, in bytes. Default 16 MiB: a full member list of a very
    /// large room is some MiB.
    pub max_answer_bytes: usize,
    /// Largest sync answer, and so, unless other answers may be larger, the largest text message a
    /// client takes, in bytes. Default
    /// 64 MiB: an initial sync of a very large account is tens of MiB, and only fewer messages
    /// of each room make it smaller.
    pub max_update_bytes: usize,
    /// Requests of one connection that may be unanswered at once. Default 64: history pages, key
    /// queries and a burst of messages together are fewer.
    pub max_in_flight: usize,
    /// Answers of one connection that may be in memory at once, waiting for a slow reader. Default
    /// 4: so `max_answer_bytes` counts four times at most; the others wait at the homeserver.
    pub max_held_answers: usize,
    /// Frames of one connection that may wait for a slow reader. Default 256: more than
    /// `max_in_flight` answers and everything the connection sends by itself.
    pub max_queued_frames: usize,
    /// Chunks of one body that may be on the way. Default 8, 512 KiB: fills 100 Mbit/s at 40 ms,
    /// and a message typed meanwhile waits for no more than this.
    pub window_chunks: u32,
    /// Connections of the service in all. Default 10,000: about what one process has files for.
    pub max_connections: usize,
    /// Connections from one address (IPv6: one /64). Default 64: a household, or a small office
    /// behind one address. To be raised behind a reverse proxy, which is one address for all.
    pub max_connections_per_address: usize,
    /// A handshake from its first byte to its last; that of TLS before it has the same. Default 10 s.
    pub header_timeout: Duration,
    /// Silence of a client after which its connection is closed. Default 90 s: four missed pings.
    pub idle_timeout: Duration,
    /// Whole life of a connection without a token. Default 10 min: it is for logging in.
    pub login_timeout: Duration,
    /// Silence of a client after which the service pings it. Default 45 s, half of the above.
    pub ping_after: Duration,
    /// A call of the homeserver without its body's transfer, sync aside. Default 60 s: joining a
    /// large room takes that long on a small server.
    pub call_timeout: Duration,
    /// How long the homeserver is asked to hold an empty sync. Default 30 s, as other clients.
    pub sync_hold: Duration,
    /// What a sync may take beyond `sync_hold`. Default 90 s: an initial sync is computed first.
    pub sync_margin: Duration,
    /// Time for the remaining answers when the service stops. Default 5 s; also the span over
    /// which the clients are asked to spread their return.
    pub drain: Duration,
    /// Client: connecting, TLS and handshake together. Default 20 s.
    pub dial_timeout: Duration,
    /// Client: silence of the server after which it is pinged. Default 20 s.
    pub link_ping_after: Duration,
    /// Client: time for the answer to that ping. Default 8 s: a dead server is noticed within 28 s.
    pub link_ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 4 << 20,
            max_anonymous_frame_bytes: 64 << 10,
            max_answer_bytes: 16 << 20,
            max_update_bytes: 64 << 20,
            max_in_flight: 64,
            max_held_answers: 4,
            max_queued_frames: 256,
            window_chunks: 8,
            max_connections: 10_000,
            max_connections_per_address: 64,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            login_timeout: Duration::from_secs(600),
            ping_after: Duration::from_secs(45),
            call_timeout: Duration::from_secs(60),
            sync_hold: Duration::from_secs(30),
            sync_margin: Duration::from_secs(90),
            drain: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(20),
            link_ping_after: Duration::from_secs(20),
            link_ping_timeout: Duration::from_secs(8),
        }
    }
}
