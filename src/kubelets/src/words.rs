//! What kubelets say: events of pods and nodes, counted when they repeat.
//!
//! Source: `k8s.io/client-go/tools/record/{event,events_cache}.go`; the reasons are kubernetes `pkg/kubelet/events/event.go`'s. Of the
//! correlator's parts the one that tells similar messages as one is left out: no kubelet says ten different things for one reason.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// An object's events: 25 at once, then one in five minutes (defaultSpamBurst, defaultSpamQPS).
const BURST: i64 = 25;
const REFILL_SECONDS: i64 = 300;

/// The writer of a name that carries the instant is so much later than the instant: the scheduler, who speaks of the same pod at the same
/// instant of virtual time, takes the first places.
const NAME_OFFSET_NANOS: i128 = 1000;

/// Something said once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    pub at: Timestamp,
    pub warning: bool,
    pub reason: Cow<'static, str>,
    pub message: String,
    /// `spec.containers{c}`; empty for the whole object.
    pub field: String,
}

impl Word {
    pub fn normal(at: Timestamp, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Word {
        Word { at, warning: false, reason: reason.into(), message: message.into(), field: String::new() }
    }

    pub fn warning(at: Timestamp, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Word {
        Word { warning: true, ..Word::normal(at, reason, message) }
    }

    pub fn of(self, field: &str) -> Word {
        Word { field: field.to_owned(), ..self }
    }
}

/// An object that is spoken of.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub kind: &'static str,
    /// Empty for a node.
    pub namespace: &'a str,
    pub name: &'a str,
    /// Both empty for a node, of which a kubelet knows the name alone.
    pub uid: &'a str,
    pub version: &'a str,
    /// Whose kubelet it is.
    pub node: &'a str,
}

/// An event as it is to be written.
#[derive(Clone, PartialEq, Debug)]
pub struct Telling {
    pub namespace: String,
    pub name: String,
    /// It was written before, and only its count and last time are others.
    pub again: bool,
    pub event: Value,
}

/// The events of an object's words, those before `from` left out. `words` are all that were ever said, in order.
pub fn tellings(about: &About<'_>, words: &[Word], from: usize) -> Vec<Telling> {
    let mut known: BTreeMap<(&str, &str, &str), (String, Timestamp, u32)> = BTreeMap::new();
    // In parts of an event, so that nothing is lost between two words.
    let (mut allowance, mut since) = (BURST * REFILL_SECONDS, words.first().map_or(Timestamp::UNIX_EPOCH, |word| word.at));
    let mut told = Vec::new();
    for (index, word) in words.iter().enumerate() {
        allowance = (allowance + word.at.duration_since(since).as_secs()).min(BURST * REFILL_SECONDS);
        since = word.at;
        if allowance < REFILL_SECONDS {
            continue;
        }
        allowance -= REFILL_SECONDS;
        let key = (word.reason.as_ref(), word.message.as_str(), word.field.as_str());
        let fresh = || {
            let nanos = word.at.as_nanosecond() + NAME_OFFSET_NANOS + i128::try_from(index).unwrap_or_default();
            (format!("{}.{nanos:x}", about.name), word.at, 0)
        };
        let (name, first, count) = known.entry(key).or_insert_with(fresh);
        *count += 1;
        if index >= from {
            let namespace = if about.namespace.is_empty() { "default" } else { about.namespace };
            let event = event(about, word, (namespace, name), *first, *count);
            told.push(Telling { namespace: namespace.to_owned(), name: name.clone(), again: *count > 1, event });
        }
    }
    told
}

fn event(about: &About<'_>, word: &Word, (namespace, name): (&str, &str), first: Timestamp, count: u32) -> Value {
    let mut involved = json!({ "kind": about.kind, "apiVersion": "v1", "name": about.name });
    let more = [("namespace", about.namespace), ("uid", about.uid), ("resourceVersion", about.version), ("fieldPath", &word.field)];
    for (key, value) in more.into_iter().filter(|(_, value)| !value.is_empty()) {
        involved[key] = json!(value);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": name, "namespace": namespace },
        "involvedObject": involved,
        "reason": word.reason,
        "message": word.message,
        "source": { "component": "kubelet", "host": about.node },
        "firstTimestamp": Time(first),
        "lastTimestamp": Time(word.at),
        "count": count,
        "type": if word.warning { "Warning" } else { "Normal" },
        "eventTime": null,
        "reportingComponent": "kubelet",
        "reportingInstance": about.node,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    const POD: About<'_> = About { kind: "Pod", namespace: "d", name: "p", uid: "u", version: "7", node: "n" };

    #[test]
    fn what_repeats_is_counted_in_the_event_that_is_there() {
        let words = [
            Word::normal(at(0), "Created", "Container created"),
            Word::warning(at(1), "BackOff", "b"),
            Word::warning(at(21), "BackOff", "b"),
        ];
        let told = tellings(&POD, &words, 0);
        assert_eq!(told.iter().map(|one| one.again).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(told[1].name, told[2].name);
        assert_eq!((&told[2].event["count"], &told[2].event["type"]), (&json!(2), &json!("Warning")));
        assert_eq!(told[2].event["firstTimestamp"], told[1].event["lastTimestamp"]);
        assert_eq!(tellings(&POD, &words, 2), told[2..]);
    }

    #[test]
    fn containers_of_one_pod_have_events_of_their_own() {
        let word = Word::normal(at(0), "Started", "Container started");
        let told = tellings(&POD, &[word.clone().of("spec.containers{a}"), word.of("spec.containers{b}")], 0);
        assert!(told.iter().all(|one| !one.again) && told[0].name != told[1].name);
        assert_eq!(told[1].event["involvedObject"]["fieldPath"], "spec.containers{b}");
        assert_eq!(told[1].event["source"], json!({ "component": "kubelet", "host": "n" }));
    }

    #[test]
    fn of_one_object_twenty_five_at_once_then_one_in_five_minutes() {
        let words: Vec<Word> = (0..60).map(|minute| Word::warning(at(60 * minute), "BackOff", "b")).collect();
        // 25 and, while they are said, one more in five minutes: 25 + 59 / 5.
        assert_eq!(tellings(&POD, &words, 0).len(), 25 + 11);
    }

    #[test]
    fn a_node_is_known_by_its_name_alone() {
        let node = About { kind: "Node", namespace: "", name: "n", uid: "", version: "", node: "n" };
        let told = tellings(&node, &[Word::normal(at(0), "Starting", "Starting kubelet.")], 0);
        assert_eq!(told[0].namespace, "default");
        assert_eq!(told[0].event["involvedObject"], json!({ "kind": "Node", "apiVersion": "v1", "name": "n" }));
    }
}
