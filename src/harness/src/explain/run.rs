//! Runs a scenario for the sake of its record.

use crate::drive::{self, DriveError};
use crate::scenario::Scenario;
use crate::world::{self, World, WorldOptions};

/// The trace of a run, and whether all was as expected: a run ends with the first step that fails.
#[derive(Clone, Debug)]
pub struct Ran {
    pub trace: String,
    pub held: bool,
}

/// Runs the scenario in the embedded world, in virtual time, and keeps its trace.
pub fn run(scenario: &Scenario) -> Result<Ran, DriveError> {
    let options = WorldOptions::default();
    let runtime = world::runtime(&options)?;
    let ran = runtime.block_on(async {
        world::validate(scenario).await?;
        let mut world = World::build(scenario, &options, true).await?;
        let moving = drive::begin(scenario, &mut world).await?;
        world.begin_story().await?;
        let mut held = moving.is_empty();
        if held {
            let (steps, always) = drive::steps(scenario, &mut world).await?;
            held = steps.len() == scenario.steps.len() && steps.iter().all(drive::StepReport::held) && always.iter().all(|v| v.held);
        }
        // What the machines cost is told with the account.
        world.account().await?;
        let trace = world.trace.text();
        world.end().await;
        Ok(Ran { trace, held })
    });
    runtime.shutdown_background();
    ran
}
