//! How much an account has made the server keep: its files, its events, the keys in its backups.
//! One member must not fill the disk of all. What an account of the server's own setup has beside
//! that is bounded where it is kept.

use super::{records::USAGE, refusal::Refusal, step::Step, table::Broken};
use crate::matrix::UserId;

/// Counts that an account makes the server keep so many bytes more.
///
/// # Errors
/// `M_RESOURCE_LIMIT_EXCEEDED` when that is more than one account may.
pub(super) fn charge(step: &mut Step<'_>, user: &UserId, bytes: usize) -> Result<(), Refusal> {
    let held = step.get(USAGE, (user,))?.unwrap_or(0).saturating_add(bytes as u64);
    if step.settings.max_account_bytes < held {
        let error = "this account holds as much as one may here: ask who runs the server";
        return Err(Refusal::new(403, "M_RESOURCE_LIMIT_EXCEEDED", error));
    }
    Ok(step.put(USAGE, (user,), &held)?)
}

/// Counts that so many bytes went.
///
/// # Errors
/// When the records are broken.
pub(super) fn refund(step: &mut Step<'_>, user: &UserId, bytes: u64) -> Result<(), Broken> {
    let held = step.get(USAGE, (user,))?.unwrap_or(0);
    step.put(USAGE, (user,), &held.saturating_sub(bytes))
}
