//! What can be done now, in a few words with the keys that the user really has.

use crate::tui::{
    action::{Action, AnywhereAction, MessagesAction, OverlayAction, RoomsAction},
    state::{Answer, Focus, Overlay, Question, RoomPane, State},
};

/// Actions with a word or two each.
type Hints = &'static [(Action, &'static str)];

const ROOMS: Hints = &[
    (Action::Rooms(RoomsAction::OpenRoom), "open"),
    (Action::Anywhere(AnywhereAction::NewDirect), "chat"),
    (Action::Anywhere(AnywhereAction::JoinRoom), "join"),
];
const OWN: Hints = &[
    (Action::Messages(MessagesAction::Reply), "reply"),
    (Action::Messages(MessagesAction::React), "react"),
    (Action::Messages(MessagesAction::Edit), "edit"),
    (Action::Messages(MessagesAction::Redact), "remove"),
    (Action::Messages(MessagesAction::Copy), "copy"),
    (Action::Messages(MessagesAction::Compose), "write"),
];
const MESSAGE: Hints = &[
    (Action::Messages(MessagesAction::Reply), "reply"),
    (Action::Messages(MessagesAction::React), "react"),
    (Action::Messages(MessagesAction::Copy), "copy"),
    (Action::Messages(MessagesAction::Compose), "write"),
    (Action::Messages(MessagesAction::Redact), "remove"),
];
const FILE: Hints = &[
    (Action::Messages(MessagesAction::Save), "save"),
    (Action::Messages(MessagesAction::Reply), "reply"),
    (Action::Messages(MessagesAction::React), "react"),
    (Action::Messages(MessagesAction::Redact), "remove"),
];
const FAILED: Hints = &[
    (Action::Messages(MessagesAction::Retry), "try again"),
    (Action::Messages(MessagesAction::Discard), "discard"),
];
const OVERLAY: Hints = &[
    (Action::Overlay(OverlayAction::Accept), "ok"),
    (Action::Anywhere(AnywhereAction::Back), "cancel"),
];
/// What somebody who has not opened a room may want.
pub(super) const WELCOME: Hints = &[
    (Action::Rooms(RoomsAction::RoomDown), "choose a room of the list"),
    (Action::Rooms(RoomsAction::OpenRoom), "open it and write"),
    (Action::Anywhere(AnywhereAction::NewDirect), "chat with somebody"),
    (Action::Anywhere(AnywhereAction::NewRoom), "make a room"),
    (Action::Anywhere(AnywhereAction::JoinRoom), "join a room"),
    (Action::Anywhere(AnywhereAction::Help), "all keys"),
    (Action::Anywhere(AnywhereAction::Quit), "quit"),
];

/// The first key of an action.
pub(super) fn key(state: &State, action: Action) -> Option<String> {
    state.keymap.keys_of(action).into_iter().next()
}

/// `esc: words`; nothing if the user took all keys away.
pub(super) fn with_key(state: &State, action: AnywhereAction, words: &str) -> String {
    key(state, Action::Anywhere(action)).map_or_else(String::new, |key| format!("{key}: {words}"))
}

/// What can be done now, for the status line; nothing while writing.
pub(super) fn now(state: &State) -> Vec<String> {
    let (hints, has_filter) = match (&state.overlay, state.focus) {
        (Some(Overlay::Help { .. } | Overlay::Sheet { .. } | Overlay::Code { .. }), _)
        | (None, Focus::Composer) => {
            return Vec::new();
        }
        (Some(Overlay::Switcher { .. }), _) => (OVERLAY, true),
        (Some(Overlay::Question { kind, .. }), _) => return of_question(state, kind),
        (Some(Overlay::Prompt { .. } | Overlay::Secret { .. }), _) => (OVERLAY, false),
        (None, Focus::Rooms) => (ROOMS, true),
        (None, Focus::Messages) => (of_message(state), false),
    };
    let one = |(action, words): &(Action, &str)| Some(format!("{} {words}", key(state, *action)?));
    let filter = has_filter.then(|| "type to filter".to_owned());
    hints.iter().filter_map(one).chain(filter).collect()
}

/// Going back is the answer that does nothing: it is called what that answer is called.
fn of_question(state: &State, kind: &Question) -> Vec<String> {
    let answers = kind.answers();
    let nothing = answers.iter().find(|(answer, _)| *answer == Answer::Cancel);
    let words = nothing.map_or_else(|| "close".to_owned(), |(_, words)| words.to_lowercase());
    let choose = key(state, Action::Overlay(OverlayAction::Accept));
    let back = key(state, Action::Anywhere(AnywhereAction::Back));
    let choose = choose.map(|key| format!("{key} ok"));
    choose.into_iter().chain(back.map(|key| format!("{key} {words}"))).collect()
}

fn of_message(state: &State) -> Hints {
    match state.pane().and_then(RoomPane::selected_facts) {
        Some(facts) if facts.failed => FAILED,
        Some(facts) if facts.file.is_some() => FILE,
        Some(facts) if facts.editable.is_some() => OWN,
        Some(_) | None => MESSAGE,
    }
}
