//! Cells to draw on, with the theme that gives names their looks. Whatever is drawn is cut at the
//! edge of its area.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::tui::{
    theme::{StyleName, Theme},
    wrap::{self, Row},
};

/// Cells and theme.
#[derive(Debug)]
pub(in crate::tui) struct Canvas<'a> {
    /// The cells of the whole screen.
    pub cells: &'a mut Buffer,
    /// What names look like.
    pub theme: &'a Theme,
}

impl Canvas<'_> {
    /// Writes `text` into the row `y` of `area` from column `x` on; answers the column after it.
    pub(in crate::tui) fn text(
        &mut self,
        area: Rect,
        (x, y): (u16, u16),
        text: &str,
        style: StyleName,
    ) -> u16 {
        if y >= area.height || x >= area.width {
            return x;
        }
        let left = usize::from(area.width - x);
        let style = self.theme.style(style);
        let (end, _) = self.cells.set_stringn(area.x + x, area.y + y, text, left, style);
        end - area.x
    }

    /// Writes a row of styled stretches.
    pub(in crate::tui) fn row(&mut self, area: Rect, (x, y): (u16, u16), row: &Row) -> u16 {
        row.spans.iter().fold(x, |x, span| self.text(area, (x, y), &span.text, span.style))
    }

    /// Writes `text` so that it ends at the right edge.
    pub(in crate::tui) fn text_right(&mut self, area: Rect, y: u16, text: &str, style: StyleName) {
        let wide = u16::try_from(wrap::width(text)).unwrap_or(u16::MAX);
        self.text(area, (area.width.saturating_sub(wide), y), text, style);
    }

    /// Gives a whole area a style, over what is there.
    pub(in crate::tui) fn tint(&mut self, area: Rect, style: StyleName) {
        self.cells.set_style(area, self.theme.style(style));
    }

    /// Empties an area and gives it a style.
    pub(in crate::tui) fn clear(&mut self, area: Rect, style: StyleName) {
        let style = self.theme.style(style);
        for y in area.top()..area.bottom() {
            let blank = " ".repeat(usize::from(area.width));
            self.cells.set_style(Rect { y, height: 1, ..area }, Style::reset());
            self.cells.set_stringn(area.x, y, blank, usize::from(area.width), style);
        }
    }
}
