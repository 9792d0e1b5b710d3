//! What stands above all else: warnings until they are dismissed, the way to the account's keys.

use ratatui::layout::Rect;

use crate::tui::{
    action::{Action, AnywhereAction},
    state::{State, alarm_words},
    theme::StyleName,
    widgets::Canvas,
    wrap,
};

/// Draws the oldest warnings, one a row.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    let keys = state.keymap.keys_of(Action::Anywhere(AnywhereAction::DismissAlarm));
    let hint = keys.first().map_or_else(String::new, |key| format!(" [{key}: read] "));
    let area = setup(state, canvas, area);
    for (alarm, y) in state.alarms.iter().zip(0..area.height) {
        canvas.tint(Rect { y: area.y + y, height: 1, ..area }, StyleName::Alarm);
        let room = usize::from(area.width).saturating_sub(wrap::width(&hint));
        let text = wrap::cut(&format!(" ! {}", alarm_words(alarm)), room);
        canvas.text(area, (0, y), &text, StyleName::Alarm);
        canvas.text_right(area, y, &hint, StyleName::Alarm);
    }
}

/// The way to the account's keys, in the last row; answers what is left for the warnings.
fn setup(state: &State, canvas: &mut Canvas<'_>, area: Rect) -> Rect {
    let Some(words) = state.setup_bar().filter(|_| area.height > 0) else { return area };
    let keys = state.keymap.keys_of(Action::Anywhere(AnywhereAction::SetUp));
    let hint = match keys.first().filter(|_| state.setup_waits()) {
        Some(key) => format!(" [{key}: how] "),
        None => String::new(),
    };
    let row = Rect { y: area.y + area.height - 1, height: 1, ..area };
    canvas.tint(row, StyleName::Setup);
    let room = usize::from(area.width).saturating_sub(wrap::width(&hint));
    canvas.text(row, (0, 0), &wrap::cut(&format!(" {words}"), room), StyleName::Setup);
    canvas.text_right(row, 0, &hint, StyleName::Setup);
    Rect { height: area.height - 1, ..area }
}
