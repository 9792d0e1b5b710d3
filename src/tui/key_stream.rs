//! What the terminal sends, as inputs: crossterm's stream of events, with one reading mended.
//!
//! Alt with an arrow is, on many terminals, an escape before the arrow's own sequence, and so are
//! Esc and an arrow that a slow line brings together. crossterm takes the two escapes for one key
//! and the rest of the sequence for letters, which would be typed into the message.

use std::{collections::VecDeque, future::poll_fn, io, task::Poll};

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyModifiers};
use futures_util::StreamExt;

use super::input::Input;

/// The longest sequence that is put together again, in events after the escape: `[24;8~`.
const LONGEST: usize = 6;

/// Keys, pastes and the like.
#[derive(Debug)]
pub(super) struct KeyStream {
    events: EventStream,
    /// Read, and not taken yet.
    read: VecDeque<Event>,
}

impl KeyStream {
    /// Reads the terminal of this process; only one may.
    pub(super) fn new() -> Self {
        Self { events: EventStream::new(), read: VecDeque::new() }
    }

    /// The next input; `None` when the terminal is gone. Cancel-safe: an event not taken stays.
    pub(super) async fn next(&mut self) -> io::Result<Option<Input>> {
        loop {
            if self.read.is_empty() {
                let Some(event) = self.events.next().await else { return Ok(None) };
                self.read.push_back(event?);
            }
            if let Some(input) = self.take().await? {
                return Ok(Some(input));
            }
        }
    }

    /// The next input that is there without waiting.
    pub(super) async fn ready(&mut self) -> io::Result<Option<Input>> {
        while !self.read.is_empty() || self.fetch().await? {
            if let Some(input) = self.take().await? {
                return Ok(Some(input));
            }
        }
        Ok(None)
    }

    /// Takes an event that was read. For an escape, what came with it is read too.
    async fn take(&mut self) -> io::Result<Option<Input>> {
        while self.read.front().is_some_and(is_escape)
            && self.read.len() <= LONGEST
            && self.fetch().await?
        {}
        mend(&mut self.read);
        Ok(self.read.pop_front().and_then(Input::from_terminal))
    }

    /// Reads an event if there is one. Never waits.
    ///
    /// The stream keeps the waker of the poll that found it empty, so it must be polled with the
    /// loop's own; a poll with a waker that wakes nobody would be the last key ever seen.
    async fn fetch(&mut self) -> io::Result<bool> {
        match poll_fn(|cx| Poll::Ready(self.events.poll_next_unpin(cx))).await {
            Poll::Ready(Some(event)) => {
                self.read.push_back(event?);
                Ok(true)
            }
            Poll::Ready(None) | Poll::Pending => Ok(false),
        }
    }
}

fn is_escape(event: &Event) -> bool {
    matches!(event, Event::Key(key) if key.code == KeyCode::Esc && key.modifiers.is_empty())
}

/// The character that a key types, if it does.
fn typed(event: &Event) -> Option<char> {
    let Event::Key(KeyEvent { code: KeyCode::Char(c), modifiers, .. }) = event else { return None };
    KeyModifiers::SHIFT.contains(*modifiers).then_some(*c)
}

/// Puts an escape and the letters of a sequence together again: to the sequence's key with Alt.
fn mend(read: &mut VecDeque<Event>) {
    if !read.front().is_some_and(is_escape) {
        return;
    }
    let rest: String = read.iter().skip(1).take(LONGEST).map_while(typed).collect();
    let is_last = |c: char| c.is_ascii_alphabetic() || c == '~';
    let Some(end) = rest.char_indices().skip(1).find(|(_, c)| is_last(*c)).map(|(at, _)| at) else {
        return;
    };
    if let Some(key) = rest.get(..=end).and_then(key_of) {
        read.drain(..=end.saturating_add(1).min(read.len().saturating_sub(1)));
        read.push_front(Event::Key(KeyEvent::new(key, KeyModifiers::ALT)));
    }
}

/// The key of a sequence (without its escape), as xterm and its kin send it. What was held with it
/// is left out: it is Alt in any case.
fn key_of(sequence: &str) -> Option<KeyCode> {
    let digits = |c: char| c.is_ascii_digit() || c == ';';
    let (body, last) = sequence.split_at_checked(sequence.len().checked_sub(1)?)?;
    let numbers = body.strip_prefix('[').filter(|numbers| numbers.chars().all(digits));
    let number = numbers?.split(';').next().unwrap_or_default();
    Some(match (last, number) {
        ("A", _) => KeyCode::Up,
        ("B", _) => KeyCode::Down,
        ("C", _) => KeyCode::Right,
        ("D", _) => KeyCode::Left,
        ("H", _) | ("~", "1" | "7") => KeyCode::Home,
        ("F", _) | ("~", "4" | "8") => KeyCode::End,
        ("Z", _) => KeyCode::BackTab,
        ("~", "2") => KeyCode::Insert,
        ("~", "3") => KeyCode::Delete,
        ("~", "5") => KeyCode::PageUp,
        ("~", "6") => KeyCode::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::input::KeyPress;

    fn key(code: KeyCode) -> Event {
        Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// As crossterm reads an escape before this sequence.
    fn read(sequence: &str) -> VecDeque<Event> {
        let letters = sequence.chars().map(|c| key(KeyCode::Char(c)));
        std::iter::once(key(KeyCode::Esc)).chain(letters).collect()
    }

    fn keys_of(mut events: VecDeque<Event>) -> String {
        let mut keys = Vec::new();
        while !events.is_empty() {
            mend(&mut events);
            if let Some(Input::Key(key)) = events.pop_front().and_then(Input::from_terminal) {
                keys.push(key.to_string());
            }
        }
        keys.join(" ")
    }

    #[test]
    fn an_escape_before_an_arrow_is_alt_and_types_nothing() {
        let cases = [
            ("[A", "alt-up"),
            ("[D", "alt-left"),
            ("[1;2B", "alt-down"),
            ("[6~", "alt-pagedown"),
            ("[Z", "alt-shift-tab"),
            ("[Ax", "alt-up x"),
        ];
        for (sequence, expected) in cases {
            assert_eq!(keys_of(read(sequence)), expected, "{sequence}");
        }
    }

    #[test]
    fn what_is_no_sequence_stays_what_was_typed() {
        for sequence in ["", "A", "[", "[[", "[;", "[9~", "hello", "[q", "[12345678A", "日本"] {
            let typed = sequence.chars().map(|c| KeyPress::plain(crate::tui::KeyCode::Char(c)));
            let expected: Vec<String> =
                std::iter::once("esc".to_owned()).chain(typed.map(|key| key.to_string())).collect();
            assert_eq!(keys_of(read(sequence)), expected.join(" "), "{sequence}");
        }
        let mut letters = read("[A");
        letters.pop_front();
        assert_eq!(keys_of(letters), "[ A");
    }
}
