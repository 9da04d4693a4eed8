//! Puts a world together: cloud first, then the cluster, its nodes, and the controller last, as on a real account.

use super::machines::Board;
use super::operator::{Operator, Recipe};
use super::{Cluster, Running, World, WorldError, WorldOptions, cloud_config};
use crate::drive::DriveError;
use crate::furnish;
use crate::invariants;
use crate::local;
use crate::objects::{ObjectError, Objects};
use crate::observe::Observer;
use crate::pump::{self, Line};
use crate::scenario::{Action, DurationRange, Mistakes, Mode, Scenario};
use crate::serve_kube::Server;
use crate::trace::{Trace, Wire};
use crate::wires::{self, KubeService};
use ambient::{Clock, Entropy};
use base64::Engine as _;
use fake_ec2::state::EksLab;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinSet;

/// When virtual time begins: the day of Karpenter v1.14.1, so that nothing in a run is older than its controller.
const EPOCH: Timestamp = Timestamp::constant(1_787_184_000, 0);
/// How long a cluster may take until its first nodes and add-ons stand.
const FURNISHING: SignedDuration = SignedDuration::from_mins(20);
/// What the clusters of these worlds show as their authority; nobody verifies it in the embedded world.
const AUTHORITY: &str = "dryfit embedded authority";

pub async fn validate(scenario: &Scenario) -> Result<(), DriveError> {
    let kube = fake_kube::Kube::new(fake_kube::Config { seed: 0, start: EPOCH, ..Default::default() });
    let line = pump::start(kube, Clock::virtual_from(EPOCH), None, |_| {});
    let mut objects = Objects::new(KubeService::client(line));
    furnish::definitions(&mut objects).await?;
    let given = scenario.given.apply.iter();
    let later = scenario
        .steps
        .iter()
        .flat_map(|s| &s.actions)
        .filter_map(|a| if let Action::Apply(manifest) = &a.value { Some(manifest) } else { None });
    let mut mistakes = Vec::new();
    for manifest in given.chain(later) {
        match objects.apply(manifest).await {
            Ok(()) => {}
            Err(ObjectError::Refused(mistake)) => mistakes.push(*mistake),
            Err(other) => return Err(WorldError::Kubernetes(other.to_string()).into()),
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(DriveError::Mistakes(Mistakes(mistakes))) }
}

pub async fn world(scenario: &Scenario, options: &WorldOptions, traced: bool) -> Result<World, WorldError> {
    let mode = options.mode();
    let clock = match mode {
        Mode::Sim => Clock::virtual_from(EPOCH),
        Mode::Wire => Clock::machine(),
    };
    let trace = Trace::new(clock.now(), traced);
    let entropy = Entropy::from_seed(scenario.seed);
    seed_libraries(&entropy);
    let mut tasks = JoinSet::new();

    let (control_plane, folder) = match options.cluster {
        Cluster::Embedded => (None, None),
        Cluster::Local => {
            let asked = &scenario.given.kubernetes.version;
            if asked != LOCAL_VERSION {
                let message =
                    format!("the local control plane is {LOCAL_VERSION}, the scenario asks for {asked}; run it on the embedded one");
                return Err(WorldError::Machine(message));
            }
            let (control_plane, folder) = local_control_plane(options).await?;
            (Some(control_plane), folder)
        }
    };
    let aws_address = match mode {
        Mode::Sim => None,
        Mode::Wire => Some(
            wires::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
                .await
                .map_err(|error| WorldError::Machine(format!("listen on loopback: {error}")))?,
        ),
    };
    let aws_url = aws_address.as_ref().map(|(_, address)| format!("http://{address}"));
    let (served, folder) = match (options.cluster, mode) {
        (Cluster::Embedded, Mode::Wire) => {
            let (workdir, folder) = workdir(options)?;
            let kubeconfig = workdir.join("kubeconfig");
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let server = Server::open(address, &kubeconfig).await.map_err(|error| WorldError::Machine(error.to_string()))?;
            (Some((server, kubeconfig)), folder)
        }
        _ => (None, folder),
    };
    let endpoint = control_plane.as_ref().map(|plane| &plane.url).or(served.as_ref().map(|(server, _)| &server.url)).cloned();
    let wire = match (&control_plane, &served) {
        (Some(plane), _) => Some((plane.kubeconfig.clone(), plane.workdir.clone())),
        (None, Some((_, kubeconfig))) => Some((kubeconfig.clone(), kubeconfig.parent().map(Path::to_path_buf).unwrap_or_default())),
        (None, None) => None,
    };

    let observer = Observer::new(clock.clone());
    let board = Board::new(observer.clone());
    let aws = {
        let mut config = cloud_config(scenario, entropy.stream("fake-ec2").next_u64(), aws_url.clone(), endpoint.clone());
        if mode == Mode::Wire {
            // Real seconds are dear: the cloud's own delays shrink as the boots do.
            config.world.pending = fake_ec2::state::Delay::millis(300, 900);
            config.world.shutting_down = fake_ec2::state::Delay::millis(1_000, 3_000);
        }
        let mut cloud = fake_ec2::Cloud::new(config);
        furnish_account(&mut cloud, scenario, clock.now(), endpoint.clone())?;
        let watching = board.clone();
        let tap = invariants::tap(observer.clone(), Wire::Aws, trace.tap(Wire::Aws));
        pump::start(cloud, clock.clone(), Some(tap), move |cloud| watching.watch(cloud))
    };
    board.connect(aws.clone());
    if let Some((listener, _)) = aws_address {
        let line = aws.clone();
        tasks.spawn(async move {
            // Accepting fails only when the machine has no more sockets; the name tells which part ended.
            let _ = wires::serve(listener, line).await;
            "the cloud's server"
        });
    }

    let (client, kube) = match &control_plane {
        Some(plane) => (plane.client()?, None),
        None => {
            let seed = entropy.stream("fake-kube").next_u64();
            let version = format!("{}.3", scenario.given.kubernetes.version);
            // Somebody else's eyes are on what is served; in virtual time both would cost memory and time for nobody.
            let served_whole = mode == Mode::Wire;
            let (tokens, secret) = served.as_ref().map(|(server, _)| server.users()).unwrap_or_default();
            let root_ca = served.as_ref().map(|(server, _)| server.root_ca()).unwrap_or_default();
            let config = fake_kube::Config {
                seed,
                start: clock.now(),
                version,
                managed_fields: served_whole,
                service_accounts: served_whole,
                tokens,
                secret,
                root_ca,
                ..Default::default()
            };
            let mut kube = fake_kube::Kube::new(config);
            for controller in fake_kube::controllers::all(seed) {
                kube.add_controller(controller);
            }
            let tap = invariants::tap(observer.clone(), Wire::Kubernetes, trace.tap(Wire::Kubernetes));
            let line = pump::start(kube, clock.clone(), Some(tap), |_| {});
            if let Some((server, _)) = served {
                let line = line.clone();
                tasks.spawn(async move {
                    // Accepting fails only when the machine has no more sockets; the name tells which part ended.
                    let _ = server.serve(line).await;
                    "the API server"
                });
            }
            (KubeService::client(line.clone()), Some(line))
        }
    };
    let mut objects = Objects::new(client.clone());
    if control_plane.is_none() {
        furnish::definitions(&mut objects).await?;
    }
    spawn(&mut tasks, "the observer", observer.clone().run(client.clone()));

    let outside = Outside { aws_url, wire };
    let pods = controller_pods(scenario, options, &client, &clock, &outside)?;
    let (kubelets, handle) = kubelets::Kubelets::new(
        client.clone(),
        Arc::new(board),
        clock.clone(),
        entropy.child("kubelets"),
        // The real controller manager asks for volumes to be attached; nobody there does it.
        kubelets::Profile { volumes: control_plane.is_none(), ..profile(scenario, mode, &aws).await? },
    );
    let kubelets = match &pods {
        Some(pods) => kubelets.with_processes(Arc::new(pods.clone())),
        None => kubelets,
    };
    spawn(&mut tasks, "the kubelets", async move { kubelets.run().await });
    furnish::add_ons(&mut objects, &scenario.given).await?;
    let cluster_endpoint = cluster_endpoint(&aws, scenario).await?;
    if let Some(group) = &scenario.given.kubernetes.nodegroup {
        furnish::node_group(&aws, &scenario.given, group, &cluster_endpoint, &authority()).await?;
    }
    let mut world = World {
        mode,
        story: clock.now(),
        clock,
        observer,
        trace,
        objects,
        aws,
        kube,
        kubelets: handle,
        controller: Running::None,
        control_plane,
        _folder: folder,
        tasks,
        own_prices: !scenario.given.aws.prices.is_empty(),
        spot_source: spot_source(&scenario.given.aws.spot),
        region: scenario.given.aws.region.clone(),
        queue: scenario.given.aws.queue_name(),
        forces: Vec::new(),
    };
    stands(&mut world).await?;
    world.stand(&scenario.given.aws).await?;
    if let Some(pods) = pods {
        world.controller = Running::Pods { pods, upstream: matches!(options.controller, super::Controller::Command(_)) };
        return Ok(world);
    }
    let client = world.kube.clone().map_or(client, |line| KubeService::client_of(line, invariants::CONTROLLER));
    start_controller(&mut world, scenario, options, client, &entropy, outside, cluster_endpoint).await?;
    Ok(world)
}

fn spot_source(spot: &crate::scenario::spot::Spot) -> &'static str {
    match (spot.market.trace.is_some(), spot.market.moves.is_some(), spot.prices.is_empty()) {
        (true, _, _) => "Spot prices are played from a trace where it names a pool",
        (_, true, _) => "Spot prices are derived and move by the seed",
        (_, _, false) => "Spot prices are the scenario's own where it names a type, else derived",
        _ => "Spot prices are derived",
    }
}

fn spawn(tasks: &mut JoinSet<&'static str>, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        work.await;
        name
    });
}

/// Libraries that draw on their own (back-off jitter, ids) draw from our seed. Real time has no use for it, and loses nothing.
#[expect(clippy::disallowed_methods, reason = "chance that libraries use by themselves is owned here")]
fn seed_libraries(entropy: &Entropy) {
    fastrand::seed(entropy.stream("libraries").next_u64());
}

fn authority() -> String {
    base64::engine::general_purpose::STANDARD.encode(AUTHORITY)
}

fn furnish_account(cloud: &mut fake_ec2::Cloud, scenario: &Scenario, now: Timestamp, endpoint: Option<String>) -> Result<(), WorldError> {
    let aws = &scenario.given.aws;
    let mut lab = EksLab::new(&aws.cluster, &scenario.given.kubernetes.version);
    lab.endpoint = endpoint;
    lab.certificate_authority = Some(authority());
    lab.zones = aws.zones.clone();
    lab.free_addresses = u32::try_from(aws.subnet_free_ips).ok();
    lab.node_role = aws.node_role.clone();
    lab.interruption_queue = aws.queue_name();
    if aws.iam.mode != fake_ec2::state::IamMode::Off {
        lab.controller_role = Some(super::controller_role(&aws.cluster));
        lab.controller_lacks = aws.iam.without.clone();
        // As the template's guide has its readers do once per account.
        let input = serde_json::json!({"AWSServiceName": "spot.amazonaws.com"});
        let made = cloud.state_mut().ask(now, fake_ec2::model::Service::Iam, "CreateServiceLinkedRole", input);
        made.map_err(|error| WorldError::Cloud(format!("furnish the account: {error}")))?;
    }
    for reserved in &aws.reservations {
        reserved.make(cloud.state_mut(), now).map_err(|error| WorldError::Cloud(format!("furnish the account: {error}")))?;
    }
    for (account, asks) in &aws.accounts {
        cloud.state_mut().open_account(account);
        for ask in asks {
            let made = cloud.state_mut().ask_in(now, account, ask.service, ask.operation, ask.input.clone());
            let wrong = |error: fake_ec2::protocol::AwsError| {
                let said = format!("{}: {}: {}", ask.operation, error.code, error.message);
                WorldError::Mistakes(crate::scenario::Mistakes(vec![ask.site.mistake(said, None)]))
            };
            made.map_err(wrong)?;
        }
    }
    cloud
        .state_mut()
        .furnish_eks(now, &lab)
        .map_err(|error| WorldError::Cloud(format!("furnish the account: {}: {}", error.code, error.message)))?;
    if aws.zonal_shift {
        cloud.state_mut().enable_zonal_shift(&aws.cluster);
    }
    Ok(())
}

async fn cluster_endpoint(aws: &Line<fake_ec2::Cloud>, scenario: &Scenario) -> Result<String, WorldError> {
    furnish::describe_cluster(aws, &scenario.given.aws.region, &scenario.given.aws.cluster).await
}

async fn profile(scenario: &Scenario, mode: Mode, aws: &Line<fake_ec2::Cloud>) -> Result<kubelets::Profile, WorldError> {
    let (registered, ready, devices) = scenario.boot(mode);
    let endpoint = cluster_endpoint(aws, scenario).await?;
    let (usual, pods) = (kubelets::Profile::default(), &scenario.given.kubernetes.pods);
    let range = |said: Option<DurationRange>, usual| said.map_or(usual, |span| kubelets::Range::new(span.low, span.high));
    Ok(kubelets::Profile {
        image_pull: range(pods.pull, usual.image_pull),
        start: range(pods.start, usual.start),
        init: range(pods.init, usual.init),
        stop: range(pods.stop, usual.stop),
        registered: kubelets::Range::new(registered.low, registered.high),
        ready: kubelets::Range::new(ready, ready),
        devices: kubelets::Range::new(devices, devices),
        heartbeats: if mode == Mode::Sim { kubelets::Heartbeats::Computed } else { kubelets::Heartbeats::Renewed },
        events: mode != Mode::Sim,
        cluster: Some(kubelets::Cluster { name: scenario.given.aws.cluster.clone(), endpoint }),
        kubelet_version: format!("v{}.3-eks-dryfit", scenario.given.kubernetes.version),
        ..usual
    })
}

/// Waits until the first nodes and add-ons stand.
async fn stands(world: &mut World) -> Result<(), WorldError> {
    let deadline = world.clock.now().saturating_add(FURNISHING).unwrap_or(Timestamp::MAX);
    let mut quiet = 0;
    loop {
        world.clock.sleep(SignedDuration::from_millis(500)).await;
        world.alive()?;
        let mut moving = world.unsettled(jiff::Timestamp::MIN).await?;
        let observed = world.observer.lock();
        if !observed.synced() {
            moving.push("the cluster has not been listed yet".to_owned());
        }
        let waiting = observed.pods.iter().filter(|(_, pod)| !pod.ready && observed.nodes.values().any(|n| n.ready));
        moving.extend(waiting.map(|((namespace, name), _)| format!("pod {namespace}/{name} is not ready")));
        drop(observed);
        quiet = if moving.is_empty() { quiet + 1 } else { 0 };
        if quiet >= 2 {
            return Ok(());
        }
        if world.clock.now() >= deadline {
            return Err(WorldError::Kubernetes(format!("the cluster did not come to rest before the story: {}", moving.join("; "))));
        }
    }
}

/// The version that `ci/judges/kubernetes` pins; another one asked for must not be answered by this.
const LOCAL_VERSION: &str = "1.36";

async fn local_control_plane(options: &WorldOptions) -> Result<(local::ControlPlane, Option<tempfile::TempDir>), WorldError> {
    let binaries = local::find_binaries(options.control_plane.as_deref(), |name| std::env::var(name).ok(), &local::Binary::CONTROL_PLANE)?;
    let (workdir, folder) = workdir(options)?;
    let plane = local::ControlPlane::start(local::Options { binaries, workdir, crds: api::crds::all() }).await?;
    Ok((plane, folder))
}

/// Where kubeconfig and logs go; the folder goes with the world unless somebody wants to keep the logs.
fn workdir(options: &WorldOptions) -> Result<(PathBuf, Option<tempfile::TempDir>), WorldError> {
    match &options.logs {
        Some(logs) => {
            std::fs::create_dir_all(logs).map_err(|error| WorldError::Machine(format!("make the folder {}: {error}", logs.display())))?;
            Ok((logs.clone(), None))
        }
        None => {
            let folder = tempfile::tempdir().map_err(|error| WorldError::Machine(format!("make a work folder: {error}")))?;
            Ok((folder.path().to_path_buf(), Some(folder)))
        }
    }
}

/// What a process of its own needs in order to find the world.
struct Outside {
    aws_url: Option<String>,
    /// A kubeconfig, and the folder of the logs.
    wire: Option<(PathBuf, PathBuf)>,
}

/// The program of a controller that is a process, and its arguments.
fn program(options: &WorldOptions) -> Result<Option<(PathBuf, Vec<String>)>, WorldError> {
    let found = options.controller.program().transpose().map_err(|error| WorldError::Machine(format!("find this program: {error}")))?;
    match found {
        Some((path, _)) if !path.is_file() => {
            let remedy = "ci/judges/build builds an unmodified Karpenter and prints where it lies";
            Err(WorldError::Machine(format!("{} is no program; {remedy}", path.display())))
        }
        found => Ok(found),
    }
}

/// Where the controller is a process and a manifest of the scenario has pods of its image, they run it, and nobody else does.
fn controller_pods(
    scenario: &Scenario,
    options: &WorldOptions,
    client: &Client,
    clock: &Clock,
    outside: &Outside,
) -> Result<Option<local::Pods>, WorldError> {
    let objects = scenario.given.apply.iter().flat_map(|manifest| &manifest.objects);
    let containers = objects.filter_map(|(_, object)| object.pointer("/spec/template/spec/containers")?.as_array());
    let meant = |container: &serde_json::Value| container["image"].as_str().is_some_and(local::is_controllers);
    let (Some((binary, arguments)), Some((kubeconfig, logs)), Some(url)) = (program(options)?, &outside.wire, &outside.aws_url) else {
        return Ok(None);
    };
    Ok(containers.flatten().any(meant).then(|| {
        local::Pods::new(local::PodOptions {
            binary,
            arguments,
            kubeconfig: kubeconfig.clone(),
            client: client.clone(),
            aws_endpoint: url.clone(),
            region: scenario.given.aws.region.clone(),
            settings: scenario.given.settings.clone(),
            logs: logs.clone(),
            clock: clock.clone(),
        })
    }))
}

async fn start_controller(
    world: &mut World,
    scenario: &Scenario,
    options: &WorldOptions,
    client: Client,
    entropy: &Entropy,
    outside: Outside,
    cluster_endpoint: String,
) -> Result<(), WorldError> {
    let aws = &scenario.given.aws;
    world.controller = match (program(options)?, outside.wire, outside.aws_url) {
        (Some((path, arguments)), Some((kubeconfig, workdir)), Some(url)) => {
            let upstream = local::UpstreamController::start(local::UpstreamOptions {
                binary: path,
                arguments,
                kubeconfig,
                aws_endpoint: url,
                region: aws.region.clone(),
                cluster_name: aws.cluster.clone(),
                cluster_endpoint,
                queue: aws.queue_name(),
                log: workdir.join("controller.log"),
                settings: scenario.given.settings.clone(),
            })?;
            upstream.ready().await?;
            Running::Upstream(upstream)
        }
        (Some(_), ..) => {
            return Err(WorldError::Controller("a controller of its own process needs real time".to_owned()));
        }
        (None, _, url) => {
            let mut cloud = Recipe::cloud_settings(scenario, cluster_endpoint, authority());
            let errors = Arc::default();
            let mut controller = controller::Settings::new(&aws.cluster);
            controller.cluster_ca = cloud.cluster_ca.clone();
            controller.interruption_queue = aws.queue_name();
            controller.crash_at = options.crash_at;
            controller.tamper = options.tamper.clone();
            super::running::configure(&mut controller, &mut cloud, &scenario.given.settings)?;
            controller.observer = Some(super::running::record(world.observer.clone(), world.trace.clone(), Arc::clone(&errors)));
            let recipe = Recipe {
                client,
                aws: world.aws.clone(),
                url,
                region: aws.region.clone(),
                clock: world.clock.clone(),
                entropy: entropy.clone(),
                controller,
                cloud,
            };
            let (operator, task) = Operator::start(recipe)?;
            spawn(&mut world.tasks, "the controller", task);
            Running::BuiltIn { operator, errors }
        }
    };
    Ok(())
}
