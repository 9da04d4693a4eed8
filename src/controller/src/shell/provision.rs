//! From pods that wait to NodeClaims.

use super::{Controller, later};
use crate::decide::provision;
use crate::log::{Level, Line};
use crate::metrics::Sight;
use crate::record::What;
use crate::step::{Done, Note, Step};
use api::nodepool::NodePool;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use planner::output::PodOutcome;
use planner::{Explanation, Offerings, Plan};
use std::sync::{Arc, PoisonError};
use vocabulary::labels;

/// Pods without a place are offered to the planner again and again (`C/pkg/controllers/provisioning/controller.go`).
const RETRIGGER: SignedDuration = SignedDuration::from_secs(10);

impl Controller {
    pub(super) fn retrigger(&mut self, now: Timestamp) -> Step {
        let mut uids: Vec<String> = self.world.index.pending().filter_map(|(_, pod)| pod.uid()).collect();
        let disrupted = |node: &k8s_openapi::api::core::v1::Node| {
            cluster::machine::node_taints(node).iter().any(|t| &*t.key == labels::DISRUPTED_TAINT)
        };
        uids.extend(self.world.index.nodes().filter(|n| disrupted(n)).filter_map(|n| n.uid()));
        if uids.is_empty() {
            return Step::rest();
        }
        for uid in uids {
            self.trigger(&uid, now);
        }
        Step::after(RETRIGGER, None)
    }

    pub(super) fn provision(&mut self, done: &[Done], now: Timestamp) -> Step {
        if !done.is_empty() || !self.world.batch.take() {
            return Step::rest();
        }
        if !self.world.index.synced() {
            let launching = self.world.index.claims().filter(|c| crate::world::provider_id(c).is_none()).map(|c| c.name_any()).collect();
            self.record(What::Unsynced { waiting_for: launching });
            return Step::rest();
        }
        let version = self.world.index.version();
        for key in self.world.index.pending().map(|(key, _)| key) {
            self.metrics.noticed(key, now);
        }
        let (plan, explanation, mut notes) = self.plan(now);
        self.metrics.planned(provision::CONTROLLER, &explanation, now, self.clock.now());
        let pending = self.world.index.pending().count();
        let line = Line::debug(provision::CONTROLLER, "computing scheduling decision for provisionable pod(s)")
            .with("pending-pods", pending)
            .with("deleting-pods", explanation.pods.len().saturating_sub(pending));
        if !explanation.pods.is_empty() {
            notes.push(line.into());
        }
        notes.extend(provision::notes(&self.world, &plan, &explanation));
        self.note_verdicts(version, &explanation);
        let mut acts = Vec::new();
        let mut names = Vec::new();
        for launch in &plan.launches {
            let name = self.claim_name(&launch.pool, &names);
            match provision::create(&self.world, provision::CONTROLLER, "provisioned", launch, name.clone(), true) {
                Ok(act) => acts.push(act),
                Err(line) => notes.push(line.into()),
            }
            names.push(name);
        }
        let nominated_until = later(now, self.world.settings.nomination_window());
        for nomination in &plan.nominations {
            self.world.index.nominate(&nomination.node, nominated_until);
        }
        self.record(What::Planned { plan: Arc::new(plan), explanation: Arc::new(explanation), names, nominated_until });
        Step { acts, notes, ..Step::default() }
    }

    fn plan(&mut self, now: Timestamp) -> (Plan, Explanation, Vec<Note>) {
        let snapshot = self.picture();
        let (offerings, notes) = self.offerings(now);
        let (mut plan, explanation) = planner::plan(&snapshot, &offerings, now, &self.world.settings.options);
        if let Some(change) = self.tamper().and_then(|tamper| tamper.plan.as_ref()) {
            change(&mut plan);
        }
        (plan, explanation, notes)
    }

    /// Writes the metrics for those who asked.
    pub(super) fn show_metrics(&mut self) {
        let reading = std::mem::take(&mut *self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner));
        if reading.is_empty() {
            return;
        }
        let now = self.clock.now();
        self.world.index.refresh();
        let snapshot = self.world.index.snapshot();
        let (offerings, _) = self.offered(self.world.index.pools(), now);
        let types: Vec<_> = self.world.index.classes().filter_map(|class| self.cloud.instance_types(class, now).ok()).collect();
        let text = self.metrics.text(&self.world, &Sight { snapshot: &snapshot, offerings: &offerings, types: &types }, now);
        for sender in reading {
            // Who asked may have gone.
            let _ = sender.send(text.clone());
        }
    }

    /// Tells those who asked what would be planned now.
    pub(super) fn answer(&mut self) {
        self.show_metrics();
        let asking = std::mem::take(&mut *self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner));
        self.world.index.refresh();
        // Dropped unanswered, they learn that it cannot be said.
        if self.open && self.world.index.synced() {
            let (plan, ..) = self.plan(self.clock.now());
            for sender in asking {
                // Who asked may have gone.
                let _ = sender.send(plan.clone());
            }
        }
    }

    /// What can be bought for each pool that is ready; a pool that cannot be resolved is left out.
    fn offerings(&self, now: Timestamp) -> (Offerings, Vec<Note>) {
        let present = self.world.index.pools().filter(|pool| pool.metadata.deletion_timestamp.is_none() && pool.spec.replicas.is_none());
        let ready = |pool: &&Arc<NodePool>| pool.status.as_ref().is_some_and(|s| api::condition::is_true(&s.conditions, "Ready"));
        let (ready, not_ready): (Vec<_>, Vec<_>) = present.partition(ready);
        let of = |line: Line, pool: &str| Note::from(line.object("NodePool", "", pool));
        let ignored = |pool: &Arc<NodePool>| of(Line::new(Level::Error, "provisioner", "ignoring nodepool, not ready"), &pool.name_any());
        let mut notes: Vec<Note> = not_ready.into_iter().map(ignored).collect();
        let (offerings, unresolved) = self.offered(ready, now);
        let skipped =
            |(pool, error): (String, String)| of(Line::error("provisioner", "skipping, unable to resolve instance types", error), &pool);
        notes.extend(unresolved.into_iter().map(skipped));
        (offerings, notes)
    }

    /// What can be bought for these pools now; the names of those that cannot be resolved, with the reason. A pool whose NodeClass is
    /// not there is left out.
    pub(super) fn offered<'a>(
        &self,
        pools: impl IntoIterator<Item = &'a Arc<NodePool>>,
        now: Timestamp,
    ) -> (Offerings, Vec<(String, String)>) {
        let (mut offerings, mut unresolved) = (Offerings::new(), Vec::new());
        for pool in pools {
            let Some(class) = self.world.index.class(&pool.spec.template.spec.node_class_ref.name) else { continue };
            match self.cloud.instance_types(class, now) {
                Ok(types) => {
                    let name: Arc<str> = pool.name_any().into();
                    let overlaid = if self.world.settings.node_overlay { self.world.overlays.apply(&name, &types) } else { Some(types) };
                    match overlaid {
                        Some(types) => drop(offerings.insert(name, types)),
                        // Its turn comes with the next look at the overlays.
                        None => tracing::debug!(nodepool = &*name, "skipping, awaiting nodeoverlay evaluation"),
                    }
                }
                Err(error) => unresolved.push((pool.name_any(), error)),
            }
        }
        (offerings, unresolved)
    }

    pub(super) fn note_verdicts(&mut self, version: u64, explanation: &planner::Explanation) {
        let planned = &mut self.world.planned;
        planned.version = Some(version);
        planned.count += 1;
        planned.placed.clear();
        planned.refused.clear();
        for verdict in &explanation.pods {
            let (namespace, name) = verdict.pod.split_once('/').unwrap_or(("", &verdict.pod));
            let Some(uid) = self.world.index.pod(&cluster::Key::new(namespace, name)).and_then(|pod| pod.uid()) else { continue };
            match verdict.outcome {
                PodOutcome::FitsNode(_) | PodOutcome::Launch(_) => planned.placed.insert(uid),
                PodOutcome::Unschedulable(_) | PodOutcome::Invalid { .. } => planned.refused.insert(uid),
            };
        }
    }

    /// `<pool>-` and five characters, as the API server makes names, but from our own seed, so that runs repeat.
    pub(super) fn claim_name(&mut self, pool: &str, taken: &[String]) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        loop {
            let mut name = format!("{pool}-");
            for _ in 0..5 {
                let at = usize::try_from(self.names.below(LETTERS.len() as u64)).unwrap_or(0);
                name.push(char::from(LETTERS[at]));
            }
            if self.world.index.claim(&name).is_none() && !taken.contains(&name) {
                return name;
            }
        }
    }
}
