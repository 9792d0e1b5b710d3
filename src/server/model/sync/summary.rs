//! What a client needs to name a room that has no name.
//!
//! # Spec
//! Client-Server API, "Calculating the display name for a room"; `RoomSummary` of a sync.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::state::MEMBER;
use crate::{
    matrix::{OwnedEventId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::STATE,
        rooms::{RoomEvent, current, joined_members},
        step::Step,
        table::Broken,
    },
};

/// Most heroes of a room.
const MAX_HEROES: usize = 5;
/// Member events that are read to find who is invited or gone.
const MAX_READ: usize = 1_000;

/// A member that a room may be named after.
#[derive(Clone, Debug)]
pub(crate) struct Hero {
    pub(crate) user: OwnedUserId,
    /// Their member event.
    pub(crate) event: OwnedEventId,
}

/// The name of a room; `None` when it has none.
///
/// # Errors
/// When the records are broken.
pub(crate) fn name(step: &Step<'_>, room: &RoomId) -> Result<Option<String>, Broken> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
    }
    let event = current(step, room, "m.room.name", "")?;
    let name = event.and_then(|event| event.content::<Content>()).and_then(|content| content.name);
    Ok(name.filter(|name| !name.is_empty()))
}

/// The main alias of a room; `None` when it has none.
///
/// # Errors
/// When the records are broken.
pub(crate) fn canonical_alias(step: &Step<'_>, room: &RoomId) -> Result<Option<String>, Broken> {
    #[derive(Deserialize)]
    struct Content {
        alias: Option<String>,
    }
    let event = current(step, room, "m.room.canonical_alias", "")?;
    let alias =
        event.and_then(|event| event.content::<Content>()).and_then(|content| content.alias);
    Ok(alias.filter(|alias| !alias.is_empty()))
}

/// The members after whom a room is named: those who are joined or invited, else those who were,
/// the oldest first, without whoever asks.
///
/// # Errors
/// When the records are broken.
pub(crate) fn heroes(step: &Step<'_>, room: &RoomId, me: &UserId) -> Result<Vec<Hero>, Broken> {
    let joined: BTreeSet<OwnedUserId> = joined_members(step, room)?.into_iter().collect();
    let mut rows = Vec::new();
    for (mut key, current) in step.scan(STATE, (room, MEMBER))? {
        key.text()?;
        key.text()?;
        let user = OwnedUserId::try_from(key.text()?).map_err(|error| Broken(error.to_string()))?;
        rows.push((current.number, Hero { user, event: current.event }));
    }
    rows.retain(|(_, hero)| hero.user != me);
    rows.sort_unstable_by_key(|(number, _)| *number);
    let (heroes, others): (Vec<Hero>, Vec<Hero>) =
        rows.into_iter().map(|(_, hero)| hero).partition(|hero| joined.contains(&hero.user));
    if MAX_HEROES <= heroes.len() {
        return Ok(heroes.into_iter().take(MAX_HEROES).collect());
    }
    with_others(step, heroes, others)
}

/// Adds who is invited; when there is nobody at all, takes who is gone.
fn with_others(
    step: &Step<'_>,
    mut heroes: Vec<Hero>,
    others: Vec<Hero>,
) -> Result<Vec<Hero>, Broken> {
    #[derive(Default, Deserialize)]
    struct Content {
        membership: String,
    }
    let (mut left, mut banned) = (Vec::new(), Vec::new());
    for hero in others.into_iter().take(MAX_READ) {
        let event = RoomEvent::expect(step, &hero.event)?;
        let content = event.content::<Content>().unwrap_or_default();
        match content.membership.as_str() {
            "invite" => heroes.push(hero),
            "leave" => left.push(hero),
            "ban" => banned.push(hero),
            _ => {}
        }
    }
    if heroes.is_empty() {
        heroes = left;
        heroes.append(&mut banned);
    }
    heroes.truncate(MAX_HEROES);
    Ok(heroes)
}
