//! Arguments of `serve`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use super::values::{self, FileOrStdin};

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
One process, one folder, one machine: a homeserver for a team, without federation. It answers the \
ordinary client-server API over HTTP, so any Matrix client can use it, and grotto's stream, on one \
port. Nobody can register without an invitation (serve invite). Everything else is said in \
server.toml in its folder: see docs/server.example.toml.

Examples:
  grotto serve --data /var/lib/grotto --name chat.example.org --listen 127.0.0.1:8008
  grotto serve --data /var/lib/grotto --name chat.example.org --listen 0.0.0.0:443 \\
      --tls-cert fullchain.pem --tls-key privkey.pem
  grotto serve invite --data /var/lib/grotto")]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// What to do with a server's data
    #[command(subcommand)]
    pub command: Option<ServeCommand>,
    /// How it runs
    #[command(flatten)]
    pub run: ServeRunArgs,
}

/// How a server runs.
#[derive(Clone, Debug, Args)]
pub struct ServeRunArgs {
    /// Folder of everything the server keeps; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "grotto-server")]
    pub data: PathBuf,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8008")]
    pub listen: SocketAddr,
    /// Name of the server, the part of its users' ids behind the colon; fixed at the first start
    /// [default: localhost]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Certificate chain (PEM); without one, plain connections behind a reverse proxy
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Something to do with a server's data, whether it runs or not.
#[derive(Clone, Debug, Subcommand)]
pub enum ServeCommand {
    /// Invite one person to register
    Invite {
        /// The server's folder
        #[command(flatten)]
        data: DataArg,
        /// How many days the invitation holds
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        days: u32,
    },
    /// List the accounts
    Users {
        /// The server's folder
        #[command(flatten)]
        data: DataArg,
    },
    /// Give an account another password, and log it out everywhere
    ResetPassword {
        /// The server's folder
        #[command(flatten)]
        data: DataArg,
        /// The account: a user id, or what stands before its colon
        user: String,
        /// Read the new password from the first line of a file, or of standard input (-)
        #[arg(long, value_name = "FILE", value_parser = values::file_or_stdin)]
        password_file: Option<FileOrStdin>,
    },
    /// List what members reported
    Reports {
        /// The server's folder
        #[command(flatten)]
        data: DataArg,
    },
    /// Copy everything the server keeps into a new file, also while it runs
    Backup {
        /// The server's folder
        #[command(flatten)]
        data: DataArg,
        /// The file, which must not be there yet
        file: PathBuf,
    },
}

/// Which server.
#[derive(Clone, Debug, Args)]
pub struct DataArg {
    /// Folder of the server
    #[arg(long = "data", value_name = "DIR", default_value = "grotto-server")]
    pub dir: PathBuf,
}
