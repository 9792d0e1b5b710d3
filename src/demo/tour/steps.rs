//! What the guide shows, in order, and the words for it.
//!
//! `{name}` in a text stands for the first key of the action with this name, `{name:2}` for its
//! third. Screens of 80 columns leave 40 for a message: short sentences.

use super::Feat;
use crate::tui::{Action, Keymap};

/// One thing to do.
#[derive(Debug)]
pub(super) struct Step {
    /// What ends it.
    pub(super) feat: Feat,
    /// What the user is to do.
    pub(super) task: &'static str,
    /// The same, shorter, for somebody who did something else.
    pub(super) hint: &'static str,
    /// What is said when it is done.
    pub(super) praise: &'static str,
}

/// What is said first.
pub(super) const WELCOME: &[&str] = &[
    "Hello! I am your guide. You, Robin and I have accounts on a small Matrix server inside this \
     program. Every message is end-to-end encrypted, and all of it is gone when you quit.",
    "I will show you around; it takes a few minutes. Write skip to pass over something, {quit} \
     quits at any time.",
];

/// What is said last.
pub(super) const FAREWELL: &str = "\
That was the tour 🎉 Stay as long as you like; {quit} quits, and nothing is left behind.\n\
To talk to people for real:\n\
grotto login @you:example.org\n\
To serve a team from one folder:\n\
grotto serve --data chat";

/// All steps.
pub(super) const STEPS: &[Step] = &[
    Step {
        feat: Feat::Wrote,
        task: "Write me something, anything, and press {submit}.",
        hint: "Write me something.",
        praise: "It came encrypted: only the people of this room can read it.",
    },
    Step {
        feat: Feat::Replied,
        task: "Answer one certain message: {next_focus} goes to the messages, {select_up} and \
               {select_down} choose one, {reply} replies.",
        hint: "To reply: {next_focus}, {select_up} or {select_down} to a message, then {reply}.",
        praise: "Now I know what you mean.",
    },
    Step {
        feat: Feat::Reacted,
        task: "Sometimes a sign is enough. Choose a message the same way, press {react}, type \
               :tada: and press {accept}.",
        hint: "To react: {next_focus}, choose a message, {react}, :tada:, {accept}.",
        praise: "Thank you!",
    },
    Step {
        feat: Feat::Edited,
        task: "Typos happen. In an empty line ({compose} or {back} leads back to it), {cursor_up} \
               brings back what you wrote last. Change it and press {submit}.",
        hint: "To edit: {cursor_up} in an empty line, change something, {submit}.",
        praise: "Much better. Everybody sees the new words.",
    },
    Step {
        feat: Feat::WroteLines,
        task: "{new_line} or {new_line:2} begins a new line without sending. Write me two lines.",
        hint: "To write two lines: {new_line} or {new_line:2} between them.",
        praise: "A small poem.",
    },
    Step {
        feat: Feat::Acted,
        task: "A line that begins with a slash is a command. Try: /me waves",
        hint: "Write: /me waves",
        praise: "I wave back 👋",
    },
    Step {
        feat: Feat::Removed,
        task: "Take something back: {next_focus}, choose a message of yours, {redact}, \
               and y for yes. It is removed for everybody.",
        hint: "To remove: {next_focus}, choose a message of yours, {redact}, y.",
        praise: "Gone. I have forgotten it already.",
    },
    Step {
        feat: Feat::SentFile,
        task: "Files too: /file and a path sends one, {next_focus} completes the path. Send me \
               any, it does not leave this program: /file /etc/hosts",
        hint: "To send a file: /file /etc/hosts, or any other.",
        praise: "It is here, under a key of its own. ({save} saves the file of a selected \
                 message, once its hash is right.)",
    },
    Step {
        feat: Feat::LookedInside,
        task: "How was a message encrypted, and whose device made its key? {next_focus}, choose a \
               message of mine, {details}; {back} closes. Write me the first three letters of \
               the device that it was made by.",
        hint: "{next_focus}, a message of mine, {details}: what stands after \"made by  device\"? \
               Three letters will do.",
        praise: "That is the one I sit at.",
    },
    Step {
        feat: Feat::Verified,
        task: "And am I who I say? Write /verify @guide:demo and choose \"Compare emoji\". I \
               write here what I see (people do that by voice): if it is the same, y says so.",
        hint: "To verify me: /verify @guide:demo, y to compare, y if it is the same; {verify} \
               brings it back to the screen.",
        praise: "Now my name is bound to my keys: should a server ever swap them, you are told \
                 before anything is sent.",
    },
    Step {
        feat: Feat::WroteToAll,
        task: "Robin and I were talking in Garden. {next_unread} goes to the next unread room, \
               {switch_room} to any room by name. Say hello there; I am coming with you.",
        hint: "Go to Garden with {next_unread} or {switch_room} and say hello.",
        praise: "Robin, look who is here!",
    },
    Step {
        feat: Feat::ScrolledBack,
        task: "The garden gate opens with a word. Robin wrote it above: {page_up} scrolls back, \
               {to_newest} comes down again. Write the word here.",
        hint: "Scroll up with {page_up}: one of Robin's first messages has the word of the gate.",
        praise: "The gate is open.",
    },
    Step {
        feat: Feat::CalledRobin,
        task: "Ask Robin something, by name. And if you wonder who reads along: only the people \
               of a room have its keys.",
        hint: "Write something with Robin's name in Garden.",
        praise: "Robin types slowly; give it a second.",
    },
    Step {
        feat: Feat::MadeRoom,
        task: "Make a room of your own: {new_room} and a name. It is encrypted from the start. \
               Then {invite_user} and @guide:demo invites me.",
        hint: "{new_room} makes a room, {invite_user} invites: @guide:demo",
        praise: "Nice place! I can read here from now on.",
    },
    Step {
        feat: Feat::LookedUp,
        task: "{help} shows every key ({page_down} scrolls, {back} closes). Which key copies a \
               message's text? Write me the answer.",
        hint: "Look into {help}, at the keys for the selected message: which one copies?",
        praise: "Right. You can look up the rest yourself.",
    },
    Step {
        feat: Feat::KeptKey,
        task: "Last: with a recovery key your messages outlive this device. {set_up} makes one \
               and shows it until you say that you have it. Never send it to anybody, not even \
               to me. Write: done",
        hint: "{set_up} makes a recovery key; take it down or pretend to, and write: done",
        praise: "On a new device, that key brings your messages back.",
    },
];

/// A text with the keys that the user really has.
pub(super) fn with_keys(text: &str, keymap: &Keymap) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        result.push_str(before);
        result.push_str(&key(name, keymap).unwrap_or_else(|| format!("({name})")));
        rest = after;
    }
    result.push_str(rest);
    result
}

/// The key that a placeholder stands for.
fn key(name: &str, keymap: &Keymap) -> Option<String> {
    let (name, which) = name.split_once(':').unwrap_or((name, "0"));
    let action = Action::by_name(name)?;
    keymap.keys_of(action).into_iter().nth(which.parse().ok()?)
}
