//! The push rules of all members over one new event.
//!
//! # Spec
//! Client-Server API, "Push notifications": "Receiving notifications".

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use ruma::{
    RoomVersionId, UInt,
    events::AnyTimelineEvent,
    events::room::power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent},
    push::{Action, FlattenedJson, PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset},
    serde::Raw,
};
use serde::Deserialize;

use super::rules::personal;
use crate::{
    matrix::{OwnedEventId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::{BUMPS, EVENTS, NOTIFICATIONS, Notice, NotificationRecord, ROOMS, STATE_LOG},
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
pub(in crate::server::model) fn on_event(
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
    let mut notices = evaluate(step, event, members)?;
    for user in joined {
        notices.entry(user.clone()).or_insert(Notice::None);
    }
    let record = compact(notices);
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

/// What is redacted notifies nobody any more.
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
        && target.redacted_because.is_some()
    {
        step.delete(NOTIFICATIONS, (&*target.room, target.number));
        step.volatile.unread.forget(&target.room);
    }
    Ok(())
}

/// Runs the rules of these members.
fn evaluate(
    step: &mut Step<'_>,
    event: &RoomEvent,
    members: Vec<&OwnedUserId>,
) -> Result<BTreeMap<OwnedUserId, Notice>, Broken> {
    let flat =
        FlattenedJson::from_raw(&Raw::<AnyTimelineEvent>::from_json(event.record.pdu.clone()));
    let needs_names = flat.get_str("content.body").is_some() && !flat.contains_mentions();
    let mut context = context(step, event)?;
    let mut notices = BTreeMap::new();
    for user in members {
        context.user_id.clone_from(user);
        context.user_display_name =
            if needs_names { display_name(step, &event.record.room, user)? } else { String::new() };
        let personal = personal(step, user)?;
        let notice = if personal.ignored.contains(&event.fields.sender) {
            Notice::None
        } else {
            notice(&personal.rules, &flat, &context)
        };
        notices.insert(user.clone(), notice);
    }
    Ok(notices)
}

/// The most common notice once, the others by name.
fn compact(mut notices: BTreeMap<OwnedUserId, Notice>) -> NotificationRecord {
    let count = |of: Notice| notices.values().filter(|notice| **notice == of).count();
    let others =
        if count(Notice::None) < count(Notice::Notify) { Notice::Notify } else { Notice::None };
    notices.retain(|_, notice| *notice != others);
    NotificationRecord { thread: None, others, named: notices }
}

fn context(step: &Step<'_>, event: &RoomEvent) -> Result<PushConditionRoomCtx, Broken> {
    let room = event.record.room.clone();
    let record = step.get(ROOMS, (&*room,))?;
    let joined = record.as_ref().map_or(0, |record| record.joined);
    let count = UInt::try_from(joined).unwrap_or_default();
    let sender = event.fields.sender.clone();
    let context = PushConditionRoomCtx::new(room.clone(), count, sender, String::new());
    let version = record.and_then(|record| RoomVersionId::try_from(record.version).ok());
    let rules = version.and_then(|version| version.rules()).map(|rules| rules.authorization);
    let levels = current(step, &room, "m.room.power_levels", "")?
        .and_then(|event| event.content::<RoomPowerLevelsEventContent>());
    let create = current(step, &room, "m.room.create", "")?;
    let (Some(rules), Some(levels), Some(create)) = (rules, levels, create) else {
        return Ok(context);
    };
    let creators = rules.explicitly_privilege_room_creators.then(|| creators(&create));
    let levels = RoomPowerLevels::new(Some(levels).into(), &rules, creators.unwrap_or_default());
    let levels: PushConditionPowerLevelsCtx = levels.into();
    Ok(context.with_power_levels(levels))
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

fn display_name(step: &Step<'_>, room: &RoomId, user: &UserId) -> Result<String, Broken> {
    #[derive(Default, Deserialize)]
    struct Content {
        displayname: Option<String>,
    }
    let member = current(step, room, "m.room.member", user.as_str())?;
    let content = member.and_then(|member| member.content::<Content>()).unwrap_or_default();
    Ok(content.displayname.unwrap_or_default())
}

/// What the first rule that applies says.
fn notice(rules: &Ruleset, event: &FlattenedJson, context: &PushConditionRoomCtx) -> Notice {
    for rule in rules {
        // Nothing in a rule waits: the future of ruma's is for subscriptions of threads alone.
        if rule.applies(event, context).now_or_never() == Some(true) {
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
pub(in crate::server::model) fn thread_of(
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
