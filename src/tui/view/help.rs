//! The help.

use ratatui::layout::Rect;

use crate::tui::{keymap::Keymap, state::help_rows, widgets::Canvas};

/// Draws it from row `scrolled` on.
pub(super) fn draw(keymap: &Keymap, canvas: &mut Canvas<'_>, area: Rect, scrolled: usize) {
    let rows = help_rows(keymap, usize::from(area.width));
    let height = usize::from(area.height);
    let first = scrolled.min(rows.len().saturating_sub(height));
    for (row, y) in rows.iter().skip(first).take(height).zip(0_u16..) {
        canvas.row(area, (0, y), row);
    }
}
