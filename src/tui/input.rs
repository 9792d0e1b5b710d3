//! What the loop feeds into `update`: key presses and the like in our own words (crossterm's stay
//! in this file), updates of the engine, and time.

use std::fmt;

use crossterm::event::{self as term, KeyEventKind};

use crate::{
    engine::{Command, CommandError, Update},
    rooms::FileFacts,
};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A key was pressed or repeats.
    Key(KeyPress),
    /// Text was pasted as a whole.
    Paste(String),
    /// The terminal has this size now.
    Resize(Size),
    /// The terminal got or lost the user's attention.
    Attention(Attention),
    /// The engine tells something.
    Update(Update),
    /// The engine's queue was full; nothing came of this command.
    Refused(Command),
    /// A file that is to be sent was looked at.
    Inspected(Result<FileFacts, CommandError>),
    /// How a typed path may go on.
    Continuations {
        /// What was typed.
        typed: String,
        /// Names that begin as it ends.
        names: Vec<String>,
    },
    /// A frame is about to be drawn: lays out what will be visible.
    Prepare,
    /// What the state says was drawn: it is on the screen now.
    Drawn,
    /// A deadline that the state asked for has come.
    Tick,
    /// The process is asked to end (a signal).
    EndRequested,
}

/// Whether the user looks at this terminal, as far as it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attention {
    /// It has the focus, or does not tell.
    #[default]
    Here,
    /// It lost the focus.
    Elsewhere,
}

/// The terminal's size in cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A key with its modifiers. Two presses that a person would call the same are equal: letters
/// carry their case and no shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPress {
    /// Which key.
    pub code: KeyCode,
    /// What was held with it.
    pub modifiers: Modifiers,
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyCode {
    /// One that types this character.
    Char(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tabulator.
    Tab,
    /// Deletes backwards.
    Backspace,
    /// Deletes forwards.
    Delete,
    /// Insert.
    Insert,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// A function key by its number.
    F(u8),
}

/// Keys held with another: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modifiers(u8);

impl Modifiers {
    /// None held.
    pub const NONE: Self = Self(0);
    /// Control.
    pub const CTRL: Self = Self(1);
    /// Alt, or Option, or a leading escape.
    pub const ALT: Self = Self(2);
    /// Shift; only on keys that type no character.
    pub const SHIFT: Self = Self(4);

    /// Both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set less the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Why a text names no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key; keys look like `a`, `ctrl-k`, `alt-enter`, `shift-tab`, `f1`, `pageup`")]
pub struct KeyError(pub String);

/// Names of keys that type nothing (and of the space), as in the user's file.
const NAMES: &[(&str, KeyCode)] = &[
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("space", KeyCode::Char(' ')),
    ("minus", KeyCode::Char('-')),
];

impl KeyPress {
    /// A key alone.
    pub fn plain(code: KeyCode) -> Self {
        Self { code, modifiers: Modifiers::NONE }
    }

    /// The character it types into a text, if it does.
    pub fn typed(self) -> Option<char> {
        let KeyCode::Char(c) = self.code else { return None };
        (self.modifiers == Modifiers::NONE).then_some(c)
    }

    /// Reads `ctrl-k`, `alt-shift-tab`, `G`.
    ///
    /// # Errors
    /// When the text names no key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError(text.to_owned());
        let mut modifiers = Modifiers::NONE;
        let mut rest = text;
        while let Some((first, after)) = rest.split_once('-').filter(|(_, after)| !after.is_empty())
        {
            let held = match first {
                "ctrl" => Modifiers::CTRL,
                "alt" => Modifiers::ALT,
                "shift" => Modifiers::SHIFT,
                _ => return Err(wrong()),
            };
            modifiers = modifiers.with(held);
            rest = after;
        }
        let code = KeyCode::parse(rest).ok_or_else(wrong)?;
        Ok(Self { code, modifiers }.normal())
    }

    /// Takes what crossterm read; `None` for releases and keys we have no word for.
    pub fn from_terminal(key: &term::KeyEvent) -> Option<Self> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let mut modifiers = Modifiers::NONE;
        for (theirs, ours) in [
            (term::KeyModifiers::CONTROL, Modifiers::CTRL),
            (term::KeyModifiers::ALT, Modifiers::ALT),
            (term::KeyModifiers::SHIFT, Modifiers::SHIFT),
        ] {
            if key.modifiers.contains(theirs) {
                modifiers = modifiers.with(ours);
            }
        }
        if key.code == term::KeyCode::BackTab {
            modifiers = modifiers.with(Modifiers::SHIFT);
        }
        Some(Self { code: KeyCode::from_terminal(key.code)?, modifiers }.normal())
    }

    /// Makes equal what a person would call the same key.
    fn normal(self) -> Self {
        let KeyCode::Char(c) = self.code else { return self };
        let shifted = self.modifiers.contains(Modifiers::SHIFT);
        let held = self.modifiers.without(Modifiers::SHIFT);
        let c = if held.contains(Modifiers::CTRL) && !shifted {
            c.to_ascii_lowercase()
        } else if shifted {
            c.to_uppercase().next().unwrap_or(c)
        } else {
            c
        };
        Self { code: KeyCode::Char(c), modifiers: held }
    }
}

impl KeyCode {
    fn parse(text: &str) -> Option<Self> {
        if let Some((_, code)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Some(*code);
        }
        let mut chars = text.chars();
        match (chars.next(), chars.as_str()) {
            (Some(c), "") if !c.is_control() => Some(Self::Char(c)),
            (Some('f'), number) => {
                number.parse().ok().filter(|n| (1..=24).contains(n)).map(Self::F)
            }
            _ => None,
        }
    }

    fn from_terminal(code: term::KeyCode) -> Option<Self> {
        Some(match code {
            term::KeyCode::Char(c) => Self::Char(c),
            term::KeyCode::Enter => Self::Enter,
            term::KeyCode::Esc => Self::Esc,
            term::KeyCode::Tab | term::KeyCode::BackTab => Self::Tab,
            term::KeyCode::Backspace => Self::Backspace,
            term::KeyCode::Delete => Self::Delete,
            term::KeyCode::Insert => Self::Insert,
            term::KeyCode::Home => Self::Home,
            term::KeyCode::End => Self::End,
            term::KeyCode::PageUp => Self::PageUp,
            term::KeyCode::PageDown => Self::PageDown,
            term::KeyCode::Up => Self::Up,
            term::KeyCode::Down => Self::Down,
            term::KeyCode::Left => Self::Left,
            term::KeyCode::Right => Self::Right,
            term::KeyCode::F(n) => Self::F(n),
            term::KeyCode::Null
            | term::KeyCode::CapsLock
            | term::KeyCode::ScrollLock
            | term::KeyCode::NumLock
            | term::KeyCode::PrintScreen
            | term::KeyCode::Pause
            | term::KeyCode::Menu
            | term::KeyCode::KeypadBegin
            | term::KeyCode::Media(_)
            | term::KeyCode::Modifier(_) => return None,
        })
    }
}

impl fmt::Display for KeyPress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (held, name) in
            [(Modifiers::CTRL, "ctrl-"), (Modifiers::ALT, "alt-"), (Modifiers::SHIFT, "shift-")]
        {
            if self.modifiers.contains(held) {
                f.write_str(name)?;
            }
        }
        match (NAMES.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, KeyCode::F(n)) => write!(f, "f{n}"),
            (None, code) => write!(f, "{code:?}"),
        }
    }
}

impl Input {
    /// Takes what crossterm read; `None` for what does not concern us.
    pub fn from_terminal(event: term::Event) -> Option<Self> {
        match event {
            term::Event::Key(key) => KeyPress::from_terminal(&key).map(Self::Key),
            term::Event::Paste(text) => Some(Self::Paste(text)),
            term::Event::Resize(width, height) => Some(Self::Resize(Size { width, height })),
            term::Event::FocusGained => Some(Self::Attention(Attention::Here)),
            term::Event::FocusLost => Some(Self::Attention(Attention::Elsewhere)),
            term::Event::Mouse(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_they_are_read() {
        for text in
            ["a", "G", "ctrl-k", "alt-enter", "shift-tab", "f12", "pageup", "alt-minus", "space"]
        {
            assert_eq!(KeyPress::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(KeyPress::parse("shift-g"), KeyPress::parse("G"));
        assert_eq!(KeyPress::parse("-").unwrap().code, KeyCode::Char('-'));
    }

    #[test]
    fn what_is_no_key_is_named_in_the_error() {
        for text in ["", "ctrl", "hyper-x", "f0", "f99", "ctrl-", "\u{1b}"] {
            let error = KeyPress::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn shift_is_part_of_the_letter() {
        let key = term::KeyEvent::new(term::KeyCode::Char('g'), term::KeyModifiers::SHIFT);
        assert_eq!(KeyPress::from_terminal(&key), KeyPress::parse("G").ok());
        let key = term::KeyEvent::new(term::KeyCode::Char('K'), term::KeyModifiers::CONTROL);
        assert_eq!(KeyPress::from_terminal(&key), KeyPress::parse("ctrl-k").ok());
        let key = term::KeyEvent::new(term::KeyCode::BackTab, term::KeyModifiers::NONE);
        assert_eq!(KeyPress::from_terminal(&key), KeyPress::parse("shift-tab").ok());
    }
}
