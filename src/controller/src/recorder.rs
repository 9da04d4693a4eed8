//! Kubernetes Events: one memory against repetition, one form.
//!
//! Source: `C/pkg/events/recorder.go`, `C/pkg/events/reason.go`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An Event before it is known whether it is said again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventSpec {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub warning: bool,
    pub reason: Cow<'static, str>,
    pub message: String,
    /// Beside the reason, what makes two Events the same.
    pub dedupe: Vec<String>,
    pub dedupe_for: SignedDuration,
    /// Shares the token bucket of nominations.
    pub limited: bool,
}

impl EventSpec {
    pub fn new<K: Resource<DynamicType = ()>>(
        about: &K,
        warning: bool,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        EventSpec {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: about.namespace().unwrap_or_default(),
            name: about.name_any(),
            uid: about.uid().unwrap_or_default(),
            warning,
            reason: reason.into(),
            message: message.into(),
            dedupe: vec![about.uid().unwrap_or_default()],
            dedupe_for: SignedDuration::from_mins(2),
            limited: false,
        }
    }

    pub fn dedupe_for(mut self, span: SignedDuration) -> Self {
        self.dedupe_for = span;
        self
    }

    pub fn limited(mut self) -> Self {
        self.limited = true;
        self
    }
}

/// Nominations: 5 a second, 10 at once (`C/pkg/controllers/provisioning/scheduling/events.go`).
const RATE: i64 = 5;
const BURST: i64 = 10;

#[derive(Debug)]
pub struct Recorder {
    said: BTreeMap<(String, Vec<String>), Timestamp>,
    /// Token bucket in milliseconds of credit.
    credit: i64,
    filled: Option<Timestamp>,
    /// Milliseconds of credit that each object had then, by kind, namespace, name and uid.
    objects: BTreeMap<[String; 4], (i64, Timestamp)>,
    sequence: u64,
}

/// Events about one object: 25 at once, then one in five minutes; more objects than that many are not remembered
/// (`client-go/tools/record/events_cache.go`, EventSourceObjectSpamFilter).
const OBJECT_BURST: i64 = 25;
const OBJECT_EVERY: i64 = 300_000;
const OBJECTS: usize = 4096;

impl Default for Recorder {
    fn default() -> Self {
        Recorder { said: BTreeMap::new(), credit: BURST * 1000 / RATE, filled: None, objects: BTreeMap::new(), sequence: 0 }
    }
}

impl Recorder {
    /// The Event to write, or `None` when it was said lately or too much is being said.
    pub fn event(&mut self, spec: &EventSpec, now: Timestamp) -> Option<Event> {
        self.said.retain(|_, until| *until > now);
        let key = (spec.reason.to_string(), spec.dedupe.clone());
        if self.said.contains_key(&key) || (spec.limited && !self.take(now)) {
            return None;
        }
        self.said.insert(key, now.saturating_add(spec.dedupe_for).unwrap_or(Timestamp::MAX));
        if !self.take_of(spec, now) {
            return None;
        }
        self.sequence += 1;
        let namespace = if spec.namespace.is_empty() { "default" } else { &spec.namespace };
        let stamp = now.as_nanosecond().wrapping_add(i128::from(self.sequence));
        Some(Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{stamp:x}", spec.name)),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(spec.api_version.clone()),
                kind: Some(spec.kind.clone()),
                namespace: (!spec.namespace.is_empty()).then(|| spec.namespace.clone()),
                name: Some(spec.name.clone()),
                uid: Some(spec.uid.clone()),
                ..ObjectReference::default()
            },
            type_: Some(if spec.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(spec.reason.to_string()),
            message: Some(spec.message.clone()),
            source: Some(EventSource { component: Some("karpenter".to_owned()), host: None }),
            reporting_component: Some("karpenter".to_owned()),
            reporting_instance: Some(String::new()),
            first_timestamp: Some(Time(crate::conditions::seconds(now))),
            last_timestamp: Some(Time(crate::conditions::seconds(now))),
            count: Some(1),
            ..Event::default()
        })
    }

    /// Whether the object has not been spoken of too often.
    fn take_of(&mut self, spec: &EventSpec, now: Timestamp) -> bool {
        const FULL: i64 = OBJECT_BURST * OBJECT_EVERY;
        let credit = |(credit, since): (i64, Timestamp)| {
            let passed = i64::try_from(now.duration_since(since).as_millis()).unwrap_or(i64::MAX).max(0);
            credit.saturating_add(passed).min(FULL)
        };
        if self.objects.len() >= OBJECTS {
            self.objects.retain(|_, known| credit(*known) < FULL);
        }
        let key = [&spec.kind, &spec.namespace, &spec.name, &spec.uid].map(Clone::clone);
        let left = self.objects.get(&key).map_or(FULL, |known| credit(*known));
        let may = left >= OBJECT_EVERY;
        self.objects.insert(key, (if may { left - OBJECT_EVERY } else { left }, now));
        may
    }

    fn take(&mut self, now: Timestamp) -> bool {
        let passed = self.filled.map_or(0, |since| i64::try_from(now.duration_since(since).as_millis()).unwrap_or(i64::MAX));
        self.filled = Some(now);
        self.credit = self.credit.saturating_add(passed).min(BURST * 1000 / RATE);
        let price = 1000 / RATE;
        if self.credit < price {
            return false;
        }
        self.credit -= price;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    fn spec(name: &str) -> EventSpec {
        let mut pod = k8s_openapi::api::core::v1::Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(format!("uid-{name}"));
        EventSpec::new(&pod, false, "Nominated", "…")
    }

    #[test]
    fn says_nothing_twice_within_two_minutes() {
        let mut recorder = Recorder::default();
        assert!(recorder.event(&spec("a"), at(0)).is_some());
        assert!(recorder.event(&spec("a"), at(119)).is_none());
        assert!(recorder.event(&spec("b"), at(119)).is_some());
        assert!(recorder.event(&spec("a"), at(120)).is_some());
    }

    #[test]
    fn an_object_is_spoken_of_twenty_five_times_then_once_in_five_minutes() {
        let mut recorder = Recorder::default();
        let mut said = |name: &str, second: i64, many: i64| {
            let specs = (0..many).map(|i| EventSpec { dedupe: vec![format!("{second} {i}")], ..spec(name) });
            specs.filter(|spec| recorder.event(spec, at(second)).is_some()).count()
        };
        assert_eq!((said("a", 0, 30), said("b", 1, 1), said("a", 299, 9), said("a", 300, 9), said("a", 900, 9)), (25, 1, 0, 1, 2));
    }

    #[test]
    fn nominations_share_a_bucket() {
        let mut recorder = Recorder::default();
        let mut said = |second: i64, many: usize| {
            (0..many).filter(|i| recorder.event(&spec(&format!("{second}-{i}")).limited(), at(second)).is_some()).count()
        };
        assert_eq!((said(0, 30), said(1, 30)), (10, 5));
    }
}
