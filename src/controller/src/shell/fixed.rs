//! NodePools of fixed size, and NodeOverlays: what needs the snapshot, the cloud's offerings or names that are drawn.

use super::Controller;
use crate::decide::{overlay, provision};
use crate::effect::{Effect, Target};
use crate::log::Line;
use crate::step::{Act, Done, Memo, Step};
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use planner::fixed::{self, Census};
use planner::overlay::evaluate;
use std::sync::Arc;

const UP: &str = "static.provisioning";
const DOWN: &str = "static.deprovisioning";
const AGAIN: SignedDuration = SignedDuration::from_mins(1);
const AT_LIMIT: SignedDuration = SignedDuration::from_secs(30);

impl Controller {
    /// As many NodeClaims as the pool's `replicas` (`C/pkg/controllers/static`).
    pub(super) fn keep_size(&mut self, name: &Arc<str>, done: &[Done], now: Timestamp) -> Step {
        let Some(pool) = self.world.index.pool(name).cloned() else { return Step::rest() };
        let (Some(replicas), None) = (pool.spec.replicas, &pool.metadata.deletion_timestamp) else { return Step::rest() };
        if !self.world.settings.static_capacity {
            return Step::rest();
        }
        if !done.is_empty() {
            return Step::after(AGAIN, None);
        }
        let snapshot = self.picture();
        let Some(planned) = snapshot.pools.iter().find(|planned| planned.name == *name) else { return Step::rest() };
        let busy = self.world.disruption.pending();
        let census = Census::of(planned, &snapshot, &busy);
        if census.active > replicas {
            let count = census.active - replicas;
            let line = Line::info(DOWN, "deprovisioning nodeclaims to satisfy replica count")
                .object("NodePool", "", name)
                .with("current", census.active)
                .with("desired", replicas)
                .with("deprovision-count", count);
            let going = fixed::surplus(planned, &snapshot, &busy, usize::try_from(count).unwrap_or(0), now);
            return Step { acts: going.iter().map(|claim| self.give_up(claim)).collect(), ..Step::default() }.note(line);
        }
        let ready = pool.status.as_ref().is_some_and(|s| api::condition::is_true(&s.conditions, "Ready"));
        if !ready || census.active + census.pending_disruption >= replicas {
            return Step::after(AGAIN, None);
        }
        if !self.world.index.synced() {
            return Step::after(SignedDuration::from_secs(1), None);
        }
        let count = census.room(planned, replicas - census.active);
        if count <= 0 {
            let line = Line::info(UP, "nodepool node limit reached").object("NodePool", "", name);
            return Step::after(AT_LIMIT, None).note(line);
        }
        let line = Line::info(UP, "provisioning nodeclaims to satisfy replica count")
            .object("NodePool", "", name)
            .with("current", census.active)
            .with("desired", replicas)
            .with("provision-count", count);
        let launch = fixed::claim(planned);
        let mut step = Step::default().note(line);
        let mut names = Vec::new();
        for _ in 0..count {
            let name = self.claim_name(&launch.pool, &names);
            match provision::create(&self.world, UP, "provisioned", &launch, name.clone(), false) {
                Ok(act) => step.acts.push(act),
                Err(line) => step.notes.push(line.into()),
            }
            names.push(name);
        }
        if step.acts.is_empty() { Step { then: Step::after(AT_LIMIT, None).then, ..step } } else { step }
    }

    fn give_up(&self, claim: &str) -> Act {
        let known = self.world.index.claim(claim);
        let uid = known.and_then(|claim| claim.uid());
        let pool = known.and_then(|claim| claim.labels().get(vocabulary::labels::NODEPOOL).cloned()).unwrap_or_default();
        let effect = Effect::Delete { target: Target::cluster(Kind::NodeClaim, claim), uid, grace_seconds: None };
        Act::from(effect).then(Line::debug(DOWN, "deleting nodeclaim").object("NodePool", "", &pool).object("NodeClaim", "", claim))
    }

    /// Holds all NodeOverlays against all pools. What came of it counts once every status says so.
    pub(super) fn overlay(&mut self, _done: &[Done], now: Timestamp) -> Step {
        let (mut offerings, mut errors) = (planner::Offerings::new(), Vec::new());
        let pools: Vec<_> = self.world.index.pools().cloned().collect();
        for pool in &pools {
            let class = self.world.index.class(&pool.spec.template.spec.node_class_ref.name);
            let types = class.ok_or_else(|| "NodeClass not found".to_owned()).and_then(|class| self.cloud.instance_types(class, now));
            match types {
                Ok(types) => drop(offerings.insert(pool.name_any().into(), types)),
                Err(error) => errors.push(format!("listing instance types for nodepool {:?}, {error}", pool.name_any())),
            }
        }
        let snapshot = self.picture();
        let evaluated: Vec<_> =
            snapshot.pools.iter().filter(|pool| offerings.contains_key(&pool.name)).map(|pool| (&pool.name, &pool.labels)).collect();
        let all: Vec<_> = self.world.index.overlays().cloned().collect();
        let read: Vec<_> = all.iter().map(|written| overlay::read(written)).collect();
        let valid: Vec<_> = read.iter().filter_map(|overlay| overlay.as_ref().ok().cloned()).collect();
        let (overlays, conflicts) = evaluate(&evaluated, &offerings, &valid);
        let mut step = Step::default();
        for (written, read) in all.iter().zip(&read) {
            let problem = match read {
                Err(faults) => Some(("RuntimeValidation", faults.as_str())),
                Ok(overlay) if conflicts.contains(&overlay.name) => Some(("Conflict", "conflict with another overlay")),
                Ok(_) => None,
            };
            step.acts.extend(overlay::status(written, problem, now));
        }
        if !step.acts.is_empty() {
            return step;
        }
        let step = if errors.is_empty() { Step::after(SignedDuration::from_hours(6), None) } else { Step::retry(errors.join("; ")) };
        step.note(Memo::Overlaid(Arc::new(overlays)))
    }
}
