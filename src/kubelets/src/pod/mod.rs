//! A pod's life by the clock, and the status that tells it.
//!
//! [`View`] is the little of a Pod that its kubelet needs; [`Life`] is when what happens to it, drawn once; [`Life::stage`] is pure.
//! [`Appetite`] is what decides who goes when a node is short of something.

pub mod critical;
pub mod environment;
mod life;
mod pressure;
mod process;
pub mod runs;
mod status;
#[cfg(test)]
mod tests;
mod words;

pub use life::{Images, Life, Stage};
pub use pressure::{Appetite, PRESSURES, Shortage};
pub use process::{Kind as ProbeKind, Process, Real};
pub use runs::{Program, Restart};
pub use status::status;
pub use words::{next as next_word, words};

use crate::admission::Applicant;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Lifecycle, Pod, PodCondition, Probe, Volume};

/// What a kubelet needs of a Pod; small, for there may be many.
#[derive(Clone, Debug)]
pub struct View {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Of the object as it was last seen.
    pub version: String,
    pub node: String,
    pub host_network: bool,
    /// In order; sidecars among them.
    pub init: Vec<ContainerView>,
    pub containers: Vec<ContainerView>,
    pub restart: Restart,
    /// Conditions that somebody else must make true before the pod is ready.
    pub gates: Vec<String>,
    pub conditions: Vec<PodCondition>,
    /// From the status; empty before the first.
    pub ip: String,
    pub phase: String,
    pub ready: bool,
    /// Set when the deletion was asked for: when the grace period ends.
    pub deletion: Option<Deletion>,
    /// `terminationGracePeriodSeconds`.
    pub grace: SignedDuration,
    /// `activeDeadlineSeconds`: so long after `status.startTime` it ends.
    pub active: Option<SignedDuration>,
    /// `status.startTime`, once it is told.
    pub started: Option<Timestamp>,
    pub appetite: Box<Appetite>,
    /// What its admission looks at; only of a pod that is new.
    pub applicant: Option<Box<Applicant>>,
    /// Its PersistentVolumeClaims, ephemeral ones by the name that their controller gives them.
    pub claims: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// The latest moment at which the containers live.
    pub deadline: Timestamp,
    pub grace: SignedDuration,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ContainerView {
    pub name: String,
    pub image: String,
    /// `imagePullPolicy: Always`.
    pub always_pulls: bool,
    /// An init container that keeps running (`restartPolicy: Always`).
    pub sidecar: bool,
    /// From the container's start to its readiness, by its probes.
    pub readiness: SignedDuration,
    /// What `preStop` sleeps.
    pub pre_stop: SignedDuration,
    /// When it ends by itself.
    pub program: Option<Program>,
    /// Of one that is a real process.
    pub real: Option<Box<Real>>,
}

impl View {
    /// `None` when the pod is on no node, or has no identity.
    pub fn of(pod: &Pod) -> Option<View> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        let annotated = pod.metadata.annotations.as_ref().and_then(|notes| runs::annotated(notes.get(runs::ENDS)?));
        let containers = spec.containers.iter().map(ContainerView::of);
        let ending = |container: ContainerView| ContainerView { program: container.program.or(annotated), ..container };
        let conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
        let deletion = pod.metadata.deletion_timestamp.as_ref().map(|time| Deletion {
            deadline: time.0,
            grace: SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0)),
        });
        Some(View {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            version: pod.metadata.resource_version.clone().unwrap_or_default(),
            node: spec.node_name.clone().filter(|name| !name.is_empty())?,
            host_network: spec.host_network.unwrap_or(false),
            init: spec.init_containers.iter().flatten().map(ContainerView::of).collect(),
            containers: containers.map(ending).collect(),
            restart: Restart::of(spec.restart_policy.as_deref()),
            gates: spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone()).collect(),
            ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            conditions,
            ip: status.and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
            phase: status.and_then(|status| status.phase.clone()).unwrap_or_default(),
            deletion,
            grace: SignedDuration::from_secs(spec.termination_grace_period_seconds.unwrap_or(30).max(0)),
            active: spec.active_deadline_seconds.map(SignedDuration::from_secs),
            started: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
            appetite: Box::new(Appetite::of(pod)),
            applicant: None,
            claims: claims(pod),
        })
    }

    /// The same, with those containers as real processes whose image is meant by `runs`. Init containers stay hollow.
    pub fn with_processes(mut self, pod: &Pod, runs: impl Fn(&str) -> bool) -> View {
        let specs = pod.spec.iter().flat_map(|spec| &spec.containers);
        for (container, spec) in self.containers.iter_mut().zip(specs).filter(|(container, _)| runs(&container.image)) {
            (container.real, container.program) = (Some(Box::new(Real::of(pod, spec))), None);
        }
        self
    }

    /// The same with what its admission looks at.
    #[must_use]
    pub fn with_applicant(self, pod: &Pod) -> View {
        View { applicant: Applicant::of(pod).map(Box::new), ..self }
    }

    /// When it has been active for as long as it may.
    pub fn deadline(&self, life: &Life) -> Option<Timestamp> {
        self.active.and_then(|active| self.started.unwrap_or(life.accepted).checked_add(active).ok())
    }

    /// It has come to its end; only its deletion is left to confirm.
    pub fn is_over(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }
}

fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(named), _) => Some(named.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
        (None, None) => None,
    };
    volumes.filter_map(claim).collect()
}

impl ContainerView {
    fn of(container: &Container) -> ContainerView {
        let startup = container.startup_probe.as_ref().map_or(SignedDuration::ZERO, |probe| success(probe, 1));
        let readiness = container.readiness_probe.as_ref();
        let readiness = readiness.map_or(SignedDuration::ZERO, |probe| success(probe, probe.success_threshold.unwrap_or(1)));
        ContainerView {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            always_pulls: container.image_pull_policy.as_deref() == Some("Always"),
            sidecar: container.restart_policy.as_deref() == Some("Always"),
            readiness: startup.saturating_add(readiness),
            pre_stop: container.lifecycle.as_ref().map_or(SignedDuration::ZERO, pre_stop),
            program: runs::program(container),
            real: None,
        }
    }
}

/// When a probe has succeeded often enough, if each attempt succeeds at once. Source: kubernetes `pkg/kubelet/prober/worker.go`.
fn success(probe: &Probe, threshold: i32) -> SignedDuration {
    let period = i64::from(probe.period_seconds.unwrap_or(10).max(1));
    let repeats = i64::from(threshold.max(1)) - 1;
    SignedDuration::from_secs(i64::from(probe.initial_delay_seconds.unwrap_or(0).max(0)) + repeats * period)
}

/// `sleep: { seconds }`, or `exec` of `sleep N`; other hooks are taken to be quick.
fn pre_stop(lifecycle: &Lifecycle) -> SignedDuration {
    let Some(hook) = &lifecycle.pre_stop else { return SignedDuration::ZERO };
    let seconds = match (&hook.sleep, &hook.exec) {
        (Some(sleep), _) => sleep.seconds,
        (None, Some(exec)) => {
            let line = exec.command.clone().unwrap_or_default().join(" ");
            let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || c == ';').collect();
            let after = words.iter().skip_while(|word| !word.ends_with("sleep")).nth(1);
            after.and_then(|count| count.parse().ok()).unwrap_or(0)
        }
        (None, None) => 0,
    };
    SignedDuration::from_secs(seconds.max(0))
}
