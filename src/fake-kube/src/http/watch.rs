//! Streams of changes. A watcher is a place in a kind's history; the bytes that it sends belong to the objects.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`, `pkg/storage/cacher`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::media::Form;
use super::read::{list_options, partial, resource_version, selection, too_old, whole};
use super::route::Resource;
use super::serve::Asked;
use super::table;
use crate::api::Api;
use crate::kinds::Kind;
use crate::select::{Fields, Selection};
use crate::status::{FieldError, Status};
use crate::store::{Change, EventType, Object, Store, write_json};

/// How long a watch lives when the client does not say. The server draws between 30 and 60 minutes.
const LIFE: SignedDuration = SignedDuration::from_mins(45);
/// How often an idle watcher that asked for it learns of the newest resourceVersion.
const BOOKMARK: SignedDuration = SignedDuration::from_mins(1);
const INITIAL_END: &str = "k8s.io/initial-events-end";

pub(crate) struct Watcher {
    kind: Arc<Kind>,
    version: String,
    dialect: Dialect,
    selection: Selection,
    form: Form,
    /// Everything up to here has been sent or did not concern the watcher.
    seen: u64,
    /// What the client knows: the newest resourceVersion in what it was sent.
    told: u64,
    bookmarks: bool,
    next_bookmark: Timestamp,
    opened: Timestamp,
    ends: Timestamp,
    /// Sent before any change: the state at the start.
    first: VecDeque<Bytes>,
    /// Tables after the first say no columns.
    columns_told: Cell<bool>,
    pub(crate) headed: bool,
}

/// What a watcher has to send.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) over: bool,
}

impl Watcher {
    pub(crate) fn open(api: &Api, now: Timestamp, resource: &Resource, asked: &Asked, name: Option<&str>) -> Result<Watcher, Status> {
        let mut selection = selection(resource, asked)?;
        if let Some(name) = name {
            api.existing(&resource.kind, &resource.namespace, name)?;
            selection.fields = Fields::parse(&resource.kind, &format!("metadata.name={name}"))?;
        }
        let query = &asked.query;
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial = query.flag("sendInitialEvents");
        let given = !query.get("sendInitialEvents").is_empty();
        if given && query.get("resourceVersionMatch") != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            let rule = query.get("resourceVersionMatch");
            let unknown = FieldError::unsupported("resourceVersionMatch", &json!(rule), &["NotOlderThan"]);
            let forbidden = FieldError::forbidden("resourceVersionMatch", why);
            return Err(match rule {
                "" => list_options(forbidden),
                _ => Status::invalid_options_all("ListOptions", vec![forbidden, unknown]),
            });
        }
        if !given && !query.get("resourceVersionMatch").is_empty() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(list_options(FieldError::forbidden("resourceVersionMatch", why)));
        }
        let life = query.number("timeoutSeconds")?.filter(|&seconds| seconds > 0).map_or(LIFE, SignedDuration::from_secs);
        // Upstream wraps this error once less than a list's, and then it is nobody's fault.
        let unwrapped = |status: Status| Status::new(500, "", status.message.trim_start_matches("invalid resource version: "));
        let from = resource_version(query.get("resourceVersion")).map_err(unwrapped)?;
        let current = api.store().resource_version();
        let mut watcher = Watcher {
            kind: resource.kind.clone(),
            version: resource.version.clone(),
            dialect: resource.dialect,
            selection,
            form: asked.form,
            seen: from,
            told: from,
            bookmarks,
            next_bookmark: later(now, BOOKMARK),
            opened: now,
            ends: later(now, life),
            first: VecDeque::new(),
            columns_told: Cell::new(false),
            headed: false,
        };
        // No version, or 0, begins with the state as it is; a version begins after it. `sendInitialEvents` begins with the state and
        // says when that is through.
        if initial || (from == 0 && !given) {
            let objects: Vec<Arc<Object>> = api
                .store()
                .list_in(&resource.kind.key, &resource.namespace)
                .filter(|object| watcher.selection.matches(object))
                .cloned()
                .collect();
            for object in &objects {
                let chunks = watcher.render(now, EventType::Added, object);
                watcher.first.extend(chunks);
            }
            watcher.seen = current;
            watcher.told = current;
            if initial && bookmarks {
                let bookmark = watcher.bookmark(current, true);
                watcher.first.push_back(bookmark);
            }
        } else if from == 0 {
            watcher.seen = current;
            watcher.told = current;
        }
        Ok(watcher)
    }

    pub(crate) fn head() -> http::response::Parts {
        let mut response = http::Response::new(());
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
        response.into_parts().0
    }

    /// When there is something to send though nothing changes: the first events, a bookmark, the end.
    pub(crate) fn next_due(&self, visible: u64) -> Timestamp {
        if !self.headed || !self.first.is_empty() {
            return self.opened;
        }
        // A bookmark says nothing new when nothing changed anywhere.
        if self.bookmarks && visible > self.told { self.ends.min(self.next_bookmark) } else { self.ends }
    }

    pub(crate) fn has_news(&self, store: &Store) -> bool {
        store.changed(&self.kind.key, self.seen)
    }

    /// Everything up to the resourceVersion `visible`.
    pub(crate) fn advance(&mut self, store: &Store, now: Timestamp, visible: u64) -> Sent {
        let mut sent = Sent { chunks: self.first.drain(..).collect(), over: false };
        if store.kind(&self.kind.key).is_none() {
            sent.over = true;
            return sent;
        }
        match store.changes(&self.kind.key, self.seen) {
            Err(compacted) => {
                let status = too_old(self.seen, compacted);
                let mut chunk = b"{\"type\":\"ERROR\",\"object\":".to_vec();
                write_json(&mut chunk, &status.to_value());
                chunk.extend_from_slice(b"}\n");
                sent.chunks.push(chunk.into());
                sent.over = true;
                return sent;
            }
            Ok(changes) => {
                for change in changes.take_while(|change| change.resource_version <= visible) {
                    let before = sent.chunks.len();
                    self.change(now, change, &mut sent.chunks);
                    if sent.chunks.len() > before {
                        self.told = change.resource_version;
                    }
                }
                self.seen = self.seen.max(visible);
            }
        }
        if now >= self.ends {
            sent.over = true;
            return sent;
        }
        if self.bookmarks && now >= self.next_bookmark {
            if visible > self.told {
                sent.chunks.push(self.bookmark(visible, false));
                self.told = visible;
            }
            self.next_bookmark = later(now, BOOKMARK);
        }
        sent
    }

    /// A change as this watcher sees it: what enters its selection is added, what leaves it is deleted.
    fn change(&self, now: Timestamp, change: &Change, chunks: &mut Vec<Bytes>) {
        let is = change.event != EventType::Deleted && self.selection.matches(&change.object);
        let was = change.previous.as_ref().is_some_and(|previous| self.selection.matches(previous));
        let event = match (was, is) {
            (false, false) => return,
            (false, true) => EventType::Added,
            (true, true) => EventType::Modified,
            (true, false) => EventType::Deleted,
        };
        let plain = self.plain();
        if event == EventType::Deleted && change.event != EventType::Deleted {
            // The client is told the state that it knew, with the version of the change (`watch_cache.go`, `convertToWatchEvent`).
            if let Some(previous) = &change.previous {
                let mut value = (*previous.value()).clone();
                value["metadata"]["resourceVersion"] = Value::from(change.resource_version.to_string());
                let last = Arc::new(Object::new(&change.object.kind, EventType::Deleted, &Arc::new(value)));
                chunks.extend(self.render(now, EventType::Deleted, &last));
            }
        } else if plain && event == change.event {
            chunks.push(change.object.frame());
        } else {
            chunks.extend(self.render(now, event, &change.object));
        }
    }

    fn render(&self, now: Timestamp, event: EventType, object: &Arc<Object>) -> Vec<Bytes> {
        if self.plain() {
            return vec![Bytes::from_static(event.frame_head()), object.frame_tail()];
        }
        let mut chunk = event.frame_head().to_vec();
        match self.form {
            Form::Table => {
                let meta = json!({ "resourceVersion": object.meta.resource_version.to_string() });
                let mut table = table::table(now, &self.kind, &self.version, &[object], meta, "");
                if self.columns_told.replace(true) {
                    table["columnDefinitions"] = Value::Null;
                }
                write_json(&mut chunk, &table);
            }
            Form::Partial => write_json(&mut chunk, &partial(object)),
            _ => chunk.extend_from_slice(&whole(object, &self.version, self.dialect)),
        }
        chunk.extend_from_slice(b"}\n");
        vec![chunk.into()]
    }

    /// Whether what is stored is what is sent.
    fn plain(&self) -> bool {
        self.form == Form::Whole && self.version == self.kind.version && self.dialect == Dialect::Plain
    }

    fn bookmark(&self, at: u64, initial_end: bool) -> Bytes {
        let mut meta = json!({ "resourceVersion": at.to_string() });
        if initial_end {
            meta["annotations"] = json!({ INITIAL_END: "true" });
        }
        let (kind, api_version) = match self.form {
            Form::Partial => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            Form::Table => ("Table", "meta.k8s.io/v1".to_owned()),
            _ => {
                let own = || self.kind.api_version_of(&self.version);
                (self.kind.kind.as_str(), self.dialect.api_version().map_or_else(own, str::to_owned))
            }
        };
        let mut object = json!({ "kind": kind, "apiVersion": api_version, "metadata": meta });
        if self.form == Form::Table {
            object["columnDefinitions"] = json!([]);
            object["rows"] = json!([]);
        }
        let mut chunk = b"{\"type\":\"BOOKMARK\",\"object\":".to_vec();
        write_json(&mut chunk, &object);
        chunk.extend_from_slice(b"}\n");
        chunk.into()
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
