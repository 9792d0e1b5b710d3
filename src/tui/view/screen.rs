//! The whole screen, part by part.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
};

use super::{alarms, composer, overlay, room_list, status, timeline};
use crate::tui::{
    state::{Area, Focus, SMALLEST, State},
    theme::{StyleName, Theme},
    widgets::Canvas,
    wrap,
};

/// Draws the whole screen into empty cells and says where the cursor is, if it is anywhere.
pub fn draw(state: &State, theme: &Theme, cells: &mut Buffer) -> Option<Position> {
    let mut canvas = Canvas { cells, theme };
    let areas = state.areas;
    if !areas.is_usable() {
        too_small(state, &mut canvas);
        return None;
    }
    alarms::draw(state, &mut canvas, rect(areas.alarms));
    if areas.rooms.width > 0 {
        room_list::draw(state, &mut canvas, rect(areas.rooms));
        divider(&mut canvas, rect(areas.divider));
    }
    let mut cursor = None;
    if areas.messages.width > 0 {
        timeline::draw(state, &mut canvas);
        cursor = composer::draw(state, &mut canvas).filter(|_| state.focus == Focus::Composer);
    }
    status::draw(state, &mut canvas, rect(areas.status));
    if state.overlay.is_some() {
        return overlay::draw(state, &mut canvas);
    }
    cursor
}

/// Our areas in the words of the terminal library.
pub(super) fn rect(area: Area) -> Rect {
    Rect { x: area.x, y: area.y, width: area.width, height: area.height }
}

fn divider(canvas: &mut Canvas<'_>, area: Rect) {
    for y in 0..area.height {
        canvas.text(area, (0, y), "│", StyleName::Border);
    }
}

fn too_small(state: &State, canvas: &mut Canvas<'_>) {
    let area = rect(state.areas.screen);
    let words = format!("grotto needs {} × {} cells", SMALLEST.width, SMALLEST.height);
    let rows = wrap::wrap(&[wrap::Span::new(words, StyleName::Text)], usize::from(area.width));
    for (row, y) in rows.iter().zip(0_u16..) {
        canvas.row(area, (0, y), row);
    }
}
