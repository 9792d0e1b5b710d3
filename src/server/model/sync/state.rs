//! The state of a room that a client needs to understand a timeline.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Question,
    filter::{is_lazy, is_redundant},
    question::Placing,
    timeline::Timeline,
};
use crate::{
    matrix::{OwnedEventId, RoomId},
    server::model::{
        records::{STATE, STATE_HISTORY, STATE_LOG},
        rooms::{RoomEvent, filter::passes},
        step::{Span, Step},
        table::{Broken, Order},
    },
};

/// The type of the events that make members.
pub(crate) const MEMBER: &str = "m.room.member";

/// Type and state key.
pub(crate) type StateKey = (String, String);
/// A state: what stands under each type and state key.
pub(crate) type State = BTreeMap<StateKey, OwnedEventId>;

/// The members that are wanted of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Members<'a> {
    /// All.
    All,
    /// These.
    Of(&'a BTreeSet<String>),
}

/// Which state is wanted beside a timeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) room: &'a RoomId,
    pub(super) timeline: &'a Timeline,
    /// The device has the state up to here; nothing when it has none.
    pub(super) after: Option<u64>,
    /// Where the timeline ends, or what its reader may know of the state.
    pub(super) up_to: u64,
}

/// The state events to send beside a timeline.
pub(super) fn beside(
    step: &mut Step<'_>,
    question: &Question<'_>,
    wanted: &Wanted<'_>,
) -> Result<Vec<RoomEvent>, Broken> {
    let is_lazy = is_lazy(&question.filter);
    let mut members = BTreeSet::new();
    if is_lazy {
        members = speakers(wanted.timeline, question.placing);
        if wanted.after.is_none() {
            members.insert(question.caller.user.to_string());
        }
    }
    let first = wanted.timeline.events.first().map_or(wanted.up_to, RoomEvent::number);
    let first = first.min(wanted.up_to);
    let moment = match question.placing {
        Placing::Before => first,
        Placing::After => wanted.up_to,
    };
    let (mut state, changed) = match wanted.after {
        None if is_lazy => (state_at(step, wanted.room, moment, Members::Of(&members))?, None),
        None => (state_at(step, wanted.room, moment, Members::All)?, None),
        Some(after) => {
            let is_gap = wanted.timeline.is_limited || question.placing == Placing::After;
            let changed =
                if is_gap { changes(step, wanted.room, after, moment)? } else { State::new() };
            let mut state = members_at(step, wanted.room, moment, &members)?;
            state.extend(changed.clone());
            (state, Some(changed))
        }
    };
    if question.placing == Placing::Before {
        let shown: BTreeSet<_> = wanted.timeline.events.iter().map(|event| &event.id).collect();
        state.retain(|_, id| !shown.contains(id));
    }
    if is_lazy && !is_redundant(&question.filter) {
        leave_out_known(step, question, (&mut state, changed.as_ref()), wanted.timeline);
    }
    let mut events = Vec::new();
    for (_, id) in state {
        let event = RoomEvent::expect(step, &id)?;
        if passes(&question.filter.room.state, &event) {
            events.push(event);
        }
    }
    Ok(events)
}

/// Whose member events a client needs to show these events.
fn speakers(timeline: &Timeline, placing: Placing) -> BTreeSet<String> {
    let (mut speakers, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for event in &timeline.events {
        let sender = event.fields.sender.as_str();
        if placing == Placing::After || !shown.contains(sender) {
            speakers.insert(sender.to_owned());
        }
        if event.kind() == MEMBER {
            shown.extend(event.fields.state_key.as_deref());
        }
    }
    speakers
}

/// Takes out the members that the device has, and notes those that it gets.
fn leave_out_known(
    step: &mut Step<'_>,
    question: &Question<'_>,
    (state, changed): (&mut State, Option<&State>),
    timeline: &Timeline,
) {
    let (caller, since, end) = (question.caller, question.since_number(), question.now.number);
    let sent = &mut step.volatile.sent_members;
    state.retain(|key, id| {
        key.0 != MEMBER
            || changed.is_none_or(|changed| changed.contains_key(key))
            || !sent.has(caller, id, since)
    });
    let members = state.iter().filter(|(key, _)| key.0 == MEMBER).map(|(_, id)| id);
    let shown = timeline.events.iter().filter(|event| event.kind() == MEMBER);
    for id in members.chain(shown.map(|event| &event.id)) {
        sent.note(caller, id, end);
    }
}

/// The state of a room once the event of this number was there.
///
/// # Errors
/// When the records are broken.
pub(crate) fn state_at(
    step: &Step<'_>,
    room: &RoomId,
    moment: u64,
    members: Members<'_>,
) -> Result<State, Broken> {
    let (mut state, rows) = match members {
        Members::All => (State::new(), step.scan(STATE, (room,))?),
        Members::Of(users) => {
            let mut rows = step.scan_before(STATE, (room,), &MEMBER)?;
            rows.extend(step.scan_after(STATE, (room,), Some(&MEMBER), usize::MAX)?);
            (members_at(step, room, moment, users)?, rows)
        }
    };
    for (mut key, current) in rows {
        key.text()?;
        let key = (key.text()?, key.text()?);
        let event = if current.number <= moment {
            Some(current.event)
        } else {
            before(step, room, &key, moment)?
        };
        state.extend(event.map(|event| (key, event)));
    }
    Ok(state)
}

/// The member events of these users once the event of this number was there.
///
/// # Errors
/// When the records are broken.
pub(crate) fn members_at(
    step: &Step<'_>,
    room: &RoomId,
    moment: u64,
    users: &BTreeSet<String>,
) -> Result<State, Broken> {
    let mut members = State::new();
    for user in users {
        let key = (MEMBER.to_owned(), user.clone());
        members.extend(entry_at(step, room, &key, moment)?.map(|event| (key, event)));
    }
    Ok(members)
}

/// What stood under a type and state key once the event of this number was there.
///
/// # Errors
/// When the records are broken.
pub(crate) fn entry_at(
    step: &Step<'_>,
    room: &RoomId,
    key: &StateKey,
    moment: u64,
) -> Result<Option<OwnedEventId>, Broken> {
    match step.get(STATE, (room, &key.0, &key.1))? {
        Some(current) if current.number <= moment => Ok(Some(current.event)),
        Some(_) => before(step, room, key, moment),
        None => Ok(None),
    }
}

fn before(
    step: &Step<'_>,
    room: &RoomId,
    key: &StateKey,
    moment: u64,
) -> Result<Option<OwnedEventId>, Broken> {
    let span = Span { after: 0, up_to: moment, order: Order::Descending, limit: 1 };
    let rows = step.scan_numbers(STATE_HISTORY, (room, &key.0, &key.1), &span)?;
    Ok(rows.into_iter().next().map(|(_, event)| event))
}

/// What changed after one number and up to another.
///
/// # Errors
/// When the records are broken.
pub(crate) fn changes(
    step: &Step<'_>,
    room: &RoomId,
    after: u64,
    up_to: u64,
) -> Result<State, Broken> {
    let span = Span { after, up_to, order: Order::Ascending, limit: usize::MAX };
    let rows = step.scan_numbers(STATE_LOG, (room,), &span)?;
    let keys: BTreeSet<StateKey> = rows.into_iter().map(|(_, key)| key).collect();
    let mut state = State::new();
    for key in keys {
        state.extend(entry_at(step, room, &key, up_to)?.map(|event| (key, event)));
    }
    Ok(state)
}
