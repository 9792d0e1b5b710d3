//! What is visible: laying it out before a frame, scrolling, and what follows from having been on
//! the screen (older messages are loaded, what was read is marked).

use std::time::Duration;

use super::effects::Effects;
use crate::{
    engine::{Command, Receipt},
    tui::{
        input::Attention,
        options::Disclosure,
        state::{Direction, RoomPane, State, Step, Tone, Watched},
    },
};

/// Lays out what will be visible, and asks for older messages when their place comes into view.
pub(super) fn prepare(state: &mut State, effects: &mut Effects) {
    state.divide();
    let area = state.areas.messages;
    let (now, look) = (state.now, state.look());
    let limit = state.options.page_size;
    let Some(room) = state.current.clone() else { return };
    let Some(pane) = state.pane_mut() else { return };
    pane.lay_out(&look, area.rows());
    if let Some(before) = pane.wanted_history(now) {
        effects.command(Command::LoadOlder { room, before, limit });
        pane.lay_out(&look, area.rows());
    }
}

/// How long after the last key somebody is taken to look, where the terminal does not say.
const LOOKING: Duration = Duration::from_secs(120);

/// The frame is on the screen: what was visible while the user looked is read.
pub(super) fn on_drawn(state: &mut State, effects: &mut Effects) {
    let is_seen = state.attention == Attention::Here
        && state.overlay.is_none()
        && state.areas.messages.rows() > 0;
    let is_awake = state.now.since(state.last_key) < LOOKING;
    let Some(room) = state.current.clone() else { return };
    let receipt = match state.options.read_receipts {
        Disclosure::Sent => Receipt::Public,
        Disclosure::KeptBack => Receipt::Private,
    };
    let Some(pane) = state.pane_mut() else { return };
    pane.watch(if is_seen && is_awake { Watched::Yes } else { Watched::No });
    if is_seen && let Some(event) = pane.newly_read() {
        effects.command(Command::MarkRead { room, event, receipt });
    }
}

/// A receipt could not be given to the engine: it is tried again with the next frame.
pub(super) fn forget_marks(state: &mut State) {
    state.typing = None;
    for pane in state.panes.values_mut() {
        pane.forget_mark();
    }
}

/// Scrolls the messages: by a row ([`Step::Line`]) or half a screen (any other step).
pub(super) fn scroll(state: &mut State, to: Direction, step: Step) {
    let rows = match step {
        Step::Line => 1,
        Step::Grapheme | Step::Word | Step::Text => (state.areas.messages.rows() / 2).max(1),
    };
    let look = state.look();
    if let Some(pane) = state.pane_mut() {
        pane.scroll(&look, to, rows);
    }
}

/// Goes to the end.
pub(super) fn to_newest(state: &mut State) {
    if let Some(pane) = state.pane_mut() {
        pane.go_to_newest();
    }
}

/// Goes to the first unread message.
pub(super) fn to_unread(state: &mut State) {
    let found = state.pane_mut().is_some_and(RoomPane::go_to_unread);
    if !found {
        state.say(Tone::Done, "nothing is unread here");
    }
}
