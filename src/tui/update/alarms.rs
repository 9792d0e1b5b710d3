//! Warnings: they stay until they were read whole, or until what they warn of is settled here.

use crate::{
    engine::{Alarm, VerificationView},
    matrix::{SafeText, UserId},
    tui::state::{Overlay, Sheet, State, Tone, alarm_words, what_to_do},
};

/// Most warnings that are kept.
const MOST_ALARMS: usize = 32;

/// Takes a warning.
pub(super) fn take(state: &mut State, alarm: Alarm) {
    if !state.alarms.contains(&alarm) && state.alarms.len() < MOST_ALARMS {
        state.alarms.push_back(alarm);
    }
}

/// Shows the oldest warning whole, which takes it out of the bar. What else is open is not disturbed.
pub(super) fn read(state: &mut State) {
    if !matches!(state.overlay, None | Some(Overlay::Sheet { .. })) {
        return;
    }
    let Some(alarm) = state.alarms.pop_front() else {
        return state.say(Tone::Done, "there is no warning");
    };
    let mut lines = vec![("warning", SafeText::line(&alarm_words(&alarm)))];
    let todo = what_to_do(&alarm, &state.keymap);
    lines.extend(todo.map(|words| ("what to do", SafeText::line(&words))));
    let sheet = Sheet { title: "Warning", lines };
    state.overlay = Some(Overlay::Sheet { sheet, scrolled: 0 });
}

/// The user settled the changed identity of `user`: nothing is kept back any more.
pub(super) fn settle_identity(state: &mut State, user: &UserId) {
    state.alarms.retain(
        |alarm| !matches!(alarm, Alarm::IdentityChanged { user: changed, .. } if *changed == *user),
    );
}

/// The user compared keys to the end: what was uncertain of that device or user is not any more.
pub(super) fn settle_verified(state: &mut State, view: &VerificationView) {
    if !view.is_own {
        return settle_identity(state, &view.user);
    }
    if let Some(device) = &view.device {
        let is_it = |alarm: &Alarm| matches!(alarm, Alarm::NewOwnDevice(new) if new == device);
        state.alarms.retain(|alarm| !is_it(alarm));
    }
}
