//! What the server counts of itself, as text that Prometheus reads.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::StatusCode;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// By the first digit of the status.
    answers: [AtomicU64; 6],
    connections: AtomicU64,
}

/// A connection that counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<Metrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a connection.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Counts an answer.
    pub(super) fn count(&self, status: StatusCode) {
        if let Some(count) = self.answers.get(usize::from(status.as_u16() / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All of them. Writing to a text cannot fail.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("# TYPE grotto_http_answers counter\n");
        for (class, count) in self.answers.iter().enumerate().skip(1) {
            let count = count.load(Ordering::Relaxed);
            let _written = writeln!(text, "grotto_http_answers{{status=\"{class}xx\"}} {count}");
        }
        let connections = self.connections.load(Ordering::Relaxed);
        let _written =
            writeln!(text, "# TYPE grotto_connections gauge\ngrotto_connections {connections}");
        text
    }
}
