//! The messages of a room as a list of rows: each item laid out when it is looked at, and kept until
//! it, its neighbor's day or the width changes.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;

use super::{
    look::{Look, day_words},
    message_parts::{self, Detail, Names},
    message_rows::ruled,
    scroll::Scrolled,
};
use crate::{
    matrix::{OwnedEventId, OwnedUserId, SafeText},
    rooms::{Item, ItemId, ItemKind, Timeline},
    tui::{
        theme::StyleName,
        wrap::{Row, Span},
    },
};

/// Most items whose rows are kept.
const MOST_KEPT: usize = 4096;

/// Rows that were laid out, by item.
#[derive(Debug, Default)]
pub(super) struct Cache {
    kept: HashMap<ItemId, Kept>,
}

impl Cache {
    /// Forgets all, after something changed that is not part of an item.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}

#[derive(Debug)]
struct Kept {
    made_for: MadeFor,
    rows: Vec<Row>,
}

/// What the rows of an item depend on.
#[derive(Debug, PartialEq, Eq)]
struct MadeFor {
    version: u64,
    columns: usize,
    new_day: Option<Date>,
    is_selected: bool,
}

/// A room's messages, to be looked at.
#[derive(Debug)]
pub(super) struct MessageList<'a> {
    pub timeline: &'a Timeline,
    pub cache: &'a mut Cache,
    pub look: &'a Look,
    pub names: &'a BTreeMap<OwnedUserId, SafeText>,
    pub read_by: &'a BTreeMap<OwnedUserId, OwnedEventId>,
    pub selected: Option<&'a ItemId>,
}

impl MessageList<'_> {
    /// The rows of an item, with the lines above it (a new day, the first unread message).
    pub(super) fn rows(&mut self, id: &ItemId) -> &[Row] {
        let Some(item) = self.timeline.item(id) else { return &[] };
        let made_for = self.made_for(&item);
        let is_kept = self.cache.kept.get(&item.id).is_some_and(|kept| kept.made_for == made_for);
        if !is_kept {
            let rows = self.lay_out(&item, &made_for);
            if MOST_KEPT <= self.cache.kept.len() {
                self.cache.clear();
            }
            self.cache.kept.insert(item.id.clone(), Kept { made_for, rows });
        }
        self.cache.kept.get(&item.id).map_or(&[], |kept| &kept.rows)
    }

    fn made_for(&self, item: &Item<'_>) -> MadeFor {
        // Marks have no time; the line of the day stands before the first item that has one.
        let day = self.day(item);
        let before = self.timeline.items_before(&item.id).rev().take(3);
        let day_before = before.map(|item| self.day(&item)).find(Option::is_some).flatten();
        let is_new = day_before != day;
        MadeFor {
            version: item.version,
            columns: self.look.columns,
            new_day: day.filter(|_| is_new),
            is_selected: self.selected == Some(&item.id),
        }
    }

    /// Who has read up to this item or further.
    fn readers(&self, id: &ItemId) -> Vec<OwnedUserId> {
        let ItemId::Event(position) = id else { return Vec::new() };
        let has_read = |event: &OwnedEventId| self.timeline.position(event) >= Some(*position);
        let readers = self.read_by.iter().filter(|(_, event)| has_read(event));
        readers.map(|(user, _)| user.clone()).collect()
    }

    fn day(&self, item: &Item<'_>) -> Option<Date> {
        match item.kind {
            ItemKind::Start | ItemKind::Gap | ItemKind::UnreadMarker => None,
            ItemKind::Message(_)
            | ItemKind::Removed(_)
            | ItemKind::Unreadable(_)
            | ItemKind::Changes(_) => self.look.day(item.ts),
        }
    }

    fn lay_out(&self, item: &Item<'_>, made_for: &MadeFor) -> Vec<Row> {
        let columns = self.look.columns;
        let mut rows = Vec::new();
        if let Some(day) = made_for.new_day {
            let mut row = ruled(&day_words(day), StyleName::MessageDay, columns.saturating_sub(1));
            row.spans.insert(0, Span::new(" ", StyleName::MessageMark));
            rows.push(row);
        }
        let names = Names { known: self.names, look: self.look };
        let (mark, detail) = if made_for.is_selected {
            ("▌", Detail::Full { readers: self.readers(&item.id) })
        } else {
            (" ", Detail::Short)
        };
        for mut row in message_parts::rows(item, names, &detail, columns.saturating_sub(1)) {
            row.spans.insert(0, Span::new(mark, StyleName::MessageMark));
            rows.push(row);
        }
        rows
    }
}

impl Scrolled for MessageList<'_> {
    type Key = ItemId;

    fn last(&self) -> Option<ItemId> {
        self.timeline.items().next_back().map(|item| item.id)
    }

    fn before(&self, key: &ItemId) -> Option<ItemId> {
        self.timeline.items_before(key).next_back().map(|item| item.id)
    }

    fn after(&self, key: &ItemId) -> Option<ItemId> {
        self.timeline.items_from(key).nth(1).map(|item| item.id)
    }

    fn is_there(&self, key: &ItemId) -> bool {
        self.timeline.item(key).is_some()
    }

    fn height(&mut self, key: &ItemId) -> usize {
        self.rows(key).len()
    }
}
