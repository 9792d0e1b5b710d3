//! The rooms: invites first, then unread ones, then the most recent; filtered by typing.

use std::{cmp::Reverse, collections::BTreeMap};

use super::fuzzy;
use crate::{
    matrix::{Membership, OwnedRoomId, RoomId, SafeText},
    rooms::RoomSummary,
};

/// A room of the list.
#[derive(Clone, Debug)]
pub(in crate::tui) struct ListedRoom {
    /// What the engine told; its text is not safe.
    pub summary: RoomSummary,
    /// Its name, safe.
    pub name: SafeText,
}

impl ListedRoom {
    /// Whether we are invited and have not answered.
    pub(in crate::tui) fn is_invite(&self) -> bool {
        self.summary.membership == Membership::Invite
    }
}

/// All rooms.
#[derive(Clone, Debug, Default)]
pub(in crate::tui) struct RoomList {
    rooms: BTreeMap<OwnedRoomId, ListedRoom>,
    order: Vec<OwnedRoomId>,
    filter: String,
    selected: Option<OwnedRoomId>,
}

impl RoomList {
    /// Takes new or changed rooms.
    pub(in crate::tui) fn take(&mut self, summaries: Vec<RoomSummary>) {
        for summary in summaries {
            let name = SafeText::line(&summary.name);
            let name = if name.is_blank() { SafeText::line("(no name)") } else { name };
            self.rooms.insert(summary.room_id.clone(), ListedRoom { summary, name });
        }
        self.sort();
    }

    /// Forgets rooms.
    pub(in crate::tui) fn forget(&mut self, gone: &[OwnedRoomId]) {
        self.rooms.retain(|id, _| !gone.contains(id));
        self.sort();
    }

    /// One room.
    pub(in crate::tui) fn get(&self, id: &RoomId) -> Option<&ListedRoom> {
        self.rooms.get(id)
    }

    /// The rooms that are shown, in order.
    pub(in crate::tui) fn shown(&self) -> Vec<&ListedRoom> {
        self.matching(&self.filter)
    }

    /// The rooms that answer to `query`, best first; in the order of the list without one.
    pub(in crate::tui) fn matching(&self, query: &str) -> Vec<&ListedRoom> {
        let all = self.order.iter().filter_map(|id| self.rooms.get(id));
        if query.trim().is_empty() {
            return all.collect();
        }
        let mut hits: Vec<_> =
            all.filter_map(|room| Some((fuzzy::score(query, room.name.as_str())?, room))).collect();
        hits.sort_by_key(|(score, _)| Reverse(*score));
        hits.into_iter().map(|(_, room)| room).collect()
    }

    /// What is typed to filter the list.
    pub(in crate::tui) fn filter(&self) -> &str {
        &self.filter
    }

    /// Changes the filter; the best match is selected.
    pub(in crate::tui) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.selected = self.shown().first().map(|room| room.summary.room_id.clone());
    }

    /// The selected room: the one chosen, or the first.
    pub(in crate::tui) fn selected(&self) -> Option<&ListedRoom> {
        self.shown().get(self.selected_index()).copied()
    }

    /// Its place among the shown ones.
    pub(in crate::tui) fn selected_index(&self) -> usize {
        let selected = self.selected.as_ref();
        self.shown()
            .iter()
            .position(|room| Some(&room.summary.room_id) == selected)
            .unwrap_or_default()
    }

    /// Selects a room.
    pub(in crate::tui) fn select(&mut self, id: OwnedRoomId) {
        self.selected = Some(id);
    }

    /// Selects the room `by` places further on (or back); stays at the ends.
    pub(in crate::tui) fn move_selection(&mut self, by: isize) {
        let shown = self.shown();
        let last = shown.len().saturating_sub(1);
        let index = self.selected_index().saturating_add_signed(by).min(last);
        self.selected = shown.get(index).map(|room| room.summary.room_id.clone());
    }

    /// The joined room `by` places after (or before) `from`.
    pub(in crate::tui) fn neighbor(&self, from: Option<&RoomId>, by: isize) -> Option<OwnedRoomId> {
        let joined: Vec<&OwnedRoomId> =
            self.order.iter().filter(|id| self.get(id).is_some_and(|r| !r.is_invite())).collect();
        let at = joined.iter().position(|id| Some(id.as_ref()) == from);
        let index = at.map_or(Some(0), |at| at.checked_add_signed(by))?;
        joined.get(index).map(|id| (*id).clone())
    }

    /// The first unread room other than `but`.
    pub(in crate::tui) fn next_unread(&self, but: Option<&RoomId>) -> Option<OwnedRoomId> {
        let mut unread = self.order.iter().filter(|id| Some(id.as_ref()) != but);
        unread
            .find(|id| self.get(id).is_some_and(|r| !r.is_invite() && r.summary.unread > 0))
            .cloned()
    }

    fn sort(&mut self) {
        let mut shown: Vec<&ListedRoom> = self
            .rooms
            .values()
            .filter(|room| matches!(room.summary.membership, Membership::Join | Membership::Invite))
            .collect();
        shown.sort_by_cached_key(|room| room.summary.order());
        self.order = shown.into_iter().map(|room| room.summary.room_id.clone()).collect();
    }
}
