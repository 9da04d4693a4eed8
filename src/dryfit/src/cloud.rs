//! `dryfit cloud`.

use crate::print::{print, print_and};
use clap::{Args, Subcommand};
use harness::serve_cloud::{self, CloudOptions, IamMode, ServeError, serve};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str =
    "The account is fresh: a default VPC with a subnet per zone and a default security group, no roles, no clusters. Add what you need by
its own API calls. Any access key is welcome, and is the account's root unless IAM or STS gave it out; one of twelve digits is the root of
the account of that number, which has a world of its own.

  dryfit cloud --listen 127.0.0.1:4566 &
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export AWS_REGION=us-west-2 AWS_DEFAULT_REGION=us-west-2
  aws ec2 describe-subnets";

#[derive(Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Loopback address and port; port 0 picks a free one and prints it
    #[arg(long, default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// Region of calls that name none
    #[arg(long, default_value = "us-west-2")]
    region: String,
    /// Seed of ids and delays
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whether IAM's policies decide: off, log (refusals are noted, nothing is refused) or enforce
    #[arg(long, default_value = "off", value_parser = str::parse::<IamMode>)]
    iam: IamMode,
    /// Types, offerings and prices of the region, from a file that dryfit catalog refresh wrote
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// What Spot costs: still, moving, or '{moves: 20%, every: 6h, prices: {m5.large: $0.03}, trace: prices.csv}'
    #[arg(long, value_name = "WORDS")]
    spot: Option<String>,
    /// Keeps the state in this file, from which the next start goes on; survives being killed
    #[arg(long)]
    state: Option<PathBuf>,
    /// Token that the control (/_dryfit/…) asks for; without one only loopback is served
    #[arg(long)]
    token: Option<String>,
    /// The root user's key, ID:SECRET, or ID:SECRET@ACCOUNT of another account (may stand several times): signatures are checked from then
    /// on, and keys that nobody gave out are refused
    #[arg(long, value_name = "ID:SECRET[@ACCOUNT]")]
    key: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Why a request was denied: by which statement, or what lacks
    ExplainDenied(ExplainDenied),
    /// Controls a running cloud
    Ctl(Ctl),
}

#[derive(Args)]
struct Running {
    /// Address of the running cloud
    #[arg(long, global = true, default_value = "http://127.0.0.1:4566")]
    cloud: String,
    /// The control's token, if it has one
    #[arg(long, global = true)]
    token: Option<String>,
}

#[derive(Args)]
struct ExplainDenied {
    /// An encoded authorization failure message (read without a cloud), or a request's id; the latest refusal if absent
    what: Option<String>,
    #[command(flatten)]
    running: Running,
}

#[derive(Args)]
struct Ctl {
    #[command(flatten)]
    running: Running,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Faults that were put in force
    Faults,
    /// Puts faults in force, in a scenario's words: 'ice: {types: [m5.large], for: 10m}'
    Fault { words: String },
    /// Spot prices of the moment, of all types or of these; or says anew how they move
    Spot(Spot),
    /// What became of EventBridge's events: delivered or failed, by rule and target
    Deliveries,
    /// Whether policies decide; with a mode, changes it
    Iam { mode: Option<IamMode> },
    /// What policies refused, the latest first
    Denials,
    /// Instances as they are
    Machines,
}

#[derive(Args)]
struct Spot {
    types: Vec<String>,
    /// In the words of --spot: still, moving, '{moves: 20%}'
    #[arg(long, value_name = "WORDS", conflicts_with = "types")]
    set: Option<String>,
    /// Plays recorded prices, from now on: CSV or JSON lines
    #[arg(long, value_name = "FILE", conflicts_with_all = ["types", "set"])]
    trace: Option<PathBuf>,
}

impl Spot {
    /// Path and body of the request: `None` reads.
    fn request(&self) -> Result<(String, Option<String>), ExitCode> {
        if let Some(path) = &self.trace {
            let text = std::fs::read_to_string(path).map_err(|error| {
                eprintln!("{} cannot be read: {error}", path.display());
                ExitCode::from(2)
            })?;
            return Ok(("spot".into(), Some(serde_json::json!({ "trace": text }).to_string())));
        }
        match &self.set {
            Some(words) => Ok(("spot".into(), Some(words.clone()))),
            None => Ok((format!("spot?types={}", self.types.join(",")), None)),
        }
    }
}

pub fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        None => listen(arguments),
        Some(Command::ExplainDenied(asked)) => explain_denied(asked),
        Some(Command::Ctl(asked)) => control(asked),
    }
}

fn listen(arguments: &Arguments) -> ExitCode {
    if !arguments.listen.ip().is_loopback() && arguments.token.is_none() {
        eprintln!(
            "{} is not a loopback address, and whoever reaches it could control this cloud; give its control a token with --token",
            arguments.listen.ip()
        );
        return ExitCode::from(2);
    }
    let options = CloudOptions {
        listen: arguments.listen,
        region: arguments.region.clone(),
        seed: arguments.seed,
        iam: arguments.iam,
        spot: arguments.spot.clone(),
        catalogue: arguments.catalog.clone(),
        token: arguments.token.clone(),
        keys: arguments.key.clone(),
        state: arguments.state.clone(),
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, ServeError::Said(_)) { 2 } else { 3 })
        }
    }
}

/// Asks a running cloud; prints what is wrong, if anything is.
fn ask(running: &Running, method: &str, path: &str, body: &str) -> Result<Value, ExitCode> {
    let answered = serve_cloud::ask(&running.cloud, method, path, body, running.token.as_deref()).map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(3)
    })?;
    let value: Value = serde_json::from_str(&answered.body).unwrap_or_default();
    if answered.status < 400 {
        return Ok(value);
    }
    let shown = value["shown"].as_str().or_else(|| value["error"].as_str());
    eprintln!("{}", shown.unwrap_or(&answered.body).trim_end());
    Err(ExitCode::from(2))
}

fn explain_denied(asked: &ExplainDenied) -> ExitCode {
    // A message is far longer than an id, and says all by itself. What stands before it in EC2's error is cut off.
    let words = asked.what.as_deref().map(|what| what.rsplit(char::is_whitespace).next().unwrap_or(what));
    if let Some(message) = words.filter(|words| words.len() > 64) {
        let Some(decoded) = serve_cloud::decode(message) else {
            eprintln!("this is no authorization failure message of a dryfit cloud");
            return ExitCode::from(2);
        };
        let context = &decoded.message["context"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lead = [text(&context["principal"]["arn"]), text(&context["action"]), text(&context["resource"])];
        return print(&denial(&lead, &decoded.why));
    }
    let path = words.map_or("/_dryfit/denials".to_owned(), |id| format!("/_dryfit/denials?request={id}"));
    let found = match ask(&asked.running, "GET", &path, "") {
        Ok(found) => found,
        Err(code) => return code,
    };
    let Some(latest) = found["denials"].get(0) else {
        let text = format!("nothing was denied{}", words.map(|id| format!(" to request {id}")).unwrap_or_default());
        return print_and(&text, ExitCode::from(1));
    };
    let text = |member: &str| latest[member].as_str().unwrap_or_default().to_owned();
    let why: Vec<String> = latest["why"].as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect();
    print(&denial(&[text("principal"), text("action"), text("resource")], &why))
}

fn denial([principal, action, resource]: &[String; 3], why: &[String]) -> String {
    let lines: String = why.iter().map(|line| format!("  - {line}\n")).collect();
    format!("{principal}\n  may not {action}\n  on {resource}\n{lines}")
}

fn control(asked: &Ctl) -> ExitCode {
    let read = |path: &str| ("GET", path.to_owned(), String::new());
    let (method, path, body) = match &asked.what {
        What::Faults => read("faults"),
        What::Fault { words } => ("POST", "faults".to_owned(), words.clone()),
        What::Spot(spot) => match spot.request() {
            Ok((path, None)) => read(&path),
            Ok((path, Some(body))) => ("PUT", path, body),
            Err(code) => return code,
        },
        What::Deliveries => read("deliveries"),
        What::Iam { mode: None } => read("iam"),
        What::Iam { mode: Some(mode) } => ("PUT", "iam".to_owned(), serde_json::json!({ "mode": mode }).to_string()),
        What::Denials => read("denials"),
        What::Machines => read("machines"),
    };
    match ask(&asked.running, method, &format!("/_dryfit/{path}"), &body) {
        Ok(value) => print(&format!("{value:#}")),
        Err(code) => code,
    }
}
