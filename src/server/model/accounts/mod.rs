//! Accounts: who has one, their devices and tokens.

pub(super) mod devices;
pub(super) mod invites;
#[cfg(test)]
mod tests;
pub(super) mod tokens;
pub(super) mod users;
