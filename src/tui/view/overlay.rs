//! What stands over the screen.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratatui::layout::{Position, Rect};

use super::{help, hints, room_list, screen::rect};
use crate::qr::{Ink, QrPicture};
use crate::tui::{
    action::{Action, AnywhereAction, OverlayAction},
    state::{HELP_COLUMNS, Overlay, Question, SHEET_COLUMNS, State},
    theme::StyleName,
    widgets::{Canvas, ListEntry, framed, scroll_list},
    wrap::{self, Row, Span},
};

/// Draws it and says where the cursor is, if something is typed.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>) -> Option<Position> {
    let area = rect(state.areas.screen);
    match state.overlay.as_ref()? {
        Overlay::Help { scrolled } => {
            let down = hints::key(state, Action::Overlay(OverlayAction::OverlayDown));
            let more = down.map_or_else(String::new, |key| format!(", {key}: more"));
            let close = hints::with_key(state, AnywhereAction::Back, "close");
            let title = format!(" Keys ({close}{more}) ");
            let inside = framed(canvas, area, &title, (HELP_COLUMNS, area.height));
            help::draw(&state.keymap, canvas, inside, *scrolled);
            None
        }
        Overlay::Sheet { sheet, scrolled } => {
            let close = hints::with_key(state, AnywhereAction::Back, "close");
            let title = format!(" {} ({close}) ", sheet.title);
            let columns = usize::from(area.width.min(SHEET_COLUMNS).saturating_sub(4));
            let rows = sheet.rows(columns);
            let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX);
            let inside = framed(canvas, area, &title, (SHEET_COLUMNS, height));
            let shown = usize::from(inside.height);
            let first = (*scrolled).min(rows.len().saturating_sub(shown));
            for (row, y) in rows.iter().skip(first).take(shown).zip(0_u16..) {
                canvas.row(inside, (0, y), row);
            }
            None
        }
        Overlay::Switcher { typed, chosen } => Some(switcher(state, canvas, typed, *chosen)),
        Overlay::Prompt { kind, typed } => {
            let title = format!(" {} ", kind.title());
            let inside = framed(canvas, area, &title, (64, 3));
            Some(line(canvas, inside, typed))
        }
        Overlay::Secret { kind, typed } => {
            let title = format!(" {} ", kind.title());
            let inside = framed(canvas, area, &title, (64, 3));
            Some(line(canvas, inside, &"•".repeat(typed.expose().chars().count())))
        }
        Overlay::Code { code, .. } => {
            draw_code(canvas, area, code, &hints::with_key(state, AnywhereAction::Back, "back"));
            None
        }
        Overlay::Question { kind, chosen } => {
            question(canvas, area, kind, *chosen);
            None
        }
    }
}

/// A line to type; its end is visible.
fn line(canvas: &mut Canvas<'_>, area: Rect, typed: &str) -> Position {
    let shown = wrap::cut_start(typed, usize::from(area.width.saturating_sub(1)));
    let x = canvas.text(area, (0, 0), &shown, StyleName::OverlayInput);
    Position { x: area.x + x.min(area.width.saturating_sub(1)), y: area.y }
}

fn switcher(state: &State, canvas: &mut Canvas<'_>, typed: &str, chosen: usize) -> Position {
    let area = rect(state.areas.screen);
    let inside = framed(canvas, area, " Go to a room ", (60, area.height.min(20)));
    let entries: Vec<ListEntry> = state
        .rooms
        .matching(typed)
        .into_iter()
        .map(|room| ListEntry {
            chosen: StyleName::OverlaySelected,
            ..room_list::entry(state, room)
        })
        .collect();
    let list = Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside };
    scroll_list(canvas, list, &entries, (!entries.is_empty()).then_some(chosen));
    line(canvas, Rect { height: 1, ..inside }, typed)
}

/// A code in the middle of the screen; without a frame, for it needs all rows there are.
fn draw_code(canvas: &mut Canvas<'_>, area: Rect, code: &str, back: &str) {
    let bytes = STANDARD.decode(code).ok();
    let room = (usize::from(area.width), usize::from(area.height));
    let picture = bytes.and_then(|bytes| QrPicture::within(&bytes, room).ok());
    let Some(picture) = picture else { return };
    let size = (u16::try_from(picture.columns()), u16::try_from(picture.rows()));
    let (Ok(width), Ok(height)) = size else { return };
    if area.width < width || area.height < height {
        let words = format!(
            "The code needs a terminal of {width} by {height} characters: make it larger, or go \
             back and compare emoji."
        );
        let title = format!(" Code ({back}) ");
        let inside = framed(canvas, area, &title, (area.width.min(60), 6));
        let columns = usize::from(inside.width);
        let rows = wrap::wrap(&[Span::new(words, StyleName::OverlayText)], columns);
        for (row, y) in rows.iter().zip(0_u16..) {
            canvas.row(inside, (0, y), row);
        }
        return;
    }
    canvas.clear(area, StyleName::OverlayText);
    let beside = usize::from(area.width - width) / 2;
    if wrap::width(back) + 2 <= beside {
        canvas.text(area, (1, 0), back, StyleName::OverlayText);
    }
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let inside = Rect { x, y, width, height };
    for (line, y) in picture.lines(Ink::Dark).iter().zip(0_u16..) {
        canvas.text(inside, (0, y), line, StyleName::Code);
    }
}

fn question(canvas: &mut Canvas<'_>, area: Rect, kind: &Question, chosen: usize) {
    let width = area.width.min(60);
    let columns = usize::from(width.saturating_sub(4));
    let mut rows = wrap::wrap(&[Span::new(kind.text(), StyleName::OverlayText)], columns);
    let most = usize::from(area.height).saturating_sub(4 + kind.answers().len());
    let too_many = rows.len().saturating_sub(most.max(1));
    if kind.is_end_first() {
        rows.drain(..too_many);
    } else {
        rows.truncate(most.max(1));
    }
    let height = u16::try_from(rows.len() + kind.answers().len() + 3).unwrap_or(u16::MAX);
    let inside = framed(canvas, area, &format!(" {} ", kind.title()), (width, height));
    for (row, y) in rows.iter().zip(0_u16..) {
        canvas.row(inside, (0, y), row);
    }
    let entries: Vec<ListEntry> = kind
        .answers()
        .iter()
        .enumerate()
        .map(|(index, answer)| choice(index, chosen, answer.1))
        .collect();
    let below = u16::try_from(rows.len() + 1).unwrap_or(u16::MAX).min(inside.height);
    let list = Rect { y: inside.y + below, height: inside.height - below, ..inside };
    scroll_list(canvas, list, &entries, Some(chosen));
}

fn choice(index: usize, chosen: usize, words: &str) -> ListEntry {
    let mark = if index == chosen { '>' } else { ' ' };
    let key = if index == 0 { " (y)" } else { "" };
    ListEntry {
        text: format!("{mark} {words}{key}"),
        style: StyleName::OverlayText,
        right: Row::default(),
        chosen: StyleName::OverlaySelected,
    }
}
