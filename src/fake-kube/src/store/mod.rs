//! Holds every object, counts resourceVersions and remembers what changed. Knows nothing of HTTP, admission or time.
//!
//! Per kind an ordered map of `(namespace, name)` and a ring of events; readers share the objects, watchers hold a position in the
//! ring. What falls out of the ring is compacted: who asks for it gets [`Compacted`], the API's `410 Expired`.

mod object;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use crate::kinds::Kind;
pub use object::{EventType, Meta, Object, OwnerRef};
pub(crate) use object::{string_map, write_json};

/// The history asked for is gone; `oldest` is the first resourceVersion that a watch may still start from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("resource version is older than {oldest}, the oldest that is remembered")]
pub struct Compacted {
    pub oldest: u64,
}

/// A change of one object. `previous` is `None` for an addition.
#[derive(Clone, Debug)]
pub struct Change {
    pub resource_version: u64,
    pub event: EventType,
    /// The state after the change; of a deletion, the last state.
    pub object: Arc<Object>,
    pub previous: Option<Arc<Object>>,
}

impl Change {
    /// `"pods"`, `"apps/deployments"`: the key of the object's kind.
    #[expect(clippy::misnamed_getters, reason = "the key is the plural with its group")]
    pub fn plural(&self) -> &str {
        &self.object.kind.key
    }

    pub fn namespace(&self) -> &str {
        &self.object.meta.namespace
    }

    pub fn name(&self) -> &str {
        &self.object.meta.name
    }
}

type Key = (String, String);

#[derive(Default)]
struct Shelf {
    objects: BTreeMap<Key, Arc<Object>>,
    ring: VecDeque<Change>,
    /// The newest resourceVersion that fell out of the ring.
    compacted: u64,
}

/// How many parsed objects are kept parsed after their last write.
const RECENT: usize = 1024;

pub struct Store {
    resource_version: u64,
    history: usize,
    kinds: BTreeMap<String, Arc<Kind>>,
    shelves: BTreeMap<String, Shelf>,
    recent: VecDeque<Arc<Value>>,
}

impl Store {
    /// `history`: how many events each kind remembers.
    pub fn new(history: usize) -> Store {
        Store { resource_version: 1, history: history.max(1), kinds: BTreeMap::new(), shelves: BTreeMap::new(), recent: VecDeque::new() }
    }

    /// The newest resourceVersion given out.
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// The kind with this key (`"pods"`, `"apps/deployments"`, `"karpenter.sh/nodepools"`).
    pub fn kind(&self, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(plural)
    }

    /// Every kind, ordered by key.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// Adds a kind, or replaces its description; objects stay.
    pub(crate) fn register(&mut self, kind: Arc<Kind>) {
        let now = self.resource_version;
        self.shelves.entry(kind.key.clone()).or_insert_with(|| Shelf { compacted: now, ..Shelf::default() });
        self.kinds.insert(kind.key.clone(), kind);
    }

    /// Takes a kind away. Its history goes with it, so watches of it end.
    pub(crate) fn unregister(&mut self, plural: &str) {
        self.kinds.remove(plural);
        self.shelves.remove(plural);
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.shelves.get(plural)?.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All objects of a kind, ordered by namespace, then name.
    pub fn list(&self, plural: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.shelves.get(plural).into_iter().flat_map(|shelf| shelf.objects.values())
    }

    /// The objects of a kind in one namespace, ordered by name; an empty namespace means all of them.
    pub fn list_in<'a>(&'a self, plural: &str, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
        let from = Bound::Included((namespace.to_owned(), String::new()));
        self.shelves
            .get(plural)
            .into_iter()
            .flat_map(move |shelf| shelf.objects.range((from.clone(), Bound::Unbounded)))
            .take_while(move |((at, _), _)| namespace.is_empty() || at == namespace)
            .map(|(_, object)| object)
    }

    pub fn len(&self, plural: &str) -> usize {
        self.shelves.get(plural).map_or(0, |shelf| shelf.objects.len())
    }

    pub fn is_empty(&self, plural: &str) -> bool {
        self.len(plural) == 0
    }

    /// Everything that changed after `resource_version`, of all kinds, in order. For those who read often: what has fallen out of a
    /// ring is missing.
    pub fn since(&self, resource_version: u64) -> Vec<Change> {
        if resource_version >= self.resource_version {
            return Vec::new();
        }
        let mut all: Vec<Change> = self.shelves.values().flat_map(|shelf| after(&shelf.ring, resource_version).cloned()).collect();
        all.sort_by_key(|change| change.resource_version);
        all
    }

    /// The changes of one kind after `resource_version`, in order.
    pub fn changes(&self, plural: &str, resource_version: u64) -> Result<impl Iterator<Item = &Change>, Compacted> {
        static NOTHING: VecDeque<Change> = VecDeque::new();
        let shelf = self.shelves.get(plural);
        match shelf {
            Some(shelf) if resource_version < shelf.compacted => Err(Compacted { oldest: shelf.compacted }),
            Some(shelf) => Ok(after(&shelf.ring, resource_version)),
            None => Ok(after(&NOTHING, resource_version)),
        }
    }

    /// Whether a kind changed after `resource_version`.
    pub(crate) fn changed(&self, plural: &str, resource_version: u64) -> bool {
        self.shelves.get(plural).is_none_or(|shelf| shelf.ring.back().is_some_and(|change| change.resource_version > resource_version))
    }

    /// The objects of a kind as they were at `resource_version`, ordered: today's, with every later change undone.
    pub(crate) fn snapshot(&self, plural: &str, namespace: &str, resource_version: u64) -> Result<Vec<Arc<Object>>, Compacted> {
        let mut undo: BTreeMap<Key, Option<&Arc<Object>>> = BTreeMap::new();
        for change in self.changes(plural, resource_version)? {
            let key = (change.namespace().to_owned(), change.name().to_owned());
            undo.entry(key).or_insert(change.previous.as_ref());
        }
        if undo.is_empty() {
            return Ok(self.list_in(plural, namespace).cloned().collect());
        }
        let mut state: BTreeMap<Key, Arc<Object>> = self
            .list_in(plural, namespace)
            .map(|object| ((object.meta.namespace.clone(), object.meta.name.clone()), object.clone()))
            .collect();
        for (key, previous) in undo.into_iter().filter(|((at, _), _)| namespace.is_empty() || at == namespace) {
            match previous {
                Some(object) => state.insert(key, object.clone()),
                None => state.remove(&key),
            };
        }
        Ok(state.into_values().collect())
    }

    /// Forgets the events of a kind up to `resource_version`.
    pub(crate) fn compact(&mut self, plural: &str, resource_version: u64) {
        if let Some(shelf) = self.shelves.get_mut(plural) {
            while shelf.ring.front().is_some_and(|change| change.resource_version <= resource_version) {
                shelf.ring.pop_front();
            }
            shelf.compacted = shelf.compacted.max(resource_version.min(self.resource_version));
        }
    }

    /// Stores an object under its name with a new resourceVersion.
    pub(crate) fn put(&mut self, kind: &Arc<Kind>, value: Value) -> Arc<Object> {
        let meta = &value["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
        let key = (text("namespace"), text("name"));
        let previous = self.shelves.get(&kind.key).and_then(|shelf| shelf.objects.get(&key)).cloned();
        let event = if previous.is_some() { EventType::Modified } else { EventType::Added };
        let object = self.stamp(kind, event, value);
        let resource_version = self.resource_version;
        let shelf = self.shelves.entry(kind.key.clone()).or_default();
        shelf.objects.insert(key, object.clone());
        remember(shelf, self.history, Change { resource_version, event, object: object.clone(), previous });
        object
    }

    /// Removes an object; the last state, with the resourceVersion of the removal, is what watchers see.
    pub(crate) fn remove(&mut self, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let previous = self.shelves.get_mut(plural)?.objects.remove(&(namespace.to_owned(), name.to_owned()))?;
        let object = self.stamp(&previous.kind.clone(), EventType::Deleted, (*previous.value()).clone());
        let resource_version = self.resource_version;
        let shelf = self.shelves.get_mut(plural)?;
        let change = Change { resource_version, event: EventType::Deleted, object: object.clone(), previous: Some(previous) };
        remember(shelf, self.history, change);
        Some(object)
    }

    /// Changes what is stored of a kind where it stands: no new resourceVersion, no event.
    pub(crate) fn rewrite(&mut self, kind: &Arc<Kind>, change: impl Fn(&mut Value)) {
        let Some(shelf) = self.shelves.get_mut(&kind.key) else { return };
        for object in shelf.objects.values_mut() {
            let mut value = (*object.value()).clone();
            change(&mut value);
            *object = Arc::new(Object::new(kind, EventType::Modified, &Arc::new(value)));
        }
    }

    fn stamp(&mut self, kind: &Arc<Kind>, event: EventType, mut value: Value) -> Arc<Object> {
        self.resource_version += 1;
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.insert("resourceVersion".to_owned(), Value::String(self.resource_version.to_string()));
        }
        let value = Arc::new(value);
        let object = Arc::new(Object::new(kind, event, &value));
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
        object
    }
}

fn after(ring: &VecDeque<Change>, resource_version: u64) -> impl Iterator<Item = &Change> {
    let from = ring.partition_point(|change| change.resource_version <= resource_version);
    ring.range(from..)
}

fn remember(shelf: &mut Shelf, history: usize, change: Change) {
    while shelf.ring.len() >= history {
        if let Some(gone) = shelf.ring.pop_front() {
            shelf.compacted = gone.resource_version;
        }
    }
    shelf.ring.push_back(change);
}
