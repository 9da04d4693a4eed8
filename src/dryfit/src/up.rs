//! `dryfit up`.

use clap::Args;
use harness::serve_kube::{KubeOptions, serve};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "The cluster is fresh, with its controllers, a scheduler and nodes that run pods; it lives until the process ends.

  dryfit up --kube-only --kubeconfig /tmp/kubeconfig &
  export KUBECONFIG=/tmp/kubeconfig
  kubectl create deployment web --image nginx --replicas 3
  kubectl get pods -o wide";

#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// Serve Kubernetes alone, without a cloud
    #[arg(long, required = true)]
    kube_only: bool,
    /// Loopback address and port; port 0 picks a free one and prints it
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Where the kubeconfig is written; a file that is not from an earlier run stays
    #[arg(long, value_name = "FILE", default_value = "dryfit.kubeconfig")]
    kubeconfig: PathBuf,
    /// Nodes, each with four CPUs, 16 GiB and a kubelet that only says that it runs pods
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=5000))]
    nodes: u32,
    /// Roles and bindings decide what service accounts and impersonated users may do
    #[arg(long)]
    rbac: bool,
    /// Leave scheduling and everything else to a kube-scheduler and a kube-controller-manager that you start
    #[arg(long)]
    without_controllers: bool,
    /// Serve on an address that others can reach; whoever has the kubeconfig may do everything
    #[arg(long)]
    allow_remote: bool,
    /// Seed of uids, names and delays
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    if !arguments.listen.ip().is_loopback() && !arguments.allow_remote {
        eprintln!("{} is not a loopback address; --allow-remote serves it all the same", arguments.listen.ip());
        return ExitCode::from(2);
    }
    let options = KubeOptions {
        listen: arguments.listen,
        kubeconfig: arguments.kubeconfig.clone(),
        nodes: arguments.nodes,
        seed: arguments.seed,
        rbac: arguments.rbac,
        controllers: !arguments.without_controllers,
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}
