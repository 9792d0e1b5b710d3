//! Things that are kept for a while, in memory, and never more than so many.

use std::collections::{BTreeMap, BTreeSet};

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

/// Most entries of one owner.
const MAX_OF_OWNER: usize = 100;

/// The same with a share for each owner, so that whoever makes many pushes out their own.
#[derive(Debug)]
pub(crate) struct Allotted<V> {
    entries: BTreeMap<String, (Timestamp, String, V)>,
    owners: BTreeMap<String, BTreeSet<(Timestamp, String)>>,
}

impl<V> Default for Allotted<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), owners: BTreeMap::new() }
    }
}

impl<V> Allotted<V> {
    /// What is there.
    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Option<&V> {
        self.entries.get(key).filter(|(until, ..)| now < *until).map(|(_, _, value)| value)
    }

    /// Takes away what is there.
    pub(crate) fn remove(&mut self, key: &str) {
        let Some((until, owner, _)) = self.entries.remove(key) else { return };
        if let Some(own) = self.owners.get_mut(&owner) {
            own.remove(&(until, key.to_owned()));
            if own.is_empty() {
                self.owners.remove(&owner);
            }
        }
    }

    /// Puts something of somebody's there, in place of what there may be.
    pub(crate) fn put(&mut self, owner: &str, key: String, entry: (Timestamp, V)) {
        self.remove(&key);
        let own = self.owners.get(owner);
        let crowded = if own.is_some_and(|own| MAX_OF_OWNER <= own.len()) {
            own
        } else if MAX <= self.entries.len() {
            self.owners.values().max_by_key(|own| own.len())
        } else {
            None
        };
        if let Some((_, first)) = crowded.and_then(BTreeSet::first).cloned() {
            self.remove(&first);
        }
        let (until, value) = entry;
        self.owners.entry(owner.to_owned()).or_default().insert((until, key.clone()));
        self.entries.insert(key, (until, owner.to_owned(), value));
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
    fn whoever_makes_many_entries_pushes_out_their_own() {
        let mut map = Allotted::default();
        let until = Timestamp(100);
        map.put("friend", "session".to_owned(), (until, 0));
        for number in 0..2 * MAX {
            map.put(
                "flood",
                number.to_string(),
                (until.plus(std::time::Duration::from_secs(1)), 1),
            );
        }
        assert_eq!(map.get("session", Timestamp(0)), Some(&0));
        assert_eq!(map.entries.len(), 1 + MAX_OF_OWNER);
        for number in 0..2 * MAX {
            // From as many addresses as there are places: those with one entry each go first to last.
            map.put(&format!("address {}", number % 50), format!("b{number}"), (until, 1));
        }
        assert!(map.entries.len() <= MAX);
        assert_eq!(map.get("session", Timestamp(0)), Some(&0));
        assert_eq!(map.get("session", until), None, "an entry ends by itself");
        map.remove("session");
        assert_eq!(map.get("session", Timestamp(0)), None);
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
