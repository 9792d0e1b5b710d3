//! The stream's frames: bytes to values and back. Shared by `link` (the client's end) and `gateway`
//! (the server's end), and nothing else. `docs/stream.md` is the normative text.

mod frame;
mod limits;

pub use frame::{
    CancelFrame, ClientFrame, ErrorFrame, RequestFrame, ResponseFrame, ServerFrame, SyncFrame,
    UpdateFrame,
};
pub use limits::Limits;
