//! A map that knows when each of its values may have changed, so that what was made from one can be kept until then.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// Reads like the map that it holds; whoever may write to a value makes it a new one to those who remember it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tracked<V> {
    values: BTreeMap<String, V>,
    /// The number of the last possible change of each value.
    versions: BTreeMap<String, u64>,
    changes: u64,
}

impl<V> Default for Tracked<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), versions: BTreeMap::new(), changes: 0 }
    }
}

impl<V> Deref for Tracked<V> {
    type Target = BTreeMap<String, V>;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

impl<V> Tracked<V> {
    /// Equal as long as the value cannot have changed; 0 if there is none.
    pub fn version(&self, key: &str) -> u64 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    fn touch(&mut self, key: &str) {
        self.changes += 1;
        match self.versions.get_mut(key) {
            Some(version) => *version = self.changes,
            None => drop(self.versions.insert(key.to_owned(), self.changes)),
        }
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        if self.values.contains_key(key) {
            self.touch(key);
        }
        self.values.get_mut(key)
    }

    pub fn insert(&mut self, key: String, value: V) -> Option<V> {
        self.touch(&key);
        self.values.insert(key, value)
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.versions.remove(key);
        self.values.remove(key)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.changes += 1;
        self.versions.values_mut().for_each(|version| *version = self.changes);
        self.values.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_is_seen() {
        let mut map = Tracked::default();
        map.insert("a".to_owned(), 1);
        map.insert("b".to_owned(), 2);
        let seen = |map: &Tracked<i32>| (map.version("a"), map.version("b"));
        let first = seen(&map);
        assert_eq!((map.get("a"), map.len(), seen(&map)), (Some(&1), 2, first), "reading changes nothing");
        assert!(map.get_mut("c").is_none());
        assert_eq!(seen(&map), first);
        map.get_mut("a");
        assert!(map.version("a") > first.0 && map.version("b") == first.1);
        let second = seen(&map);
        map.values_mut().for_each(|value| *value += 1);
        assert!(map.version("a") > second.0 && map.version("b") > second.1);
        let third = seen(&map);
        map.remove("a");
        map.insert("a".to_owned(), 1);
        assert!(map.version("a") > third.0, "another value of the same name is another");
    }
}
