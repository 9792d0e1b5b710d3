//! The rows of the help, made from the table of actions and the keys they really have.

use super::areas::Area;
use crate::tui::{
    action::{Action, Mode, SLASH_COMMANDS},
    keymap::Keymap,
    theme::StyleName,
    wrap::{self, Row, Span},
};

/// Most columns of the help, its frame included.
pub(in crate::tui) const HELP_COLUMNS: u16 = 96;
/// Columns and rows of its frame.
const FRAME: (u16, u16) = (4, 2);
/// Columns for the keys.
const KEY_COLUMNS: usize = 22;

/// How many rows can be scrolled away at most: the last one then is at the bottom.
pub(in crate::tui) fn most_scrolled(keymap: &Keymap, screen: Area) -> usize {
    let columns = screen.width.min(HELP_COLUMNS).saturating_sub(FRAME.0);
    let height = screen.height.saturating_sub(FRAME.1);
    rows(keymap, usize::from(columns)).len().saturating_sub(usize::from(height))
}

/// All rows at this width.
pub(in crate::tui) fn rows(keymap: &Keymap, columns: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for mode in Mode::ALL {
        if !rows.is_empty() {
            rows.push(Row::default());
        }
        rows.push(Row::of(mode.heading(), StyleName::HelpHeading));
        for entry in Action::TABLE.iter().filter(|entry| entry.mode == mode) {
            let keys = keymap.keys_of(entry.action);
            let keys = if keys.is_empty() { "(no key)".to_owned() } else { keys.join(", ") };
            rows.extend(entry_rows(&keys, entry.doc, columns));
        }
    }
    rows.push(Row::default());
    rows.push(Row::of("Lines that begin with a slash", StyleName::HelpHeading));
    for (usage, doc) in SLASH_COMMANDS {
        rows.extend(entry_rows(usage, doc, columns));
    }
    rows
}

fn entry_rows(keys: &str, doc: &str, columns: usize) -> Vec<Row> {
    let keys_wide = wrap::width(keys);
    let text = |columns| wrap::wrap(&[Span::new(doc, StyleName::OverlayText)], columns);
    let indent = |by: usize, row: Row| {
        let mut spans = vec![Span::new(" ".repeat(by), StyleName::OverlayText)];
        spans.extend(row.spans);
        Row { spans }
    };
    if columns < KEY_COLUMNS * 2 || KEY_COLUMNS <= keys_wide {
        let below = text(columns.saturating_sub(4)).into_iter().map(|row| indent(4, row));
        return std::iter::once(Row::of(keys, StyleName::HelpKey)).chain(below).collect();
    }
    let mut rows = text(columns - KEY_COLUMNS).into_iter();
    let mut first = Row::of(keys, StyleName::HelpKey);
    let gap = " ".repeat(KEY_COLUMNS - keys_wide);
    first.spans.push(Span::new(gap, StyleName::OverlayText));
    first.spans.extend(rows.next().unwrap_or_default().spans);
    std::iter::once(first).chain(rows.map(|row| indent(KEY_COLUMNS, row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_action() {
        let text: String = rows(&Keymap::default(), 200)
            .iter()
            .flat_map(|row| &row.spans)
            .map(|span| span.text.as_str())
            .collect();
        for (usage, doc) in SLASH_COMMANDS {
            assert!(text.contains(usage) && text.contains(doc), "{usage} is missing");
        }
        for entry in Action::TABLE {
            assert!(text.contains(entry.doc), "{} is missing", entry.name);
            for key in entry.keys {
                assert!(text.contains(key), "{key} of {} is missing", entry.name);
            }
        }
    }
}
