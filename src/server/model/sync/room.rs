//! What a client gets of one room.

use std::collections::BTreeMap;

use ruma::{
    UInt,
    api::client::sync::sync_events::{
        UnreadNotificationsCount,
        v3::{
            Ephemeral, InviteState, InvitedRoom, JoinedRoom, KnockState, KnockedRoom, LeftRoom,
            RoomAccountData, RoomSummary, State, StateEvents, Timeline as TimelineAnswer,
        },
    },
    serde::Raw,
};
use serde_json::{json, value::to_raw_value};

use super::{
    News, Question, account_data,
    filter::{allows_room, is_lazy, timeline_limit},
    invite::stripped_state,
    question::Placing,
    state::{self, MEMBER},
    summary,
    timeline::{PastState, Timeline, Wanted},
};
use crate::{
    matrix::{OwnedEventId, RoomId},
    server::model::{
        push::{Count, personal, unread},
        receipts::receipts_since,
        records::{MEMBERSHIPS, MembershipRecord, ROOMS},
        rooms::{Reader, RoomEvent, Sight, filter::passes_kind, raw, sync_event},
        route::Caller,
        step::Step,
        table::Broken,
        token::page_token,
    },
};

/// What is new in a room, by what the device's owner is to it.
#[derive(Clone, Debug)]
pub(crate) enum RoomNews {
    /// They are in it.
    Joined(Box<JoinedRoom>),
    /// They were, or never came in.
    Left(Box<LeftRoom>),
    /// They may come in.
    Invited(InvitedRoom),
    /// They asked to come in.
    Knocked(KnockedRoom),
}

impl RoomNews {
    /// What is new in a room; `None` when nothing is.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(
        step: &mut Step<'_>,
        question: &Question<'_>,
        news: &News,
        room: &RoomId,
    ) -> Result<Option<Self>, Broken> {
        let Some(membership) = step.get(MEMBERSHIPS, (&*question.caller.user, room))? else {
            return Ok(None);
        };
        if !allows_room(&question.filter, room) {
            return Ok(None);
        }
        let is_new = question.wants_all() || question.since_number() < membership.number;
        match membership.membership.as_str() {
            "join" => {
                let joined = joined(step, question, news, room)?;
                Ok(joined.map(|joined| Self::Joined(Box::new(joined))))
            }
            "invite" if is_new => invited(step, question, &membership),
            "knock" if is_new => {
                let mut state = KnockState::new();
                state.events = stripped_state(step, &membership)?;
                Ok(Some(Self::Knocked(state.into())))
            }
            "leave" | "ban" if is_new => left(step, question, (news, room), &membership),
            _ => Ok(None),
        }
    }
}

/// An invitation, unless it comes from somebody who is ignored.
fn invited(
    step: &mut Step<'_>,
    question: &Question<'_>,
    membership: &MembershipRecord,
) -> Result<Option<RoomNews>, Broken> {
    let invite = RoomEvent::expect(step, &membership.event)?;
    if personal(step, &question.caller.user)?.ignored.contains(&invite.fields.sender) {
        return Ok(None);
    }
    let mut state = InviteState::new();
    state.events = stripped_state(step, membership)?;
    Ok(Some(RoomNews::Invited(state.into())))
}

/// A stretch of a room's history that an answer is about.
struct Stretch<'a> {
    room: &'a RoomId,
    sight: Sight,
    /// The device has everything up to here; nothing when it has nothing of the room.
    after: Option<u64>,
    up_to: u64,
}

impl Stretch<'_> {
    fn timeline(&self, step: &mut Step<'_>, question: &Question<'_>) -> Result<Timeline, Broken> {
        let personal = personal(step, &question.caller.user)?;
        Timeline::read(
            step,
            &Wanted {
                room: self.room,
                user: &question.caller.user,
                sight: &self.sight,
                ignored: &personal.ignored,
                filter: &question.filter.room.timeline,
                limit: timeline_limit(&question.filter),
                past_state: PastState::Shown,
                after: self.after,
                up_to: self.up_to,
            },
        )
    }

    fn timeline_answer(
        &self,
        step: &Step<'_>,
        question: &Question<'_>,
        timeline: &Timeline,
    ) -> Result<TimelineAnswer, Broken> {
        let mut answer = TimelineAnswer::new();
        answer.limited = timeline.is_limited;
        answer.prev_batch = Some(page_token(timeline.begins));
        answer.events = write(step, question.caller, &self.sight, &timeline.events)?;
        Ok(answer)
    }
}

/// Events as a sync has them.
///
/// # Errors
/// When the records are broken.
pub(crate) fn write<T>(
    step: &Step<'_>,
    caller: &Caller,
    sight: &Sight,
    events: &[RoomEvent],
) -> Result<Vec<Raw<T>>, Broken> {
    let reader = Reader { caller, sight };
    events.iter().map(|event| Ok(raw(sync_event(step, event, reader)?))).collect()
}

/// A room that the device's owner is in; `None` when nothing happened there.
fn joined(
    step: &mut Step<'_>,
    question: &Question<'_>,
    news: &News,
    room: &RoomId,
) -> Result<Option<JoinedRoom>, Broken> {
    let me = &*question.caller.user;
    let sight = Sight::read(step, room, me)?;
    let since = question.since.map(|since| since.number);
    let was_in = since.is_some_and(|since| sight.was_joined_since(since));
    let is_new = since.is_some() && !was_in;
    let wants_full = question.wants_all() || is_new;
    let stretch =
        Stretch { room, sight, after: since.filter(|_| was_in), up_to: question.now.number };
    let mut timeline = stretch.timeline(step, question)?;
    timeline.is_limited |= is_new;
    let mut account_data = RoomAccountData::new();
    let all = News::all();
    let news = if wants_full { &all } else { news };
    let ephemeral = ephemeral(step, question, news, room)?;
    account_data.events = account_data::of_room(step, question, news, room)?;
    let is_empty = timeline.events.is_empty() && !timeline.is_limited;
    if !wants_full && is_empty && ephemeral.events.is_empty() && account_data.events.is_empty() {
        return Ok(None);
    }
    let mut state = state::beside(
        step,
        question,
        &state::Wanted {
            room,
            timeline: &timeline,
            after: stretch.after.filter(|_| !wants_full),
            up_to: stretch.up_to,
        },
    )?;
    let mut answer = JoinedRoom::new();
    answer.summary = summary(step, question, room, (&timeline, &mut state))?;
    answer.timeline = stretch.timeline_answer(step, question, &timeline)?;
    answer.state = placed(question, write(step, question.caller, &stretch.sight, &state)?);
    answer.ephemeral = ephemeral;
    answer.account_data = account_data;
    count_unread(step, question, room, &mut answer)?;
    Ok(Some(answer))
}

fn placed(question: &Question<'_>, events: Vec<Raw<ruma::events::AnySyncStateEvent>>) -> State {
    let events = StateEvents::with_events(events);
    match question.placing {
        Placing::Before => State::Before(events),
        Placing::After => State::After(events),
    }
}

/// Who types, and who has read what.
fn ephemeral(
    step: &Step<'_>,
    question: &Question<'_>,
    news: &News,
    room: &RoomId,
) -> Result<Ephemeral, Broken> {
    let filter = &question.filter.room.ephemeral;
    let mut answer = Ephemeral::new();
    let mut add = |kind: &str, content: serde_json::Value| -> Result<(), Broken> {
        let event = to_raw_value(&json!({ "type": kind, "content": content }));
        answer.events.push(Raw::from_json(event.map_err(|error| Broken(error.to_string()))?));
        Ok(())
    };
    if passes_kind(filter, room, "m.typing")
        && let Some(users) = step.volatile.typing.changed(room, question.since_serial())
        && (question.since.is_some() || !users.is_empty())
    {
        add("m.typing", json!({ "user_ids": users }))?;
    }
    if news.has_receipts(room)
        && passes_kind(filter, room, "m.receipt")
        && let Some(content) =
            receipts_since(step, room, &question.caller.user, question.since_number())?
    {
        add("m.receipt", content)?;
    }
    Ok(answer)
}

/// What names the room, and the members that are missing for it: for clients that do not have
/// all members, when those changed.
fn summary(
    step: &mut Step<'_>,
    question: &Question<'_>,
    room: &RoomId,
    (timeline, state): (&Timeline, &mut Vec<RoomEvent>),
) -> Result<RoomSummary, Broken> {
    let mut summary = RoomSummary::new();
    let is_member = |event: &RoomEvent| event.kind() == MEMBER;
    let is_wanted = question.since.is_none()
        || timeline.events.iter().any(is_member)
        || timeline.is_limited && state.iter().any(is_member);
    if !is_lazy(&question.filter) || !is_wanted {
        return Ok(summary);
    }
    let record = step.get(ROOMS, (room,))?;
    let count = |count: Option<u64>| count.and_then(|count| UInt::try_from(count).ok());
    summary.joined_member_count = count(record.as_ref().map(|record| record.joined));
    summary.invited_member_count = count(record.as_ref().map(|record| record.invited));
    if summary::name(step, room)?.is_some() || summary::canonical_alias(step, room)?.is_some() {
        return Ok(summary);
    }
    for hero in summary::heroes(step, room, &question.caller.user)? {
        let is_there = |event: &RoomEvent| event.is(MEMBER, hero.user.as_str());
        let is_known = timeline.events.iter().any(is_there)
            || state.iter().any(is_there)
            || step.volatile.sent_members.has(
                question.caller,
                &hero.event,
                question.since_number(),
            );
        if !is_known {
            state.push(RoomEvent::expect(step, &hero.event)?);
            let end = question.now.number;
            step.volatile.sent_members.note(question.caller, &hero.event, end);
        }
        summary.heroes.push(hero.user);
    }
    Ok(summary)
}

fn count_unread(
    step: &mut Step<'_>,
    question: &Question<'_>,
    room: &RoomId,
    answer: &mut JoinedRoom,
) -> Result<(), Broken> {
    let counts = unread(step, room, &question.caller.user)?;
    if question.filter.room.timeline.unread_thread_notifications {
        answer.unread_notifications = counted(counts.main);
        answer.unread_thread_notifications = counts
            .threads
            .into_iter()
            .map(|(thread, count)| (thread, counted(count)))
            .collect::<BTreeMap<OwnedEventId, _>>();
    } else {
        answer.unread_notifications = counted(counts.total());
    }
    Ok(())
}

/// As a client gets it.
pub(crate) fn counted(count: Count) -> UnreadNotificationsCount {
    let mut answer = UnreadNotificationsCount::new();
    answer.notification_count = UInt::try_from(count.notifications).ok();
    answer.highlight_count = UInt::try_from(count.highlights).ok();
    answer
}

/// A room that the device's owner left, up to where they did.
fn left(
    step: &mut Step<'_>,
    question: &Question<'_>,
    (news, room): (&News, &RoomId),
    membership: &MembershipRecord,
) -> Result<Option<RoomNews>, Broken> {
    let me = &*question.caller.user;
    let member = RoomEvent::expect(step, &membership.event)?;
    let is_own_choice = membership.membership == "leave" && member.fields.sender == me;
    if question.since.is_none() && is_own_choice && !question.filter.room.include_leave {
        return Ok(None);
    }
    let sight = Sight::read(step, room, me)?;
    // Who came in and went since then has nothing of the room.
    let since = question.since.map(|since| since.number);
    let after = since
        .filter(|since| sight.membership_at(*since) == "join" || !sight.has_joined_after(*since));
    let stretch = Stretch { room, sight, after, up_to: membership.number };
    let timeline = stretch.timeline(step, question)?;
    // Who was never in knows nothing of the state; who was, nothing of what came after they left.
    let known = stretch.sight.end().filter(|_| stretch.sight.was_joined());
    let state = match known {
        Some(end) => state::beside(
            step,
            question,
            &state::Wanted {
                room,
                timeline: &timeline,
                after: stretch.after.filter(|_| !question.wants_all()),
                up_to: stretch.up_to.min(end),
            },
        )?,
        None => Vec::new(),
    };
    let mut answer = LeftRoom::new();
    answer.timeline = stretch.timeline_answer(step, question, &timeline)?;
    answer.state = placed(question, write(step, question.caller, &stretch.sight, &state)?);
    answer.account_data.events = account_data::of_room(step, question, news, room)?;
    Ok(Some(RoomNews::Left(Box::new(answer))))
}
