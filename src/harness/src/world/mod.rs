//! Builds a scenario's world and answers for it: a cluster, a cloud, kubelets, a controller, and someone who watches.

mod build;
pub(crate) mod inject;
pub(crate) mod machines;
mod operator;
mod running;

pub use operator::{crash_point, crash_text};
pub use running::Running;

use crate::objects::Objects;
use crate::observe::Observer;
use crate::pump::{Ended, Line};
use crate::report::Costs;
use crate::scenario::{Mode, Scenario};
use crate::timeline::{Entry, Event};
use crate::trace::Trace;
use crate::{local, scenario};
use ambient::Clock;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::task::JoinSet;
use vocabulary::UsdPerHour;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cluster {
    /// In this process: in virtual time with the built-in controller, on a loopback socket and in real time with another.
    #[default]
    Embedded,
    /// Real components as child processes on loopback, in real time.
    Local,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    #[default]
    BuiltIn,
    /// Ours as a process of its own, as an operator runs it.
    Process,
    /// An unmodified Karpenter binary.
    Command(PathBuf),
}

impl Controller {
    /// The program and its arguments, of one that is a process.
    fn program(&self) -> Option<std::io::Result<(PathBuf, Vec<String>)>> {
        match self {
            Controller::BuiltIn => None,
            Controller::Process => Some(std::env::current_exe().map(|path| (path, vec!["controller".to_owned()]))),
            Controller::Command(path) => Some(Ok((path.clone(), Vec::new()))),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    pub cluster: Cluster,
    pub controller: Controller,
    /// Where the control plane's binaries lie.
    pub control_plane: Option<PathBuf>,
    /// Where the logs of child processes are kept.
    pub logs: Option<PathBuf>,
    /// Our controller crashes there once, and is started again.
    pub crash_at: Option<controller::CrashPoint>,
    /// Our controller is sabotaged so: for tests of what judges it.
    pub tamper: Option<controller::Tamper>,
}

impl WorldOptions {
    pub fn mode(&self) -> Mode {
        match (self.cluster, &self.controller) {
            (Cluster::Embedded, Controller::BuiltIn) => Mode::Sim,
            (Cluster::Embedded, Controller::Command(_) | Controller::Process) | (Cluster::Local, _) => Mode::Wire,
        }
    }
}

/// The surroundings failed; this says nothing about what was to be judged.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("the cluster: {0}")]
    Kubernetes(String),
    #[error("the cloud: {0}")]
    Cloud(String),
    #[error("this machine: {0}")]
    Machine(String),
    #[error("{0}")]
    Local(#[from] local::Error),
    #[error("the controller: {0}")]
    Controller(String),
    /// Of the scenario, which shows only when its world is built.
    #[error("{0}")]
    Mistakes(crate::scenario::Mistakes),
}

impl From<Ended> for WorldError {
    fn from(ended: Ended) -> Self {
        WorldError::Cloud(ended.to_string())
    }
}

/// A world in which a scenario runs. Dropping it ends everything in it.
pub struct World {
    pub mode: Mode,
    pub clock: Clock,
    pub observer: Observer,
    pub trace: Trace,
    pub objects: Objects,
    aws: Line<fake_ec2::Cloud>,
    kube: Option<Line<fake_kube::Kube>>,
    kubelets: kubelets::Handle,
    controller: Running,
    control_plane: Option<local::ControlPlane>,
    /// Removed with the world unless the logs are to be kept.
    _folder: Option<tempfile::TempDir>,
    tasks: JoinSet<&'static str>,
    story: Timestamp,
    own_prices: bool,
    /// How Spot prices come about, in words.
    spot_source: &'static str,
    region: String,
    /// The interruption queue, if there is one.
    queue: Option<String>,
    /// Faults that are or were in force.
    forces: Vec<inject::InForce>,
}

/// The runtime that a world needs: virtual time has its own.
pub fn runtime(options: &WorldOptions) -> Result<tokio::runtime::Runtime, WorldError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    match options.mode() {
        Mode::Sim => builder.enable_time().start_paused(true),
        Mode::Wire => builder.enable_all(),
    };
    builder.build().map_err(|error| WorldError::Machine(error.to_string()))
}

/// Applies every manifest of the scenario to an empty embedded cluster, so that what an API server would refuse is found before
/// anything runs.
pub async fn validate(scenario: &Scenario) -> Result<(), crate::drive::DriveError> {
    build::validate(scenario).await
}

impl World {
    pub async fn build(scenario: &Scenario, options: &WorldOptions, traced: bool) -> Result<World, WorldError> {
        build::world(scenario, options, traced).await
    }

    /// In words, what could still move by itself; of what is only due some day, what comes before `horizon`.
    pub async fn unsettled(&mut self, horizon: Timestamp) -> Result<Vec<String>, WorldError> {
        let mut moving = self.aws.visit(|cloud, _| cloud.unsettled()).await?;
        if let Some(kube) = &self.kube {
            moving.extend(kube.visit(|kube, _| kube.unsettled()).await?);
        }
        moving.extend(self.kubelets.unsettled());
        moving.extend(self.controller.unsettled());
        moving.extend(self.controller.upcoming().into_iter().filter(|(at, _)| *at < horizon).map(|(_, what)| what));
        if self.mode == Mode::Wire {
            moving.extend(self.observer.lock().moving());
        }
        Ok(moving)
    }

    /// An error when a part of the world has ended that should not have.
    pub fn alive(&mut self) -> Result<(), WorldError> {
        if let Some(control_plane) = &self.control_plane {
            control_plane.check()?;
        }
        self.controller.check()?;
        match self.tasks.try_join_next() {
            Some(Ok(name)) => Err(WorldError::Machine(format!("{name} ended early"))),
            Some(Err(error)) => Err(WorldError::Machine(format!("a part of the world broke: {error}"))),
            None => Ok(()),
        }
    }

    /// What runs costs per hour: all under `None`, and by pool.
    pub async fn hourly(&self) -> Result<BTreeMap<Option<String>, UsdPerHour>, WorldError> {
        let machines = self.aws.visit(|cloud, now| machines::priced(cloud, now)).await?;
        let mut sums: BTreeMap<Option<String>, UsdPerHour> = BTreeMap::from([(None, UsdPerHour::ZERO)]);
        for (machine, price) in machines {
            *sums.entry(None).or_default() += price;
            if let Some(pool) = machine.tags.get(vocabulary::labels::NODEPOOL) {
                *sums.entry(Some(pool.clone())).or_default() += price;
            }
        }
        Ok(sums)
    }

    /// What our controller would plan now.
    pub async fn dry_plan(&self) -> Option<planner::Plan> {
        let handle = self.controller.handle()?;
        // A controller that has just crashed does not answer.
        tokio::select! {
            biased;
            plan = handle.dry_plan() => plan,
            () = self.clock.sleep(jiff::SignedDuration::from_secs(1)) => None,
        }
    }

    /// How often our controller crashed, as it was told to.
    pub fn crashes(&self) -> u64 {
        self.controller.crashes()
    }

    /// The controller's ERROR lines so far.
    pub fn controller_errors(&self) -> Vec<String> {
        self.controller.errors()
    }

    /// Dollars that the machines have cost since an instant.
    pub async fn spent_since(&self, from: Option<Timestamp>) -> Result<f64, WorldError> {
        let (now, from) = (self.clock.now(), from.unwrap_or(self.story));
        let spent = self.aws.visit(move |cloud, _| cloud.state().ledger().iter().map(|entry| cloud.state().spent(entry, from, now)).sum());
        Ok(spent.await?)
    }

    /// From here on times count.
    pub async fn begin_story(&mut self) -> Result<(), WorldError> {
        self.story = self.clock.now();
        self.time_standing_faults().await?;
        self.observer.lock().timeline.begin(self.story);
        self.trace.record(self.story, "story", || serde_json::json!({"began": self.story}));
        Ok(())
    }

    /// The timeline with prices, the story's length and what it cost.
    pub async fn account(&self) -> Result<(Vec<Entry>, f64, Costs), WorldError> {
        let now = self.clock.now();
        let story = self.story;
        let visited = self.aws.visit(move |cloud, now| {
            let ledger = cloud.state().ledger();
            let spent: f64 = ledger.iter().map(|entry| cloud.state().spent(entry, story, now)).sum();
            (machines::priced(cloud, now), ledger.to_vec(), spent)
        });
        let (machines, ledger, spent) = visited.await?;
        let mut entries = self.observer.lock().timeline.entries.clone();
        let prices: BTreeMap<&str, UsdPerHour> =
            ledger.iter().map(|entry| (entry.instance_id.as_str(), machines::ledger_price(entry))).collect();
        self.trace.record(now, "bill", || serde_json::json!(prices));
        for entry in &mut entries {
            if let Event::Launched { instance, price, .. } = &mut entry.event {
                *price = prices.get(instance.as_str()).map(ToString::to_string);
            }
        }
        let mut hourly: BTreeMap<String, UsdPerHour> = BTreeMap::new();
        for (machine, price) in machines {
            let pool =
                machine.tags.get(vocabulary::labels::NODEPOOL).map_or_else(|| "other nodes".to_owned(), |pool| format!("pool {pool}"));
            *hourly.entry(pool).or_default() += price;
        }
        let acts = self.observer.lock().history.acts(self.story);
        for entry in &mut entries {
            if let Event::NodeDisrupted { node, command, .. } = &mut entry.event {
                let of = |act: &&crate::acts::Act| act.nodes.iter().any(|machine| machine.node == *node);
                // Nodes that are marked in one command are tainted within moments of its beginning.
                let begun = acts.iter().filter(of).rfind(|act| act.at <= entry.at.as_secs_f64() + 2.0);
                *command = begun.or_else(|| acts.iter().find(of)).map(ToString::to_string);
            }
        }
        let costs = Costs {
            hourly: hourly.into_iter().map(|(pool, price)| (pool, price.dollars())).collect(),
            spent,
            source: machines::price_source(&self.region, self.own_prices, self.spot_source),
        };
        Ok((entries, now.duration_since(self.story).as_secs_f64(), costs))
    }

    pub fn describe(&self) -> String {
        let kubernetes = match self.mode {
            Mode::Sim => "embedded Kubernetes, virtual time",
            Mode::Wire if self.kube.is_some() => "embedded Kubernetes on a socket, real time",
            Mode::Wire => "local control plane, real time",
        };
        format!("{} on {kubernetes}", self.controller.name())
    }

    /// Ends everything, children first.
    /// Writes the controller's metrics into `metrics.txt`, if it answers.
    pub async fn keep_metrics(&self, folder: &std::path::Path) -> Result<(), WorldError> {
        let Some(text) = self.controller.metrics().await else { return Ok(()) };
        let file = folder.join("metrics.txt");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
        written.map_err(|error| WorldError::Machine(format!("write the metrics {}: {error}", file.display())))
    }

    pub async fn end(mut self) {
        self.controller.end();
        self.tasks.shutdown().await;
    }
}

/// Settings of the fake account for a scenario.
fn cloud_config(
    scenario: &scenario::Scenario,
    seed: u64,
    queue_url_base: Option<String>,
    cluster_endpoint: Option<String>,
) -> fake_ec2::Config {
    let aws = &scenario.given.aws;
    let prices = aws.prices.iter().map(|(instance_type, price)| fake_ec2::state::OnDemandPrice {
        region: None,
        instance_type: instance_type.clone(),
        per_hour: machines::micro_usd(*price),
    });
    let mut config = fake_ec2::Config {
        seed,
        region: aws.region.clone(),
        keys: controller_keys(aws),
        world: fake_ec2::state::Settings {
            on_demand_prices: prices.collect(),
            spot_prices: aws.spot.prices.clone(),
            spot: aws.spot.market.clone(),
            queue_url_base,
            cluster_endpoint,
            iam: aws.iam.mode,
            service_control_policies: aws.iam.service_control_policies.clone(),
            quotas: aws.quotas.clone(),
            ..Default::default()
        },
        ..Default::default()
    };
    if let Some(file) = &aws.catalogue {
        file.apply(&mut config.world);
    }
    config
}

/// The role that a controller has where policies decide.
fn controller_role(cluster: &str) -> String {
    format!("KarpenterControllerRole-{cluster}")
}

/// Where policies decide, a controller's key speaks for its role; any other is the account's root, as it is where they do not.
fn controller_keys(aws: &scenario::Aws) -> BTreeMap<String, fake_ec2::config::AccessKey> {
    if aws.iam.mode == fake_ec2::state::IamMode::Off {
        return BTreeMap::new();
    }
    let key = fake_ec2::config::AccessKey {
        secret: String::new(),
        session_token: None,
        principal: format!("arn:aws:sts::123456789012:assumed-role/{}/karpenter", controller_role(&aws.cluster)),
        user_id: "AROADRYFITCONTROLLER:karpenter".to_owned(),
    };
    CONTROLLER_KEYS.iter().map(|id| ((*id).to_owned(), key.clone())).collect()
}

/// Keys that the controllers sign with: an unmodified Karpenter's and our simulated one's, our own on sockets.
const CONTROLLER_KEYS: [&str; 2] = ["AKIAIOSFODNN7EXAMPLE", "AKIADRYFITCONTROLLER"];
