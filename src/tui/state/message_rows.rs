//! A message as rows of a given width: time in a gutter, the name before the text, what belongs to
//! it below.

use crate::tui::{
    theme::StyleName,
    wrap::{self, Row, Span},
};

/// Columns of the gutter with the time.
pub(super) const GUTTER: usize = 6;

/// What a message consists of; all text is safe.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// The time, at most five columns.
    pub time: String,
    /// Who says it.
    pub name: Option<Span>,
    /// What it answers: one row, cut.
    pub quote: Option<Span>,
    /// What it says.
    pub body: Vec<Span>,
    /// Short words after the text: edited, how far the sender is proved, where the sending stands.
    pub marks: Vec<Span>,
    /// Sentences below it, each in rows of its own.
    pub notes: Vec<Span>,
}

impl Parts {
    /// The rows in `columns` columns.
    pub(super) fn rows(self, columns: usize) -> Vec<Row> {
        let inner = columns.saturating_sub(GUTTER).max(1);
        let mut flow = Vec::new();
        let has_name = self.name.is_some();
        flow.extend(self.name);
        if let Some(quote) = self.quote {
            let used = flow.iter().map(|span| wrap::width(&span.text)).sum::<usize>() + 2;
            let text = format!("↪ {}", quote.text);
            let text = wrap::cut(&text, inner.saturating_sub(used).max(8));
            flow.push(Span::new("  ", StyleName::Text));
            flow.push(Span::new(text, quote.style));
            flow.push(Span::new("\n", StyleName::Text));
        } else if has_name {
            flow.push(Span::new("  ", StyleName::Text));
        }
        flow.extend(self.body);
        for mark in self.marks {
            flow.push(Span::new("  ", StyleName::Text));
            flow.push(mark);
        }
        let mut rows = wrap::wrap(&flow, inner);
        for note in self.notes {
            rows.extend(wrap::wrap(&[note], inner));
        }
        rows.into_iter().enumerate().map(|(index, row)| gutter(index, &self.time, row)).collect()
    }
}

/// Puts the time before the first row and as much space before the others.
fn gutter(index: usize, time: &str, row: Row) -> Row {
    let text = if index == 0 { time } else { "" };
    let fill = " ".repeat(GUTTER.saturating_sub(wrap::width(text)));
    let mut spans = vec![Span::new(format!("{text}{fill}"), StyleName::MessageTime)];
    spans.extend(row.spans);
    Row { spans }
}

/// A line over the whole width with words in it.
pub(super) fn ruled(words: &str, style: StyleName, columns: usize) -> Row {
    let words = wrap::cut(words, columns.saturating_sub(6));
    let left = "─".repeat(2);
    let right = columns.saturating_sub(wrap::width(&words) + 4);
    Row::of(format!("{left} {words} {}", "─".repeat(right)), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rows: &[Row]) -> Vec<String> {
        let one = |row: &Row| row.spans.iter().map(|span| span.text.as_str()).collect::<String>();
        rows.iter().map(|row| one(row).trim_end().to_owned()).collect()
    }

    #[test]
    fn the_text_hangs_under_the_name() {
        let parts = Parts {
            time: "12:01".to_owned(),
            name: Some(Span::new("ana", StyleName::Sender1)),
            body: vec![Span::new("one two three", StyleName::MessageText)],
            marks: vec![Span::new("(edited)", StyleName::MessageEdited)],
            notes: vec![Span::new("👍 2", StyleName::MessageReaction)],
            ..Parts::default()
        };
        assert_eq!(
            text(&parts.rows(20)),
            ["12:01 ana  one two", "      three", "      (edited)", "      👍 2"]
        );
    }

    #[test]
    fn what_a_reply_answers_takes_one_row() {
        let parts = Parts {
            time: "12:01".to_owned(),
            name: Some(Span::new("ana", StyleName::Sender1)),
            quote: Some(Span::new("bob: a long question", StyleName::MessageQuote)),
            body: vec![Span::new("yes", StyleName::MessageText)],
            ..Parts::default()
        };
        assert_eq!(text(&parts.rows(26)), ["12:01 ana  ↪ bob: a long …", "      yes"]);
    }

    #[test]
    fn a_ruled_line_has_the_width_of_the_screen() {
        for columns in 10..40 {
            assert_eq!(ruled("Monday", StyleName::MessageDay, columns).width(), columns);
        }
    }
}
