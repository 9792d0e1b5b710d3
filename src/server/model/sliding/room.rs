//! What a client gets of one room.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{
    JsOption, OwnedMxcUri, UInt,
    api::client::{
        filter::RoomEventFilter,
        sync::sync_events::v5::response::{Hero, Room},
    },
};
use serde::Deserialize;

use super::{Interest, SentRoom, Wish};
use crate::{
    matrix::{OwnedEventId, RoomId},
    server::model::{
        push::{personal, unread},
        records::ROOMS,
        rooms::{RoomEvent, Sight, current},
        route::Caller,
        step::Step,
        sync::{
            counted, heroes, room_name,
            state::{MEMBER, Members, State, changes, members_at, state_at},
            stripped_state,
            timeline::{PastState, Timeline, Wanted},
            write,
        },
        table::Broken,
        token::page_token,
    },
};

/// What is asked of a room.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) interest: &'a Interest,
    pub(crate) wish: &'a Wish,
    /// What the client has of it.
    pub(crate) sent: Option<Arc<SentRoom>>,
    /// The number of the client's place; nothing when the connection is new.
    pub(crate) since: Option<u64>,
    /// Where the answer ends.
    pub(crate) now: u64,
    pub(crate) is_direct: bool,
}

impl Asked<'_> {
    fn room(&self) -> &RoomId {
        &self.interest.room
    }

    /// The client has everything up to here; nothing when it has nothing of the room.
    fn after(&self) -> Option<u64> {
        self.sent.as_ref().and_then(|sent| sent.missing_after.or(self.since))
    }
}

/// What is new in a room, `None` when nothing is; and what the client then has.
///
/// # Errors
/// When the records are broken.
pub(crate) fn room_news(
    step: &mut Step<'_>,
    asked: &Asked<'_>,
) -> Result<(Option<Room>, SentRoom), Broken> {
    match asked.interest.membership.membership.as_str() {
        "invite" | "knock" => outside(step, asked),
        _ => inside(step, asked),
    }
}

/// A room that somebody is invited to, or knocks at.
fn outside(step: &mut Step<'_>, asked: &Asked<'_>) -> Result<(Option<Room>, SentRoom), Broken> {
    let sent = SentRoom { wish: asked.wish.clone(), ..SentRoom::default() };
    let membership = &asked.interest.membership;
    if asked.after().is_some_and(|after| membership.number <= after) {
        return Ok((None, sent));
    }
    let invite = RoomEvent::expect(step, &membership.event)?;
    if personal(step, &asked.caller.user)?.ignored.contains(&invite.fields.sender) {
        return Ok((None, sent));
    }
    let mut answer = Room::new();
    answer.initial = Some(true);
    answer.is_dm = asked.is_direct.then_some(true);
    answer.invite_state = Some(stripped_state(step, membership)?);
    answer.name = room_name(step, asked.room())?;
    answer.avatar = avatar(step, asked.room())?;
    answer.bump_stamp = UInt::try_from(asked.interest.bump).ok();
    Ok((Some(answer), sent))
}

/// A room that somebody is or was in.
fn inside(step: &mut Step<'_>, asked: &Asked<'_>) -> Result<(Option<Room>, SentRoom), Broken> {
    let room = asked.room();
    let sight = Sight::read(step, room, &asked.caller.user)?;
    // Who came in since then has nothing of the room.
    let after = asked
        .after()
        .filter(|after| sight.membership_at(*after) == "join" || !sight.has_joined_after(*after));
    let up_to = match asked.interest.membership.membership.as_str() {
        "join" => asked.now,
        _ => asked.interest.membership.number,
    };
    let timeline = timeline(step, asked, &sight, (after, up_to))?;
    // Who was never in knows nothing of the state; who was, nothing of what came after they left.
    let known = sight.end().map(|end| up_to.min(end));
    let (state, members) = match known {
        Some(known) => state(step, asked, &timeline, (after, known))?,
        None => <(State, BTreeSet<String>)>::default(),
    };
    let sent = SentRoom { missing_after: None, wish: asked.wish.clone(), members };
    let is_new = timeline.events.iter().any(|event| after.is_none_or(|a| a < event.number()));
    if after.is_some() && !is_new && !timeline.is_limited && state.is_empty() {
        return Ok((None, sent));
    }
    let mut answer = Room::new();
    answer.initial = after.is_none().then_some(true);
    answer.is_dm = asked.is_direct.then_some(true);
    answer.timeline = write(step, asked.caller, &sight, &timeline.events)?;
    answer.limited = timeline.is_limited;
    answer.prev_batch = Some(page_token(timeline.begins));
    let live = timeline.events.iter().filter(|e| asked.since.is_some_and(|s| s < e.number()));
    answer.num_live = UInt::try_from(live.count()).ok();
    answer.bump_stamp = UInt::try_from(asked.interest.bump).ok();
    let events: Result<Vec<RoomEvent>, Broken> =
        state.values().map(|id| RoomEvent::expect(step, id)).collect();
    answer.required_state = write(step, asked.caller, &sight, &events?)?;
    answer.unread_notifications = counted(unread(step, room, &asked.caller.user)?.total());
    let changed = after.map(|after| changes(step, room, after, up_to)).transpose()?;
    if sight.is_joined() {
        describe(step, asked, changed.as_ref(), &mut answer)?;
    }
    Ok((Some(answer), sent))
}

/// The newest events. Who wants more of them than the last time gets them again.
fn timeline(
    step: &mut Step<'_>,
    asked: &Asked<'_>,
    sight: &Sight,
    (after, up_to): (Option<u64>, u64),
) -> Result<Timeline, Broken> {
    let wants_more = asked
        .sent
        .as_ref()
        .is_some_and(|sent| sent.wish.timeline_limit < asked.wish.timeline_limit);
    let personal = personal(step, &asked.caller.user)?;
    Timeline::read(
        step,
        &Wanted {
            room: asked.room(),
            user: &asked.caller.user,
            sight,
            ignored: &personal.ignored,
            filter: &RoomEventFilter::default(),
            limit: asked.wish.timeline_limit,
            past_state: PastState::Left,
            after: after.filter(|_| !wants_more),
            up_to,
        },
    )
}

/// The state that is wanted and that the client does not have; and the members that it then has
/// because they spoke.
fn state(
    step: &Step<'_>,
    asked: &Asked<'_>,
    timeline: &Timeline,
    (after, up_to): (Option<u64>, u64),
) -> Result<(State, BTreeSet<String>), Broken> {
    let (room, wish) = (asked.room(), asked.wish);
    let sent = asked.sent.as_deref().filter(|_| after.is_some());
    let mut members = sent.map(|sent| sent.members.clone()).unwrap_or_default();
    let mut state = match (after, sent) {
        (Some(after), Some(sent)) => {
            let mut state = changes(step, room, after, up_to)?;
            state.retain(|(kind, key), _| {
                wish.has_state(kind, key) || kind == MEMBER && members.contains(key)
            });
            if sent.wish.state != wish.state {
                let mut more = wished(step, room, wish, up_to)?;
                more.retain(|(kind, key), _| !sent.wish.has_state(kind, key));
                state.append(&mut more);
            }
            state
        }
        _ => wished(step, room, wish, up_to)?,
    };
    if wish.is_lazy {
        let speakers = timeline.events.iter().flat_map(|event| {
            let member = event.fields.state_key.clone().filter(|_| event.kind() == MEMBER);
            member.into_iter().chain([event.fields.sender.to_string()])
        });
        let new: BTreeSet<String> = speakers.filter(|user| !members.contains(user)).collect();
        state.extend(members_at(step, room, up_to, &new)?);
        members.extend(new);
    }
    Ok((state, members))
}

/// All state that is wanted.
fn wished(step: &Step<'_>, room: &RoomId, wish: &Wish, up_to: u64) -> Result<State, Broken> {
    if wish.state.is_empty() {
        return Ok(State::new());
    }
    let wants_members = wish.has_state(MEMBER, "*");
    let users: BTreeSet<String> = wish.state.iter().map(|(_, key)| key.clone()).collect();
    let members = if wants_members { Members::All } else { Members::Of(&users) };
    let mut state = state_at(step, room, up_to, members)?;
    state.retain(|(kind, key), _| wish.has_state(kind, key));
    Ok(state)
}

/// Name, picture and members of a room: those that changed, or all of them.
fn describe(
    step: &Step<'_>,
    asked: &Asked<'_>,
    changed: Option<&State>,
    answer: &mut Room,
) -> Result<(), Broken> {
    let room = asked.room();
    let has_changed = |kind: &str| {
        changed.is_none_or(|changed| changed.keys().any(|(changed, _)| changed == kind))
    };
    let name = room_name(step, room)?;
    let is_unnamed = name.is_none();
    let is_renamed = has_changed("m.room.name");
    if is_renamed {
        answer.name = name;
    }
    if has_changed("m.room.avatar") {
        answer.avatar = avatar(step, room)?;
    }
    if has_changed(MEMBER) {
        let record = step.get(ROOMS, (room,))?;
        let count = |count: Option<u64>| count.and_then(|count| UInt::try_from(count).ok());
        answer.joined_count = count(record.as_ref().map(|record| record.joined));
        answer.invited_count = count(record.as_ref().map(|record| record.invited));
    }
    if is_unnamed && (is_renamed || has_changed(MEMBER)) {
        let heroes: Result<Vec<Hero>, Broken> = heroes(step, room, &asked.caller.user)?
            .into_iter()
            .map(|hero| described(step, Hero::new(hero.user), &hero.event))
            .collect();
        answer.heroes = Some(heroes?).filter(|heroes| !heroes.is_empty());
    }
    Ok(())
}

fn described(step: &Step<'_>, mut hero: Hero, member: &OwnedEventId) -> Result<Hero, Broken> {
    #[derive(Default, Deserialize)]
    struct Content {
        displayname: Option<String>,
        avatar_url: Option<OwnedMxcUri>,
    }
    let content: Content = RoomEvent::expect(step, member)?.content().unwrap_or_default();
    hero.name = content.displayname;
    hero.avatar = content.avatar_url;
    Ok(hero)
}

fn avatar(step: &Step<'_>, room: &RoomId) -> Result<JsOption<OwnedMxcUri>, Broken> {
    #[derive(Deserialize)]
    struct Content {
        url: Option<OwnedMxcUri>,
    }
    let event = current(step, room, "m.room.avatar", "")?;
    let url = event.and_then(|event| event.content::<Content>()).and_then(|content| content.url);
    Ok(url.map_or(JsOption::Undefined, JsOption::Some))
}
