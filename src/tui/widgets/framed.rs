//! A framed box in the middle of an area.

use ratatui::layout::Rect;

use super::canvas::Canvas;
use crate::tui::{theme::StyleName, wrap};

/// Draws an empty box of at most `width` by `height` cells (frame included) in the middle of
/// `area`, with a title, and answers its inside.
pub(in crate::tui) fn framed(
    canvas: &mut Canvas<'_>,
    area: Rect,
    title: &str,
    (width, height): (u16, u16),
) -> Rect {
    let width = width.min(area.width);
    let height = height.min(area.height);
    let outer = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    canvas.clear(outer, StyleName::OverlayText);
    if width < 4 || height < 3 {
        return outer;
    }
    let line = "─".repeat(usize::from(width - 2));
    canvas.text(outer, (0, 0), &format!("┌{line}┐"), StyleName::OverlayBorder);
    for y in 1..height - 1 {
        canvas.text(outer, (0, y), "│", StyleName::OverlayBorder);
        canvas.text(outer, (width - 1, y), "│", StyleName::OverlayBorder);
    }
    canvas.text(outer, (0, height - 1), &format!("└{line}┘"), StyleName::OverlayBorder);
    let title = wrap::cut(title, usize::from(width - 4));
    canvas.text(outer, (2, 0), &title, StyleName::OverlayBorder);
    Rect { x: outer.x + 2, y: outer.y + 1, width: width - 4, height: height - 2 }
}
