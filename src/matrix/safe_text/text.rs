//! The type that only the sanitizer makes.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::clean::{Lines, clean};

/// Text that may be written to a terminal: no control character (in a block: none but `\n`), no
/// bidirectional control, no invisible character outside of emoji and of scripts that need it, at
/// most eight marks on a cell, a bounded length.
///
/// ```
/// use grotto::matrix::SafeText;
/// assert_eq!(SafeText::line("\u{1b}[2Jhi\u{202e}").as_str(), "␛[2Jhi");
/// ```
///
/// There is no other way to make one:
///
/// ```compile_fail,E0423
/// let text = grotto::matrix::SafeText(String::from("\u{1b}[2J"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafeText(String);

/// Longest line, in bytes of the result; more ends in `…`.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Longest block, in bytes of the result; more ends in `…`. Twice what one event can hold.
const MAX_BLOCK_BYTES: usize = 128 * 1024;

impl SafeText {
    /// Makes one line: line ends become `↵`, tabs one to four spaces. At most 4 KiB.
    pub fn line(text: &str) -> Self {
        Self(clean(text, Lines::One, MAX_LINE_BYTES))
    }

    /// Makes lines, separated by `\n`; tabs become one to four spaces. At most 128 KiB.
    pub fn block(text: &str) -> Self {
        Self(clean(text, Lines::Many, MAX_BLOCK_BYTES))
    }

    /// Makes one line of at most `width` cells, the last of them `…` when something is missing.
    pub fn short(text: &str, width: usize) -> Self {
        Self::line(text).truncated(width)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the text away.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether nothing of it can be seen.
    pub fn is_blank(&self) -> bool {
        // The braille pattern without dots is no white space to Unicode, and empty to the eye.
        self.0.chars().all(|c| c.is_whitespace() || c == '\u{2800}')
    }

    /// Cells that it takes on one line (of a block: cells of all lines together).
    pub fn width(&self) -> usize {
        self.cells().map(|(_, width)| width).sum()
    }

    /// What the eye takes for one character, each with its cells; line ends have none.
    pub fn cells(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.graphemes(true).map(|grapheme| (grapheme, grapheme_width(grapheme)))
    }

    /// Its lines, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.split('\n').map(|line| Self(line.to_owned()))
    }

    /// At most `width` cells of it, the last of them `…` when something is missing.
    #[must_use]
    pub fn truncated(&self, width: usize) -> Self {
        if self.width() <= width {
            return self.clone();
        }
        let mut left = width.saturating_sub(1);
        let fits = self.cells().take_while(|(_, cells)| {
            let fits = *cells <= left;
            left = left.saturating_sub(*cells);
            fits
        });
        let mut text: String = fits.map(|(grapheme, _)| grapheme).collect();
        text.extend((width > 0).then_some('…'));
        Self(text)
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for SafeText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Cells that one grapheme takes; a control character takes none.
pub fn grapheme_width(grapheme: &str) -> usize {
    if grapheme.chars().all(char::is_control) { 0 } else { grapheme.width() }
}
