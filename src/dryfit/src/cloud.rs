//! `dryfit cloud`.

use clap::Args;
use harness::serve_cloud::{CloudOptions, serve};
use std::net::SocketAddr;
use std::process::ExitCode;

const AFTER: &str =
    "The account is fresh: a default VPC with a subnet per zone and a default security group, no roles, no clusters. Add what you need by
its own API calls. Any access key is welcome.

  dryfit cloud --listen 127.0.0.1:4566 &
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-west-2
  aws ec2 describe-subnets";

#[derive(Args)]
#[command(after_help = AFTER)]
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
}

pub fn run(arguments: &Arguments) -> ExitCode {
    if !arguments.listen.ip().is_loopback() {
        eprintln!(
            "{} is not a loopback address: this cloud checks no passwords, so it is served on 127.0.0.1 or [::1] alone",
            arguments.listen.ip()
        );
        return ExitCode::from(2);
    }
    let options = CloudOptions { listen: arguments.listen, region: arguments.region.clone(), seed: arguments.seed };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}
