//! Writing: keys of the composer, sending, drafts that come back, and telling others that we type.

use std::time::Duration;

use super::{effects::Effects, frame, messages, slash};
use crate::{
    engine::{Command, Draft},
    matrix::{OwnedRoomId, TransactionId},
    tui::{
        action::ComposerAction,
        options::Disclosure,
        state::{Direction, MAX_TEXT_BYTES, Purpose, State, Step, Taken, Tone, TypingNotice},
    },
};

/// How often others are told, at most, while we type.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// How long after the last key we no longer type.
const IDLE: Duration = Duration::from_secs(6);

/// Does what a key of the composer means.
pub(super) fn act(state: &mut State, action: ComposerAction, effects: &mut Effects) {
    use Direction::{Back, Forward};
    match action {
        ComposerAction::Submit => submit(state, effects),
        ComposerAction::NewLine => insert(state, "\n", effects),
        ComposerAction::CursorLeft => go(state, Step::Grapheme, Back),
        ComposerAction::CursorRight => go(state, Step::Grapheme, Forward),
        ComposerAction::WordLeft => go(state, Step::Word, Back),
        ComposerAction::WordRight => go(state, Step::Word, Forward),
        ComposerAction::LineStart => go(state, Step::Line, Back),
        ComposerAction::LineEnd => go(state, Step::Line, Forward),
        ComposerAction::TextStart => go(state, Step::Text, Back),
        ComposerAction::TextEnd => go(state, Step::Text, Forward),
        ComposerAction::CursorUp => cursor_up(state),
        ComposerAction::CursorDown => go_row(state, Forward),
        ComposerAction::DeleteBack => delete(state, Step::Grapheme, Back, effects),
        ComposerAction::DeleteForward => delete(state, Step::Grapheme, Forward, effects),
        ComposerAction::KillWordBack => delete(state, Step::Word, Back, effects),
        ComposerAction::KillWordForward => delete(state, Step::Word, Forward, effects),
        ComposerAction::KillLineStart => delete(state, Step::Line, Back, effects),
        ComposerAction::KillLineEnd => delete(state, Step::Line, Forward, effects),
        ComposerAction::Yank => yank(state, effects),
        ComposerAction::HistoryBack => recall(state, Back),
        ComposerAction::HistoryForward => recall(state, Forward),
    }
}

/// Types or pastes text.
pub(super) fn insert(state: &mut State, text: &str, effects: &mut Effects) {
    let Some(pane) = state.pane_mut() else { return };
    let taken = pane.composer.insert(text);
    after_insert(state, taken, effects);
}

fn yank(state: &mut State, effects: &mut Effects) {
    let Some(pane) = state.pane_mut() else { return };
    let taken = pane.composer.yank();
    after_insert(state, taken, effects);
}

fn after_insert(state: &mut State, taken: Taken, effects: &mut Effects) {
    if let Taken::TooLong { bytes } = taken {
        let words = format!(
            "not put in: that would make {} kB, one message holds {} kB",
            bytes.div_ceil(1000),
            MAX_TEXT_BYTES / 1000
        );
        state.say(Tone::Failed, &words);
    }
    note_typing(state, effects);
}

fn go(state: &mut State, step: Step, to: Direction) {
    if let Some(pane) = state.pane_mut() {
        pane.composer.go(step, to);
    }
}

fn delete(state: &mut State, step: Step, to: Direction, effects: &mut Effects) {
    if let Some(pane) = state.pane_mut() {
        pane.composer.delete(step, to);
    }
    note_typing(state, effects);
}

fn recall(state: &mut State, to: Direction) {
    if let Some(pane) = state.pane_mut() {
        pane.composer.recall(to);
    }
}

fn go_row(state: &mut State, to: Direction) {
    let columns = state.composer_columns();
    if let Some(pane) = state.pane_mut() {
        pane.composer.go_row(to, columns);
    }
}

fn cursor_up(state: &mut State) {
    let is_empty = state
        .pane()
        .is_some_and(|pane| pane.composer.is_empty() && *pane.composer.purpose() == Purpose::New);
    if is_empty {
        messages::edit_last_own(state);
    } else {
        go_row(state, Direction::Back);
    }
}

/// Sends what was written, or does what the slash command in it says.
fn submit(state: &mut State, effects: &mut Effects) {
    let Some(room) = state.current.clone() else { return };
    let Some(pane) = state.pane_mut() else { return };
    // What is pasted often ends with a line end that nobody means.
    let text = pane.composer.text().trim_end();
    if text.is_empty() {
        return;
    }
    let said = match slash::parse(text) {
        Ok(slash::Line::Said(said)) => said,
        Ok(slash::Line::Command(command)) => {
            let (_, purpose) = pane.composer.take();
            pane.on_answered();
            stop_typing(state, effects);
            slash::carry_out(state, command, &purpose, effects);
            return;
        }
        Err(error) => {
            state.say(Tone::Failed, &error.to_string());
            return;
        }
    };
    let Some(content) = messages::content(pane, said) else {
        let words = match pane.composer.purpose() {
            Purpose::Edit { .. } => "too long: an edit holds half of what a message does",
            Purpose::New | Purpose::Reply { .. } => "too long for one message: send it in parts",
        };
        state.say(Tone::Failed, words);
        return;
    };
    let (text, purpose) = pane.composer.take();
    let txn = state.new_txn();
    if let Some(pane) = state.pane_mut() {
        pane.last_given = Some((txn.clone(), text, purpose));
        pane.on_answered();
    }
    let kind = "m.room.message".to_owned();
    effects.command(Command::Send(Draft { room, txn, kind, content }));
    stop_typing(state, effects);
    frame::to_newest(state);
}

/// Puts a message back into the composer of its room, because the engine did not take it.
pub(super) fn give_back(state: &mut State, txn: &TransactionId) {
    for pane in state.panes.values_mut() {
        if pane.last_given.as_ref().is_some_and(|(given, _, _)| given == txn)
            && let Some((_, text, purpose)) = pane.last_given.take()
        {
            pane.composer.put_back(text, purpose);
        }
    }
}

/// After the text changed: tells others that we type, not too often, or that we stopped.
pub(super) fn note_typing(state: &mut State, effects: &mut Effects) {
    let writes = state.pane().is_some_and(|pane| {
        let text = pane.composer.text();
        !text.is_empty() && (!text.starts_with('/') || text.starts_with("//"))
    });
    let Some(room) = state.current.clone().filter(|_| writes) else {
        stop_typing(state, effects);
        return;
    };
    if state.options.typing_notices == Disclosure::KeptBack {
        return;
    }
    let now = state.now;
    let told = match &state.typing {
        Some(notice) if notice.room == room && now.since(notice.told) < TELL_AGAIN => notice.told,
        Some(_) | None => {
            effects.command(Command::Typing { room: room.clone(), typing: true });
            now
        }
    };
    state.typing = Some(TypingNotice { room, told, stops: now.plus(IDLE) });
}

/// Tells others that we no longer type, if they were told that we do.
pub(super) fn stop_typing(state: &mut State, effects: &mut Effects) {
    if let Some(TypingNotice { room, .. }) = state.typing.take() {
        effects.command(Command::Typing { room, typing: false });
    }
}

/// The same when nothing was typed for a while.
pub(super) fn stop_typing_when_idle(state: &mut State, effects: &mut Effects) {
    if state.typing.as_ref().is_some_and(|notice| notice.stops <= state.now) {
        stop_typing(state, effects);
    }
}

/// The text goes to whom it was meant for, also when the room is left meanwhile.
pub(super) fn leave(state: &mut State, room: &OwnedRoomId, effects: &mut Effects) {
    if state.typing.as_ref().is_some_and(|notice| notice.room == *room) {
        stop_typing(state, effects);
    }
}
