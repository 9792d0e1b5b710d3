//! Passwords and passphrases: from a file, from standard input, or asked for without echo. Never
//! from arguments or variables, which other users can read.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    path::Path,
};

use zeroize::Zeroizing;

use super::{
    failure::Failure,
    prompt::{self, Echo},
};
use crate::{
    cli::{Exit, FileOrStdin},
    secret::Secret,
};

/// Longest secret, in bytes; more is a mistake: somebody gave the wrong file.
const LIMIT: usize = 4096;

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
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
    from.take(LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(|error| {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context(format!("cannot read {name}")))
    })?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let wrong = |what: &str| Failure::say(Exit::Failed, format!("the first line of {name} {what}"));
    if LIMIT < line.len() {
        return Err(wrong(&format!("is longer than {LIMIT} bytes; is it the right file?")));
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
/// When the terminal is gone or the question was interrupted.
pub(super) fn ask(question: &str) -> Result<Option<Secret<String>>, Failure> {
    if !can_ask() {
        return Ok(None);
    }
    Ok(Some(prompt::ask(question, Echo::Hidden)?))
}

/// Keeps what is typed from being seen until dropped, for a series of questions: who types ahead of
/// the next one must not read it either.
pub(super) fn hidden() -> prompt::Mode {
    prompt::Mode::hidden()
}

/// Asks twice for a new passphrase, until both are the same; `None` when standard input is no
/// terminal.
///
/// # Errors
/// When the terminal is gone or the question was interrupted.
pub(super) fn ask_new(question: &str) -> Result<Option<Secret<String>>, Failure> {
    let _hidden = hidden();
    loop {
        let Some(first) = ask(question)? else { return Ok(None) };
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
/// When the terminal is gone or the question was interrupted.
pub(super) fn ask_line(question: &str) -> Result<Option<String>, Failure> {
    if !can_ask() {
        return Ok(None);
    }
    let line = prompt::ask(question, Echo::Shown)?;
    Ok(Some(line.expose().trim().to_owned()))
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
