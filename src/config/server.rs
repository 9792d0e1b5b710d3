//! Every key of `server.toml`, with its default. `docs/server.example.toml` names them all.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use serde::Deserialize;

use super::{error::ConfigError, file};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// What others know of the server.
    pub public: Public,
    /// Who may have an account.
    pub registration: RegistrationConfig,
    /// What clients may make it keep.
    pub limits: ServerLimits,
    /// How often things may be done.
    pub rates: RatesConfig,
    /// Where connections come from, and who asks how it does.
    pub network: NetworkConfig,
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Relays whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where `/metrics` is answered; absent: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// `[public]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Public {
    /// Where clients reach it, for discovery by its name; absent: there is no discovery.
    pub url: Option<String>,
    /// Whether clients are told that the server has the stream.
    pub stream: bool,
    /// A page for people who need help.
    pub support_page: Option<String>,
    /// People who answer for it.
    pub contacts: Vec<ContactConfig>,
}

impl Default for Public {
    fn default() -> Self {
        Self { url: None, stream: true, support_page: None, contacts: Vec::new() }
    }
}

/// An entry of `contacts`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactConfig {
    /// What for.
    pub role: ContactRole,
    /// Their Matrix id.
    pub matrix_id: Option<String>,
    /// Their mail address.
    pub email_address: Option<String>,
}

/// What somebody answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContactRole {
    /// Everything.
    Admin,
    /// Holes.
    Security,
}

/// `[registration]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrationConfig {
    /// Whether anybody may register, without an invitation.
    pub open: bool,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the file")]
pub struct ServerLimits {
    /// Largest file that may be uploaded, in MiB.
    pub max_file_mib: u32,
    /// Most that one account may make the server keep, in MiB: files, events, backed up keys.
    pub max_account_mib: u32,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address (IPv6: one /64).
    pub max_connections_per_address: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_file_mib: 50,
            max_account_mib: 4096,
            max_connections: 10_000,
            max_connections_per_address: 64,
        }
    }
}

/// `[rates]`: each a number at once, and then one in so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatesConfig {
    /// Attempts to log in, of one account.
    pub login: RateConfig,
    /// Attempts to register, of one address.
    pub register: RateConfig,
    /// Events sent, of one account.
    pub send: RateConfig,
    /// Searches for people and rooms, of one account.
    pub search: RateConfig,
}

impl Default for RatesConfig {
    fn default() -> Self {
        Self {
            login: RateConfig { burst: 10, pause_ms: 6000 },
            register: RateConfig { burst: 10, pause_ms: 6000 },
            send: RateConfig { burst: 500, pause_ms: 20 },
            search: RateConfig { burst: 60, pause_ms: 1000 },
        }
    }
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// So many at once.
    pub burst: u32,
    /// Then one in so many milliseconds.
    pub pause_ms: u32,
}

impl ServerConfig {
    /// Reads the file; one that is missing means the defaults.
    ///
    /// # Errors
    /// When it cannot be read or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        file::load(path, Self::parse)
    }

    /// Reads the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        file::parse(text, path)
    }
}
