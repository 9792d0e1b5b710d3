//! Passwords and passphrases: from a file, from standard input, or asked for without echo. Never
//! from arguments or variables, which other users can read.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    path::Path,
};

use zeroize::Zeroizing;

use super::failure::Failure;
use crate::{
    cli::{Exit, FileOrStdin},
    secret::Secret,
};

/// Longer secrets are a mistake: somebody gave the wrong file.
const LIMIT: u64 = 4096;

/// The first line of a file or of standard input.
///
/// # Errors
/// When it cannot be read, is empty, too long or no text.
pub(super) fn read(from: &FileOrStdin) -> Result<Secret<String>, Failure> {
    match from {
        FileOrStdin::Stdin => first_line(io::stdin().lock(), &from.to_string()),
        FileOrStdin::File(path) => read_file(path),
    }
}

/// The first line of a file.
///
/// # Errors
/// When it cannot be read, is empty, too long or no text.
pub(super) fn read_file(path: &Path) -> Result<Secret<String>, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context(format!("cannot open {name}")))
    })?;
    first_line(file, &name)
}

fn first_line(from: impl Read, name: &str) -> Result<Secret<String>, Failure> {
    // Room for all of it at once, so that no copy is left behind by a growing buffer.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4097));
    from.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context(format!("cannot read {name}")))
    })?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let wrong = |what: &str| Failure::say(Exit::Failed, format!("the first line of {name} {what}"));
    if line.len() > 4096 {
        return Err(wrong("is longer than 4096 bytes; is it the right file?"));
    }
    match std::str::from_utf8(line) {
        Ok("") => Err(wrong("is empty")),
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_not_text) => Err(wrong("is not text; is it the right file?")),
    }
}

/// Whether somebody is there to be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks without echo; `None` when standard input is no terminal.
///
/// # Errors
/// When the terminal is gone.
pub(super) fn ask(prompt: &str) -> Result<Option<Secret<String>>, Failure> {
    if !can_ask() {
        return Ok(None);
    }
    // Before the question: whoever answers at once must not read the answer.
    let silence = Silence::begin();
    let asked = rpassword::prompt_password(prompt);
    drop(silence);
    Ok(Some(Secret::new(asked?)))
}

/// Keeps the terminal from showing what is typed, until dropped.
struct Silence {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Silence {
    #[cfg(unix)]
    fn begin() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // Where it fails, the question itself does it.
            let done = tcsetattr(io::stdin(), OptionalActions::Now, &silent).is_ok();
            tracing::trace!(done, "terminal silenced");
        }
        Self { before }
    }

    #[cfg(not(unix))]
    fn begin() -> Self {
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Silence {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(before) = &self.before {
            let done = tcsetattr(io::stdin(), OptionalActions::Now, before).is_ok();
            tracing::trace!(done, "terminal as before");
        }
    }
}

/// Asks twice for a new passphrase, until both are the same; `None` when standard input is no
/// terminal.
///
/// # Errors
/// When the terminal is gone.
pub(super) fn ask_new(prompt: &str) -> Result<Option<Secret<String>>, Failure> {
    loop {
        let Some(first) = ask(prompt)? else { return Ok(None) };
        if first.expose().is_empty() {
            return Ok(Some(first));
        }
        let Some(second) = ask("The same again: ")? else { return Ok(None) };
        if first == second {
            return Ok(Some(first));
        }
        warn("these are not the same; once more");
    }
}

/// Asks for a line, with echo; `None` when standard input is no terminal.
///
/// # Errors
/// When the terminal is gone.
pub(super) fn ask_line(prompt: &str) -> Result<Option<String>, Failure> {
    if !can_ask() {
        return Ok(None);
    }
    let mut error = io::stderr();
    write!(error, "{prompt}")?;
    error.flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(Some(line.trim().to_owned()))
}

/// Says more than a line, as it is, on standard error; that it is closed is no failure.
pub(super) fn say(words: &str) {
    writeln!(io::stderr(), "{words}").unwrap_or_default();
}

/// Says something on standard error; that it is closed is no failure.
pub(super) fn warn(words: &str) {
    writeln!(io::stderr(), "grotto: {words}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<String> {
        first_line(text, "it").ok().map(|secret| secret.expose().clone())
    }

    #[test]
    fn a_secret_is_the_first_line_without_its_end() {
        assert_eq!(read(b"hunter2\r\nrest").as_deref(), Some("hunter2"));
        assert_eq!(read(b" spaces stay ").as_deref(), Some(" spaces stay "));
        assert_eq!(read(b"\nsecond"), None);
        assert_eq!(read(&[b'x'; 5000]), None);
        assert_eq!(read(b"\xff\xfe"), None);
    }
}
