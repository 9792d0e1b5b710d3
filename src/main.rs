//! The program: parse, run, print the error chain, exit code.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use grotto::{
    cli::{Cli, Exit},
    run,
};

fn main() -> ExitCode {
    let exit = match run::run(Cli::parse()) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            // Standard error may be closed; the exit code still says that something failed.
            writeln!(std::io::stderr(), "grotto: {}", failure.words()).unwrap_or_default();
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}
