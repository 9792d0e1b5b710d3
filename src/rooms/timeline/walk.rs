//! Walking through the items of a timeline, from either end.

use std::{collections::btree_set, ops::Bound};

use super::{
    fold::{Row, Timeline},
    item::{Item, ItemId},
};

/// The items of a timeline, oldest first; both ends may be taken.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    timeline: &'a Timeline,
    front: Bound<Row>,
    back: Bound<Row>,
}

impl Timeline {
    /// All items, oldest first.
    pub fn items(&self) -> Items<'_> {
        Items { timeline: self, front: Bound::Unbounded, back: Bound::Unbounded }
    }

    /// The items before `id`, oldest first; none if it is not shown.
    pub fn items_before(&self, id: &ItemId) -> Items<'_> {
        let back = Bound::Excluded(self.row(id).unwrap_or(Row::START));
        Items { timeline: self, front: Bound::Unbounded, back }
    }

    /// The items from `id` on; none if it is not shown.
    pub fn items_from(&self, id: &ItemId) -> Items<'_> {
        let front = self.row(id).map_or(Bound::Excluded(Row::echo(u64::MAX)), Bound::Included);
        Items { timeline: self, front, back: Bound::Unbounded }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let row = *self.rows()?.next()?;
            let (first, last) = self.timeline.run(row)?;
            self.front = Bound::Excluded(last);
            if let Some(item) = self.timeline.build(first, last) {
                return Some(item);
            }
        }
    }
}

impl DoubleEndedIterator for Items<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            let row = *self.rows()?.next_back()?;
            let (first, last) = self.timeline.run(row)?;
            self.back = Bound::Excluded(first);
            if let Some(item) = self.timeline.build(first, last) {
                return Some(item);
            }
        }
    }
}

impl<'a> Items<'a> {
    /// The rows that are left; a range must not be asked for when its ends have met.
    fn rows(&self) -> Option<btree_set::Range<'a, Row>> {
        let met = match (self.front, self.back) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (
                Bound::Included(front) | Bound::Excluded(front),
                Bound::Included(back) | Bound::Excluded(back),
            ) => back <= front,
        };
        (!met).then(|| self.timeline.rows.range((self.front, self.back)))
    }
}
