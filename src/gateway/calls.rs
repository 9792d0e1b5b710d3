//! The calls of one connection that are under way, and the bodies that travel in chunks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep},
};

use super::{
    homeserver::{BodyStream, Homeserver, within},
    peer::{Answer, Call, CallFailure, CallId},
};
use crate::{
    secret::Secret,
    wire::{ChunkEnd, ChunkFrame, CloseCode, Limits, MAX_CHUNK_BYTES, TokenFrame},
};

/// The calls of one connection that are under way. Dropped, it gives them all up.
pub(super) struct Calls<H> {
    homeserver: Arc<H>,
    token: Option<Arc<Secret<String>>>,
    tasks: JoinSet<Done>,
    /// Calls that ended and were not looked at yet.
    ended: VecDeque<Done>,
    handles: BTreeMap<CallId, AbortHandle>,
    uploads: BTreeMap<u64, mpsc::Sender<ChunkFrame>>,
    downloads: BTreeMap<u64, Download>,
    taken_sender: mpsc::Sender<u64>,
    taken: mpsc::Receiver<u64>,
    /// Room for answers that are read and not yet written.
    room: Arc<Semaphore>,
    /// The same for the one update: a client may ask for another one before it has read it.
    update_room: Arc<Semaphore>,
    window: usize,
}

/// What came of the calls.
pub(super) enum CallEvent {
    /// A call was answered.
    Answered {
        /// Which.
        call: CallId,
        /// With what.
        answer: Answer,
        /// How long it took, its delay left out.
        took: Duration,
        /// The room that the answer takes until it is written.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// A chunk was read.
    Downloaded(ChunkFrame),
    /// A chunk of this request's upload was taken.
    Taken(u64),
}

/// What a task brings back.
struct Done {
    id: CallId,
    event: CallEvent,
    /// The rest of the body, when there may be more.
    rest: Option<Download>,
}

/// A body that is read chunk by chunk.
struct Download {
    body: BodyStream,
    /// Bytes that came and did not fit into the last chunk.
    left: Bytes,
}

impl<H: Homeserver> Calls<H> {
    pub(super) fn new(homeserver: Arc<H>, token: Option<Secret<String>>, limits: &Limits) -> Self {
        let window = usize::try_from(limits.window_chunks).unwrap_or(usize::MAX);
        // Every chunk of every window has its place, so nothing is ever refused here.
        let places = window.saturating_add(1).saturating_mul(limits.max_in_flight);
        let queue = mpsc::channel(places.clamp(1, 1 << 16));
        Self {
            homeserver,
            token: token.map(Arc::new),
            tasks: JoinSet::new(),
            ended: VecDeque::new(),
            handles: BTreeMap::new(),
            uploads: BTreeMap::new(),
            downloads: BTreeMap::new(),
            taken_sender: queue.0,
            taken: queue.1,
            room: Arc::new(Semaphore::new(limits.max_held_answers)),
            update_room: Arc::new(Semaphore::new(1)),
            window,
        }
    }

    /// What comes next. Cancel-safe: `join_next` and `recv` are.
    pub(super) async fn event(&mut self) -> CallEvent {
        loop {
            if let Some(done) = self.ended.pop_front() {
                return self.finished(done);
            }
            tokio::select! {
                biased;
                Some(id) = self.taken.recv() => return CallEvent::Taken(id),
                Some(joined) = self.tasks.join_next_with_id() => self.ended(joined),
            }
        }
    }

    /// A task that was given up brings an error, or comes too late.
    fn ended(&mut self, joined: Result<(Id, Done), JoinError>) {
        if let Ok((task, done)) = joined
            && self.handles.get(&done.id).is_some_and(|handle| handle.id() == task)
        {
            self.ended.push_back(done);
        }
    }

    /// Calls that begin from now on have this token.
    pub(super) fn present(&mut self, frame: &TokenFrame) {
        let token: String = frame.token.as_str().to_owned();
        self.token = Some(Arc::new(Secret::new(token)));
    }

    pub(super) fn start(&mut self, call: Call) {
        // Calls that were given up must not pile up while nobody asks for events.
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.ended(joined);
        }
        let id = call.id;
        let upload = match (id, &call.upload) {
            (CallId::Request(request), Some(_)) => {
                let (sender, receiver) = mpsc::channel(self.window.saturating_add(1));
                self.uploads.insert(request, sender);
                Some(upload_body(receiver, self.taken_sender.clone()))
            }
            (CallId::Request(_) | CallId::Sync(_), _) => None,
        };
        let errand = Errand {
            homeserver: Arc::clone(&self.homeserver),
            token: self.token.clone(),
            room: Arc::clone(match id {
                CallId::Request(_) => &self.room,
                CallId::Sync(_) => &self.update_room,
            }),
            call,
        };
        self.handles.insert(id, self.tasks.spawn(errand.run(upload)));
    }

    pub(super) fn abort(&mut self, id: CallId) {
        if let Some(handle) = self.handles.remove(&id) {
            handle.abort();
        }
        self.ended.retain(|done| done.id != id);
        if let CallId::Request(request) = id {
            self.forget(request);
        }
    }

    pub(super) fn forget(&mut self, request: u64) {
        self.uploads.remove(&request);
        self.downloads.remove(&request);
    }

    /// Hands a chunk to the call that uploads it.
    pub(super) fn push(&mut self, chunk: ChunkFrame) -> Result<(), CloseCode> {
        let id = chunk.id;
        let last = chunk.end == ChunkEnd::Last;
        if let Some(sender) = self.uploads.get(&id) {
            match sender.try_send(chunk) {
                // Closed: the homeserver has had enough; its answer is on the way.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Err(CloseCode::WindowExceeded),
            }
        }
        if last {
            self.uploads.remove(&id);
        }
        Ok(())
    }

    /// Begins to read the next chunk of an answer.
    pub(super) fn pull(&mut self, request: u64) {
        if let Some(download) = self.downloads.remove(&request) {
            let handle = self.tasks.spawn(download.next(request));
            self.handles.insert(CallId::Request(request), handle);
        }
    }

    fn finished(&mut self, done: Done) -> CallEvent {
        self.handles.remove(&done.id);
        if let (CallId::Request(request), Some(rest)) = (done.id, done.rest) {
            self.downloads.insert(request, rest);
        }
        done.event
    }
}

/// One call and what it takes to make it.
struct Errand<H> {
    homeserver: Arc<H>,
    token: Option<Arc<Secret<String>>>,
    room: Arc<Semaphore>,
    call: Call,
}

impl<H: Homeserver> Errand<H> {
    async fn run(self, upload: Option<BodyStream>) -> Done {
        let call = &self.call;
        if call.delay > Duration::ZERO {
            sleep(call.delay).await;
        }
        let begin = Instant::now();
        let asked = self.homeserver.call(call, self.token.as_deref(), upload);
        let (mut permit, mut rest) = (None, None);
        let answer = match within(call.timeout, asked).await {
            Err(failure) => Answer::Failed(failure),
            Ok(reply) if reply.is_binary(call) => {
                rest = Some(Download { body: reply.body, left: Bytes::new() });
                Answer::Binary { status: reply.status, info: reply.info }
            }
            Ok(reply) => {
                permit = self.room.acquire_owned().await.ok();
                reply.into_json(call).await
            }
        };
        let event = CallEvent::Answered { call: call.id, answer, took: begin.elapsed(), permit };
        Done { id: call.id, event, rest }
    }
}

impl Download {
    /// Reads one chunk.
    async fn next(mut self, id: u64) -> Done {
        let mut end = ChunkEnd::More;
        while self.left.is_empty() && end == ChunkEnd::More {
            match self.body.next().await {
                Some(Ok(piece)) => self.left = piece,
                Some(Err(_broken)) => end = ChunkEnd::Aborted,
                None => end = ChunkEnd::Last,
            }
        }
        let payload = self.left.split_to(self.left.len().min(MAX_CHUNK_BYTES)).to_vec();
        let rest = (end == ChunkEnd::More).then_some(self);
        let event = CallEvent::Downloaded(ChunkFrame { id, end, payload });
        Done { id: CallId::Request(id), event, rest }
    }
}

/// An upload's chunks as a body; each one that is taken makes room for another.
fn upload_body(chunks: mpsc::Receiver<ChunkFrame>, taken: mpsc::Sender<u64>) -> BodyStream {
    Box::pin(futures_util::stream::unfold(Some((chunks, taken)), |state| async move {
        let (mut chunks, taken) = state?;
        match chunks.recv().await {
            // Its sender went away before the last chunk: the body must not look whole.
            None => Some((Err(CallFailure::Unreachable), None)),
            Some(chunk) if chunk.end == ChunkEnd::Last => {
                Some((Ok(Bytes::from(chunk.payload)), None))
            }
            Some(chunk) => {
                // There is a place for each; it fails when the connection is over.
                if taken.try_send(chunk.id).is_err() {
                    return Some((Err(CallFailure::Unreachable), None));
                }
                Some((Ok(Bytes::from(chunk.payload)), Some((chunks, taken))))
            }
        }
    }))
}
