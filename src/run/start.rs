//! From the command to whoever does it.

use std::io::{self, Write};

use super::{
    commands, context::Context, demo, failure::Failure, gateway, login, logout, passphrase,
    process, screen, serve, verify,
};
use crate::{
    cli::{self, Cli, Command, Exit, Global, PassphraseCommand},
    headless::{Format, Output},
};

/// Does what the command line asks.
///
/// # Errors
/// With the words for standard error and the exit code.
pub fn run(cli: Cli) -> Result<(), Failure> {
    process::harden();
    let global = cli.global;
    match cli.command {
        None => screen::run(&Context::load(global)?),
        Some(Command::Completions { shell }) => print(|out| cli::completions(shell, out)),
        Some(Command::Man) => print(cli::manual),
        Some(Command::Gateway(arguments)) => {
            gateway::run(&arguments, &global, &mut output(&global))
        }
        Some(Command::Serve(arguments)) => serve::run(&arguments, &global, &mut output(&global)),
        Some(Command::Demo) => demo::run(),
        Some(Command::Verify(arguments)) => verify::run(&Context::load(global)?, arguments),
        Some(Command::Login(arguments)) => login::run(&Context::load(global)?, &arguments),
        Some(Command::Logout(arguments)) => logout::run(&Context::load(global)?, &arguments),
        Some(Command::Passphrase(what)) => change_passphrase(&Context::load(global)?, &what),
        Some(Command::Send(arguments)) => {
            arguments.reaction().map_err(|wrong| Failure::say(Exit::Usage, wrong))?;
            commands::run(&Context::load(global)?, Command::Send(arguments))
        }
        Some(
            command @ (Command::Rooms
            | Command::Create(_)
            | Command::Join(_)
            | Command::Leave(_)
            | Command::Invite(_)
            | Command::Download(_)
            | Command::Tail(_)
            | Command::History(_)
            | Command::Devices(_)
            | Command::Policy(_)
            | Command::Trust(_)
            | Command::ResetIdentity(_)
            | Command::Recover(_)
            | Command::SetupRecovery(_)
            | Command::Keys(_)),
        ) => commands::run(&Context::load(global)?, command),
    }
}

fn change_passphrase(context: &Context, what: &PassphraseCommand) -> Result<(), Failure> {
    match what {
        PassphraseCommand::Change(new) => passphrase::change(context, new),
        PassphraseCommand::Set(new) => passphrase::set(context, new),
        PassphraseCommand::Remove => passphrase::remove(context),
    }
}

/// Results on standard output, in the form that was asked for.
pub(super) fn output(global: &Global) -> Output {
    let format = if global.json { Format::Json } else { Format::People };
    Output::new(Box::new(io::stdout()), format)
}

/// Writes to standard output; that nobody reads it is no failure.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
