//! `history`: old messages, newest last.

use std::collections::HashSet;

use super::{
    errand::Errand,
    error::HeadlessError,
    feed,
    line::{Line, What},
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
    let lines = feed::page(&room, &page);
    let edited: HashSet<OwnedEventId> = lines.iter().filter_map(edited).collect();
    for line in &lines {
        output.show(line, |line| {
            let is_shown =
                matches!(&line.what, What::Edit { relates_to, .. } if edited.contains(relates_to));
            if is_shown { None } else { people::words(line, errand.rooms(), &style) }
        })?;
    }
    Ok(())
}

/// The message that a line shows with an edit in its place.
fn edited(line: &Line) -> Option<OwnedEventId> {
    let What::Message(message) = &line.what else { return None };
    message.edited.then(|| message.event_id.clone())
}
