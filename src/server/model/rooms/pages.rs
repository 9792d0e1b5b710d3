//! The history of a room, a page at a time, as somebody sees it.

use ruma::{MilliSecondsSinceUnixEpoch, api::Direction};

use crate::server::model::{
    records::TIMELINE,
    rooms::{RoomEvent, Visit, filter::RoomFilter},
    step::{Span, Step},
    table::{Broken, Order},
};

/// Most events of a page.
pub(crate) const MAX_EVENTS: usize = 1000;
/// Most bytes of the events of a page; one event more may come.
const MAX_BYTES: usize = 4 << 20;
/// Events that are looked at for one page, whether or not they are shown.
const MAX_LOOKED_AT: usize = 5000;
/// Events that are read together.
const STRETCH: usize = 100;

/// A stretch of a room's history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    /// The first number is the one after it.
    pub(crate) after: u64,
    /// The last number.
    pub(crate) up_to: u64,
}

/// A page of it.
#[derive(Debug)]
pub(crate) struct Page {
    /// In the order that was asked for.
    pub(crate) events: Vec<RoomEvent>,
    /// Where the next page begins: "after" when going forward, "up to" when going backward; `None`
    /// when there is none.
    pub(crate) next: Option<u64>,
}

impl Pages {
    /// Reads a page: the first events that the visitor sees and the filter lets through.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(
        mut self,
        step: &Step<'_>,
        (visit, filter): (&Visit<'_>, &RoomFilter),
        direction: Direction,
        limit: usize,
    ) -> Result<Page, Broken> {
        let mut page = Page { events: Vec::new(), next: None };
        let (mut bytes, mut looked_at) = (0, 0);
        loop {
            let stretch = self.stretch(step, visit, direction)?;
            for event in &stretch {
                if page.events.len() == limit || MAX_BYTES < bytes || looked_at == MAX_LOOKED_AT {
                    page.next = Some(self.place(direction));
                    return Ok(page);
                }
                looked_at += 1;
                self.pass(event.number(), direction);
                if visit.sight.sees(event) && filter.passes(step, event)? {
                    bytes += event.record.pdu.get().len();
                    page.events.push(event.clone());
                }
            }
            if stretch.len() < STRETCH {
                return Ok(page);
            }
        }
    }

    /// The next events, seen or not.
    fn stretch(
        &self,
        step: &Step<'_>,
        visit: &Visit<'_>,
        direction: Direction,
    ) -> Result<Vec<RoomEvent>, Broken> {
        let order = match direction {
            Direction::Backward => Order::Descending,
            Direction::Forward => Order::Ascending,
        };
        let Self { after, up_to } = *self;
        let span = Span { after, up_to, order, limit: STRETCH };
        let rows = step.scan_numbers(TIMELINE, (&visit.room,), &span)?;
        rows.iter().map(|(_, id)| RoomEvent::expect(step, id)).collect()
    }

    fn pass(&mut self, number: u64, direction: Direction) {
        match direction {
            Direction::Backward => self.up_to = number.saturating_sub(1),
            Direction::Forward => self.after = number,
        }
    }

    fn place(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Backward => self.up_to,
            Direction::Forward => self.after,
        }
    }
}

/// The event that is nearest to a time in a direction, as far as the visitor sees it. Numbers grow
/// with time here, as all events are made by this server; where its clock was set back, the answer
/// is one that was right at some time.
///
/// # Errors
/// When the records are broken.
pub(crate) fn at_time(
    step: &Step<'_>,
    visit: &Visit<'_>,
    time: MilliSecondsSinceUnixEpoch,
    direction: Direction,
) -> Result<Option<RoomEvent>, Broken> {
    let filter = RoomFilter::default();
    let seen = (visit, &filter);
    // The first number whose event is at that time or later.
    let (mut low, mut high) = (1, step.position()? + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let next = Pages { after: middle - 1, up_to: u64::MAX };
        let next = next.first(step, visit)?;
        match next {
            Some(event) if event.fields.origin_server_ts < time => low = event.number() + 1,
            Some(_) | None => high = middle,
        }
    }
    let end = visit.end();
    let page = match direction {
        Direction::Forward => {
            Pages { after: low - 1, up_to: end }.read(step, seen, direction, 1)?
        }
        Direction::Backward => {
            let at = Pages { after: low - 1, up_to: end }.first(step, visit)?;
            let exact = at.filter(|event| event.fields.origin_server_ts == time);
            let up_to = exact.map_or(low - 1, |event| event.number()).min(end);
            Pages { after: 0, up_to }.read(step, seen, direction, 1)?
        }
    };
    Ok(page.events.into_iter().next())
}

impl Pages {
    /// The first event, seen or not.
    fn first(&self, step: &Step<'_>, visit: &Visit<'_>) -> Result<Option<RoomEvent>, Broken> {
        let Self { after, up_to } = *self;
        let span = Span { after, up_to, order: Order::Ascending, limit: 1 };
        let rows = step.scan_numbers(TIMELINE, (&visit.room,), &span)?;
        rows.first().map(|(_, id)| RoomEvent::expect(step, id)).transpose()
    }
}
