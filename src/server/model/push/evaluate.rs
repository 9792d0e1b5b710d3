//! The push rules of all members over one new event.
//!
//! # Spec
//! Client-Server API, "Push notifications": "Receiving notifications".

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{
    RoomVersionId, UInt,
    events::AnyTimelineEvent,
    events::room::power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent},
    push::{
        Action, FlattenedJson, PushCondition, PushConditionPowerLevelsCtx, PushConditionRoomCtx,
        Ruleset,
    },
    serde::Raw,
};
use serde::Deserialize;
use serde_json::Value;

use super::{holds::holds, rules::personal};
use crate::{
    matrix::{OwnedEventId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::{
            BUMPS, EVENTS, NOTIFICATIONS, Notice, NotificationRecord, ROOMS, RoomRecord, STATE_LOG,
        },
        rooms::{RoomEvent, current},
        step::Step,
        table::Broken,
    },
};

/// Types of events that move a room to the top of a list, as other homeservers have it.
const BUMPING: [&str; 7] = [
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
];
/// Deepest nesting of an event whose rules are run; none that a person wrote comes near.
const MAX_DEPTH: usize = 100;
/// How many relations are followed to find a thread.
///
/// # Spec
/// Client-Server API, "Threading": clients count as part of a thread what relates to a part of it.
const MAX_RELATIONS: usize = 3;

/// To be called with each new event, once it is filed, and with who is joined: notes whom it
/// notifies.
///
/// # Errors
/// When the records are broken.
pub(crate) fn on_event(
    step: &mut Step<'_>,
    event: &RoomEvent,
    joined: &[OwnedUserId],
) -> Result<(), Broken> {
    let room = &event.record.room;
    if let Some(state_key) = &event.fields.state_key {
        let entry = (event.fields.kind.clone(), state_key.clone());
        step.put(STATE_LOG, (&**room, event.number()), &entry)?;
    }
    if BUMPING.contains(&event.kind()) {
        step.put(BUMPS, (&**room,), &event.number())?;
    }
    forget_redacted(step, event)?;
    let members = asked(event, joined);
    if members.is_empty() || MAX_DEPTH <= depth(event.record.pdu.get()) {
        return Ok(());
    }
    let record = compact(&evaluate(step, event, &members)?, joined);
    if record != NotificationRecord::default() {
        let record = NotificationRecord { thread: thread_of(step, event)?, ..record };
        step.put(NOTIFICATIONS, (&**room, event.number()), &record)?;
    }
    Ok(())
}

/// Whose rules are run: of all members, but for a change of membership only of whom it is about,
/// as other homeservers do.
fn asked<'a>(event: &'a RoomEvent, joined: &'a [OwnedUserId]) -> Vec<&'a OwnedUserId> {
    let member = (event.fields.kind == "m.room.member").then_some(event.fields.state_key.as_ref());
    joined
        .iter()
        .filter(|user| **user != event.fields.sender)
        .filter(|user| member.is_none_or(|member| member.is_some_and(|member| *user == member)))
        .collect()
}

/// What is redacted notifies nobody any more. That it may be redacted was asked before.
fn forget_redacted(step: &mut Step<'_>, event: &RoomEvent) -> Result<(), Broken> {
    #[derive(Default, Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }
    if event.fields.kind != "m.room.redaction" {
        return Ok(());
    }
    let content: Content = event.content().unwrap_or_default();
    let Some(target) = event.fields.redacts.clone().or(content.redacts) else {
        return Ok(());
    };
    if let Some(target) = step.get(EVENTS, (&*target,))?
        && target.room == event.record.room
    {
        step.delete(NOTIFICATIONS, (&*target.room, target.number));
        step.volatile.unread.forget(&target.room);
    }
    Ok(())
}

/// Runs the rules of these members; gives what comes of them, in their order.
///
/// Most have the default rules, of which only two ask for whom they are run: those are run once
/// for all whom the event does not name.
fn evaluate<'a>(
    step: &mut Step<'_>,
    event: &RoomEvent,
    members: &[&'a OwnedUserId],
) -> Result<Vec<(&'a OwnedUserId, Notice)>, Broken> {
    let flat =
        FlattenedJson::from_raw(&Raw::<AnyTimelineEvent>::from_json(event.record.pdu.clone()));
    let named = Named::by(event);
    let mut context = context(step, event)?;
    let mut common = None;
    let mut notices = Vec::with_capacity(members.len());
    for user in members {
        let personal = personal(step, user)?;
        let notice = if personal.ignored.contains(&event.fields.sender) {
            Notice::None
        } else if let Some(rules) = &personal.rules {
            context.user_id.clone_from(user);
            context.user_display_name = display_name(step, &event.record.room, (user, rules))?;
            notice(rules, &flat, &context)
        } else if named.has(user) {
            by_default(user, &flat, &mut context)
        } else {
            *common.get_or_insert_with(|| by_default(user, &flat, &mut context))
        };
        notices.push((*user, notice));
    }
    Ok(notices)
}

/// What the default rules of somebody say.
fn by_default(user: &UserId, event: &FlattenedJson, context: &mut PushConditionRoomCtx) -> Notice {
    context.user_id = user.to_owned();
    context.user_display_name.clear();
    notice(&Ruleset::server_default(user), event, context)
}

/// Whom an event names where the default rules look for whom they are run for.
#[derive(Debug, Default, Deserialize)]
struct Named {
    #[serde(default, rename = "m.mentions")]
    mentions: Value,
    #[serde(skip)]
    state_key: Option<String>,
}

impl Named {
    fn by(event: &RoomEvent) -> Self {
        let named: Self = event.content().unwrap_or_default();
        Self { state_key: event.fields.state_key.clone(), ..named }
    }

    fn has(&self, user: &UserId) -> bool {
        let mut mentioned = self.mentions.get("user_ids").and_then(Value::as_array).into_iter();
        self.state_key.as_deref() == Some(user.as_str())
            || mentioned.any(|ids| ids.iter().any(|id| id.as_str() == Some(user.as_str())))
    }
}

/// The most common notice once, the others by name. Who is joined and was not asked gets nothing.
fn compact(notices: &[(&OwnedUserId, Notice)], joined: &[OwnedUserId]) -> NotificationRecord {
    let count = |of: Notice| notices.iter().filter(|(_, notice)| *notice == of).count();
    let unasked = joined.len().saturating_sub(notices.len());
    let others = if count(Notice::None) + unasked < count(Notice::Notify) {
        Notice::Notify
    } else {
        Notice::None
    };
    let unlike = notices.iter().filter(|(_, notice)| *notice != others);
    let mut named: BTreeMap<_, _> =
        unlike.map(|(user, notice)| ((*user).clone(), *notice)).collect();
    if others != Notice::None && unasked != 0 {
        let asked: BTreeSet<&OwnedUserId> = notices.iter().map(|(user, _)| *user).collect();
        let unasked = joined.iter().filter(|user| !asked.contains(user));
        named.extend(unasked.map(|user| (user.clone(), Notice::None)));
    }
    NotificationRecord { thread: None, others, named }
}

fn context(step: &mut Step<'_>, event: &RoomEvent) -> Result<PushConditionRoomCtx, Broken> {
    let room = event.record.room.clone();
    let record = step.get(ROOMS, (&*room,))?;
    let joined = record.as_ref().map_or(0, |record| record.joined);
    let count = UInt::try_from(joined).unwrap_or_default();
    let sender = event.fields.sender.clone();
    let mut levels = step.volatile.rooms.levels(&room);
    if levels.is_none()
        && let Some(read) = read_levels(step, &room, record.as_ref())?.map(Arc::new)
    {
        step.volatile.rooms.keep_levels(&room, Arc::clone(&read));
        levels = Some(read);
    }
    let context = PushConditionRoomCtx::new(room, count, sender, String::new());
    Ok(match levels {
        Some(levels) => context.with_power_levels((*levels).clone()),
        None => context,
    })
}

/// The power levels of a room; `None` when it has none.
fn read_levels(
    step: &Step<'_>,
    room: &RoomId,
    record: Option<&RoomRecord>,
) -> Result<Option<PushConditionPowerLevelsCtx>, Broken> {
    let version = record.and_then(|record| RoomVersionId::try_from(&*record.version).ok());
    let rules = version.and_then(|version| version.rules()).map(|rules| rules.authorization);
    let levels = current(step, room, "m.room.power_levels", "")?
        .and_then(|event| event.content::<RoomPowerLevelsEventContent>());
    let create = current(step, room, "m.room.create", "")?;
    let (Some(rules), Some(levels), Some(create)) = (rules, levels, create) else {
        return Ok(None);
    };
    let creators = rules.explicitly_privilege_room_creators.then(|| creators(&create));
    let levels = RoomPowerLevels::new(Some(levels).into(), &rules, creators.unwrap_or_default());
    Ok(Some(levels.into()))
}

/// Who made the room, as far as their power is without limit.
fn creators(create: &RoomEvent) -> Vec<OwnedUserId> {
    #[derive(Default, Deserialize)]
    struct Content {
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    let mut creators = create.content::<Content>().unwrap_or_default().additional_creators;
    creators.push(create.fields.sender.clone());
    creators
}

/// The name of somebody in a room, if their rules ask for it.
fn display_name(
    step: &Step<'_>,
    room: &RoomId,
    (user, rules): (&UserId, &Ruleset),
) -> Result<String, Broken> {
    #[derive(Default, Deserialize)]
    struct Content {
        displayname: Option<String>,
    }
    let mut conditional = rules.override_.iter().chain(&rules.underride);
    #[expect(deprecated, reason = "rules that clients made may still have it")]
    let asks = |condition: &PushCondition| matches!(condition, PushCondition::ContainsDisplayName);
    if !conditional.any(|rule| rule.conditions.iter().any(asks)) {
        return Ok(String::new());
    }
    let member = current(step, room, "m.room.member", user.as_str())?;
    let content = member.and_then(|member| member.content::<Content>()).unwrap_or_default();
    Ok(content.displayname.unwrap_or_default())
}

/// What the first rule that applies says.
fn notice(rules: &Ruleset, event: &FlattenedJson, context: &PushConditionRoomCtx) -> Notice {
    for rule in rules {
        if holds(rule, event, context) {
            let actions = rule.actions();
            return match actions.iter().any(Action::should_notify) {
                false => Notice::None,
                true if actions.iter().any(Action::is_highlight) => Notice::Highlight,
                true => Notice::Notify,
            };
        }
    }
    Notice::None
}

/// The first event of the thread that an event belongs to, itself or by what it relates to.
///
/// # Errors
/// When the records are broken.
pub(crate) fn thread_of(
    step: &Step<'_>,
    event: &RoomEvent,
) -> Result<Option<OwnedEventId>, Broken> {
    let mut relation = relation(event);
    for _ in 0..MAX_RELATIONS {
        match relation {
            Some(Relation { rel_type, event_id }) if rel_type == "m.thread" => {
                return Ok(Some(event_id));
            }
            Some(Relation { event_id, .. }) => {
                let parent = RoomEvent::load(step, &event_id)?;
                relation = parent
                    .filter(|parent| parent.record.room == event.record.room)
                    .and_then(|parent| self::relation(&parent));
            }
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// What an event relates to.
#[derive(Clone, Debug, Deserialize)]
struct Relation {
    rel_type: String,
    event_id: OwnedEventId,
}

fn relation(event: &RoomEvent) -> Option<Relation> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: Option<Relation>,
    }
    event.content::<Content>()?.relates_to
}

/// How deep this JSON is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_what_is_open_at_once() {
        assert_eq!(depth(r#"{"a":[{}],"b":{"[[[\"[[":[]}}"#), 3);
        assert_eq!(depth(&"[".repeat(500)), 500);
    }
}
