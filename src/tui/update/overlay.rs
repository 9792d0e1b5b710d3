//! Keys while something stands over the screen.

use super::{
    effects::Effects, effects::TerminalEffect, messages, rooms, setup, slash, trust, verification,
};
use crate::{
    engine::{Command, Request, SecretText},
    tui::{
        action::OverlayAction,
        state::{
            Answer, Asked, Direction, Overlay, Prompt, Question, State, Tone, most_help_scrolled,
        },
    },
};

/// The longest line that is taken.
const MOST_TYPED: usize = 512;

/// Rows of the screen that a page of the help does not turn: its frame, and one to go on from.
const FRAME_ROWS: u16 = 3;

/// Does what a key means.
pub(super) fn act(state: &mut State, action: OverlayAction, effects: &mut Effects) {
    match action {
        OverlayAction::OverlayUp => step(state, -1),
        OverlayAction::OverlayDown => step(state, 1),
        OverlayAction::Accept => accept(state, effects),
        OverlayAction::OverlayBack => {
            if let Some(Overlay::Secret { typed, .. }) = &mut state.overlay {
                let mut shorter = typed.expose().chars();
                shorter.next_back();
                *typed = SecretText::from(shorter.as_str().to_owned());
            }
            if let Some(typed) = typed_mut(state) {
                typed.pop();
            }
            first(state);
        }
        OverlayAction::OverlayClear => {
            if let Some(Overlay::Secret { typed, .. }) = &mut state.overlay {
                *typed = SecretText::from(String::new());
            }
            if let Some(typed) = typed_mut(state) {
                typed.clear();
            }
            first(state);
        }
    }
}

/// A letter: typed where there is a line, or the answer to a question.
pub(super) fn on_letter(state: &mut State, letter: char, effects: &mut Effects) {
    match (&mut state.overlay, letter) {
        (Some(Overlay::Question { chosen, .. }), 'y') => {
            *chosen = 0;
            accept(state, effects);
        }
        (Some(Overlay::Question { .. }), 'n')
        | (Some(Overlay::Help { .. } | Overlay::Sheet { .. } | Overlay::Code { .. }), 'q') => {
            state.overlay = None;
        }
        (Some(Overlay::Help { .. } | Overlay::Sheet { .. } | Overlay::Code { .. }), ' ') => {
            step(state, 10);
        }
        (
            Some(
                Overlay::Question { .. }
                | Overlay::Help { .. }
                | Overlay::Sheet { .. }
                | Overlay::Code { .. },
            )
            | None,
            _,
        ) => {}
        (Some(Overlay::Switcher { .. } | Overlay::Prompt { .. } | Overlay::Secret { .. }), _) => {
            on_text(state, &letter.to_string());
        }
    }
}

/// Text that is typed or pasted into the line.
pub(super) fn on_text(state: &mut State, text: &str) {
    if let Some(Overlay::Secret { typed, .. }) = &mut state.overlay {
        let left = MOST_TYPED.saturating_sub(typed.expose().len());
        let clean = text.chars().filter(|c| !c.is_control()).take(left);
        *typed = SecretText::from(typed.expose().chars().chain(clean).collect::<String>());
    }
    if let Some(typed) = typed_mut(state) {
        let left = MOST_TYPED.saturating_sub(typed.len());
        let clean = text.chars().filter(|c| !c.is_control()).take(left);
        typed.extend(clean);
    }
    first(state);
}

fn typed_mut(state: &mut State) -> Option<&mut String> {
    match state.overlay.as_mut()? {
        Overlay::Switcher { typed, .. } | Overlay::Prompt { typed, .. } => Some(typed),
        Overlay::Help { .. }
        | Overlay::Sheet { .. }
        | Overlay::Code { .. }
        | Overlay::Secret { .. }
        | Overlay::Question { .. } => None,
    }
}

/// The best match is chosen again after the line changed.
fn first(state: &mut State) {
    if let Some(Overlay::Switcher { chosen, .. }) = &mut state.overlay {
        *chosen = 0;
    }
}

/// Turns a page of the help or of a sheet; whether one was open.
pub(super) fn page(state: &mut State, direction: Direction) -> bool {
    let Some(Overlay::Help { .. } | Overlay::Sheet { .. }) = state.overlay else { return false };
    let rows = isize::try_from(state.size.height.saturating_sub(FRAME_ROWS)).unwrap_or(1).max(1);
    match direction {
        Direction::Back => step(state, -rows),
        Direction::Forward => step(state, rows),
    }
    true
}

fn step(state: &mut State, by: isize) {
    let matches = match &state.overlay {
        Some(Overlay::Switcher { typed, .. }) => state.rooms.matching(typed).len(),
        Some(Overlay::Question { kind, .. }) => kind.answers().len(),
        Some(
            Overlay::Help { .. }
            | Overlay::Sheet { .. }
            | Overlay::Code { .. }
            | Overlay::Prompt { .. }
            | Overlay::Secret { .. },
        )
        | None => 0,
    };
    let last = matches.saturating_sub(1);
    match &mut state.overlay {
        Some(Overlay::Help { scrolled }) => {
            // The screen may have grown since.
            let most = most_help_scrolled(&state.keymap, state.areas.screen);
            *scrolled = (*scrolled).min(most).saturating_add_signed(by).min(most);
        }
        Some(Overlay::Sheet { sheet, scrolled }) => {
            let most = sheet.most_scrolled(state.areas.screen);
            *scrolled = (*scrolled).min(most).saturating_add_signed(by).min(most);
        }
        Some(Overlay::Switcher { chosen, .. } | Overlay::Question { chosen, .. }) => {
            *chosen = chosen.saturating_add_signed(by).min(last);
        }
        Some(Overlay::Code { .. } | Overlay::Prompt { .. } | Overlay::Secret { .. }) | None => {}
    }
}

fn accept(state: &mut State, effects: &mut Effects) {
    match state.overlay.take() {
        Some(Overlay::Switcher { typed, chosen }) => {
            let room = state.rooms.matching(&typed).get(chosen).map(|r| r.summary.room_id.clone());
            if let Some(room) = room {
                rooms::go_to(state, room, effects);
            }
        }
        Some(Overlay::Prompt { kind, typed }) => {
            if let Err(error) = on_prompt(state, kind.clone(), &typed, effects) {
                state.say(Tone::Failed, &error.to_string());
                state.overlay = Some(Overlay::Prompt { kind, typed });
            }
        }
        Some(Overlay::Secret { kind, typed }) if !typed.expose().trim().is_empty() => {
            setup::on_secret(state, &kind, typed, effects);
        }
        Some(open @ Overlay::Secret { .. }) => state.overlay = Some(open),
        Some(Overlay::Question { kind, chosen }) => {
            let answer = kind.answers().get(chosen).map_or(Answer::Cancel, |answer| answer.0);
            on_answer(state, kind, answer, effects);
        }
        Some(Overlay::Help { .. } | Overlay::Sheet { .. } | Overlay::Code { .. }) | None => {}
    }
}

fn on_prompt(
    state: &mut State,
    kind: Prompt,
    typed: &str,
    effects: &mut Effects,
) -> Result<(), slash::SlashError> {
    let typed = typed.trim();
    match kind {
        Prompt::NewRoom => {
            rooms::create(state, (!typed.is_empty()).then(|| typed.to_owned()), effects);
        }
        Prompt::NewDirect => rooms::create_direct(state, slash::user(typed)?, effects),
        Prompt::Join if typed.is_empty() => {}
        Prompt::Join => rooms::join(state, typed.to_owned(), effects),
        Prompt::Invite(room) => {
            let user = slash::user(typed)?;
            let asked = Asked::Invite(user.to_string());
            rooms::request(state, asked, Request::Invite { room, user }, effects);
        }
        Prompt::React { room, event } => messages::react(state, room, &event, typed, effects),
    }
    Ok(())
}

fn on_answer(state: &mut State, kind: Question, answer: Answer, effects: &mut Effects) {
    match (kind, answer) {
        (_, Answer::Cancel) => {}
        (Question::Redact { room, event, .. }, Answer::Yes) => {
            let txn = state.new_txn();
            effects.command(Command::Redact { room, txn, event, reason: None });
        }
        (Question::Leave { room, .. }, Answer::Yes)
        | (Question::Invitation { room, .. }, Answer::Decline) => {
            let asked = Asked::Leave(room.clone());
            rooms::request(state, asked, Request::Leave { room }, effects);
        }
        (Question::Invitation { room, .. }, Answer::Yes) => {
            rooms::join(state, room.to_string(), effects);
        }
        (Question::Quit { .. }, Answer::Yes) => effects.terminal(TerminalEffect::Quit),
        (Question::ChangedIdentity { user, was_verified }, answer) => {
            trust::on_answer(state, user, (was_verified, answer), effects);
        }
        (Question::Verification(view), answer) => {
            verification::on_answer(state, *view, answer, effects);
        }
        (kind, answer) => setup::on_answer(state, kind, answer, effects),
    }
}
