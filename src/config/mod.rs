//! The user's file and a server's, checked: TOML in, plain values out, errors with line and column.
//!
//! Nothing here reads a variable of the environment, except `directories` inside
//! [`Paths::find`]; what arguments say comes in as [`Overrides`]. Names of actions, keys and themes
//! are checked where they mean something, in `tui`.

mod error;
mod file;
mod paths;
mod schema;
mod server;

pub use error::{ConfigError, Place, nearest};
pub use paths::{Overrides, Paths, PathsError};
pub use schema::{
    AccountConfig, Bell, Config, Encryption, General, KeyChange, KeyRequests, LimitsConfig,
    LogLevel, Named, StateLines, Timeline,
};
pub use server::{ContactConfig, ContactRole, RateConfig, ServerConfig};
