//! Rooms: going to one, which ones the engine follows, and asking for new ones.

use super::{compose, effects::Effects, keys};
use crate::{
    engine::{Command, Request},
    matrix::{OwnedRoomId, OwnedUserId, SafeText},
    tui::{
        action::RoomsAction,
        state::{Asked, Focus, ListedRoom, Overlay, Question, RoomPane, State, Tone},
    },
};

/// How many rooms the engine keeps us told about: going back to one of them shows it at once.
const MOST_FOLLOWED: usize = 8;

/// Does what a key of the room list means.
pub(super) fn act(state: &mut State, action: RoomsAction, effects: &mut Effects) {
    match action {
        RoomsAction::RoomUp => state.rooms.move_selection(-1),
        RoomsAction::RoomDown => state.rooms.move_selection(1),
        RoomsAction::OpenRoom => {
            if let Some(room) = state.rooms.selected().map(|room| room.summary.room_id.clone()) {
                state.rooms.set_filter(String::new());
                go_to(state, room, effects);
            }
        }
        RoomsAction::FilterBack => {
            let mut filter = state.rooms.filter().to_owned();
            filter.pop();
            state.rooms.set_filter(filter);
        }
    }
}

/// Opens a room, or the question whether to accept its invite.
pub(super) fn go_to(state: &mut State, room: OwnedRoomId, effects: &mut Effects) {
    if let Some(listed) = state.rooms.get(&room).filter(|listed| listed.is_invite()) {
        let kind = invitation(listed);
        let chosen = kind.first_choice();
        state.overlay = Some(Overlay::Question { kind, chosen });
        return;
    }
    enter(state, room, effects);
}

/// Opens a room that we are in.
pub(super) fn enter(state: &mut State, room: OwnedRoomId, effects: &mut Effects) {
    if let Some(before) = state.current.clone().filter(|before| *before != room) {
        compose::leave(state, &before, effects);
        if let Some(pane) = state.pane_mut() {
            pane.on_left();
        }
    }
    follow(state, &room, effects);
    if state.current.as_ref() != Some(&room) {
        effects.command(Command::Visit(room.clone()));
    }
    let own = state.user_id.clone();
    state.panes.entry(room.clone()).or_insert_with(|| RoomPane::new(&own)).on_entered();
    state.rooms.select(room.clone());
    state.current = Some(room);
    keys::set_focus(state, Focus::Composer);
}

/// Opens the room that is to be opened first, once it is in the list.
pub(super) fn enter_first(state: &mut State, effects: &mut Effects) {
    let is_here = |room: &mut OwnedRoomId| state.rooms.get(room).is_some();
    let Some(room) = state.first_room.take_if(is_here) else { return };
    if state.current.is_none() {
        go_to(state, room, effects);
    }
}

/// Goes to the next room that has something unread.
pub(super) fn next_unread(state: &mut State, effects: &mut Effects) {
    match state.rooms.next_unread(state.current.as_deref()) {
        Some(room) => go_to(state, room, effects),
        None => state.say(Tone::Done, "nothing is unread"),
    }
}

/// Goes to the room `by` places further in the list.
pub(super) fn neighbor(state: &mut State, by: isize, effects: &mut Effects) {
    if let Some(room) = state.rooms.neighbor(state.current.as_deref(), by) {
        go_to(state, room, effects);
    }
}

/// Asks whether to leave the open room.
pub(super) fn ask_to_leave(state: &mut State) {
    let Some(room) = state.current.clone() else {
        state.say(Tone::Failed, "open a room first");
        return;
    };
    let name = state.rooms.get(&room).map_or_else(String::new, |room| room.name.to_string());
    let kind = Question::Leave { room, name };
    let chosen = kind.first_choice();
    state.overlay = Some(Overlay::Question { kind, chosen });
}

/// Asks the engine for something with an outcome.
pub(super) fn request(state: &mut State, asked: Asked, request: Request, effects: &mut Effects) {
    let id = state.new_request(asked);
    effects.command(Command::Request { id, request });
}

/// Joins by id or alias and goes there.
pub(super) fn join(state: &mut State, room: String, effects: &mut Effects) {
    state.say(Tone::Done, &format!("joining {room} …"));
    request(state, Asked::Enter, Request::Join { room }, effects);
}

/// Makes an encrypted room and goes there.
pub(super) fn create(state: &mut State, name: Option<String>, effects: &mut Effects) {
    state.say(Tone::Done, "making the room …");
    let create = Request::CreateRoom { name, invite: Vec::new(), dm: false, encrypted: true };
    request(state, Asked::Enter, create, effects);
}

/// Makes an encrypted direct chat and goes there.
pub(super) fn create_direct(state: &mut State, user: OwnedUserId, effects: &mut Effects) {
    state.say(Tone::Done, &format!("inviting {user} …"));
    let create = Request::CreateRoom { name: None, invite: vec![user], dm: true, encrypted: true };
    request(state, Asked::Enter, create, effects);
}

/// Says that the open room is gone, unless we asked for that.
pub(super) fn say_gone(state: &mut State, gone: &[OwnedRoomId]) {
    let Some(room) = state.current.clone().filter(|room| gone.contains(room)) else { return };
    let is_asked = state.asked.values().any(|it| *it == Asked::Leave(room.clone()));
    if let Some(listed) = state.rooms.get(&room).filter(|_| !is_asked) {
        let draft = state.pane().is_some_and(|pane| !pane.composer.is_empty());
        let kept = if draft { " (your draft is kept)" } else { "" };
        let words = format!("you are no longer in {}{kept}", listed.name);
        state.say(Tone::Failed, &words);
    }
}

/// The room is no longer ours. What was written there stays, for whoever comes back.
pub(super) fn forget(state: &mut State, gone: &[OwnedRoomId]) {
    state.rooms.forget(gone);
    state.followed.retain(|room| !gone.contains(room));
    for room in gone {
        match state.panes.get_mut(room) {
            Some(pane) if !pane.composer.is_empty() => pane.forget_messages(&state.user_id),
            Some(_) | None => drop(state.panes.remove(room)),
        }
    }
    if state.current.as_ref().is_some_and(|current| gone.contains(current)) {
        state.current = None;
        state.focus = Focus::Rooms;
    }
}

fn invitation(listed: &ListedRoom) -> Question {
    let inviter = listed.summary.inviter.as_deref().unwrap_or("Somebody");
    let inviter = SafeText::line(inviter).into_string();
    let name = listed.name.to_string();
    // A room without a name is called after who is in it, that is, who invites.
    let is_named = inviter != name && !inviter.starts_with(&format!("{name} ("));
    Question::Invitation {
        room: listed.summary.room_id.clone(),
        name: if is_named { name } else { String::new() },
        inviter,
    }
}

/// Has the engine tell us about `room`, and no longer about the one visited longest ago.
fn follow(state: &mut State, room: &OwnedRoomId, effects: &mut Effects) {
    if let Some(at) = state.followed.iter().position(|known| known == room) {
        drop(state.followed.remove(at));
    } else {
        effects.command(Command::Open(room.clone()));
    }
    state.followed.push_back(room.clone());
    while MOST_FOLLOWED < state.followed.len() {
        let Some(oldest) = state.followed.pop_front() else { break };
        if let Some(pane) = state.panes.get_mut(&oldest) {
            pane.forget_messages(&state.user_id);
        }
        effects.command(Command::Close(oldest));
    }
}
