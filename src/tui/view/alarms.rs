//! What stands above all else: warnings until they are dismissed, the way to the account's keys.

use ratatui::layout::Rect;

use crate::{
    engine::{Alarm, IdentityState},
    matrix::SafeText,
    tui::{
        action::{Action, AnywhereAction},
        state::{State, is_waiting_for_user},
        theme::StyleName,
        widgets::Canvas,
        wrap,
    },
};

/// Draws the oldest warnings, one a row.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>, area: Rect) {
    let keys = state.keymap.keys_of(Action::Anywhere(AnywhereAction::DismissAlarm));
    let hint = keys.first().map_or_else(String::new, |key| format!(" [{key}: read] "));
    let area = setup(state, canvas, area);
    for (alarm, y) in state.alarms.iter().zip(0..area.height) {
        canvas.tint(Rect { y: area.y + y, height: 1, ..area }, StyleName::Alarm);
        let room = usize::from(area.width).saturating_sub(wrap::width(&hint));
        let text = wrap::cut(&format!(" ! {}", words(alarm)), room);
        canvas.text(area, (0, y), &text, StyleName::Alarm);
        canvas.text_right(area, y, &hint, StyleName::Alarm);
    }
}

/// The way to the account's keys, in the last row; answers what is left for the warnings.
fn setup(state: &State, canvas: &mut Canvas<'_>, area: Rect) -> Rect {
    let Some(recovery) = &state.recovery else { return area };
    let Some(words) = state.setup_bar().filter(|_| area.height > 0) else { return area };
    let keys = state.keymap.keys_of(Action::Anywhere(AnywhereAction::SetUp));
    let hint = match keys.first().filter(|_| is_waiting_for_user(recovery)) {
        Some(key) => format!(" [{key}: how] "),
        None => String::new(),
    };
    let row = Rect { y: area.y + area.height - 1, height: 1, ..area };
    canvas.tint(row, StyleName::Setup);
    let room = usize::from(area.width).saturating_sub(wrap::width(&hint));
    canvas.text(row, (0, 0), &wrap::cut(&format!(" {words}"), room), StyleName::Setup);
    canvas.text_right(row, 0, &hint, StyleName::Setup);
    Rect { height: area.height - 1, ..area }
}

fn words(alarm: &Alarm) -> String {
    match alarm {
        Alarm::OwnKeysReplaced => {
            "The server shows other keys for this device: do not trust it; log in anew".to_owned()
        }
        Alarm::StoreRegressed => {
            "This store went back in time, or two programs use it: log in anew".to_owned()
        }
        Alarm::StoreCopied => {
            "This store is a copy or a restored backup: never use two; an old one: log in anew"
                .to_owned()
        }
        Alarm::DeviceKeysChanged { user, device } => {
            let user = SafeText::line(user.as_str());
            let device = SafeText::line(device.as_str());
            format!("{device} of {user} came back with other keys: ask them before you trust it")
        }
        Alarm::KeysRefused(code) => {
            let code = SafeText::short(code, 60);
            format!("The server refused this device's keys ({code}): others cannot write to it")
        }
        Alarm::OwnIdentityReplaced { .. } => {
            "The server shows another identity of yours: if you did not reset it, somebody took over"
                .to_owned()
        }
        Alarm::IdentityRefused(code) => {
            let code = SafeText::short(code, 60);
            format!("The server takes no identity ({code}): others cannot trust this device")
        }
        Alarm::IdentityChanged { user, state } => {
            let user = SafeText::line(user.as_str());
            match state {
                IdentityState::VerificationViolation => {
                    format!("{user} was verified and has another identity now: nothing is sent")
                }
                IdentityState::None
                | IdentityState::Pinned
                | IdentityState::PinViolation
                | IdentityState::Verified => {
                    format!("{user}'s identity was reset: nothing is sent until you accept it")
                }
            }
        }
        Alarm::BackupDeleted(version) => {
            let version = SafeText::short(version, 20);
            format!("The key backup ({version}) is gone from the server: keys are not saved now")
        }
        Alarm::BackupChanged(version) => {
            let version = SafeText::short(version, 20);
            format!(
                "Another key backup ({version}) appeared that you did not make: nothing goes there"
            )
        }
        Alarm::NewOwnDevice(device) => {
            let device = SafeText::line(device.as_str());
            format!("New device {device} in your account: if it is not yours, change the password")
        }
    }
}
