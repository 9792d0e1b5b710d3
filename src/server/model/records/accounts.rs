//! Accounts, their devices and tokens. Tags 10-19 and 40-69.

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{OwnedDeviceId, OwnedUserId},
    server::model::table::Table,
    time::Timestamp,
};

/// `(user)`.
pub(crate) const USERS: Table<UserRecord> = Table::new(10);
/// `(hash of the token)`: access tokens.
pub(crate) const TOKENS: Table<TokenRecord> = Table::new(11);
/// `(user, device)`.
pub(crate) const DEVICES: Table<DeviceRecord> = Table::new(12);

/// Somebody with an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    /// Argon2id, as text; `None` for accounts without a password.
    pub(crate) password_hash: Option<String>,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) is_admin: bool,
    #[serde(default)]
    pub(crate) is_deactivated: bool,
}

/// What an access token stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    /// When it ceases to hold; `None`: never.
    pub(crate) expires: Option<Timestamp>,
}

/// A device of somebody's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    pub(crate) display_name: Option<String>,
    pub(crate) last_seen: Timestamp,
}
