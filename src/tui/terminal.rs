//! The terminal: taken when the screen begins and given back however it ends (return, error,
//! panic, suspend). A frame leaves in one write, between the marks of synchronized output.
//!
//! Everything the program sends to the terminal is sent from this file.

use std::{
    io::{self, IsTerminal, Write},
    panic, thread,
};

use crossterm::{
    cursor, event as keys, execute, queue,
    terminal::{self, BeginSynchronizedUpdate, EndSynchronizedUpdate},
};
use ratatui::{
    backend::{Backend, CrosstermBackend},
    buffer::Buffer,
    layout::{Position, Rect},
};

use super::{input::Size, options::TuiError};

/// Foreground, background, underline color, attributes: as the backend ends every frame.
const ALL_RESETS: &[u8] = b"\x1b[39m\x1b[49m\x1b[59m\x1b[0m";
/// How keys are to be reported.
const KEY_REPORTS: keys::KeyboardEnhancementFlags =
    keys::KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES;
/// All of these.
const RESET: &[u8] = b"\x1b[0m";

/// The taken terminal; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Screen {
    /// What the terminal shows, as far as we know; `None` when we do not.
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Shown {
    cells: Buffer,
    cursor: Option<Position>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When there is none, or it refuses.
    pub(super) fn take() -> Result<Self, TuiError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(TuiError::NotATerminal);
        }
        give_back_on_panic();
        enter_or_leave()?;
        Ok(Self { shown: None })
    }

    /// Draws one frame: only what changed is sent, in one write; nothing when nothing did. `view`
    /// fills the cells and says where the cursor is.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(
        &mut self,
        size: Size,
        view: impl FnOnce(&mut Buffer) -> Option<Position>,
    ) -> io::Result<()> {
        let mut cells = Buffer::empty(Rect::new(0, 0, size.width, size.height));
        let cursor = view(&mut cells);
        let next = Shown { cells, cursor };
        let bytes = frame(self.shown.as_ref(), &next)?;
        self.shown = Some(next);
        if bytes.is_empty() { Ok(()) } else { write_out(&bytes) }
    }

    /// Forgets what is on the screen, so that the next frame sends everything.
    pub(super) fn forget(&mut self) {
        self.shown = None;
    }

    /// The size now.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn size() -> io::Result<Size> {
        let (width, height) = terminal::size()?;
        Ok(Size { width, height })
    }

    /// Puts `text` on the clipboard of the terminal that shows us, also over ssh (OSC 52). The
    /// text travels as base64, so nothing in it can reach the terminal as anything else.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn copy(text: &str) -> io::Result<()> {
        use base64::Engine as _;
        let coded = base64::engine::general_purpose::STANDARD.encode(text);
        write_out(format!("\x1b]52;c;{coded}\x1b\\").as_bytes())
    }

    /// Rings the bell: over ssh and in tmux the one sign that reaches a person elsewhere.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn ring() -> io::Result<()> {
        write_out(b"\x07")
    }

    /// Gives the terminal back for a while.
    pub(super) fn release() {
        leave();
    }

    /// Takes it again after [`Screen::release`].
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(super) fn retake(&mut self) -> io::Result<()> {
        enter_or_leave()?;
        self.forget();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // In a panic the hook was here before us. Leaving twice would take from the shell what is
        // the shell's: its key reports, the place of its cursor.
        if !thread::panicking() {
            leave();
            drop(panic::take_hook());
        }
    }
}

/// The bytes that turn what is shown into `next`; none when it is the same.
fn frame(shown: Option<&Shown>, next: &Shown) -> io::Result<Vec<u8>> {
    let known = shown.filter(|shown| shown.cells.area == next.cells.area);
    let blank = Buffer::empty(next.cells.area);
    let before = known.map_or(&blank, |shown| &shown.cells);
    let changed = before.diff(&next.cells);
    let is_same_cursor = known.is_some_and(|shown| shown.cursor == next.cursor);
    let mut bytes = Vec::new();
    if changed.is_empty() && is_same_cursor {
        return Ok(bytes);
    }
    queue!(bytes, BeginSynchronizedUpdate)?;
    // The whole frame is one write, so the cursor need not be hidden while it is drawn.
    if next.cursor.is_none() && shown.is_none_or(|shown| shown.cursor.is_some()) {
        queue!(bytes, cursor::Hide)?;
    }
    if known.is_none() {
        queue!(bytes, terminal::Clear(terminal::ClearType::All))?;
    }
    if !changed.is_empty() {
        CrosstermBackend::new(&mut bytes).draw(changed.into_iter())?;
        // The backend ends with single resets and then the one that holds all of them.
        if bytes.ends_with(ALL_RESETS) {
            bytes.truncate(bytes.len().saturating_sub(ALL_RESETS.len()));
            bytes.extend_from_slice(RESET);
        }
    }
    if let Some(at) = next.cursor {
        queue!(bytes, cursor::MoveTo(at.x, at.y))?;
        if shown.is_none_or(|shown| shown.cursor.is_none()) {
            queue!(bytes, cursor::Show)?;
        }
    }
    queue!(bytes, EndSynchronizedUpdate)?;
    Ok(bytes)
}

/// Takes the terminal, or leaves it as it was.
fn enter_or_leave() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    enter().inspect_err(|_| leave())
}

/// Tells the terminal what we need. It is asked nothing: an answer would be waited for, as long as
/// the line is slow, and forever by a terminal that does not know the question.
fn enter() -> io::Result<()> {
    let mut bytes = Vec::new();
    queue!(
        bytes,
        terminal::EnterAlternateScreen,
        keys::EnableBracketedPaste,
        keys::EnableFocusChange,
        // An emoji that this terminal draws wider than we reckon must not spill into the next row.
        terminal::DisableLineWrap,
        cursor::Hide,
        // So that shift-enter is not enter, and escape comes at once; who does not know it, skips it.
        keys::PushKeyboardEnhancementFlags(KEY_REPORTS)
    )?;
    write_out(&bytes)
}

/// Undoes [`enter`]. Errors have nowhere to go: the terminal is what failed.
fn leave() {
    drop(execute!(
        io::stdout().lock(),
        EndSynchronizedUpdate,
        keys::PopKeyboardEnhancementFlags,
        keys::DisableFocusChange,
        keys::DisableBracketedPaste,
        terminal::EnableLineWrap,
        cursor::Show,
        terminal::LeaveAlternateScreen
    ));
    drop(terminal::disable_raw_mode());
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A panic on this thread gives the terminal back before its message is printed. One on another
/// thread must not print into our screen: only its place is logged, and the loop ends because the
/// other side of its channel is gone.
fn give_back_on_panic() {
    let before = panic::take_hook();
    let screen_thread = thread::current().id();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if thread::current().id() == screen_thread {
            leave();
            // Where, never the words: they may hold anything.
            let words = format!("grotto: internal error at {place}; please report it\n");
            drop(write_out(words.as_bytes()));
            before(info);
        } else {
            tracing::error!(place, "a thread panicked");
        }
    }));
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn shown(text: &str, cursor: Option<Position>) -> Shown {
        let mut cells = Buffer::empty(Rect::new(0, 0, 20, 2));
        cells.set_string(0, 0, text, Style::default());
        Shown { cells, cursor }
    }

    #[test]
    fn nothing_is_sent_when_nothing_changed() {
        let at = Some(Position::new(3, 1));
        assert_eq!(frame(Some(&shown("a", at)), &shown("a", at)).unwrap(), b"");
    }

    #[test]
    fn a_frame_is_one_synchronized_update_of_what_changed() {
        let before = shown("hello", Some(Position::new(5, 0)));
        let bytes = frame(Some(&before), &shown("hello!", Some(Position::new(6, 0)))).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("\x1b[?2026h") && text.ends_with("\x1b[?2026l"), "{text:?}");
        assert!(text.contains('!') && !text.contains("hello"), "{text:?}");
        assert!(text.len() < 40, "{} bytes", text.len());
    }

    #[test]
    fn a_screen_of_unknown_content_is_cleared_first() {
        let text = String::from_utf8(frame(None, &shown("a", None)).unwrap()).unwrap();
        assert!(text.contains("\x1b[2J"), "{text:?}");
    }
}
