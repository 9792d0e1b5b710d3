//! Filters that clients leave here, to name them in their syncs.

use serde_json::value::RawValue;

use super::{records::FILTERS, refusal::Refusal, step::Step, table::Broken};
use crate::matrix::UserId;

/// Most filters of a user.
const MAX_FILTERS: usize = 1_000;
/// Largest filter, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// A filter by its id; `None` also for an id that is none.
pub(crate) fn get(
    step: &Step<'_>,
    user: &UserId,
    id: &str,
) -> Result<Option<Box<RawValue>>, Broken> {
    match id.parse::<u64>() {
        Ok(id) => step.get(FILTERS, (user, id)),
        Err(_) => Ok(None),
    }
}

/// Keeps a filter and gives its id. The same filter again has the same id.
///
/// # Errors
/// `M_TOO_LARGE` when it is, or when there are too many.
pub(crate) fn add(step: &mut Step<'_>, user: &UserId, filter: &RawValue) -> Result<u64, Refusal> {
    if MAX_BYTES < filter.get().len() {
        return Err(Refusal::new(413, "M_TOO_LARGE", "the filter is too large"));
    }
    let known = step.scan(FILTERS, (user,))?;
    let count = known.len();
    for (mut key, other) in known {
        if other.get() == filter.get() {
            key.text()?;
            return Ok(key.number()?);
        }
    }
    if MAX_FILTERS <= count {
        return Err(Refusal::too_many("filters"));
    }
    let id = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
    step.put(FILTERS, (user, id), &filter.to_owned())?;
    Ok(id)
}
