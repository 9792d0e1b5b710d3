//! Who came into an encrypted room since we last wrote there. The server decides who is a member,
//! and whoever it names gets the key of the next message: so it is said before that is written.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{OwnedUserId, RoomId},
    rooms::MemberState,
};

use super::{Engine, Update, error::EngineError, turn::Turn};

/// Most that are remembered of a room.
const MOST: usize = 99;

/// The newcomers of a room, kept with its line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Newcomers {
    /// Whether the whole list of members was here once: before that, nobody is new.
    is_known: bool,
    users: BTreeSet<OwnedUserId>,
    /// Whether those who look at the room are to be told.
    #[serde(skip)]
    is_news: bool,
}

impl Newcomers {
    /// Takes the membership that a user has now and had before.
    pub(super) fn note(
        &mut self,
        user: &OwnedUserId,
        before: Option<MemberState>,
        now: Option<MemberState>,
    ) {
        let is_here = |state: Option<MemberState>| state.is_some_and(MemberState::is_active);
        let changed = match (is_here(before), is_here(now)) {
            (false, true) if self.is_known && self.users.len() < MOST => {
                self.users.insert(user.clone())
            }
            (_, false) => self.users.remove(user),
            (false | true, true) => false,
        };
        self.is_news |= changed;
    }

    /// The whole list is here: whoever comes after it is new.
    pub(super) fn know(&mut self) {
        self.is_known = true;
    }

    /// In the order of their ids.
    pub(super) fn users(&self) -> Vec<OwnedUserId> {
        self.users.iter().cloned().collect()
    }
}

impl Engine {
    /// The user writes, and saw who is here.
    pub(super) fn greet_newcomers(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if self.rooms.line(room).is_none_or(|(_, record)| record.newcomers.users.is_empty()) {
            return Ok(());
        }
        self.rooms.touch(room, turn.store)?.record.newcomers.users.clear();
        self.tell_newcomers(room, turn)
    }

    /// Tells those who look at a room of whom they do not know yet.
    pub(super) fn tell_news_of_members(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let news = &mut self.rooms.get(room, turn.store)?.record.newcomers.is_news;
        if std::mem::take(news) { self.tell_newcomers(room, turn) } else { Ok(()) }
    }

    fn tell_newcomers(&mut self, room: &RoomId, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if !self.faces.viewers(room).is_empty() && self.machine.is_encrypted(room, &turn.step)? {
            let trust = self.room_trust(Some(room), turn)?;
            self.tell_openers(room, &Update::RoomTrust(trust), turn);
        }
        Ok(())
    }

    /// Somebody looks at a room whose list of members became doubtful: it is asked for now, so that
    /// whoever came meanwhile is seen before the next message and not with it.
    pub(super) fn look_for_newcomers(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let knew = self.rooms.line(room).is_some_and(|(_, record)| record.newcomers.is_known);
        if knew && !self.faces.viewers(room).is_empty() {
            self.recipients(room, turn)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> OwnedUserId {
        OwnedUserId::try_from(name).unwrap()
    }

    #[test]
    fn nobody_is_new_before_the_list_was_whole_and_who_goes_is_not_counted() {
        let (join, invite) = (Some(MemberState::Join), Some(MemberState::Invite));
        let mut newcomers = Newcomers::default();
        newcomers.note(&user("@old:x"), None, join);
        newcomers.know();
        newcomers.note(&user("@bob:x"), None, invite);
        newcomers.note(&user("@bob:x"), invite, join);
        newcomers.note(&user("@eve:x"), Some(MemberState::Leave), join);
        assert_eq!(newcomers.users(), [user("@bob:x"), user("@eve:x")]);
        newcomers.note(&user("@eve:x"), join, Some(MemberState::Ban));
        assert_eq!(newcomers.users(), [user("@bob:x")]);
        for number in 0..200 {
            newcomers.note(&user(&format!("@m{number}:x")), None, join);
        }
        assert_eq!(newcomers.users().len(), MOST);
    }
}
