//! One input: to whom it goes, and what follows from the time that passed.

use super::{
    compose, effects::Effects, effects::TerminalEffect, feed, files, frame, keys, overlay,
};
use crate::{
    engine::Command,
    time::Timestamp,
    tui::{
        input::{Attention, Input},
        state::{Focus, State, Tone},
    },
};

/// Takes one input and says what is to be done outside. Never waits, reads no clock.
pub fn update(state: &mut State, input: Input, now: Timestamp) -> Effects {
    let mut effects = Effects::default();
    pass_time(state, now, &mut effects);
    match input {
        Input::Key(key) => {
            state.last_key = now;
            keys::on_key(state, key, &mut effects);
        }
        Input::Paste(text) => on_paste(state, &text, &mut effects),
        Input::Resize(size) => state.size = size,
        Input::Attention(attention) => on_attention(state, attention),
        Input::Update(update) => feed::on_update(state, update, &mut effects),
        Input::Refused(command) => on_refused(state, command),
        Input::Inspected(result) => files::on_inspected(state, result, &mut effects),
        Input::Continuations { typed, names } => files::on_continuations(state, &typed, &names),
        Input::Prepare => frame::prepare(state, &mut effects),
        Input::Drawn => frame::on_drawn(state, &mut effects),
        Input::Tick => {}
        Input::EndRequested => effects.terminal(TerminalEffect::Quit),
    }
    state.divide();
    effects
}

fn pass_time(state: &mut State, now: Timestamp, effects: &mut Effects) {
    state.now = now;
    if state.notice.as_ref().is_some_and(|notice| notice.until <= now) {
        state.notice = None;
    }
    compose::stop_typing_when_idle(state, effects);
    effects.commands.extend(state.refused.drain(..));
}

fn on_attention(state: &mut State, attention: Attention) {
    let before = std::mem::replace(&mut state.attention, attention);
    let Some(pane) = state.pane_mut().filter(|_| before != attention) else { return };
    match attention {
        Attention::Here => pane.on_entered(),
        Attention::Elsewhere => pane.on_looked_away(),
    }
}

fn on_paste(state: &mut State, text: &str, effects: &mut Effects) {
    if state.overlay.is_some() {
        overlay::on_text(state, text);
    } else if state.current.is_some() {
        state.note_writing();
        state.focus = Focus::Composer;
        compose::insert(state, text, effects);
    }
}

/// The engine had no room for a command. A message goes back where it was typed; the rest is kept
/// and tried again.
fn on_refused(state: &mut State, command: Command) {
    const MOST_KEPT: usize = 64;
    match command {
        Command::Send(draft) => {
            compose::give_back(state, &draft.txn);
            state.say(Tone::Failed, "too much at once: the message was not taken, send it again");
        }
        Command::SendFile(_) => {
            state.say(Tone::Failed, "too much at once: the file was not taken, send it again");
        }
        Command::Typing { .. } | Command::MarkRead { .. } => frame::forget_marks(state),
        Command::Redact { .. }
        | Command::Retry(_)
        | Command::Discard(_)
        | Command::Open(_)
        | Command::Close(_)
        | Command::Visit(_)
        | Command::LoadOlder { .. }
        | Command::FollowAll
        | Command::Request { .. }
        | Command::Cancel(_)
        | Command::Shutdown => {
            if state.refused.len() < MOST_KEPT {
                state.refused.push_back(command);
            } else {
                state.say(Tone::Failed, "grotto is overloaded: that was not done, try again");
            }
        }
    }
}
