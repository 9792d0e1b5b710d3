//! The status line: the link, the room's encryption, what waits to be sent, who types, what just
//! happened, whose account it is. When there is little room the right part goes first.

use ratatui::layout::Rect;

use super::hints;
use crate::{
    engine::LinkState,
    matrix::SafeText,
    tui::{
        action::{Action, AnywhereAction},
        state::{MAX_TEXT_BYTES, State, Tone, waits_for_user},
        theme::StyleName,
        widgets::Canvas,
        wrap::{self, Span},
    },
};

/// From this width on there is room for the reason why we are offline.
const WIDE: u16 = 110;
/// The longest such reason, in columns.
const MOST_REASON: usize = 40;

/// Draws it.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    canvas.tint(area, StyleName::StatusBar);
    let mut x = 1;
    for span in left(state) {
        x = canvas.text(area, (x, 0), &span.text, span.style) + 2;
    }
    let help = hints::with_key(state, AnywhereAction::Help, "help");
    // Hints that do not fit are left out whole; the way to the help stays.
    let last = area.width.saturating_sub(u16::try_from(wrap::width(&help)).unwrap_or(0) + 2);
    let hints = if state.notice.is_some() { Vec::new() } else { hints::now(state) };
    for hint in hints {
        let end = usize::from(x) + wrap::width(&hint);
        if end <= usize::from(last) {
            x = canvas.text(area, (x, 0), &hint, StyleName::StatusNotice) + 2;
        }
    }
    let account = SafeText::line(state.user_id.as_str());
    let free = usize::from(area.width.saturating_sub(x));
    let fits = |words: &String| wrap::width(words) <= free;
    let right = [format!(" {help}  {account} "), format!(" {help} ")].into_iter().find(fits);
    if let Some(right) = right {
        canvas.text_right(area, 0, &right, StyleName::StatusBar);
    }
}

fn left(state: &State) -> Vec<Span> {
    let mut spans = vec![link(state)];
    spans.extend(queued(state));
    // What just happened is more urgent than what stays.
    if let Some(notice) = &state.notice {
        let style = match notice.tone {
            Tone::Done => StyleName::StatusNotice,
            Tone::Failed => StyleName::StatusError,
        };
        spans.push(Span::new(notice.text.as_str(), style));
        return spans;
    }
    spans.extend(pending(state));
    spans.extend(verification(state));
    spans.extend(length(state));
    spans.extend(encryption(state));
    spans.extend(typing(state));
    spans
}

fn link(state: &State) -> Span {
    match &state.link {
        LinkState::Connecting => Span::new("◌ connecting …", StyleName::StatusBar),
        LinkState::Online if !state.synced => Span::new("◌ syncing …", StyleName::StatusBar),
        LinkState::Online => Span::new("● online", StyleName::StatusOnline),
        LinkState::Offline { retry_at, reason } => {
            let why = if reason.is_empty() || state.size.width < WIDE {
                String::new()
            } else {
                format!(" ({})", SafeText::short(reason, MOST_REASON))
            };
            let words = match retry_at.since(state.now).as_millis().div_ceil(1000) {
                0 => format!("○ offline{why}, trying again …"),
                seconds => format!("○ offline{why}, retry in {seconds} s"),
            };
            Span::new(words, StyleName::StatusOffline)
        }
        LinkState::Ended { reason } => {
            let reason = SafeText::short(reason, 60);
            Span::new(format!("○ {reason}"), StyleName::StatusOffline)
        }
    }
}

fn queued(state: &State) -> Vec<Span> {
    let mut spans = Vec::new();
    if state.unsent.waiting > 0 {
        let words = format!("{} queued", state.unsent.waiting);
        spans.push(Span::new(words, StyleName::StatusQueued));
    }
    if state.unsent.failed > 0 {
        let words = format!("{} not sent", state.unsent.failed);
        spans.push(Span::new(words, StyleName::SendFailed));
    }
    spans
}

/// How full the message is, once that begins to matter.
fn length(state: &State) -> Option<Span> {
    let bytes = state.pane()?.composer.text().len();
    let words = format!("{} of {} kB", bytes / 1000, MAX_TEXT_BYTES / 1000);
    (MAX_TEXT_BYTES / 10 * 8 < bytes).then(|| Span::new(words, StyleName::StatusQueued))
}

fn pending(state: &State) -> Option<Span> {
    let keys: Vec<String> = state.pending_keys.iter().map(ToString::to_string).collect();
    (!keys.is_empty()).then(|| Span::new(format!("{} …", keys.join(" ")), StyleName::StatusNotice))
}

/// A verification that waits for the user and is not on the screen.
fn verification(state: &State) -> Option<Span> {
    let waits = state.overlay.is_none() && state.verifications.iter().any(waits_for_user);
    let key = hints::key(state, Action::Anywhere(AnywhereAction::Verify));
    let words = match key {
        Some(key) => format!("verification waits ({key})"),
        None => "verification waits (/verify)".to_owned(),
    };
    waits.then(|| Span::new(words, StyleName::StatusNotice))
}

fn encryption(state: &State) -> Option<Span> {
    let room = state.rooms.get(state.current.as_ref()?)?;
    Some(if room.summary.encrypted {
        Span::new("encrypted", StyleName::StatusEncrypted)
    } else {
        Span::new("NOT ENCRYPTED", StyleName::StatusClear)
    })
}

fn typing(state: &State) -> Option<Span> {
    let pane = state.pane()?;
    let names: Vec<SafeText> =
        pane.typing.iter().take(2).map(|user| pane.name_of(user).truncated(20)).collect();
    let words = match (names.as_slice(), pane.typing.len()) {
        ([], _) => return None,
        ([one], _) => format!("{one} is typing …"),
        ([one, two], 2) => format!("{one} and {two} are typing …"),
        ([one, ..], all) => format!("{one} and {} others are typing …", all - 1),
    };
    Some(Span::new(words, StyleName::StatusTyping))
}
