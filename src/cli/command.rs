//! The commands and their arguments.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use clap_complete::Shell;

use super::{
    serve::ServeArgs,
    trust::{DevicesArgs, PolicyArgs, ResetIdentityArgs, TrustArgs},
    values::{self, FileOrStdin, LoginTarget},
};
use crate::matrix::{OwnedEventId, OwnedTransactionId, OwnedUserId};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Log in and make this account's encrypted store
    Login(LoginArgs),
    /// Log this device out and destroy its local keys
    Logout(LogoutArgs),
    /// Protect the store with a passphrase, change it, or take it away
    #[command(subcommand)]
    Passphrase(PassphraseCommand),
    /// List joined rooms and invites
    #[command(long_about = ROOMS)]
    Rooms,
    /// Make a room, encrypted unless told otherwise
    Create(CreateArgs),
    /// Join a room, or accept an invite
    #[command(after_long_help = "Examples:\n  grotto join '#garden:example.org'")]
    Join(RoomArgs),
    /// Leave a room, or refuse an invite
    #[command(after_long_help = "Examples:\n  grotto leave 'Old garden'")]
    Leave(RoomArgs),
    /// Invite somebody to a room
    Invite(InviteArgs),
    /// Send a message and wait until the server has it
    Send(SendArgs),
    /// Save the file of a message, once it is checked
    Download(DownloadArgs),
    /// Follow rooms until interrupted
    Tail(TailArgs),
    /// Print old messages, newest last
    History(HistoryArgs),
    /// Compare keys with another user, or with another device of yours
    Verify(VerifyArgs),
    /// Get at old messages: sign this device and connect the key backup with the recovery key
    Recover(RecoverArgs),
    /// Make a recovery key: what opens this account's messages on new devices
    #[command(long_about = SETUP_RECOVERY)]
    SetupRecovery(SetupRecoveryArgs),
    /// Look after encryption keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// List devices; rename, log out or block one
    Devices(DevicesArgs),
    /// Show or set whose devices get the keys of a room
    Policy(PolicyArgs),
    /// Show whose identity changed, and accept a new one
    Trust(TrustArgs),
    /// Replace your cross-signing identity by a new one
    ResetIdentity(ResetIdentityArgs),
    /// Serve the stream in front of a homeserver
    Gateway(GatewayArgs),
    /// Serve chat to a team: a homeserver in one process and one folder
    Serve(ServeArgs),
    /// Try it: a live encrypted conversation, with nothing to set up and nothing left behind
    #[command(long_about = DEMO)]
    Demo,
    /// Print a completion script for a shell
    #[command(after_long_help = "Examples:\n  \
        grotto completions bash > ~/.local/share/bash-completion/completions/grotto\n  \
        grotto completions fish > ~/.config/fish/completions/grotto.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_long_help = "Examples:\n  grotto man | man -l -")]
    Man,
}

const ROOMS: &str = "List joined rooms and invites.\n\nWith --json one object a room: room_id, \
                     name, kind (dm, group or space), membership, encrypted, unread, highlights, \
                     members, topic.";

const SETUP_RECOVERY: &str = "Makes what this account lacks of a cross-signing identity, secret \
                              storage and a key backup, and prints the recovery key that opens \
                              them. Keep it where you keep passwords.\n\nInterrupted before it \
                              was printed, it goes on where it stopped when it is called again, \
                              with the same key.\n\nWith --new-key: a recovery key in the place \
                              of the one there is, for when that is lost. This device must have \
                              all of the account's keys. The one before opens everything until \
                              the new one was printed, and nothing from then on. But the keys \
                              that it opened stay the account's: whoever used it may have them. \
                              If somebody else saw it, log in anew and start fresh \
                              there.\n\nWith --json: {recovery_key}.";

const DEMO: &str = "Opens the interface with a server, your account and two people inside this \
                    program: a guide who shows you around, and Robin. Nothing is read from your \
                    configuration, no file is written, and all of it is gone when you quit.";

/// Arguments of `login`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
The password is asked for without echo when standard input is a terminal; otherwise give \
--password-file. The store gets the passphrase of --passphrase-file, or one that is asked for; \
without one its key lies in a file beside it, readable by you alone.

With --json: {user_id, device_id, stream}.

Examples:
  grotto login @alice:example.org
  pass show matrix | grotto login @alice:example.org --password-file -
  grotto login @alice:localhost --homeserver http://127.0.0.1:8008
  grotto login @alice:chat.example.org --register --invite-file invite")]
pub struct LoginArgs {
    /// User id (@alice:example.org), or a server to log in to
    #[arg(value_name = "USER_ID_OR_SERVER", value_parser = values::login_target)]
    pub target: LoginTarget,
    /// File whose first line is the password; - for standard input
    #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
    pub password_file: Option<FileOrStdin>,
    /// Make the account first, with this password
    #[arg(long)]
    pub register: bool,
    /// File whose first line is the invitation to register, where the server wants one; - for
    /// standard input
    #[arg(
        long, value_name = "FILE", value_parser = values::file_or_stdin, requires = "register"
    )]
    pub invite_file: Option<FileOrStdin>,
    /// Sign on in a browser, on any machine: shows an address to open, and asks for the one that
    /// the browser ends at. PROVIDER is the name of an identity provider, where there are several
    #[arg(
        long, value_name = "PROVIDER", num_args = 0..=1, require_equals = true,
        default_missing_value = "", conflicts_with_all = ["password_file", "register"]
    )]
    pub sso: Option<String>,
    /// Show a code to allow in a browser, on any machine, and wait
    #[arg(long, conflicts_with_all = ["password_file", "register", "sso"])]
    pub device_code: bool,
    /// What others see as this device's name
    #[arg(long, value_name = "NAME", default_value = "grotto")]
    pub device_name: String,
    /// Stream to connect to, instead of what the server offers (ws:// or wss://)
    #[arg(long, value_name = "URL")]
    pub stream_url: Option<String>,
    /// Homeserver's address, instead of what the server's name says
    #[arg(long, value_name = "URL")]
    pub homeserver: Option<String>,
}

/// Arguments of `logout`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Messages that only this device could read cannot be read afterwards, here or elsewhere, unless \
their keys exist on another device. Asks before it acts when standard input is a terminal.

Where the store is damaged, its passphrase is lost or the server is gone, --local destroys what is \
here; end the device from another client then.")]
pub struct LogoutArgs {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Destroy the local keys only, without opening them and without telling the server
    #[arg(long)]
    pub local: bool,
}

/// What to do with the store's passphrase.
#[derive(Clone, Debug, Subcommand)]
pub enum PassphraseCommand {
    /// Change the passphrase
    Change(NewPassphraseArgs),
    /// Set one on a store that has none
    Set(NewPassphraseArgs),
    /// Take it away: the key then lies in a file beside the store
    Remove,
}

/// A new passphrase.
#[derive(Clone, Debug, Args)]
pub struct NewPassphraseArgs {
    /// File whose first line is the new passphrase; - for standard input
    ///
    /// Without it the new passphrase is asked for, twice.
    #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
    pub new_passphrase_file: Option<FileOrStdin>,
}

/// Arguments of `create`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
With --json: {room_id}.

Examples:
  grotto create --name 'Garden' --invite @bob:example.org --invite @eve:example.org
  grotto create --dm --invite @bob:example.org")]
pub struct CreateArgs {
    /// Its name
    #[arg(long)]
    pub name: Option<String>,
    /// Whom to invite; may be repeated
    #[arg(long, value_name = "USER", num_args = 1.., value_parser = values::user_id)]
    pub invite: Vec<OwnedUserId>,
    /// A direct chat with those invited
    #[arg(long, requires = "invite")]
    pub dm: bool,
    /// Do not encrypt it: the servers will read everything
    #[arg(long)]
    pub unencrypted: bool,
}

/// One room.
#[derive(Clone, Debug, Args)]
pub struct RoomArgs {
    /// Room id, alias, or name
    #[arg(value_name = "ROOM")]
    pub room: String,
}

/// Arguments of `invite`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "Examples:\n  grotto invite '#garden:example.org' @bob:example.org")]
pub struct InviteArgs {
    /// Room id, alias, name, or @user:server for a direct chat
    #[arg(value_name = "ROOM")]
    pub room: String,
    /// Whom
    #[arg(value_name = "USER", value_parser = values::user_id)]
    pub user: OwnedUserId,
}

/// Arguments of `send`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags as typed; the groups keep them apart")]
#[command(
    override_usage = "grotto send [OPTIONS] <ROOM> <TEXT>\n       \
                      grotto send [OPTIONS] <ROOM> --file <PATH> [CAPTION]\n       \
                      grotto send [OPTIONS] <ROOM> --react <KEY> <EVENT>",
    group(ArgGroup::new("what").required(true).multiple(true).args(["text", "react", "file"])),
    group(ArgGroup::new("form").args(["notice", "emote", "react"])),
    group(ArgGroup::new("markup").args(["markdown", "plain", "react"])),
    after_long_help = "\
The message is on disk before it is sent; should the wait end early (exit code 4), it is still \
sent by the next grotto that runs, once, unless standard error says that nothing was kept: the \
server was not reached at all then. A file is read when it is uploaded: leave it where it is until \
then.

With --json: {event_id, txn, room_id}.

Examples:
  grotto send '#garden:example.org' 'the **gate** is open'
  make 2>&1 | tail -20 | grotto send @bob:example.org - --plain
  grotto send Garden 'so it is' --reply '$event'
  grotto send Garden --file harvest.jpg 'the first **tomatoes**'
  grotto send Garden --react 👍 '$event'
  until grotto send Garden 'once' --txn job-17; do sleep 5; done"
)]
pub struct SendArgs {
    /// Room id, alias, name, or @user:server for a direct chat
    #[arg(value_name = "ROOM")]
    pub room: String,
    /// The message; - reads it from standard input
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub text: Option<String>,
    /// Send a file; the text, if there is one, is its caption
    ///
    /// Its kind (picture, sound, video, file) is told by its first bytes and its name.
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with_all = ["react", "edit", "notice", "emote"]
    )]
    pub file: Option<PathBuf>,
    /// Reply to a message
    #[arg(long, value_name = "EVENT", value_parser = values::event_id)]
    pub reply: Option<OwnedEventId>,
    /// Send into the thread that starts with this message
    #[arg(long, value_name = "EVENT", value_parser = values::event_id)]
    pub thread: Option<OwnedEventId>,
    /// Replace the text of a message of yours
    #[arg(
        long,
        value_name = "EVENT",
        value_parser = values::event_id,
        conflicts_with_all = ["reply", "thread"]
    )]
    pub edit: Option<OwnedEventId>,
    /// React to a message with a key, usually an emoji
    #[arg(
        long,
        num_args = 2,
        value_names = ["KEY", "EVENT"],
        conflicts_with_all = ["text", "reply", "thread", "edit"]
    )]
    pub react: Option<Vec<String>>,
    /// Send as a notice, as bots do
    #[arg(long)]
    pub notice: bool,
    /// Send as an emote (/me)
    #[arg(long)]
    pub emote: bool,
    /// Read the text as Markdown, the default
    #[arg(long)]
    pub markdown: bool,
    /// Send the text as it is
    #[arg(long)]
    pub plain: bool,
    /// Name the attempt: repeated with the same ID, a message is sent once
    #[arg(long, value_name = "ID", value_parser = values::transaction_id)]
    pub txn: Option<OwnedTransactionId>,
}

/// A reaction as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// The key, usually an emoji.
    pub key: String,
    /// To which event.
    pub event: OwnedEventId,
}

impl SendArgs {
    /// The reaction to send, if it is one.
    ///
    /// # Errors
    /// In words, when the event is not an event id.
    pub fn reaction(&self) -> Result<Option<Reaction>, String> {
        match self.react.as_deref() {
            Some([key, event]) => values::event_id(event)
                .map(|event| Some(Reaction { key: key.clone(), event }))
                .map_err(|error| format!("invalid value {event:?} for --react: {error}")),
            Some(_) | None => Ok(None),
        }
    }
}

/// Arguments of `download`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
The file gets its name only when its bytes are those that the sender sent; nothing that exists is \
overwritten, and nothing is opened. In a folder it is saved under the name the sender gave it, made \
safe, or the next that is free.

With --json: {path, size, encrypted, room_id, event_id}.

Examples:
  grotto download Garden '$event'
  grotto download Garden '$event' --to ~/Downloads
  grotto download Garden '$event' --to - | tar xz")]
pub struct DownloadArgs {
    /// Room id, alias, name, or @user:server for a direct chat
    #[arg(value_name = "ROOM")]
    pub room: String,
    /// The message
    #[arg(value_name = "EVENT", value_parser = values::event_id)]
    pub event: OwnedEventId,
    /// Folder to save in, or file to save as; - writes to standard output
    #[arg(long, value_name = "PATH", default_value = ".", value_parser = values::file_or_stdin)]
    pub to: FileOrStdin,
}

/// Arguments of `verify`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Both sides show seven emoji, by name and picture, and three numbers; where they are the same, \
nobody stands between. With your own user id it is for another device of yours, which is then \
signed; with another user it takes place in the direct chat with them. A verification ends after \
ten minutes.

With --json a line for each step: {step, user_id, device_id, emoji, decimals, data}, with the \
steps asked, invited, ready, waiting, compare, confirmed, scanned, reciprocated, elsewhere; emoji \
is a list of {number, name, picture}. The last line is {done, user_id, device_id}. Exit code 5 when \
keys differ.

Examples:
  grotto verify @bob:example.org
  grotto verify @alice:example.org --device ABCDEFGHIJ
  grotto verify @alice:example.org --accept
  grotto verify @alice:example.org --qr")]
pub struct VerifyArgs {
    /// Whom; your own user id for another device of yours
    #[arg(value_name = "USER_ID", value_parser = values::user_id)]
    pub user: OwnedUserId,
    /// Only this device of theirs
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Wait for their request and accept it, instead of asking
    #[arg(long)]
    pub accept: bool,
    /// Confirm without a question: whoever reads the output compares
    #[arg(long)]
    pub yes: bool,
    /// Show a QR code for the other side to scan
    #[arg(long)]
    pub qr: bool,
    /// Scan the other side's code: its bytes or their base64, read when both are there; - for a
    /// typed line
    #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin, conflicts_with = "qr")]
    pub qr_data_file: Option<FileOrStdin>,
}

/// Arguments of `tail`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Prints what arrives, beginning with what came while no grotto was running. With --json every line \
has type, room_id and ts (milliseconds since the epoch); types: message, undecryptable, \
decrypted_late, edit, reaction, redaction, invite, membership, typing, receipt, link, alarm. Ends \
with exit code 0 on an interrupt, or when nobody reads its output any more.

Examples:
  grotto tail
  grotto tail Garden --backlog 20
  grotto tail --since-start --json | while read -r line; do …; done")]
pub struct TailArgs {
    /// Only these rooms [default: all]
    #[arg(value_name = "ROOM")]
    pub rooms: Vec<String>,
    /// Only what arrives from now on, not what was missed
    #[arg(long, conflicts_with = "backlog")]
    pub since_start: bool,
    /// First print the newest N events of each room
    #[arg(long, value_name = "N")]
    pub backlog: Option<u32>,
}

/// Arguments of `history`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
With --json lines as tail prints them.

Examples:
  grotto history Garden --limit 200
  grotto history Garden --before '$event'")]
pub struct HistoryArgs {
    /// Room id, alias, name, or @user:server for a direct chat
    #[arg(value_name = "ROOM")]
    pub room: String,
    /// At most how many events
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub limit: u32,
    /// Only what is older than this event
    #[arg(long, value_name = "EVENT", value_parser = values::event_id)]
    pub before: Option<OwnedEventId>,
}

/// Arguments of `recover`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
The recovery key, or the passphrase it was made of, is asked for without echo when standard input \
is a terminal; otherwise give --recovery-key-file. This device is signed, the key backup is \
connected, and its keys are restored; interrupted, it goes on when it is called again.

With --json: {cross_signed, backup_version, keys_restored}.

Examples:
  grotto recover
  pass show matrix-recovery | grotto recover --recovery-key-file -")]
pub struct RecoverArgs {
    /// File whose first line is the recovery key or its passphrase; - for standard input
    #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
    pub recovery_key_file: Option<FileOrStdin>,
}

/// Arguments of `setup-recovery`.
#[derive(Clone, Debug, Args)]
pub struct SetupRecoveryArgs {
    /// Replace the recovery key that the account has
    #[arg(long)]
    pub new_key: bool,
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Show this device's fingerprint, cross-signing, the key backup, and what could not be
    /// decrypted, by reason
    Status,
    /// Write all room keys to a new file, under a passphrase
    #[command(after_long_help = EXPORT)]
    Export(KeyFileArgs),
    /// Read room keys from a file of this or another client
    #[command(after_long_help = IMPORT)]
    Import(KeyFileArgs),
    /// Say how a message was encrypted, with whose key, and why it cannot be read if it cannot
    Why(WhyArgs),
}

const EXPORT: &str = "\
Whoever has the file and its passphrase can read all messages whose keys are in it. The file is \
readable by you alone; one that exists is never overwritten.

With --json: {path, keys}.

Examples:
  grotto keys export keys.txt
  pass show keys | grotto keys export keys.txt --file-passphrase-file -";

const IMPORT: &str = "\
Messages that become readable are marked: the file does not prove who made its keys.

With --json: {improved, known, refused}.

Examples:
  grotto keys import element-keys.txt";

/// Arguments of `keys export` and `keys import`.
#[derive(Clone, Debug, Args)]
pub struct KeyFileArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// File whose first line is the key file's passphrase; - for standard input
    ///
    /// Without it the passphrase is asked for. (--passphrase-file is the store's.)
    #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
    pub file_passphrase_file: Option<FileOrStdin>,
}

/// Arguments of `keys why`.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// The room: id, alias, or the user of a direct chat
    pub room: String,
    /// The event
    #[arg(value_parser = values::event_id)]
    pub event: OwnedEventId,
}

/// Arguments of `gateway`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Turns the stream (one WebSocket a client) into the ordinary HTTP API of one fixed homeserver. It \
keeps no state, so any number of gateways can stand side by side. Answers /healthz. On SIGTERM it \
stops accepting, and closes its connections spread over some seconds.

Examples:
  grotto gateway --homeserver http://127.0.0.1:8008 --listen 127.0.0.1:8448
  grotto gateway --homeserver https://matrix.example.org --listen 0.0.0.0:443 \\
      --tls-cert fullchain.pem --tls-key privkey.pem")]
pub struct GatewayArgs {
    /// The homeserver it stands for
    #[arg(long, value_name = "URL")]
    pub homeserver: String,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8479")]
    pub listen: SocketAddr,
    /// Certificate chain (PEM); without one, plain connections behind a reverse proxy
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Web page origin that may connect; may be repeated [default: none]
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Vec<String>,
    /// Extra certificate authority to trust for the homeserver (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Proxy to reach the homeserver by (socks5h:// or http://)
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Connections at once, in all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub max_connections: usize,
    /// Connections at once from one address; raise it behind a reverse proxy
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_connections_per_address: usize,
    /// Seconds from accepting a connection to the end of its handshake
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = values::seconds)]
    pub handshake_timeout: Duration,
    /// Seconds of a client's silence before its connection is closed
    #[arg(long, value_name = "SECONDS", default_value = "90", value_parser = values::seconds)]
    pub idle_timeout: Duration,
}
