//! The program and its global options.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Parser};

use super::{command::Command, values};

/// A chat client for Matrix in the terminal.
#[derive(Debug, Parser)]
#[command(
    name = "grotto",
    version,
    about = "A terminal chat client for Matrix, end-to-end encrypted by default",
    long_about = "A terminal chat client for Matrix, end-to-end encrypted by default, over one \
                  WebSocket.\n\nWithout a command grotto opens the terminal interface. Everything \
                  that makes sense without a screen has a command: results go to standard output, \
                  everything else to standard error. With --json each result is one JSON object \
                  on one line; its fields are never renamed, only added to. Commands also work \
                  while the terminal interface is open: they hand their work to it.",
    after_long_help = AFTER,
    max_term_width = 100,
    propagate_version = true,
    subcommand_value_name = "COMMAND"
)]
pub struct Cli {
    /// Options that every command has.
    #[command(flatten)]
    pub global: Global,
    /// What to do; nothing means the terminal interface.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options that every command has.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Account to use: a name from the configuration, or a user id
    ///
    /// Not needed while there is one account, or when the configuration names a default.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "GROTTO_ACCOUNT",
        hide_env_values = true
    )]
    pub account: Option<String>,

    /// Configuration file [default: config.toml in the platform's folder]
    #[arg(long, global = true, value_name = "FILE", env = "GROTTO_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Folder of accounts and logs [default: the platform's folder]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "GROTTO_DATA_DIR",
        hide_env_values = true
    )]
    pub data_dir: Option<PathBuf>,

    /// File whose first line is the store's passphrase
    ///
    /// Without it the passphrase is asked for, if there is one and standard input is a terminal.
    /// Passphrases are never taken from an argument or a variable: other users can read those.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "GROTTO_PASSPHRASE_FILE",
        hide_env_values = true
    )]
    pub passphrase_file: Option<PathBuf>,

    /// How long to wait for the homeserver: seconds, or for instance 500ms, 2m
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        default_value = "30",
        value_parser = values::duration
    )]
    pub timeout: Duration,

    /// Print results as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,

    /// Say more in the log; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

const AFTER: &str = "\
Exit codes:
  0  done (for send: the server has the event)
  1  failed; standard error says what, and what to do
  2  wrong usage
  3  the store is locked: a passphrase is needed or wrong
  4  homeserver or stream not reachable in time (--timeout)
  5  refused by policy (it would have left the machine unencrypted, or to an identity that changed)

Environment:
  GROTTO_ACCOUNT, GROTTO_CONFIG, GROTTO_DATA_DIR, GROTTO_PASSPHRASE_FILE stand for the options of
  these names; NO_COLOR turns colors off. XDG variables are honored.

Rooms:
  A ROOM is a room id (!…), an alias (#room:server), the exact name of one joined room, or
  @user:server for the direct chat with that user.

Examples:
  grotto login @alice:example.org
  grotto                                      the terminal interface
  grotto send '#garden:example.org' 'the gate is open'
  uptime | grotto send @bob:example.org -
  grotto tail --json | jq -r 'select(.type == \"message\") | .body'";
