//! The composer: what it is for, the text, the cursor.

use std::borrow::Cow;

use ratatui::layout::{Position, Rect};

use super::{hints, screen::rect};
use crate::tui::{
    action::AnywhereAction,
    state::{Composer, Focus, PROMPT_COLUMNS, Purpose, State},
    theme::StyleName,
    widgets::Canvas,
    wrap,
};

/// Draws it and says where its cursor is.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>) -> Option<Position> {
    let composer = &state.pane()?.composer;
    let back = hints::with_key(state, AnywhereAction::Back, "leave it");
    context(composer, &back, canvas, rect(state.areas.context));
    let area = rect(state.areas.composer);
    canvas.text(area, (0, 0), "> ", StyleName::ComposerContext);
    let columns = state.composer_columns();
    let rows = composer.rows(columns);
    let (row, column) = composer.cursor_cell(columns);
    // The cursor's row is always visible.
    let height = usize::from(area.height);
    let first = row.saturating_sub(height.saturating_sub(1)).min(rows.len());
    for (range, y) in rows.iter().skip(first).take(height).zip(0_u16..) {
        let text = composer.shown(range.clone());
        canvas.text(area, (PROMPT_COLUMNS, y), &text, StyleName::ComposerText);
    }
    if composer.is_empty() {
        let words = placeholder(state);
        canvas.text(area, (PROMPT_COLUMNS, 0), &words, StyleName::ComposerPlaceholder);
    }
    let x = u16::try_from(column).unwrap_or(u16::MAX).saturating_add(PROMPT_COLUMNS);
    let y = u16::try_from(row - first).unwrap_or(u16::MAX);
    let last = Position { x: area.right().saturating_sub(1), y: area.bottom().saturating_sub(1) };
    Some(Position { x: (area.x + x).min(last.x), y: (area.y + y).min(last.y) })
}

fn placeholder(state: &State) -> Cow<'static, str> {
    let is_encrypted = state
        .current
        .as_ref()
        .and_then(|room| state.rooms.get(room))
        .is_some_and(|room| room.summary.encrypted);
    match (state.focus, is_encrypted) {
        (Focus::Composer, true) => match state.newcomers_here() {
            Some(new) => format!("Write an encrypted message: {new} will read it").into(),
            None => "Write an encrypted message".into(),
        },
        (Focus::Composer, false) => "Write a message: this room is NOT encrypted".into(),
        (Focus::Rooms | Focus::Messages, _) => "".into(),
    }
}

/// What the text is for, and at the right how to get out of it.
fn context(composer: &Composer, back: &str, canvas: &mut Canvas<'_>, area: Rect) {
    let words = match composer.purpose() {
        Purpose::New => return,
        Purpose::Reply { shown, .. } => format!("replying to {shown}"),
        Purpose::Edit { .. } => "editing your message".to_owned(),
    };
    let room = usize::from(area.width).saturating_sub(wrap::width(back) + 2);
    canvas.text(area, (0, 0), &wrap::cut(&words, room), StyleName::ComposerContext);
    canvas.text_right(area, 0, back, StyleName::Dim);
}
