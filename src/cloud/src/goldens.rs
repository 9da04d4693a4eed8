//! The adapter beside upstream's packages: instance types, launch templates with their user data, tags and hashes, on random NodeClasses.
//!
//! Needs a cloud and upstream's program (`ci/judges/karpenter/goldens`), so it only runs where both are named: `ci/test goldens`.

use crate::aws::AwsCloud;
use crate::launch::claim::tags;
use crate::launch::template::{Context, resolve};
use crate::providers::catalogue::Catalogue;
use crate::providers::family::Family;
use crate::providers::{capacity, requirements};
use crate::settings::Settings;
use ambient::{Clock, Entropy, Stream};
use api::{EC2NodeClass, NodeClaim, NodePool};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use planner::InstanceType;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use vocabulary::{CapacityType, Quantity, Resources, labels};

const REGION: &str = "us-west-2";
const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];

#[tokio::test]
#[ignore = "needs DRYFIT_GOLDENS (upstream's program) and DRYFIT_CLOUD (the address of a cloud)"]
async fn upstream_makes_the_same_of_a_nodeclass() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DRYFIT_CLOUD").map_err(|_| "DRYFIT_CLOUD is not set: use ci/test goldens")?;
    let program = std::env::var("DRYFIT_GOLDENS").map_err(|_| "DRYFIT_GOLDENS is not set: use ci/test goldens")?;
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (first, count) = (number("DRYFIT_SEED", 1), number("DRYFIT_ROUNDS", 300));
    let catalogue = read(&url).await?;
    let mut upstream = Upstream::start(&program, &url)?;
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    for seed in first..first + count {
        let case = Case::random(seed, &catalogue);
        // All types of a NodeClass are much to print: one in twenty-five.
        let asks: &[&str] = if seed % 25 == 0 { &["templates", "tags", "hash", "types"] } else { &["templates", "tags", "hash"] };
        for ask in asks {
            let theirs = upstream.ask(&case.question(ask))?;
            let ours = case.answer(ask, &catalogue);
            let rows = theirs.as_array().map_or(1, Vec::len);
            *tally.entry(if theirs.get("error").is_some() { "refused" } else { *ask }).or_default() += rows;
            let spec = if *ask == "hash" { case.class["spec"].to_string() } else { String::new() };
            differences
                .extend(compare("", &normal(theirs), &normal(ours)).into_iter().map(|text| format!("seed {seed}, {ask}{text} {spec}")));
        }
    }
    println!("{count} NodeClasses from seed {first}: {tally:?}, {} differences", differences.len());
    assert!(["templates", "tags", "hash", "types"].iter().all(|ask| tally.contains_key(ask)), "something was never compared");
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(60)].join("\n"));
    Ok(())
}

async fn read(url: &str) -> Result<Catalogue, Box<dyn Error>> {
    let key = aws_credential_types::Credentials::new("AKIADRYFITGOLDENS", "dryfit", None, None, "goldens");
    let config = aws_types::SdkConfig::builder()
        .region(aws_types::region::Region::new(REGION))
        .endpoint_url(url)
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(key))
        .build();
    let http = aws_smithy_http_client::Builder::new().build_http();
    let cloud = AwsCloud::from_config(Settings::new("lab"), &config, http, Clock::machine(), &Entropy::from_seed(1))?;
    let catalogue = Catalogue::default();
    catalogue.refresh(cloud.client()).await?;
    Ok(catalogue)
}

/// Upstream's program, asked one question at a time.
struct Upstream {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Upstream {
    fn start(program: &str, url: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(program);
        command.env("AWS_ENDPOINT_URL", url).env("AWS_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "AKIADRYFITGOLDENS").env("AWS_SECRET_ACCESS_KEY", "dryfit");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Upstream { child, questions, answers })
    }

    fn ask(&mut self, question: &Value) -> Result<Value, Box<dyn Error>> {
        writeln!(self.questions.as_mut().ok_or("no stdin")?, "{question}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| format!("upstream's program said {line:?}: {error}").into())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // It ends when there are no more questions.
        drop(self.questions.take());
        self.child.wait().ok();
    }
}

/// A NodeClass, a claim of it, and what they live in.
struct Case {
    class: Value,
    claim: Value,
    pool: Value,
    types: Vec<String>,
    capacity_type: CapacityType,
    tenancy: &'static str,
    settings: Settings,
    cidr: Option<&'static str>,
}

const ENDPOINT: &str = "https://ABC123.gr7.us-west-2.eks.amazonaws.com";

impl Case {
    fn question(&self, ask: &str) -> Value {
        let settings = &self.settings;
        json!({
            "ask": ask, "region": REGION, "class": self.class, "claim": self.claim, "pool": self.pool, "zones": ZONES,
            "types": if ask == "types" { &[][..] } else { &self.types[..] }, "capacityType": self.capacity_type.as_str(), "tenancy": self.tenancy,
            "settings": {
                "clusterName": settings.cluster_name, "clusterEndpoint": ENDPOINT, "clusterCidr": self.cidr.unwrap_or_default(),
                "clusterCa": settings.cluster_ca, "dns": settings.cluster_dns_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                "memoryOverhead": settings.vm_memory_overhead_percent, "reservedEnis": settings.reserved_enis,
                "reservedCapacity": settings.reserved_capacity,
            },
        })
    }

    fn answer(&self, ask: &str, catalogue: &Catalogue) -> Value {
        let class: EC2NodeClass = serde_json::from_value(self.class.clone()).expect("a NodeClass");
        let claim: NodeClaim = serde_json::from_value(self.claim.clone()).expect("a NodeClaim");
        let pool: NodePool = serde_json::from_value(self.pool.clone()).expect("a NodePool");
        let nodepool = claim.metadata.labels.as_ref().and_then(|labels| labels.get(labels::NODEPOOL)).cloned().unwrap_or_default();
        let tags = tags(&class, &nodepool, &self.settings.cluster_name);
        match ask {
            "hash" => json!({
                "class": api::hash::ec2nodeclass(&class.spec, self.settings.cluster_ca.as_deref()),
                "pool": api::hash::nodepool(&pool.spec.template),
            }),
            "tags" => tags.map_or_else(|error| json!({ "error": error }), |tags| json!(tags)),
            "types" => self.instance_types(&class, catalogue, None).iter().map(row).collect(),
            _ => {
                let tags = match tags {
                    Ok(tags) => tags,
                    Err(error) => return json!({ "error": error }),
                };
                let context = Context {
                    settings: &self.settings,
                    region: REGION,
                    cluster_endpoint: ENDPOINT,
                    cluster_cidr: self.cidr,
                    tags: &tags,
                    capacity_type: self.capacity_type,
                    tenancy: self.tenancy,
                    group: None,
                };
                let chosen = self.instance_types(&class, catalogue, Some(&self.types));
                match resolve(&class, &claim, &chosen, &context) {
                    Err(error) => json!({ "error": error.to_string() }),
                    Ok(templates) => templates
                        .into_iter()
                        .map(|template| {
                            let names: BTreeSet<&str> = template.types.iter().map(|kind| &*kind.name).collect();
                            json!({"image": template.image, "zone": "", "types": names, "request": template.request})
                        })
                        .collect(),
                }
            }
        }
    }

    fn instance_types(&self, class: &EC2NodeClass, catalogue: &Catalogue, names: Option<&[String]>) -> Vec<InstanceType> {
        let zones: BTreeSet<Arc<str>> = ZONES.iter().map(|zone| Arc::from(*zone)).collect();
        let family = Family::of(class);
        let subnets = class.status.as_ref().map(|status| status.subnets.clone()).unwrap_or_default();
        let infos = catalogue.infos();
        let wanted = infos.values().filter(|info| names.is_none_or(|names| names.contains(&info.name)));
        wanted
            .map(|info| {
                let amounts = capacity::amounts(info, family, &class.spec, &self.settings, None);
                let requirements = requirements::requirements(info, REGION, &zones, &subnets, family, &[]);
                let name = Arc::from(info.name.as_str());
                InstanceType {
                    name,
                    requirements,
                    capacity: amounts.capacity,
                    allocatable: amounts.allocatable,
                    offerings: Vec::new(),
                    overlaid: false,
                }
            })
            .collect()
    }
}

fn row(kind: &InstanceType) -> Value {
    let requirements: BTreeMap<&str, Vec<&str>> =
        kind.requirements.iter().map(|r| (&*r.key, r.values.iter().map(|value| &**value).collect())).collect();
    let amounts = Resources::to_quantities;
    json!({"name": &*kind.name, "requirements": requirements, "capacity": amounts(&kind.capacity), "allocatable": amounts(&kind.allocatable)})
}

/// One way to write it: without what is empty, names of templates (a hash of Go's structs) and client tokens; tags and templates in
/// order; user data decoded; amounts in the smallest unit.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(normal).collect();
            let sortable = items.iter().all(|item| item.get("Key").is_some() || item.get("image").is_some() || item.get("name").is_some());
            if sortable {
                items.sort_by_key(Value::to_string);
            }
            Value::Array(items)
        }
        Value::Object(members) => {
            let kept = |(name, value): (String, Value)| {
                let value = match (name.as_str(), value) {
                    ("LaunchTemplateName" | "ClientToken", _) => return None,
                    // What each says of a refusal is its own.
                    ("error", _) => json!("refused"),
                    ("UserData", Value::String(text)) => {
                        let decoded = STANDARD.decode(&text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text);
                        // How Bottlerocket's settings are spelt is the writer's own; what they say is not.
                        let settings = decoded.starts_with("[settings").then(|| toml::from_str::<Value>(&decoded).ok()).flatten();
                        settings.unwrap_or_else(|| json!(decoded.split('\n').collect::<Vec<_>>()))
                    }
                    ("capacity" | "allocatable", Value::Object(amounts)) => smallest_units(&amounts),
                    (_, value) => normal(value),
                };
                let empty = value.is_null() || value == json!("") || value == json!({});
                (!empty).then_some((name, value))
            };
            Value::Object(members.into_iter().filter_map(kept).collect())
        }
        other => other,
    }
}

/// CPU counts in thousandths; what is not there is zero.
fn smallest_units(amounts: &Map<String, Value>) -> Value {
    let quantities = amounts.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?.parse::<Quantity>().ok()?)));
    let list = Resources::from_quantities(quantities);
    list.iter().filter(|(_, amount)| *amount != 0).map(|(name, amount)| (name.to_owned(), json!(amount))).collect()
}

/// Where two values differ, one line each.
fn compare(at: &str, theirs: &Value, ours: &Value) -> Vec<String> {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let null = Value::Null;
            let each = |name: &String| compare(&format!("{at}.{name}"), left.get(name).unwrap_or(&null), right.get(name).unwrap_or(&null));
            names.into_iter().flat_map(each).collect()
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().flat_map(|(index, (a, b))| compare(&format!("{at}[{index}]"), a, b)).collect()
        }
        _ if theirs == ours => Vec::new(),
        _ => vec![format!("{at}: upstream {theirs}, ours {ours}")],
    }
}

/// Draws of one case.
struct Draw(Stream);

impl Draw {
    fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.0.below(of.len() as u64)).expect("an index")].clone()
    }

    /// The member, sometimes.
    fn maybe(&mut self, percent: u64, members: &mut Map<String, Value>, name: &str, make: impl FnOnce(&mut Self) -> Value) {
        if self.chance(percent) {
            let value = make(self);
            members.insert(name.to_owned(), value);
        }
    }
}

impl Case {
    fn random(seed: u64, catalogue: &Catalogue) -> Self {
        let mut draw = Draw(Entropy::from_seed(seed).stream("goldens"));
        let family = draw.one(&["AL2", "AL2023", "AL2023", "Bottlerocket", "Bottlerocket", "Custom", "Windows2022"]);
        let mut settings = Settings::new("lab");
        settings.cluster_ca = draw.chance(80).then(|| "Y2EtYnVuZGxl".to_owned());
        settings.cluster_dns_ip =
            draw.one(&[None, Some("10.100.0.10"), Some("10.100.0.10"), Some("fd00::a")]).and_then(|ip| ip.parse().ok());
        settings.vm_memory_overhead_percent = draw.one(&[0.075, 0.075, 0.0, 0.12]);
        settings.reserved_enis = draw.one(&[0, 0, 1, 3]);
        settings.reserved_capacity = draw.chance(80);
        let names: Vec<String> = catalogue.infos().keys().cloned().collect();
        let types = (0..=draw.0.below(12)).map(|_| draw.one(&names)).collect::<BTreeSet<_>>().into_iter().collect();
        Case {
            class: class(&mut draw, family),
            claim: claim(&mut draw),
            pool: pool(&mut draw),
            types,
            capacity_type: draw.one(&[CapacityType::OnDemand, CapacityType::Spot]),
            tenancy: draw.one(&["default", "default", "dedicated"]),
            cidr: if draw.chance(95) { Some(if settings.ipv6() { "fd00::/108" } else { "10.100.0.0/16" }) } else { None },
            settings,
        }
    }
}

fn class(draw: &mut Draw, family: &str) -> Value {
    let mut spec = Map::new();
    spec.insert("role".to_owned(), json!("KarpenterNodeRole-lab"));
    let alias = draw.chance(60) && family != "Custom";
    let version = if family == "Bottlerocket" { draw.one(&["latest", "v1.20.0", "1.41.0", "v1.55.1"]) } else { "latest" };
    if alias {
        spec.insert("amiSelectorTerms".to_owned(), json!([{"alias": format!("{}@{version}", family.to_lowercase())}]));
    } else {
        spec.insert("amiFamily".to_owned(), json!(family));
        let term = draw.one(&[json!({"id": "ami-0123456789abcdef0"}), json!({"name": "bottlerocket-aws-k8s-1.33-x86_64-v1.19.2-abc"})]);
        spec.insert("amiSelectorTerms".to_owned(), json!([term]));
    }
    draw.maybe(60, &mut spec, "kubelet", kubelet);
    draw.maybe(40, &mut spec, "userData", |draw| json!(user_data(draw, family)));
    draw.maybe(40, &mut spec, "blockDeviceMappings", block_devices);
    draw.maybe(30, &mut spec, "instanceStorePolicy", |_| json!("RAID0"));
    draw.maybe(30, &mut spec, "metadataOptions", |draw| {
        let mut options = Map::new();
        draw.maybe(70, &mut options, "httpEndpoint", |draw| json!(draw.one(&["enabled", "disabled"])));
        draw.maybe(70, &mut options, "httpProtocolIPv6", |draw| json!(draw.one(&["enabled", "disabled"])));
        draw.maybe(70, &mut options, "httpPutResponseHopLimit", |draw| json!(draw.one(&[1, 2, 64])));
        draw.maybe(70, &mut options, "httpTokens", |draw| json!(draw.one(&["required", "optional"])));
        Value::Object(options)
    });
    draw.maybe(30, &mut spec, "detailedMonitoring", |draw| json!(draw.chance(50)));
    draw.maybe(30, &mut spec, "associatePublicIPAddress", |draw| json!(draw.chance(50)));
    draw.maybe(20, &mut spec, "ipPrefixCount", |draw| json!(draw.one(&[1, 4])));
    draw.maybe(20, &mut spec, "networkInterfaces", |draw| {
        let second = draw.one(&["interface", "efa-only"]);
        json!([
            {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface"},
            {"networkCardIndex": 0, "deviceIndex": 1, "interfaceType": second},
            {"networkCardIndex": 1, "deviceIndex": 1, "interfaceType": "efa-only"},
        ])
    });
    draw.maybe(15, &mut spec, "cpuOptions", |draw| json!({"nestedVirtualization": draw.one(&["enabled", "disabled"])}));
    draw.maybe(15, &mut spec, "connectionTracking", |draw| {
        let mut tracking = Map::new();
        draw.maybe(70, &mut tracking, "tcpEstablishedTimeout", |_| json!(600));
        draw.maybe(70, &mut tracking, "udpStreamTimeout", |_| json!(120));
        draw.maybe(70, &mut tracking, "udpTimeout", |_| json!(45));
        Value::Object(tracking)
    });
    draw.maybe(50, &mut spec, "tags", |draw| {
        // Never an empty map, which `api::hash` takes for an absent one.
        let mut tags = Map::new();
        tags.insert("team".to_owned(), json!("böhm & söhne"));
        draw.maybe(60, &mut tags, "Name", |_| json!("node"));
        draw.maybe(8, &mut tags, "karpenter.sh/nodepool", |_| json!("mine"));
        draw.maybe(8, &mut tags, "kubernetes.io/cluster/other", |_| json!("owned"));
        Value::Object(tags)
    });
    draw.maybe(20, &mut spec, "context", |_| json!("arn:aws:ec2:context"));
    let zones = &ZONES[..usize::try_from(1 + draw.0.below(3)).expect("small")];
    let subnet =
        |(index, zone): (usize, &&str)| json!({"id": format!("subnet-{index}"), "zone": zone, "zoneID": format!("usw2-az{}", index + 1)});
    let arch = |arch: &str| json!([{"key": labels::ARCH, "operator": "In", "values": [arch]}]);
    let named = |arch: &str| format!("bottlerocket-aws-k8s-1.33-{arch}-v1.21.1-d0");
    json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "default"}, "spec": spec,
        "status": {
            "subnets": zones.iter().enumerate().map(subnet).collect::<Vec<_>>(),
            "securityGroups": [{"id": "sg-1", "name": "nodes"}, {"id": "sg-2", "name": "more"}],
            "instanceProfile": "lab_1234",
            "amis": [
                {"id": "ami-0123456789abcdef0", "name": named("x86_64"), "requirements": arch("amd64")},
                {"id": "ami-0123456789abcdef1", "name": named("aarch64"), "requirements": arch("arm64")},
            ],
        },
    })
}

/// Maps have at most one member where upstream writes a Go map in its own order, on the command line.
fn kubelet(draw: &mut Draw) -> Value {
    let mut kubelet = Map::new();
    draw.maybe(40, &mut kubelet, "maxPods", |draw| json!(draw.one(&[5, 110])));
    draw.maybe(30, &mut kubelet, "podsPerCore", |draw| json!(draw.one(&[0, 2, 10])));
    draw.maybe(30, &mut kubelet, "systemReserved", |draw| {
        draw.one(&[json!({"cpu": "150m"}), json!({"memory": "100Mi"}), json!({"ephemeral-storage": "1Gi"})])
    });
    draw.maybe(30, &mut kubelet, "kubeReserved", |draw| {
        draw.one(&[json!({"cpu": "250m"}), json!({"memory": "1Gi"}), json!({"pid": "1000"})])
    });
    draw.maybe(40, &mut kubelet, "evictionHard", |draw| {
        draw.one(&[
            json!({"memory.available": "5%"}),
            json!({"memory.available": "500Mi"}),
            json!({"nodefs.available": "12%"}),
            json!({"nodefs.available": "100%"}),
        ])
    });
    draw.maybe(30, &mut kubelet, "evictionSoft", |draw| {
        draw.one(&[json!({"memory.available": "10%"}), json!({"nodefs.available": "20Gi"})])
    });
    if let Some(name) = kubelet.get("evictionSoft").and_then(Value::as_object).and_then(|soft| soft.keys().next().cloned()) {
        kubelet.insert("evictionSoftGracePeriod".to_owned(), json!({ name: draw.one(&["1m", "90s", "1h30m0s"]) }));
    }
    draw.maybe(30, &mut kubelet, "evictionMaxPodGracePeriod", |_| json!(40));
    draw.maybe(30, &mut kubelet, "imageGCHighThresholdPercent", |_| json!(85));
    draw.maybe(30, &mut kubelet, "imageGCLowThresholdPercent", |_| json!(60));
    draw.maybe(30, &mut kubelet, "cpuCFSQuota", |draw| json!(draw.chance(50)));
    draw.maybe(30, &mut kubelet, "clusterDNS", |draw| draw.one(&[json!(["10.0.0.2"]), json!(["10.0.0.2", "10.0.0.3"])]));
    Value::Object(kubelet)
}

fn block_devices(draw: &mut Draw) -> Value {
    let mut ebs = Map::new();
    draw.maybe(80, &mut ebs, "volumeSize", |draw| json!(draw.one(&["20Gi", "100G", "1Ti", "21474836481"])));
    draw.maybe(60, &mut ebs, "volumeType", |draw| json!(draw.one(&["gp3", "io2"])));
    draw.maybe(40, &mut ebs, "iops", |_| json!(4000));
    draw.maybe(40, &mut ebs, "throughput", |_| json!(250));
    draw.maybe(60, &mut ebs, "encrypted", |draw| json!(draw.chance(50)));
    draw.maybe(60, &mut ebs, "deleteOnTermination", |draw| json!(draw.chance(50)));
    draw.maybe(20, &mut ebs, "kmsKeyID", |_| json!("1234abcd-12ab"));
    draw.maybe(20, &mut ebs, "snapshotID", |_| json!("snap-0aaaaaaaaaaaaaaa1"));
    draw.maybe(20, &mut ebs, "volumeInitializationRate", |_| json!(200));
    let mut device = Map::new();
    device.insert("deviceName".to_owned(), json!(draw.one(&["/dev/xvda", "/dev/xvdb", "/dev/sda1"])));
    device.insert("ebs".to_owned(), Value::Object(ebs));
    draw.maybe(40, &mut device, "rootVolume", |draw| json!(draw.chance(70)));
    let second = json!({"deviceName": "/dev/xvdb", "ebs": {"volumeSize": "50Gi", "volumeType": "gp3"}});
    if draw.chance(30) { json!([device, second]) } else { json!([device]) }
}

fn user_data(draw: &mut Draw, family: &str) -> String {
    let script = "#!/bin/bash\necho \"hello\"\n";
    let mime = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==B==\"\n\n--==B==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/bash\necho one\n--==B==--\n";
    let node_config = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    config:\n      maxPods: 42\n";
    let mime_config = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"X\"\n\n--X\nContent-Type: application/node.eks.aws\n\n{node_config}--X\nContent-Type: text/cloud-config\n\nruncmd:\n- ls\n--X--\n"
    );
    let toml = "[settings.kubernetes]\nkube-api-qps = 30\n\"max-pods\" = 12\n[settings.kubernetes.node-labels]\nmine = \"yes\"\n[settings.kubernetes.node-taints]\n\"dedicated\" = [\"x:NoSchedule\"]\n[settings.host-containers.admin]\nenabled = true\n";
    let choices: Vec<String> = match family {
        "Bottlerocket" => vec![
            toml.to_owned(),
            "[settings.motd]\n".to_owned(),
            "[settings\nbroken".to_owned(),
            "[settings.kubernetes.eviction-hard]\n\"memory.available\" = \"12%\"\n[settings.network]\nhostname = \"h\"\n".to_owned(),
        ],
        "AL2023" => vec![
            script.to_owned(),
            mime.to_owned(),
            mime_config,
            node_config.to_owned(),
            "plain".to_owned(),
            "MIME-Version: 1.0\nbroken".to_owned(),
        ],
        "AL2" => vec![script.to_owned(), mime.to_owned(), "plain".to_owned()],
        _ => vec!["Write-Host hello".to_owned(), script.to_owned()],
    };
    draw.one(&choices)
}

fn taint(draw: &mut Draw) -> Value {
    draw.one(&[
        json!({"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}),
        json!({"key": "cilium", "effect": "NoExecute"}),
        json!({"key": "karpenter.sh/unregistered", "effect": "NoExecute"}),
    ])
}

fn claim(draw: &mut Draw) -> Value {
    let mut labels = Map::new();
    labels.insert(labels::NODEPOOL.to_owned(), json!("default"));
    draw.maybe(50, &mut labels, "team", |_| json!("a"));
    draw.maybe(30, &mut labels, "node-restriction.kubernetes.io/x", |_| json!("y"));
    draw.maybe(30, &mut labels, labels::ARCH, |_| json!("amd64"));
    draw.maybe(30, &mut labels, "example.com/z", |_| json!(""));
    let taints: Vec<Value> = (0..draw.0.below(3)).map(|_| taint(draw)).collect();
    let startup: Vec<Value> = (0..draw.0.below(2)).map(|_| taint(draw)).collect();
    let mut requests = Map::new();
    requests.insert("cpu".to_owned(), json!("1"));
    draw.maybe(20, &mut requests, "vpc.amazonaws.com/efa", |_| json!("1"));
    draw.maybe(20, &mut requests, crate::labels::NIP_SLOTS, |_| json!("1"));
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "default-x1", "labels": labels},
        "spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            "taints": taints, "startupTaints": startup, "requirements": [], "resources": {"requests": requests},
        },
    })
}

fn pool(draw: &mut Draw) -> Value {
    let mut metadata = Map::new();
    draw.maybe(50, &mut metadata, "labels", |_| json!({"team": "a", "tier": "b"}));
    draw.maybe(50, &mut metadata, "annotations", |_| json!({"note": "x"}));
    let mut spec = Map::new();
    spec.insert("nodeClassRef".to_owned(), json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}));
    spec.insert("requirements".to_owned(), json!([]));
    draw.maybe(50, &mut spec, "taints", |draw| json!([taint(draw)]));
    draw.maybe(50, &mut spec, "startupTaints", |draw| json!([taint(draw)]));
    draw.maybe(50, &mut spec, "terminationGracePeriod", |draw| json!(draw.one(&["30s", "1h"])));
    draw.maybe(80, &mut spec, "expireAfter", |draw| json!(draw.one(&["720h", "Never", "24h30m"])));
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
        "spec": {"template": {"metadata": metadata, "spec": spec}},
    })
}
