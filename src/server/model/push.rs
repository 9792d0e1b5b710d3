//! What an event means for the unread counts of those who are joined.

use super::{rooms::RoomEvent, step::Step, table::Broken};
use crate::matrix::OwnedUserId;

/// Counts a new event for everybody who is joined, as their push rules say.
///
/// # Errors
/// When the records are broken.
#[expect(clippy::unnecessary_wraps, reason = "nothing is counted yet")]
pub(super) fn on_event(
    _step: &mut Step<'_>,
    _event: &RoomEvent,
    _joined: &[OwnedUserId],
) -> Result<(), Broken> {
    Ok(())
}
