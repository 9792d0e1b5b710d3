//! Where a long list stands in a window, held by its bottom row: what comes below, and what is put
//! before, moves nothing. Only items that are visible, or scrolled over, are asked for their height.

/// The list, as far as scrolling concerns it. An item may have no rows.
pub(in crate::tui) trait Heights {
    /// Names an item, however the list grows.
    type Key: Clone + PartialEq;
    /// How many items there are.
    fn len(&self) -> usize;
    /// The name of an item.
    fn key(&self, index: usize) -> Option<Self::Key>;
    /// Where an item is now.
    fn index(&self, key: &Self::Key) -> Option<usize>;
    /// Its rows.
    fn height(&mut self, index: usize) -> usize;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Part {
    /// The item.
    pub index: usize,
    /// Its first visible row.
    pub first: usize,
    /// How many are visible.
    pub rows: usize,
}

/// What is visible, from top to bottom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Window {
    /// The items.
    pub parts: Vec<Part>,
    /// Rows at the top that stay empty because the list is shorter.
    pub blank: usize,
}

impl<K: Clone + PartialEq> Anchor<K> {
    /// What is visible in a window of `height` rows. The anchor is moved where it would leave rows
    /// empty although the list could fill them.
    pub(in crate::tui) fn window<L: Heights<Key = K>>(
        &mut self,
        list: &mut L,
        height: usize,
    ) -> Window {
        let Some(mut bottom) = self.place(list) else { return Window::default() };
        let mut left = height;
        let mut parts = Vec::new();
        let mut index = bottom.0;
        loop {
            let hidden = if index == bottom.0 { bottom.1 } else { 0 };
            let there = list.height(index).saturating_sub(hidden);
            let rows = there.min(left);
            if rows > 0 {
                parts.push(Part { index, first: there - rows, rows });
            }
            left -= rows;
            if left == 0 || index == 0 {
                break;
            }
            index -= 1;
        }
        parts.reverse();
        if left > 0 && !self.is_end(list, bottom) {
            bottom = fill_down(list, bottom, left);
            self.hold(list, bottom);
            return self.window(list, height);
        }
        self.hold(list, bottom);
        Window { parts, blank: left }
    }

    /// Moves towards the beginning by `rows`.
    pub(in crate::tui) fn up<L: Heights<Key = K>>(&mut self, list: &mut L, rows: usize) {
        let Some((mut index, mut below)) = self.place(list) else { return };
        let mut rows = rows;
        loop {
            let there = list.height(index).saturating_sub(below);
            if rows < there {
                below += rows;
                break;
            }
            if index == 0 {
                below = list.height(0).saturating_sub(1);
                break;
            }
            rows -= there;
            index -= 1;
            below = 0;
        }
        self.hold(list, (index, below));
    }

    /// Moves towards the end by `rows`.
    pub(in crate::tui) fn down<L: Heights<Key = K>>(&mut self, list: &mut L, rows: usize) {
        if let Some(bottom) = self.place(list) {
            let bottom = fill_down(list, bottom, rows);
            self.hold(list, bottom);
        }
    }

    /// Moves as little as needed to make an item visible in a window of `height` rows.
    pub(in crate::tui) fn reveal<L: Heights<Key = K>>(
        &mut self,
        list: &mut L,
        index: usize,
        height: usize,
    ) {
        let tall = list.height(index);
        let window = self.window(list, height);
        let part = window.parts.iter().find(|part| part.index == index);
        if part.is_some_and(|part| part.rows == tall.min(height)) {
            return;
        }
        let is_below = window.parts.last().is_some_and(|last| last.index <= index);
        if is_below && tall <= height {
            self.hold(list, (index, 0));
        } else {
            self.hold(list, (index, tall.saturating_sub(1)));
            self.down(list, height.saturating_sub(1));
        }
    }

    /// The item at the bottom and how many of its rows are hidden.
    fn place<L: Heights<Key = K>>(&self, list: &mut L) -> Option<(usize, usize)> {
        let last = list.len().checked_sub(1)?;
        let Self::At { key, below } = self else { return Some((last, 0)) };
        let Some(index) = list.index(key) else { return Some((last, 0)) };
        Some((index, (*below).min(list.height(index).saturating_sub(1))))
    }

    fn is_end<L: Heights<Key = K>>(&self, list: &L, (index, below): (usize, usize)) -> bool {
        below == 0 && index + 1 >= list.len()
    }

    fn hold<L: Heights<Key = K>>(&mut self, list: &L, (index, below): (usize, usize)) {
        *self = match list.key(index) {
            Some(key) if !self.is_end(list, (index, below)) => Self::At { key, below },
            Some(_) | None => Self::End,
        };
    }
}

/// The place `rows` rows further down, or the end.
fn fill_down<L: Heights>(
    list: &mut L,
    (mut index, mut below): (usize, usize),
    mut rows: usize,
) -> (usize, usize) {
    while below < rows {
        if index + 1 >= list.len() {
            return (index, 0);
        }
        rows -= below;
        index += 1;
        below = list.height(index);
    }
    (index, below - rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Items named by number, from the oldest.
    struct List(Vec<(i32, usize)>);

    impl Heights for List {
        type Key = i32;
        fn len(&self) -> usize {
            self.0.len()
        }
        fn key(&self, index: usize) -> Option<i32> {
            self.0.get(index).map(|item| item.0)
        }
        fn index(&self, key: &i32) -> Option<usize> {
            self.0.iter().position(|item| item.0 == *key)
        }
        fn height(&mut self, index: usize) -> usize {
            self.0[index].1
        }
    }

    /// The visible rows as (item, row).
    fn rows(anchor: &mut Anchor<i32>, list: &mut List, height: usize) -> Vec<(i32, usize)> {
        let window = anchor.window(list, height);
        let visible = |part: &Part| {
            let key = list.0[part.index].0;
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
        anchor.reveal(&mut list, 3, 4);
        assert_eq!(rows(&mut anchor, &mut list, 4), [(3, 0), (3, 1), (4, 0), (4, 1)]);
        let before = anchor.clone();
        anchor.reveal(&mut list, 4, 4);
        assert_eq!(anchor, before);
        anchor.reveal(&mut list, 5, 4);
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
