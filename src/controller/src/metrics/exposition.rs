//! Numbers by family and labels, and their text as Prometheus reads it.
//!
//! Our own and not a library's for two reasons: upstream has summaries, which the Rust client of the Prometheus project leaves out, and
//! the text must be the same bytes for the same run, which its hash maps do not give.
//! Form: <https://prometheus.io/docs/instrumenting/exposition_formats/>, text format 0.0.4.

use jiff::{SignedDuration, Timestamp};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// Names and values, in order of names.
pub type Labels = Vec<(Cow<'static, str>, String)>;

/// How long a summary remembers an observation (`prometheus/client_golang`, DefMaxAge).
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);
/// A summary never holds more than so many observations; the oldest go first.
const MOST: usize = 10_000;
const QUANTILES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 1.0];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
    /// Of the quantiles 0, 0.5, 0.9, 0.99 and 1 over ten minutes.
    Summary,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
            Kind::Summary => "summary",
        }
    }
}

/// A family's name, kind and help.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Histogram { counts: Vec<u64>, sum: f64, count: u64 },
    Summary { seen: VecDeque<(Timestamp, f64)>, sum: f64, count: u64 },
}

/// What was counted and observed so far.
#[derive(Clone, Debug, Default)]
pub struct Store(BTreeMap<&'static str, Series>);

#[derive(Clone, Debug)]
struct Series {
    family: Family,
    values: BTreeMap<Labels, Value>,
}

/// Labels from pairs, ordered.
pub fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    let mut made: Labels = pairs.into_iter().map(|(name, value)| (Cow::Borrowed(name), value.to_owned())).collect();
    made.sort();
    made
}

impl Store {
    fn series(&mut self, family: &Family) -> &mut BTreeMap<Labels, Value> {
        &mut self.0.entry(family.name).or_insert_with(|| Series { family: *family, values: BTreeMap::new() }).values
    }

    /// Adds to a counter, or to a gauge.
    pub fn add(&mut self, family: &Family, labels: Labels, amount: f64) {
        if let Value::Number(number) = self.series(family).entry(labels).or_insert(Value::Number(0.0)) {
            *number += amount;
        }
    }

    pub fn set(&mut self, family: &Family, labels: Labels, value: f64) {
        self.series(family).insert(labels, Value::Number(value));
    }

    pub fn observe(&mut self, family: &Family, labels: Labels, value: f64, now: Timestamp) {
        let empty = || match family.kind {
            Kind::Histogram(bounds) => Value::Histogram { counts: vec![0; bounds.len()], sum: 0.0, count: 0 },
            _ => Value::Summary { seen: VecDeque::new(), sum: 0.0, count: 0 },
        };
        match (self.series(family).entry(labels).or_insert_with(empty), family.kind) {
            (Value::Histogram { counts, sum, count }, Kind::Histogram(bounds)) => {
                bounds.iter().zip(counts).filter(|(bound, _)| value <= **bound).for_each(|(_, count)| *count += 1);
                (*sum, *count) = (*sum + value, *count + 1);
            }
            (Value::Summary { seen, sum, count }, _) => {
                if seen.len() == MOST {
                    seen.pop_front();
                }
                seen.push_back((now, value));
                (*sum, *count) = (*sum + value, *count + 1);
            }
            _ => {}
        }
    }

    /// The text. A family without a value is left out, as Go's client does.
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = String::new();
        for Series { family, values } in self.0.values().filter(|series| !series.values.is_empty()) {
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {}", family.name, family.help, family.name, family.kind.as_str());
            for (labels, value) in values {
                write_value(&mut text, family, labels, value, now);
            }
        }
        text
    }

    /// Forgets what was set.
    pub fn remove(&mut self, family: &Family, labels: &Labels) {
        self.series(family).remove(labels);
    }

    /// Nothing of the family is there any more.
    pub fn clear(&mut self, family: &Family) {
        self.series(family).clear();
    }

    /// Keeps what is wanted, by family and labels.
    pub fn retain(&mut self, wanted: impl Fn(&str, &Labels) -> bool) {
        for (name, series) in &mut self.0 {
            series.values.retain(|labels, _| wanted(name, labels));
        }
    }

    /// Takes in what another one holds; families of both are the other's.
    pub fn extend(&mut self, other: Store) {
        self.0.extend(other.0);
    }
}

fn write_value(text: &mut String, family: &Family, labels: &Labels, value: &Value, now: Timestamp) {
    let name = family.name;
    match (value, family.kind) {
        (Value::Number(number), _) => line(text, name, "", labels, None, *number),
        (Value::Histogram { counts, sum, count }, Kind::Histogram(bounds)) => {
            for (bound, count) in bounds.iter().zip(counts) {
                line(text, name, "_bucket", labels, Some(("le", *bound)), whole(*count));
            }
            line(text, name, "_bucket", labels, Some(("le", f64::INFINITY)), whole(*count));
            line(text, name, "_sum", labels, None, *sum);
            line(text, name, "_count", labels, None, whole(*count));
        }
        (Value::Summary { seen, sum, count }, _) => {
            let mut fresh: Vec<f64> =
                seen.iter().filter(|(at, _)| now.duration_since(*at) <= REMEMBERED).map(|(_, value)| *value).collect();
            fresh.sort_by(f64::total_cmp);
            for quantile in QUANTILES {
                line(text, name, "", labels, Some(("quantile", quantile)), rank(&fresh, quantile));
            }
            line(text, name, "_sum", labels, None, *sum);
            line(text, name, "_count", labels, None, whole(*count));
        }
        (Value::Histogram { .. }, _) => {}
    }
}

/// The smallest value that at least this share of all does not exceed; not a number when there is none.
fn rank(ordered: &[f64], quantile: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position in a list of at most 10,000"
    )]
    let position = ((quantile * ordered.len() as f64).ceil() as usize).saturating_sub(1);
    ordered.get(position).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "the format's numbers are floats")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &Labels, last: Option<(&str, f64)>, value: f64) {
    text.push_str(name);
    text.push_str(suffix);
    if !labels.is_empty() || last.is_some() {
        text.push('{');
        let mut separator = "";
        for (name, value) in labels {
            let _ = write!(text, "{separator}{name}=\"{}\"", escaped(value));
            separator = ",";
        }
        if let Some((name, value)) = last {
            let _ = write!(text, "{separator}{name}=\"{}\"", number(value));
        }
        text.push('}');
    }
    let _ = writeln!(text, " {}", number(value));
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

fn escaped(value: &str) -> Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        Cow::Owned(value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const EVICTIONS: Family = Family { name: "evictions_total", kind: Kind::Counter, help: "Evictions." };
    const TOOK: Family = Family { name: "took_seconds", kind: Kind::Histogram(&[0.5, 1.0]), help: "Spans." };
    const STARTED: Family = Family { name: "started_seconds", kind: Kind::Summary, help: "Starts." };

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let mut store = Store::default();
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        store.add(&EVICTIONS, labels([("code", "429")]), 1.0);
        store.add(&EVICTIONS, labels([("code", "200")]), 1.0);
        store.add(&EVICTIONS, labels([("code", "200")]), 2.0);
        store.add(&EVICTIONS, labels([("code", "a \"b\"\n\\")]), 1.0);
        for value in [0.5, 0.75, 3.0] {
            store.observe(&TOOK, labels([("of", "x"), ("by", "y")]), value, at(0));
        }
        store.observe(&STARTED, Vec::new(), 1.0, at(0));
        store.observe(&STARTED, Vec::new(), 4.0, at(500));
        store.observe(&STARTED, Vec::new(), 7.0, at(600));
        assert_snapshot!(store.text(at(700)), @r#"
        # HELP evictions_total Evictions.
        # TYPE evictions_total counter
        evictions_total{code="200"} 3
        evictions_total{code="429"} 1
        evictions_total{code="a \"b\"\n\\"} 1
        # HELP started_seconds Starts.
        # TYPE started_seconds summary
        started_seconds{quantile="0"} 4
        started_seconds{quantile="0.5"} 4
        started_seconds{quantile="0.9"} 7
        started_seconds{quantile="0.99"} 7
        started_seconds{quantile="1"} 7
        started_seconds_sum 12
        started_seconds_count 3
        # HELP took_seconds Spans.
        # TYPE took_seconds histogram
        took_seconds_bucket{by="y",of="x",le="0.5"} 1
        took_seconds_bucket{by="y",of="x",le="1"} 2
        took_seconds_bucket{by="y",of="x",le="+Inf"} 3
        took_seconds_sum{by="y",of="x"} 4.25
        took_seconds_count{by="y",of="x"} 3
        "#);
    }
}
