//! Looking for people: among those who share a room with the caller, and those in public rooms.

use std::collections::BTreeSet;

use ruma::api::client::user_directory::search_users;
use serde_json::{Map, Value, json};

use crate::{
    matrix::{OwnedRoomId, OwnedUserId, UserId},
    server::model::{
        body::{LooseResponse, Plain},
        rate::Limited,
        records::{PROFILES, USERS},
        refusal::{Refusal, Stop},
        rooms::{current, joined_rooms},
        route::{Context, Routes},
        step::Step,
        table::Broken,
    },
};

/// Most people of an answer.
const MAX_RESULTS: usize = 50;
/// People that are looked at together.
const PAGE: usize = 200;
/// Most people that are looked at for one search.
const MAX_PAGES: usize = 100;
/// Most of those who fit of whom is asked whether the caller may know them.
const MAX_FITTING: usize = 500;

pub(super) fn add(routes: &mut Routes) {
    routes.add(search);
}

/// Loose, because pictures of any address are passed on.
fn search(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<search_users::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let caller = &context.caller()?.user;
    step.limit(Limited::Search, caller.as_str())?;
    let term = request.body.get("search_term").and_then(Value::as_str);
    let term = term.ok_or_else(|| Refusal::new(400, "M_UNKNOWN", "there is no search_term"))?;
    let limit = request.body.get("limit").and_then(Value::as_u64).unwrap_or(10);
    let limit = usize::try_from(limit).unwrap_or(MAX_RESULTS).min(MAX_RESULTS);
    let words: Vec<String> = term.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let search = Search { caller, words, rooms: joined_rooms(step, caller)?.into_iter().collect() };
    let mut results = if search.words.is_empty() { Vec::new() } else { search.run(step, limit)? };
    let is_limited = limit < results.len();
    results.truncate(limit);
    Ok(LooseResponse(json!({ "results": results, "limited": is_limited })))
}

struct Search<'a> {
    caller: &'a UserId,
    words: Vec<String>,
    /// The rooms of the caller.
    rooms: BTreeSet<OwnedRoomId>,
}

impl Search<'_> {
    /// One person more than `limit`, if there are as many.
    fn run(&self, step: &Step<'_>, limit: usize) -> Result<Vec<Value>, Broken> {
        let (mut results, mut fitting) = (Vec::new(), 0);
        let mut last: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let from = last.as_ref().map(|last| last as &dyn crate::server::model::table::KeyPart);
            let page = step.scan_after(PROFILES, (), from, PAGE)?;
            let is_last = page.len() < PAGE;
            for (mut key, profile) in page {
                let id = key.text()?;
                let fits = self.fits(&id, &profile);
                fitting += usize::from(fits);
                if fits && self.is_visible(step, &id)? {
                    results.push(json!({
                        "user_id": id,
                        "display_name": profile.get("displayname"),
                        "avatar_url": profile.get("avatar_url"),
                    }));
                }
                if limit < results.len() || MAX_FITTING < fitting {
                    return Ok(results);
                }
                last = Some(id);
            }
            if is_last {
                break;
            }
        }
        Ok(results)
    }

    /// Whether every word is somewhere in the id or the name.
    fn fits(&self, id: &str, profile: &Map<String, Value>) -> bool {
        let name = profile.get("displayname").and_then(Value::as_str).unwrap_or_default();
        let name = name.to_lowercase();
        id != self.caller.as_str()
            && self.words.iter().all(|word| id.contains(word.as_str()) || name.contains(word))
    }

    fn is_visible(&self, step: &Step<'_>, id: &str) -> Result<bool, Broken> {
        let user = OwnedUserId::try_from(id).map_err(|error| Broken(error.to_string()))?;
        if step.get(USERS, (&*user,))?.is_none_or(|record| record.is_deactivated) {
            return Ok(false);
        }
        for room in joined_rooms(step, &user)? {
            if self.rooms.contains(&room) || is_public(step, &room)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_public(step: &Step<'_>, room: &OwnedRoomId) -> Result<bool, Broken> {
    #[derive(serde::Deserialize)]
    struct Rule {
        join_rule: String,
    }
    let event = current(step, room, "m.room.join_rules", "")?;
    let rule = event.and_then(|event| event.content::<Rule>());
    Ok(rule.is_some_and(|rule| rule.join_rule == "public"))
}
