//! Plans a world from a file, once and cold: `benchmark FILE`, where `ci/oracle/benchmark/run` writes the file.
//! With a second argument it plans so many times, for a profiler.

use planner::output::PodOutcome;
use planner::{Offerings, Options, Snapshot};
use serde::Deserialize;
use std::error::Error;

#[derive(Deserialize)]
struct World {
    snapshot: Snapshot,
    offerings: Offerings,
    options: Options,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: benchmark FILE [TIMES]")?;
    let times: usize = arguments.next().map_or(Ok(1), |times| times.parse())?;
    let World { mut snapshot, offerings, options } = serde_json::from_slice(&std::fs::read(file)?)?;
    snapshot.pending.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    for _ in 0..times {
        let start = std::time::Instant::now();
        let (plan, explanation) = planner::plan(&snapshot, &offerings, jiff::Timestamp::UNIX_EPOCH, &options);
        let took = start.elapsed();
        let price: f64 = plan.launches.iter().map(|launch| launch.instance_types[0].price.dollars()).sum();
        let refused = explanation.pods.iter().filter(|verdict| matches!(verdict.outcome, PodOutcome::Unschedulable(_))).count();
        println!(
            "planner:  {} pods in {:.3} s, {} NodeClaims at ${price:.2}/h, {refused} pods refused",
            snapshot.pending.len(),
            took.as_secs_f64(),
            plan.launches.len()
        );
    }
    Ok(())
}
