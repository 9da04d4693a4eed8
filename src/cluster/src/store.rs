//! One kind of object, in order of namespace and name, never going back in time.

use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }

    pub fn of(object: &impl ResourceExt) -> Self {
        Key::new(object.namespace().as_deref().unwrap_or(""), &object.name_any())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What an apply, a delete or a reset did to one object.
#[derive(Clone, Debug)]
pub struct Replaced<K> {
    pub key: Key,
    pub old: Option<Arc<K>>,
    pub new: Option<Arc<K>>,
}

/// Uids remembered after their deletion; a late reply to a write must not bring the object back.
const TOMBSTONES: usize = 8192;

#[derive(Debug)]
pub struct Store<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// Keys seen since the watch began to list again.
    listing: Option<BTreeSet<Key>>,
    listed: bool,
    buried: BTreeSet<String>,
    burials: VecDeque<String>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Store { objects: BTreeMap::new(), listing: None, listed: false, buried: BTreeSet::new(), burials: VecDeque::new() }
    }
}

/// Resource versions are comparable as numbers (Kubernetes 1.35 made this a promise; every API server before did so too).
fn version(object: &impl ResourceExt) -> Option<u128> {
    object.resource_version()?.parse().ok()
}

impl<K: ResourceExt> Store<K> {
    pub fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<K>)> {
        self.objects.iter()
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// A list has been seen completely at least once.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Takes the object unless it is the same as, or older than, what is there. `None` when nothing changed.
    pub fn apply(&mut self, object: K) -> Option<Replaced<K>> {
        let key = Key::of(&object);
        if let Some(seen) = &mut self.listing {
            seen.insert(key.clone());
        }
        if object.uid().is_some_and(|uid| self.buried.contains(&uid)) {
            return None;
        }
        let old = self.objects.get(&key);
        if let Some(old) = old
            && old.uid() == object.uid()
            && let (Some(have), Some(got)) = (version(&**old), version(&object))
            && got <= have
        {
            return None;
        }
        let new = Arc::new(object);
        let old = self.objects.insert(key.clone(), new.clone());
        Some(Replaced { key, old, new: Some(new) })
    }

    /// `None` when there was nothing of that uid.
    pub fn delete(&mut self, object: &K) -> Option<Replaced<K>> {
        if let Some(uid) = object.uid() {
            self.bury(uid);
        }
        let key = Key::of(object);
        if self.objects.get(&key).is_none_or(|have| have.uid() != object.uid()) {
            return None;
        }
        let old = self.objects.remove(&key);
        Some(Replaced { key, old, new: None })
    }

    /// A new list begins.
    pub fn begin(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// The list is complete: what was not in it is gone.
    pub fn end(&mut self) -> Vec<Replaced<K>> {
        self.listed = true;
        let Some(seen) = self.listing.take() else { return Vec::new() };
        let gone: Vec<Key> = self.objects.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        gone.into_iter()
            .map(|key| {
                let old = self.objects.remove(&key);
                if let Some(uid) = old.as_ref().and_then(|old| old.uid()) {
                    self.bury(uid);
                }
                Replaced { key, old, new: None }
            })
            .collect()
    }

    fn bury(&mut self, uid: String) {
        if self.buried.insert(uid.clone()) {
            self.burials.push_back(uid);
        }
        if self.burials.len() > TOMBSTONES
            && let Some(oldest) = self.burials.pop_front()
        {
            self.buried.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use rstest::rstest;

    fn pod(name: &str, uid: &str, version: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.namespace = Some("default".into());
        pod.metadata.uid = Some(uid.into());
        pod.metadata.resource_version = Some(version.into());
        pod
    }

    #[rstest]
    #[case::newer("u", "11", true)]
    #[case::same("u", "10", false)]
    #[case::older("u", "9", false)]
    #[case::another_object_of_that_name("v", "9", true)]
    fn never_goes_back(#[case] uid: &str, #[case] version: &str, #[case] changed: bool) {
        let mut store = Store::default();
        store.apply(pod("a", "u", "10"));
        assert_eq!(store.apply(pod("a", uid, version)).is_some(), changed);
    }

    #[test]
    fn a_late_reply_brings_nothing_back() {
        let mut store = Store::default();
        store.apply(pod("a", "u", "10"));
        store.delete(&pod("a", "u", "12"));
        assert!(store.apply(pod("a", "u", "11")).is_none());
        assert!(store.is_empty());
    }

    #[test]
    fn a_relist_drops_what_it_does_not_hold() {
        let mut store = Store::default();
        store.apply(pod("a", "u", "1"));
        store.apply(pod("b", "v", "2"));
        store.begin();
        store.apply(pod("b", "v", "2"));
        let gone = store.end();
        assert_eq!(gone.iter().map(|r| &*r.key.name).collect::<Vec<_>>(), ["a"]);
        assert_eq!(store.len(), 1);
    }
}
