//! Binary messages: one chunk of an uploaded or downloaded body.
//!
//! ```text
//!  0        8      9
//! ┌────────┬──────┬──────────────┐
//! │ id     │ end  │ payload      │   id: u64, big endian; payload: at most 64 KiB
//! └────────┴──────┴──────────────┘
//! ```

use super::codec::DecodeError;

/// Largest payload of a chunk in bytes.
pub const MAX_CHUNK_BYTES: usize = 64 << 10;
/// Bytes before the payload.
const HEADER_BYTES: usize = 9;

/// A piece of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkFrame {
    /// Of which request.
    pub id: u64,
    /// Whether more follows.
    pub end: ChunkEnd,
    /// At most [`MAX_CHUNK_BYTES`] bytes.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for ChunkFrame {
    /// Without the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkFrame")
            .field("id", &self.id)
            .field("end", &self.end)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Whether a body goes on after a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEnd {
    /// More chunks follow.
    More,
    /// This was the last one: the body is whole.
    Last,
    /// The body broke off: what came is to be thrown away.
    Aborted,
}

impl ChunkEnd {
    fn flag(self) -> u8 {
        match self {
            Self::More => 0,
            Self::Last => 1,
            Self::Aborted => 2,
        }
    }

    fn from_flag(flag: u8) -> Result<Self, DecodeError> {
        match flag {
            0 => Ok(Self::More),
            1 => Ok(Self::Last),
            2 => Ok(Self::Aborted),
            other => Err(DecodeError::UnknownChunk(other)),
        }
    }
}

impl ChunkFrame {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.push(self.end.flag());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (id, rest) = bytes.split_first_chunk::<8>().ok_or(DecodeError::ShortChunk)?;
        let (flag, payload) = rest.split_first().ok_or(DecodeError::ShortChunk)?;
        if payload.len() > MAX_CHUNK_BYTES {
            return Err(DecodeError::LongChunk(payload.len()));
        }
        let end = ChunkEnd::from_flag(*flag)?;
        Ok(Self { id: u64::from_be_bytes(*id), end, payload: payload.to_vec() })
    }
}
