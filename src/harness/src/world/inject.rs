//! Faults: from the scenario's words to what the fake cloud does. A fault that matches nothing is a mistake of the scenario.

use super::{World, WorldError};
use crate::drive::DriveError;
use crate::scenario::fault::{Blow, Body, Fault, Force, What};
use crate::scenario::{self, Mistake, Mistakes, Nodes, Site, Target};
use fake_ec2::state::{self, Cause, Effect, Fate, Incident, Machines, Market, Pool, Rule};
use jiff::{SignedDuration, Timestamp};

/// A fault that is or was in force.
pub struct InForce {
    /// The rule's name in the cloud.
    name: String,
    word: &'static str,
    site: Site,
    /// When it ends by itself, or was lifted.
    ends: Option<Timestamp>,
    /// Of a fault that stood before the story: its time counts from the story's beginning.
    standing: Option<SignedDuration>,
}

fn mistaken(mistake: Mistake) -> DriveError {
    DriveError::Mistakes(Mistakes(vec![mistake]))
}

/// An effect as the cloud has it.
pub fn effect(force: &Force) -> Effect {
    match force.clone() {
        Force::Ice { types, zones, capacity } => Effect::InsufficientCapacity {
            instance_types: types,
            zones,
            markets: capacity.iter().filter_map(|kind| market(kind)).collect(),
        },
        Force::Error { operation, code, message, only, after } => Effect::Error { operation, code, message, status: None, only, after },
        Force::Slow { operation, by, only } => Effect::Slow { operation, by, only },
        Force::ShortPages { operation, most } => Effect::ShortPages { operation, most },
        Force::Throttle { operation, burst, per_second, per_instance } => Effect::Throttle { operation, burst, per_second, per_instance },
        Force::Deny { actions } => Effect::Deny { actions },
        Force::ZoneDown { zones } => Effect::ZoneDown { zones },
        Force::Events { kinds, does } => Effect::Events { kinds, does },
        Force::SpotPrice { types, zones, price } => Effect::SpotPrice { instance_types: types, zones, price },
        Force::Fate { blow, nodes, after, permille } => Effect::Fate { fate: fate(blow), machines: machines(nodes), after, permille },
        Force::Releases { every } => Effect::ImageRelease { every },
    }
}

/// Puts a rule in force in the account that is named, or in the first.
pub fn inject_rule(cloud: &mut fake_ec2::Cloud, account: Option<&str>, rule: Rule) -> Result<(), String> {
    let account = account.unwrap_or(&cloud.config().account).to_owned();
    if cloud.state_mut().add_rule_in(&account, rule) { Ok(()) } else { Err(format!("there are too many accounts for {account}")) }
}

fn fate(blow: Blow) -> Fate {
    match blow {
        Blow::SpotInterruption { notice } => Fate::SpotInterruption { notice },
        Blow::Rebalance => Fate::RebalanceRecommendation,
        Blow::Vanish { hardware } => Fate::Vanish { cause: if hardware { Cause::HardwareFailure } else { Cause::Terminated } },
        Blow::HealthEvent { event, notice } => Fate::ScheduledChange { event, notice },
        Blow::Impaired { check } => Fate::Impair { check },
    }
}

/// A selector of nodes as one of machines to come: their pool is a tag.
fn machines(nodes: Nodes) -> Machines {
    Machines {
        instance_types: nodes.types,
        zones: nodes.zones,
        markets: nodes.capacity.iter().filter_map(|kind| market(kind)).collect(),
        tags: nodes.pool.into_iter().map(|pool| (vocabulary::labels::NODEPOOL.to_owned(), pool)).collect(),
    }
}

/// What happens to machines, as the cloud has it.
pub fn incident(blow: Blow, instances: Vec<String>) -> Incident {
    match blow {
        Blow::SpotInterruption { notice } => Incident::SpotInterruption { instances, notice },
        Blow::Rebalance => Incident::RebalanceRecommendation { instances },
        Blow::Vanish { hardware } => {
            Incident::Vanish { instances, cause: if hardware { Cause::HardwareFailure } else { Cause::Terminated } }
        }
        Blow::HealthEvent { event, notice } => Incident::ScheduledChange { instances, event, notice },
        Blow::Impaired { check } => Incident::Impair { instances, check },
    }
}

pub fn body(body: &Body) -> state::Body {
    match body {
        Body::Text(text) => state::Body::Text(text.clone()),
        Body::DuplicateOfLast => state::Body::DuplicateOfLast,
        Body::Foreign => state::Body::Foreign,
    }
}

pub fn market(kind: &str) -> Option<Market> {
    [Market::OnDemand, Market::Spot].into_iter().find(|market| market.name() == kind)
}

impl World {
    /// Whether a fault ends by itself between two instants, or something comes by one that is in force.
    pub async fn faults_move(&self, from: Timestamp, to: Timestamp) -> Result<bool, WorldError> {
        let ends = self.forces.iter().any(|force| force.ends.is_some_and(|ends| from < ends && ends <= to));
        Ok(ends || self.aws.visit(move |cloud, _| cloud.state().comes_by_rule(from, to)).await?)
    }

    /// Lets a fault of a step happen.
    pub async fn inject(&mut self, fault: &Fault) -> Result<(), DriveError> {
        match &fault.what {
            What::Force { force, lasting, times } => {
                let until = lasting.map(|lasting| self.clock.now().saturating_add(lasting).unwrap_or(Timestamp::MAX));
                self.put_in_force(force, *times, until, None, fault).await?;
                Ok(())
            }
            What::Blow { blow, nodes } => {
                let chosen = nodes.take(self.observer.lock().choose(nodes)).map_err(|why| mistaken(fault.site.mistake(why, None)))?;
                let machines: Option<Vec<String>> = chosen.into_iter().map(|(_, instance)| instance).collect();
                let machines =
                    machines.ok_or_else(|| mistaken(fault.site.mistake("a node that is meant has no machine of this cloud", None)))?;
                self.befall(incident(*blow, machines), &fault.site).await
            }
            What::NodeProblem { problem, nodes } => {
                let chosen = nodes.take(self.observer.lock().choose(nodes)).map_err(|why| mistaken(fault.site.mistake(why, None)))?;
                for (node, machine) in chosen {
                    let machine = machine.ok_or_else(|| format!("node {node} has no machine of this cloud"));
                    let done = machine.and_then(|machine| self.kubelets.trouble(&machine, self.problem(problem)));
                    done.map_err(|why| mistaken(fault.site.mistake(why, None)))?;
                }
                Ok(())
            }
            What::Message { queue, body: text, times } => {
                let Some(queue) = queue.clone().or_else(|| self.queue.clone()) else {
                    return Err(mistaken(fault.site.mistake("this world has no interruption queue", "given.aws.queue: true".to_owned())));
                };
                for _ in 0..*times {
                    self.befall(Incident::Message { queue: queue.clone(), body: body(text) }, &fault.site).await?;
                }
                Ok(())
            }
            What::ImageRelease => self.befall(Incident::ImageRelease, &fault.site).await,
            What::Change(change) => {
                let (change, region) = (change.clone(), self.region.clone());
                let made =
                    self.aws.visit(move |cloud, now| change.make(cloud.state_mut(), now, &region)).await.map_err(WorldError::from)?;
                made.map_err(|why| mistaken(fault.site.mistake(why, None)))
            }
            What::Lift(words) => {
                for word in words {
                    self.lift(word, &fault.site).await?;
                }
                Ok(())
            }
        }
    }

    fn problem(&self, problem: &scenario::Problem) -> kubelets::Problem {
        let now = self.clock.now();
        let since = now.saturating_sub(problem.since).unwrap_or(now);
        // Kubernetes' times have no fractions.
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        let scenario::Problem { condition, status, reason, message, .. } = problem.clone();
        kubelets::Problem { condition, status, reason, message, since }
    }

    /// Asks AWS for something as the account's owner. A refusal is a mistake of the scenario.
    pub async fn ask(&mut self, ask: &scenario::Ask) -> Result<(), DriveError> {
        let (service, operation, input) = (ask.service, ask.operation, ask.input.clone());
        let account = ask.account.clone();
        let asked = self.aws.visit(move |cloud, now| match account {
            Some(account) => cloud.state_mut().ask_in(now, &account, service, operation, input),
            None => cloud.state_mut().ask(now, service, operation, input),
        });
        let refused = asked.await.map_err(WorldError::from)?.err();
        let mistake = |refused: fake_ec2::protocol::AwsError| {
            mistaken(ask.site.mistake(format!("{operation}: {}: {}", refused.code, refused.message), None))
        };
        refused.map_or(Ok(()), |refused| Err(mistake(refused)))
    }

    async fn befall(&self, incident: Incident, site: &Site) -> Result<(), DriveError> {
        let done = self.aws.visit(move |cloud, now| cloud.state_mut().befall(now, &incident)).await.map_err(WorldError::from)?;
        done.map_err(|why| mistaken(site.mistake(why.to_string(), None)))
    }

    async fn put_in_force(
        &mut self,
        force: &Force,
        times: Option<u64>,
        until: Option<Timestamp>,
        standing: Option<SignedDuration>,
        fault: &Fault,
    ) -> Result<(), WorldError> {
        let word = force.word();
        let name = format!("{word} {}", self.forces.len() + 1);
        // A price has a history: what was before the fault stays as it was. A world's own faults were there from its beginning.
        let since = standing.is_none().then(|| self.clock.now());
        let rule = Rule { name: name.clone(), effect: effect(force), count: times, since, until };
        let account = fault.account.clone();
        let known = self.aws.visit(move |cloud, _| inject_rule(cloud, account.as_deref(), rule)).await?;
        known.map_err(WorldError::Cloud)?;
        self.forces.push(InForce { name, word, site: fault.site.clone(), ends: until, standing });
        Ok(())
    }

    async fn lift(&mut self, word: &str, site: &Site) -> Result<(), DriveError> {
        let now = self.clock.now();
        let mut names = Vec::new();
        for force in self.forces.iter_mut().filter(|force| force.word == word && force.ends.is_none_or(|ends| ends > now)) {
            force.ends = Some(now);
            names.push(force.name.clone());
        }
        if names.is_empty() {
            return Err(mistaken(site.mistake(format!("no {word} is in force that could be lifted"), None)));
        }
        let lifted = self.aws.visit(move |cloud, now| {
            for name in &names {
                cloud.state_mut().end_rule(name, now);
            }
        });
        Ok(lifted.await.map_err(WorldError::from)?)
    }

    /// Faults and capacity of the world before the story; the first nodes stand, the controller does not run yet.
    pub(super) async fn stand(&mut self, given: &scenario::Aws) -> Result<(), WorldError> {
        // The world before the story was made long ago.
        let (consistency, propagation) = (given.consistency, given.iam_propagation);
        self.aws.visit(move |cloud, _| cloud.state_mut().set_consistency(consistency, propagation)).await?;
        self.aws.visit(|cloud, now| cloud.state_mut().begin_spot_trace(now)).await?;
        let (offerings, region) = (scenario::Change::Offerings(given.offerings.clone()), given.region.clone());
        let made = self.aws.visit(move |cloud, now| offerings.make(cloud.state_mut(), now, &region)).await?;
        made.map_err(WorldError::Cloud)?;
        for fault in &given.faults {
            if let What::Force { force, lasting, times } = &fault.what {
                self.put_in_force(force, *times, None, *lasting, fault).await?;
            }
        }
        let region = given.region.clone();
        for row in given.capacity.clone() {
            let pools = pools(&row, &region);
            self.aws.visit(move |cloud, _| pools.iter().for_each(|pool| cloud.state_mut().leave_capacity(pool, row.count))).await?;
        }
        Ok(())
    }

    /// The story begins: the time of faults that stood before runs from here.
    pub(super) async fn time_standing_faults(&mut self) -> Result<(), WorldError> {
        let story = self.story;
        let mut timed = Vec::new();
        for force in &mut self.forces {
            if let Some(lasting) = force.standing {
                let ends = story.saturating_add(lasting).unwrap_or(Timestamp::MAX);
                force.ends = Some(ends);
                timed.push((force.name.clone(), ends));
            }
        }
        Ok(self.aws.visit(move |cloud, _| timed.iter().for_each(|(name, ends)| _ = cloud.state_mut().end_rule(name, *ends))).await?)
    }

    /// Faults that were in force and have met nothing.
    pub async fn unmet(&self) -> Result<Vec<Mistake>, WorldError> {
        let names: Vec<String> = self.forces.iter().map(|force| force.name.clone()).collect();
        let met = self.aws.visit(move |cloud, _| names.iter().map(|name| cloud.state().rule_met(name).unwrap_or(0)).collect::<Vec<u64>>());
        let met = met.await?;
        let unmet = self.forces.iter().zip(met).filter(|(_, met)| *met == 0);
        let help = |word: &str| match word {
            "events" => "no rule wanted such an event while it was in force",
            "spot-price" => "nobody asked for these prices, or for a Spot machine there, while it was in force",
            "spot-interruption" | "rebalance" | "vanish" | "health-event" | "impaired" => {
                "no machine that it means came to run while it was in force"
            }
            "ami-release" => "the story ended before the first release",
            "ice" => "no launch asked for such a machine while it was in force",
            _ => "no such call was made while it was in force",
        };
        Ok(unmet.map(|(force, _)| force.site.mistake("this fault has met nothing", help(force.word).to_owned())).collect())
    }

    /// The objects that a selector means: Nodes, or their NodeClaims.
    pub fn chosen(&self, kind: &str, nodes: &Nodes) -> Result<Vec<Target>, String> {
        let observed = self.observer.lock();
        let names: Vec<String> = observed.choose(nodes).into_iter().map(|(name, _)| name).collect();
        let names = if kind == "nodeclaim" {
            let claim = |node: String| observed.claims.iter().find(|(_, claim)| claim.node == node).map(|(name, _)| name.clone());
            names.into_iter().filter_map(claim).collect()
        } else {
            names
        };
        Ok(nodes.take(names)?.into_iter().map(|name| Target { kind: kind.to_owned(), namespace: None, name }).collect())
    }
}

/// The pools that a row means.
pub fn pools(row: &scenario::Capacity, region: &str) -> Vec<Pool> {
    let offered = |name: &str| fake_ec2::catalogue::region(region).map(|region| region.offerings_of(name)).unwrap_or_default();
    let markets: Vec<Market> = if row.capacity.is_empty() {
        vec![Market::OnDemand, Market::Spot]
    } else {
        row.capacity.iter().filter_map(|kind| market(kind)).collect()
    };
    let mut pools = Vec::new();
    for name in &row.types {
        let zones = offered(name).iter().map(|offering| offering.zone.name);
        for zone in zones.filter(|zone| row.zones.is_empty() || row.zones.iter().any(|wanted| wanted == zone)) {
            pools.extend(markets.iter().map(|market| Pool { instance_type: name.clone(), zone: zone.to_owned(), market: *market }));
        }
    }
    pools
}
