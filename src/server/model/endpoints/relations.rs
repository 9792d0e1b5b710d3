//! Events that relate to one, and the threads of a room.

use ruma::{
    UInt,
    api::{
        Direction,
        client::{
            relations::{
                get_relating_events::v1 as all, get_relating_events_with_rel_type::v1 as by_type,
                get_relating_events_with_rel_type_and_event_type::v1 as by_types,
            },
            threads::get_threads::v1::{self as get_threads, IncludeThreads},
        },
    },
};

use crate::{
    matrix::{OwnedEventId, OwnedRoomId},
    server::model::{
        records::THREADS_BY_NEWEST,
        refusal::{Refusal, Stop},
        rooms::{
            Reader, RoomEvent, Visit,
            relations::{self, Wanted},
        },
        route::{Context, Routes},
        step::{Span, Step},
        table::Order,
        token::{page_number, page_token},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(any_relations);
    routes.add(relations_of_type);
    routes.add(relations_of_types);
    routes.add(threads);
}

/// Events of a page when the call names no number.
const DEFAULT_LIMIT: usize = 5;
/// Most events of a page.
const MAX_LIMIT: usize = 100;
/// How far relations of relations are followed.
const MAX_DEPTH: u32 = 3;

/// One of the three calls, which differ by how much of the path they have.
struct Ask {
    room: OwnedRoomId,
    event: OwnedEventId,
    rel_type: Option<String>,
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
    direction: Direction,
    limit: Option<UInt>,
    depth: u32,
}

/// A page of the answer.
struct Page<'a> {
    visit: Visit<'a>,
    events: Vec<RoomEvent>,
    next: Option<String>,
    previous: Option<String>,
}

macro_rules! ask {
    ($request:ident, $rel_type:expr, $kind:expr) => {
        Ask {
            room: $request.room_id,
            event: $request.event_id,
            rel_type: $rel_type,
            kind: $kind,
            from: $request.from,
            to: $request.to,
            direction: $request.dir,
            limit: $request.limit,
            depth: if $request.recurse { MAX_DEPTH } else { 1 },
        }
    };
}

fn any_relations(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: all::Request,
) -> Result<all::Response, Stop> {
    let recursion = request.recurse.then(|| UInt::from(MAX_DEPTH));
    let page = ask!(request, None, None).page(step, context)?;
    let mut response = all::Response::new(page.visit.show_all(step, &page.events)?);
    (response.next_batch, response.prev_batch) = (page.next, page.previous);
    response.recursion_depth = recursion;
    Ok(response)
}

fn relations_of_type(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: by_type::Request,
) -> Result<by_type::Response, Stop> {
    let recursion = request.recurse.then(|| UInt::from(MAX_DEPTH));
    let rel_type = Some(request.rel_type.to_string());
    let page = ask!(request, rel_type, None).page(step, context)?;
    let mut response = by_type::Response::new(page.visit.show_all(step, &page.events)?);
    (response.next_batch, response.prev_batch) = (page.next, page.previous);
    response.recursion_depth = recursion;
    Ok(response)
}

fn relations_of_types(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: by_types::Request,
) -> Result<by_types::Response, Stop> {
    let recursion = request.recurse.then(|| UInt::from(MAX_DEPTH));
    let (rel_type, kind) = (request.rel_type.to_string(), request.event_type.to_string());
    let page = ask!(request, Some(rel_type), Some(kind)).page(step, context)?;
    let mut response = by_types::Response::new(page.visit.show_all(step, &page.events)?);
    (response.next_batch, response.prev_batch) = (page.next, page.previous);
    response.recursion_depth = recursion;
    Ok(response)
}

impl Ask {
    fn page<'a>(self, step: &Step<'_>, context: &Context<'a>) -> Result<Page<'a>, Refusal> {
        let visit = Visit::of_reader(step, context.caller()?, self.room)?;
        visit.event(step, &self.event)?;
        let place = |token: &Option<String>| token.as_deref().map(page_number).transpose();
        let (from, to) = (place(&self.from)?, place(&self.to)?);
        let numbers = match self.direction {
            Direction::Backward => (to.unwrap_or(0), from.unwrap_or(u64::MAX)),
            Direction::Forward => (from.unwrap_or(0), to.unwrap_or(u64::MAX)),
        };
        let wanted = Wanted {
            rel_type: self.rel_type,
            kind: self.kind,
            depth: self.depth,
            direction: self.direction,
            numbers,
        };
        let limit = limit(self.limit);
        let mut events = relations::find(step, &self.event, &wanted)?;
        events.retain(|event| visit.sight.sees(event));
        let has_more = limit < events.len();
        events.truncate(limit);
        let next = events.last().filter(|_| has_more).map(|last| match self.direction {
            Direction::Backward => page_token(last.number().saturating_sub(1)),
            Direction::Forward => page_token(last.number()),
        });
        Ok(Page { visit, events, next, previous: self.from })
    }
}

fn limit(limit: Option<UInt>) -> usize {
    let limit = limit.map(|limit| usize::try_from(u64::from(limit)).unwrap_or(MAX_LIMIT));
    limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

fn threads(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_threads::Request,
) -> Result<get_threads::Response, Stop> {
    let visit = Visit::of_reader(step, context.caller()?, request.room_id)?;
    let limit = limit(request.limit);
    let up_to = request.from.as_deref().map(page_number).transpose()?.unwrap_or(u64::MAX);
    let span = Span { after: 0, up_to, order: Order::Descending, limit: limit + 1 };
    let rows = step.scan_numbers(THREADS_BY_NEWEST, (&visit.room,), &span)?;
    let mut response = get_threads::Response::new(Vec::new());
    for (place, (mut key, first)) in rows.into_iter().enumerate() {
        if place == limit {
            key.text()?;
            response.next_batch = Some(page_token(key.number()?));
            break;
        }
        let first = RoomEvent::expect(step, &first)?;
        let reader = Reader { caller: visit.caller, sight: &visit.sight };
        let is_wanted = request.include != IncludeThreads::Participated
            || relations::is_in_thread(step, &first, reader)?;
        if is_wanted && visit.sight.sees(&first) {
            response.chunk.push(visit.show(step, &first)?);
        }
    }
    Ok(response)
}
