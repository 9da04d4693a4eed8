//! Runs many scenarios: each in a process of its own, side by side, told as one.

use crate::drive::{self, DriveError};
use crate::report::{Outcome, Report};
use crate::scenario::{self, Mistakes, Scenario};
use crate::world::{self, WorldOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The environment variable that tells a process to run one scenario and print its report as JSON.
pub const CHILD: &str = "DRYFIT_CHILD";

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub seed: Option<u64>,
    /// A file for one scenario, a folder for several.
    pub trace: Option<PathBuf>,
    pub world: WorldOptions,
    /// Scenarios at a time; as many as there are processors when `None`.
    pub jobs: Option<usize>,
}

/// Scenario files below the given paths, in order of their names; folders are searched. A YAML file is a scenario when its first
/// key is `scenario`: manifests lie beside them.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Mistakes> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, &mut found);
        } else {
            found.push(path.clone());
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn search(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        if path.is_dir() {
            search(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") && is_scenario(&path) {
            found.push(path);
        }
    }
}

fn is_scenario(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(str::trim_end)
        .find(|line| !line.is_empty() && !line.starts_with(['#', '-', ' ']))
        .is_some_and(|line| line.starts_with("scenario:"))
}

/// Reads them all; every mistake of every file at once.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Scenario>, Mistakes> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for path in paths {
        match scenario::read(path) {
            Ok(scenario) => good.push(scenario),
            Err(Mistakes(mistakes)) => bad.extend(mistakes),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(Mistakes(bad)) }
}

/// Runs one scenario in this process. The trace is written where the options say.
pub fn one(scenario: &Scenario, options: &Options) -> Report {
    let began = wall();
    let mut scenario = scenario.clone();
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    let path = scenario.path.display().to_string();
    let broken = |message: String| Report::not_run(&path, Outcome::Broken { message });
    let runtime = match world::runtime(&options.world) {
        Ok(runtime) => runtime,
        Err(error) => return broken(error.to_string()),
    };
    let mut report = match runtime.block_on(story(&scenario, options)) {
        Ok(report) => report,
        Err(DriveError::Mistakes(mistakes) | DriveError::World(world::WorldError::Mistakes(mistakes))) => {
            Report::not_run(&path, Outcome::Mistaken { message: mistakes.render(std::io::stderr().is_terminal()) })
        }
        Err(DriveError::World(error)) => broken(error.to_string()),
    };
    // Tasks that still wait are dropped with the runtime, children of the world with them.
    runtime.shutdown_background();
    report.wall_seconds = began.elapsed().as_secs_f64();
    report
}

#[expect(clippy::disallowed_methods, reason = "how long a run took on this machine is reported, never decided by")]
fn wall() -> std::time::Instant {
    std::time::Instant::now()
}

async fn story(scenario: &Scenario, options: &Options) -> Result<Report, DriveError> {
    world::validate(scenario).await?;
    let mut world = world::World::build(scenario, &options.world, options.trace.is_some()).await?;
    let told = tell(scenario, &mut world).await;
    if let Some(folder) = &options.world.logs {
        world.keep_metrics(folder).await?;
    }
    if let Some(file) = &options.trace {
        world.trace.record(world.clock.now(), "said", || serde_json::json!(world.observer.lock().said));
        std::fs::write(file, world.trace.text())
            .map_err(|error| world::WorldError::Machine(format!("write the trace {}: {error}", file.display())))?;
    }
    let mut report = told?;
    if let (Some(point), 0, Outcome::Held | Outcome::Failed) = (options.world.crash_at, world.crashes(), &report.outcome) {
        report.outcome = Outcome::Mistaken { message: format!("the crash point {point:?} was never reached: the run has fewer effects") };
    }
    world.end().await;
    Ok(report)
}

async fn tell(scenario: &Scenario, world: &mut world::World) -> Result<Report, DriveError> {
    let moving = drive::begin(scenario, world).await?;
    world.begin_story().await?;
    let (mut steps, always) = if moving.is_empty() { drive::steps(scenario, world).await? } else { (Vec::new(), Vec::new()) };
    if !moving.is_empty() {
        steps.push(drive::StepReport {
            actions: vec!["the world before the first step".to_owned()],
            seconds: 0.0,
            moving,
            verdicts: Vec::new(),
            acts: Vec::new(),
        });
    }
    let told = steps.len() == scenario.steps.len() && steps.iter().all(drive::StepReport::held);
    let (timeline, story_seconds, costs) = world.account().await?;
    let nodes = world.observer.lock().pool_nodes();
    if told {
        crate::invariants::epilogue(world).await?;
    }
    let invariants = world.observer.lock().invariants(&scenario.without);
    let held = told && always.iter().chain(&invariants).all(|v| v.held);
    Ok(Report {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        path: scenario.path.display().to_string(),
        world: world.describe(),
        seed: scenario.seed,
        outcome: if held { Outcome::Held } else { Outcome::Failed },
        steps,
        always,
        invariants,
        timeline,
        costs,
        nodes,
        story_seconds,
        wall_seconds: 0.0,
    })
}

/// Runs every scenario in its own process, `jobs` at a time, with progress on a terminal. Reports come in the order of the files.
/// `arguments` are the command line's own words for a child, before the file.
pub fn all(scenarios: &[Scenario], options: &Options, arguments: &[String]) -> Vec<Report> {
    let bar = ProgressBar::with_draw_target(
        Some(scenarios.len() as u64),
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
    );
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} scenarios  {msg}") {
        bar.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Report>>> = Mutex::new(vec![None; scenarios.len()]);
    let jobs =
        options.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).clamp(1, scenarios.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(index) else { return };
                    bar.set_message(scenario.name.clone());
                    let report = child(scenario, options, arguments);
                    if let Ok(mut done) = done.lock() {
                        done[index] = Some(report);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().flatten().collect()
}

fn child(scenario: &Scenario, options: &Options, arguments: &[String]) -> Report {
    let path = scenario.path.display().to_string();
    let broken = |message: String| Report::not_run(&path, Outcome::Broken { message });
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return broken(format!("this program cannot find itself: {error}")),
    };
    let mut command = Command::new(program);
    command.args(arguments).env(CHILD, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(folder) = &options.trace {
        let file = folder.join(format!("{}.trace", scenario.name));
        if let Err(error) = std::fs::create_dir_all(folder) {
            return broken(format!("make the folder {}: {error}", folder.display()));
        }
        command.arg("--trace").arg(file);
    }
    command.arg(&scenario.path);
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => return broken(format!("start a process: {error}")),
    };
    let mut errors = process.stderr.take();
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(pipe) = &mut errors {
            // What was read until a broken pipe is what there is.
            let _ = pipe.read_to_string(&mut text);
        }
        text
    });
    let output = process.wait_with_output();
    let said = said.join().unwrap_or_default();
    match output {
        Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let tail: String = said.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
            broken(format!("the run of {path} ended with {} and no report\n{tail}", output.status))
        }),
        Err(error) => broken(format!("the run of {path}: {error}")),
    }
}

/// The exit code of all: wrong input before a broken world before a failed expectation.
pub fn exit_code(reports: &[Report]) -> u8 {
    [2, 3, 1].into_iter().find(|code| reports.iter().any(|r| r.outcome.code() == *code)).unwrap_or(if reports.is_empty() { 4 } else { 0 })
}
