//! The way of this device to the account's keys: what is asked, and what the answers do.

use super::{effects::Effects, rooms};
use crate::{
    engine::{AuthPrompt, RecoveryState, Request, Scan, SecretText},
    matrix::SafeText,
    tui::state::{Answer, Asked, Overlay, Question, SecretPrompt, State, Tone},
};

/// Opens what can be done now.
pub(super) fn open(state: &mut State, effects: &mut Effects) {
    if let Some(prompt) = state.auth.clone() {
        return ask_who(state, &prompt);
    }
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

/// Takes where the device stands. Which states were told on the way to the last one is chance: some
/// last for moments. So what is said at its end is true of the end, however it came.
pub(super) fn on_state(state: &mut State, recovery: RecoveryState) {
    if recovery == RecoveryState::Ready {
        if std::mem::take(&mut state.lacked_keys) {
            state.say(Tone::Done, "all set: your recovery key opens everything on a new login");
        }
    } else {
        state.lacked_keys |= is_lack(&recovery);
    }
    state.recovery = Some(recovery);
}

/// Whether something is missing that a person would wait for; the others come at every start, or
/// with every change.
fn is_lack(recovery: &RecoveryState) -> bool {
    match recovery {
        RecoveryState::NeedsSetup
        | RecoveryState::NeedsRecovery { .. }
        | RecoveryState::SettingUp
        | RecoveryState::Unlocking
        | RecoveryState::Signing
        | RecoveryState::Restoring { .. }
        | RecoveryState::TakingOver
        | RecoveryState::KeyToKeep
        | RecoveryState::OutOfDate => true,
        RecoveryState::ConnectingBackup | RecoveryState::Saving | RecoveryState::Ready => false,
    }
}

/// The server wants to know who the user is. The prompt opens by itself for whoever just asked for
/// what needs it; nobody who writes meanwhile types a message into it: it waits in the bar above.
pub(super) fn on_auth_needed(state: &mut State, prompt: AuthPrompt) {
    if state.opens_question() {
        ask_who(state, &prompt);
    }
    state.auth = Some(prompt);
}

/// Asks for what the server wants to be told.
fn ask_who(state: &mut State, prompt: &AuthPrompt) {
    let refused = prompt.refused.as_ref().map(|why| SafeText::short(why, 60).into_string());
    match &prompt.page {
        Some(page) if !prompt.takes_password => {
            ask(state, Question::AuthPage { page: SafeText::line(page).into_string() });
        }
        _ => {
            let kind = SecretPrompt::Password { refused: refused.unwrap_or_default() };
            state.overlay = Some(Overlay::Secret { kind, typed: SecretText::from(String::new()) });
        }
    }
}

/// The account has a recovery key now. Whoever writes meanwhile does not confirm by a letter of a
/// message that they have it: the bar above says that it waits.
pub(super) fn on_recovery_key(state: &mut State, key: SecretText) {
    if state.opens_question() {
        ask(state, Question::KeepRecoveryKey { key });
    }
}

/// Asks the engine for what may open a question when it answers.
fn request(state: &mut State, asked: Asked, request: Request, effects: &mut Effects) {
    state.awaits_question = true;
    rooms::request(state, asked, request, effects);
}

/// Tells the server who the user is.
fn authenticate(state: &mut State, password: Option<SecretText>, effects: &mut Effects) {
    state.auth = None;
    request(state, Asked::Quietly, Request::Authenticate { password }, effects);
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
        SecretPrompt::Password { .. } => authenticate(state, Some(typed), effects),
    }
}

/// Does what was answered to one of the questions of this file.
pub(super) fn on_answer(state: &mut State, kind: Question, answer: Answer, effects: &mut Effects) {
    match (kind, answer) {
        (Question::SetUpRecovery, Answer::Yes) => show_key(state, effects),
        (Question::RenewRecoveryKey, Answer::Yes)
        | (Question::RecoveryOutOfDate, Answer::NewKey) => {
            let renew = Request::RenewRecoveryKey { passphrase: None };
            request(state, Asked::RecoveryKey, renew, effects);
        }
        (Question::StartFresh, Answer::Yes) => {
            request(state, Asked::RecoveryKey, Request::StartFresh, effects);
        }
        (Question::KeepRecoveryKey { .. }, Answer::Yes) => {
            rooms::request(state, Asked::Quietly, Request::ConfirmRecoveryKey, effects);
        }
        (Question::AuthPage { .. }, Answer::Yes) => authenticate(state, None, effects),
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
    let make = Request::SetUpRecovery { passphrase: None };
    request(state, Asked::RecoveryKey, make, effects);
}

fn ask(state: &mut State, kind: Question) {
    let chosen = kind.first_choice();
    state.overlay = Some(Overlay::Question { kind, chosen });
}
