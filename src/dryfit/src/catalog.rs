//! `dryfit catalog`.

use crate::print::{print, print_and};
use clap::{Args, Subcommand};
use harness::catalogue::{self, File, Wanted};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "A catalogue is a file that refresh wrote, or a region's name for what is built in. Only us-east-1's on-demand prices are AWS's own there;
other regions' and all Spot prices are derived. A file goes to dryfit cloud --catalog FILE, and to a scenario's given.aws.catalog.

  dryfit catalog list us-west-2 --types 'm5.*' --spot
  dryfit catalog refresh --region eu-west-1 --output eu-west-1.json
  dryfit catalog diff eu-west-1 eu-west-1.json";

#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Types with their zones and prices
    List(List),
    /// What differs between two catalogues; exit code 1 if anything does
    Diff(Diff),
    /// Reads types, offerings and prices of an account's region into a file; credentials, region and AWS_ENDPOINT_URL as for every AWS tool
    Refresh(Refresh),
}

#[derive(Args)]
struct List {
    /// A catalogue's file, or a region
    #[arg(default_value = "us-west-2")]
    catalogue: String,
    /// Only these types; * stands for any letters
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// Only what these zones offer
    #[arg(long, value_delimiter = ',')]
    zones: Vec<String>,
    /// x86_64, arm64
    #[arg(long)]
    architecture: Option<String>,
    /// Exactly so many vCPUs
    #[arg(long)]
    vcpus: Option<u64>,
    /// At most so many dollars per hour, on demand, or with --spot as Spot
    #[arg(long, value_name = "DOLLARS")]
    most: Option<f64>,
    /// Only what is sold as Spot
    #[arg(long)]
    spot: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Diff {
    /// A catalogue's file, or a region
    before: String,
    after: String,
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Refresh {
    /// The environment's unless it is given
    #[arg(long)]
    region: Option<String>,
    /// The file to write
    #[arg(long)]
    output: PathBuf,
}

fn wrong(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

pub fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::List(asked) => list(asked),
        Command::Diff(asked) => diff(asked),
        Command::Refresh(asked) => refresh(asked),
    }
}

fn list(asked: &List) -> ExitCode {
    let file = match catalogue::open(&asked.catalogue) {
        Ok(file) => file,
        Err(error) => return wrong(error),
    };
    let wanted = Wanted {
        types: asked.types.clone(),
        zones: asked.zones.clone(),
        architecture: asked.architecture.clone(),
        vcpus: asked.vcpus,
        most: asked.most,
        spot: asked.spot,
    };
    let rows = catalogue::list(&file, &wanted);
    if asked.json {
        return print(&format!("{:#}", rows.iter().map(catalogue::Row::to_json).collect::<serde_json::Value>()));
    }
    print(&format!("{}{} types of {} ({})", catalogue::table(&rows), rows.len(), file.region, file.source))
}

fn diff(asked: &Diff) -> ExitCode {
    let open = |named: &str| -> Result<File, ExitCode> { catalogue::open(named).map_err(wrong) };
    let (before, after) = match (open(&asked.before), open(&asked.after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let changes = catalogue::diff(&before, &after);
    let text = if asked.json {
        format!("{:#}", changes.iter().map(catalogue::Change::to_json).collect::<serde_json::Value>())
    } else {
        let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
        format!("{lines}{} differences", changes.len())
    };
    print_and(&text, if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn refresh(asked: &Refresh) -> ExitCode {
    let file = match catalogue::refresh(asked.region.as_deref()) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(3);
        }
    };
    if let Err(error) = std::fs::write(&asked.output, file.to_text()) {
        eprintln!("{} cannot be written: {error}", asked.output.display());
        return ExitCode::from(3);
    }
    let priced = file.types.values().filter(|offer| offer.on_demand.is_some()).count();
    print(&format!("{}: {} types of {}, {priced} with an on-demand price", asked.output.display(), file.types.len(), file.region))
}
