//! Where a long list stands in a window, held by its bottom row: what comes below, and what is put
//! before, moves nothing. Only items that are visible, or scrolled over, are asked for their height.

/// The list, as far as scrolling concerns it. An item may have no rows.
pub(in crate::tui) trait Scrolled {
    /// Names an item, however the list grows.
    type Key: Clone + PartialEq;
    /// The last item.
    fn last(&self) -> Option<Self::Key>;
    /// The item before.
    fn before(&self, key: &Self::Key) -> Option<Self::Key>;
    /// The item after.
    fn after(&self, key: &Self::Key) -> Option<Self::Key>;
    /// Whether it is in the list.
    fn is_there(&self, key: &Self::Key) -> bool;
    /// Its rows.
    fn height(&mut self, key: &Self::Key) -> usize;
}

/// What the bottom row of the window shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum Anchor<K> {
    /// The end of the list, wherever that is.
    #[default]
    End,
    /// A row of an item.
    At {
        /// The item.
        key: K,
        /// How many of its rows are below the window.
        below: usize,
    },
}

/// The rows of an item that are in the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Part<K> {
    /// The item.
    pub key: K,
    /// Its first visible row.
    pub first: usize,
    /// How many are visible.
    pub rows: usize,
}

/// What is visible, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Window<K> {
    /// The items.
    pub parts: Vec<Part<K>>,
    /// Rows at the top that stay empty because the list is shorter.
    pub blank: usize,
}

impl<K> Default for Window<K> {
    fn default() -> Self {
        Self { parts: Vec::new(), blank: 0 }
    }
}

/// Which edge of the window an item is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Edge {
    /// Its first row becomes the first.
    Top,
    /// Its last row becomes the last.
    Bottom,
}

impl<K: Clone + PartialEq> Anchor<K> {
    /// What is visible in a window of `height` rows. The anchor is moved where it would leave rows
    /// empty although the list could fill them.
    pub(in crate::tui) fn window<L: Scrolled<Key = K>>(
        &mut self,
        list: &mut L,
        height: usize,
    ) -> Window<K> {
        let Some(bottom) = self.place(list) else { return Window::default() };
        let (mut left, mut parts) = (height, Vec::new());
        let (mut next, mut hidden) = (Some(bottom.0.clone()), bottom.1);
        while let Some(key) = next.filter(|_| left > 0) {
            let there = list.height(&key).saturating_sub(std::mem::take(&mut hidden));
            let rows = there.min(left);
            left -= rows;
            next = list.before(&key);
            if rows > 0 {
                parts.push(Part { key, first: there - rows, rows });
            }
        }
        parts.reverse();
        if left > 0 && !is_end(list, &bottom) {
            let lower = fill_down(list, bottom, left);
            self.hold(list, lower);
            return self.window(list, height);
        }
        self.hold(list, bottom);
        Window { parts, blank: left }
    }

    /// Moves towards the beginning by `rows`.
    pub(in crate::tui) fn up<L: Scrolled<Key = K>>(&mut self, list: &mut L, rows: usize) {
        let Some((mut key, mut below)) = self.place(list) else { return };
        let mut rows = rows;
        loop {
            let tall = list.height(&key);
            let there = tall.saturating_sub(below);
            if rows < there {
                below += rows;
                break;
            }
            let Some(before) = list.before(&key) else {
                below = tall.saturating_sub(1);
                break;
            };
            rows -= there;
            (key, below) = (before, 0);
        }
        self.hold(list, (key, below));
    }

    /// Moves towards the end by `rows`.
    pub(in crate::tui) fn down<L: Scrolled<Key = K>>(&mut self, list: &mut L, rows: usize) {
        if let Some(bottom) = self.place(list) {
            let lower = fill_down(list, bottom, rows);
            self.hold(list, lower);
        }
    }

    /// Brings an item to an edge of a window of `height` rows, unless all of it is visible.
    pub(in crate::tui) fn reveal<L: Scrolled<Key = K>>(
        &mut self,
        list: &mut L,
        (key, edge): (&K, Edge),
        height: usize,
    ) {
        let tall = list.height(key);
        let window = self.window(list, height);
        let part = window.parts.iter().find(|part| part.key == *key);
        if !list.is_there(key) || part.is_some_and(|part| part.rows == tall.min(height)) {
            return;
        }
        match edge {
            Edge::Bottom if tall <= height => self.hold(list, (key.clone(), 0)),
            Edge::Top | Edge::Bottom => {
                self.hold(list, (key.clone(), tall.saturating_sub(1)));
                self.down(list, height.saturating_sub(1));
            }
        }
    }

    /// The item at the bottom and how many of its rows are hidden.
    fn place<L: Scrolled<Key = K>>(&self, list: &mut L) -> Option<(K, usize)> {
        match self {
            Self::At { key, below } if list.is_there(key) => {
                Some((key.clone(), (*below).min(list.height(key).saturating_sub(1))))
            }
            Self::At { .. } | Self::End => Some((list.last()?, 0)),
        }
    }

    fn hold<L: Scrolled<Key = K>>(&mut self, list: &L, (key, below): (K, usize)) {
        *self =
            if is_end(list, &(key.clone(), below)) { Self::End } else { Self::At { key, below } };
    }
}

fn is_end<L: Scrolled>(list: &L, (key, below): &(L::Key, usize)) -> bool {
    *below == 0 && list.after(key).is_none()
}

/// The place `rows` rows further down, or the end.
fn fill_down<L: Scrolled>(
    list: &mut L,
    (mut key, mut below): (L::Key, usize),
    mut rows: usize,
) -> (L::Key, usize) {
    while below < rows {
        let Some(after) = list.after(&key) else { return (key, 0) };
        rows -= below;
        below = list.height(&after);
        key = after;
    }
    (key, below - rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Items named by number, from the oldest.
    struct List(Vec<(i32, usize)>);

    impl List {
        fn place(&self, key: i32) -> Option<usize> {
            self.0.iter().position(|item| item.0 == key)
        }
    }

    impl Scrolled for List {
        type Key = i32;
        fn last(&self) -> Option<i32> {
            self.0.last().map(|item| item.0)
        }
        fn before(&self, key: &i32) -> Option<i32> {
            self.place(*key)?.checked_sub(1).map(|place| self.0[place].0)
        }
        fn after(&self, key: &i32) -> Option<i32> {
            self.0.get(self.place(*key)? + 1).map(|item| item.0)
        }
        fn is_there(&self, key: &i32) -> bool {
            self.place(*key).is_some()
        }
        fn height(&mut self, key: &i32) -> usize {
            self.place(*key).map_or(0, |place| self.0[place].1)
        }
    }

    /// The visible rows as (item, row).
    fn rows(anchor: &mut Anchor<i32>, list: &mut List, height: usize) -> Vec<(i32, usize)> {
        let window = anchor.window(list, height);
        let visible = |part: &Part<i32>| {
            let key = part.key;
            (part.first..part.first + part.rows).map(move |row| (key, row)).collect::<Vec<_>>()
        };
        window.parts.iter().flat_map(visible).collect()
    }

    #[test]
    fn the_end_is_followed() {
        let (mut list, mut anchor) = (List(vec![(1, 2), (2, 2)]), Anchor::End);
        assert_eq!(rows(&mut anchor, &mut list, 3), [(1, 1), (2, 0), (2, 1)]);
        list.0.push((3, 1));
        assert_eq!(rows(&mut anchor, &mut list, 3), [(2, 0), (2, 1), (3, 0)]);
    }

    #[test]
    fn a_scrolled_window_stays_when_items_come_on_either_side() {
        let (mut list, mut anchor) = (List(vec![(1, 3), (2, 3), (3, 3)]), Anchor::End);
        anchor.up(&mut list, 4);
        let before = rows(&mut anchor, &mut list, 3);
        assert_eq!(before, [(1, 2), (2, 0), (2, 1)]);
        list.0.push((4, 5));
        list.0.insert(0, (0, 7));
        assert_eq!(rows(&mut anchor, &mut list, 3), before);
        anchor.down(&mut list, 100);
        assert_eq!(anchor, Anchor::End);
    }

    #[test]
    fn scrolling_beyond_the_beginning_stops_there() {
        let (mut list, mut anchor) = (List(vec![(1, 2), (2, 2)]), Anchor::End);
        anchor.up(&mut list, 50);
        assert_eq!(rows(&mut anchor, &mut list, 3), [(1, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn revealing_moves_as_little_as_needed() {
        let (mut list, mut anchor) = (List((0..20).map(|n| (n, 2)).collect()), Anchor::End);
        anchor.reveal(&mut list, (&3, Edge::Top), 4);
        assert_eq!(rows(&mut anchor, &mut list, 4), [(3, 0), (3, 1), (4, 0), (4, 1)]);
        let before = anchor.clone();
        anchor.reveal(&mut list, (&4, Edge::Bottom), 4);
        assert_eq!(anchor, before);
        anchor.reveal(&mut list, (&5, Edge::Bottom), 4);
        assert_eq!(rows(&mut anchor, &mut list, 4), [(4, 0), (4, 1), (5, 0), (5, 1)]);
    }

    proptest! {
        #[test]
        fn a_window_is_full_when_it_can_be(
            heights in proptest::collection::vec(0_usize..5, 0..30),
            moves in proptest::collection::vec((any::<bool>(), 0_usize..20), 0..10),
            height in 1_usize..12,
        ) {
            let total: usize = heights.iter().sum();
            let mut list = List((0..).zip(heights).collect());
            let mut anchor = Anchor::End;
            for (is_up, by) in moves {
                if is_up { anchor.up(&mut list, by) } else { anchor.down(&mut list, by) }
                prop_assert_eq!(rows(&mut anchor, &mut list, height).len(), total.min(height));
            }
        }
    }
}
