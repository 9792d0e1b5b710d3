//! The text that is being written: a cursor that moves by grapheme clusters, cutting and putting
//! back, history, and what the text is for (a new message, a reply, an edit).

use unicode_segmentation::UnicodeSegmentation;

use crate::{
    matrix::{OwnedEventId, SafeText},
    tui::wrap,
};

/// The longest text that can be written, in bytes: with everything around it, an encrypted event
/// must stay below the 65,536 bytes of the specification.
pub(in crate::tui) const MAX_TEXT_BYTES: usize = 45_000;
/// How many sent lines of a room can be brought back.
const MAX_HISTORY: usize = 100;

/// What the text is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum Purpose {
    /// A message of its own.
    #[default]
    New,
    /// It answers an event.
    Reply {
        /// Which.
        event: OwnedEventId,
        /// Whose and what, for the line above the composer; safe text.
        shown: String,
    },
    /// It replaces an own message.
    Edit {
        /// Which.
        event: OwnedEventId,
        /// What was being written before the edit began.
        set_aside: String,
    },
}

/// Whether a text found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Taken {
    /// It is in, whole.
    Whole,
    /// It would have been too much: nothing of it is in.
    TooLong {
        /// How many bytes there would be.
        bytes: usize,
    },
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Direction {
    /// To the beginning.
    Back,
    /// To the end.
    Forward,
}

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Step {
    /// A grapheme cluster.
    Grapheme,
    /// A word and what separates it.
    Word,
    /// The rest of the line.
    Line,
    /// The rest of the text.
    Text,
}

/// The text being written in one room.
#[derive(Clone, Debug, Default)]
pub(in crate::tui) struct Composer {
    text: String,
    /// Byte offset, on a grapheme boundary.
    cursor: usize,
    purpose: Purpose,
    cut: String,
    history: Vec<String>,
    /// Which line of the history is shown, counted from the newest, and what was there before.
    recalled: Option<(usize, String)>,
}

impl Composer {
    /// What was written.
    pub(in crate::tui) fn text(&self) -> &str {
        &self.text
    }

    /// What it is for.
    pub(in crate::tui) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// Rows above the text that say what it is for.
    pub(in crate::tui) fn context_rows(&self) -> u16 {
        match self.purpose {
            Purpose::New => 0,
            Purpose::Reply { .. } | Purpose::Edit { .. } => 1,
        }
    }

    /// Whether there is nothing.
    pub(in crate::tui) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts text in at the cursor, whole or not at all: half of a paste would be sent unnoticed.
    /// Controls other than line ends are left out.
    pub(in crate::tui) fn insert(&mut self, text: &str) -> Taken {
        let clean = clean(text);
        let bytes = self.text.len().saturating_add(clean.len());
        if MAX_TEXT_BYTES < bytes {
            return Taken::TooLong { bytes };
        }
        self.text.insert_str(self.cursor, &clean);
        self.cursor += clean.len();
        self.settle();
        Taken::Whole
    }

    /// Moves the cursor.
    pub(in crate::tui) fn go(&mut self, step: Step, to: Direction) {
        self.cursor = self.boundary(self.target(step, to), to);
    }

    /// Deletes; what is longer than a grapheme can be put back by [`Composer::yank`].
    pub(in crate::tui) fn delete(&mut self, step: Step, to: Direction) {
        let target = self.boundary(self.target(step, to), to);
        let (from, until) = (self.cursor.min(target), self.cursor.max(target));
        let gone: String = self.text.drain(from..until).collect();
        self.cursor = from;
        if step != Step::Grapheme && !gone.is_empty() {
            self.cut = gone;
        }
        self.settle();
    }

    /// Puts back what was cut last.
    pub(in crate::tui) fn yank(&mut self) -> Taken {
        let cut = self.cut.clone();
        self.insert(&cut)
    }

    /// Moves up or down by a row of the screen; `false` when there is none.
    pub(in crate::tui) fn go_row(&mut self, to: Direction, columns: usize) -> bool {
        let rows = self.rows(columns);
        let (row, column) = self.cursor_cell(columns);
        let target = match to {
            Direction::Back => row.checked_sub(1),
            Direction::Forward => row.checked_add(1),
        };
        let Some(range) = target.and_then(|target| rows.get(target)) else { return false };
        self.cursor = offset_at(&self.text, range, column);
        true
    }

    /// Takes the text out to be sent; it is remembered in the history.
    pub(in crate::tui) fn take(&mut self) -> (String, Purpose) {
        let text = std::mem::take(&mut self.text);
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            self.history.push(text.clone());
            if MAX_HISTORY < self.history.len() {
                self.history.remove(0);
            }
        }
        let purpose = std::mem::take(&mut self.purpose);
        self.restore(purpose.clone());
        (text, purpose)
    }

    /// Puts back what [`Composer::take`] took, because it could not be given to the engine.
    pub(in crate::tui) fn put_back(&mut self, text: String, purpose: Purpose) {
        let draft = match &purpose {
            Purpose::Edit { .. } => String::new(),
            Purpose::New | Purpose::Reply { .. } => std::mem::take(&mut self.text),
        };
        self.purpose = purpose;
        self.replace(text);
        if !draft.is_empty() {
            self.recalled = Some((0, draft));
        }
    }

    /// Empties it, and forgets what it was for. What an edit or a line of the history had set aside
    /// comes back.
    pub(in crate::tui) fn clear(&mut self) {
        if !self.text.is_empty() {
            self.cut = std::mem::take(&mut self.text);
        }
        let purpose = std::mem::take(&mut self.purpose);
        self.restore(purpose);
    }

    /// The text will answer `event`.
    pub(in crate::tui) fn reply_to(&mut self, event: OwnedEventId, shown: String) {
        self.cancel_purpose();
        self.purpose = Purpose::Reply { event, shown };
    }

    /// The text of an own message is changed.
    pub(in crate::tui) fn edit(&mut self, event: OwnedEventId, text: &str) {
        self.cancel_purpose();
        let written = std::mem::take(&mut self.text);
        let set_aside = match self.recalled.take() {
            Some((_, draft)) if !draft.is_empty() => draft,
            Some(_) | None => written,
        };
        self.purpose = Purpose::Edit { event, set_aside };
        self.replace(clean(text));
    }

    /// Back to a message of its own. Answers whether it was anything else.
    pub(in crate::tui) fn cancel_purpose(&mut self) -> bool {
        match std::mem::take(&mut self.purpose) {
            Purpose::New => false,
            Purpose::Reply { .. } => true,
            Purpose::Edit { set_aside, .. } => {
                self.replace(set_aside);
                true
            }
        }
    }

    /// Brings back a line sent earlier (or later). What was being written comes back after the
    /// newest one, and once the line that was brought back, changed or not, is sent.
    pub(in crate::tui) fn recall(&mut self, to: Direction) {
        self.leave_changed_line();
        let shown = self.recalled.as_ref().map(|(index, _)| *index);
        let index = match (shown, to) {
            (None, Direction::Back) => Some(0),
            (Some(index), Direction::Back) => Some(index + 1),
            (Some(index), Direction::Forward) => index.checked_sub(1),
            (None, Direction::Forward) => return,
        };
        let set_aside = match self.recalled.take() {
            Some((_, text)) => text,
            None => self.text.clone(),
        };
        let line = index.and_then(|index| self.history.iter().rev().nth(index).cloned());
        match (index, line) {
            (Some(index), Some(line)) => {
                self.replace(line);
                self.recalled = Some((index, set_aside));
            }
            (Some(index), None) => {
                // Nothing older: stay.
                self.recalled = index.checked_sub(1).map(|index| (index, set_aside));
            }
            (None, _) => self.replace(set_aside),
        }
    }

    /// The rows of the text at this width, as ranges of bytes; never none.
    pub(in crate::tui) fn rows(&self, columns: usize) -> Vec<std::ops::Range<usize>> {
        let columns = columns.max(2);
        let (mut rows, mut start, mut used) = (Vec::new(), 0, 0);
        for (at, grapheme) in self.text.grapheme_indices(true) {
            if grapheme == "\n" {
                rows.push(start..at);
                (start, used) = (at + 1, 0);
                continue;
            }
            let wide = shown_width(grapheme);
            if used > 0 && used + wide > columns {
                rows.push(start..at);
                (start, used) = (at, 0);
            }
            used += wide;
        }
        rows.push(start..self.text.len());
        if used >= columns {
            // The cursor after a full row needs one of its own.
            rows.push(self.text.len()..self.text.len());
        }
        rows
    }

    /// A row as it is shown. What was pasted may hold what is better not shown as it is.
    pub(in crate::tui) fn shown(&self, row: std::ops::Range<usize>) -> String {
        self.text.get(row).unwrap_or_default().graphemes(true).map(shown).collect()
    }

    /// Row and column of the cursor at this width. It is never right of the row, not even behind a
    /// grapheme cluster that alone is wider than the row.
    pub(in crate::tui) fn cursor_cell(&self, columns: usize) -> (usize, usize) {
        let rows = self.rows(columns);
        let row = rows.iter().rposition(|range| range.start <= self.cursor).unwrap_or(0);
        let start = rows.get(row).map_or(0, |range| range.start);
        let before = self.text.get(start..self.cursor).unwrap_or_default();
        let column: usize = before.graphemes(true).map(shown_width).sum();
        (row, column.min(columns.max(2)))
    }

    /// A line of the history that was changed is a text of its own; where another one waits already,
    /// it can be put back by [`Composer::yank`].
    fn leave_changed_line(&mut self) {
        let Some((index, draft)) = &self.recalled else { return };
        if self.history.iter().rev().nth(*index) == Some(&self.text) {
            return;
        }
        if draft.is_empty() {
            self.recalled = None;
        } else {
            self.cut.clone_from(&self.text);
        }
    }

    /// Brings back what was being written before the text that is done with now.
    fn restore(&mut self, done: Purpose) {
        let draft = self.recalled.take().map_or_else(String::new, |(_, draft)| draft);
        self.replace(match done {
            Purpose::Edit { set_aside, .. } => set_aside,
            Purpose::New | Purpose::Reply { .. } => draft,
        });
    }

    fn replace(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
        self.recalled = None;
    }

    /// After a change: the cursor back onto a boundary (a letter and a mark may have joined).
    fn settle(&mut self) {
        self.cursor = self
            .text
            .grapheme_indices(true)
            .map(|(at, _)| at)
            .find(|at| self.cursor <= *at)
            .unwrap_or(self.text.len());
    }

    /// The grapheme boundary at `at`, or the next one in this direction: a word may end where an
    /// emoji goes on.
    fn boundary(&self, at: usize, to: Direction) -> usize {
        let mut boundaries = self.text.grapheme_indices(true).map(|(at, _)| at);
        match to {
            Direction::Back => boundaries.take_while(|it| *it <= at).last().unwrap_or(0),
            Direction::Forward => boundaries.find(|it| at <= *it).unwrap_or(self.text.len()),
        }
    }

    fn target(&self, step: Step, to: Direction) -> usize {
        let before = self.text.get(..self.cursor).unwrap_or_default();
        let after = self.text.get(self.cursor..).unwrap_or_default();
        match (step, to) {
            (Step::Grapheme, Direction::Back) => {
                before.grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
            }
            (Step::Grapheme, Direction::Forward) => {
                self.cursor + after.graphemes(true).next().map_or(0, str::len)
            }
            (Step::Word, Direction::Back) => {
                let is_word = |part: &(usize, &str)| part.1.chars().any(char::is_alphanumeric);
                before.split_word_bound_indices().rev().find(is_word).map_or(0, |(at, _)| at)
            }
            (Step::Word, Direction::Forward) => {
                let is_word = |part: &(usize, &str)| part.1.chars().any(char::is_alphanumeric);
                let word = after.split_word_bound_indices().find(is_word);
                word.map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
            }
            (Step::Line, Direction::Back) => before.rfind('\n').map_or(0, |at| at + 1),
            (Step::Line, Direction::Forward) => {
                after.find('\n').map_or(self.text.len(), |at| self.cursor + at)
            }
            (Step::Text, Direction::Back) => 0,
            (Step::Text, Direction::Forward) => self.text.len(),
        }
    }
}

/// What may be written: line ends in one form, no other controls. Tabs become spaces: how wide one
/// is depends on where it stands and on who shows it, and a message is sent as it was seen here.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// The offset in `range` nearest to `column`.
fn offset_at(text: &str, range: &std::ops::Range<usize>, column: usize) -> usize {
    let mut used = 0;
    let row = text.get(range.clone()).unwrap_or_default();
    for (at, grapheme) in row.grapheme_indices(true) {
        if column <= used {
            return range.start + at;
        }
        used += shown_width(grapheme);
    }
    range.end
}

/// A grapheme cluster as it is shown: each by itself, so that rows are measured as they are drawn.
fn shown(grapheme: &str) -> String {
    SafeText::line(grapheme).into_string()
}

fn shown_width(grapheme: &str) -> usize {
    wrap::width(&shown(grapheme))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Composer {
        let mut composer = Composer::default();
        composer.insert(text);
        composer
    }

    #[test]
    fn deleting_takes_a_whole_grapheme() {
        let mut composer = written("a👨‍👩‍👧e\u{301}");
        composer.delete(Step::Grapheme, Direction::Back);
        assert_eq!(composer.text(), "a👨‍👩‍👧");
        composer.delete(Step::Grapheme, Direction::Back);
        assert_eq!(composer.text(), "a");
    }

    #[test]
    fn the_cursor_never_stops_inside_an_emoji() {
        let mut composer = written("👍\u{200d}👍\u{301}\u{200d}\n");
        let boundaries = [0, 16, 17];
        for _ in 0..4 {
            composer.go(Step::Word, Direction::Back);
            assert!(boundaries.contains(&composer.cursor), "{}", composer.cursor);
            composer.go(Step::Grapheme, Direction::Forward);
            assert!(boundaries.contains(&composer.cursor), "{}", composer.cursor);
        }
    }

    #[test]
    fn what_was_cut_can_be_put_back() {
        let mut composer = written("hello brave world");
        composer.delete(Step::Word, Direction::Back);
        assert_eq!(composer.text(), "hello brave ");
        composer.go(Step::Text, Direction::Back);
        composer.yank();
        assert_eq!(composer.text(), "worldhello brave ");
    }

    #[test]
    fn pasted_controls_are_left_out_and_line_ends_kept() {
        let composer = written("a\x1b[31mb\r\nc\td\u{7}\u{9b}");
        assert_eq!(composer.text(), "a[31mb\nc    d");
    }

    #[test]
    fn a_text_that_is_too_long_is_not_taken_in_part() {
        let mut composer = written("before");
        let bytes = 6 + 2 * MAX_TEXT_BYTES;
        assert_eq!(composer.insert(&"é".repeat(MAX_TEXT_BYTES)), Taken::TooLong { bytes });
        assert_eq!(composer.text(), "before");
        assert_eq!(composer.insert(&"a".repeat(MAX_TEXT_BYTES - 6)), Taken::Whole);
    }

    #[test]
    fn an_edit_gives_back_what_was_being_written() {
        let mut composer = written("draft");
        let event: OwnedEventId = "$e".try_into().unwrap();
        composer.edit(event.clone(), "old message");
        assert_eq!(composer.text(), "old message");
        assert!(composer.cancel_purpose());
        assert_eq!(composer.text(), "draft");
        composer.edit(event, "old message");
        composer.clear();
        assert_eq!((composer.text(), composer.purpose()), ("draft", &Purpose::New));
        composer.clear();
        assert!(composer.is_empty());
    }

    #[test]
    fn history_goes_back_and_returns_to_the_draft() {
        let mut composer = written("one");
        composer.take();
        composer.insert("two");
        composer.take();
        composer.insert("draft");
        composer.recall(Direction::Back);
        composer.recall(Direction::Back);
        composer.recall(Direction::Back);
        assert_eq!(composer.text(), "one");
        composer.recall(Direction::Forward);
        assert_eq!(composer.text(), "two");
        composer.recall(Direction::Forward);
        assert_eq!(composer.text(), "draft");
    }

    #[test]
    fn a_draft_outlives_a_line_of_the_history_that_is_changed_or_sent() {
        let mut composer = written("one");
        composer.take();
        composer.insert("draft");
        composer.recall(Direction::Back);
        composer.insert("!");
        assert_eq!(composer.take().0, "one!");
        assert_eq!(composer.text(), "draft");
        composer.recall(Direction::Back);
        composer.insert("?");
        composer.recall(Direction::Forward);
        assert_eq!(composer.text(), "draft");
        composer.clear();
        composer.recall(Direction::Back);
        composer.insert("?");
        composer.recall(Direction::Forward);
        assert_eq!(composer.text(), "one!?");
    }

    #[test]
    fn rows_and_the_cursor_follow_the_width() {
        let mut composer = written("abcdef\n日本語");
        assert_eq!(composer.rows(4), [0..4, 4..6, 7..13, 13..16]);
        assert_eq!(composer.cursor_cell(4), (3, 2));
        assert!(composer.go_row(Direction::Back, 4));
        assert_eq!(composer.cursor_cell(4), (2, 2));
        composer.go(Step::Text, Direction::Back);
        assert!(!composer.go_row(Direction::Back, 4));
    }

    #[test]
    fn the_cursor_stays_in_the_row_behind_a_cluster_wider_than_it() {
        let mut composer = written(&format!("{}\n", "\u{301}\u{200d}👍".repeat(5)));
        composer.go(Step::Grapheme, Direction::Back);
        assert_eq!(composer.cursor_cell(7), (1, 7));
    }

    #[test]
    fn text_is_measured_as_it_is_drawn() {
        // A mark of direction and a heap of accents: shown as little or nothing of it.
        let heap = "\u{301}".repeat(40);
        let composer = written(&format!("ab\u{202e}cd{heap}ef"));
        let rows = composer.rows(20);
        assert_eq!(rows.len(), 1);
        let shown = composer.shown(rows[0].clone());
        assert_eq!(composer.cursor_cell(20), (0, wrap::width(&shown)));
        assert!(!shown.contains('\u{202e}'));
    }

    proptest! {
        #[test]
        fn the_cursor_stays_on_a_boundary(
            text in "(\\PC|\n|\u{301}|👍|\u{200d}){0,20}",
            steps in proptest::collection::vec(0_u8..12, 0..40),
        ) {
            let mut composer = written(&text);
            for step in steps {
                let kind = [Step::Grapheme, Step::Word, Step::Line][usize::from(step % 3)];
                let to = if step % 2 == 0 { Direction::Back } else { Direction::Forward };
                match step / 4 {
                    0 => composer.go(kind, to),
                    1 => composer.delete(kind, to),
                    _ => { composer.yank(); composer.go_row(to, 7); }
                }
                prop_assert!(composer.text.is_char_boundary(composer.cursor));
                let (row, column) = composer.cursor_cell(7);
                prop_assert!(row < composer.rows(7).len() && column <= 7);
            }
        }
    }
}
