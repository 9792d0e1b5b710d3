//! A key: what it means where it was pressed, and who does it.

use super::{
    alarms, compose, effects::Effects, effects::TerminalEffect, files, frame, messages, overlay,
    rooms, setup, trust, verification,
};
use crate::tui::{
    action::{Action, AnywhereAction, Mode},
    input::KeyPress,
    keymap::Resolved,
    state::{Direction, Focus, Overlay, Prompt, Purpose, Question, State, Step, Tone},
};

/// Takes a key.
pub(super) fn on_key(state: &mut State, key: KeyPress, effects: &mut Effects) {
    state.pending_keys.push(key);
    let mode = mode(state);
    match state.keymap.resolve(mode, &state.pending_keys) {
        Resolved::Pending => {}
        Resolved::Action(action) => {
            state.pending_keys.clear();
            act(state, action, effects);
        }
        Resolved::Unbound => {
            let was_first = state.pending_keys.len() == 1;
            state.pending_keys.clear();
            if let Some(letter) = key.typed().filter(|_| was_first) {
                on_letter(state, letter, effects);
            }
        }
    }
}

/// Where keys go now.
fn mode(state: &State) -> Mode {
    if state.overlay.is_some() { Mode::Overlay } else { state.focus.mode() }
}

fn on_letter(state: &mut State, letter: char, effects: &mut Effects) {
    let text = letter.to_string();
    if state.overlay.is_none() {
        state.note_writing();
    }
    match mode(state) {
        Mode::Overlay => overlay::on_letter(state, letter, effects),
        Mode::Composer => compose::insert(state, &text, effects),
        Mode::Rooms => {
            let filter = format!("{}{text}", state.rooms.filter());
            state.rooms.set_filter(filter);
        }
        Mode::Messages | Mode::Anywhere => {}
    }
}

fn act(state: &mut State, action: Action, effects: &mut Effects) {
    match action {
        Action::Anywhere(action) => act_anywhere(state, action, effects),
        Action::Composer(action) => compose::act(state, action, effects),
        Action::Messages(action) => messages::act(state, action, effects),
        Action::Rooms(action) => rooms::act(state, action, effects),
        Action::Overlay(action) => overlay::act(state, action, effects),
    }
}

/// Turns a page of what is open: of the help, or of the messages.
fn page(state: &mut State, direction: Direction) {
    if !overlay::page(state, direction) {
        frame::scroll(state, direction, Step::Text);
    }
}

fn act_anywhere(state: &mut State, action: AnywhereAction, effects: &mut Effects) {
    match action {
        AnywhereAction::Help => state.overlay = Some(Overlay::Help { scrolled: 0 }),
        AnywhereAction::SwitchRoom => open_switcher(state),
        AnywhereAction::NextUnread => rooms::next_unread(state, effects),
        AnywhereAction::NextRoom => rooms::neighbor(state, 1, effects),
        AnywhereAction::PreviousRoom => rooms::neighbor(state, -1, effects),
        AnywhereAction::NextFocus
            if mode(state) == Mode::Composer && files::typed_path(state).is_some() =>
        {
            files::complete(state, effects);
        }
        AnywhereAction::NextFocus => set_focus(state, state.focus.next()),
        AnywhereAction::PreviousFocus => set_focus(state, state.focus.previous()),
        AnywhereAction::PageUp => page(state, Direction::Back),
        AnywhereAction::PageDown => page(state, Direction::Forward),
        AnywhereAction::ScrollUp => frame::scroll(state, Direction::Back, Step::Line),
        AnywhereAction::ScrollDown => frame::scroll(state, Direction::Forward, Step::Line),
        AnywhereAction::ToNewest => frame::to_newest(state),
        AnywhereAction::ToUnread => frame::to_unread(state),
        AnywhereAction::NewRoom => ask(state, Prompt::NewRoom),
        AnywhereAction::NewDirect => ask(state, Prompt::NewDirect),
        AnywhereAction::JoinRoom => ask(state, Prompt::Join),
        AnywhereAction::InviteUser => ask_whom_to_invite(state),
        AnywhereAction::SetUp => setup::open(state, effects),
        AnywhereAction::Verify => verification::open(state),
        AnywhereAction::Trust => trust::open(state),
        AnywhereAction::LeaveRoom => rooms::ask_to_leave(state),
        AnywhereAction::DismissAlarm => alarms::read(state),
        AnywhereAction::Redraw => effects.terminal(TerminalEffect::Redraw),
        AnywhereAction::Suspend => effects.terminal(TerminalEffect::Suspend),
        AnywhereAction::Interrupt => interrupt(state, effects),
        AnywhereAction::Quit => effects.terminal(TerminalEffect::Quit),
        AnywhereAction::Back => back(state, effects),
    }
}

fn open_switcher(state: &mut State) {
    state.overlay = Some(Overlay::Switcher { typed: String::new(), chosen: 0 });
}

fn ask(state: &mut State, kind: Prompt) {
    state.overlay = Some(Overlay::Prompt { kind, typed: String::new() });
}

fn ask_whom_to_invite(state: &mut State) {
    match state.current.clone() {
        Some(room) => ask(state, Prompt::Invite(room)),
        None => state.say(Tone::Failed, "open a room first"),
    }
}

/// Moves the keys to another part of the screen, if it is there.
pub(super) fn set_focus(state: &mut State, focus: Focus) {
    if state.overlay.is_some() {
        return;
    }
    let focus = if state.current.is_none() { Focus::Rooms } else { focus };
    match focus {
        Focus::Messages => messages::enter(state),
        Focus::Rooms => {
            if let Some(current) = state.current.clone() {
                state.rooms.select(current);
            }
            leave_messages(state);
        }
        Focus::Composer => leave_messages(state),
    }
    state.focus = focus;
}

fn leave_messages(state: &mut State) {
    if let Some(pane) = state.pane_mut() {
        pane.selected = None;
    }
}

/// One step back: the nearest open thing is closed.
fn back(state: &mut State, effects: &mut Effects) {
    if state.overlay.take().is_some() {
        return;
    }
    match state.focus {
        Focus::Rooms if !state.rooms.filter().is_empty() => state.rooms.set_filter(String::new()),
        Focus::Rooms | Focus::Messages => set_focus(state, Focus::Composer),
        Focus::Composer => {
            let was_more = state.pane_mut().is_some_and(|pane| pane.composer.cancel_purpose());
            if !was_more && state.areas.rooms.width == 0 {
                set_focus(state, Focus::Rooms);
            }
            compose::note_typing(state, effects);
        }
    }
}

fn interrupt(state: &mut State, effects: &mut Effects) {
    let has_text = state.pane().is_some_and(|pane| !pane.composer.is_empty());
    let is_for = state.pane().is_some_and(|pane| *pane.composer.purpose() != Purpose::New);
    let is_filtered = state.focus == Focus::Rooms && !state.rooms.filter().is_empty();
    if state.overlay.is_some() || state.focus == Focus::Messages || is_filtered {
        back(state, effects);
    } else if state.focus == Focus::Composer && has_text {
        if let Some(pane) = state.pane_mut() {
            pane.composer.clear();
        }
        compose::note_typing(state, effects);
    } else if state.focus == Focus::Composer && is_for {
        back(state, effects);
    } else {
        let kind = Question::Quit { waiting: state.unsent.waiting, failed: state.unsent.failed };
        let chosen = kind.first_choice();
        state.overlay = Some(Overlay::Question { kind, chosen });
    }
}
