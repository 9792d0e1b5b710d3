//! What `recover` and the end of a login ask of a person, and how they see it go on.

use std::{
    convert::Infallible,
    future::pending,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::sleep;

use super::{failure::Failure, secrets};
use crate::{
    cli::{Exit, FileOrStdin, Global},
    engine::SecretText,
};

const QUESTION: &str = "Recovery key or its passphrase";

/// What takes longer is worth a word.
const A_WHILE: Duration = Duration::from_secs(2);

/// The recovery key or its passphrase, from a file or as typed.
///
/// # Errors
/// When there is none.
pub(super) fn recovery_key(from: Option<&FileOrStdin>) -> Result<SecretText, Failure> {
    let secret = match from {
        Some(from) => secrets::read(from)?,
        None => secrets::ask(&format!("{QUESTION}: "))?.ok_or_else(|| {
            let words = "give the recovery key with --recovery-key-file, or run it in a terminal";
            Failure::say(Exit::Usage, words)
        })?,
    };
    if secret.expose().trim().is_empty() {
        return Err(Failure::say(Exit::Failed, "no recovery key was given; nothing was done"));
    }
    Ok(SecretText::from(secret))
}

/// At the end of a login, where somebody can be asked: the recovery key, unless they want to do it
/// later.
///
/// # Errors
/// When the terminal is gone.
pub(super) fn offer() -> Result<Option<SecretText>, Failure> {
    let asked = secrets::ask(&format!("{QUESTION} (Enter: later): "))?;
    let typed = asked.filter(|secret| !secret.expose().trim().is_empty());
    Ok(typed.map(SecretText::from))
}

/// Shows on standard error how something goes on; in one line, where that is a terminal.
#[derive(Debug)]
pub(super) struct Ticker {
    form: Form,
    /// Whether a line is waiting for its end.
    is_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneLine,
    Lines,
    Silent,
}

impl Ticker {
    /// Silent for programs.
    pub(super) fn new(global: &Global) -> Self {
        let form = match (global.json, io::stderr().is_terminal()) {
            (true, _) => Form::Silent,
            (false, true) => Form::OneLine,
            (false, false) => Form::Lines,
        };
        Self { form, is_open: false }
    }

    /// Shows words of ours if this is still waited for after a while. Never ready.
    pub(super) async fn show_late(&mut self, words: &str) -> Infallible {
        sleep(A_WHILE).await;
        self.show(Some(words));
        pending().await
    }

    /// Shows words of ours; `None` takes the line away, for what comes in its place. That nobody
    /// sees it is no failure.
    pub(super) fn show(&mut self, words: Option<&str>) {
        let mut error = io::stderr();
        match (self.form, words) {
            (Form::Silent, _) | (Form::Lines, None) => {}
            (Form::Lines, Some(words)) => writeln!(error, "{words}").unwrap_or_default(),
            (Form::OneLine, words) => {
                self.is_open = words.is_some();
                let words = words.unwrap_or_default();
                write!(error, "\r{words}\x1b[K").and_then(|()| error.flush()).unwrap_or_default();
            }
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if self.is_open {
            writeln!(io::stderr()).unwrap_or_default();
        }
    }
}
