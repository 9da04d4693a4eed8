//! Moves time and does what the steps say; judges each step when the world has settled, or at its deadline.

use crate::acts::Act;
use crate::check::{Facts, Guard, Verdict, check, check_never};
use crate::objects::ObjectError;
use crate::scenario::{Action, Expectation, Mistakes, Mode, Placed, Scenario, Step};
use crate::timeline::Event;
use crate::world::{World, WorldError};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vocabulary::UsdPerHour;

/// How often a virtual world is asked whether it has settled; twice in a row it must say so.
const SIM_POLL: SignedDuration = SignedDuration::from_millis(500);
const WIRE_POLL: SignedDuration = SignedDuration::from_millis(200);
/// In real time nobody can prove that nothing moves: so long everything must have been quiet and as expected.
const WIRE_QUIET: SignedDuration = SignedDuration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Mistakes(Mistakes),
    #[error(transparent)]
    World(#[from] WorldError),
}

/// What became of one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepReport {
    pub actions: Vec<String>,
    /// Virtual or real seconds that the step took.
    pub seconds: f64,
    /// What kept moving, when the world did not settle in time.
    pub moving: Vec<String>,
    pub verdicts: Vec<Verdict>,
    /// What the autoscaler did to nodes, in the order in which it began.
    #[serde(default)]
    pub acts: Vec<Act>,
}

impl StepReport {
    pub fn held(&self) -> bool {
        self.moving.is_empty() && self.verdicts.iter().all(|v| v.held)
    }
}

/// What counts from the beginning of a step.
#[derive(Clone, Debug, Default)]
struct Mark {
    calls: BTreeMap<String, u64>,
    denied: BTreeMap<String, u64>,
    launches: u64,
    disruptions: u64,
    ready: usize,
    initialized: usize,
    evicted: usize,
    lost: usize,
    order: u64,
    told: usize,
    errors: usize,
    hourly: BTreeMap<Option<String>, UsdPerHour>,
    at: Option<jiff::Timestamp>,
}

async fn mark(world: &World) -> Result<Mark, DriveError> {
    let hourly = world.hourly().await?;
    let observed = world.observer.lock();
    Ok(Mark {
        calls: world.trace.calls(),
        denied: world.trace.denied(),
        launches: observed.launches,
        disruptions: observed.disruptions,
        ready: observed.became_ready.len(),
        initialized: observed.became_initialized.len(),
        evicted: observed.evicted.len(),
        lost: observed.lost.len(),
        order: observed.order,
        told: observed.said.events.len(),
        errors: world.controller_errors().len(),
        hourly,
        at: Some(world.clock.now()),
    })
}

/// Applies the given manifests and waits until the cluster has taken them in.
pub async fn begin(scenario: &Scenario, world: &mut World) -> Result<Vec<String>, DriveError> {
    for manifest in &scenario.given.apply {
        apply_error(world.objects.apply(manifest).await)?;
        let file = manifest.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        world.observer.note(Event::Applied { file, objects: manifest.names() }, Vec::new());
    }
    settle(world, SignedDuration::from_mins(15), None).await
}

/// Runs every step; stops after the first that fails, since the rest stands on it.
pub async fn steps(scenario: &Scenario, world: &mut World) -> Result<(Vec<StepReport>, Vec<Verdict>), DriveError> {
    let whole = mark(world).await?;
    let mut reports = Vec::new();
    for step in &scenario.steps {
        let report = run(scenario, step, world).await?;
        let held = report.held();
        reports.push(report);
        if !held {
            break;
        }
    }
    // A story that was told to its end has met all that was to befall it, or the scenario is wrong.
    if reports.len() == scenario.steps.len() {
        let unmet = world.unmet().await?;
        if !unmet.is_empty() {
            return Err(DriveError::Mistakes(Mistakes(unmet)));
        }
    }
    let facts = facts(scenario, world, &whole, scenario.always.iter()).await?;
    let observed = world.observer.lock();
    let always =
        scenario.always.iter().map(|e| Verdict { expected: format!("always {}", e.text), ..check(e, &observed, &facts) }).collect();
    Ok((reports, always))
}

async fn run(scenario: &Scenario, step: &Step, world: &mut World) -> Result<StepReport, DriveError> {
    let from = mark(world).await?;
    let began = world.clock.now();
    guard(step, world, &from);
    for action in &step.actions {
        world.observer.note(Event::Step { text: action.text.clone() }, Vec::new());
        act(&action.value, world).await?;
    }
    let moving = match step.until {
        Some(until) => {
            pass(world, began.saturating_add(until).unwrap_or(jiff::Timestamp::MAX)).await?;
            Vec::new()
        }
        None => settle(world, scenario.within(step, world.mode), Some((scenario, step, &from))).await?,
    };
    let verdicts = judge(scenario, step, world, &from).await?;
    let acts = {
        let mut observed = world.observer.lock();
        observed.guard = None;
        observed.history.acts(observed.timeline.start()).into_iter().filter(|act| act.order > from.order).collect()
    };
    let seconds = world.clock.now().duration_since(began).as_secs_f64();
    Ok(StepReport {
        actions: step.actions.iter().map(|a| a.text.clone()).collect(),
        seconds: (seconds * 1000.0).round() / 1000.0,
        moving,
        verdicts,
        acts,
    })
}

/// From here on, every change is held against what must never be.
fn guard(step: &Step, world: &World, from: &Mark) {
    let mut observed = world.observer.lock();
    let facts = Facts { evicted_from: from.evicted, lost_from: from.lost, order_from: from.order, ..Facts::default() };
    let made = Guard::new(&step.never, facts, &observed);
    observed.guard = Some(made);
}

/// Lets time pass up to an instant, settled or not.
pub async fn pass(world: &mut World, end: jiff::Timestamp) -> Result<(), DriveError> {
    let step = SignedDuration::from_secs(1);
    loop {
        let left = end.duration_since(world.clock.now());
        if left <= SignedDuration::ZERO {
            return Ok(());
        }
        world.clock.sleep(left.min(step)).await;
        world.alive()?;
    }
}

async fn act(action: &Action, world: &mut World) -> Result<(), DriveError> {
    let done = match action {
        Action::Fault(fault) => return world.inject(fault).await,
        Action::Ask(ask) => return world.ask(ask).await,
        Action::DeleteNodes { kind, nodes, site } => {
            for target in world.chosen(kind, nodes).map_err(|why| DriveError::Mistakes(Mistakes(vec![site.mistake(why, None)])))? {
                apply_error(world.objects.delete(&target).await)?;
            }
            Ok(())
        }
        Action::Scale { target, replicas } => world.objects.scale(target, *replicas).await,
        Action::Apply(manifest) => world.objects.apply(manifest).await,
        Action::Delete(target) => world.objects.delete(target).await,
        Action::Patch { target, patch } => world.objects.patch(target, patch).await,
        Action::Advance(duration) => {
            world.clock.sleep(*duration).await;
            Ok(())
        }
    };
    apply_error(done)
}

fn apply_error(done: Result<(), ObjectError>) -> Result<(), DriveError> {
    done.map_err(|error| match error {
        ObjectError::Refused(mistake) => DriveError::Mistakes(Mistakes(vec![*mistake])),
        other => DriveError::World(WorldError::Kubernetes(other.to_string())),
    })
}

/// Waits until nothing moves by itself. In real time also until the step's expectations hold. Returns what still moved at the deadline.
async fn settle(world: &mut World, within: SignedDuration, step: Option<(&Scenario, &Step, &Mark)>) -> Result<Vec<String>, DriveError> {
    let sim = world.mode == Mode::Sim;
    let (poll, quiet_needed) = if sim { (SIM_POLL, SIM_POLL) } else { (WIRE_POLL, WIRE_QUIET) };
    let deadline = world.clock.now().saturating_add(within).unwrap_or(jiff::Timestamp::MAX);
    let mut quiet_since = None;
    loop {
        // The first look comes after a pause, so that what an action sets off has begun.
        world.clock.sleep(poll).await;
        world.alive()?;
        let now = world.clock.now();
        world.observer.lock().watch.tick(now);
        let mut moving = world.unsettled(deadline).await?;
        if !sim
            && moving.is_empty()
            && let Some((scenario, step, from)) = step
        {
            let verdicts = judge(scenario, step, world, from).await?;
            if world.observer.lock().guard.as_ref().is_some_and(Guard::any_broken) {
                return Ok(Vec::new());
            }
            moving.extend(verdicts.iter().filter(|v| !v.held).map(|v| format!("waiting for {}", v.expected)));
        }
        if moving.is_empty() {
            let since = *quiet_since.get_or_insert(now);
            if now.duration_since(since) >= quiet_needed {
                return Ok(Vec::new());
            }
        } else {
            quiet_since = None;
        }
        if now >= deadline {
            // What an expectation waits for is told by its verdict.
            moving.retain(|m| !m.starts_with("waiting for "));
            return Ok(moving);
        }
    }
}

async fn judge(scenario: &Scenario, step: &Step, world: &mut World, from: &Mark) -> Result<Vec<Verdict>, DriveError> {
    let facts = facts(scenario, world, from, step.expect.iter().chain(&step.never)).await?;
    let observed = world.observer.lock();
    let expected = step.expect.iter().map(|e| check(e, &observed, &facts));
    Ok(expected.chain(step.never.iter().map(|e| check_never(e, &observed, &facts))).collect())
}

async fn facts(
    scenario: &Scenario,
    world: &mut World,
    from: &Mark,
    expectations: impl Iterator<Item = &Placed<Expectation>>,
) -> Result<Facts, DriveError> {
    let (mut conditions, mut objects) = (BTreeMap::new(), BTreeMap::new());
    for expectation in expectations {
        if let Expectation::Shows { object, .. } = &expectation.value {
            let found = world.objects.get(object).await.map_err(|error| WorldError::Kubernetes(error.to_string()))?;
            objects.insert(object.to_string(), found);
        }
        if let Expectation::Conditions { object, .. } = &expectation.value
            && let Some(found) = world.objects.conditions(object).await.map_err(|error| WorldError::Kubernetes(error.to_string()))?
        {
            conditions.insert(object.to_string(), found);
        }
    }
    let hourly = world.hourly().await?;
    let spent = world.spent_since(from.at).await?;
    let since = |counts: BTreeMap<String, u64>, from: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
        counts.into_iter().map(|(operation, count)| (operation.clone(), count - from.get(&operation).copied().unwrap_or(0))).collect()
    };
    let calls = since(world.trace.calls(), &from.calls);
    let denied = since(world.trace.denied(), &from.denied);
    let observed = world.observer.lock();
    Ok(Facts {
        hourly,
        hourly_before: from.hourly.clone(),
        spent,
        calls,
        denied,
        launches: observed.launches - from.launches,
        disruptions: observed.disruptions - from.disruptions,
        since: from.at.unwrap_or_default(),
        ready_from: from.ready,
        initialized_from: from.initialized,
        evicted_from: from.evicted,
        lost_from: from.lost,
        order_from: from.order,
        told_from: from.told,
        conditions,
        objects,
        errors: world.controller_errors().split_off(from.errors),
        latency_factor: scenario.latency_factor(world.mode),
    })
}
