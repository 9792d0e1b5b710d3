//! Lines that begin with a slash: a few commands, nothing sent by accident. `//` writes a slash.

use super::{effects::Effects, files, rooms, verification};
use crate::{
    engine::Request,
    matrix::OwnedUserId,
    rooms::Typed,
    tui::state::{Asked, Purpose, State, Tone},
};

/// What a submitted text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Something said.
    Said(Typed),
    /// Something to do.
    Command(SlashCommand),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SlashCommand {
    /// Join by id or alias.
    Join(String),
    /// Leave this room.
    Leave,
    /// Invite somebody to this room.
    Invite(OwnedUserId),
    /// Start a direct chat.
    Direct(OwnedUserId),
    /// Verify somebody, or go on with what is under way.
    Verify(Option<OwnedUserId>),
    /// Make a room.
    Create(Option<String>),
    /// Send the file of this path, with this caption.
    File(String, String),
}

/// Why a line with a slash is not taken; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SlashError {
    /// There is no such command.
    #[error(
        "there is no command `/{0}`: /me /join /leave /invite /dm /verify /create /file; // begins a text with /"
    )]
    Unknown(String),
    /// Something is missing.
    #[error("usage: {0}")]
    Usage(&'static str),
    /// A user id was expected.
    #[error("`{0}` is no user id; they look like @name:server")]
    NoUser(String),
}

/// Reads a submitted text.
pub(super) fn parse(text: &str) -> Result<Line, SlashError> {
    let Some(rest) = text.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        return Ok(Line::Said(Typed::new(text)));
    };
    let (name, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    let needed = |usage| if arguments.is_empty() { Err(SlashError::Usage(usage)) } else { Ok(()) };
    let command = match name {
        "me" => {
            needed("/me does something")?;
            return Ok(Line::Said(Typed::new(text)));
        }
        "join" => {
            needed("/join #alias:server")?;
            SlashCommand::Join(arguments.to_owned())
        }
        "leave" | "part" => SlashCommand::Leave,
        "invite" => {
            needed("/invite @name:server")?;
            SlashCommand::Invite(user(arguments)?)
        }
        "dm" | "query" => {
            needed("/dm @name:server")?;
            SlashCommand::Direct(user(arguments)?)
        }
        "verify" if arguments.is_empty() => SlashCommand::Verify(None),
        "verify" => SlashCommand::Verify(Some(user(arguments)?)),
        "create" => SlashCommand::Create((!arguments.is_empty()).then(|| arguments.to_owned())),
        "file" | "attach" => {
            needed("/file PATH")?;
            let (path, caption) = arguments.split_once('\n').unwrap_or((arguments, ""));
            SlashCommand::File(unquoted(path.trim()), caption.trim().to_owned())
        }
        _ => return Err(SlashError::Unknown(name.to_owned())),
    };
    Ok(Line::Command(command))
}

/// A path as terminals paste it when a file is dropped on them: in quotes, or with backslashes.
fn unquoted(path: &str) -> String {
    let quoted = |quote| path.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let bare = quoted('\'').or_else(|| quoted('"'));
    bare.map_or_else(|| path.replace("\\ ", " "), str::to_owned)
}

/// Reads a user id.
pub(super) fn user(text: &str) -> Result<OwnedUserId, SlashError> {
    OwnedUserId::try_from(text.trim()).ok().ok_or_else(|| SlashError::NoUser(text.to_owned()))
}

/// Does it.
pub(super) fn carry_out(
    state: &mut State,
    command: SlashCommand,
    purpose: &Purpose,
    effects: &mut Effects,
) {
    match command {
        SlashCommand::Join(room) => rooms::join(state, room, effects),
        SlashCommand::Leave => rooms::ask_to_leave(state),
        SlashCommand::Invite(user) => match state.current.clone() {
            Some(room) => {
                let asked = Asked::Invite(user.to_string());
                rooms::request(state, asked, Request::Invite { room, user }, effects);
            }
            None => state.say(Tone::Failed, "open a room first"),
        },
        SlashCommand::Direct(user) => rooms::create_direct(state, user, effects),
        SlashCommand::Verify(Some(user)) => verification::begin(state, user, effects),
        SlashCommand::Verify(None) => verification::open(state),
        SlashCommand::Create(name) => rooms::create(state, name, effects),
        SlashCommand::File(path, caption) => {
            files::attach(state, (path, caption), purpose, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::Form;

    fn said(text: &str) -> (Form, String) {
        match parse(text) {
            Ok(Line::Said(typed)) => (typed.form, typed.text),
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn an_unknown_command_is_an_error_and_no_message() {
        let error = parse("/shrug off").unwrap_err().to_string();
        assert!(error.contains("`/shrug`"), "{error}");
        assert!(parse("/etc/passwd is a file").is_err());
    }

    #[test]
    fn two_slashes_write_one() {
        assert_eq!(said("//etc"), (Form::Text, "/etc".to_owned()));
    }

    #[test]
    fn commands_take_their_arguments() {
        assert_eq!(said("/me waves"), (Form::Emote, "waves".to_owned()));
        assert_eq!(parse("/join  #a:b "), Ok(Line::Command(SlashCommand::Join("#a:b".to_owned()))));
        assert_eq!(parse("/me"), Err(SlashError::Usage("/me does something")));
        assert_eq!(parse("/invite bob"), Err(SlashError::NoUser("bob".to_owned())));
        let file = |path: &str, caption: &str| {
            Ok(Line::Command(SlashCommand::File(path.to_owned(), caption.to_owned())))
        };
        assert_eq!(parse("/file ~/a b.png"), file("~/a b.png", ""));
        assert_eq!(parse("/file '/x/a b' \nlook at this"), file("/x/a b", "look at this"));
        assert_eq!(parse("/file /x/a\\ b"), file("/x/a b", ""));
        assert_eq!(parse("/create"), Ok(Line::Command(SlashCommand::Create(None))));
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for (usage, _) in crate::tui::action::SLASH_COMMANDS {
            let line = usage.replace("USER", "@bob:example.org").replace("ROOM", "#garden:x");
            assert!(parse(&line).is_ok(), "{line}");
        }
    }
}
