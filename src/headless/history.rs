//! `history`: old messages, newest last.

use super::{
    errand::Errand,
    error::HeadlessError,
    feed::Feed,
    output::Output,
    people::{self, Rooms, Style},
    resolve::{resolve, unexpected},
};
use crate::{
    engine::{Outcome, Request},
    matrix::OwnedEventId,
};

/// What to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// The room, as typed.
    pub room: String,
    /// At most how many events.
    pub limit: u32,
    /// Only what is older than this event.
    pub before: Option<OwnedEventId>,
}

/// Prints a page of a room's past.
///
/// # Errors
/// When the room is not known, or the server cannot be reached in time.
pub async fn history(
    errand: &mut Errand,
    output: &mut Output,
    options: HistoryOptions,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = resolve(errand, &options.room).await?;
    errand.be_patient();
    let request =
        Request::History { room: room.clone(), limit: options.limit, before: options.before };
    let outcome = errand.ask(request).await?;
    let Outcome::History(page) = outcome else { return Err(unexpected(&outcome).into()) };
    let style = Style { zone: jiff::tz::TimeZone::system(), rooms: Rooms::One };
    for line in Feed::default().lines(&room, &page.events) {
        output.show(&line, |line| people::words(line, errand.rooms(), &style))?;
    }
    Ok(())
}
