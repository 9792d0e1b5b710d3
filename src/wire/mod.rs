//! The stream's frames: bytes to values and back. Shared by `link` (the client's end) and `gateway`
//! (the server's end), and nothing else. `docs/stream.md` is the normative text.
//!
//! A text message is one JSON object, a binary message one chunk of a body. The bodies of requests,
//! answers and updates are never parsed here: they pass through as the text they came as.

mod chunk;
mod close;
mod codec;
mod frame;
mod limits;
#[cfg(test)]
mod tests;
mod version;

pub use chunk::{ChunkEnd, ChunkFrame, MAX_CHUNK_BYTES};
pub use close::CloseCode;
pub use codec::{DecodeError, Payload};
pub use frame::{
    AnswerKind, CancelFrame, ClientFrame, ErrorFrame, MediaInfo, RequestFrame, ResponseFrame,
    ServerFrame, SyncFrame, TokenFrame, UpdateFrame, WindowFrame, empty_body,
};
pub use limits::Limits;
pub use version::{STREAM_PATH, Subprotocol, negotiate};
