//! What the engine tells.

use super::{alarms, effects::Effects, effects::TerminalEffect, files, rooms, setup, verification};
use crate::{
    engine::{CommandError, CommandId, Outcome, Update},
    matrix::{OwnedRoomId, OwnedUserId, SafeText},
    tui::state::{Asked, Overlay, Sheet, State, Tone, Unsent},
};

/// Takes an update.
pub(super) fn on_update(state: &mut State, update: Update, effects: &mut Effects) {
    match update {
        Update::Link(link) => state.link = link,
        Update::Synced => state.synced = true,
        Update::AuthNeeded(prompt) => setup::on_auth_needed(state, prompt),
        Update::AuthOver => state.auth = None,
        Update::RoomTrust(trust) => {
            if let Some(room) = trust.room_id.clone().filter(|room| state.followed.contains(room)) {
                state.trust.insert(room, trust);
            }
        }
        Update::Rooms(summaries) => {
            if state.rings_for(&summaries) {
                effects.terminal(TerminalEffect::Ring);
            }
            state.rooms.take(summaries);
            rooms::enter_first(state, effects);
        }
        Update::LastVisited(room) => {
            state.first_room.get_or_insert(room);
            rooms::enter_first(state, effects);
        }
        Update::RoomsGone(gone) => {
            rooms::say_gone(state, &gone);
            rooms::forget(state, &gone);
        }
        Update::Timeline { room, delta, live: _ } => {
            // Only followed rooms: what others say is in their summaries.
            if let Some(pane) = followed_pane(state, &room) {
                pane.take(delta);
            }
        }
        Update::Members { room, names } => {
            if let Some(pane) = followed_pane(state, &room) {
                pane.take_names(names);
            }
        }
        Update::Typing { room, users } => on_typing(state, &room, users),
        Update::Receipts { room, read } => {
            if let Some(pane) = followed_pane(state, &room) {
                pane.take_receipts(read);
            }
        }
        Update::Outbox { waiting, failed, failed_in } => {
            state.unsent = Unsent { waiting, failed, failed_in };
        }
        Update::Progress { id, done, total } => files::on_progress(state, id, done, total),
        Update::Verification(view) => verification::on_update(state, view),
        Update::Alarm(alarm) => alarms::take(state, alarm),
        Update::Recovery(recovery) => setup::on_state(state, recovery),
        Update::Backup(backup) => state.backup = backup,
        // Nothing on screen shows it.
        Update::CaughtUp => {}
        Update::Outcome { id, result } => on_outcome(state, id, result, effects),
        Update::Ended { reason } => {
            state.ended = Some(SafeText::line(&reason).into_string());
            effects.terminal(TerminalEffect::Quit);
        }
    }
}

fn followed_pane<'a>(
    state: &'a mut State,
    room: &OwnedRoomId,
) -> Option<&'a mut crate::tui::state::RoomPane> {
    if state.followed.contains(room) { state.panes.get_mut(room) } else { None }
}

fn on_typing(state: &mut State, room: &OwnedRoomId, users: Vec<OwnedUserId>) {
    let own = state.user_id.clone();
    if let Some(pane) = followed_pane(state, room) {
        pane.typing = users.into_iter().filter(|user| *user != own).collect();
    }
}

fn on_outcome(
    state: &mut State,
    id: CommandId,
    result: Result<Outcome, CommandError>,
    effects: &mut Effects,
) {
    let Some(asked) = state.asked.remove(&id) else { return };
    match (asked, result) {
        (_, Err(error)) => state.say(Tone::Failed, &error.message),
        (Asked::Enter, Ok(Outcome::Room { room_id })) => {
            state.notice = None;
            rooms::enter(state, room_id, effects);
        }
        (Asked::Leave(room), Ok(_)) => rooms::forget(state, &[room]),
        (Asked::Invite(user), Ok(Outcome::Invited { history })) => {
            state.say(Tone::Done, &format!("{user} is invited; {}", history.words()));
        }
        (Asked::Invite(user), Ok(_)) => state.say(Tone::Done, &format!("{user} is invited")),
        (Asked::Story, Ok(Outcome::KeyStory(story))) => {
            state.notice = None;
            let sheet = Sheet { title: "This message", lines: story.lines() };
            state.overlay = Some(Overlay::Sheet { sheet, scrolled: 0 });
        }
        (Asked::Save { name, .. }, Ok(Outcome::Saved { path, encrypted, .. })) => {
            let clear = if encrypted { "" } else { " (it was not encrypted)" };
            state.say(Tone::Done, &format!("{name} is saved as {path}{clear}"));
        }
        (Asked::Recover, Ok(Outcome::Recovered { keys_restored, .. })) => {
            let words = format!("unlocked: {keys_restored} keys of old messages are here");
            state.say(Tone::Done, &words);
        }
        (Asked::RecoveryKey, Ok(Outcome::RecoveryKey { recovery_key })) => {
            setup::on_recovery_key(state, recovery_key);
        }
        (Asked::Enter | Asked::Story | Asked::Save { .. }, Ok(_)) => state.notice = None,
        (Asked::Recover | Asked::RecoveryKey | Asked::Quietly, Ok(_)) => {}
    }
}
