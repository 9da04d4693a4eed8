//! `given`: the world before the story begins.

use super::action::{self, Ask};
use super::catalogue;
use super::fault::{self, Fault};
use super::fields::Reader;
use super::mistake::Mistake;
use super::units;
use crate::yaml::{self, Kind, Node};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vocabulary::UsdPerHour;

#[derive(Clone, Debug, Default)]
pub struct Given {
    pub kubernetes: Kubernetes,
    pub aws: Aws,
    pub daemonsets: Daemonsets,
    pub apply: Vec<Manifest>,
    /// Settings of the controller under the names of its environment variables.
    pub settings: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// Minor version that the cluster reports.
    pub version: String,
    pub nodegroup: Option<NodeGroup>,
    pub pods: Pods,
}

/// How long containers take, where a scenario says so; the kubelets' own times otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Pulling an image that the node does not have yet.
    pub pull: Option<Span>,
    /// Starting a container whose image is there.
    pub start: Option<Span>,
    /// An init container's run, if its command does not tell.
    pub init: Option<Span>,
    /// From SIGTERM to the end, of a container that does not linger.
    pub stop: Option<Span>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Kubernetes { version: "1.36".to_owned(), nodegroup: Some(NodeGroup::default()), pods: Pods::default() }
    }
}

/// A managed node group: where CoreDNS lives.
#[derive(Clone, Debug)]
pub struct NodeGroup {
    pub name: String,
    pub instance_type: String,
    pub count: u64,
    /// `key=value:Effect`.
    pub taint: Option<String>,
    pub labels: BTreeMap<String, String>,
}

impl Default for NodeGroup {
    fn default() -> Self {
        NodeGroup { name: "default".to_owned(), instance_type: "m5.large".to_owned(), count: 1, taint: None, labels: BTreeMap::new() }
    }
}

/// A stretch of time from which a value is drawn evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub low: SignedDuration,
    pub high: SignedDuration,
}

#[derive(Clone, Debug)]
pub struct Aws {
    pub cluster: String,
    pub region: String,
    /// Zones with a subnet for nodes; the region's first three when empty.
    pub zones: Vec<String>,
    pub subnet_free_ips: u64,
    pub node_role: String,
    /// From launch to the Node's registration.
    pub registered: Span,
    /// From registration to Ready.
    pub ready: SignedDuration,
    /// From Ready until device plugins announce GPUs and their like.
    pub devices: SignedDuration,
    /// On-demand prices per hour that replace the catalogue's.
    pub prices: BTreeMap<String, UsdPerHour>,
    /// What the region offers, from a file.
    pub catalogue: Option<Arc<crate::catalogue::File>>,
    /// What Spot costs, and how it moves.
    pub spot: super::spot::Spot,
    /// The interruption queue's name; the cluster's when the scenario says only that there is one.
    pub queue: Queue,
    /// In force from the controller's start; their time counts from the story's.
    pub faults: Vec<Fault>,
    /// How many machines can be had of some pools, counted from the controller's start.
    pub capacity: Vec<Capacity>,
    pub iam: Iam,
    /// vCPUs that may run at once, by class and market.
    pub quotas: Vec<fake_ec2::state::Quota>,
    /// How long EC2 does not find yet what it was told to make.
    pub consistency: fake_ec2::state::Consistency,
    /// How long others do not know yet what IAM was told.
    pub iam_propagation: fake_ec2::state::Propagation,
    /// On-demand capacity that is set aside.
    pub reservations: Vec<Reserved>,
    /// Zones that offer a type, in place of the catalogue's.
    pub offerings: super::change::Offerings,
    /// Other accounts by number, and what their owners ask for before the story.
    pub accounts: Vec<(String, Vec<Ask>)>,
    /// The cluster takes part in ARC's zonal shifts.
    pub zonal_shift: bool,
}

/// A capacity reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub instance_type: String,
    pub zone: String,
    pub count: u64,
    /// Used only by those who name it.
    pub targeted: bool,
    pub tags: BTreeMap<String, String>,
}

impl Reserved {
    /// Makes it, as the account's owner.
    pub fn make(&self, state: &mut fake_ec2::state::State, now: Timestamp) -> Result<(), String> {
        let tags: Vec<Value> = self.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        let input = json!({
            "InstanceType": self.instance_type, "InstancePlatform": "Linux/UNIX", "AvailabilityZone": self.zone,
            "InstanceCount": self.count, "InstanceMatchCriteria": if self.targeted { "targeted" } else { "open" },
            "TagSpecifications": [{"ResourceType": "capacity-reservation", "Tags": tags}],
        });
        let made = state.ask(now, fake_ec2::model::Service::Ec2, "CreateCapacityReservation", input);
        made.map(drop).map_err(|error| format!("{}: {}", error.code, error.message))
    }
}

/// Whether policies decide. The controller has a role with the permissions of Karpenter's own template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iam {
    pub mode: fake_ec2::state::IamMode,
    /// Statements of the template, by their Sid, that the role does not have.
    pub without: Vec<String>,
    /// Service control policies over the account, as JSON.
    pub service_control_policies: Vec<String>,
}

/// The queue of interruptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queue {
    #[default]
    OfCluster,
    Named(String),
    None,
}

/// So many more machines of each of these pools: a type in a zone in a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub types: Vec<String>,
    /// Empty: all of the region.
    pub zones: Vec<String>,
    /// Empty: both.
    pub capacity: Vec<String>,
    pub count: u64,
}

impl Aws {
    /// The interruption queue's name, if there is one.
    pub fn queue_name(&self) -> Option<String> {
        match &self.queue {
            Queue::OfCluster => Some(self.cluster.clone()),
            Queue::Named(name) => Some(name.clone()),
            Queue::None => None,
        }
    }
}

impl Default for Aws {
    fn default() -> Self {
        Aws {
            cluster: "dryfit".to_owned(),
            region: "us-west-2".to_owned(),
            zones: Vec::new(),
            subnet_free_ips: 4091,
            node_role: "KarpenterNodeRole".to_owned(),
            registered: Span { low: SignedDuration::from_secs(25), high: SignedDuration::from_secs(45) },
            ready: SignedDuration::from_secs(5),
            devices: SignedDuration::from_secs(20),
            prices: BTreeMap::new(),
            catalogue: None,
            spot: Default::default(),
            queue: Queue::default(),
            faults: Vec::new(),
            capacity: Vec::new(),
            iam: Iam::default(),
            quotas: Vec::new(),
            consistency: Default::default(),
            iam_propagation: fake_ec2::state::Propagation::default(),
            reservations: Vec::new(),
            offerings: Default::default(),
            accounts: Vec::new(),
            zonal_shift: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Daemonsets {
    /// What every EKS cluster runs: aws-node, kube-proxy, eks-pod-identity-agent, ebs-csi-node.
    #[default]
    EksDefaults,
    None,
}

/// A manifest file with its objects, each knowing where it stands.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub path: PathBuf,
    pub source: Arc<str>,
    pub objects: Vec<(Node, Value)>,
}

impl Manifest {
    /// `kind/name` of its objects.
    pub fn names(&self) -> Vec<String> {
        let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
        self.objects.iter().map(|(_, value)| format!("{}/{}", text(value, "/kind").to_lowercase(), text(value, "/metadata/name"))).collect()
    }

    /// What an API server says of an object, shown in the manifest at the field it names.
    pub fn mistake(&self, object: &Node, field: Option<&str>, message: String) -> Mistake {
        let place = field.map_or(object, |path| object.at_path(path));
        let span = if std::ptr::eq(place, object) { place.span.start..place.span.start + 1 } else { place.span.clone() };
        Mistake { file: self.path.display().to_string(), source: self.source.clone(), span, message, help: None }
    }
}

pub fn given(reader: &Reader, folder: &Path, node: Option<&Node>) -> Given {
    let mut given = Given::default();
    let Some(node) = node else { return given };
    let fields = reader.map(node, "given", &["controller", "kubernetes", "aws", "daemonsets", "apply"]);
    if let Some(node) = fields.get("controller") {
        let fields = reader.map(node, "given.controller", &["settings"]);
        if let Some(node) = fields.get("settings") {
            given.settings = texts_by_key(reader, node, "given.controller.settings");
        }
    }
    if let Some(node) = fields.get("kubernetes") {
        given.kubernetes = kubernetes(reader, node);
    }
    if let Some(node) = fields.get("aws") {
        given.aws = aws(reader, folder, node);
    }
    if let Some(node) = fields.get("daemonsets")
        && let Some(kind) = reader.parsed(node, "given.daemonsets", |text| match text {
            "eks-defaults" => Ok(Daemonsets::EksDefaults),
            "none" => Ok(Daemonsets::None),
            _ => Err("write eks-defaults or none; other DaemonSets are manifests under apply".to_owned()),
        })
    {
        given.daemonsets = kind;
    }
    if let Some(node) = fields.get("apply") {
        for item in reader.list(node) {
            given.apply.extend(manifest(reader, folder, item));
        }
    }
    given
}

fn texts_by_key(reader: &Reader, node: &Node, what: &str) -> BTreeMap<String, String> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(&node.span, format!("{what} must be a mapping, not {}", node.describe()), None);
        return BTreeMap::new();
    };
    entries.iter().filter_map(|(key, value)| Some((key.name.clone(), reader.text_of(value, what)?))).collect()
}

fn kubernetes(reader: &Reader, node: &Node) -> Kubernetes {
    let mut made = Kubernetes::default();
    let fields = reader.map(node, "given.kubernetes", &["version", "nodegroup", "pods"]);
    if let Some(node) = fields.get("pods") {
        let fields = reader.map(node, "given.kubernetes.pods", &["pull", "start", "init", "stop"]);
        let span = |key: &str| fields.get(key).and_then(|n| reader.parsed(n, &format!("given.kubernetes.pods.{key}"), units::span));
        made.pods = Pods { pull: span("pull"), start: span("start"), init: span("init"), stop: span("stop") };
    }
    if let Some(node) = fields.get("version") {
        let version = reader.parsed(node, "given.kubernetes.version", |text| {
            let minor = text.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
            minor
                .filter(|minor| (26..=36).contains(minor))
                .map(|_| text.to_owned())
                .ok_or_else(|| "write a minor version from 1.26 to 1.36, quoted: \"1.36\"".to_owned())
        });
        made.version = version.unwrap_or(made.version);
    }
    if let Some(node) = fields.get("nodegroup") {
        if matches!(&node.kind, Kind::Text(text) if text == "none") {
            made.nodegroup = None;
            return made;
        }
        let mut group = NodeGroup::default();
        let fields = reader.map(node, "given.kubernetes.nodegroup", &["name", "type", "count", "taint", "labels"]);
        group.name = fields.get("name").and_then(|n| reader.text_of(n, "nodegroup.name")).unwrap_or(group.name);
        group.instance_type = fields.get("type").and_then(|n| reader.text_of(n, "nodegroup.type")).unwrap_or(group.instance_type);
        group.count = fields.get("count").and_then(|n| reader.whole(n, "nodegroup.count")).unwrap_or(group.count);
        group.taint = fields.get("taint").and_then(|n| reader.text_of(n, "nodegroup.taint")).filter(|t| t != "none");
        if let Some(node) = fields.get("labels") {
            group.labels = texts_by_key(reader, node, "nodegroup.labels");
        }
        made.nodegroup = Some(group);
    }
    made
}

fn aws(reader: &Reader, folder: &Path, node: &Node) -> Aws {
    let mut made = Aws::default();
    let known = [
        "cluster",
        "region",
        "zones",
        "subnets",
        "role",
        "boot",
        "prices",
        "catalog",
        "spot",
        "queue",
        "faults",
        "capacity",
        "iam",
        "quotas",
        "consistency",
        "reservations",
        "offerings",
        "accounts",
        "zonalShift",
    ];
    let fields = reader.map(node, "given.aws", &known);
    let text = |name: &str| fields.get(name).and_then(|n| reader.text_of(n, &format!("given.aws.{name}")));
    made.cluster = text("cluster").unwrap_or(made.cluster);
    made.region = fields.get("region").and_then(|n| catalogue::region(reader, n)).unwrap_or(made.region);
    if let Some(node) = fields.get("catalog") {
        made.catalogue = catalogue_file(reader, folder, node, &made.region);
    }
    made.node_role = text("role").unwrap_or(made.node_role);
    if let Some(node) = fields.get("zones") {
        made.zones = reader.texts(node, "given.aws.zones");
    }
    if let Some(node) = fields.get("subnets") {
        let fields = reader.map(node, "given.aws.subnets", &["freeIPs"]);
        made.subnet_free_ips =
            fields.get("freeIPs").and_then(|n| reader.whole(n, "given.aws.subnets.freeIPs")).unwrap_or(made.subnet_free_ips);
    }
    if let Some(node) = fields.get("boot") {
        let boot = boot(reader, node, "given.aws.boot");
        made.registered = boot.registered.unwrap_or(made.registered);
        made.ready = boot.ready.unwrap_or(made.ready);
        made.devices = boot.devices.unwrap_or(made.devices);
    }
    made.queue = fields.get("queue").map(|n| queue(reader, n)).unwrap_or_default();
    made.faults = fields.get("faults").map(|n| fault::standing(reader, n, &made.region)).unwrap_or_default();
    if let Some(node) = fields.get("capacity") {
        made.capacity = reader.list(node).into_iter().filter_map(|n| capacity(reader, n, &made.region)).collect();
    }
    if let Some(node) = fields.get("spot") {
        made.spot = super::spot::spot(reader, super::spot::Traces::In(folder), node, &made.region);
    }
    made.quotas = fields.get("quotas").map(|n| quotas(reader, n)).unwrap_or_default();
    if let Some(node) = fields.get("consistency") {
        (made.consistency, made.iam_propagation) = consistency(reader, node);
    }
    if let Some(node) = fields.get("reservations") {
        made.reservations = reader.list(node).into_iter().filter_map(|n| reserved(reader, n, &made.region)).collect();
    }
    if let Some(node) = fields.get("offerings") {
        made.offerings = super::change::offerings(reader, node, &made.region).unwrap_or_default();
    }
    if let Some(node) = fields.get("accounts") {
        made.accounts = accounts(reader, node);
    }
    made.zonal_shift = fields.get("zonalShift").is_some_and(|n| truth(reader, n, "given.aws.zonalShift"));
    made.iam = fields.get("iam").map(|n| iam(reader, folder, n)).unwrap_or_default();
    made.prices = fields.get("prices").and_then(|n| prices(reader, n)).unwrap_or_default();
    made
}

/// `{"210987654321": [{aws: iam CreateRole, with: {…}}]}`.
fn accounts(reader: &Reader, node: &Node) -> Vec<(String, Vec<Ask>)> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(&node.span, "accounts must map numbers to what is asked there", "for example {\"210987654321\": []}".to_owned());
        return Vec::new();
    };
    let mut made = Vec::new();
    for (key, value) in entries {
        if !fake_ec2::state::is_account(&key.name) {
            reader.wrong(&key.span, format!("{:?} is no account", key.name), "write its twelve digits, quoted".to_owned());
            continue;
        }
        let asks = reader.list(value).into_iter().filter_map(|item| {
            let fields = reader.map(item, "given.aws.accounts", &["aws", "with"]);
            let asked = action::asked(reader, item, &fields, Some(key.name.clone()));
            if asked.is_none() && fields.get("aws").is_none() {
                reader.wrong(&item.span, "an account's calls need aws", "for example {aws: iam CreateRole, with: {…}}".to_owned());
            }
            asked
        });
        made.push((key.name.clone(), asks.collect()));
    }
    made
}

/// `{m5.large: $0.096}`.
pub(super) fn prices(reader: &Reader, node: &Node) -> Option<BTreeMap<String, UsdPerHour>> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(&node.span, "prices must map instance types to prices", "for example {m5.large: $0.096}".to_owned());
        return None;
    };
    Some(entries.iter().filter_map(|(key, value)| Some((key.name.clone(), reader.parsed(value, "price", units::money)?))).collect())
}

/// How long what was made is not found, and how long it takes until others know what IAM was told.
pub(super) fn consistency(reader: &Reader, node: &Node) -> (fake_ec2::state::Consistency, fake_ec2::state::Propagation) {
    let known = ["instances", "launchTemplates", "instanceProfiles", "policies", "securityGroups", "subnets"];
    let fields = reader.map(node, "consistency", &known);
    let delay = |name: &str| {
        let delay = fields.get(name).and_then(|n| super::change::delay(reader, n, name));
        delay.unwrap_or(fake_ec2::state::Delay::ZERO)
    };
    let consistency = fake_ec2::state::Consistency {
        instances: delay("instances"),
        launch_templates: delay("launchTemplates"),
        security_groups: delay("securityGroups"),
        subnets: delay("subnets"),
    };
    (consistency, fake_ec2::state::Propagation { profiles: delay("instanceProfiles"), policies: delay("policies") })
}

/// A file that `dryfit catalog refresh` wrote. Its types are known from here on.
fn catalogue_file(reader: &Reader, folder: &Path, node: &Node, region: &str) -> Option<Arc<crate::catalogue::File>> {
    let path = folder.join(reader.text_of(node, "given.aws.catalog")?);
    let read = crate::catalogue::read(&path).and_then(|file| crate::catalogue::of_region(&file, region, &path).map(drop).map(|()| file));
    match read {
        Ok(file) => {
            file.apply(&mut fake_ec2::state::Settings::default());
            Some(Arc::new(file))
        }
        Err(error) => {
            reader.wrong(&node.span, error.to_string(), "write a file's path from the scenario".to_owned());
            None
        }
    }
}

/// `{standard: 64, standard-spot: 32, g: 0}`: vCPUs by class; those of Spot have their own.
pub(super) fn quotas(reader: &Reader, node: &Node) -> Vec<fake_ec2::state::Quota> {
    const CLASSES: [&str; 11] = ["standard", "g", "p", "inf", "trn", "x", "f", "dl", "hpc", "high-memory", "mac"];
    let names: Vec<String> = CLASSES.iter().flat_map(|class| [(*class).to_owned(), format!("{class}-spot")]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fields = reader.map(node, "given.aws.quotas", &names);
    let quota = |name: &&str| {
        let vcpus = fields.get(name).and_then(|n| reader.whole(n, "given.aws.quotas"))?;
        let (class, market) = match name.strip_suffix("-spot") {
            Some(class) => (class, fake_ec2::state::Market::Spot),
            None => (*name, fake_ec2::state::Market::OnDemand),
        };
        Some(fake_ec2::state::Quota { class: class.to_owned(), market, vcpus })
    };
    names.iter().filter_map(quota).collect()
}

pub(super) fn reserved(reader: &Reader, node: &Node, region: &str) -> Option<Reserved> {
    let fields = reader.map(node, "given.aws.reservations", &["type", "zone", "count", "match", "tags"]);
    let (Some(kind), Some(zone), Some(count)) = (fields.get("type"), fields.get("zone"), fields.get("count")) else {
        reader.wrong(
            &node.span,
            "a reservation needs type, zone and count",
            "for example {type: m5.large, zone: us-west-2a, count: 2}".to_owned(),
        );
        return None;
    };
    let matches = fields.get("match").and_then(|n| {
        reader.parsed(n, "match", |text| match text {
            "open" => Ok(false),
            "targeted" => Ok(true),
            _ => Err("write open or targeted".to_owned()),
        })
    });
    Some(Reserved {
        instance_type: catalogue::types(reader, kind, region).into_iter().next()?,
        zone: catalogue::zones(reader, zone, region).into_iter().next()?,
        count: reader.whole(count, "given.aws.reservations.count")?,
        targeted: matches.unwrap_or(false),
        tags: fields.get("tags").map(|n| texts_by_key(reader, n, "given.aws.reservations.tags")).unwrap_or_default(),
    })
}

/// `enforce`, or a mapping with more.
fn iam(reader: &Reader, folder: &Path, node: &Node) -> Iam {
    let mode = |node: &Node| reader.parsed(node, "given.aws.iam", str::parse).unwrap_or_default();
    if !matches!(node.kind, Kind::Map(_)) {
        // YAML reads a bare `off` as no.
        let off = matches!(node.kind, Kind::Bool(false));
        return Iam { mode: if off { Default::default() } else { mode(node) }, ..Iam::default() };
    }
    let fields = reader.map(node, "given.aws.iam", &["mode", "without", "serviceControlPolicies"]);
    let mut made = Iam { mode: fields.get("mode").map(mode).unwrap_or(fake_ec2::state::IamMode::Enforce), ..Iam::default() };
    let sid = |node: &Node| {
        reader.parsed(node, "given.aws.iam.without", |sid| {
            let known = fake_ec2::state::lab_policies::sids();
            if known.iter().any(|known| known == sid) {
                Ok(sid.to_owned())
            } else {
                Err(format!("the template's statements are {}", known.join(", ")))
            }
        })
    };
    made.without = fields.get("without").map(|n| reader.list(n)).unwrap_or_default().into_iter().filter_map(sid).collect();
    let document = |node: &Node| {
        reader.parsed(node, "given.aws.iam.serviceControlPolicies", |name| {
            let text = std::fs::read_to_string(folder.join(name)).map_err(|error| format!("{name} cannot be read: {error}"))?;
            fake_ec2::policy::Policy::read(&text, fake_ec2::policy::Kind::Identity).map_err(|fault| fault.to_string())?;
            Ok(text)
        })
    };
    let documents = fields.get("serviceControlPolicies").map(|n| reader.list(n)).unwrap_or_default();
    made.service_control_policies = documents.into_iter().filter_map(document).collect();
    made
}

fn truth(reader: &Reader, node: &Node, what: &str) -> bool {
    if let Kind::Bool(is) = &node.kind {
        return *is;
    }
    reader.wrong(&node.span, format!("{what} is true or false"), "write true".to_owned());
    false
}

fn queue(reader: &Reader, node: &Node) -> Queue {
    match &node.kind {
        Kind::Bool(true) => Queue::OfCluster,
        Kind::Bool(false) => Queue::None,
        _ => reader.text_of(node, "given.aws.queue").map_or(Queue::None, Queue::Named),
    }
}

pub(super) fn capacity(reader: &Reader, node: &Node, region: &str) -> Option<Capacity> {
    let fields = reader.map(node, "given.aws.capacity", &["types", "zones", "capacity", "count"]);
    let (Some(types), Some(count)) = (fields.get("types"), fields.get("count")) else {
        reader.wrong(&node.span, "capacity needs types and count", "for example {types: [m5.large], count: 2}".to_owned());
        return None;
    };
    Some(Capacity {
        types: catalogue::types(reader, types, region),
        zones: fields.get("zones").map(|n| catalogue::zones(reader, n, region)).unwrap_or_default(),
        capacity: fields.get("capacity").map(|n| catalogue::capacity(reader, n)).unwrap_or_default(),
        count: match &count.kind {
            Kind::Text(text) if text == "unlimited" => u64::MAX,
            _ => reader.whole(count, "given.aws.capacity.count")?,
        },
    })
}

/// Boot times that a scenario gives.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// From launch to the Node.
    pub registered: Option<Span>,
    /// From the Node to Ready.
    pub ready: Option<SignedDuration>,
    /// From Ready until device plugins have spoken.
    pub devices: Option<SignedDuration>,
}

/// `{ registered: 25s..45s, ready: +5s, devices: +20s }`.
pub fn boot(reader: &Reader, node: &Node, what: &str) -> Boot {
    let fields = reader.map(node, what, &["registered", "ready", "devices"]);
    let registered = fields.get("registered").and_then(|n| reader.parsed(n, &format!("{what}.registered"), units::span));
    let after = |key: &str, what_before: &str| {
        fields.get(key).and_then(|n| {
            reader.parsed(n, &format!("{what}.{key}"), |text| {
                units::duration(text.strip_prefix('+').ok_or_else(|| format!("write it as the time after {what_before}: +5s"))?)
            })
        })
    };
    Boot { registered, ready: after("ready", "registration"), devices: after("devices", "the node is Ready") }
}

/// Reads a manifest that lies beside the scenario.
pub fn manifest(reader: &Reader, folder: &Path, node: &Node) -> Option<Manifest> {
    let name = reader.text_of(node, "a manifest's path")?;
    let path = folder.join(&name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            reader.wrong(
                &node.span,
                format!("manifest {} cannot be read: {error}", path.display()),
                "paths are relative to the scenario file".to_owned(),
            );
            return None;
        }
    };
    let source: Arc<str> = Arc::from(text.as_str());
    let shown = path.display().to_string();
    let beside = Reader { file: shown, source: source.clone(), mistakes: Default::default() };
    let documents = match yaml::documents(&text) {
        Ok(documents) => documents,
        Err(broken) => {
            beside.wrong(&broken.span, format!("not YAML: {}", broken.message), None);
            reader.mistakes.borrow_mut().append(&mut beside.mistakes.borrow_mut());
            return None;
        }
    };
    let mut objects = Vec::new();
    for document in documents {
        let value = document.to_json();
        let items = match (value["kind"].as_str(), document.at_path("items")) {
            (Some("List"), Node { kind: Kind::List(items), .. }) => items.clone(),
            _ => vec![document],
        };
        for item in items {
            let value = item.to_json();
            let named = |path: &str| value.pointer(path).and_then(Value::as_str).is_some_and(|t| !t.is_empty());
            if named("/apiVersion") && named("/kind") && named("/metadata/name") {
                objects.push((item, value));
            } else {
                beside.wrong(
                    &(item.span.start..item.span.start + 1),
                    "not a Kubernetes object: apiVersion, kind and metadata.name are needed",
                    None,
                );
            }
        }
    }
    if objects.is_empty() && beside.mistakes.borrow().is_empty() {
        beside.wrong(&(0..0), "holds no Kubernetes object", None);
    }
    reader.mistakes.borrow_mut().append(&mut beside.mistakes.borrow_mut());
    Some(Manifest { path, source, objects })
}
