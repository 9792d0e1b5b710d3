//! Commands about identities and devices: who is who, and who gets keys.

use clap::{Args, Subcommand, ValueEnum};

use super::values::{self, FileOrStdin};
use crate::matrix::{OwnedDeviceId, OwnedUserId};

/// Arguments of `policy`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Only devices that their owner has cross-signed get the keys of a room; any other could be one that \
a server made up. Bots and bridges often sign nothing: --devices all opens a room to every device. \
Without ROOM the rule is that of all rooms that have none of their own.

With --json: {room_id, devices, known, left_out: [{user_id, device_id, reason}], changed}.

Examples:
  grotto policy Garden
  grotto policy 'Bridged room' --devices all")]
pub struct PolicyArgs {
    /// Room id, alias, name, or @user:server for a direct chat [default: all rooms]
    #[arg(value_name = "ROOM")]
    pub room: Option<String>,
    /// Whose devices get keys
    #[arg(long, value_enum, value_name = "WHICH")]
    pub devices: Option<DevicesArg>,
}

/// Whose devices get keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DevicesArg {
    /// Those that their owner has cross-signed
    Signed,
    /// All: for bots and bridges
    All,
}

/// Arguments of `devices`.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
With --json one object a device: device_id, name, verified, last_seen (milliseconds since the \
epoch), this, blocked, fingerprint.

Examples:
  grotto devices
  grotto devices --user @bob:example.org
  grotto devices delete OLDPHONE
  grotto devices block @bob:example.org LOSTPHONE"
)]
pub struct DevicesArgs {
    /// Whose devices [default: yours]
    #[arg(long, value_name = "USER", value_parser = values::user_id)]
    pub user: Option<OwnedUserId>,
    /// What to do with one
    #[command(subcommand)]
    pub command: Option<DevicesCommand>,
}

/// What to do with a device.
#[derive(Clone, Debug, Subcommand)]
pub enum DevicesCommand {
    /// Give a device of yours another name
    Rename {
        /// Its id
        #[arg(value_name = "DEVICE")]
        device: OwnedDeviceId,
        /// Its new name; everybody can read it
        name: String,
    },
    /// Log a device of yours out
    Delete {
        /// Its id
        #[arg(value_name = "DEVICE")]
        device: OwnedDeviceId,
        /// File whose first line is your password; - for standard input
        #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
        password_file: Option<FileOrStdin>,
    },
    /// Give a device no more keys
    Block(OneDevice),
    /// Give it keys again
    Unblock(OneDevice),
}

/// One device of somebody.
#[derive(Clone, Debug, Args)]
pub struct OneDevice {
    /// Its owner
    #[arg(value_name = "USER", value_parser = values::user_id)]
    pub user: OwnedUserId,
    /// Its id
    #[arg(value_name = "DEVICE")]
    pub device: OwnedDeviceId,
}

/// Arguments of `trust`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Without USER: how your own identity stands, and whose identity changed. Nothing is sent to somebody \
whose identity changed until you settle it. Who reset their identity can tell you so: ask them by \
another way. Then accept the new one with this command, or compare with: grotto verify USER.

With --json: {own, cross_signed, users: [{user, state, master_key}]}; states: none, pinned, \
pin_violation, verified, verification_violation.

Examples:
  grotto trust
  grotto trust @bob:example.org
  grotto trust @bob:example.org --withdraw")]
pub struct TrustArgs {
    /// Accept the identity that this user shows now
    #[arg(value_name = "USER", value_parser = values::user_id)]
    pub user: Option<OwnedUserId>,
    /// Insist no longer that this user, verified once, be verified
    #[arg(long, requires = "user")]
    pub withdraw: bool,
    /// Show how this user stands, and accept nothing
    #[arg(long, requires = "user", conflicts_with = "withdraw")]
    pub show: bool,
}

/// Arguments of `reset-identity`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Makes a new cross-signing identity for your account, in the place of the old one if there is one. \
What that breaks: everybody you write with is told that your identity changed, and must accept it \
or verify you again; whom you verified you must verify again; your other devices are no longer \
signed until you verify them again; the recovery key opens the old identity until it is typed once \
(grotto recover) or replaced (grotto setup-recovery --new-key). Do it when the old identity is lost \
or somebody else may have it.

The server may want your password.

With --json: {cross_signed, recovery: {state}}; out_of_date: see above.

Examples:
  grotto reset-identity
  pass show matrix | grotto reset-identity --yes --password-file -")]
pub struct ResetIdentityArgs {
    /// File whose first line is your password; - for standard input
    #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
    pub password_file: Option<FileOrStdin>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}
