//! A map whose entries lapse.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Entries live for `ttl` after they were last set.
#[derive(Clone, Debug)]
pub struct Cache<K, V> {
    ttl: SignedDuration,
    entries: BTreeMap<K, (V, Timestamp)>,
}

impl<K: Ord, V> Cache<K, V> {
    pub fn new(ttl: SignedDuration) -> Self {
        Cache { ttl, entries: BTreeMap::new() }
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q, now: Timestamp) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key).filter(|(_, lapses)| *lapses > now).map(|(value, _)| value)
    }

    pub fn set(&mut self, key: K, value: V, now: Timestamp) {
        let lapses = now.saturating_add(self.ttl).unwrap_or(Timestamp::MAX);
        self.entries.insert(key, (value, lapses));
    }

    /// Another value for as long as the one that is there would live.
    pub fn keep<Q: Ord + ?Sized>(&mut self, key: &Q, value: V)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.0 = value;
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.remove(key).map(|(value, _)| value)
    }

    /// Takes out what has lapsed.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<(K, V)> {
        self.entries.extract_if(.., |_, (_, lapses)| *lapses <= now).map(|(key, (value, _))| (key, value)).collect()
    }

    /// When the next entry lapses.
    pub fn next_lapse(&self, now: Timestamp) -> Option<Timestamp> {
        self.entries.values().map(|(_, lapses)| *lapses).filter(|lapses| *lapses > now).min()
    }

    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().filter(move |(_, (_, lapses))| *lapses > now).map(|(key, (value, _))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_lapse_and_are_swept() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        let mut cache = Cache::new(SignedDuration::from_secs(60));
        cache.set("a".to_owned(), 1, start);
        cache.set("b".to_owned(), 2, after(30));
        assert_eq!((cache.get("a", after(59)), cache.get("a", after(60))), (Some(&1), None));
        assert_eq!(cache.next_lapse(after(60)), Some(after(90)));
        assert_eq!(cache.sweep(after(60)), [("a".to_owned(), 1)]);
        assert_eq!(cache.live(after(60)).count(), 1);
    }
}
