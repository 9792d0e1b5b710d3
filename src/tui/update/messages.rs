//! The selected message: choosing one, and what can be done with it.

use serde_json::{Map, Value};

use super::{effects::Effects, effects::TerminalEffect, files, keys, rooms};
use crate::{
    engine::{Command, Draft, Request},
    matrix::{EventId, OwnedEventId, OwnedRoomId},
    rooms::{Markup, Target, Typed, compose_reaction},
    tui::{
        action::MessagesAction,
        state::{
            Asked, Direction, Facts, Focus, Overlay, Prompt, Purpose, Question, RoomPane, State,
            Tone, expand_shortcode,
        },
        wrap,
    },
};

/// The longest reaction, in bytes.
const MOST_REACTION: usize = 100;
/// The longest content, in bytes of JSON: encrypted and with everything around it, it stays below
/// the 65,536 bytes that an event may have.
const MOST_CONTENT: usize = 47_000;
/// Columns of a name in the line above the composer.
const MOST_NAME: usize = 24;

/// Does what a key means while a message is selected.
pub(super) fn act(state: &mut State, action: MessagesAction, effects: &mut Effects) {
    match action {
        MessagesAction::SelectUp => step(state, Direction::Back),
        MessagesAction::SelectDown => step(state, Direction::Forward),
        MessagesAction::SelectOldest => select_end(state, Direction::Back),
        MessagesAction::SelectNewest => select_end(state, Direction::Forward),
        MessagesAction::Reply => reply(state),
        MessagesAction::React => ask_reaction(state),
        MessagesAction::Edit => edit(state),
        MessagesAction::Redact => ask_redaction(state),
        MessagesAction::Details => details(state, effects),
        MessagesAction::Copy => copy(state, effects),
        MessagesAction::Save => save(state, effects),
        MessagesAction::Retry => retry(state, effects),
        MessagesAction::Discard => discard(state, effects),
        MessagesAction::Compose => keys::set_focus(state, Focus::Composer),
        MessagesAction::MessageHelp => state.overlay = Some(Overlay::Help { scrolled: 0 }),
    }
}

/// Keys go to the messages from now on: the newest is selected.
pub(super) fn enter(state: &mut State) {
    if let Some(pane) = state.pane_mut().filter(|pane| pane.selected.is_none()) {
        pane.select_end(Direction::Forward);
    }
}

/// The content of what was said, with what it answers or replaces; `None` when no event could hold
/// it. Without its formatting when only that is too long.
pub(super) fn content(pane: &RoomPane, mut said: Typed) -> Option<Map<String, Value>> {
    match pane.composer.purpose() {
        Purpose::New => {}
        Purpose::Reply { event, .. } => {
            said.target = Target::Reply(event.clone());
            said.mentions.extend(pane.sender_of(event));
        }
        Purpose::Edit { event, .. } => said.target = Target::Edit(event.clone()),
    }
    [said.markup, Markup::Plain].into_iter().find_map(|markup| {
        let content = Typed { markup, ..said.clone() }.content();
        let bytes = serde_json::to_vec(&content).map_or(usize::MAX, |bytes| bytes.len());
        (bytes <= MOST_CONTENT).then_some(content)
    })
}

/// Reacts with an emoji, its name, or any short text.
pub(super) fn react(
    state: &mut State,
    room: OwnedRoomId,
    event: &EventId,
    typed: &str,
    effects: &mut Effects,
) {
    let key = expand_shortcode(typed);
    if key.is_empty() || MOST_REACTION < key.len() {
        return;
    }
    let content = compose_reaction(key, event);
    let txn = state.new_txn();
    let kind = "m.reaction".to_owned();
    effects.command(Command::Send(Draft { room, txn, kind, content }));
}

/// Edits the newest own message, from the composer.
pub(super) fn edit_last_own(state: &mut State) {
    let Some(pane) = state.pane_mut() else { return };
    if let Some((event, text)) = pane.last_own() {
        pane.composer.edit(event, &text);
    }
}

fn step(state: &mut State, to: Direction) {
    let moved = state.pane_mut().is_some_and(|pane| pane.select_step(to));
    if !moved && to == Direction::Forward {
        keys::set_focus(state, Focus::Composer);
    }
}

fn select_end(state: &mut State, to: Direction) {
    if let Some(pane) = state.pane_mut() {
        pane.select_end(to);
    }
}

fn selected(state: &State) -> Option<(OwnedRoomId, Facts)> {
    Some((state.current.clone()?, state.pane()?.selected_facts()?))
}

/// The selected message, if the server has it; says so if not.
fn selected_event(state: &mut State) -> Option<(OwnedRoomId, OwnedEventId, Facts)> {
    let (room, facts) = selected(state)?;
    let Some(event) = facts.event.clone() else {
        state.say(Tone::Failed, "the server does not have this message yet");
        return None;
    };
    Some((room, event, facts))
}

fn reply(state: &mut State) {
    let Some((_, event, facts)) = selected_event(state) else { return };
    let Some(pane) = state.pane_mut() else { return };
    let name = facts
        .sender
        .map_or_else(String::new, |user| pane.name_of(&user).truncated(MOST_NAME).into_string());
    let text = facts.text.unwrap_or_default().replace('\n', " ");
    pane.composer.reply_to(event, wrap::cut(&format!("{name}: {text}"), 200));
    keys::set_focus(state, Focus::Composer);
}

fn ask_reaction(state: &mut State) {
    if let Some((room, event, _)) = selected_event(state) {
        let kind = Prompt::React { room, event };
        state.overlay = Some(Overlay::Prompt { kind, typed: String::new() });
    }
}

fn edit(state: &mut State) {
    let found = selected(state).and_then(|(_, facts)| Some((facts.event?, facts.editable?)));
    match found {
        Some((event, text)) => {
            if let Some(pane) = state.pane_mut() {
                pane.composer.edit(event, &text);
            }
            keys::set_focus(state, Focus::Composer);
        }
        None => state.say(Tone::Failed, "only own messages that were sent can be edited"),
    }
}

fn ask_redaction(state: &mut State) {
    if let Some((room, event, facts)) = selected_event(state) {
        let shown = wrap::cut(&facts.text.unwrap_or_default().replace('\n', " "), 100);
        let kind = Question::Redact { room, event, shown };
        let chosen = kind.first_choice();
        state.overlay = Some(Overlay::Question { kind, chosen });
    }
}

/// Asks how the message was encrypted; the answer opens over the screen.
fn details(state: &mut State, effects: &mut Effects) {
    if let Some((room, event, _)) = selected_event(state) {
        rooms::request(state, Asked::Story, Request::KeyStory { room, event }, effects);
    }
}

fn copy(state: &mut State, effects: &mut Effects) {
    if let Some(text) = selected(state).and_then(|(_, facts)| facts.text) {
        effects.terminal(TerminalEffect::Copy(text));
        state.say(Tone::Done, "copied, if this terminal allows it (OSC 52)");
    }
}

fn save(state: &mut State, effects: &mut Effects) {
    let Some((room, event, facts)) = selected_event(state) else { return };
    match facts.file {
        Some(name) => files::save(state, (room, event), &name, effects),
        None => state.say(Tone::Failed, "this message has no file"),
    }
}

fn retry(state: &mut State, effects: &mut Effects) {
    match selected(state) {
        Some((_, Facts { unsent: Some(txn), failed: true, .. })) => {
            effects.command(Command::Retry(txn));
        }
        Some(_) => state.say(Tone::Failed, "this message did not fail"),
        None => {}
    }
}

fn discard(state: &mut State, effects: &mut Effects) {
    match selected(state) {
        Some((_, Facts { unsent: Some(txn), .. })) => effects.command(Command::Discard(txn)),
        Some(_) => state.say(Tone::Failed, "this message was sent: it can only be removed"),
        None => {}
    }
}
