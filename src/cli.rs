//! Arguments and subcommands as types.
