//! Warnings in words: what happened, and what can be done about it.

use crate::{
    engine::{Alarm, IdentityState},
    matrix::SafeText,
    tui::{
        action::{Action, AnywhereAction},
        keymap::Keymap,
    },
};

/// What happened, in a sentence; safe to show.
pub(in crate::tui) fn words(alarm: &Alarm) -> String {
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

/// What can be done, with the keys that the user really has; nothing where the sentence says it all.
pub(in crate::tui) fn what_to_do(alarm: &Alarm, keymap: &Keymap) -> Option<String> {
    let key = |action| keymap.keys_of(Action::Anywhere(action)).into_iter().next();
    let or_key = |command: &str, action| match key(action) {
        Some(key) => format!("{key}, or {command}"),
        None => command.to_owned(),
    };
    Some(match alarm {
        Alarm::OwnKeysReplaced | Alarm::StoreRegressed | Alarm::StoreCopied => {
            "grotto logout, then grotto login".to_owned()
        }
        Alarm::DeviceKeysChanged { user, device } => {
            let user = SafeText::line(user.as_str());
            format!("grotto devices block {user} {} keeps it out", SafeText::line(device.as_str()))
        }
        Alarm::KeysRefused(_) | Alarm::IdentityRefused(_) => return None,
        Alarm::OwnIdentityReplaced { .. } => or_key(
            "grotto recover, if you reset it; else change the password",
            AnywhereAction::SetUp,
        ),
        Alarm::IdentityChanged { user, state } => {
            let user = SafeText::line(user.as_str());
            let command = match state {
                IdentityState::VerificationViolation => format!("grotto verify {user}"),
                IdentityState::None
                | IdentityState::Pinned
                | IdentityState::PinViolation
                | IdentityState::Verified => format!("grotto trust {user}"),
            };
            match key(AnywhereAction::Trust) {
                Some(key) => format!("{key} in a room with {user}, or {command}"),
                None => command,
            }
        }
        Alarm::BackupDeleted(_) | Alarm::BackupChanged(_) => "grotto keys status".to_owned(),
        Alarm::NewOwnDevice(device) => {
            let device = SafeText::line(device.as_str());
            format!("grotto devices lists yours, grotto devices delete {device} ends this one")
        }
    })
}
