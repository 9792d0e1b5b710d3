//! Sliding sync.
//!
//! # Spec
//! MSC4186, "Simplified Sliding Sync".

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ruma::{
    UInt,
    api::client::{
        filter::FilterDefinition,
        sync::sync_events::v5::{Request, Response, request, response},
    },
};
use serde_json::json;

use super::sync::typing_ends;
use crate::{
    matrix::OwnedRoomId,
    server::model::{
        accounts::tokens::token_hash,
        records::MEMBERSHIPS,
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        sliding::{
            Asked, Interest, Memory, SentRoom, Wish, direct_rooms,
            extensions::{self, Scope},
            room_news,
        },
        step::Step,
        sync::{AccountNews, Extent, News, Placing, Question},
        table::Broken,
        token::SyncToken,
    },
};

/// Most lists of a request.
const MAX_LISTS: usize = 100;
/// Most pieces of state that all lists ask for: each room may have to remember all of them.
const MAX_STATE_OF_LISTS: usize = 500;
/// Most that all subscriptions ask for.
const MAX_STATE_OF_ROOMS: usize = 10_000;
/// Most ranges of a list.
const MAX_RANGES: usize = 100;
/// Longest name of a connection or a list, in bytes.
const MAX_NAME: usize = 255;

pub(super) fn add(routes: &mut Routes) {
    routes.add(sync);
}

fn sync(step: &mut Step<'_>, context: &Context<'_>, request: Request) -> Result<Response, Stop> {
    check(&request)?;
    let caller = context.caller()?;
    let volatile = &mut *step.volatile;
    volatile.typing.expire(step.now, &mut volatile.serials);
    let line =
        (caller.user.clone(), caller.device.clone(), request.conn_id.clone().unwrap_or_default());
    let (since, before) = match volatile.connections.resume(&line, request.pos.as_deref())? {
        Some((since, memory)) => (Some(since), memory),
        None => (None, Arc::default()),
    };
    let serial = step.volatile.serials.last();
    let question = Question {
        caller,
        filter: FilterDefinition::default(),
        since,
        now: SyncToken { number: step.position()?, serial, to_device: None },
        extent: Extent::Changes,
        placing: Placing::After,
    };
    let mut answering = Answering {
        news: News::read(step, &question)?,
        memory: Memory { rooms: before.rooms.clone(), ..Memory::default() },
        question,
        before,
        scope: Scope::default(),
    };
    let mut answer = Response::new(String::new());
    answering.find(step, &request)?;
    answer.rooms = answering.rooms(step)?;
    answer.extensions = answering.extensions(step, &request.extensions)?;
    let timeout = request.timeout.unwrap_or_default();
    let may_wait = since.is_some() && !context.is_late && !timeout.is_zero();
    if may_wait && is_empty(&answer) {
        return Err(Stop::Wait(answering.patience(step, timeout)?));
    }
    let Answering { memory, question, .. } = answering;
    answer.txn_id = request.txn_id;
    answer.lists = lists(&memory);
    answer.pos = step.volatile.connections.advance(&line, &question.now, memory);
    Ok(answer)
}

/// What is asked for is remembered, for each connection and partly for each room: it is bounded.
fn check(request: &Request) -> Result<(), Refusal> {
    let Request { lists, room_subscriptions: rooms, conn_id, .. } = request;
    let mut ranges = lists.values().flat_map(|list| &list.ranges);
    if ranges.any(|(start, end)| end < start) {
        return Err(Refusal::bad_json("a range ends before it starts"));
    }
    let too_much = |what: &str| Err(Refusal::bad_json(format!("there are too many {what}")));
    if MAX_LISTS < lists.len() {
        return too_much("lists");
    }
    if lists.values().any(|list| MAX_RANGES < list.ranges.len()) {
        return too_much("ranges in a list");
    }
    let of_lists = lists.values().map(|list| list.room_details.required_state.len());
    let of_rooms = rooms.values().map(|room| room.required_state.len());
    if MAX_STATE_OF_LISTS < of_lists.sum() || MAX_STATE_OF_ROOMS < of_rooms.sum() {
        return too_much("pieces of required state");
    }
    let names = lists.keys().map(String::as_str).chain(conn_id.as_deref());
    if names.map(str::len).any(|length| MAX_NAME < length) {
        return Err(Refusal::bad_json("the name of a list or of the connection is too long"));
    }
    Ok(())
}

fn lists(memory: &Memory) -> BTreeMap<String, response::List> {
    let list = |count: u64| {
        let mut list = response::List::default();
        list.count = UInt::try_from(count).unwrap_or_default();
        list
    };
    memory.counts.iter().map(|(name, count)| (name.clone(), list(*count))).collect()
}

/// Whether the client would learn nothing.
fn is_empty(answer: &Response) -> bool {
    let response::Extensions { to_device, e2ee, account_data, receipts, typing, .. } =
        &answer.extensions;
    answer.rooms.is_empty()
        && to_device.as_ref().is_none_or(|to_device| to_device.events.is_empty())
        && e2ee.device_lists.is_empty()
        && account_data.is_empty()
        && receipts.is_empty()
        && typing.is_empty()
}

/// An answer that is being made.
struct Answering<'a> {
    question: Question<'a>,
    news: News,
    /// What the client has.
    before: Arc<Memory>,
    /// What it has with this answer.
    memory: Memory,
    scope: Scope,
}

impl Answering<'_> {
    /// Finds the rooms that the request is about. The same request again, with nothing new
    /// anywhere, is about the same rooms: they are not looked for.
    fn find(&mut self, step: &Step<'_>, request: &Request) -> Result<(), Broken> {
        let asked = token_hash(&json!([request.lists, request.room_subscriptions]).to_string());
        let is_known = self.question.since.is_some()
            && self.before.request == asked
            && !self.concerns_lists(step)?;
        self.memory.request = asked;
        if is_known {
            self.memory.counts.clone_from(&self.before.counts);
            self.memory.wishes.clone_from(&self.before.wishes);
            self.scope.lists.clone_from(&self.before.lists);
            self.scope.subscribed = request.room_subscriptions.keys().cloned().collect();
        } else {
            self.find_listed(step, request)?;
            self.find_subscribed(step, request)?;
        }
        self.memory.lists.clone_from(&self.scope.lists);
        Ok(())
    }

    /// Whether lists may be others than before.
    fn concerns_lists(&self, step: &Step<'_>) -> Result<bool, Broken> {
        let has_direct = match &self.news.account_data {
            AccountNews::All => true,
            AccountNews::Of(places) => places.iter().any(|(_, kind)| kind == "m.direct"),
        };
        for room in &self.news.rooms {
            if step.get(MEMBERSHIPS, (&*self.question.caller.user, &**room))?.is_some() {
                return Ok(true);
            }
        }
        Ok(has_direct)
    }

    fn find_listed(&mut self, step: &Step<'_>, request: &Request) -> Result<(), Broken> {
        if request.lists.is_empty() {
            return Ok(());
        }
        let me = &self.question.caller.user;
        let (before, since) = (&self.before, self.question.since_number());
        let all = Interest::all(step, me, |room, number| {
            let sent = before.rooms.get(room);
            sent.is_some_and(|sent| sent.missing_after.unwrap_or(since) < number)
        })?;
        if all.iter().any(|i| i.membership.membership == "leave" && since < i.membership.number) {
            // Rooms that were left are in this answer for the last time.
            self.memory.request.clear();
        }
        let direct = direct_rooms(step, me)?;
        for (name, list) in &request.lists {
            let wish = Wish::of_list(&list.room_details, me);
            let (mut count, mut found) = (0_u64, BTreeSet::new());
            for interest in &all {
                if let Some(filters) = &list.filters
                    && !interest.passes(step, filters, &direct)?
                {
                    continue;
                }
                if is_in_window(list, count) {
                    self.memory.wishes.entry(interest.room.clone()).or_default().join(&wish);
                    found.insert(interest.room.clone());
                }
                count += 1;
            }
            self.memory.counts.insert(name.clone(), count);
            self.scope.lists.insert(name.clone(), found);
        }
        Ok(())
    }

    fn find_subscribed(&mut self, step: &Step<'_>, request: &Request) -> Result<(), Broken> {
        let me = &self.question.caller.user;
        for (room, subscription) in &request.room_subscriptions {
            if Interest::one(step, me, room)?.is_some() {
                let wish = Wish::of_room(subscription, me);
                self.memory.wishes.entry(room.clone()).or_default().join(&wish);
                self.scope.subscribed.insert(room.clone());
            }
        }
        Ok(())
    }

    /// What is new in the rooms, and what the client then has.
    fn rooms(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<BTreeMap<OwnedRoomId, response::Room>, Broken> {
        let since = self.question.since.map(|since| since.number);
        // Of the rooms that are no longer asked for, the client has what it has now.
        for (room, sent) in &mut self.memory.rooms {
            if sent.missing_after.is_none() && !self.memory.wishes.contains_key(room) {
                *sent = Arc::new(SentRoom { missing_after: since, ..(**sent).clone() });
            }
        }
        let direct = direct_rooms(step, &self.question.caller.user)?;
        let mut rooms = BTreeMap::new();
        for (room, wish) in self.memory.wishes.clone() {
            let sent = self.before.rooms.get(&room).cloned();
            let is_old = sent.as_ref().is_some_and(|sent| {
                sent.missing_after.is_none()
                    && sent.wish == wish
                    && !self.news.rooms.contains(&room)
            });
            if is_old {
                continue;
            }
            let Some(interest) = Interest::one(step, &self.question.caller.user, &room)? else {
                continue;
            };
            let asked = Asked {
                caller: self.question.caller,
                interest: &interest,
                wish: &wish,
                sent,
                since,
                now: self.question.now.number,
                is_direct: direct.contains(&room),
            };
            let (answer, now_sent) = room_news(step, &asked)?;
            self.note_scope(&room, &asked, answer.as_ref());
            self.memory.rooms.insert(room.clone(), Arc::new(now_sent));
            rooms.extend(answer.map(|answer| (room, answer)));
        }
        Ok(rooms)
    }

    /// Notes since when a room is new, for the extensions.
    fn note_scope(
        &mut self,
        room: &OwnedRoomId,
        asked: &Asked<'_>,
        answer: Option<&response::Room>,
    ) {
        match &asked.sent {
            None => {
                let prev = answer.and_then(|answer| answer.prev_batch.as_deref());
                let begins = prev.and_then(|prev| prev.strip_prefix('t')?.parse().ok());
                self.scope.begins.insert(room.clone(), begins.unwrap_or(0));
            }
            Some(sent) => {
                let missing = sent.missing_after.map(|after| (room.clone(), after));
                self.scope.after.extend(missing);
            }
        }
    }

    fn extensions(
        &self,
        step: &mut Step<'_>,
        asked: &request::Extensions,
    ) -> Result<response::Extensions, Stop> {
        let (question, news, scope) = (&self.question, &self.news, &self.scope);
        let is_on = |enabled: Option<bool>| enabled == Some(true);
        let mut answer = response::Extensions::default();
        let now = question.now.number;
        answer.to_device = extensions::to_device(step, question.caller, &asked.to_device, now)?;
        if is_on(asked.e2ee.enabled) {
            answer.e2ee = extensions::e2ee(step, question, news)?;
        }
        if is_on(asked.account_data.enabled) {
            let scoped = (&asked.account_data, scope);
            answer.account_data = extensions::account_data(step, question, scoped, news)?;
        }
        if is_on(asked.receipts.enabled) {
            let scoped = (&asked.receipts, scope);
            answer.receipts = extensions::receipts(step, question, scoped, news)?;
        }
        if is_on(asked.typing.enabled) {
            answer.typing = extensions::typing(step, question, (&asked.typing, scope))?;
        }
        Ok(answer)
    }

    /// How long to wait: until the client gives up, or somebody is no longer typing.
    fn patience(&self, step: &Step<'_>, timeout: Duration) -> Result<Duration, Refusal> {
        let ends = typing_ends(step, &self.question)?;
        Ok(ends.map_or(timeout, |ends| timeout.min(ends.since(step.now))))
    }
}

fn is_in_window(list: &request::List, place: u64) -> bool {
    list.ranges.iter().any(|(start, end)| (u64::from(*start)..=u64::from(*end)).contains(&place))
}
