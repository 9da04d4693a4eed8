//! Events, as the recorders of controllers and of the scheduler write them.
//!
//! Source: `k8s.io/client-go/tools/record/{event,events_cache}.go`, `tools/events/event_recorder.go`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::pods::Key;
use crate::api::Api;
use crate::store::Object;
use crate::time;

/// An event repeated within this time is counted, not written again (`tools/events/event_broadcaster.go`, maxLifetime of a series).
const SERIES: SignedDuration = SignedDuration::from_mins(6);

/// `tools/record/events_cache.go`: so many different messages for one reason within that time, then they are told as one.
const MOST_SIMILAR: usize = 10;
const SIMILAR: SignedDuration = SignedDuration::from_mins(10);
const COMBINED: &str = "(combined from similar events): ";
/// An object's events: 25 at once, then one in five minutes (defaultSpamBurst, defaultSpamQPS).
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
const FULL: SignedDuration = SignedDuration::from_secs(25 * 300);

/// Writes events for one component and counts those that repeat.
pub(super) struct Recorder {
    component: &'static str,
    seen: BTreeMap<(String, &'static str, String), (Key, Timestamp)>,
    /// What was said of each object for one reason: different messages, and when the last one was.
    similar: BTreeMap<(String, &'static str), (BTreeSet<String>, Timestamp)>,
    /// How many more events each object may have, and when that was.
    allowance: BTreeMap<String, (f64, Timestamp)>,
    /// When what has passed was last forgotten.
    swept: Timestamp,
}

/// What there is to say about an object.
#[derive(Clone, Copy)]
pub(super) struct Note<'a> {
    pub warning: bool,
    pub reason: &'static str,
    /// Set by components that use events.k8s.io.
    pub action: Option<&'static str>,
    pub message: &'a str,
}

impl Recorder {
    pub fn new(component: &'static str) -> Self {
        Recorder { component, seen: BTreeMap::new(), similar: BTreeMap::new(), allowance: BTreeMap::new(), swept: Timestamp::MIN }
    }

    pub fn normal(&mut self, api: &mut Api, now: Timestamp, about: &Object, reason: &'static str, message: &str) {
        self.record(api, now, about, &Note { warning: false, reason, action: None, message });
    }

    pub fn warning(&mut self, api: &mut Api, now: Timestamp, about: &Object, reason: &'static str, message: &str) {
        self.record(api, now, about, &Note { warning: true, reason, action: None, message });
    }

    pub fn record(&mut self, api: &mut Api, now: Timestamp, about: &Object, note: &Note<'_>) {
        let lasts = |last: Timestamp| last + SERIES > now;
        if !lasts(self.swept) {
            self.seen.retain(|_, (_, last)| lasts(*last));
            self.similar.retain(|_, (_, last)| *last + SIMILAR > now);
            self.allowance.retain(|_, (_, last)| *last + FULL > now);
            self.swept = now;
        }
        let combined = (note.action.is_none() && self.aggregates(now, about, note)).then(|| format!("{COMBINED}{}", note.message));
        let key = (about.meta.uid.clone(), note.reason, if combined.is_some() { COMBINED.to_owned() } else { note.message.to_owned() });
        let note = &Note { message: combined.as_deref().unwrap_or(note.message), ..*note };
        if note.action.is_none() && !self.allows(now, about) {
            return;
        }
        if let Some((event, last)) = self.seen.get_mut(&key).filter(|(_, last)| lasts(*last)) {
            *last = now;
            let (namespace, name) = event.clone();
            if api.update_with(now, "events", &namespace, &name, None, |event| repeat(event, now, note)).is_ok() {
                return;
            }
        }
        let namespace = if about.meta.namespace.is_empty() { "default" } else { about.meta.namespace.as_str() };
        if let Some(name) = self.write(api, now, about, namespace, note) {
            self.seen.insert(key, ((namespace.to_owned(), name), now));
        }
    }

    /// Whether so much has been said for this reason that the rest is told as one (EventAggregate).
    fn aggregates(&mut self, now: Timestamp, about: &Object, note: &Note<'_>) -> bool {
        let (messages, last) = self.similar.entry((about.meta.uid.clone(), note.reason)).or_insert_with(|| (BTreeSet::new(), now));
        if *last + SIMILAR < now {
            messages.clear();
        }
        *last = now;
        messages.insert(note.message.to_owned());
        let many = messages.len() >= MOST_SIMILAR;
        if many {
            messages.remove(note.message);
        }
        many
    }

    /// Whether the object may have one more event (EventSourceObjectSpamFilter).
    fn allows(&mut self, now: Timestamp, about: &Object) -> bool {
        let (left, last) = self.allowance.entry(about.meta.uid.clone()).or_insert((BURST, now));
        *left = (*left + now.duration_since(*last).as_secs_f64() / REFILL_SECONDS).min(BURST);
        *last = now;
        let may = *left >= 1.0;
        if may {
            *left -= 1.0;
        }
        may
    }

    /// Its name carries the instant; within one instant the next nanosecond is taken. A refusal (a namespace that is going) loses it.
    fn write(&self, api: &mut Api, now: Timestamp, about: &Object, namespace: &str, note: &Note<'_>) -> Option<String> {
        let mut nanos = now.as_nanosecond();
        let name = loop {
            let name = format!("{}.{nanos:x}", about.meta.name);
            if api.store().get("events", namespace, &name).is_none() {
                break name;
            }
            nanos += 1;
        };
        let (first, last, at, source) = match note.action {
            Some(_) => (Value::Null, Value::Null, json!(time::micros(now)), json!({})),
            None => (json!(time::seconds(now)), json!(time::seconds(now)), Value::Null, json!({ "component": self.component })),
        };
        let mut event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": {
                "kind": about.kind.kind, "namespace": about.meta.namespace, "name": about.meta.name, "uid": about.meta.uid,
                "apiVersion": about.kind.api_version(), "resourceVersion": about.meta.resource_version.to_string(),
            },
            "reason": note.reason, "message": note.message, "source": source, "firstTimestamp": first, "lastTimestamp": last,
            "type": if note.warning { "Warning" } else { "Normal" },
            "eventTime": at, "reportingComponent": self.component, "reportingInstance": "",
        });
        match note.action {
            Some(action) => {
                event["action"] = json!(action);
                event["reportingInstance"] = json!(self.component);
            }
            None => event["count"] = json!(1),
        }
        api.create(now, "events", namespace, event).ok().map(|_| name)
    }
}

fn repeat(event: &mut Value, now: Timestamp, note: &Note<'_>) {
    if note.action.is_some() {
        let count = event["series"]["count"].as_i64().unwrap_or(1);
        event["series"] = json!({ "count": count + 1, "lastObservedTime": time::micros(now) });
    } else {
        event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
        event["lastTimestamp"] = json!(time::seconds(now));
        event["message"] = json!(note.message);
    }
}
