//! Text into rows of a given width: by grapheme cluster and its width on a terminal, at spaces
//! where there are some. Pure, so that `update` knows heights without a screen.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::theme::StyleName;

/// A stretch of text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Safe text without line breaks.
    pub text: String,
    /// By name; the theme knows the rest.
    pub style: StyleName,
}

impl Span {
    /// A stretch of `text` in `style`.
    pub(super) fn new(text: impl Into<String>, style: StyleName) -> Self {
        Self { text: text.into(), style }
    }
}

/// One row of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// From left to right.
    pub spans: Vec<Span>,
}

impl Row {
    /// A row of one stretch.
    pub(super) fn of(text: impl Into<String>, style: StyleName) -> Self {
        Self { spans: vec![Span::new(text, style)] }
    }

    /// Columns it takes.
    pub(super) fn width(&self) -> usize {
        self.spans.iter().map(|span| width(&span.text)).sum()
    }
}

/// Columns that `text` takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(grapheme_width).sum()
}

/// Columns of one grapheme cluster: what the cell grid of the terminal library counts.
fn grapheme_width(grapheme: &str) -> usize {
    grapheme.width()
}

/// The longest beginning of `text` that fits into `columns`; where something was cut, it ends in
/// an ellipsis.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let wide = grapheme_width(grapheme);
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        kept.push_str(grapheme);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The end of `text` that fits into `columns`; where something was cut, it begins with an ellipsis.
pub(super) fn cut_start(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = Vec::new();
    let mut used = 1;
    for grapheme in text.graphemes(true).rev() {
        used += grapheme_width(grapheme);
        if used > columns {
            break;
        }
        kept.push(grapheme);
    }
    let start = if columns > 0 { "…" } else { "" };
    kept.iter().rev().fold(start.to_owned(), |text, grapheme| text + grapheme)
}

/// Wraps styled text into rows of at most `columns`. A line break in a span begins a row. A
/// grapheme wider than the row is replaced, so that no row is ever wider.
pub(super) fn wrap(spans: &[Span], columns: usize) -> Vec<Row> {
    let mut wrapper = Wrapper::new(columns.max(1));
    for span in spans {
        for (index, line) in span.text.split('\n').enumerate() {
            if index > 0 {
                wrapper.end_row();
            }
            for word in words(line) {
                wrapper.word(word, span.style);
            }
        }
    }
    wrapper.end_row();
    wrapper.rows
}

/// Splits a line where it may be broken: between spaces and other letters, and around letters of
/// two columns (scripts without spaces, emoji).
fn words(line: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Kind {
        Space,
        Letter,
        Wide,
    }
    let kind_of = |grapheme: &str| {
        if grapheme.chars().all(char::is_whitespace) {
            Kind::Space
        } else if grapheme_width(grapheme) > 1 {
            Kind::Wide
        } else {
            Kind::Letter
        }
    };
    let (mut words, mut start, mut before) = (Vec::new(), 0, Kind::Wide);
    for (at, grapheme) in line.grapheme_indices(true) {
        let kind = kind_of(grapheme);
        if at > start && (kind == Kind::Wide || kind != before) {
            words.extend(line.get(start..at));
            start = at;
        }
        before = kind;
    }
    words.extend(line.get(start..).filter(|rest| !rest.is_empty()));
    words
}

struct Wrapper {
    columns: usize,
    used: usize,
    row: Row,
    rows: Vec<Row>,
}

impl Wrapper {
    fn new(columns: usize) -> Self {
        Self { columns, used: 0, row: Row::default(), rows: Vec::new() }
    }

    fn word(&mut self, word: &str, style: StyleName) {
        let wide = width(word);
        let is_space = word.chars().all(char::is_whitespace);
        if self.used + wide > self.columns && self.used > 0 {
            self.break_before(word, wide);
            if is_space {
                return;
            }
        }
        if wide > self.columns {
            self.long_word(word, style);
        } else {
            self.push(word, wide, style);
        }
    }

    /// Ends the row because `word` does not fit.
    fn break_before(&mut self, word: &str, wide: usize) {
        if wide > self.columns && !word.chars().all(char::is_whitespace) {
            // It must be split anyway: fill this row first.
            return;
        }
        self.end_row();
    }

    fn long_word(&mut self, word: &str, style: StyleName) {
        for grapheme in word.graphemes(true) {
            let wide = grapheme_width(grapheme);
            let (grapheme, wide) =
                if wide > self.columns { ("\u{fffd}", 1) } else { (grapheme, wide) };
            if self.used + wide > self.columns {
                self.end_row();
            }
            self.push(grapheme, wide, style);
        }
    }

    fn push(&mut self, text: &str, wide: usize, style: StyleName) {
        self.used += wide;
        match self.row.spans.last_mut() {
            Some(last) if last.style == style => last.text.push_str(text),
            Some(_) | None => self.row.spans.push(Span::new(text, style)),
        }
    }

    fn end_row(&mut self) {
        self.used = 0;
        self.rows.push(std::mem::take(&mut self.row));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(text: &str, columns: usize) -> Vec<String> {
        wrap(&[Span::new(text, StyleName::Text)], columns)
            .iter()
            .map(|row| row.spans.iter().map(|span| span.text.as_str()).collect())
            .collect()
    }

    #[test]
    fn rows_break_at_spaces_and_long_words_in_the_middle() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("a\n\nb", 4), ["a", "", "b"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn wide_letters_and_emoji_count_two_columns_and_marks_none() {
        assert_eq!(wrapped("日本語テキスト", 5), ["日本", "語テ", "キス", "ト"]);
        assert_eq!(width("👨‍👩‍👧‍👦"), 2);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(wrapped("👍👍👍", 4), ["👍👍", "👍"]);
        assert_eq!(wrapped("日", 1), ["\u{fffd}"]);
    }

    #[test]
    fn a_cut_text_says_so_and_fits() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello", 4), "hel…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut_start("hello", 4), "…llo");
        assert_eq!(cut("hello", 0), "");
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_no_letter_is_lost(text in "\\PC{0,80}", columns in 12_usize..40) {
            let rows = wrapped(&text, columns);
            for row in &rows {
                prop_assert!(width(row) <= columns, "{row:?}");
            }
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&rows.concat()), letters(&text));
        }
    }
}
