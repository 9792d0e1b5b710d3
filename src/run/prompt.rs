//! Questions at the terminal, with an answer that is shown or hidden while it is typed.
//!
//! Nothing that was typed ahead is lost: the terminal stays in its line mode, only echo changes, and
//! no more is read than the line that is asked for. However a question ends, by an answer, Ctrl-C,
//! Ctrl-D, Ctrl-Z, Ctrl-\ or a signal that asks the process to end, the terminal is as it was.
//!
//! Once a question was asked, a signal that comes while none is asked and nobody waits for signals
//! is lost: what comes after questions begins by waiting for them.

use std::{
    fs::OpenOptions,
    io::{self, Stdin, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, kill_current_process_group},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag, low_level,
};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Longest answer, in bytes. The system's own limit for a line is about as much.
const LIMIT: usize = 4096;

/// How often a question looks whether it was interrupted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Ctrl-Z and Ctrl-\; each ends a hidden line, so that the terminal can be given back before we stop
/// or are ended.
const SUSPEND: u8 = 0x1a;
const QUIT: u8 = 0x1c;

/// Whether an answer is seen while it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    Shown,
    Hidden,
}

/// Asks at the terminal that standard input is.
///
/// # Errors
/// When it cannot be silenced or is gone, when the question was interrupted, and when the answer is
/// too long or no text.
pub(super) fn ask(question: &str, echo: Echo) -> io::Result<Secret<String>> {
    let interrupts = Interrupts::watch()?;
    loop {
        // Before the question: whoever answers at once must not read the answer.
        let mode = Mode::set(echo)?;
        write_out(question)?;
        let end = read_line(&interrupts);
        if echo == Echo::Hidden || !matches!(end, Ok(End::Line(_))) {
            write_out("\n")?;
        }
        drop(mode);
        match end? {
            End::Line(line) => return text(&line),
            End::Signal(signal) => {
                let _shown = Mode::set(Echo::Shown)?;
                kill_current_process_group(signal)?;
            }
        }
    }
}

/// How the reading of a line ends.
enum End {
    Line(Zeroizing<Vec<u8>>),
    /// A key that means this signal: we are to stop, and to ask again when we go on, or to end.
    Signal(Signal),
}

/// Reads to the end of a line and no further, byte by byte: what comes after it answers the next
/// question.
fn read_line(interrupts: &Interrupts) -> io::Result<End> {
    let input = io::stdin();
    // Room for all of it at once, so that no copy is left behind by a growing buffer.
    let mut line = Zeroizing::new(Vec::with_capacity(LIMIT));
    let mut is_long = false;
    loop {
        let mut byte = Zeroizing::new([0]);
        match next_byte(&input, interrupts, &mut byte)? {
            0 if line.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was typed"));
            }
            0 => break,
            _ => {}
        }
        match *byte {
            [b'\n' | b'\r'] => break,
            [SUSPEND] => return Ok(End::Signal(Signal::TSTP)),
            [QUIT] => return Ok(End::Signal(Signal::QUIT)),
            [_] if line.len() == LIMIT => is_long = true,
            [other] => line.push(other),
        }
    }
    if is_long {
        return Err(io::Error::other(format!("the answer is longer than {LIMIT} bytes")));
    }
    Ok(End::Line(line))
}

/// Waits for a byte; 0 means that there are no more.
fn next_byte(input: &Stdin, interrupts: &Interrupts, byte: &mut [u8; 1]) -> io::Result<usize> {
    loop {
        interrupts.check()?;
        let mut waiting = [PollFd::new(input, PollFlags::IN)];
        match poll(&mut waiting, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::read(input, &mut *byte) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            read => return Ok(read?),
        }
    }
}

fn text(line: &[u8]) -> io::Result<Secret<String>> {
    let text = std::str::from_utf8(line).map_err(|_not_text| {
        io::Error::new(io::ErrorKind::InvalidData, "what was typed is no text")
    })?;
    Ok(Secret::new(text.to_owned()))
}

/// Writes to the terminal, also where standard error goes elsewhere.
fn write_out(words: &str) -> io::Result<()> {
    if let Ok(mut terminal) = OpenOptions::new().write(true).open("/dev/tty") {
        return terminal.write_all(words.as_bytes());
    }
    let mut error = io::stderr();
    error.write_all(words.as_bytes())?;
    error.flush()
}

/// Keeps the terminal in a mode until dropped; modes nest.
#[derive(Debug)]
pub(super) struct Mode {
    before: Option<Termios>,
}

impl Mode {
    /// For a whole series of hidden answers, so that what is typed between two questions is not
    /// shown either. Where there is no terminal, there is nothing to do.
    pub(super) fn hidden() -> Self {
        Self::set(Echo::Hidden).unwrap_or(Self { before: None })
    }

    fn set(echo: Echo) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut during = before.clone();
        match echo {
            Echo::Shown => {
                during.local_modes.insert(LocalModes::ECHO);
                for (key, signal, line_end) in KEYS {
                    exchange(&mut during, key, (line_end, signal));
                }
            }
            Echo::Hidden => {
                during.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
                for (key, signal, line_end) in KEYS {
                    exchange(&mut during, key, (signal, line_end));
                }
            }
        }
        // At once: nothing typed ahead is thrown away.
        tcsetattr(io::stdin(), OptionalActions::Now, &during)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let done = tcsetattr(io::stdin(), OptionalActions::Now, before).is_ok();
            tracing::trace!(done, "terminal as before");
        }
    }
}

/// Keys that mean a signal, and what of a line's ends they are while nothing is shown.
const KEYS: [(u8, SpecialCodeIndex, SpecialCodeIndex); 2] = [
    (SUSPEND, SpecialCodeIndex::VSUSP, SpecialCodeIndex::VEOL),
    (QUIT, SpecialCodeIndex::VQUIT, SpecialCodeIndex::VEOL2),
];

/// Has a key mean something else, if it means the first.
fn exchange(mode: &mut Termios, key: u8, (from, to): (SpecialCodeIndex, SpecialCodeIndex)) {
    if mode.special_codes[from] == key {
        mode.special_codes[from] = 0;
        mode.special_codes[to] = key;
    }
}

/// Notes the signals that ask the process to end, until dropped.
struct Interrupts {
    came: Arc<AtomicBool>,
    ids: Vec<SigId>,
}

impl Interrupts {
    fn watch() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let ids = [SIGINT, SIGTERM, SIGHUP].map(|signal| flag::register(signal, came.clone()));
        let ids = ids.into_iter().collect::<io::Result<_>>()?;
        Ok(Self { came, ids })
    }

    fn check(&self) -> io::Result<()> {
        if self.came.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            let was_watched = low_level::unregister(id);
            tracing::trace!(was_watched, "signals as before");
        }
    }
}
