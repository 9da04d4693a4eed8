//! `dryfit explain`.

use clap::{Args, ValueEnum};
use harness::drive::DriveError;
use harness::explain::{self, At, Question, Record};
use harness::scenario;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const AFTER: &str =
    "RUN is a trace that `dryfit test --trace FILE` wrote, or a scenario: then it is run first (embedded world, virtual time).
Names may be unique prefixes; a NodeClaim's name stands for its node, and the other way round.

Exit codes: 0 answered; 2 the question, the scenario or the trace is wrong; 3 the environment failed.

Examples:
  dryfit explain node/ip-192-168-37-73 lab.yaml                  at the end of the run
  dryfit explain node/default-h6b2h --at 3m20s lab.yaml          by its NodeClaim, 200 s after the story began
  dryfit explain pod/other/inflate-9cdff6db-cc55w --at 30s lab.trace
  dryfit explain nodepool/default lab.trace --format json";

#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// node/NAME, nodeclaim/NAME, nodepool/NAME, ec2nodeclass/NAME or pod/NAMESPACE/NAME
    #[arg(value_name = "OBJECT", value_parser = question)]
    question: Question,
    /// A trace file, or a scenario file to run
    run: PathBuf,
    /// The time in the story, as the timeline counts it: 3m20s, 80.5s [default: the end of the run]
    #[arg(long, value_name = "TIME", value_parser = at, allow_hyphen_values = true)]
    at: Option<At>,
    /// Seed of everything that is drawn, instead of the scenario's own
    #[arg(long)]
    seed: Option<u64>,
    /// How to answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn question(text: &str) -> Result<Question, String> {
    text.parse().map_err(|error: explain::Error| error.to_string())
}

fn at(text: &str) -> Result<At, String> {
    text.parse()
}

/// A message for people, and the exit code.
struct Failed(String, u8);

pub fn run(arguments: &Arguments) -> ExitCode {
    match answer(arguments) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            // A closed pipe (`| head`) is the reader's choice.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("print: {error}");
                ExitCode::from(3)
            }
            _ => ExitCode::SUCCESS,
        },
        Err(Failed(message, code)) => {
            eprintln!("{}", message.trim_end());
            ExitCode::from(code)
        }
    }
}

fn answer(arguments: &Arguments) -> Result<String, Failed> {
    let path = &arguments.run;
    let text = std::fs::read_to_string(path).map_err(|error| Failed(format!("{} cannot be read: {error}", path.display()), 2))?;
    let trace = if text.trim_start().starts_with('{') {
        if arguments.seed.is_some() {
            return Err(Failed("--seed is for a scenario: a trace has its seed".to_owned(), 2));
        }
        text
    } else {
        ran(path, arguments.seed)?
    };
    let wrong = |error: explain::Error| Failed(format!("{}: {error}", path.display()), 2);
    let record = Record::read(&trace).map_err(wrong)?;
    let answer = explain::explain(&record, &arguments.question, arguments.at).map_err(wrong)?;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match arguments.format {
        Format::Text => Ok(explain::text(&answer, colour)),
        Format::Json => {
            serde_json::to_string_pretty(&answer).map(|json| json + "\n").map_err(|error| Failed(format!("write JSON: {error}"), 3))
        }
    }
}

/// The trace of the scenario's run.
fn ran(path: &Path, seed: Option<u64>) -> Result<String, Failed> {
    let terminal = std::io::stderr().is_terminal();
    let mut scenario = scenario::read(path).map_err(|mistakes| Failed(mistakes.render(terminal), 2))?;
    scenario.seed = seed.unwrap_or(scenario.seed);
    let ran = explain::run(&scenario).map_err(|error| match error {
        DriveError::Mistakes(mistakes) => Failed(mistakes.render(terminal), 2),
        DriveError::World(error) => Failed(error.to_string(), 3),
    })?;
    if !ran.held {
        eprintln!("note: an expectation of {} did not hold, and the run ended with that step", path.display());
    }
    Ok(ran.trace)
}
