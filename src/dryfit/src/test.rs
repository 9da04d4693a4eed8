//! `dryfit test`.

use clap::{Args, ValueEnum};
use harness::report::{self, Report};
use harness::run::{self, Options};
use harness::world::{Cluster, Controller, WorldOptions};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str =
    "Exit codes: 0 all held; 1 an expectation failed; 2 a scenario or the command line is wrong; 3 the environment failed; 4 nothing ran.

Examples:
  dryfit test scenarios/                                        every scenario, embedded world, virtual time
  dryfit test scenarios/workshops/eks-workshop/lab.yaml         one, with its whole timeline
  dryfit test lab.yaml --trace lab.trace                        with every request, reply and decision
  dryfit test lab.yaml --cluster local                          on a real API server on loopback, in real time
  dryfit test lab.yaml --controller command:/path/to/karpenter    with that controller instead of ours, on the embedded API server
  dryfit test lab.yaml --cluster local --controller command:/path/to/karpenter    the same on a real one";

#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// Scenario files, or folders to search for them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Seed of everything that is drawn, instead of the scenario's own
    #[arg(long)]
    seed: Option<u64>,
    /// Write every request and reply on both wires, every decision and their times, one JSON object a line (a folder for several scenarios)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How to tell the outcome
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the outcome there instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only scenarios whose name or tag contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// List the scenarios and run none
    #[arg(long)]
    list: bool,
    /// Where Kubernetes comes from: `embedded` (virtual time; with another controller than ours, real time on a loopback socket), or `local`
    /// (real etcd, API server, scheduler and controller manager as child processes, in real time)
    #[arg(long, default_value = "embedded", value_parser = cluster)]
    cluster: Cluster,
    /// Which controller: `built-in`; `process`, the same as a process of its own, in real time; or `command:PATH` of an unmodified
    /// Karpenter
    #[arg(long, default_value = "built-in", value_parser = controller)]
    controller: Controller,
    /// Folder with the control plane's binaries (else $DRYFIT_CONTROL_PLANE, else what ci/judges/build made)
    #[arg(long, value_name = "DIR")]
    control_plane: Option<PathBuf>,
    /// Keep the logs of child processes there
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Scenarios at a time
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Crash the built-in controller before or after one of its numbered effects, as `before:17`, and start it again
    #[arg(long, value_name = "POINT", value_parser = harness::world::crash_point)]
    crash_at: Option<harness::CrashPoint>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Junit,
}

fn cluster(text: &str) -> Result<Cluster, String> {
    match text {
        "embedded" => Ok(Cluster::Embedded),
        "local" => Ok(Cluster::Local),
        _ => Err("known: embedded, local".to_owned()),
    }
}

fn controller(text: &str) -> Result<Controller, String> {
    match text.split_once(':') {
        None if text == "built-in" => Ok(Controller::BuiltIn),
        None if text == "process" => Ok(Controller::Process),
        Some(("command", path)) if !path.is_empty() => Ok(Controller::Command(PathBuf::from(path))),
        _ => Err("known: built-in, process, command:PATH".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let read = run::find(&arguments.paths).and_then(|paths| run::read_all(&paths));
    let mut scenarios = match read {
        Ok(scenarios) => scenarios,
        Err(mistakes) => {
            eprint!("{}", mistakes.render(std::io::stderr().is_terminal()));
            return ExitCode::from(2);
        }
    };
    if let Some(filter) = &arguments.filter {
        scenarios.retain(|s| s.name.contains(filter) || s.tags.iter().any(|tag| tag.contains(filter)));
    }
    if scenarios.is_empty() {
        eprintln!("no scenario found: a scenario is a YAML file that begins with `scenario: a-name`");
        return ExitCode::from(4);
    }
    if arguments.list {
        let lines = scenarios.iter().map(|it| format!("{}  {}  [{}]\n", it.name, it.path.display(), it.tags.join(", ")));
        return crate::print::print(&lines.collect::<String>());
    }
    let options = Options { seed: arguments.seed, trace: arguments.trace.clone(), world: world(arguments), jobs: arguments.jobs };
    if std::env::var_os(run::CHILD).is_some() {
        return tell_parent(&run::one(&scenarios[0], &options));
    }
    let reports = if let [only] = scenarios.as_slice() {
        vec![run::one(only, &options)]
    } else {
        run::all(&scenarios, &options, &child_arguments(arguments))
    };
    match tell(&reports, arguments, colour) {
        Ok(()) => ExitCode::from(run::exit_code(&reports)),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(3)
        }
    }
}

fn world(arguments: &Arguments) -> WorldOptions {
    WorldOptions {
        cluster: arguments.cluster,
        controller: arguments.controller.clone(),
        control_plane: arguments.control_plane.clone(),
        logs: arguments.logs.clone(),
        crash_at: arguments.crash_at,
        tamper: None,
    }
}

fn tell_parent(report: &Report) -> ExitCode {
    let code = ExitCode::from(report.outcome.code());
    match serde_json::to_string(report) {
        Ok(text) => crate::print::print_and(&text, code),
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            code
        }
    }
}

/// The command line of a child: this one's without paths, filter, output and format.
fn child_arguments(arguments: &Arguments) -> Vec<String> {
    let mut words = vec!["test".to_owned()];
    if let Some(seed) = arguments.seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    }
    if arguments.cluster == Cluster::Local {
        words.extend(["--cluster".to_owned(), "local".to_owned()]);
    }
    let controller = match &arguments.controller {
        Controller::BuiltIn => None,
        Controller::Process => Some("process".to_owned()),
        Controller::Command(path) => Some(format!("command:{}", path.display())),
    };
    if let Some(controller) = controller {
        words.extend(["--controller".to_owned(), controller]);
    }
    if let Some(folder) = &arguments.control_plane {
        words.extend(["--control-plane".to_owned(), folder.display().to_string()]);
    }
    if let Some(folder) = &arguments.logs {
        words.extend(["--logs".to_owned(), folder.display().to_string()]);
    }
    if let Some(point) = arguments.crash_at {
        words.extend(["--crash-at".to_owned(), harness::world::crash_text(point)]);
    }
    words
}

fn tell(reports: &[Report], arguments: &Arguments, colour: bool) -> Result<(), String> {
    let colour = colour && arguments.output.is_none();
    let text = match arguments.format {
        Format::Json => serde_json::to_string_pretty(reports).map_err(|error| format!("write JSON: {error}"))? + "\n",
        Format::Junit => report::junit(reports).map_err(|error| format!("write JUnit: {error}"))?,
        Format::Text => {
            let stories = reports.iter().map(|r| report::text(r, colour)).collect::<Vec<_>>().join("\n");
            format!("{stories}\n{}", report::summary(reports, colour))
        }
    };
    match &arguments.output {
        Some(file) => {
            std::fs::write(file, text).map_err(|error| format!("write {}: {error}", file.display()))?;
            eprint!("{}", report::summary(reports, false));
            Ok(())
        }
        // A closed pipe (`| head`) is the reader's choice.
        None => match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("print: {error}")),
            _ => Ok(()),
        },
    }
}
