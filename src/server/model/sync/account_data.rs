//! The account data that is new for a device, of rooms and of none.

use ruma::serde::Raw;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{News, Question, filter::allows, news::AccountNews};
use crate::{
    matrix::RoomId,
    server::model::{
        account_data::{self, PUSH_RULES},
        push_rules,
        rooms::filter::passes_kind,
        step::Step,
        table::Broken,
    },
};

/// The account data of no room. The push rules are always there, as other homeservers have it.
///
/// # Errors
/// When the records are broken.
pub(crate) fn global<T>(
    step: &Step<'_>,
    question: &Question<'_>,
    news: &News,
) -> Result<Vec<Raw<T>>, Broken> {
    let user = &*question.caller.user;
    let mut found = match (&news.account_data, question.wants_all()) {
        (AccountNews::All, _) | (_, true) => account_data::all(step, user, None)?,
        (AccountNews::Of(places), false) => {
            let mut found = Vec::new();
            for (_, kind) in places.iter().filter(|(room, _)| room.is_none()) {
                let content = account_data::get(step, user, None, kind)?;
                found.extend(content.map(|content| (kind.clone(), content)));
            }
            found
        }
    };
    let are_rules_wanted = question.wants_all() || found.iter().any(|(kind, _)| kind == PUSH_RULES);
    found.retain(|(kind, _)| kind != PUSH_RULES);
    if are_rules_wanted {
        found.push((PUSH_RULES.to_owned(), push_rules::content(step, user)?));
    }
    found.retain(|(kind, _)| allows(&question.filter.account_data, kind, None));
    write(found)
}

/// The account data of a room: all of it, or what is new.
///
/// # Errors
/// When the records are broken.
pub(crate) fn of_room<T>(
    step: &Step<'_>,
    question: &Question<'_>,
    news: &News,
    room: &RoomId,
) -> Result<Vec<Raw<T>>, Broken> {
    let user = &*question.caller.user;
    let mut found = match &news.account_data {
        AccountNews::All => account_data::all(step, user, Some(room))?,
        AccountNews::Of(places) => {
            let mut found = Vec::new();
            for (_, kind) in places.iter().filter(|(place, _)| place.as_deref() == Some(room)) {
                let content = account_data::get(step, user, Some(room), kind)?;
                found.extend(content.map(|content| (kind.clone(), content)));
            }
            found
        }
    };
    found.retain(|(kind, _)| passes_kind(&question.filter.room.account_data, room, kind));
    write(found)
}

fn write<T>(found: Vec<(String, Box<RawValue>)>) -> Result<Vec<Raw<T>>, Broken> {
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        content: &'a RawValue,
    }
    let write = |(kind, content): (String, Box<RawValue>)| {
        let text = to_raw_value(&Event { kind: &kind, content: &content });
        Ok(Raw::from_json(text.map_err(|error| Broken(error.to_string()))?))
    };
    found.into_iter().map(write).collect()
}
