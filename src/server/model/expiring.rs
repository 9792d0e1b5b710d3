//! Things that are kept for a while, in memory, and never more than so many.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// Most entries.
const MAX: usize = 10_000;

/// A map whose entries end by themselves. Full, it forgets the one that would end first.
#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: BTreeMap<K, (Timestamp, V)>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> Expiring<K, V> {
    /// What is there, and until when.
    pub(crate) fn get<Q>(&self, key: &Q, now: Timestamp) -> Option<&(Timestamp, V)>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.entries.get(key).filter(|(until, _)| now < *until)
    }

    /// Everything that is there.
    pub(crate) fn iter(&self, now: Timestamp) -> impl Iterator<Item = (&K, &V)> {
        let there = self.entries.iter().filter(move |(_, (until, _))| now < *until);
        there.map(|(key, (_, value))| (key, value))
    }

    /// Takes out what is there.
    pub(crate) fn take<Q>(&mut self, key: &Q, now: Timestamp) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.entries.remove(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    /// Puts something there, in place of what there may be.
    pub(crate) fn put(&mut self, key: K, entry: (Timestamp, V), now: Timestamp) {
        if MAX <= self.entries.len() && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        self.entries.insert(key, entry);
    }

    fn make_room(&mut self, now: Timestamp) {
        self.entries.retain(|_, (until, _)| now < *until);
        if MAX <= self.entries.len() {
            let first = self.entries.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_by_itself() {
        let mut map = Expiring::default();
        map.put("a", (Timestamp(10), 1), Timestamp(0));
        assert_eq!(map.get("a", Timestamp(9)), Some(&(Timestamp(10), 1)));
        assert_eq!(map.get("a", Timestamp(10)), None);
        assert_eq!(map.take("a", Timestamp(10)), None);
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let mut map = Expiring::default();
        for number in 0..=MAX {
            let until = Timestamp(100 + u64::try_from(number).unwrap());
            map.put(number, (until, ()), Timestamp(0));
        }
        assert_eq!(map.entries.len(), MAX);
        assert!(map.get(&0, Timestamp(0)).is_none(), "the one that ends first went");
    }
}
