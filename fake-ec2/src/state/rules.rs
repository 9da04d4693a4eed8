//! Faults as values: errors by rule, capacity that is gone, and token buckets.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::incident::Fate;
use super::lifecycle::later;
use super::market::{Market, Pool};
use super::settings::Delay;
use crate::catalogue::MicroUsd;

/// A fault in force: what it matches, what it does, how often and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// By which [`State::rule_hits`](super::State::rule_hits) and `remove_rule` know it.
    pub name: String,
    pub effect: Effect,
    /// How many hits it has in it; `None` means any number.
    #[serde(default)]
    pub count: Option<u64>,
    /// In force from this instant on; `None` means at once.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// In force before this instant; `None` means for ever.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// What a rule does. Empty lists match everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// The operation answers this error.
    Error {
        /// An operation's name, or a prefix with `*` (`Describe*`).
        operation: String,
        code: String,
        message: String,
        /// `None` means the code's own HTTP status.
        #[serde(default)]
        status: Option<u16>,
        #[serde(default)]
        only: Only,
        /// The operation is done all the same, and only its answer is lost. Else it has no effect.
        #[serde(default)]
        after: bool,
    },
    /// The operation's reply comes so much later.
    Slow {
        /// As in `Error`.
        operation: String,
        by: Delay,
        #[serde(default)]
        only: Only,
    },
    /// Pages hold at most so many items, whatever the request asks for; 0: the first page is empty and has a token, as EC2's filtered
    /// pages may. Source: EC2 API reference, "Pagination": a page may hold fewer than `MaxResults`.
    ShortPages {
        /// As in `Error`.
        operation: String,
        most: u64,
    },
    /// A token bucket over the matching operations together: when it is empty they answer as throttled.
    Throttle {
        /// As in `Error`.
        operation: String,
        burst: u64,
        /// Tokens that come back in a second.
        per_second: u64,
        /// A token per instance that the request asks for, not per request.
        #[serde(default)]
        per_instance: bool,
    },
    /// IAM denies these actions (`ec2:CreateFleet`, `ec2:Describe*`) to everybody, as a service control policy would.
    Deny { actions: Vec<String> },
    /// These zones are down: no capacity, no status check passes, and what asks for instances there fails.
    ZoneDown { zones: Vec<String> },
    /// What becomes of events on their way from EventBridge's bus to its rules.
    Events {
        /// By `detail-type`; empty means all.
        #[serde(default)]
        kinds: Vec<String>,
        does: Disturbance,
    },
    /// What Spot costs in the matching pools.
    SpotPrice {
        #[serde(default)]
        instance_types: Vec<String>,
        #[serde(default)]
        zones: Vec<String>,
        price: SpotPriceIs,
    },
    /// Something befalls each machine that is launched while the rule is in force, so long after it runs; a hit for each that it befell.
    Fate {
        fate: Fate,
        #[serde(default)]
        machines: Machines,
        after: Delay,
        /// So many thousandths of the machines, drawn by the seed; `None` means each.
        #[serde(default)]
        permille: Option<u64>,
    },
    /// AWS publishes new images in the home region again and again, the first time so long after the rule began.
    ImageRelease { every: SignedDuration },
    /// The matching pools have no capacity.
    InsufficientCapacity {
        #[serde(default)]
        instance_types: Vec<String>,
        #[serde(default)]
        zones: Vec<String>,
        #[serde(default)]
        markets: Vec<Market>,
    },
}

/// Which machines a rule means. `Default`: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machines {
    pub instance_types: Vec<String>,
    pub zones: Vec<String>,
    pub markets: Vec<Market>,
    /// Tags that they carry.
    pub tags: BTreeMap<String, String>,
}

impl Machines {
    pub(crate) fn mean(&self, instance: &super::instance::Instance) -> bool {
        let named = |list: &[String], name: &str| list.is_empty() || list.iter().any(|known| known == name);
        named(&self.instance_types, instance.instance_type)
            && named(&self.zones, instance.zone.name)
            && (self.markets.is_empty() || self.markets.contains(&instance.market))
            && self.tags.iter().all(|(key, value)| instance.tags.get(key) == Some(value))
    }
}

/// Which of an operation's calls a rule means. `Default`: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Only {
    /// Calls with these values: by the name of a member, however deep it lies; a value may end in `*`.
    pub with: BTreeMap<String, String>,
    /// So many thousandths of the calls, drawn by the seed; `None` means each.
    pub permille: Option<u64>,
}

impl Only {
    /// Whether an input has what is asked for.
    pub(crate) fn fits(&self, input: &serde_json::Map<String, Value>) -> bool {
        self.with.iter().all(|(name, wanted)| input.iter().any(|(member, value)| holds(member, value, name, wanted)))
    }
}

/// Whether a member, or one inside it, has this name and this value.
fn holds(member: &str, value: &Value, name: &str, wanted: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(member, value)| holds(member, value, name, wanted)),
        Value::Array(items) => items.iter().any(|item| holds(member, item, name, wanted)),
        Value::String(text) => member == name && matches_operation(wanted, text),
        Value::Null => false,
        other => member == name && matches_operation(wanted, &other.to_string()),
    }
}

/// What happens to an event on its way. EventBridge delivers at least once and in no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// It never arrives.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It arrives so much later.
    Delay { by: SignedDuration },
    /// Events of so long a stretch arrive after its end, the last first.
    Reorder { within: SignedDuration },
}

/// A Spot price that a fault sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpotPriceIs {
    /// This price, whatever on-demand costs.
    PerHour(MicroUsd),
    /// So many thousandths of what it would be, at most the on-demand price.
    Permille(u64),
}

/// A token bucket per operation: `RequestLimitExceeded` when it is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// An operation's name, or a prefix with `*`; operations that match one entry share its tokens.
    pub operation: String,
    pub size: u64,
    /// Tokens per second.
    pub refill: u64,
    /// A token per instance that the request asks for, not per request.
    #[serde(default)]
    pub per_resource: bool,
}

impl Rule {
    /// Whether an instant lies in its time.
    pub(crate) fn in_force_at(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

impl Effect {
    /// The Spot price that it sets for a pool, if any.
    pub(crate) fn spot_price(&self, instance_type: &str, zone: &str) -> Option<SpotPriceIs> {
        let Self::SpotPrice { instance_types, zones, price } = self else { return None };
        let named = |list: &[String], name: &str| list.is_empty() || list.iter().any(|known| known == name);
        (named(instance_types, instance_type) && named(zones, zone)).then_some(*price)
    }

    /// Whether a launch from this pool finds nothing.
    pub(crate) fn dries(&self, pool: &Pool) -> bool {
        if let Self::ZoneDown { zones } = self {
            return zones.contains(&pool.zone);
        }
        let Self::InsufficientCapacity { instance_types, zones, markets } = self else { return false };
        (instance_types.is_empty() || instance_types.contains(&pool.instance_type))
            && (zones.is_empty() || zones.contains(&pool.zone))
            && (markets.is_empty() || markets.contains(&pool.market))
    }
}

/// A rule and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ActiveRule {
    pub rule: Rule,
    /// Calls and launches that it has refused.
    pub hits: u64,
    /// Calls and launches that asked for what it takes away, refused or served from elsewhere.
    pub met: u64,
    /// Of a throttle: since when it holds how many thousandths of a token.
    fill: Option<(Timestamp, u64)>,
    /// Of releases of images: when the next one comes; none before it was looked at.
    pub next: Option<Timestamp>,
}

impl ActiveRule {
    pub fn new(rule: Rule) -> Self {
        Self { rule, hits: 0, met: 0, fill: None, next: None }
    }

    /// Whether a throttle has the tokens that a call costs, which may ask for some instances; takes them if so.
    pub fn token(&mut self, now: Timestamp, instances: u64) -> bool {
        let Effect::Throttle { burst, per_second, per_instance, .. } = &self.rule.effect else { return true };
        let cost = if *per_instance { instances } else { 1 }.saturating_mul(1000);
        let full = burst.saturating_mul(1000);
        let (since, fill) = self.fill.unwrap_or((now, full));
        let elapsed = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(0);
        let fill = fill.saturating_add(elapsed.saturating_mul(*per_second)).min(full);
        let left = fill.checked_sub(cost);
        self.fill = Some((now, left.unwrap_or(fill)));
        left.is_some()
    }

    /// When it does something by itself next; at once, if nobody has looked yet.
    pub fn next_release(&self) -> Option<Timestamp> {
        matches!(self.rule.effect, Effect::ImageRelease { .. }).then(|| self.next.unwrap_or(Timestamp::MIN))
    }

    /// How many releases of images have become due.
    pub fn releases(&mut self, now: Timestamp) -> Vec<Timestamp> {
        let Effect::ImageRelease { every } = self.rule.effect else { return Vec::new() };
        let mut due = Vec::new();
        let mut next = self.next.unwrap_or_else(|| later(self.rule.since.unwrap_or(now), every));
        while next <= now && next < Timestamp::MAX {
            if !self.in_force(next) {
                next = Timestamp::MAX;
                break;
            }
            (self.hits, self.met) = (self.hits + 1, self.met + 1);
            due.push(next);
            next = if every.is_positive() { later(next, every) } else { Timestamp::MAX };
        }
        self.next = Some(next);
        due
    }

    pub fn in_force(&self, now: Timestamp) -> bool {
        self.rule.in_force_at(now) && self.rule.count.is_none_or(|count| self.hits < count)
    }
}

/// Whether a pattern (`CreateFleet`, `Describe*`, `*`) means this operation.
pub(crate) fn matches_operation(pattern: &str, operation: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == operation, |prefix| operation.starts_with(prefix))
}

/// The fill of each bucket, in thousandths of a token.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Buckets {
    fill: BTreeMap<usize, (Timestamp, u64)>,
}

impl Buckets {
    /// Takes what a request costs from every bucket that it draws on; false, and nothing taken, if one of them holds too little.
    pub fn take(&mut self, now: Timestamp, buckets: &[Bucket], operation: &str, resources: u64) -> bool {
        let mut taken = Vec::new();
        for (at, bucket) in buckets.iter().enumerate().filter(|(_, bucket)| matches_operation(&bucket.operation, operation)) {
            let size = bucket.size.saturating_mul(1000);
            let cost = if bucket.per_resource { resources } else { 1 }.saturating_mul(1000);
            let (since, fill) = self.fill.get(&at).copied().unwrap_or((now, size));
            let elapsed = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(0);
            let fill = fill.saturating_add(elapsed.saturating_mul(bucket.refill)).min(size);
            self.fill.insert(at, (now, fill));
            let Some(left) = fill.checked_sub(cost) else { return false };
            taken.push((at, left));
        }
        for (at, left) in taken {
            self.fill.insert(at, (now, left));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).expect("in range")
    }

    #[test]
    fn a_bucket_empties_and_refills() {
        let buckets = [Bucket { operation: "Describe*".into(), size: 2, refill: 1, per_resource: false }];
        let mut fill = Buckets::default();
        let mut ask = |second| fill.take(at(second), &buckets, "DescribeInstances", 1);
        assert_eq!([ask(0), ask(0), ask(0), ask(1), ask(1)], [true, true, false, true, false]);
    }

    #[test]
    fn a_rule_means_calls_by_what_they_hold() {
        let input = serde_json::json!({"TagSpecifications": [{"Tags": [{"Key": "team", "Value": "red"}]}], "MaxCount": 2});
        let input = input.as_object().expect("an object");
        let only = |name: &str, value: &str| Only { with: [(name.to_owned(), value.to_owned())].into(), permille: None };
        assert!(Only::default().fits(input));
        assert!(only("Value", "red").fits(input) && only("Value", "r*").fits(input) && only("MaxCount", "2").fits(input));
        assert!(!only("Value", "team").fits(input) && !only("Colour", "red").fits(input) && !only("MaxCount", "20").fits(input));
    }

    #[test]
    fn a_resource_bucket_counts_instances() {
        let buckets = [Bucket { operation: "RunInstances".into(), size: 5, refill: 2, per_resource: true }];
        let mut fill = Buckets::default();
        assert!(fill.take(at(0), &buckets, "RunInstances", 4));
        assert!(!fill.take(at(0), &buckets, "RunInstances", 2));
        assert!(fill.take(at(0), &buckets, "RunInstances", 1));
    }
}
