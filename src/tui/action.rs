//! What keys can mean: one table of names, sentences and default keys. The keymap, the help and
//! the example configuration come from it.

/// Where a key is pressed; the same key may mean different things in different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Everywhere, where nothing nearer takes the key.
    Anywhere,
    /// While writing.
    Composer,
    /// While a message is selected.
    Messages,
    /// While choosing a room in the list.
    Rooms,
    /// While something is open over the screen: a list, a question, the help.
    Overlay,
}

impl Mode {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 5] =
        [Self::Anywhere, Self::Composer, Self::Messages, Self::Rooms, Self::Overlay];

    /// A heading for people.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Anywhere => "Everywhere",
            Self::Composer => "Writing",
            Self::Messages => "A message is selected",
            Self::Rooms => "Room list (type to filter)",
            Self::Overlay => "Lists and questions",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ActionEntry {
    /// The action.
    pub action: Action,
    /// Its name in the user's file.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Where it works.
    pub mode: Mode,
    /// Keys it has unless the user says otherwise.
    pub keys: &'static [&'static str],
}

/// Declares an enum of actions for each mode, [`Action`] over them, and [`Action::TABLE`], all from
/// the same lines.
macro_rules! actions {
    ($($mode:ident $group:ident $group_doc:literal {
        $($variant:ident $name:literal [$($key:literal)*] $doc:literal)*
    })*) => {
        $(
            #[doc = $group_doc]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum $group {
                $(#[doc = $doc] $variant,)*
            }
        )*

        /// What a key means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(#[doc = $group_doc] $mode($group),)*
        }

        impl Action {
            /// Every action once, in the order of the help.
            pub const TABLE: &'static [ActionEntry] = &[$($(ActionEntry {
                action: Self::$mode($group::$variant),
                name: $name,
                doc: $doc,
                mode: Mode::$mode,
                keys: &[$($key),*],
            },)*)*];

            /// Where it works.
            pub fn mode(self) -> Mode {
                match self {
                    $(Self::$mode(_) => Mode::$mode,)*
                }
            }
        }
    };
}

actions! {
    Anywhere AnywhereAction "What works everywhere." {
        Help "help" ["f1" "alt-h"] "Shows all keys."
        SwitchRoom "switch_room" ["ctrl-k"] "Opens a list of all rooms to filter and jump to."
        NextUnread "next_unread" ["alt-a"] "Goes to the next room with unread messages."
        NextRoom "next_room" ["alt-down"] "Goes to the next room of the list."
        PreviousRoom "previous_room" ["alt-up"] "Goes to the previous room of the list."
        NextFocus "next_focus" ["tab"] "Moves on: writing, messages, room list."
        PreviousFocus "previous_focus" ["shift-tab"] "Moves back: room list, messages, writing."
        PageUp "page_up" ["pageup"] "Scrolls the messages up by half a screen, loading older ones."
        PageDown "page_down" ["pagedown"] "Scrolls the messages down by half a screen."
        ScrollUp "scroll_up" ["ctrl-up" "alt-k"] "Scrolls the messages up by a line."
        ScrollDown "scroll_down" ["ctrl-down" "alt-j"] "Scrolls the messages down by a line."
        ToNewest "to_newest" ["ctrl-end" "alt-end"] "Goes to the newest message."
        ToUnread "to_unread" ["alt-u"] "Goes to the first unread message."
        NewRoom "new_room" ["alt-n"] "Makes a room, encrypted; asks for its name."
        NewDirect "new_direct" ["alt-m"] "Starts a direct chat; asks with whom."
        JoinRoom "join_room" ["alt-o"] "Joins a room by its address; asks for it."
        InviteUser "invite_user" ["alt-i"] "Invites somebody to this room; asks whom."
        SetUp "set_up" ["alt-s"] "Unlocks the account's keys on this device, or makes a recovery key."
        Verify "verify" ["alt-v"] "Opens the verification that is under way."
        Trust "trust" ["alt-t"] "Settles an identity that changed in this room, or lists devices without its keys."
        LeaveRoom "leave_room" [] "Leaves this room, after a question."
        DismissAlarm "dismiss_alarm" ["alt-x"] "Shows the oldest warning whole, and takes it away."
        Redraw "redraw" ["ctrl-l"] "Draws the whole screen again."
        Suspend "suspend" ["ctrl-z"] "Puts grotto into the background of the shell."
        Interrupt "interrupt" ["ctrl-c"] "Closes what is open, empties the line, or asks to quit."
        Quit "quit" ["ctrl-q"] "Quits; what is not sent yet is sent next time."
        Back "back" ["esc"] "Closes what is open, or goes one step back."
    }
    Composer ComposerAction "What works while writing." {
        Submit "submit" ["enter"] "Sends the message."
        NewLine "new_line" ["alt-enter" "shift-enter" "ctrl-j"] "Begins a new line."
        CursorLeft "cursor_left" ["left" "ctrl-b"] "Moves left by a character."
        CursorRight "cursor_right" ["right" "ctrl-f"] "Moves right by a character."
        WordLeft "word_left" ["ctrl-left" "alt-left" "alt-b"] "Moves left by a word."
        WordRight "word_right" ["ctrl-right" "alt-right" "alt-f"] "Moves right by a word."
        CursorUp "cursor_up" ["up"] "Moves up; in an empty line: edits the last own message."
        CursorDown "cursor_down" ["down"] "Moves down by a line."
        LineStart "line_start" ["home" "ctrl-a"] "Moves to the beginning of the line."
        LineEnd "line_end" ["end" "ctrl-e"] "Moves to the end of the line."
        TextStart "text_start" ["ctrl-home" "alt-<"] "Moves to the beginning of the text."
        TextEnd "text_end" ["alt->"] "Moves to the end of the text."
        DeleteBack "delete_back" ["backspace" "ctrl-h"] "Deletes the character to the left."
        DeleteForward "delete_forward" ["delete" "ctrl-d"] "Deletes the character to the right."
        KillWordBack "kill_word_back" ["ctrl-w" "alt-backspace"] "Cuts the word to the left."
        KillWordForward "kill_word_forward" ["alt-d" "alt-delete"] "Cuts the word to the right."
        KillLineStart "kill_line_start" ["ctrl-u"] "Cuts to the beginning of the line."
        KillLineEnd "kill_line_end" ["alt-e"] "Cuts to the end of the line."
        Yank "yank" ["ctrl-y"] "Puts back what was cut last."
        HistoryBack "history_back" ["ctrl-p"] "Brings back the line sent before."
        HistoryForward "history_forward" ["ctrl-n"] "Goes on to the line sent after."
    }
    Messages MessagesAction "What can be done with the selected message." {
        SelectUp "select_up" ["up" "k"] "Selects the message above."
        SelectDown "select_down" ["down" "j"] "Selects the message below; after the last: back to writing."
        SelectOldest "select_oldest" ["home" "g"] "Selects the oldest message that is loaded."
        SelectNewest "select_newest" ["end" "G"] "Selects the newest message."
        Reply "reply" ["r" "enter"] "Replies to the message."
        React "react" ["+" "a"] "Reacts to the message: an emoji, its :name:, or any short text."
        Edit "edit" ["e"] "Edits the message, if it is ours."
        Redact "redact" ["d" "delete"] "Removes the message for everybody, after a question."
        Details "details" ["w"] "Says how the message was encrypted, by whom, and why it cannot be read."
        Copy "copy" ["y"] "Copies the text to the clipboard of this terminal (OSC 52)."
        Save "save" ["s"] "Saves the file of the message; again: gives that up."
        Retry "retry" ["R"] "Tries a message again that could not be sent."
        Discard "discard" ["D"] "Takes back a message that was not sent."
        Compose "compose" ["i"] "Goes back to writing."
        MessageHelp "message_help" ["?"] "Shows all keys."
    }
    Rooms RoomsAction "What works in the room list." {
        RoomUp "room_up" ["up" "ctrl-p"] "Moves up in the list."
        RoomDown "room_down" ["down" "ctrl-n"] "Moves down in the list."
        OpenRoom "open_room" ["enter" "right"] "Opens the room, or answers the invite."
        FilterBack "filter_back" ["backspace" "ctrl-h"] "Deletes the last letter of the filter."
    }
    Overlay OverlayAction "What works in lists and questions over the screen." {
        OverlayUp "overlay_up" ["up" "ctrl-p"] "Moves up."
        OverlayDown "overlay_down" ["down" "ctrl-n"] "Moves down."
        Accept "accept" ["enter"] "Takes what is chosen or typed."
        OverlayBack "overlay_back" ["backspace" "ctrl-h"] "Deletes the last letter."
        OverlayClear "overlay_clear" ["ctrl-u"] "Deletes all that was typed."
    }
}

/// Lines that begin with a slash, with what they do.
pub(super) const SLASH_COMMANDS: &[(&str, &str)] = &[
    ("/me TEXT", "Says what you do."),
    ("/join ROOM", "Joins a room by its address (#name:server) or id."),
    ("/leave", "Leaves this room, after a question."),
    ("/invite USER", "Invites somebody (@name:server) to this room."),
    ("/dm USER", "Starts a direct chat."),
    ("/file PATH", "Sends a file; tab completes the path, the lines after it are a caption."),
    ("/verify USER", "Compares keys with somebody, or with another device of yours."),
    ("/create NAME", "Makes an encrypted room; the name may be missing."),
    ("//TEXT", "Writes a text that begins with a slash."),
];

impl Action {
    /// Its row of the table.
    pub fn entry(self) -> Option<&'static ActionEntry> {
        Self::TABLE.iter().find(|entry| entry.action == self)
    }

    /// The action with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|entry| entry.name == name).map(|entry| entry.action)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_action_has_its_own_name_and_a_whole_sentence() {
        let mut names = BTreeSet::new();
        for entry in Action::TABLE {
            assert!(names.insert(entry.name), "{} twice", entry.name);
            assert!(entry.doc.ends_with('.') && entry.doc.contains(' '), "{}", entry.name);
            assert_eq!(Action::by_name(entry.name), Some(entry.action));
        }
    }
}
