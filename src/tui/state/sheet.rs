//! Something told in lines over the screen, each with what it is about.

use super::areas::Area;
use crate::{
    matrix::SafeText,
    tui::{
        theme::StyleName,
        wrap::{self, Row, Span},
    },
};

/// Most columns, the frame included.
pub(in crate::tui) const SHEET_COLUMNS: u16 = 84;
/// Columns and rows of the frame.
const FRAME: (u16, u16) = (4, 2);
/// Columns for what a line is about, where there is room beside the words.
const ABOUT_COLUMNS: usize = 13;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Sheet {
    /// What it is.
    pub title: &'static str,
    /// What each line is about, and the line.
    pub lines: Vec<(&'static str, SafeText)>,
}

impl Sheet {
    /// How many rows can be scrolled away at most: the last one then is at the bottom.
    pub(in crate::tui) fn most_scrolled(&self, screen: Area) -> usize {
        let columns = screen.width.min(SHEET_COLUMNS).saturating_sub(FRAME.0);
        let height = screen.height.saturating_sub(FRAME.1);
        self.rows(usize::from(columns)).len().saturating_sub(usize::from(height))
    }

    /// All rows at this width.
    pub(in crate::tui) fn rows(&self, columns: usize) -> Vec<Row> {
        self.lines.iter().flat_map(|(about, words)| line(about, words.as_str(), columns)).collect()
    }
}

fn line(about: &str, words: &str, columns: usize) -> Vec<Row> {
    let beside = columns >= ABOUT_COLUMNS * 3;
    let indent = if beside { ABOUT_COLUMNS } else { 2 };
    let words = [Span::new(words, StyleName::OverlayText)];
    let wrapped = wrap::wrap(&words, columns.saturating_sub(indent)).into_iter();
    let indented = wrapped.map(|row| {
        let mut spans = vec![Span::new(" ".repeat(indent), StyleName::OverlayText)];
        spans.extend(row.spans);
        Row { spans }
    });
    let mut rows: Vec<Row> = indented.collect();
    match rows.first_mut().and_then(|row| row.spans.first_mut()).filter(|_| beside) {
        Some(gap) => *gap = Span::new(format!("{about:<ABOUT_COLUMNS$}"), StyleName::HelpKey),
        None => rows.insert(0, Row::of(about, StyleName::HelpKey)),
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| row.spans.iter().map(|span| span.text.as_str()).collect()).collect()
    }

    #[test]
    fn words_stand_beside_what_they_are_about_or_below_it_where_it_is_narrow() {
        let lines = vec![("sender", SafeText::line("@alice:example.org"))];
        let sheet = Sheet { title: "t", lines };
        assert_eq!(text(&sheet.rows(60)), ["sender       @alice:example.org"]);
        assert_eq!(text(&sheet.rows(24)), ["sender", "  @alice:example.org"]);
    }

    #[test]
    fn the_last_row_can_be_scrolled_to() {
        let lines = (0..30).map(|_| ("a", SafeText::line("b"))).collect();
        let sheet = Sheet { title: "t", lines };
        let screen = Area { x: 0, y: 0, width: 80, height: 12 };
        assert_eq!(sheet.most_scrolled(screen), 20);
    }
}
