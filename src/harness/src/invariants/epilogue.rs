//! Quiet minutes after a story that has settled, in which a controller that has nothing to do is seen to do nothing.

use super::{Rule, Watch, orphans};
use crate::drive::{self, DriveError};
use crate::scenario::Mode;
use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use planner::disruption::is_active;

const MINUTES: SignedDuration = SignedDuration::from_mins(3);
/// Offerings that could not be had are back after three minutes (`A/pkg/cache/cache.go`, UnavailableOfferingsTTL), and a pass that
/// found nothing is remembered for five (`C/pkg/controllers/state/cluster.go`, ConsolidationState).
const BACK: SignedDuration = SignedDuration::from_mins(3 + 5);

/// Lets the quiet minutes pass, in the embedded world, if there is nothing to do in them.
pub async fn epilogue(world: &mut World) -> Result<(), DriveError> {
    if let Some(why) = prepare(world).await? {
        world.observer.lock().watch.unjudged.insert(Rule::Quiet, why);
        return Ok(());
    }
    let churn = {
        let mut observed = world.observer.lock();
        observed.watch.quiet.armed = true;
        observed.watch.view.churn
    };
    let end = world.clock.now().saturating_add(MINUTES).unwrap_or(Timestamp::MAX);
    drive::pass(world, end).await?;
    let watch = &mut world.observer.lock().watch;
    watch.quiet.armed = false;
    watch.tick(end);
    if watch.view.churn != churn {
        watch.broken.retain(|broken| broken.rule != Rule::Quiet);
        watch.unjudged.insert(Rule::Quiet, "pods came or went by themselves in the minutes after the story".to_owned());
    }
    Ok(())
}

/// Why there may be something to do, if so. What has settled is planned once more.
async fn prepare(world: &mut World) -> Result<Option<String>, DriveError> {
    if world.mode == Mode::Wire {
        world
            .observer
            .lock()
            .watch
            .unjudged
            .insert(Rule::Replan, "a settled world is planned again in the embedded world alone".to_owned());
        return Ok(Some("in real time the minutes would be real".to_owned()));
    }
    // Garbage is collected by polling: it is not settled before.
    let patience = world.clock.now().saturating_add(orphans::BOUND).unwrap_or(Timestamp::MAX);
    while world.observer.lock().watch.orphans.present().next().is_some() && world.clock.now() <= patience {
        drive::pass(world, world.clock.now().saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)).await?;
        let now = world.clock.now();
        world.observer.lock().watch.tick(now);
    }
    let now = world.clock.now();
    let end = now.saturating_add(MINUTES).unwrap_or(Timestamp::MAX);
    if let Some(moving) = world.unsettled(end).await?.into_iter().next() {
        return Ok(Some(format!("the story ended unsettled: {moving}")));
    }
    if let Some(plan) = world.dry_plan().await {
        world.observer.lock().watch.planned_again(&plan, now);
    }
    if world.faults_move(now, end).await? {
        return Ok(Some("a fault ends or does something in the minutes after the story".to_owned()));
    }
    Ok(world.observer.lock().watch.to_come(now, end))
}

impl Watch {
    /// What a controller will have to do by itself between two instants.
    fn to_come(&self, now: Timestamp, end: Timestamp) -> Option<String> {
        if let Some((name, _)) = self.view.claims.iter().find(|(_, claim)| claim.deleting) {
            return Some(format!("NodeClaim {name} is going"));
        }
        if let Some((name, _)) = self.view.claims.iter().find(|(_, claim)| claim.expires.is_some_and(|at| at <= end)) {
            return Some(format!("NodeClaim {name} expires in the minutes after the story"));
        }
        if self.last_refusal.is_some_and(|at| now.duration_since(at) < BACK) {
            return Some("offerings that were not to be had come back in the minutes after the story".to_owned());
        }
        let lost =
            self.view.claims.iter().find(|(_, c)| c.instance.as_ref().is_some_and(|id| self.view.machines.get(id).is_none_or(|m| !m.on)));
        if let Some((name, _)) = lost {
            return Some(format!("NodeClaim {name} has lost its machine and is garbage"));
        }
        let moments: Vec<Timestamp> = (0..=MINUTES.as_mins()).filter_map(|m| now.checked_add(SignedDuration::from_mins(m)).ok()).collect();
        let opens = |budget: &planner::input::Budget| {
            let states: Vec<bool> = moments.iter().map(|at| is_active(budget, *at).unwrap_or(false)).collect();
            states.windows(2).any(|pair| pair[0] != pair[1])
        };
        let pool = self.view.pools.iter().find(|(_, pool)| pool.budgets.iter().any(opens))?;
        Some(format!("a budget of NodePool {} begins or ends in the minutes after the story", pool.0))
    }
}
