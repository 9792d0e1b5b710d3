//! Frames to messages and back.
//!
//! Nothing here recurses: serde skips what it does not know and passes raw values on iteratively,
//! so no depth of nesting can exhaust the stack. Size is bounded by the WebSocket layer, which
//! reads no message over its limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    chunk::ChunkFrame,
    frame::{
        CancelFrame, ClientFrame, ErrorFrame, MediaInfo, RequestFrame, ResponseFrame, ServerFrame,
        SyncFrame, TokenFrame, UpdateFrame, WindowFrame, empty_body,
    },
};
use crate::matrix::Position;

/// A WebSocket message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Payload {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a message is no frame. None of these says anything about the frames after it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// JSON, but not one of our kinds: a newer peer. To be answered with an error, or ignored.
    #[error("unknown frame kind {kind:?}")]
    UnknownKind {
        /// What it called itself; untrusted, at most 64 characters.
        kind: String,
        /// The request it names, if any.
        id: Option<u64>,
    },
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("malformed frame")]
    Malformed {
        /// The request it names, where that much could be read.
        id: Option<u64>,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A binary message without a whole header.
    #[error("binary frame shorter than its header of 9 bytes")]
    ShortChunk,
    /// A binary message over the limit.
    #[error("chunk of {0} bytes, at most 65536 are allowed")]
    LongChunk(usize),
    /// A flag of a newer peer.
    #[error("unknown chunk flag {0}")]
    UnknownChunk(u8),
    /// A frame cannot be written; a fault of ours.
    #[error("frame cannot be written")]
    Unwritable(#[source] serde_json::Error),
}

impl DecodeError {
    /// The request that will get no other answer.
    pub fn request(&self) -> Option<u64> {
        match self {
            Self::UnknownKind { id, .. } | Self::Malformed { id, .. } => *id,
            Self::ShortChunk | Self::LongChunk(_) | Self::UnknownChunk(_) | Self::Unwritable(_) => {
                None
            }
        }
    }

    /// The Matrix error code that fits.
    pub fn errcode(&self) -> &'static str {
        match self {
            Self::UnknownKind { .. } | Self::UnknownChunk(_) | Self::ShortChunk => "M_UNRECOGNIZED",
            Self::Malformed { source, .. } if source.is_data() => "M_BAD_JSON",
            Self::Malformed { .. } => "M_NOT_JSON",
            Self::LongChunk(_) => "M_TOO_LARGE",
            Self::Unwritable(_) => "M_UNKNOWN",
        }
    }
}

impl ClientFrame {
    /// Writes the frame.
    ///
    /// # Errors
    /// [`DecodeError::Unwritable`], which no frame made of valid values gives.
    pub fn encode(&self) -> Result<Payload, DecodeError> {
        match self {
            Self::Request(frame) => text(&Out::Request(frame)),
            Self::Sync(frame) => text(&Out::Sync(frame)),
            Self::Ack(position) => text(&Out::Ack { position }),
            Self::Cancel(frame) => text(&Out::Cancel(*frame)),
            Self::Window(frame) => text(&Out::Window(*frame)),
            Self::Token(frame) => text(&Out::Token(frame)),
            Self::Chunk(frame) => Ok(Payload::Binary(frame.to_bytes())),
        }
    }

    /// Reads a text message.
    ///
    /// # Errors
    /// When it is no frame of a client.
    pub fn decode_text(text: &str) -> Result<Self, DecodeError> {
        let head = Head::read(text)?;
        match head.kind.as_str() {
            "request" => Ok(Self::Request(head.rest(text)?)),
            "sync" => Ok(Self::Sync(head.rest(text)?)),
            "ack" => Ok(Self::Ack(head.rest::<AckBody>(text)?.position)),
            "cancel" => Ok(Self::Cancel(head.rest(text)?)),
            "window" => Ok(Self::Window(head.rest(text)?)),
            "token" => Ok(Self::Token(head.rest(text)?)),
            _ => Err(head.unknown()),
        }
    }

    /// Reads a binary message.
    ///
    /// # Errors
    /// When it is no chunk.
    pub fn decode_binary(bytes: &[u8]) -> Result<Self, DecodeError> {
        ChunkFrame::from_bytes(bytes).map(Self::Chunk)
    }
}

impl ServerFrame {
    /// Writes the frame.
    ///
    /// # Errors
    /// [`DecodeError::Unwritable`], which no frame made of valid values gives.
    pub fn encode(&self) -> Result<Payload, DecodeError> {
        match self {
            Self::Response(frame) => text(&Out::Response(ResponseBody::from(frame))),
            Self::Update(frame) => text(&Out::Update(frame)),
            Self::Error(frame) => text(&Out::Error(ErrorBody::from(frame))),
            Self::Window(frame) => text(&Out::Window(*frame)),
            Self::Chunk(frame) => Ok(Payload::Binary(frame.to_bytes())),
        }
    }

    /// Reads a text message.
    ///
    /// # Errors
    /// When it is no frame of a server.
    pub fn decode_text(text: &str) -> Result<Self, DecodeError> {
        let head = Head::read(text)?;
        match head.kind.as_str() {
            "response" => Ok(Self::Response(head.rest::<ResponseBody>(text)?.into())),
            "update" => Ok(Self::Update(head.rest(text)?)),
            "error" => Ok(Self::Error(head.rest::<ErrorBody>(text)?.into())),
            "window" => Ok(Self::Window(head.rest(text)?)),
            _ => Err(head.unknown()),
        }
    }

    /// Reads a binary message.
    ///
    /// # Errors
    /// When it is no chunk.
    pub fn decode_binary(bytes: &[u8]) -> Result<Self, DecodeError> {
        ChunkFrame::from_bytes(bytes).map(Self::Chunk)
    }
}

fn text(frame: &Out<'_>) -> Result<Payload, DecodeError> {
    serde_json::to_string(frame).map(Payload::Text).map_err(DecodeError::Unwritable)
}

/// What text messages look like. Reading does not go through it: serde cannot keep raw values raw
/// in a tagged enum.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Out<'a> {
    Request(&'a RequestFrame),
    Sync(&'a SyncFrame),
    Ack { position: &'a Position },
    Cancel(CancelFrame),
    Window(WindowFrame),
    Token(&'a TokenFrame),
    Response(ResponseBody),
    Update(&'a UpdateFrame),
    Error(ErrorBody),
}

/// What every text message has.
#[derive(Deserialize)]
struct Head {
    kind: String,
    /// Raw, because a wrong type here must not hide the kind.
    #[serde(default)]
    id: Option<Box<RawValue>>,
}

impl Head {
    fn read(text: &str) -> Result<Self, DecodeError> {
        serde_json::from_str(text).map_err(|source| DecodeError::Malformed { id: None, source })
    }

    fn rest<'a, T: Deserialize<'a>>(&self, text: &'a str) -> Result<T, DecodeError> {
        serde_json::from_str(text)
            .map_err(|source| DecodeError::Malformed { id: self.request(), source })
    }

    fn unknown(&self) -> DecodeError {
        DecodeError::UnknownKind { kind: self.kind.chars().take(64).collect(), id: self.request() }
    }

    fn request(&self) -> Option<u64> {
        self.id.as_deref().and_then(|id| id.get().parse().ok())
    }
}

#[derive(Deserialize)]
struct AckBody {
    position: Position,
}

#[derive(Serialize, Deserialize)]
struct ResponseBody {
    id: u64,
    status: u16,
    #[serde(default = "empty_body")]
    body: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    download: Option<MediaInfo>,
}

impl From<&ResponseFrame> for ResponseBody {
    fn from(frame: &ResponseFrame) -> Self {
        Self {
            id: frame.id,
            status: frame.status,
            body: frame.body.clone(),
            retry_after_ms: frame.retry_after.map(to_ms),
            download: frame.download.clone(),
        }
    }
}

impl From<ResponseBody> for ResponseFrame {
    fn from(body: ResponseBody) -> Self {
        Self {
            id: body.id,
            status: body.status,
            body: body.body,
            retry_after: body.retry_after_ms.map(Duration::from_millis),
            download: body.download,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ErrorBody {
    errcode: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    fatal: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    soft_logout: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl From<&ErrorFrame> for ErrorBody {
    fn from(frame: &ErrorFrame) -> Self {
        Self {
            errcode: frame.errcode.clone(),
            error: frame.error.clone(),
            fatal: frame.fatal,
            id: frame.id,
            soft_logout: frame.soft_logout,
            retry_after_ms: frame.retry_after.map(to_ms),
        }
    }
}

impl From<ErrorBody> for ErrorFrame {
    fn from(body: ErrorBody) -> Self {
        Self {
            errcode: body.errcode,
            error: body.error,
            fatal: body.fatal,
            id: body.id,
            soft_logout: body.soft_logout,
            retry_after: body.retry_after_ms.map(Duration::from_millis),
        }
    }
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
