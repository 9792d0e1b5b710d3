//! The room list: a mark, the name, and how much is unread, in words and numbers, not in color
//! alone.

use ratatui::layout::Rect;

use super::hints;
use crate::{
    rooms::RoomKind,
    tui::{
        action::AnywhereAction,
        state::{Focus, ListedRoom, State},
        theme::StyleName,
        widgets::{Canvas, ListEntry, scroll_list},
        wrap::{self, Row, Span},
    },
};

/// Draws it.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    let head = Rect { height: 1, ..area };
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    heading(state, canvas, head);
    let shown = state.rooms.shown();
    if shown.is_empty() {
        return empty(state, canvas, body);
    }
    let entries: Vec<ListEntry> = shown.iter().map(|room| entry(state, room)).collect();
    let chosen = (state.focus == Focus::Rooms).then(|| state.rooms.selected_index());
    scroll_list(canvas, body, &entries, chosen);
}

/// One room as a line of a list.
pub(super) fn entry(state: &State, room: &ListedRoom) -> ListEntry {
    let summary = &room.summary;
    let is_current = state.is_current(&summary.room_id);
    let style = if room.is_invite() {
        StyleName::RoomsInvite
    } else if summary.highlights > 0 {
        StyleName::RoomsHighlight
    } else if is_current {
        StyleName::RoomsCurrent
    } else if summary.unread > 0 {
        StyleName::RoomsUnread
    } else {
        StyleName::RoomsName
    };
    let open = if is_current { '>' } else { ' ' };
    let kind = match summary.kind {
        RoomKind::Dm => '@',
        RoomKind::Group => '#',
        RoomKind::Space => '+',
    };
    let text = format!("{open}{kind} {}", room.name);
    let mut right = Row::of(counts(room), style);
    if state.unsent.failed_in.contains(&summary.room_id) {
        right.spans.insert(0, Span::new("✗ ", StyleName::SendFailed));
    }
    ListEntry { text, style, right, chosen: StyleName::RoomsSelected }
}

fn counts(room: &ListedRoom) -> String {
    let summary = &room.summary;
    if room.is_invite() {
        return "invite ".to_owned();
    }
    match (summary.highlights, summary.unread) {
        (0, 0) => String::new(),
        (0, unread) => format!("{unread} "),
        (highlights, unread) => format!("!{highlights} {unread} "),
    }
}

fn heading(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    let filter = state.rooms.filter();
    if filter.is_empty() {
        let words = if state.synced { " Rooms" } else { " Rooms (loading …)" };
        canvas.text(area, (0, 0), words, StyleName::Header);
    } else {
        let shown = wrap::cut_start(filter, usize::from(area.width.saturating_sub(4)));
        canvas.text(area, (0, 0), &format!(" / {shown}"), StyleName::RoomsFilter);
    }
}

fn empty(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    let mut lines = Vec::new();
    if !state.rooms.filter().is_empty() {
        lines.push("no room has that name".to_owned());
        lines.push(hints::with_key(state, AnywhereAction::Back, "all rooms"));
    } else if state.synced {
        lines.push("no rooms yet".to_owned());
        lines.push(hints::with_key(state, AnywhereAction::NewDirect, "chat"));
        lines.push(hints::with_key(state, AnywhereAction::NewRoom, "make one"));
        lines.push(hints::with_key(state, AnywhereAction::JoinRoom, "join one"));
    }
    for (line, y) in lines.iter().zip(0_u16..) {
        canvas.text(area, (1, y), line, StyleName::Dim);
    }
}
