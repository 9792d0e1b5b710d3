//! The way of this device to the account's keys: what is asked, and what the answers do.

use super::{effects::Effects, rooms};
use crate::{
    engine::{AuthPrompt, RecoveryState, Request, Scan, SecretText},
    matrix::SafeText,
    tui::state::{Answer, Asked, Overlay, Question, SecretPrompt, State, Tone},
};

/// Opens what can be done now.
pub(super) fn open(state: &mut State, effects: &mut Effects) {
    match &state.recovery {
        Some(RecoveryState::NeedsSetup) => ask(state, Question::SetUpRecovery),
        Some(RecoveryState::NeedsRecovery { ways }) => {
            let ways = ways.clone();
            ask(state, Question::Recover { ways });
        }
        Some(RecoveryState::KeyToKeep) => show_key(state, effects),
        Some(RecoveryState::OutOfDate) => ask(state, Question::RecoveryOutOfDate),
        Some(RecoveryState::Ready) => ask(state, Question::RenewRecoveryKey),
        Some(_) => state.say(Tone::Done, "it is under way"),
        None => state.say(Tone::Failed, "the server was not reached yet"),
    }
}

/// Takes where the device stands.
pub(super) fn on_state(state: &mut State, recovery: RecoveryState) {
    let before = state.recovery.as_ref().filter(|before| **before != RecoveryState::Ready);
    if let Some(before) = before.filter(|_| recovery == RecoveryState::Ready) {
        let words = match before {
            // Whoever says at once that they have the key never sees the second.
            RecoveryState::SettingUp
            | RecoveryState::KeyToKeep
            | RecoveryState::OutOfDate
            | RecoveryState::Saving => "a new login reads everything with your recovery key",
            RecoveryState::NeedsSetup
            | RecoveryState::NeedsRecovery { .. }
            | RecoveryState::Unlocking
            | RecoveryState::Signing
            | RecoveryState::ConnectingBackup
            | RecoveryState::Restoring { .. }
            | RecoveryState::TakingOver
            | RecoveryState::Ready => "this device has the account's keys now",
        };
        state.say(Tone::Done, words);
    }
    state.recovery = Some(recovery);
}

/// The server wants to know who the user is.
pub(super) fn on_auth_needed(state: &mut State, prompt: AuthPrompt) {
    let refused = prompt.refused.map(|why| SafeText::short(&why, 60).into_string());
    match prompt.page {
        Some(page) if !prompt.takes_password => {
            ask(state, Question::AuthPage { page: SafeText::line(&page).into_string() });
        }
        _ => {
            let kind = SecretPrompt::Password { refused: refused.unwrap_or_default() };
            state.overlay = Some(Overlay::Secret { kind, typed: SecretText::from(String::new()) });
        }
    }
}

/// The account has a recovery key now.
pub(super) fn on_recovery_key(state: &mut State, key: SecretText) {
    ask(state, Question::KeepRecoveryKey { key });
}

/// Takes a secret that was typed.
pub(super) fn on_secret(
    state: &mut State,
    kind: &SecretPrompt,
    typed: SecretText,
    effects: &mut Effects,
) {
    match kind {
        SecretPrompt::Recovery => {
            rooms::request(state, Asked::Recover, Request::Recover { secret: typed }, effects);
        }
        SecretPrompt::Password { .. } => {
            let request = Request::Authenticate { password: Some(typed) };
            rooms::request(state, Asked::Quietly, request, effects);
        }
    }
}

/// Does what was answered to one of the questions of this file.
pub(super) fn on_answer(state: &mut State, kind: Question, answer: Answer, effects: &mut Effects) {
    match (kind, answer) {
        (Question::SetUpRecovery, Answer::Yes) => show_key(state, effects),
        (Question::RenewRecoveryKey, Answer::Yes)
        | (Question::RecoveryOutOfDate, Answer::NewKey) => {
            let request = Request::RenewRecoveryKey { passphrase: None };
            rooms::request(state, Asked::RecoveryKey, request, effects);
        }
        (Question::StartFresh, Answer::Yes) => {
            rooms::request(state, Asked::RecoveryKey, Request::StartFresh, effects);
        }
        (Question::KeepRecoveryKey { .. }, Answer::Yes) => {
            rooms::request(state, Asked::Quietly, Request::ConfirmRecoveryKey, effects);
        }
        (Question::AuthPage { .. }, Answer::Yes) => {
            let request = Request::Authenticate { password: None };
            rooms::request(state, Asked::Quietly, request, effects);
        }
        (Question::Recover { .. } | Question::RecoveryOutOfDate, Answer::TypeSecret) => {
            let kind = SecretPrompt::Recovery;
            state.overlay = Some(Overlay::Secret { kind, typed: SecretText::from(String::new()) });
        }
        (Question::Recover { .. }, Answer::OtherDevice) => {
            let user = state.user_id.clone();
            let request = Request::Verify { user, device: None, scan: Scan::default() };
            state.say(Tone::Done, "asking your other devices: accept it on one of them");
            rooms::request(state, Asked::Quietly, request, effects);
        }
        (Question::Recover { .. }, Answer::StartFresh) => ask(state, Question::StartFresh),
        (_, _) => {}
    }
}

/// Makes the recovery key, or has it told again.
fn show_key(state: &mut State, effects: &mut Effects) {
    let request = Request::SetUpRecovery { passphrase: None };
    rooms::request(state, Asked::RecoveryKey, request, effects);
}

fn ask(state: &mut State, kind: Question) {
    let chosen = kind.first_choice();
    state.overlay = Some(Overlay::Question { kind, chosen });
}
