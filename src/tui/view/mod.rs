//! The state as cells. Takes `&State`: drawing cannot change anything.

use ratatui::{buffer::Buffer, layout::Position};

use super::{state::State, theme::Theme};

/// Draws the whole screen and says where the cursor is, if it is anywhere.
pub fn draw(_state: &State, _theme: &Theme, _cells: &mut Buffer) -> Option<Position> {
    None
}
