//! The unanswered requests of one client, and the bodies that travel in chunks.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{json, value::to_raw_value};

use super::{
    call::{Answer, Call, CallFailure, CallId},
    machine::{Identity, PeerEffect},
    path::{self, Refusal},
};
use crate::wire::{
    ChunkEnd, ChunkFrame, CloseCode, Limits, MediaInfo, RequestFrame, ResponseFrame, ServerFrame,
    WindowFrame, empty_body,
};

#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<u64, Transfer>,
}

/// Where the bodies of a request stand.
#[derive(Debug, Default)]
struct Transfer {
    /// Chunks that the client may still send; `None` when no upload was announced or it is whole.
    upload: Option<u32>,
    /// Set once the answer announced chunks.
    download: Option<Download>,
    /// Chunks that the client allows before it was even answered.
    window: u32,
}

#[derive(Debug)]
struct Download {
    /// Whether a chunk is being read.
    pulling: bool,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn start(
        &mut self,
        request: RequestFrame,
        identity: Identity,
        limits: &Limits,
    ) -> Vec<PeerEffect> {
        if self.open.contains_key(&request.id) {
            return vec![PeerEffect::Close(CloseCode::IdInUse)];
        }
        if self.open.len() >= limits.max_in_flight {
            return vec![PeerEffect::Close(CloseCode::TooManyRequests)];
        }
        if let Err(refusal) = path::check(&request, identity) {
            return vec![refuse(request.id, refusal)];
        }
        let upload = request.upload.as_ref().map(|_| limits.window_chunks);
        let transfer = Transfer { upload, download: None, window: limits.window_chunks };
        self.open.insert(request.id, transfer);
        vec![PeerEffect::Call(call(request, limits))]
    }

    pub(super) fn cancel(&mut self, id: u64) -> Vec<PeerEffect> {
        match self.open.remove(&id) {
            Some(_) => vec![PeerEffect::Abort(CallId::Request(id))],
            None => Vec::new(),
        }
    }

    /// The homeserver answered. A request whose upload is not whole yet ends here too.
    pub(super) fn answered(&mut self, id: u64, answer: Answer) -> Vec<PeerEffect> {
        let Some(transfer) = self.open.get_mut(&id) else {
            return Vec::new();
        };
        let response = match answer {
            Answer::Json { status, body, retry_after } => {
                ResponseFrame { id, status, body, retry_after, download: None }
            }
            Answer::Failed(failure) => failed(id, failure),
            Answer::Binary { status, info } => {
                transfer.upload = None;
                return begin_download(transfer, id, status, info);
            }
        };
        self.open.remove(&id);
        vec![PeerEffect::Send(ServerFrame::Response(response)), PeerEffect::Done(id)]
    }

    /// A chunk of an upload came from the client.
    pub(super) fn uploaded(&mut self, chunk: ChunkFrame) -> Vec<PeerEffect> {
        let Some(transfer) = self.open.get_mut(&chunk.id) else {
            // Answered or canceled while the chunk was on its way.
            return Vec::new();
        };
        match (transfer.upload, chunk.end) {
            (None, _) => Vec::new(),
            (Some(_), ChunkEnd::Aborted) => self.cancel(chunk.id),
            (Some(0), _) => vec![PeerEffect::Close(CloseCode::WindowExceeded)],
            (Some(_), ChunkEnd::Last) => {
                transfer.upload = None;
                vec![PeerEffect::Push(chunk)]
            }
            (Some(left), ChunkEnd::More) => {
                transfer.upload = Some(left.saturating_sub(1));
                vec![PeerEffect::Push(chunk)]
            }
        }
    }

    /// The homeserver has taken a chunk of an upload: there is room for another.
    pub(super) fn taken(&mut self, id: u64) -> Vec<PeerEffect> {
        let Some(left) = self.open.get_mut(&id).and_then(|transfer| transfer.upload.as_mut())
        else {
            return Vec::new();
        };
        *left = left.saturating_add(1);
        vec![PeerEffect::Send(ServerFrame::Window(WindowFrame { id, chunks: 1 }))]
    }

    /// The client allows more chunks of a download.
    pub(super) fn widen(&mut self, frame: WindowFrame, limits: &Limits) -> Vec<PeerEffect> {
        let Some(transfer) = self.open.get_mut(&frame.id) else {
            return Vec::new();
        };
        transfer.window = transfer.window.saturating_add(frame.chunks).min(limits.window_chunks);
        transfer.pull(frame.id)
    }

    /// A chunk of a download was read.
    pub(super) fn downloaded(&mut self, chunk: ChunkFrame) -> Vec<PeerEffect> {
        let id = chunk.id;
        let Some(transfer) = self.open.get_mut(&id) else {
            return Vec::new();
        };
        let end = chunk.end;
        let mut effects = vec![PeerEffect::Send(ServerFrame::Chunk(chunk))];
        match end {
            ChunkEnd::More => {
                transfer.download = Some(Download { pulling: false });
                transfer.window = transfer.window.saturating_sub(1);
                effects.extend(transfer.pull(id));
            }
            ChunkEnd::Last | ChunkEnd::Aborted => {
                self.open.remove(&id);
                effects.push(PeerEffect::Done(id));
            }
        }
        effects
    }
}

impl Transfer {
    /// Asks for the next chunk when there is room for it and none is being read.
    fn pull(&mut self, id: u64) -> Vec<PeerEffect> {
        match &mut self.download {
            Some(download) if !download.pulling && self.window > 0 => {
                download.pulling = true;
                vec![PeerEffect::Pull(id)]
            }
            Some(_) | None => Vec::new(),
        }
    }
}

fn begin_download(
    transfer: &mut Transfer,
    id: u64,
    status: u16,
    info: MediaInfo,
) -> Vec<PeerEffect> {
    transfer.download = Some(Download { pulling: false });
    let body = empty_body();
    let response = ResponseFrame { id, status, body, retry_after: None, download: Some(info) };
    let mut effects = vec![PeerEffect::Send(ServerFrame::Response(response))];
    effects.extend(transfer.pull(id));
    effects
}

fn call(request: RequestFrame, limits: &Limits) -> Call {
    Call {
        id: CallId::Request(request.id),
        method: request.method,
        path: request.path,
        query: request.query,
        body: request.body,
        timeout: request.upload.is_none().then_some(limits.call_timeout),
        upload: request.upload,
        answer: request.answer,
        delay: Duration::ZERO,
        max_answer_bytes: limits.max_answer_bytes,
    }
}

/// The answer to a request that is not passed on.
pub(super) fn refuse(id: u64, refusal: Refusal) -> PeerEffect {
    let retry_after = (refusal == Refusal::Stopping).then_some(Duration::from_secs(1));
    let answer = error_answer(refusal.errcode(), refusal.reason());
    PeerEffect::Send(ServerFrame::Response(ResponseFrame {
        id,
        status: refusal.status(),
        body: answer,
        retry_after,
        download: None,
    }))
}

fn failed(id: u64, failure: CallFailure) -> ResponseFrame {
    ResponseFrame {
        id,
        status: failure.status(),
        body: error_answer(failure.errcode(), failure.reason()),
        retry_after: None,
        download: None,
    }
}

fn error_answer(errcode: &str, error: &str) -> Box<serde_json::value::RawValue> {
    to_raw_value(&json!({"errcode": errcode, "error": error})).unwrap_or_else(|_| empty_body())
}
