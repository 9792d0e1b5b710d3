//! Whose devices get the keys of the open room, and whose identity changed in it.

use super::{alarms, effects::Effects, rooms};
use crate::{
    engine::{DevicePolicy, IdentityState, LeftOutReason, Request, RoomTrust, Scan},
    matrix::{OwnedUserId, SafeText},
    tui::state::{Answer, Asked, Overlay, Question, Sheet, State, Tone},
};

/// Opens what is to be settled, or the list of devices that get no keys.
pub(super) fn open(state: &mut State) {
    let Some(trust) = state.trust_here() else {
        return state.say(Tone::Failed, "open an encrypted room first");
    };
    if let Some(changed) = trust.changed.first() {
        let was_verified = changed.state == IdentityState::VerificationViolation;
        let kind = Question::ChangedIdentity { user: changed.user.clone(), was_verified };
        let chosen = kind.first_choice();
        state.overlay = Some(Overlay::Question { kind, chosen });
        return;
    }
    let sheet = Sheet { title: "Devices of this room", lines: lines(trust) };
    state.overlay = Some(Overlay::Sheet { sheet, scrolled: 0 });
}

/// Does what was answered about an identity that changed.
pub(super) fn on_answer(
    state: &mut State,
    user: OwnedUserId,
    (was_verified, answer): (bool, Answer),
    effects: &mut Effects,
) {
    if answer == Answer::Yes {
        alarms::settle_identity(state, &user);
    }
    let request = match (answer, was_verified) {
        (Answer::Verify, _) => Request::Verify { user, device: None, scan: Scan::default() },
        (Answer::Yes, true) => Request::WithdrawVerification { user },
        (Answer::Yes, false) => Request::AcknowledgeIdentity { user },
        (_, _) => return,
    };
    rooms::request(state, Asked::Quietly, request, effects);
}

fn lines(trust: &RoomTrust) -> Vec<(&'static str, SafeText)> {
    let rule = match trust.devices {
        DevicePolicy::Signed => "devices that their owners have signed",
        DevicePolicy::All => "ALL devices, signed or not: a server can add one and read along",
    };
    let mut lines = vec![("keys go to", SafeText::line(rule))];
    let count = format!("{} of {} devices", trust.left_out.len(), trust.known);
    lines.push(("left out", SafeText::line(&count)));
    for device in &trust.left_out {
        let why = match device.reason {
            LeftOutReason::NoIdentity => "its owner has no identity (set up recovery there)",
            LeftOutReason::Unsigned => "its owner did not sign it",
            LeftOutReason::Blocked => "you blocked it",
            LeftOutReason::Unable => "it cannot decrypt what we send",
        };
        let words = format!("{} of {}: {why}", device.device_id, device.user_id);
        lines.push(("", SafeText::line(&words)));
    }
    if let Some(words) = other_rule(trust) {
        lines.push(("command", SafeText::line(&words)));
    }
    for (place, user) in trust.newcomers.iter().enumerate() {
        let label = if place == 0 { "new here" } else { "" };
        lines.push((label, SafeText::line(user.as_str())));
    }
    lines
}

/// The command that gives the room the other rule, where somebody may want that.
fn other_rule(trust: &RoomTrust) -> Option<String> {
    let room = trust.room_id.as_ref()?;
    match trust.devices {
        DevicePolicy::All => Some(format!("grotto policy '{room}' --devices signed")),
        DevicePolicy::Signed if trust.left_out.is_empty() => None,
        DevicePolicy::Signed => {
            Some(format!("for bots and bridges only: grotto policy '{room}' --devices all"))
        }
    }
}
