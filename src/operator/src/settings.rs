//! What an operator sets, under upstream's names, with upstream's defaults and refusals.
//!
//! Sources: `C/pkg/operator/options/options.go`, `A/pkg/operator/options/{options,options_validation}.go`.

use jiff::SignedDuration;
use planner::input::{MinValuesPolicy, PreferencePolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One setting: its environment variable, whose name in small letters and dashes is the flag.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    /// Nothing here depends on it; it is read and checked, so that a chart written for upstream starts.
    pub idle: bool,
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, help, idle: false }
}

const fn idle(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, help, idle: true }
}

/// All of them, in the order in which the help shows them.
pub const SETTINGS: &[Setting] = &[
    setting("CLUSTER_NAME", "", "Name of the cluster; required"),
    setting("CLUSTER_ENDPOINT", "", "URL that nodes reach the API server at; asked of EKS when unset"),
    setting("CLUSTER_CA_BUNDLE", "", "Authority of the API server for nodes, base64; that of this process's own connection when unset"),
    setting("INTERRUPTION_QUEUE", "", "SQS queue of interruptions; none: they are not handled"),
    setting("ISOLATED_VPC", "false", "The price list and IAM are out of reach"),
    setting("VM_MEMORY_OVERHEAD_PERCENT", "0.075", "Memory that the hypervisor keeps, as a fraction"),
    setting("RESERVED_ENIS", "0", "Network interfaces that pods cannot use"),
    setting("DISABLE_DRY_RUN", "false", "Take every NodeClass for valid"),
    setting("BATCH_IDLE_DURATION", "1s", "A batch of pods closes when none came for so long"),
    setting("BATCH_MAX_DURATION", "10s", "A batch of pods closes after so long"),
    setting("PREFERENCE_POLICY", "Respect", "Respect or Ignore pods' preferences"),
    setting("MIN_VALUES_POLICY", "Strict", "Strict or BestEffort about minValues"),
    setting(
        "FEATURE_GATES",
        "",
        "ReservedCapacity, SpotToSpotConsolidation, NodeOverlay, StaticCapacity, NodeRepair, as NAME=true or NAME=false",
    ),
    setting("DISABLE_LEADER_ELECTION", "false", "Work without a lease"),
    setting("LEADER_ELECTION_NAME", controller::LeaderElection::NAME, "Name of the lease"),
    setting("LEADER_ELECTION_NAMESPACE", "", "Namespace of the lease; that of the pod when unset"),
    setting("METRICS_PORT", "8080", "Port of /metrics; 0: a free one"),
    setting("HEALTH_PROBE_PORT", "8081", "Port of /healthz and /readyz; 0: a free one"),
    setting("LOG_LEVEL", "info", "debug, info or error"),
    setting("LOG_OUTPUT_PATHS", "stdout", "Where log lines go: stdout, stderr or files, with commas between"),
    setting("LOG_ERROR_OUTPUT_PATHS", "stderr", "Where the logger's own errors go"),
    setting("DISABLE_CLUSTER_STATE_OBSERVABILITY", "false", "Leave out metrics of single pods and nodes"),
    idle("KARPENTER_SERVICE", "", "Name of the Service"),
    setting("KUBE_CLIENT_QPS", "200", "Requests to the API server per second, watches aside; negative: no limit"),
    setting("KUBE_CLIENT_BURST", "300", "Requests to the API server at once"),
    idle("ENABLE_PROFILING", "false", "Profiles of the process on the metrics port"),
    idle("DISABLE_CONTROLLER_WARMUP", "true", "Fill caches only once leading"),
    idle("MEMORY_LIMIT", "-1", "Memory of the container, in bytes"),
    idle("CPU_REQUESTS", "1000", "CPU of the container, in thousandths"),
    idle("IGNORE_DRA_REQUESTS", "true", "Leave pods with resource claims alone"),
    setting("EKS_CONTROL_PLANE", "false", "Ask EKS for the cluster's version"),
    setting("ENABLE_ZONAL_SHIFT", "false", "Avoid zones that ARC shifted away from"),
    setting("AMI_REFRESH_INTERVAL", "1m", "How often AMIs are looked up"),
    setting("SUBNET_REFRESH_INTERVAL", "1m", "How often subnets are looked up"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Error,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// The settings, read.
#[derive(Clone, Debug)]
pub struct Options {
    pub controller: controller::Settings,
    pub cloud: cloud::Settings,
    pub leader_election: bool,
    pub leader_election_name: String,
    /// `None`: the pod's own.
    pub leader_election_namespace: Option<String>,
    pub metrics_port: u16,
    pub probe_port: u16,
    pub log_level: LogLevel,
    pub log_outputs: Vec<Output>,
    pub log_error_outputs: Vec<Output>,
    /// Of the process's client.
    pub kube_client_qps: i64,
    pub kube_client_burst: i64,
    /// Settings that were given and change nothing here, for the log.
    pub without_effect: Vec<&'static str>,
}

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct Mistake {
    pub name: String,
    pub what: String,
}

fn mistake(name: &str, what: impl Into<String>) -> Mistake {
    Mistake { name: name.to_owned(), what: what.into() }
}

impl Options {
    /// Reads settings by their environment names. What is not given has its default; an empty value counts as not given. All mistakes at
    /// once; without `CLUSTER_NAME` there is one.
    pub fn read(given: &BTreeMap<String, String>) -> Result<Options, Vec<Mistake>> {
        let name = given.get("CLUSTER_NAME").cloned().unwrap_or_default();
        let mut options = Options {
            controller: controller::Settings::new(&name),
            cloud: cloud::Settings::new(&name),
            leader_election: true,
            leader_election_name: controller::LeaderElection::NAME.to_owned(),
            leader_election_namespace: None,
            metrics_port: 8080,
            probe_port: 8081,
            log_level: LogLevel::Info,
            log_outputs: vec![Output::Stdout],
            log_error_outputs: vec![Output::Stderr],
            kube_client_qps: 200,
            kube_client_burst: 300,
            without_effect: Vec::new(),
        };
        let mut mistakes = options.apply(given).err().unwrap_or_default();
        if name.is_empty() {
            mistakes.insert(0, mistake("CLUSTER_NAME", "is required: the name of the cluster that nodes join"));
        }
        if mistakes.is_empty() { Ok(options) } else { Err(mistakes) }
    }

    /// Changes what `given` names, and leaves the rest.
    pub fn apply(&mut self, given: &BTreeMap<String, String>) -> Result<(), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        for (name, value) in given.iter().filter(|(_, value)| !value.is_empty()) {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
                let near = SETTINGS.iter().map(|s| s.name).max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
                mistakes.push(mistake(name, format!("there is no such setting; is {} meant?", near.unwrap_or("another"))));
                continue;
            };
            if setting.idle && value != setting.default {
                self.without_effect.push(setting.name);
            }
            if let Err(what) = self.set(name, value) {
                mistakes.push(mistake(name, what));
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "CLUSTER_NAME" => {
                value.clone_into(&mut self.controller.cluster_name);
                value.clone_into(&mut self.cloud.cluster_name);
            }
            "CLUSTER_ENDPOINT" => {
                let url: Option<http::Uri> = value.parse().ok();
                if !url.is_some_and(|url| url.scheme().is_some() && url.host().is_some()) {
                    return Err(format!("{value:?} is no absolute URL; write https://HOST"));
                }
                self.cloud.cluster_endpoint = Some(value.to_owned());
            }
            "CLUSTER_CA_BUNDLE" => {
                self.controller.cluster_ca = Some(value.to_owned());
                self.cloud.cluster_ca = Some(value.to_owned());
            }
            "INTERRUPTION_QUEUE" => {
                self.controller.interruption_queue = Some(value.to_owned());
                self.cloud.interruption_queue = Some(value.to_owned());
            }
            "ISOLATED_VPC" => {
                self.controller.isolated_vpc = truth(value)?;
                self.cloud.isolated_vpc = self.controller.isolated_vpc;
            }
            "VM_MEMORY_OVERHEAD_PERCENT" => {
                let fraction = value.parse().ok().filter(|f: &f64| f.is_finite() && *f >= 0.0);
                self.cloud.vm_memory_overhead_percent =
                    fraction.ok_or_else(|| format!("{value:?} is no fraction of zero or more, like 0.075"))?;
            }
            "RESERVED_ENIS" => self.cloud.reserved_enis = whole(value)?,
            "DISABLE_DRY_RUN" => {
                self.controller.disable_dry_run = truth(value)?;
                self.cloud.disable_dry_run = self.controller.disable_dry_run;
            }
            "BATCH_IDLE_DURATION" => self.controller.batch_idle = duration(value)?,
            "BATCH_MAX_DURATION" => self.controller.batch_max = duration(value)?,
            "PREFERENCE_POLICY" => {
                self.controller.options.preference_policy = match value {
                    "Respect" => PreferencePolicy::Respect,
                    "Ignore" => PreferencePolicy::Ignore,
                    _ => return Err(format!("{value:?} is neither Respect nor Ignore")),
                }
            }
            "MIN_VALUES_POLICY" => {
                self.controller.options.min_values_policy = match value {
                    "Strict" => MinValuesPolicy::Strict,
                    "BestEffort" => MinValuesPolicy::BestEffort,
                    _ => return Err(format!("{value:?} is neither Strict nor BestEffort")),
                };
                self.cloud.min_values_best_effort = value == "BestEffort";
            }
            "FEATURE_GATES" => return self.gates(value),
            "DISABLE_LEADER_ELECTION" => self.leader_election = !truth(value)?,
            "LEADER_ELECTION_NAME" => value.clone_into(&mut self.leader_election_name),
            "LEADER_ELECTION_NAMESPACE" => self.leader_election_namespace = Some(value.to_owned()),
            "METRICS_PORT" => self.metrics_port = whole(value)?,
            "HEALTH_PROBE_PORT" => self.probe_port = whole(value)?,
            "LOG_LEVEL" => {
                self.log_level = match value {
                    "debug" => LogLevel::Debug,
                    "info" => LogLevel::Info,
                    "error" => LogLevel::Error,
                    _ => return Err(format!("{value:?} is none of debug, info, error")),
                }
            }
            "LOG_OUTPUT_PATHS" => self.log_outputs = outputs(value),
            "LOG_ERROR_OUTPUT_PATHS" => self.log_error_outputs = outputs(value),
            "DISABLE_CLUSTER_STATE_OBSERVABILITY" => self.controller.observability = !truth(value)?,
            "EKS_CONTROL_PLANE" => self.cloud.eks_control_plane = truth(value)?,
            "ENABLE_ZONAL_SHIFT" => {
                self.controller.zonal_shift = truth(value)?;
                self.cloud.zonal_shift = self.controller.zonal_shift;
            }
            "ENABLE_PROFILING" | "DISABLE_CONTROLLER_WARMUP" | "IGNORE_DRA_REQUESTS" => return truth(value).map(drop),
            "MEMORY_LIMIT" | "CPU_REQUESTS" => return whole::<i64>(value).map(drop),
            "KUBE_CLIENT_QPS" => self.kube_client_qps = whole(value)?,
            "KUBE_CLIENT_BURST" => self.kube_client_burst = whole(value)?,
            "AMI_REFRESH_INTERVAL" => self.cloud.ami_refresh = refresh(value)?,
            "SUBNET_REFRESH_INTERVAL" => self.cloud.subnet_refresh = refresh(value)?,
            _ => {}
        }
        Ok(())
    }

    /// `SpotToSpotConsolidation=true,ReservedCapacity=false`. Unknown gates are ignored, as upstream does; what exists there and not
    /// here can only be off.
    fn gates(&mut self, text: &str) -> Result<(), String> {
        for gate in text.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
            let wrong = || format!("{gate:?} is not NAME=true or NAME=false");
            let (name, value) = gate.split_once('=').ok_or_else(wrong)?;
            let value = truth(value.trim()).map_err(|_| wrong())?;
            let options = &mut self.controller.options;
            match name.trim() {
                "SpotToSpotConsolidation" => options.spot_to_spot_consolidation = value,
                "ReservedCapacity" => (options.reserved_capacity, self.cloud.reserved_capacity) = (value, value),
                "StaticCapacity" => self.controller.static_capacity = value,
                "NodeOverlay" => self.controller.node_overlay = value,
                "NodeRepair" => self.controller.node_repair = value,
                name @ "CapacityBuffer" if value => {
                    return Err(format!("the gate {name} cannot be turned on: it is not built yet"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What Go's `strconv.ParseBool` reads (`C/pkg/utils/env/env.go`). Where upstream takes the default for anything else, this refuses.
fn truth(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{value:?} is neither true nor false")),
    }
}

fn whole<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value:?} is no whole number in range"))
}

fn outputs(value: &str) -> Vec<Output> {
    let output = |path: &str| match path.trim() {
        "stdout" => Output::Stdout,
        "stderr" => Output::Stderr,
        file => Output::File(file.into()),
    };
    value.split(',').filter(|path| !path.trim().is_empty()).map(output).collect()
}

/// At least a minute (`A/pkg/operator/options/options_validation.go`).
fn refresh(value: &str) -> Result<SignedDuration, String> {
    duration(value)
        .and_then(|span| if span < SignedDuration::from_mins(1) { Err(format!("{value:?} is less than a minute")) } else { Ok(span) })
}

fn duration(value: &str) -> Result<SignedDuration, String> {
    let span = api::duration::parse_go(value).ok_or_else(|| format!("{value:?} is no duration, like 10s or 1m30s"))?;
    if span.is_negative() { Err(format!("{value:?} is negative")) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_setting_takes_its_default() {
        let mut all: BTreeMap<String, String> = SETTINGS.iter().map(|s| (s.name.to_owned(), s.default.to_owned())).collect();
        all.insert("CLUSTER_NAME".into(), "lab".into());
        let read = Options::read(&all).expect("defaults");
        let plain = Options::read(&given(&[("CLUSTER_NAME", "lab")])).expect("nothing but the name");
        assert_eq!(format!("{read:?}"), format!("{plain:?}"));
        assert_eq!(read.without_effect, Vec::<&str>::new());
    }

    #[test]
    fn what_is_set_arrives() {
        let options = Options::read(&given(&[
            ("CLUSTER_NAME", "lab"),
            ("BATCH_MAX_DURATION", "1m30s"),
            ("PREFERENCE_POLICY", "Ignore"),
            ("MIN_VALUES_POLICY", "BestEffort"),
            ("INTERRUPTION_QUEUE", "q"),
            ("ISOLATED_VPC", "true"),
            ("FEATURE_GATES", "NodeOverlay=true, ReservedCapacity=false,NodeRepair=true,CapacityBuffer=false,Unheard=true"),
            ("LOG_OUTPUT_PATHS", "stderr,/tmp/x.log"),
            ("KUBE_CLIENT_QPS", "50"),
            ("KUBE_CLIENT_BURST", "-1"),
            ("ENABLE_ZONAL_SHIFT", "true"),
            ("EKS_CONTROL_PLANE", "true"),
            ("DISABLE_CLUSTER_STATE_OBSERVABILITY", "true"),
            ("AMI_REFRESH_INTERVAL", "10m"),
            ("SUBNET_REFRESH_INTERVAL", "1h"),
            ("LOG_ERROR_OUTPUT_PATHS", "/tmp/errors.log"),
            ("MEMORY_LIMIT", "1000"),
            ("DISABLE_LEADER_ELECTION", "true"),
        ]))
        .expect("settings");
        assert_eq!(options.controller.batch_max, SignedDuration::from_secs(90));
        assert_eq!(options.controller.options.preference_policy, PreferencePolicy::Ignore);
        assert_eq!(options.controller.options.min_values_policy, MinValuesPolicy::BestEffort);
        assert!(options.cloud.min_values_best_effort && options.cloud.isolated_vpc && options.controller.isolated_vpc);
        assert_eq!((options.controller.interruption_queue.as_deref(), options.cloud.interruption_queue.as_deref()), (Some("q"), Some("q")));
        assert_eq!((options.controller.node_overlay, options.controller.options.reserved_capacity), (true, false));
        assert_eq!(options.log_outputs, [Output::Stderr, Output::File("/tmp/x.log".into())]);
        assert_eq!(options.log_error_outputs, [Output::File("/tmp/errors.log".into())]);
        assert_eq!((options.kube_client_qps, options.kube_client_burst), (50, -1));
        assert!(options.controller.zonal_shift && options.cloud.zonal_shift && options.cloud.eks_control_plane);
        assert!(!options.controller.observability);
        assert_eq!(options.cloud.ami_refresh, SignedDuration::from_mins(10));
        assert_eq!(options.cloud.subnet_refresh, SignedDuration::from_hours(1));
        assert_eq!(options.without_effect, ["MEMORY_LIMIT"]);
        assert!(!options.leader_election);
    }

    #[rstest]
    #[case("CLUSTER_ENDPOINT", "example.com", r#"CLUSTER_ENDPOINT: "example.com" is no absolute URL; write https://HOST"#)]
    #[case("VM_MEMORY_OVERHEAD_PERCENT", "-1", r#"VM_MEMORY_OVERHEAD_PERCENT: "-1" is no fraction of zero or more, like 0.075"#)]
    #[case("RESERVED_ENIS", "-1", r#"RESERVED_ENIS: "-1" is no whole number in range"#)]
    #[case("BATCH_IDLE_DURATION", "soon", r#"BATCH_IDLE_DURATION: "soon" is no duration, like 10s or 1m30s"#)]
    #[case("BATCH_IDLE_DURATION", "-1s", r#"BATCH_IDLE_DURATION: "-1s" is negative"#)]
    #[case("PREFERENCE_POLICY", "respect", r#"PREFERENCE_POLICY: "respect" is neither Respect nor Ignore"#)]
    #[case("MIN_VALUES_POLICY", "Loose", r#"MIN_VALUES_POLICY: "Loose" is neither Strict nor BestEffort"#)]
    #[case("LOG_LEVEL", "warn", r#"LOG_LEVEL: "warn" is none of debug, info, error"#)]
    #[case("ISOLATED_VPC", "yes", r#"ISOLATED_VPC: "yes" is neither true nor false"#)]
    #[case("METRICS_PORT", "70000", r#"METRICS_PORT: "70000" is no whole number in range"#)]
    #[case("AMI_REFRESH_INTERVAL", "30s", r#"AMI_REFRESH_INTERVAL: "30s" is less than a minute"#)]
    #[case("FEATURE_GATES", "NodeOverlay", r#"FEATURE_GATES: "NodeOverlay" is not NAME=true or NAME=false"#)]
    #[case("FEATURE_GATES", "CapacityBuffer=true", "FEATURE_GATES: the gate CapacityBuffer cannot be turned on: it is not built yet")]
    #[case("BATCH_MAX", "1s", "BATCH_MAX: there is no such setting; is BATCH_MAX_DURATION meant?")]
    fn mistakes_name_the_setting_and_the_remedy(#[case] name: &str, #[case] value: &str, #[case] expected: &str) {
        let mistakes = Options::read(&given(&[("CLUSTER_NAME", "lab"), (name, value)])).expect_err("a mistake");
        assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let mistakes = Options::read(&given(&[("LOG_LEVEL", "x"), ("RESERVED_ENIS", "y")])).expect_err("mistakes");
        assert_eq!(mistakes.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["CLUSTER_NAME", "LOG_LEVEL", "RESERVED_ENIS"]);
    }
}
