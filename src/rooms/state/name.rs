//! The name of a room.
//!
//! # Spec
//! Client-Server API, "Calculating the display name for a room".

use super::room_state::RoomState;
use crate::matrix::{OwnedUserId, SafeText};

/// How many people a room without a name is named by.
const MAX_HEROES: usize = 5;

/// What a room without a name and without anybody is called.
const EMPTY: &str = "Empty room";

impl RoomState {
    /// The room's name: its own, its alias, or the people in it.
    pub fn name(&self) -> String {
        let given = self.given_name().or_else(|| self.alias());
        given.map_or_else(|| self.name_by_people(), str::to_owned)
    }

    fn name_by_people(&self) -> String {
        let heroes = self.heroes();
        let names: Vec<String> = heroes.iter().map(|user| self.display_name(user)).collect();
        let (joined, invited) = (self.joined_count(), self.invited_count());
        let others = joined.saturating_add(invited).saturating_sub(1);
        let unnamed = others.saturating_sub(u64::try_from(names.len()).unwrap_or(u64::MAX));
        match (names.is_empty(), others) {
            (true, 0) => EMPTY.to_owned(),
            (true, 1) => "1 other".to_owned(),
            (true, others) => format!("{others} others"),
            (false, 0) => format!("{EMPTY} (was {})", enumerate(&names, 0)),
            (false, _) => enumerate(&names, unnamed),
        }
    }

    /// Those the room is named by, ourselves left out: whom the server says, or else the first
    /// members, or else those who were in it.
    fn heroes(&self) -> Vec<OwnedUserId> {
        let own = self.own_user();
        if let Some(heroes) = self.server_heroes().filter(|heroes| !heroes.is_empty()) {
            return heroes.iter().filter(|user| *user != own).take(MAX_HEROES).cloned().collect();
        }
        let those = |active: bool| {
            let fits = self
                .members()
                .filter(|(user, member)| *user != own && member.state.is_active() == active);
            fits.map(|(user, _)| user.clone()).take(MAX_HEROES).collect::<Vec<_>>()
        };
        let active = those(true);
        if active.is_empty() { those(false) } else { active }
    }
}

fn enumerate(names: &[String], unnamed: u64) -> String {
    match (names, unnamed) {
        ([names @ .., last], 0) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        (names, 0) => names.join(", "),
        (names, 1) => format!("{} and 1 other", names.join(", ")),
        (names, more) => format!("{} and {more} others", names.join(", ")),
    }
}

/// A text that shows something, or nothing.
pub(super) fn visible(text: Option<&str>) -> Option<String> {
    text.filter(|text| !SafeText::line(text).is_blank()).map(str::to_owned)
}
