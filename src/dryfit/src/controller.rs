//! `dryfit controller`.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use operator::{Options, SETTINGS, run};
use std::collections::BTreeMap;
use std::process::ExitCode;

const AFTER: &str = "Every setting is a flag or an environment variable; the flag wins. The cluster is the one of KUBECONFIG, or the pod's own; the account that of
AWS's usual environment, AWS_ENDPOINT_URL included. SIGTERM ends it in good order.

  dryfit cloud --listen 127.0.0.1:4566 &
  dryfit up --kube-only --kubeconfig /tmp/kubeconfig &
  export KUBECONFIG=/tmp/kubeconfig AWS_ENDPOINT_URL=http://127.0.0.1:4566
  export AWS_REGION=us-west-2 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  dryfit crds | kubectl apply -f -
  dryfit controller --cluster-name lab --cluster-endpoint https://127.0.0.1:6443 --disable-leader-election=true
  curl localhost:8080/metrics";

/// Settings by their environment names.
pub struct Arguments(BTreeMap<String, String>);

fn flag(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let arguments = SETTINGS.iter().map(|setting| {
            let default = if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
            let idle = if setting.idle { "; read, and without effect" } else { "" };
            let help = format!("{}{idle}{default} [env: {}]", setting.help, setting.name);
            Arg::new(setting.name).long(flag(setting.name)).value_name("VALUE").help(help)
        });
        command.args(arguments).after_help(AFTER)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| matches.get_one::<String>(name).cloned().or_else(|| std::env::var(name).ok());
        Ok(Arguments(SETTINGS.iter().filter_map(|setting| Some((setting.name.to_owned(), given(setting.name)?))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub fn run_until_ended(arguments: &Arguments) -> ExitCode {
    let options = match Options::read(&arguments.0) {
        Ok(options) => options,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("{mistake} (flag --{})", flag(&mistake.name));
            }
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
