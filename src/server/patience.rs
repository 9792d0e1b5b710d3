//! How long the other end may take: for a body that it sends, and for an answer that it reads.
//! Only the time counts in which we wait for it, and bytes buy more.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::unfold};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, timeout},
};

use crate::gateway::{BodyStream, CallFailure};

/// Time that a body may take, however short.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Time that an answer may take to be read, however short.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// More of it for each so many bytes: the slowest line that is of use.
const BYTES_A_SECOND: u64 = 2 << 10;
/// What is read at most of a body that is refused, and how long.
const DRAINED_BYTES: usize = 1 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What is left of somebody's time.
#[derive(Debug)]
struct Allowance {
    left: Duration,
}

impl Allowance {
    fn new(left: Duration) -> Self {
        Self { left }
    }

    /// Counts a wait, and what came of it.
    fn count(&mut self, waited: Duration, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let earned = Duration::from_micros(bytes.saturating_mul(1_000_000 / BYTES_A_SECOND));
        self.left = self.left.saturating_sub(waited).saturating_add(earned);
    }
}

/// Whether a body was read to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads what still comes of a body that is refused, but not all of much: unread, it would reset
/// the connection, and the refusal might be lost with it.
pub(super) async fn drain(body: &mut BodyStream) {
    let read = async {
        let mut left = DRAINED_BYTES;
        while let Some(Ok(piece)) = body.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    let in_time = timeout(DRAIN_TIME, read).await.is_ok();
    tracing::trace!(in_time, "the rest of a body is read");
}

/// A body that breaks off when it comes too slowly.
pub(super) fn paced(body: BodyStream, ended: Ended) -> BodyStream {
    let start = Some((body, Allowance::new(BODY_TIME), ended));
    Box::pin(unfold(start, |state| async {
        let (mut body, mut allowance, ended) = state?;
        #[expect(clippy::disallowed_methods, reason = "waiting for the network is measured")]
        let begun = std::time::Instant::now();
        match timeout(allowance.left, body.next()).await {
            Err(_late) => Some((Err(CallFailure::TimedOut), None)),
            Ok(None) => {
                ended.0.store(true, Ordering::Relaxed);
                None
            }
            Ok(Some(piece)) => {
                allowance.count(begun.elapsed(), piece.as_ref().map_or(0, Bytes::len));
                Some((piece, Some((body, allowance, ended))))
            }
        }
    }))
}

/// A connection that breaks off when its other end reads too slowly what is sent.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    allowance: Allowance,
    /// Since when writing waits, and when that is too long.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, allowance: Allowance::new(ANSWER_TIME), blocked: None }
    }

    /// Goes on after an attempt to write.
    fn after<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(done)) => {
                let since = self.blocked.take().map(|(since, _)| since.elapsed());
                self.allowance.count(since.unwrap_or_default(), bytes(&done));
                self.allowance.left = self.allowance.left.min(ANSWER_TIME);
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let left = self.allowance.left;
                let (_, over) =
                    self.blocked.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
                ready!(over.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after(cx, written, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.after(cx, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.after(cx, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.after(cx, ended, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_ends() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = Paced::new(ours);
        let begun = Instant::now();
        let error = ours.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), ANSWER_TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_byte_by_byte_ends() {
        use tokio::io::AsyncReadExt as _;
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Paced::new(ours);
        let reading = async {
            while theirs.read_u8().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let begun = Instant::now();
        tokio::select! {
            error = ours.write_all(&[0; 10_000]) => assert!(error.is_err()),
            () = reading => {}
        }
        assert!(begun.elapsed() < ANSWER_TIME * 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn bytes_buy_time() {
        let mut allowance = Allowance::new(BODY_TIME);
        for _ in 0..1_000 {
            allowance.count(Duration::from_secs(1), 2 << 10);
        }
        assert!(Duration::from_secs(9) < allowance.left, "a slow line is fast enough");
        for _ in 0..11 {
            allowance.count(Duration::from_secs(1), 1);
        }
        assert!(allowance.left < Duration::from_millis(1), "byte by byte is not");
    }
}
