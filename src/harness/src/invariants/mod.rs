//! What always holds, in every scenario and for every controller, unless the scenario says otherwise.
//!
//! [`Watch`] is shown what the observer sees of the API, the machines of the account, the requests on both wires and, of the
//! built-in controller, its record. [`view`] keeps what is known, each rule is a state machine over it in a file of its own. None of
//! them asks the controller for a reason: unmodified Karpenter is judged by the same code, as far as the evidence reaches there.

mod budgets;
mod epilogue;
mod evictions;
mod launches;
mod limits;
mod loops;
mod orphans;
mod prices;
mod quiet;
mod replans;
mod tap;
#[cfg(test)]
mod tests;
mod view;

pub use epilogue::epilogue;
pub use tap::{CONTROLLER, tap};
pub use view::Machine;

use crate::acts::Act;
use crate::check::Verdict;
use crate::observe::Seen;
use controller::record::{Decision, What};
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use view::View;

/// The rules, by the names that scenarios use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    OrphanInstance,
    Limits,
    Budgets,
    Evictions,
    LaunchLoop,
    Consolidation,
    Replan,
    Quiet,
}

impl Rule {
    pub const ALL: [Rule; 8] = [
        Rule::OrphanInstance,
        Rule::Limits,
        Rule::Budgets,
        Rule::Evictions,
        Rule::LaunchLoop,
        Rule::Consolidation,
        Rule::Replan,
        Rule::Quiet,
    ];

    pub const NAMES: [&str; 8] = ["orphan-instance", "limits", "budgets", "evictions", "launch-loop", "consolidation", "replan", "quiet"];

    pub fn name(self) -> &'static str {
        Rule::ALL.iter().position(|rule| *rule == self).map_or("", |at| Rule::NAMES[at])
    }

    pub fn by_name(name: &str) -> Option<Rule> {
        Rule::NAMES.iter().position(|known| *known == name).map(|at| Rule::ALL[at])
    }

    /// In one sentence.
    pub fn says(self) -> &'static str {
        match self {
            Rule::OrphanInstance => "no instance without a NodeClaim for longer than garbage collection takes",
            Rule::Limits => "no launch beyond a NodePool's limits",
            Rule::Budgets => "no graceful disruption begun beyond a budget",
            Rule::Evictions => "no PodDisruptionBudget broken by an eviction",
            Rule::LaunchLoop => "no launch for what was launched for already, and no replacement of replacements for ever",
            Rule::Consolidation => "no consolidation that raises the price, or replaces a node by its own type, zone and market",
            Rule::Replan => "planning an unchanged world again changes nothing",
            Rule::Quiet => "with nothing to do, no write to Nodes, NodeClaims or instances",
        }
    }
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub rule: Rule,
    pub at: Timestamp,
    /// What, with the numbers.
    pub what: String,
}

/// Sees everything, and remembers what was broken.
#[derive(Debug, Default)]
pub struct Watch {
    view: View,
    orphans: orphans::Orphans,
    limits: limits::Limits,
    evictions: evictions::Evictions,
    doubles: launches::Launches,
    loops: loops::Loops,
    replans: replans::Replans,
    quiet: quiet::Quiet,
    /// When AWS last had no capacity for a launch.
    last_refusal: Option<Timestamp>,
    broken: Vec<Violation>,
    /// Rules that could not be judged, and why.
    unjudged: BTreeMap<Rule, String>,
}

impl Watch {
    fn broke(&mut self, rule: Rule, at: Timestamp, whats: impl IntoIterator<Item = String>) {
        self.broken.extend(whats.into_iter().map(|what| Violation { rule, at, what }));
    }

    /// A change that the observer saw.
    pub fn see(&mut self, now: Timestamp, seen: &Seen) {
        /// The object, and whether it is there: `None` of the second list's beginnings and ends.
        fn change<K: Resource>(event: &Event<K>) -> Option<(&K, bool)> {
            match event {
                Event::Apply(object) | Event::InitApply(object) => Some((object, true)),
                Event::Delete(object) => Some((object, false)),
                Event::Init | Event::InitDone => None,
            }
        }
        match seen {
            Seen::Pod(event) => {
                if let Some((pod, there)) = change(event) {
                    let broken = self.evictions.look(&self.view, pod, there, now);
                    self.view.pod(now, pod, there);
                    self.broke(Rule::Evictions, now, broken);
                }
            }
            Seen::Node(event) => _ = change(event).map(|(node, there)| self.view.node(node, there)),
            Seen::Claim(event) => {
                if let Some((claim, there)) = change(event) {
                    self.claim(now, claim, there);
                }
            }
            Seen::Pool(event) => _ = change(event).map(|(pool, there)| self.view.pool(now, pool, there)),
            Seen::Class(event) => _ = change(event).map(|(class, there)| self.view.class(now, class, there)),
            Seen::Budget(event) => _ = change(event).map(|(budget, there)| self.view.budget(budget, there)),
            Seen::Event(event) => {
                if let Some((event, true)) = change(event) {
                    self.loops.event(event);
                    let broken = self.doubles.event(&self.view, event, now);
                    self.broke(Rule::LaunchLoop, now, broken);
                }
            }
        }
        self.tick(now);
    }

    fn claim(&mut self, now: Timestamp, claim: &api::NodeClaim, there: bool) {
        let name = claim.name_any();
        let before = self.view.claims.get(&name).cloned();
        self.view.claim(now, claim, there);
        let after = self.view.claims.get(&name).cloned();
        let mark = |seen: &Option<view::Claim>| seen.as_ref().and_then(|c| c.reason.clone());
        if let (Some(claim), true) = (&after, mark(&after) != mark(&before)) {
            let broken = budgets::look(&self.view, claim, now);
            self.broke(Rule::Budgets, now, broken);
            let broken = self.loops.marked(&self.view, &name, claim, now);
            self.broke(Rule::LaunchLoop, now, broken);
        }
        if before.is_none() && after.is_some() {
            self.limits.created(&self.view, &name, now);
            let broken = self.doubles.created(&self.view, &name);
            self.broke(Rule::LaunchLoop, now, broken);
        }
        let machine = |seen: &Option<view::Claim>| seen.as_ref().and_then(|c| c.instance.clone());
        let bought = |seen: &Option<view::Claim>| seen.as_ref().map(|c| c.capacity.is_empty());
        if bought(&before) != bought(&after) {
            let broken = self.limits.look(&self.view);
            self.broke(Rule::Limits, now, broken);
        }
        if machine(&before) != machine(&after) {
            self.orphans.look(&self.view, now);
        }
    }

    /// The account's machines, after each change.
    pub fn machines(&mut self, now: Timestamp, machines: impl Iterator<Item = (String, Machine)>) {
        self.view.machines.values_mut().for_each(|machine| machine.on = false);
        self.view.machines.extend(machines);
        self.orphans.look(&self.view, now);
        self.tick(now);
    }

    /// The built-in controller's record.
    pub fn decided(&mut self, decision: &Decision) {
        if let What::Planned { plan, explanation, names, .. } = &decision.what {
            let broken = self.replans.planned(&self.view, plan, explanation, names, decision.at);
            self.broke(Rule::Replan, decision.at, broken);
        }
    }

    /// What the built-in controller would plan for a world that has settled.
    fn planned_again(&mut self, plan: &planner::Plan, now: Timestamp) {
        let broken = replans::again(plan);
        self.broke(Rule::Replan, now, broken);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        let broken = self.orphans.tick(now);
        self.broke(Rule::OrphanInstance, now, broken);
    }

    /// One verdict a rule. `acts` is all that was done, `start` when the story began; switched-off rules hold whatever happened.
    pub fn verdicts(&self, acts: &[Act], start: Timestamp, without: &BTreeMap<Rule, String>) -> Vec<Verdict> {
        let at = |seconds: f64, what: &str| format!("{what}, at {seconds:.1}s");
        let consolidations = prices::judge(acts, &self.view);
        Rule::ALL
            .iter()
            .map(|rule| {
                let own = self.broken.iter().filter(|broken| broken.rule == *rule);
                let mut told: Vec<String> = own.map(|b| at(b.at.duration_since(start).as_secs_f64(), &b.what)).collect();
                if *rule == Rule::Consolidation {
                    told.extend(consolidations.iter().map(|(seconds, what)| at(*seconds, what)));
                }
                let off = without.get(rule);
                let seen = match (off, told.len(), self.unjudged.get(rule)) {
                    (Some(why), 0, _) => format!("switched off: {why}"),
                    (Some(why), count, _) => format!("switched off: {why}; broken {count} times, first: {}", told[0]),
                    (None, 0, Some(why)) => format!("not judged: {why}"),
                    (None, 0, None) => "held".to_owned(),
                    (None, 1, _) => told.remove(0),
                    (None, count, _) => format!("{} (and {} more)", told[0], count - 1),
                };
                let held = off.is_some() || seen == "held" || seen.starts_with("not judged: ");
                Verdict { expected: format!("invariant: {}: {}", rule.name(), rule.says()), line: 0, held, seen }
            })
            .collect()
    }
}
