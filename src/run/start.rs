//! From the command to whoever does it.

use std::io::{self, Write};

use super::failure::Failure;
use crate::cli::{self, Cli, Command};

/// Does what the command line asks.
///
/// # Errors
/// With the words for standard error and the exit code.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Some(Command::Completions { shell }) => print(|out| cli::completions(shell, out)),
        Some(Command::Man) => print(cli::manual),
        Some(Command::Send(arguments)) => {
            arguments.reaction().map_err(|wrong| Failure::say(cli::Exit::Usage, wrong))?;
            Err(Failure::say(cli::Exit::Failed, "not wired yet"))
        }
        _ => Err(Failure::say(cli::Exit::Failed, "not wired yet")),
    }
}

/// Writes to standard output; that nobody reads it is no failure.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
