//! The newest events of a room that somebody may see and asks for.

use std::collections::BTreeSet;

use ruma::api::client::filter::RoomEventFilter;

use super::state::MEMBER;
use crate::{
    matrix::{OwnedEventId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::{STATE, TIMELINE},
        rooms::{RoomEvent, Sight, filter::passes},
        step::{Span, Step},
        table::{Broken, Order},
    },
};

/// How often more events are read when the filter takes away those that were read.
const MAX_PAGES: usize = 5;

/// Which events are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) room: &'a RoomId,
    /// Who gets them.
    pub(crate) user: &'a UserId,
    pub(crate) sight: &'a Sight,
    /// Those whose messages are not wanted.
    pub(crate) ignored: &'a BTreeSet<OwnedUserId>,
    pub(crate) filter: &'a RoomEventFilter,
    pub(crate) limit: usize,
    pub(crate) past_state: PastState,
    /// The device has everything up to here; nothing when it has nothing.
    pub(crate) after: Option<u64>,
    pub(crate) up_to: u64,
}

/// What is shown of state that still holds and was set when its reader could not see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PastState {
    /// It stands in the timeline: those who are joined know it anyway.
    Shown,
    /// It is told as state only.
    Left,
}

/// Events of a timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// The oldest first.
    pub(crate) events: Vec<RoomEvent>,
    /// Whether there are more before them that the device does not have.
    pub(crate) is_limited: bool,
    /// The number after which they begin.
    pub(crate) begins: u64,
}

impl Timeline {
    /// Reads the newest events.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(step: &Step<'_>, wanted: &Wanted<'_>) -> Result<Self, Broken> {
        let up_to = wanted.up_to;
        if wanted.filter.types.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Self { begins: up_to, ..Self::default() });
        }
        let page = wanted.page(step, up_to, wanted.limit + 1)?;
        if wanted.after.is_some() && page.len() <= wanted.limit {
            let mut events = wanted.visible(step, page)?;
            events.reverse();
            let begins = events.first().map_or(up_to, |event| event.number().saturating_sub(1));
            return Ok(Self { events, is_limited: false, begins });
        }
        Self::read_limited(step, wanted)
    }

    /// As many as are wanted, from the newest one back.
    fn read_limited(step: &Step<'_>, wanted: &Wanted<'_>) -> Result<Self, Broken> {
        let size = wanted.limit.saturating_mul(2).max(10);
        let (mut events, mut begins, mut is_limited) = (Vec::new(), wanted.up_to, true);
        for _ in 0..MAX_PAGES {
            if !is_limited || wanted.limit <= events.len() {
                break;
            }
            // One more than is taken tells whether there are more.
            let mut page = wanted.page(step, begins, size + 1)?;
            is_limited = size < page.len();
            page.truncate(size);
            begins = page.last().map_or(begins, |(number, _)| number.saturating_sub(1));
            events.extend(wanted.visible(step, page)?);
        }
        if wanted.limit < events.len() {
            is_limited = true;
            events.truncate(wanted.limit);
        }
        if is_limited && let Some(first) = events.last() {
            begins = first.number().saturating_sub(1);
        }
        events.reverse();
        Ok(Self { events, is_limited, begins })
    }
}

impl Wanted<'_> {
    /// Events up to a number, the newest first.
    fn page(
        &self,
        step: &Step<'_>,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, OwnedEventId)>, Broken> {
        let after = self.after.unwrap_or(0);
        let span = Span { after, up_to, order: Order::Descending, limit };
        let rows = step.scan_numbers(TIMELINE, (self.room,), &span)?;
        rows.into_iter()
            .map(|(mut key, id)| {
                key.text()?;
                Ok((key.number()?, id))
            })
            .collect()
    }

    fn visible(
        &self,
        step: &Step<'_>,
        page: Vec<(u64, OwnedEventId)>,
    ) -> Result<Vec<RoomEvent>, Broken> {
        let mut events = Vec::new();
        for (number, id) in page {
            let event = RoomEvent::expect(step, &id)?;
            let is_ignored = !event.is_state() && self.ignored.contains(&event.fields.sender);
            if !is_ignored
                && passes(self.filter, &event)
                && (self.sight.sees_number(number)
                    || event.is(MEMBER, self.user.as_str())
                    || self.is_current(step, &event)?)
            {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Whether it is state that holds now, which those who are joined know anyway.
    fn is_current(&self, step: &Step<'_>, event: &RoomEvent) -> Result<bool, Broken> {
        let is_shown = self.past_state == PastState::Shown && self.sight.is_joined();
        let Some(state_key) = event.fields.state_key.as_ref().filter(|_| is_shown) else {
            return Ok(false);
        };
        let current = step.get(STATE, (self.room, &event.fields.kind, state_key))?;
        Ok(current.is_some_and(|current| current.event == event.id))
    }
}
