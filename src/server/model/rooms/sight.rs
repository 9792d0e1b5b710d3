//! What of a room somebody may see: by who they were to it, and who could read its history, at
//! each event.
//!
//! # Spec
//! Client-Server API, "Room history visibility".

use crate::{
    matrix::{RoomId, UserId},
    server::model::{
        records::{MEMBER_HISTORY, ROOMS, VISIBILITY_HISTORY},
        rooms::RoomEvent,
        step::Step,
        table::{Broken, KeyParts, Table},
    },
};

/// What somebody was to a room over time, and who could read it over time.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// From which number on what.
    memberships: Vec<(u64, String)>,
    visibilities: Vec<(u64, String)>,
}

impl Sight {
    /// Reads it. Costs as much as they joined and left. A room that everybody left shows itself to
    /// nobody who never had to do with it.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(step: &Step<'_>, room: &RoomId, user: &UserId) -> Result<Self, Broken> {
        let memberships = history(step, MEMBER_HISTORY, (room, user), 2)?;
        let mut visibilities = history(step, VISIBILITY_HISTORY, (room,), 1)?;
        if memberships.is_empty() && step.get(ROOMS, (room,))?.is_none_or(|it| it.joined == 0) {
            visibilities = vec![(0, "joined".to_owned())];
        }
        Ok(Self { memberships, visibilities })
    }

    /// What they are to the room now: `leave` when they never were anything.
    pub(crate) fn membership(&self) -> &str {
        self.memberships.last().map_or("leave", |(_, membership)| membership)
    }

    /// What they were to the room once the event of this number was there.
    pub(crate) fn membership_at(&self, number: u64) -> &str {
        at(&self.memberships, number).unwrap_or("leave")
    }

    /// Whether they are joined now.
    pub(crate) fn is_joined(&self) -> bool {
        self.membership() == "join"
    }

    /// Whether they were ever joined.
    pub(crate) fn was_joined(&self) -> bool {
        self.memberships.iter().any(|(_, membership)| membership == "join")
    }

    /// Whether they were joined once the event of this number was there, and ever since.
    pub(crate) fn was_joined_since(&self, number: u64) -> bool {
        self.membership_at(number) == "join"
            && self.memberships.last().is_some_and(|(last, _)| *last <= number)
    }

    /// Whether they came in after the event of this number.
    pub(crate) fn has_joined_after(&self, number: u64) -> bool {
        self.memberships.iter().any(|(at, membership)| number < *at && membership == "join")
    }

    /// Whether anybody may read the room now.
    pub(crate) fn is_world_readable(&self) -> bool {
        self.visibilities.last().is_some_and(|(_, visibility)| visibility == "world_readable")
    }

    /// The number up to which they may know the state of the room: that of the event that made
    /// them leave, the end for those who are joined, `None` for those who never were.
    pub(crate) fn end(&self) -> Option<u64> {
        if self.is_joined() || self.is_world_readable() {
            return Some(u64::MAX);
        }
        let last = self.memberships.iter().rposition(|(_, membership)| membership == "join")?;
        self.memberships.get(last + 1).map(|(number, _)| *number)
    }

    /// Whether they may see an event.
    pub(crate) fn sees(&self, event: &RoomEvent) -> bool {
        self.sees_number(event.number())
    }

    /// Whether they could see an event when it was sent.
    pub(crate) fn saw(&self, event: &RoomEvent) -> bool {
        self.allows(event.number(), |membership| membership == "join")
    }

    /// Whether they may see the event of this number.
    pub(crate) fn sees_number(&self, number: u64) -> bool {
        let mut later = self.memberships.iter().filter(|(from, _)| number <= *from);
        let is_joined_later = later.any(|(_, membership)| membership == "join");
        self.allows(number, |membership| membership == "join" || is_joined_later)
    }

    /// Whether the room let them see the event of this number. One that changes who sees what is
    /// seen by those who saw before it, and by those who see after it.
    fn allows(&self, number: u64, shared: impl Fn(&str) -> bool) -> bool {
        [number.saturating_sub(1), number].iter().any(|at_number| {
            let membership = self.membership_at(*at_number);
            let visibility = |v: u64| at(&self.visibilities, v).unwrap_or("shared");
            let allows = |visibility: &str| match visibility {
                "world_readable" => true,
                "joined" => membership == "join",
                "invited" => matches!(membership, "join" | "invite"),
                // Also what nobody understands, as the specification says.
                _ => shared(membership),
            };
            allows(visibility(number.saturating_sub(1))) || allows(visibility(number))
        })
    }
}

/// What held at this number.
fn at(history: &[(u64, String)], number: u64) -> Option<&str> {
    let after = history.partition_point(|(from, _)| *from <= number);
    history.get(after.checked_sub(1)?).map(|(_, what)| what.as_str())
}

fn history(
    step: &Step<'_>,
    table: Table<String>,
    prefix: impl KeyParts,
    texts: usize,
) -> Result<Vec<(u64, String)>, Broken> {
    let rows = step.scan(table, prefix)?;
    rows.into_iter()
        .map(|(mut key, what)| {
            for _ in 0..texts {
                key.text()?;
            }
            Ok((key.number()?, what))
        })
        .collect()
}
