//! Verifications: shown when we began them, announced when others did, never in the way of typing.

use super::{alarms, effects::Effects, rooms};
use crate::{
    engine::{
        CancelCode, Request, Scan, VerificationAct, VerificationStage as Stage, VerificationView,
    },
    matrix::OwnedUserId,
    tui::state::{Answer, Asked, Overlay, Question, State, Tone, whom},
};

/// Verifications that are kept; the engine has fewer under way.
const MOST_KEPT: usize = 16;

/// Asks a user, or our own devices.
pub(super) fn begin(state: &mut State, user: OwnedUserId, effects: &mut Effects) {
    let request = Request::Verify { user, device: None, scan: Scan::No };
    rooms::request(state, Asked::Quietly, request, effects);
}

/// Takes news of a verification.
pub(super) fn on_update(state: &mut State, view: VerificationView) {
    let shown = match &state.overlay {
        Some(Overlay::Question { kind: Question::Verification(old), .. }) => old.id == view.id,
        Some(Overlay::Code { id, .. }) => {
            *id == view.id && !matches!(view.stage, Stage::Ready { .. })
        }
        _ => false,
    };
    let is_over = view.stage.is_over();
    if view.stage == Stage::Done {
        alarms::settle_verified(state, &view);
    }
    state.verifications.retain(|old| old.id != view.id);
    if !is_over {
        if MOST_KEPT <= state.verifications.len() {
            state.verifications.pop_front();
        }
        state.verifications.push_back(view.clone());
    }
    // Only what was just asked for opens by itself: a question that came up while somebody writes
    // could be answered by a letter that was meant for a message.
    let was_asked = view.is_ours && view.stage == Stage::Asked && state.overlay.is_none();
    if shown || was_asked {
        // What was said of it is old news.
        state.notice = None;
        show(state, view);
    } else {
        announce(state, &view);
    }
}

/// Says what happened, without opening anything.
fn announce(state: &mut State, view: &VerificationView) {
    let whom = whom(view);
    match &view.stage {
        Stage::Invited => {
            state.say(Tone::Done, &format!("{whom} asks to verify; open it with /verify"));
        }
        Stage::Done => state.say(Tone::Done, &format!("verified: {whom}")),
        Stage::Cancelled { code: CancelCode::Accepted, .. } | Stage::Elsewhere => {
            let words = format!("another device of yours took the verification with {whom}");
            state.say(Tone::Done, &words);
        }
        Stage::Cancelled { code, .. } => {
            state.say(Tone::Failed, &format!("not verified {whom}: {}", code.explained()));
        }
        Stage::Compare { .. } | Stage::Scanned => {
            state.say(Tone::Done, &format!("{whom} waits for you to compare: /verify"));
        }
        Stage::Ready { .. } if view.is_ours => {
            state.say(Tone::Done, &format!("{whom} is there to verify: /verify"));
        }
        Stage::Asked
        | Stage::Ready { .. }
        | Stage::Waiting
        | Stage::Confirmed
        | Stage::Reciprocated => {}
    }
}

fn show(state: &mut State, view: VerificationView) {
    let kind = Question::Verification(Box::new(view));
    let chosen = kind.first_choice();
    state.overlay = Some(Overlay::Question { kind, chosen });
}

/// Opens the newest one that is under way.
pub(super) fn open(state: &mut State) {
    match state.verifications.back().cloned() {
        Some(view) => show(state, view),
        None => state.say(Tone::Failed, "nothing to verify; begin with /verify @name:server"),
    }
}

/// Does what was answered.
pub(super) fn on_answer(
    state: &mut State,
    view: VerificationView,
    answer: Answer,
    effects: &mut Effects,
) {
    let act = match (answer, &view.stage) {
        (Answer::Yes, Stage::Invited) => VerificationAct::Accept { scan: Scan::No },
        (Answer::Yes, Stage::Ready { .. }) => VerificationAct::StartSas,
        (Answer::Yes, Stage::Compare { .. } | Stage::Scanned) => VerificationAct::Confirm,
        (Answer::Differ, _) => VerificationAct::Mismatch,
        (Answer::Decline, _) => VerificationAct::Cancel,
        (Answer::ShowCode, Stage::Ready { code: Some(code), .. }) => {
            state.overlay = Some(Overlay::Code { id: view.id, code: code.clone() });
            return;
        }
        (_, _) => return,
    };
    let id = view.id;
    // What follows is shown at the same place.
    let still = !matches!(act, VerificationAct::Cancel | VerificationAct::Mismatch);
    if still {
        let kind = Question::Verification(Box::new(view));
        let chosen = kind.first_choice();
        state.overlay = Some(Overlay::Question { kind, chosen });
    }
    rooms::request(state, Asked::Quietly, Request::Verification { id, act }, effects);
}
