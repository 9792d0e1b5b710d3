//! A list of one-line entries, scrolled so that the chosen one is visible.

use ratatui::layout::Rect;

use super::canvas::Canvas;
use crate::tui::{
    theme::StyleName,
    wrap::{self, Row},
};

/// One line of a list.
#[derive(Clone, Debug)]
pub(in crate::tui) struct ListEntry {
    /// What it says; cut when too long.
    pub text: String,
    /// How it looks.
    pub style: StyleName,
    /// What stands at its right end, always whole.
    pub right: Row,
    /// How the line looks while it is chosen.
    pub chosen: StyleName,
}

/// Draws the entries; `chosen` is the one that must be visible and is marked, if any is.
pub(in crate::tui) fn scroll_list(
    canvas: &mut Canvas<'_>,
    area: Rect,
    entries: &[ListEntry],
    chosen: Option<usize>,
) {
    let height = usize::from(area.height);
    let first = first_visible(chosen.unwrap_or(0), entries.len(), height);
    let visible = entries.iter().enumerate().skip(first).take(height);
    for ((index, entry), y) in visible.zip(0_u16..) {
        let right = entry.right.width();
        let room = usize::from(area.width).saturating_sub(right + usize::from(right > 0));
        canvas.text(area, (0, y), &wrap::cut(&entry.text, room), entry.style);
        let x = usize::from(area.width).saturating_sub(right);
        canvas.row(area, (u16::try_from(x).unwrap_or(0), y), &entry.right);
        if chosen == Some(index) {
            canvas.tint(Rect { y: area.y + y, height: 1, ..area }, entry.chosen);
        }
    }
}

/// The first entry to draw: the chosen one stays in the middle as far as the list allows.
fn first_visible(chosen: usize, entries: usize, height: usize) -> usize {
    chosen.saturating_sub(height / 2).min(entries.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::first_visible;

    #[test]
    fn the_chosen_entry_is_always_visible() {
        for entries in 0..20 {
            for height in 1..8 {
                for chosen in 0..entries {
                    let first = first_visible(chosen, entries, height);
                    assert!((first..first + height).contains(&chosen));
                }
            }
        }
    }
}
