//! Accounts, their devices and tokens. Tags 10-19 and 40-69.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
/// `(user, device, hash of the token)`: the tokens of a device, so that they go with it.
pub(crate) const DEVICE_TOKENS: Table<TokenKind> = Table::new(40);
/// `(hash of the token)`: refresh tokens.
pub(crate) const REFRESH_TOKENS: Table<RefreshRecord> = Table::new(41);
/// `(hash of the token)`: invitations to register.
pub(crate) const INVITES: Table<InviteRecord> = Table::new(43);
/// `(user, room or nothing, type)`: account data, the content only. Among it are the push rules
/// (`m.push_rules`, when they are not the default ones), tags and read markers.
pub(crate) const ACCOUNT_DATA: Table<Box<RawValue>> = Table::new(55);
/// `(user)`: how many bytes of account data there are.
pub(crate) const ACCOUNT_DATA_SIZES: Table<u64> = Table::new(56);
/// `(user)`: how many bytes of files, events and backed up keys there are of somebody.
pub(crate) const USAGE: Table<u64> = Table::new(63);
/// `(user, app, push key)`: where to push to, for whoever will.
pub(crate) const PUSHERS: Table<PusherRecord> = Table::new(58);
/// `(app, push key, user)`: who has a pusher of this kind.
pub(crate) const PUSHER_OWNERS: Table<()> = Table::new(59);
/// `(user, id)`: filters as they were uploaded; ids are counted from 1.
pub(crate) const FILTERS: Table<Box<RawValue>> = Table::new(57);

/// `(user)`: the fields of a profile, `displayname` and `avatar_url` among them.
pub(crate) const PROFILES: Table<serde_json::Map<String, serde_json::Value>> = Table::new(42);

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
    /// When its device was last said to be seen.
    #[serde(default)]
    pub(crate) seen: Timestamp,
    /// The pair that holds until this one is used for the first time.
    #[serde(default)]
    pub(crate) replaces: Option<TokenPair>,
}

/// An access token and the refresh token that came with it, as hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenPair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// Which table a token of a device is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenKind {
    /// [`TOKENS`].
    Access,
    /// [`REFRESH_TOKENS`].
    Refresh,
}

/// What a refresh token stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RefreshRecord {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    /// The access token that came with it.
    pub(crate) access: String,
    /// The pair that it was exchanged for, which has not been used yet.
    pub(crate) next: Option<TokenPair>,
    /// The pair that holds until this one is used.
    pub(crate) replaces: Option<TokenPair>,
}

/// Where to push to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PusherRecord {
    /// The device that set it up, with which it goes.
    pub(crate) device: OwnedDeviceId,
    /// As it was uploaded.
    pub(crate) pusher: serde_json::Value,
}

/// An invitation to register, for one person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InviteRecord {
    pub(crate) created: Timestamp,
    /// When it ceases to hold; `None`: never.
    pub(crate) expires: Option<Timestamp>,
}

/// A device of somebody's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    pub(crate) display_name: Option<String>,
    pub(crate) last_seen: Timestamp,
}
