//! How long the access token lives, and what renews it. What is done about it is the engine's
//! business.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::{secret::Secret, time::Timestamp};

/// What the access token's life depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// What the server last said of this login.
    pub standing: Standing,
    /// What the next access token is asked for with; `None`: nothing, the access token stays.
    pub refresh_token: Option<Secret<String>>,
    /// When to ask for the next access token, some time before the present one expires.
    pub renew_at: Option<Timestamp>,
    /// Where to ask for it, where the login was made by OAuth; `None`: the homeserver's `/refresh`.
    pub oauth: Option<OAuthClient>,
}

/// What a server says of a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is valid.
    #[default]
    Active,
    /// It expired: the device and its keys are kept, and a new login goes on with them.
    Expired,
    /// It was ended, and the device with it.
    Ended,
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }

    fn parse(name: &str) -> Self {
        [Self::Expired, Self::Ended].into_iter().find(|it| it.name() == name).unwrap_or_default()
    }
}

/// This login's client at an OAuth server. None of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OAuthClient {
    /// The name that the server gave us.
    pub client_id: String,
    /// Where tokens are renewed.
    pub token_endpoint: String,
    /// Where they are given back.
    pub revocation_endpoint: Option<String>,
    /// The page where people look after their account.
    pub account_management_uri: Option<String>,
}

/// Replaces all of it.
pub(super) fn write(connection: &Connection, lease: &Lease) -> Result<(), StoreError> {
    let oauth = lease.oauth.as_ref().map(serde_json::to_string).transpose();
    let oauth = oauth.map_err(|source| StoreError::Value { table: "account", source })?;
    let renew_at = lease.renew_at.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "UPDATE account SET standing = ?1, refresh_token = ?2, renew_at = ?3, oauth = ?4",
        )?
        .execute(params![
            lease.standing.name(),
            lease.refresh_token.as_ref().map(Secret::expose),
            renew_at,
            oauth
        ])?;
    Ok(())
}

/// Reads it.
pub(super) fn read(connection: &Connection) -> Result<Lease, StoreError> {
    let row = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, Option<String>>(1)?,
            row.get::<_, Option<i64>>(2)?,
            row.get::<_, Option<String>>(3)?,
        ))
    };
    let (standing, refresh_token, renew_at, oauth) = connection.query_row(
        "SELECT standing, refresh_token, renew_at, oauth FROM account",
        [],
        row,
    )?;
    let oauth = oauth.as_deref().map(serde_json::from_str).transpose();
    Ok(Lease {
        standing: Standing::parse(&standing),
        refresh_token: refresh_token.map(Secret::new),
        renew_at: renew_at.map(|at| Timestamp(u64::try_from(at).unwrap_or_default())),
        oauth: oauth.map_err(|source| StoreError::Value { table: "account", source })?,
    })
}
