//! What stands behind the gateway: anything that answers the client-server API. Over HTTP that is
//! `http`; a server in this process implements the same trait.

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::peer::{Answer, Call, CallFailure};
use crate::{
    secret::Secret,
    wire::{AnswerKind, MediaInfo},
};

/// The bytes of a body, in the pieces they came in.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, CallFailure>> + Send>>;

/// A homeserver.
pub trait Homeserver: Send + Sync + 'static {
    /// Makes a call; `upload` is its body when the call announces one. Neither the call's delay
    /// nor its time-out is the homeserver's business.
    ///
    /// The future does the whole work: dropping it gives the call up.
    fn call(
        &self,
        call: &Call,
        token: Option<&Secret<String>>,
        upload: Option<BodyStream>,
    ) -> impl Future<Output = Result<Reply, CallFailure>> + Send;
}

/// The head of an answer, its body still to be read.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// Type and length of the body.
    pub info: MediaInfo,
    /// The body.
    pub body: BodyStream,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// Whether the body is to be passed on in chunks.
    pub(super) fn is_binary(&self, call: &Call) -> bool {
        call.answer == AnswerKind::Binary && (200..300).contains(&self.status)
    }

    /// Reads the body as JSON, within the call's limits of time and size.
    pub(super) async fn into_json(self, call: &Call) -> Answer {
        let (status, header) = (self.status, self.retry_after);
        match within(call.timeout, self.read(call.max_answer_bytes)).await {
            Ok(body) => Answer::of(status, &body, header),
            Err(failure) => Answer::Failed(failure),
        }
    }

    async fn read(mut self, limit: usize) -> Result<Vec<u8>, CallFailure> {
        let mut whole = Vec::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > limit {
                return Err(CallFailure::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

/// Runs `work`, at most for `limit` where there is one.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, CallFailure>>,
) -> Result<T, CallFailure> {
    match limit {
        Some(limit) => timeout(limit, work).await.map_err(|_elapsed| CallFailure::TimedOut)?,
        None => work.await,
    }
}
