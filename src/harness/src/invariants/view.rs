//! What is known of the world: the last look at each object, cut down to what the rules ask.

use api::{EC2NodeClass, NodeClaim, NodePool, condition};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use std::collections::BTreeMap;
use vocabulary::{Resources, labels};

#[derive(Debug, Default)]
pub struct View {
    /// By namespace and name.
    pub pods: BTreeMap<(String, String), Pod>,
    pub nodes: BTreeMap<String, Node>,
    pub claims: BTreeMap<String, Claim>,
    /// NodeClaims that are no more, as they last were.
    pub past: BTreeMap<String, Claim>,
    pub pools: BTreeMap<String, Pool>,
    pub classes: BTreeMap<String, Class>,
    pub budgets: BTreeMap<(String, String), Budget>,
    /// Names of Nodes and of NodeClaims by instance id.
    node_names: BTreeMap<String, String>,
    claim_names: BTreeMap<String, String>,
    /// By instance id, those that were included.
    pub machines: BTreeMap<String, Machine>,
    /// When a workload's pod last came, and when a NodeClaim last went or began to.
    pub last_arrival: Option<Timestamp>,
    pub last_claim_end: Option<Timestamp>,
    /// How often a workload's pod came or went.
    pub churn: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub ready: bool,
    pub terminating: bool,
    pub node: Option<String>,
    pub grace_seconds: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub instance: Option<String>,
    pub ready: bool,
    pub initialized: bool,
    pub deleting: bool,
    pub capacity: Resources,
}

#[derive(Clone, Debug, Default)]
pub struct Claim {
    pub pool: String,
    pub class: String,
    pub created: Timestamp,
    pub instance: Option<String>,
    pub deleting: bool,
    /// Its machine is being terminated: it counts in no budget any more.
    pub instance_terminating: bool,
    /// Of the condition `DisruptionReason`, while that is true.
    pub reason: Option<String>,
    /// The last reason there was.
    pub last_reason: Option<String>,
    pub capacity: Resources,
    pub expires: Option<Timestamp>,
    /// From then on its pods are deleted whatever protects them.
    pub ends: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub limits: Resources,
    /// The limits before the last change, and when that was.
    pub before: Option<(Timestamp, Resources)>,
    pub budgets: Vec<planner::input::Budget>,
    generation: i64,
    pub changed: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct Class {
    generation: i64,
    /// What its selectors came to.
    resolved: String,
    pub changed: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct Budget {
    pub selector: Option<LabelSelector>,
    pub desired: i32,
}

/// A machine of the account.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub instance_type: String,
    pub zone: String,
    pub market: String,
    /// Neither shutting down nor gone.
    pub on: bool,
    /// Launched by a node autoscaler: it bears the tag `karpenter.sh/nodepool`.
    pub autoscaled: bool,
    /// Dollars per hour at the launch, if a price is known.
    pub price: Option<f64>,
}

fn is_daemon(pod: &core::Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet")
}

fn tail(provider: &str) -> Option<String> {
    provider.rsplit('/').next().filter(|id| !id.is_empty()).map(str::to_owned)
}

fn amounts<'a>(list: impl IntoIterator<Item = (&'a String, &'a vocabulary::Quantity)>) -> Resources {
    Resources::from_quantities(list.into_iter().map(|(name, quantity)| (name.as_str(), *quantity)))
}

impl View {
    pub fn pod(&mut self, now: Timestamp, pod: &core::Pod, there: bool) {
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        let ours = key.0 != "kube-system" && !is_daemon(pod);
        if !there {
            self.churn += u64::from(self.pods.remove(&key).is_some() && ours);
            return;
        }
        let seen = Pod::of(pod);
        if self.pods.get(&key).is_none_or(|before| before.uid != seen.uid) && ours {
            self.last_arrival = Some(now);
            self.churn += 1;
        }
        self.pods.insert(key, seen);
    }

    pub fn node(&mut self, node: &core::Node, there: bool) {
        let name = node.name_any();
        if !there {
            self.nodes.remove(&name);
            return;
        }
        let status = node.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let capacity: BTreeMap<String, vocabulary::Quantity> = status
            .and_then(|s| s.capacity.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|(name, quantity)| Some((name.clone(), quantity.0.parse().ok()?)))
            .collect();
        let seen = Node {
            instance: node.spec.as_ref().and_then(|s| tail(s.provider_id.as_deref()?)),
            ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            initialized: node.labels().get(labels::INITIALIZED).is_some_and(|value| value == "true"),
            deleting: node.metadata.deletion_timestamp.is_some(),
            capacity: amounts(&capacity),
        };
        if let Some(id) = &seen.instance {
            self.node_names.insert(id.clone(), name.clone());
        }
        self.nodes.insert(name, seen);
    }

    pub fn claim(&mut self, now: Timestamp, claim: &NodeClaim, there: bool) {
        let name = claim.name_any();
        if !there {
            self.last_claim_end = Some(now);
            if let Some(last) = self.claims.remove(&name) {
                self.past.insert(name, last);
            }
            return;
        }
        let status = claim.status.clone().unwrap_or_default();
        let before = self.claims.get(&name);
        let created = before.map_or(now, |b| b.created);
        let is = |kind: &str| condition::is_true(&status.conditions, kind);
        let reason = condition::find(&status.conditions, "DisruptionReason").filter(|c| c.is_true()).map(|c| c.reason.clone());
        let born = claim.metadata.creation_timestamp.as_ref().map_or(created, |time| time.0);
        let after = claim.spec.expire_after.as_ref().and_then(|after| after.duration);
        let ends = claim.annotations().get(labels::NODECLAIM_TERMINATION_TIMESTAMP).and_then(|text| text.parse().ok());
        let capacity = amounts(&status.capacity);
        let seen = Claim {
            pool: claim.labels().get(labels::NODEPOOL).cloned().unwrap_or_default(),
            class: claim.spec.node_class_ref.name.clone(),
            created,
            instance: status.provider_id.as_deref().and_then(tail),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            instance_terminating: is("InstanceTerminating"),
            last_reason: reason.clone().or_else(|| before.and_then(|b| b.last_reason.clone())),
            reason,
            capacity,
            expires: after.and_then(|after| born.checked_add(after).ok()),
            ends,
        };
        if seen.deleting && !before.is_some_and(|b| b.deleting) {
            self.last_claim_end = Some(now);
        }
        if let Some(id) = &seen.instance {
            self.claim_names.insert(id.clone(), name.clone());
        }
        self.claims.insert(name, seen);
    }

    pub fn pool(&mut self, now: Timestamp, pool: &NodePool, there: bool) {
        let name = pool.name_any();
        if !there {
            self.pools.remove(&name);
            return;
        }
        let planned = cluster::pool::convert(pool);
        let known = self.pools.entry(name).or_default();
        let generation = pool.metadata.generation.unwrap_or(0);
        if known.generation != generation {
            known.before = (known.generation > 0 && known.limits != planned.limits).then(|| (now, known.limits.clone()));
            (known.generation, known.changed) = (generation, now);
        }
        (known.limits, known.budgets) = (planned.limits, planned.disruption.budgets);
    }

    pub fn class(&mut self, now: Timestamp, class: &EC2NodeClass, there: bool) {
        let name = class.name_any();
        if !there {
            self.classes.remove(&name);
            return;
        }
        let resolved = class.status.clone().map(|status| api::ec2nodeclass::EC2NodeClassStatus { conditions: Vec::new(), ..status });
        let resolved = serde_json::to_string(&resolved).unwrap_or_default();
        let known = self.classes.entry(name).or_default();
        let generation = class.metadata.generation.unwrap_or(0);
        if known.generation != generation || known.resolved != resolved {
            *known = Class { generation, resolved, changed: now };
        }
    }

    pub fn budget(&mut self, budget: &PodDisruptionBudget, there: bool) {
        let key = (budget.namespace().unwrap_or_default(), budget.name_any());
        if !there {
            self.budgets.remove(&key);
            return;
        }
        let seen = Budget {
            selector: budget.spec.as_ref().and_then(|s| s.selector.clone()),
            desired: budget.status.as_ref().and_then(|s| s.desired_healthy).unwrap_or(0),
        };
        self.budgets.insert(key, seen);
    }

    /// The NodeClaim of a node, while it is there.
    pub fn claim_of(&self, node: &Node) -> Option<&Claim> {
        self.claims.get(self.claim_names.get(node.instance.as_ref()?)?)
    }

    /// The Node of a NodeClaim, while it is there.
    pub fn node_of(&self, claim: &Claim) -> Option<&Node> {
        self.nodes.get(self.node_names.get(claim.instance.as_ref()?)?)
    }

    /// A NodeClaim that is or was.
    pub fn any_claim(&self, name: &str) -> Option<&Claim> {
        self.claims.get(name).or_else(|| self.past.get(name))
    }
}

impl Pod {
    pub fn of(pod: &core::Pod) -> Pod {
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        Pod {
            uid: pod.uid().unwrap_or_default(),
            labels: pod.labels().clone(),
            ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
            // Kubernetes' default.
            grace_seconds: pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30),
        }
    }
}

/// Whether a selector of a PodDisruptionBudget means these labels: an empty one means all, none means nothing (policy/v1).
pub fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|e| {
            let value = labels.get(&e.key);
            let among = value.is_some_and(|value| e.values.iter().flatten().any(|v| v == value));
            match e.operator.as_str() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
