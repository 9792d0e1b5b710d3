//! How a run fails: what to say and which exit code.

use std::fmt::Write as _;

use crate::{cli::Exit, matrix::SafeText};

/// Why a run did not end well.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// A failure in words of ours.
    pub fn say(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, error: anyhow::Error::msg(message.into()) }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The chain of causes in one line, outermost first. A cause that its successor already says
    /// is left out, and what a terminal acts on is replaced: parts of it may come from a server.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if words.is_empty() {
                words = cause;
            } else if !words.contains(&cause) {
                write!(words, ": {cause}").unwrap_or_default();
            }
        }
        SafeText::block(&words).into_string()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Failed, error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_said_once_and_holds_no_escape() {
        let inner = anyhow::anyhow!("the server said \u{1b}]52;c;x\u{7}\u{202e}\u{9b}");
        let words = Failure::from(inner.context("cannot log in")).words();
        assert!(words.starts_with("cannot log in: the server said "), "{words}");
        assert!(!words.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']), "{words:?}");
    }
}
