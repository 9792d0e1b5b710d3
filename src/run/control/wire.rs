//! What travels over the control socket, and how lines are read and written.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};

use crate::engine::{Command, Update};

/// The version of this wire; both ends must have the same.
pub(super) const VERSION: u32 = 3;

/// Longest line of a guest, in bytes: a message of the largest size, with room to spare.
pub(super) const GUEST_LINE: u64 = 1 << 20;

/// Longest line of a holder, in bytes: the longest page of history.
pub(super) const HOLDER_LINE: u64 = 256 << 20;

/// How long a guest means to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stay {
    /// Until its one thing is done: the holder waits for it before it ends.
    Brief,
    /// Until somebody ends it: the holder does not wait.
    Long,
}

/// A line of the guest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of", rename_all = "snake_case")]
pub(super) enum FromGuest {
    /// The first line.
    Hello {
        /// The wire's version.
        version: u32,
        /// How long it means to stay.
        stay: Stay,
    },
    /// Every further line.
    Command(Command),
}

/// A line of the holder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of", rename_all = "snake_case")]
pub(super) enum FromHolder {
    /// The first line: the guest is let in.
    Welcome {
        /// The wire's version.
        version: u32,
    },
    /// The only line: it is not.
    Refused {
        /// In words for people.
        reason: String,
    },
    /// Every further line.
    Update(Update),
}

/// Reads one line; `None` at the end. Not cancel-safe.
///
/// # Errors
/// When the line is too long, is no value of this wire, or the connection breaks.
pub(super) async fn read_line<T: DeserializeOwned>(
    reader: &mut (impl AsyncBufRead + Unpin),
    limit: u64,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    reader.take(limit).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        let words = "a line of the control socket is too long or cut short";
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Writes one line. Not cancel-safe.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn write_line<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8], limit: u64) -> io::Result<Option<FromGuest>> {
        read_line(&mut &*text, limit).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn lines_are_limited_and_whole() {
        let line = br#"{"kind":"hello","of":{"version":1,"stay":"brief"}}
"#;
        assert!(matches!(read(line, 1024).await, Ok(Some(FromGuest::Hello { version: 1, .. }))));
        assert!(matches!(read(b"", 1024).await, Ok(None)));
        assert!(read(line, 20).await.is_err(), "too long");
        assert!(read(line.strip_suffix(b"\n").unwrap(), 1024).await.is_err(), "cut short");
        assert!(read(b"{}\n", 1024).await.is_err(), "no value of this wire");
    }
}
