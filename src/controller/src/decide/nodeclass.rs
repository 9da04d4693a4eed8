//! EC2NodeClass: finalizer, hash, and a status resolved in a fixed order, each part with its own refresh.
//!
//! Source: `A/pkg/controllers/nodeclass/*.go`.

use super::{last, locked, unlocked, validation};
use crate::conditions::{ConditionSet, EC2_NODE_CLASS, EC2_NODE_CLASS_UNRESERVED};
use crate::effect::{Effect, Failure, Outcome};
use crate::log::Line;
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Memo, Note, Step};
use crate::world::World;
use api::{EC2NodeClass, EC2NodeClassStatus};
use cloud::port::Cause;
use cluster::{Kind, hash};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::labels;

pub fn decide(world: &World, name: &str, done: &[Done], now: Timestamp) -> Step {
    let Some(class) = world.index.class(name) else { return Step::rest() };
    if class.metadata.deletion_timestamp.is_some() {
        return finalize(world, class, done);
    }
    if let Some(step) = metadata(world, class) {
        return step;
    }
    let mut run = Run::new(class, done, now, world.settings.options.reserved_capacity);
    if let Some(step) = run.resolve(world) {
        return step;
    }
    if let Some(step) = validation::decide(world, &mut run) {
        return step;
    }
    run.finish()
}

/// Finalizer and hash annotations. NodeClaims stamped under another hash version are stamped anew, unless they are drifted
/// already (`A/pkg/controllers/nodeclass/hash/controller.go`).
fn metadata(world: &World, class: &Arc<EC2NodeClass>) -> Option<Step> {
    let digest = hash::node_class(class, world.settings.cluster_ca.as_deref());
    let mut stamped = (**class).clone();
    if !stamped.finalizers().iter().any(|f| f == labels::EC2NODECLASS_FINALIZER) {
        stamped.finalizers_mut().push(labels::EC2NODECLASS_FINALIZER.to_owned());
    }
    stamped.annotations_mut().insert(labels::EC2NODECLASS_HASH.to_owned(), digest.clone());
    stamped.annotations_mut().insert(labels::EC2NODECLASS_HASH_VERSION.to_owned(), hash::CLASS_VERSION.to_owned());
    let body = patch::of_field("metadata", &**class, &stamped)?;
    // The claims first: a class that is stamped is not looked at again.
    let claims = world.index.claims().filter(|claim| claim.spec.node_class_ref.name == class.name_any());
    let stamp = |claim: &Arc<api::NodeClaim>| {
        restamp(claim, labels::EC2NODECLASS_HASH, labels::EC2NODECLASS_HASH_VERSION, hash::CLASS_VERSION, &digest)
    };
    let acts: Vec<Act> = claims.filter_map(stamp).collect();
    Some(if acts.is_empty() { Step::act(locked(Kind::EC2NodeClass, &**class, false, body)) } else { Step { acts, ..Step::default() } })
}

/// Upstream's Event about an object whose NodeClass is not there; it has no reason (`A/pkg/cloudprovider/events/events.go`).
pub(super) fn unresolved<K: kube::Resource<DynamicType = ()>>(about: &K) -> EventSpec {
    EventSpec::new(about, true, "", "Failed resolving NodeClass")
}

/// The patch that carries a claim over to our hash version.
pub(super) fn restamp(claim: &api::NodeClaim, hash_key: &str, version_key: &str, version: &str, digest: &str) -> Option<Act> {
    if claim.annotations().get(version_key).is_some_and(|own| own == version) {
        return None;
    }
    let mut stamped = claim.clone();
    stamped.annotations_mut().insert(version_key.to_owned(), version.to_owned());
    if !api::condition::is_true(crate::world::conditions(claim), "Drifted") {
        stamped.annotations_mut().insert(hash_key.to_owned(), digest.to_owned());
    }
    let body = patch::of_field("metadata", claim, &stamped)?;
    Some(unlocked(Kind::NodeClaim, claim, false, body))
}

/// One reconcile: a draft of the status that grows with each answer.
pub struct Run<'a> {
    pub class: &'a Arc<EC2NodeClass>,
    pub done: &'a [Done],
    pub now: Timestamp,
    pub status: EC2NodeClassStatus,
    pub set: ConditionSet,
    errors: Vec<Cause>,
    wait: Option<SignedDuration>,
    /// To be tried again without a word.
    pub again: bool,
    /// Said and remembered whatever becomes of the status.
    notes: Vec<Note>,
}

impl<'a> Run<'a> {
    fn new(class: &'a Arc<EC2NodeClass>, done: &'a [Done], now: Timestamp, reserved: bool) -> Self {
        let status = class.status.clone().unwrap_or_default();
        let kind = if reserved { EC2_NODE_CLASS } else { EC2_NODE_CLASS_UNRESERVED };
        let set = ConditionSet::new(&**class, &status.conditions, kind, now);
        Run { class, done, now, status, set, errors: Vec::new(), wait: None, again: false, notes: Vec::new() }
    }

    /// The class as far as it is resolved.
    pub fn draft(&self) -> Arc<EC2NodeClass> {
        let mut draft = (**self.class).clone();
        draft.status = Some(self.status.clone());
        Arc::new(draft)
    }

    /// The answer to a call that was made for this generation of the class.
    pub fn answer(&self, wanted: impl Fn(&Effect) -> Option<&Arc<EC2NodeClass>>) -> Option<Result<&'a Outcome, &'a Failure>> {
        let generation = self.class.metadata.generation;
        last(self.done, |effect| wanted(effect).is_some_and(|asked| asked.metadata.generation == generation))
    }

    pub fn refresh_after(&mut self, wait: SignedDuration) {
        self.wait = Some(self.wait.map_or(wait, |least| least.min(wait)));
    }

    pub fn error(&mut self, error: impl Into<Cause>) {
        self.errors.push(error.into());
    }

    fn resolve(&mut self, world: &World) -> Option<Step> {
        let ask = |effect: Effect| Some(Step::act(Act::from(effect).tolerant()));
        match self.answer(|e| if let Effect::ResolveAmis { class, .. } = e { Some(class) } else { None }) {
            None => {
                return ask(Effect::ResolveAmis { class: self.draft(), kubernetes: world.facts.kubernetes.clone().unwrap_or_default() });
            }
            Some(Ok(Outcome::Amis(amis))) => {
                self.status.amis = amis.clone();
                let found = !amis.is_empty();
                self.found("AMIsReady", found, "AMINotFound", "AMISelector did not match any AMIs", SignedDuration::from_mins(5));
            }
            Some(Err(Failure::Cloud(error))) if error.code == "UnsupportedAlias" => {
                self.set.set_false("AMIsReady", "UnsupportedAlias", &error.message);
                // Nobody tries it again before somebody changes it (`A/pkg/controllers/nodeclass/ami.go`, TerminalError).
                let text = format!("terminal error: getting amis, getting AMI queries, {}", error.message);
                self.notes
                    .push(Line::error("nodeclass", "Reconciler error", text).object("EC2NodeClass", "", &self.class.name_any()).into());
            }
            Some(Err(error)) => self.error(format!("getting amis, {error}")),
            Some(Ok(_)) => {}
        }
        if let Some(step) = self.capacity_reservations(world) {
            return Some(step);
        }
        if let Some(step) = self.placement_group(world) {
            return Some(step);
        }
        match self.answer(|e| if let Effect::ResolveSubnets(class) = e { Some(class) } else { None }) {
            None => return ask(Effect::ResolveSubnets(self.draft())),
            Some(Ok(Outcome::Subnets(subnets))) => {
                self.status.subnets = subnets.clone();
                let found = !subnets.is_empty();
                self.found(
                    "SubnetsReady",
                    found,
                    "SubnetsNotFound",
                    "SubnetSelector did not match any Subnets",
                    SignedDuration::from_mins(1),
                );
            }
            Some(Err(error)) => self.error(format!("getting subnets, {error}")),
            Some(Ok(_)) => {}
        }
        match self.answer(|e| if let Effect::ResolveSecurityGroups(class) = e { Some(class) } else { None }) {
            None => return ask(Effect::ResolveSecurityGroups(self.draft())),
            Some(Ok(Outcome::SecurityGroups(groups))) => {
                self.status.security_groups = groups.clone();
                let found = !groups.is_empty();
                self.found(
                    "SecurityGroupsReady",
                    found,
                    "SecurityGroupsNotFound",
                    "SecurityGroupSelector did not match any SecurityGroups",
                    SignedDuration::from_mins(5),
                );
            }
            Some(Err(error)) => self.error(format!("getting security groups, {error}")),
            Some(Ok(_)) => {}
        }
        self.instance_profile()
    }

    fn instance_profile(&mut self) -> Option<Step> {
        if self.class.spec.role.as_ref().is_none_or(String::is_empty) {
            self.status.instance_profile = self.class.spec.instance_profile.clone();
            self.set.set_true("InstanceProfileReady");
            return None;
        }
        match self.answer(|e| if let Effect::EnsureInstanceProfile(class) = e { Some(class) } else { None }) {
            None => return Some(Step::act(Act::from(Effect::EnsureInstanceProfile(self.draft())).tolerant())),
            Some(Ok(Outcome::Text(profile))) => {
                self.status.instance_profile = profile.clone();
                self.set.set_true("InstanceProfileReady");
            }
            Some(Err(error)) => self.error(format!("creating instance profile, {error}")),
            Some(Ok(_)) => {}
        }
        None
    }

    /// Asked again after a minute when nothing was found.
    fn found(&mut self, kind: &str, found: bool, reason: &str, message: &str, refresh: SignedDuration) {
        if found {
            self.set.set_true(kind);
            self.refresh_after(refresh);
        } else {
            self.set.set_false(kind, reason, message);
            self.refresh_after(SignedDuration::from_mins(1));
        }
    }

    /// Asked every minute, and when one of them ends.
    fn capacity_reservations(&mut self, world: &World) -> Option<Step> {
        const EVERY: SignedDuration = SignedDuration::from_mins(1);
        if !world.settings.options.reserved_capacity {
            return None;
        }
        let terms = &self.class.spec.capacity_reservation_selector_terms;
        match self.answer(|e| if let Effect::ResolveCapacityReservations(class) = e { Some(class) } else { None }) {
            // Nothing to ask for.
            None if terms.is_empty() => {
                self.status.capacity_reservations = Vec::new();
                self.set.set_true("CapacityReservationsReady");
            }
            None => return Some(Step::act(Act::from(Effect::ResolveCapacityReservations(self.draft())).tolerant())),
            Some(Ok(Outcome::CapacityReservations(found))) => {
                self.status.capacity_reservations = found.clone();
                self.set.set_true("CapacityReservationsReady");
                let next = found.iter().filter_map(|reservation| reservation.end_time).min();
                self.refresh_after(next.map_or(EVERY, |end| end.duration_since(self.now).clamp(SignedDuration::ZERO, EVERY)));
            }
            Some(Err(error)) => self.error(format!("getting capacity reservations, {error}")),
            Some(Ok(_)) => {}
        }
        None
    }

    /// Asked with every look at the class (`A/pkg/controllers/nodeclass/placementgroup.go`).
    fn placement_group(&mut self, world: &World) -> Option<Step> {
        const KIND: &str = "PlacementGroupReady";
        let Some(selector) = &self.class.spec.placement_group_selector else {
            self.set.set_true(KIND);
            return None;
        };
        match self.answer(|e| if let Effect::ResolvePlacementGroup(class) = e { Some(class) } else { None }) {
            None => return Some(Step::act(Act::from(Effect::ResolvePlacementGroup(self.draft())).tolerant())),
            Some(Ok(Outcome::PlacementGroup(Some(group)))) => {
                self.set.set_true(KIND);
                let class = self.class.name_any();
                if world.placement_groups.get(&class) != Some(&group.id) {
                    let line = Line::debug("nodeclass", "discovered placement group").object("EC2NodeClass", "", &class);
                    let line =
                        line.with("id", group.id.as_str()).with("name", group.name.as_str()).with("strategy", group.strategy.as_str());
                    self.notes.extend([line.into(), Memo::PlacementGroup(class, group.id.clone()).into()]);
                }
            }
            Some(Ok(_)) => {
                let named = ["name", "id"].into_iter().filter_map(|key| selector.get(key)?.as_str()).find(|text| !text.is_empty());
                let message = format!("Placement group {:?} not found", named.unwrap_or_default());
                self.set.set_false(KIND, "PlacementGroupNotFound", &message);
            }
            Some(Err(error)) => {
                self.set.set_false(KIND, "PlacementGroupResolutionFailed", "Failed to resolve placement group");
                self.error(format!("resolving placement group, describing placement groups, {error}"));
            }
        }
        None
    }

    /// What was found and is other than before, a line each.
    fn discovered(&self) -> Vec<Line> {
        let before = self.class.status.clone().unwrap_or_default();
        let now = &self.status;
        let named = |message: &str, key: &str, value: serde_json::Value| {
            Line::debug("nodeclass", message).object("EC2NodeClass", "", &self.class.name_any()).with(key, value)
        };
        let ids = |amis: &[api::ec2nodeclass::Ami]| amis.iter().map(|ami| ami.id.clone()).collect::<BTreeSet<_>>();
        let reservations = |all: &[api::ec2nodeclass::CapacityReservation]| all.iter().map(|r| r.id.clone()).collect::<Vec<_>>();
        let groups: Vec<&str> = now.security_groups.iter().map(|group| group.id.as_str()).collect();
        let reserved = reservations(&now.capacity_reservations);
        let lines = [
            (ids(&before.amis) != ids(&now.amis), named("discovered amis", "ids", json!(ids(&now.amis)))),
            (
                reservations(&before.capacity_reservations) != reserved && !reserved.is_empty(),
                named("discovered capacity reservations", "ids", json!(reserved)),
            ),
            (before.subnets != now.subnets, named("discovered subnets", "subnets", json!(now.subnets))),
            (before.security_groups != now.security_groups, named("discovered security groups", "security-groups", json!(groups))),
        ];
        lines.into_iter().filter(|(is_new, _)| *is_new).map(|(_, line)| line).collect()
    }

    fn finish(mut self) -> Step {
        let lines = self.discovered();
        self.status.conditions = self.set.into_conditions();
        let mut next = (**self.class).clone();
        next.status = Some(self.status);
        if let Some(body) = patch::of_field("status", &**self.class, &next) {
            let act = locked(Kind::EC2NodeClass, &**self.class, true, body);
            return Step { notes: self.notes, ..Step::act(lines.into_iter().fold(act, Act::then)) };
        }
        let step = match (self.errors.is_empty(), self.again, self.wait) {
            (false, _, _) => Step::retry(joined(self.errors)),
            (_, true, _) => Step { then: crate::step::Then::Again, ..Step::default() },
            (_, _, Some(wait)) => Step::after(wait, None),
            _ => Step::rest(),
        };
        Step { notes: self.notes, ..step }
    }
}

/// One line for all (`go.uber.org/multierr`); the call of the first is told.
fn joined(errors: Vec<Cause>) -> Cause {
    let words = errors.iter().map(|error| &*error.words).collect::<Vec<_>>().join("; ");
    Cause { words, call: errors.into_iter().find_map(|error| error.call) }
}

/// A NodeClass stays until no NodeClaim uses it; then what it left in the account is removed.
fn finalize(world: &World, class: &Arc<EC2NodeClass>, done: &[Done]) -> Step {
    if !class.finalizers().iter().any(|f| f == labels::EC2NODECLASS_FINALIZER) {
        return Step::rest();
    }
    let users: Vec<String> =
        world.index.claims().filter(|c| c.spec.node_class_ref.name == class.name_any()).map(|c| c.name_any()).collect();
    if !users.is_empty() {
        let message = format!("Waiting on NodeClaim termination for {}", crate::log::some(&users, 5));
        let event = EventSpec::new(&**class, false, "WaitingOnNodeClaimTermination", message);
        return Step::after(SignedDuration::from_mins(10), None).note(event);
    }
    if last(done, |e| matches!(e, Effect::CleanUp(_))).is_none() {
        return Step::act(Effect::CleanUp(class.clone()));
    }
    let mut released = (**class).clone();
    released.finalizers_mut().retain(|f| f != labels::EC2NODECLASS_FINALIZER);
    match patch::of_field("metadata", &**class, &released) {
        Some(body) => Step::act(locked(Kind::EC2NodeClass, &**class, false, body)),
        None => Step::rest(),
    }
}
