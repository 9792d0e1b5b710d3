//! What has no place in rooms: messages for the device, keys, account data, receipts, who types.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    UInt,
    api::client::sync::sync_events::{
        DeviceLists,
        v5::{
            request::{self, ExtensionRoomConfig},
            response,
        },
    },
    serde::Raw,
};
use serde_json::{json, value::to_raw_value};

use crate::{
    matrix::{OwnedRoomId, UserId},
    server::model::{
        keys::one_time,
        receipts::receipts_where,
        records::JOINED,
        refusal::Refusal,
        route::Caller,
        step::Step,
        sync::{News, Question, account_data, device_lists},
        table::Broken,
        to_device,
    },
};

/// Messages for a device in one answer.
const MAX_TO_DEVICE: u64 = 100;

/// The rooms that extensions speak of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// By the list that they are in.
    pub(crate) lists: BTreeMap<String, BTreeSet<OwnedRoomId>>,
    pub(crate) subscribed: BTreeSet<OwnedRoomId>,
    /// After which number everything is new, for rooms of which the client does not have
    /// everything up to its place.
    pub(crate) after: BTreeMap<OwnedRoomId, u64>,
    /// Where the timeline begins of the rooms that are new to the client.
    pub(crate) begins: BTreeMap<OwnedRoomId, u64>,
}

impl Scope {
    /// The rooms that an extension is wanted for.
    fn rooms(
        &self,
        lists: Option<&Vec<String>>,
        rooms: Option<&Vec<ExtensionRoomConfig>>,
    ) -> BTreeSet<&OwnedRoomId> {
        let is_listed = |name: &String| {
            lists.is_none_or(|lists| lists.iter().any(|list| list == "*" || list == name))
        };
        let is_wanted = |room: &OwnedRoomId| {
            rooms.is_none_or(|rooms| {
                rooms.iter().any(|wanted| match wanted {
                    ExtensionRoomConfig::AllSubscribed => true,
                    ExtensionRoomConfig::Room(wanted) => wanted == room,
                    _ => false,
                })
            })
        };
        let listed = self.lists.iter().filter(|(name, _)| is_listed(name));
        let subscribed = self.subscribed.iter().filter(|room| is_wanted(room));
        listed.flat_map(|(_, rooms)| rooms).chain(subscribed).collect()
    }

    /// Those of them that somebody is in: who reads and who types there is for nobody else.
    fn joined(
        &self,
        step: &Step<'_>,
        user: &UserId,
        (lists, rooms): (Option<&Vec<String>>, Option<&Vec<ExtensionRoomConfig>>),
    ) -> Result<Vec<&OwnedRoomId>, Broken> {
        let mut joined = Vec::new();
        for room in self.rooms(lists, rooms) {
            if step.get(JOINED, (room, user))?.is_some() {
                joined.push(room);
            }
        }
        Ok(joined)
    }
}

/// Messages for the device, after the token of this extension; those before are forgotten.
///
/// # Errors
/// `M_INVALID_PARAM` for a token that is none.
pub(crate) fn to_device(
    step: &mut Step<'_>,
    caller: &Caller,
    asked: &request::ToDevice,
    now: u64,
) -> Result<Option<response::ToDevice>, Refusal> {
    if asked.enabled != Some(true) {
        return Ok(None);
    }
    let device = (&*caller.user, &*caller.device);
    let since = asked.since.as_deref().map(str::parse::<u64>).transpose();
    let since = since.map_err(|_error| Refusal::invalid("since is no token of to_device"))?;
    if let Some(since) = since {
        to_device::delete_up_to(step, device, since.min(now))?;
    }
    let limit = asked.limit.map_or(MAX_TO_DEVICE, u64::from).min(MAX_TO_DEVICE);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let messages = to_device::waiting(step, device, (since.unwrap_or(0).min(now), now), limit)?;
    let is_full = messages.len() == limit;
    let end = messages.last().map(|(number, _)| *number).filter(|_| is_full);
    let mut answer = response::ToDevice::default();
    answer.next_batch = end.unwrap_or(now).to_string();
    for (_, message) in messages {
        answer.events.push(to_device::event(&message)?);
    }
    Ok(Some(answer))
}

/// Whose devices changed, and how many keys are left.
///
/// # Errors
/// When the records are broken.
pub(crate) fn e2ee(
    step: &Step<'_>,
    question: &Question<'_>,
    news: &News,
) -> Result<response::E2EE, Broken> {
    let mut answer = response::E2EE::default();
    answer.device_lists = match question.since {
        Some(_) => device_lists::read(step, question, news)?,
        None => DeviceLists::new(),
    };
    let supply = one_time::supply(step, &question.caller.user, &question.caller.device)?;
    answer.device_one_time_keys_count = supply
        .one_time_keys
        .into_iter()
        .filter_map(|(algorithm, count)| Some((algorithm.into(), UInt::try_from(count).ok()?)))
        .collect();
    let unused = supply.unused_fallback.into_iter().map(Into::into);
    answer.device_unused_fallback_key_types = Some(unused.collect());
    Ok(answer)
}

/// Account data of rooms and of none.
///
/// # Errors
/// When the records are broken.
pub(crate) fn account_data(
    step: &Step<'_>,
    question: &Question<'_>,
    (asked, scope): (&request::AccountData, &Scope),
    news: &News,
) -> Result<response::AccountData, Broken> {
    let mut answer = response::AccountData::default();
    answer.global = account_data::global(step, question, news)?;
    let all = News::all();
    for room in scope.rooms(asked.lists.as_ref(), asked.rooms.as_ref()) {
        let is_new = scope.begins.contains_key(room) || scope.after.contains_key(room);
        let news = if is_new { &all } else { news };
        let events = account_data::of_room(step, question, news, room)?;
        if !events.is_empty() {
            answer.rooms.insert(room.clone(), events);
        }
    }
    Ok(answer)
}

/// Receipts: of a room that is new to the client, those of the caller and those for the events
/// that it is shown.
///
/// # Errors
/// When the records are broken.
pub(crate) fn receipts(
    step: &Step<'_>,
    question: &Question<'_>,
    (asked, scope): (&request::Receipts, &Scope),
    news: &News,
) -> Result<response::Receipts, Broken> {
    let mut answer = response::Receipts::default();
    let me = &question.caller.user;
    for room in scope.joined(step, me, (asked.lists.as_ref(), asked.rooms.as_ref()))? {
        let begins = scope.begins.get(room).copied();
        let missing = scope.after.get(room).copied();
        if begins.is_none() && missing.is_none() && !news.rooms.contains(room) {
            continue;
        }
        let since = match begins {
            Some(_) => 0,
            None => missing.unwrap_or(question.since_number()),
        };
        let content = receipts_where(step, room, (me, since), |receipt| {
            receipt.user == *me || begins.is_none_or(|begins| begins < receipt.reached)
        })?;
        if let Some(content) = content {
            answer.rooms.insert(room.clone(), event("m.receipt", &content)?);
        }
    }
    Ok(answer)
}

/// Who types.
///
/// # Errors
/// When the records are broken.
pub(crate) fn typing(
    step: &Step<'_>,
    question: &Question<'_>,
    (asked, scope): (&request::Typing, &Scope),
) -> Result<response::Typing, Broken> {
    let mut answer = response::Typing::default();
    let me = &question.caller.user;
    for room in scope.joined(step, me, (asked.lists.as_ref(), asked.rooms.as_ref()))? {
        let is_new = scope.begins.contains_key(room);
        let since = if is_new { 0 } else { question.since_serial() };
        if let Some(users) = step.volatile.typing.changed(room, since)
            && !(is_new && users.is_empty())
        {
            answer.rooms.insert(room.clone(), event("m.typing", &json!({ "user_ids": users }))?);
        }
    }
    Ok(answer)
}

fn event<T>(kind: &str, content: &serde_json::Value) -> Result<Raw<T>, Broken> {
    let text = to_raw_value(&json!({ "type": kind, "content": content }));
    Ok(Raw::from_json(text.map_err(|error| Broken(error.to_string()))?))
}
