//! Where results go: one JSON object a line for programs, plain lines for people. Nothing from the
//! network can move a cursor or turn text around, in either form.

use std::{fmt, io};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::error::HeadlessError;

/// For whom results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    People,
    /// One JSON object a line.
    Json,
}

/// The result's way out; each line is flushed, so that a program at the other end sees it at once.
pub struct Output {
    out: Box<dyn io::Write + Send>,
    format: Format,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Output {
    /// Writes to `out`.
    pub fn new(out: Box<dyn io::Write + Send>, format: Format) -> Self {
        Self { out, format }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub(super) fn copy(&mut self, from: &mut impl io::Read) -> Result<(), HeadlessError> {
        io::copy(from, &mut self.out).and_then(|_| self.out.flush()).map_err(HeadlessError::Output)
    }

    /// Writes one result: `object` as JSON, or what `people` makes of it (already made safe).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn show<T: Serialize>(
        &mut self,
        object: &T,
        people: impl FnOnce(&T) -> Option<String>,
    ) -> Result<(), HeadlessError> {
        let line = match self.format {
            Format::Json => Some(json(object)?),
            Format::People => people(object),
        };
        line.map_or(Ok(()), |line| self.write(line))
    }

    /// Says something of ours to people; programs are not told.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn say(&mut self, words: &str) -> Result<(), HeadlessError> {
        match self.format {
            Format::Json => Ok(()),
            Format::People => self.write(words.to_owned()),
        }
    }

    fn write(&mut self, mut line: String) -> Result<(), HeadlessError> {
        line.push('\n');
        self.out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(HeadlessError::Output)
    }
}

/// One line of JSON without a character that a terminal acts on.
fn json<T: Serialize>(object: &T) -> Result<String, HeadlessError> {
    let mut bytes = Vec::new();
    object
        .serialize(&mut Serializer::with_formatter(&mut bytes, Quiet(CompactFormatter)))
        .map_err(|error| HeadlessError::Output(error.into()))?;
    String::from_utf8(bytes)
        .map_err(|error| HeadlessError::Output(io::Error::other(error.utf8_error())))
}

/// Compact JSON that escapes what is invisible but acts: C1 controls, delete, marks of direction
/// and line separators. The value is the same for whoever parses it.
struct Quiet(CompactFormatter);

impl Formatter for Quiet {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = fragment;
        while let Some((before, c, after)) = split_at_acting(plain) {
            self.0.write_string_fragment(writer, before)?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            plain = after;
        }
        self.0.write_string_fragment(writer, plain)
    }
}

fn split_at_acting(text: &str) -> Option<(&str, char, &str)> {
    let c = text.chars().find(|c| acts(*c))?;
    let (before, after) = text.split_once(c)?;
    Some((before, c, after))
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_nothing_a_terminal_acts_on_and_reads_back_the_same() {
        let text = "a\u{1b}]52;c;x\u{7}\u{9b}31m\u{7f}\u{202e}drow\u{2066}\u{200f}é日👍\n\"\\";
        let line = json(&text).unwrap();
        assert!(!line.chars().any(acts), "{line:?}");
        assert!(line.contains("é日👍"));
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
