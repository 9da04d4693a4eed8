//! Everything that decisions are made from: the index, and the memory that no object carries.

use crate::batcher::Batcher;
use crate::decide::lease::Election;
use crate::disruption::Disruption;
use crate::settings::Settings;
use crate::step::Memo;
use crate::unsettled::Outlook;
use api::{EC2NodeClass, NodeClaim};
use cloud::port::{Discovery, Launched, Validation};
use cluster::Index;
use jiff::{SignedDuration, Timestamp};
use planner::InstanceType;
use planner::overlay::Overlays;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

pub struct World {
    pub index: Index,
    pub settings: Settings,
    pub facts: Facts,
    pub batch: Batcher,
    /// By the claim's uid, from launch until its status says so.
    pub launches: BTreeMap<String, Arc<Launched>>,
    pub validations: BTreeMap<String, (Timestamp, Validation)>,
    pub health: BTreeMap<String, Health>,
    pub tagged_until: Option<Timestamp>,
    pub instance_gc_successes: u32,
    pub planned: Planned,
    pub disruption: Disruption,
    pub outlook: Outlook,
    pub election: Election,
    pub overlays: Overlaid,
    /// By the claim's uid: when it was last held against its Node.
    pub scanned: BTreeMap<String, Timestamp>,
    /// By the claim's uid: when its instance type was last found to be on offer.
    pub types_checked: BTreeMap<String, Timestamp>,
    /// Ids of the zones that are shifted away from.
    pub shifted: BTreeSet<String>,
    /// By NodeClass: the placement group that was told of last.
    pub placement_groups: BTreeMap<String, String>,
}

/// The NodeOverlays as they were last held against the pools, and what became of their instance types.
#[derive(Debug, Default)]
pub struct Overlaid {
    pub overlays: Arc<Overlays>,
    /// By pool: types as the cloud gave them, and as the overlays made them.
    made: Mutex<BTreeMap<Arc<str>, (Types, Types)>>,
}

type Types = Arc<Vec<InstanceType>>;

impl Overlaid {
    pub fn of(overlays: Arc<Overlays>) -> Self {
        Overlaid { overlays, made: Mutex::default() }
    }

    /// `None` for a pool that was not there yet. The same types give the same answer, as long as the overlays stay.
    pub fn apply(&self, pool: &Arc<str>, types: &Types) -> Option<Types> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, to)) = made.get(pool)
            && Arc::ptr_eq(from, types)
        {
            return Some(to.clone());
        }
        let to = self.overlays.apply(pool, types)?;
        made.insert(pool.clone(), (types.clone(), to.clone()));
        Some(to)
    }
}

/// Found out once at the start, or refreshed by polls.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub started: bool,
    pub discovery: Option<Discovery>,
    /// `1.36`.
    pub kubernetes: Option<String>,
    pub cluster_dns: Option<String>,
    /// The first try to read prices failed.
    pub prices_missing: bool,
}

/// What the last plan said, to tell whether pods still wait for an answer.
#[derive(Debug, Default)]
pub struct Planned {
    pub version: Option<u64>,
    /// Plans so far.
    pub count: u64,
    /// Pods (by uid) that have a place, and those that were refused.
    pub placed: BTreeSet<String>,
    pub refused: BTreeSet<String>,
}

/// The last four registrations of a pool (`C/pkg/state/nodepoolhealth/tracker.go`).
#[derive(Clone, Debug, Default)]
pub struct Health {
    last: VecDeque<bool>,
    /// Reason and message of the last failure.
    failure: Option<(String, String)>,
}

const REMEMBERED: usize = 4;
/// How long a type that is on offer is not asked for again (`C/pkg/controllers/nodeclaim/disruption/controller.go`).
pub const TYPE_CHECK: SignedDuration = SignedDuration::from_mins(30);

impl Health {
    /// As little as makes this verdict.
    pub fn of(healthy: bool) -> Self {
        Health { last: if healthy { VecDeque::from([true]) } else { VecDeque::from([false, false]) }, failure: None }
    }

    pub fn push(&mut self, healthy: bool) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(healthy);
    }

    pub fn failure(&self) -> (&str, &str) {
        self.failure.as_ref().map_or(("RegistrationFailed", "Failed to register node"), |(reason, message)| (reason, message))
    }

    /// `None`: nothing is known. Half of what can be remembered is enough for a bad verdict.
    pub fn verdict(&self) -> Option<bool> {
        (!self.last.is_empty()).then(|| self.last.iter().filter(|healthy| !**healthy).count() * 2 < REMEMBERED)
    }
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let mut index = Index::new();
        if settings.node_overlay {
            index.expect_overlays();
        }
        World {
            index,
            batch: Batcher::new(settings.batch_idle, settings.batch_max),
            settings,
            facts: Facts::default(),
            launches: BTreeMap::new(),
            validations: BTreeMap::new(),
            health: BTreeMap::new(),
            tagged_until: None,
            instance_gc_successes: 0,
            planned: Planned::default(),
            disruption: Disruption::default(),
            outlook: Outlook::default(),
            election: Election::default(),
            overlays: Overlaid::default(),
            scanned: BTreeMap::new(),
            types_checked: BTreeMap::new(),
            shifted: BTreeSet::new(),
            placement_groups: BTreeMap::new(),
        }
    }

    pub fn remember(&mut self, memo: Memo) {
        match memo {
            Memo::Launched(uid, launched) => {
                self.launches.insert(uid, launched);
            }
            Memo::ForgetLaunch(uid) => {
                self.launches.remove(&uid);
            }
            Memo::Validated(digest, at, validation) => {
                let fresh = at.saturating_sub(SignedDuration::from_mins(30)).unwrap_or(Timestamp::MIN);
                self.validations.retain(|_, (when, _)| *when > fresh);
                self.validations.insert(digest, (at, validation));
            }
            Memo::Registration { pool_uid, failure } => {
                let health = self.health.entry(pool_uid).or_default();
                health.push(failure.is_none());
                health.failure = failure.or(health.failure.take());
            }
            Memo::ForgetHealth(pool_uid) => {
                self.health.remove(&pool_uid);
            }
            Memo::Health(pool_uid, healthy) => {
                self.health.insert(pool_uid, Health::of(healthy));
            }
            Memo::Discovered(discovery) => self.facts.discovery = Some(discovery),
            Memo::Kubernetes(version) => self.facts.kubernetes = Some(version),
            Memo::ClusterDns(dns) => self.facts.cluster_dns = dns,
            Memo::Started => self.facts.started = true,
            Memo::PricesMissing => self.facts.prices_missing = true,
            Memo::Shifted(zones) => {
                self.shifted = zones;
                self.index.offerings_changed();
            }
            Memo::PlacementGroup(class, id) => {
                self.placement_groups.insert(class, id);
            }
            Memo::TaggedUntil(at) => self.tagged_until = Some(at),
            Memo::CommandEnded { id, succeeded } => {
                if let Some(ended) = self.disruption.commands.remove(&id)
                    && !succeeded
                {
                    ended.command.nodes.iter().for_each(|node| self.index.mark(&node.node_claim, false));
                }
            }
            Memo::TypeChecked(uid, at) => {
                let fresh = at.saturating_sub(TYPE_CHECK).unwrap_or(Timestamp::MIN);
                self.types_checked.retain(|_, when| *when > fresh);
                self.types_checked.insert(uid, at);
            }
            Memo::Scanned(uid, at) => {
                self.scanned.retain(|_, when| at.duration_since(*when) < crate::decide::consistency::EVERY);
                self.scanned.insert(uid, at);
            }
            Memo::Overlaid(overlays) => {
                self.overlays = Overlaid::of(overlays);
                self.index.offerings_changed();
            }
            Memo::Leading(at) => self.election.renewed = Some(at),
            Memo::LeaseSeen { holder, renewal, since } => self.election.seen = Some((holder, renewal, since)),
            Memo::LeaseLost => self.election.lost = true,
            Memo::InstanceGcSucceeded => self.instance_gc_successes = self.instance_gc_successes.saturating_add(1),
        }
    }

    pub fn class_of(&self, claim: &NodeClaim) -> Option<&Arc<EC2NodeClass>> {
        self.index.class(&claim.spec.node_class_ref.name)
    }
}

/// The instance id within a provider id: `aws:///us-west-2a/i-0123` (`A/pkg/utils/utils.go`, ParseInstanceID).
pub fn instance_id(provider_id: &str) -> Option<&str> {
    let id = provider_id.strip_prefix("aws:///")?.split('/').nth(1)?;
    id.starts_with("i-").then_some(id)
}

pub fn provider_id(claim: &NodeClaim) -> Option<&str> {
    claim.status.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

pub fn conditions(claim: &NodeClaim) -> &[api::Condition] {
    claim.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("aws:///us-west-2a/i-0abc", Some("i-0abc"))]
    #[case("aws:///us-west-2a/", None)]
    #[case("kind://x/i-0abc", None)]
    #[case("", None)]
    fn instance_ids(#[case] provider_id: &str, #[case] id: Option<&str>) {
        assert_eq!(instance_id(provider_id), id);
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&[true], Some(true))]
    #[case(&[false], Some(true))]
    #[case(&[false, true, false], Some(false))]
    #[case(&[false, false, true, true, true], Some(true))]
    fn health_of_registrations(#[case] last: &[bool], #[case] verdict: Option<bool>) {
        let mut health = Health::default();
        last.iter().for_each(|healthy| health.push(*healthy));
        assert_eq!(health.verdict(), verdict);
    }
}
