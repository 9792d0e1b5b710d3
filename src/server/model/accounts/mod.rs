//! Accounts: who has one, their devices and tokens.

pub(super) mod devices;
pub(super) mod invites;
pub(super) mod tokens;
pub(super) mod users;
