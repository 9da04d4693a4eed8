//! The command line. No logic: it reads words, calls the harness, prints what it says and exits with its code.

mod catalog;
mod cloud;
mod controller;
mod explain;
mod print;
mod test;
mod up;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A simulation is a million small objects: a third of its time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What will my node autoscaler do? Answered before it costs money.
#[derive(Parser)]
#[command(name = "dryfit", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenario files and say whether their expectations hold
    Test(test::Arguments),
    /// Answer why: why this type, why not consolidated, why Pending
    Explain(explain::Arguments),
    /// Serve a fake AWS account on a loopback port
    Cloud(cloud::Arguments),
    /// Instance types, offerings and prices: listed, compared, read from an account
    Catalog(catalog::Arguments),
    /// Run the controller itself, against the cluster and the account of the environment
    Controller(controller::Arguments),
    /// Print Karpenter's CustomResourceDefinitions, for kubectl apply
    Crds,
    /// Serve an embedded Kubernetes to kubectl and controllers
    Up(up::Arguments),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes.
            let wrong = error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if wrong { 2 } else { 0 });
        }
    };
    match cli.command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Cloud(arguments) => cloud::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Controller(arguments) => controller::run_until_ended(&arguments),
        Command::Crds => print::print(&format!("{:#}", operator::definitions())),
        Command::Up(arguments) => up::run(&arguments),
    }
}
