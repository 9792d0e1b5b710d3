//! The lines around the data and the base64 between them, decoded piece by piece.

use std::io::BufRead;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{BEGIN, END, KeyFileError};

/// Longest line that is read. Some programs write all of the data in one.
const MAX_LINE_BYTES: u64 = 512 << 20;
/// Lines before the first one that counts: some programs write a word of their own there.
const MAX_LEADING_LINES: usize = 64;
/// Characters decoded at once; a multiple of four.
const CHARS: usize = 64 << 10;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the data between the lines.
pub(super) struct Armor<R> {
    source: R,
    /// Characters read and not decoded yet.
    chars: Vec<u8>,
    /// Whether the last line was seen.
    ended: bool,
}

impl<R: BufRead> Armor<R> {
    /// Finds the first line.
    pub(super) fn open(mut source: R) -> Result<Self, KeyFileError> {
        for _ in 0..MAX_LEADING_LINES {
            let mut line = Vec::new();
            let mut limited = std::io::Read::take(&mut source, MAX_LINE_BYTES);
            if limited.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let line = line.trim_ascii();
            if line == BEGIN.as_bytes() {
                return Ok(Self { source, chars: Vec::new(), ended: false });
            }
        }
        Err(KeyFileError::NotOne)
    }

    /// The source, to be read again.
    pub(super) fn into_source(self) -> R {
        self.source
    }

    /// The next piece of the data; `None` at its end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, KeyFileError> {
        while !self.ended && self.chars.len() < CHARS {
            self.read_on()?;
        }
        if self.chars.is_empty() {
            return Ok(None);
        }
        let whole = if self.ended { self.chars.len() } else { self.chars.len() / 4 * 4 };
        let text: Vec<u8> = self.chars.drain(..whole).collect();
        LENIENT.decode(text).ok().map(Some).ok_or(KeyFileError::NotOne)
    }

    /// Takes what the source has at hand, up to the end of its line.
    fn read_on(&mut self) -> Result<(), KeyFileError> {
        let (used, at_end) = {
            let piece = self.source.fill_buf()?;
            if piece.is_empty() {
                // The last line is missing.
                return Err(KeyFileError::NotOne);
            }
            let dash = piece.iter().position(|byte| *byte == b'-');
            let data = piece.get(..dash.unwrap_or(piece.len())).unwrap_or_default();
            self.chars.extend(data.iter().filter(|byte| !byte.is_ascii_whitespace()));
            (data.len(), dash.is_some())
        };
        self.source.consume(used);
        if at_end {
            let mut line = Vec::new();
            let mut limited = std::io::Read::take(&mut self.source, 2 * END.len() as u64);
            limited.read_until(b'\n', &mut line)?;
            if line.trim_ascii() != END.as_bytes() {
                return Err(KeyFileError::NotOne);
            }
            self.ended = true;
        }
        Ok(())
    }
}
