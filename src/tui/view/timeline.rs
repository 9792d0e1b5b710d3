//! The open room: its name and topic, and the rows that are visible of its messages. The rows were
//! laid out before; here they only become cells.

use ratatui::layout::Rect;

use super::{hints, screen::rect};
use crate::{
    engine::DevicePolicy,
    matrix::SafeText,
    rooms::RoomKind,
    tui::{
        action::{Action, AnywhereAction},
        state::{MOST_COUNTED, RoomPane, State},
        theme::StyleName,
        widgets::Canvas,
        wrap,
    },
};

/// Columns of a room's name that stay, whatever stands beside it.
const LEAST_NAME: usize = 8;

/// Draws it.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    header(state, canvas, rect(state.areas.header));
    let area = rect(state.areas.messages);
    let Some(pane) = state.pane() else { return welcome(state, canvas, area) };
    let visible = pane.visible();
    let blank = u16::try_from(visible.blank).unwrap_or(u16::MAX).min(area.height);
    for (row, y) in visible.rows.iter().zip(blank..area.height) {
        canvas.row(area, (0, y), row);
    }
    newer(state, pane, canvas, area);
    if pane.is_loading_above(state.now) {
        canvas.text_right(area, 0, " loading older messages … ", StyleName::StatusNotice);
    }
}

/// What to do when no room is open.
fn welcome(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    const KEY_COLUMNS: u16 = 10;
    canvas.text(area, (2, 1), "No room is open. Type to filter the list, or press", StyleName::Dim);
    let rows = hints::WELCOME
        .iter()
        .filter_map(|(action, words)| Some((hints::key(state, *action)?, *words)));
    for ((key, words), y) in rows.zip(3_u16..) {
        let x = canvas.text(area, (2, y), &key, StyleName::HelpKey).max(KEY_COLUMNS) + 2;
        canvas.text(area, (x, y), words, StyleName::Text);
    }
}

fn header(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    let Some(room) = state.current.as_ref().and_then(|room| state.rooms.get(room)) else { return };
    let warnings = warnings(state);
    let taken: usize = warnings.iter().map(|words| wrap::width(words) + 2).sum();
    // A name, which anybody may have chosen, pushes no warning off the screen.
    let columns = usize::from(area.width.saturating_sub(2));
    let left = columns.saturating_sub(taken).max(columns.min(LEAST_NAME));
    let name = wrap::cut(room.name.as_str(), left);
    let mut x = canvas.text(area, (1, 0), &name, StyleName::Header) + 2;
    if room.summary.kind != RoomKind::Dm {
        let members = match room.summary.members {
            1 => "1 member".to_owned(),
            many => format!("{many} members"),
        };
        let end = usize::from(x) + wrap::width(&members) + taken;
        if warnings.is_empty() || end <= columns {
            x = canvas.text(area, (x, 0), &members, StyleName::Dim) + 2;
        }
    }
    for words in warnings {
        x = canvas.text(area, (x, 0), &words, StyleName::MessageWarning) + 2;
    }
    if let Some(topic) = &room.summary.topic {
        let left = usize::from(area.width.saturating_sub(x + 1));
        let topic = SafeText::line(topic);
        canvas.text(area, (x, 0), &wrap::cut(topic.as_str(), left), StyleName::Dim);
    }
}

/// What must be known before one writes into the open room; the first with the key that tells more.
fn warnings(state: &State) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(trust) = state.trust_here() {
        if !trust.changed.is_empty() {
            warnings.push("identity changed".to_owned());
        }
        if trust.devices == DevicePolicy::All {
            warnings.push("ALL devices get keys".to_owned());
        }
        if !trust.left_out.is_empty() {
            warnings.push(format!("{} of {} devices left out", trust.left_out.len(), trust.known));
        }
    }
    warnings.extend(state.newcomers_here());
    let key = hints::key(state, Action::Anywhere(AnywhereAction::Trust));
    if let (Some(first), Some(key)) = (warnings.first_mut(), key) {
        *first = format!("{first} ({key})");
    }
    warnings
}

/// Says, on the last row, that there is more below than what is visible.
fn newer(state: &State, pane: &RoomPane, canvas: &mut Canvas<'_>, area: Rect) {
    let below = pane.visible().below;
    if below == 0 || area.height == 0 {
        return;
    }
    let keys = state.keymap.keys_of(Action::Anywhere(AnywhereAction::ToNewest));
    let key = keys.first().map_or_else(String::new, |key| format!(" ({key})"));
    let more = if below < MOST_COUNTED { "" } else { "+" };
    let words = format!(" ↓ {below}{more} newer{key} ");
    canvas.text_right(area, area.height - 1, &words, StyleName::StatusNotice);
}
