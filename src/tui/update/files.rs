//! `/file PATH`: sending a file from the composer; and saving the file of a selected message.

use super::{effects::Effects, effects::TerminalEffect, rooms};
use crate::{
    engine::{Command, CommandError, CommandId, FileDraft, Request, SaveTo},
    matrix::{OwnedEventId, OwnedRoomId, SafeText},
    rooms::{FileFacts, Target, Typed, compose_file},
    tui::state::{Asked, Attaching, Direction, Purpose, State, Step, Tone},
};

/// Most names that are shown when a path can go on in several ways.
const MOST_SHOWN: usize = 8;
/// Columns of a name in the status line.
const MOST_NAME: usize = 40;

/// Looks at the file first; `purpose` says what the line was to answer.
pub(super) fn attach(
    state: &mut State,
    (path, caption): (String, String),
    purpose: &Purpose,
    effects: &mut Effects,
) {
    let Some(room) = state.current.clone() else {
        return state.say(Tone::Failed, "open a room first");
    };
    let mut caption = Typed::new(&caption);
    if let Purpose::Reply { event, .. } = purpose {
        caption.target = Target::Reply(event.clone());
    }
    state.attaching = Some(Attaching { room, caption });
    // How the path could have gone on is old news.
    state.notice = None;
    effects.terminal(TerminalEffect::Inspect(path));
}

/// The file was looked at: it is sent, or what is wrong with it is said.
pub(super) fn on_inspected(
    state: &mut State,
    result: Result<FileFacts, CommandError>,
    effects: &mut Effects,
) {
    let Some(Attaching { room, caption }) = state.attaching.take() else { return };
    match result {
        Ok(facts) => {
            let content = compose_file(&facts, &caption);
            let txn = state.new_txn();
            let path = facts.path;
            effects.command(Command::SendFile(FileDraft { room, txn, path, content }));
            super::frame::to_newest(state);
        }
        Err(error) => state.say(Tone::Failed, &error.message),
    }
}

/// The path that is being typed after `/file`, if that is what is typed.
pub(super) fn typed_path(state: &State) -> Option<&str> {
    let path = state.pane()?.composer.text().strip_prefix("/file ")?.trim_start();
    (!path.contains('\n')).then_some(path)
}

/// Asks how the typed path may go on.
pub(super) fn complete(state: &State, effects: &mut Effects) {
    if let Some(path) = typed_path(state) {
        effects.terminal(TerminalEffect::Complete(path.to_owned()));
    }
}

/// Writes as much of the path as is certain, and says what it may be.
pub(super) fn on_continuations(state: &mut State, typed: &str, names: &[String]) {
    if typed_path(state) != Some(typed) {
        return;
    }
    let begin = typed.rsplit_once('/').map_or(typed, |(_, begin)| begin);
    let common = common_beginning(names);
    if let Some(rest) = common.strip_prefix(begin).filter(|rest| !rest.is_empty())
        && let Some(pane) = state.pane_mut()
    {
        pane.composer.go(Step::Text, Direction::Forward);
        // A path that has no room is not sent either.
        let _taken = pane.composer.insert(rest);
    }
    match names {
        [] => state.say(Tone::Failed, "nothing here begins like that"),
        [_] => {}
        several => {
            let shown: Vec<String> = several
                .iter()
                .take(MOST_SHOWN)
                .map(|name| SafeText::short(name, MOST_NAME).into_string())
                .collect();
            let more = if MOST_SHOWN < several.len() { "  …" } else { "" };
            state.say(Tone::Done, &format!("{}{more}", shown.join("  ")));
        }
    }
}

fn common_beginning(names: &[String]) -> String {
    let Some((first, others)) = names.split_first() else { return String::new() };
    let agrees = |at: usize, c: char| others.iter().all(|name| name.chars().nth(at) == Some(c));
    first.chars().enumerate().take_while(|(at, c)| agrees(*at, *c)).map(|(_, c)| c).collect()
}

/// Saves the file of a message; the second time, while it is on its way, gives that up.
pub(super) fn save(
    state: &mut State,
    (room, event): (OwnedRoomId, OwnedEventId),
    name: &str,
    effects: &mut Effects,
) {
    let is_it =
        |asked: &Asked| matches!(asked, Asked::Save { event: other, .. } if *other == event);
    if let Some((id, _)) = state.asked.iter().find(|(_, asked)| is_it(asked)) {
        effects.command(Command::Cancel(*id));
        return;
    }
    let Some(folder) = state.downloads.clone() else {
        let words = "no folder for downloads is known: set `downloads` in [general]";
        return state.say(Tone::Failed, words);
    };
    let name = SafeText::short(name, MOST_NAME).into_string();
    state.say(Tone::Done, &format!("saving {name} …"));
    let asked = Asked::Save { event: event.clone(), name };
    rooms::request(
        state,
        asked,
        Request::Download { room, event, to: SaveTo::Folder(folder) },
        effects,
    );
}

/// A file that is being saved: how far.
pub(super) fn on_progress(state: &mut State, id: CommandId, done: u64, total: Option<u64>) {
    let Some(Asked::Save { name, .. }) = state.asked.get(&id) else { return };
    let far = match total.filter(|total| *total > 0) {
        Some(total) => format!("{} %", done.saturating_mul(100) / total),
        None => format!("{} kB", done / 1000),
    };
    let words = format!("saving {name}: {far}");
    state.say(Tone::Done, &words);
}
