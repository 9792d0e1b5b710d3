//! The command line as types: what may be typed, its help, and the exit codes scripts rely on.
//!
//! Nothing here acts; `run` does. Names and exit codes are a promise: they are only added to.

mod args;
mod command;
mod exit;
mod generate;
mod serve;
mod trust;
mod values;

pub use args::{Cli, Global};
pub use command::{
    Command, CreateArgs, DownloadArgs, GatewayArgs, HistoryArgs, InviteArgs, KeyFileArgs,
    KeysCommand, LoginArgs, LogoutArgs, NewPassphraseArgs, PassphraseCommand, Reaction,
    RecoverArgs, RoomArgs, SendArgs, SetupRecoveryArgs, TailArgs, VerifyArgs, WhyArgs,
};
pub use exit::Exit;
pub use generate::{completions, manual};
pub use serve::{ServeArgs, ServeCommand, ServeRunArgs};
pub use trust::{
    DevicesArg, DevicesArgs, DevicesCommand, OneDevice, PolicyArgs, ResetIdentityArgs, TrustArgs,
};
pub use values::{FileOrStdin, LoginTarget};
