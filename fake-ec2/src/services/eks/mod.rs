//! EKS: clusters as AWS shows them, their managed node groups, access entries and Pod Identity. The Kubernetes behind one is somebody
//! else's.

mod access;
mod nodegroups;
mod pods;
pub(crate) mod updates;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::input::{Members, Out, Read, stamp};
use super::page;
use super::{Answer, errors};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::agenda::Due;
use crate::state::cluster::Cluster;
use crate::state::lifecycle::later;
use crate::state::network::{SecurityGroup, Tags};

/// Versions that a cluster can be made with; the last is the default.
const VERSIONS: [&str; 7] = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36"];

/// What a cluster shows as it was asked for, and does nothing by.
const ECHOED: [&str; 4] = ["encryptionConfig", "logging", "remoteNetworkConfig", "clientRequestToken"];

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "CreateCluster" => create(world, call),
        "DeleteCluster" => delete(world, call),
        "DescribeCluster" => Ok(Out::new().with("cluster", render(world, cluster(world, &call.input)?)).done()),
        "ListClusters" => list(world, call),
        "AssumeRoleForPodIdentity" => pods::assume(world, call),
        name if name.contains("PodIdentity") => pods::handle(world, call),
        name if name.contains("Access") => access::handle(world, call),
        "UpdateNodegroupVersion" | "DescribeUpdate" | "ListUpdates" => updates::handle(world, call),
        name if name.contains("odegroup") => nodegroups::handle(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

fn cluster_mut<'a>(world: &'a mut World<'_>, call: &Call) -> Result<&'a mut Cluster, AwsError> {
    let name = call.input.text("clusterName").unwrap_or_default();
    world.region.clusters.get_mut(name).ok_or_else(|| errors::NO_CLUSTER.error(&[name]))
}

/// The cluster that an operation on a part of it names.
fn owner<'a>(world: &'a World<'_>, call: &Call) -> Result<&'a Cluster, AwsError> {
    let name = call.input.text("clusterName").unwrap_or_default();
    world.region.clusters.get(name).ok_or_else(|| errors::NO_CLUSTER.error(&[name]))
}

/// Tags as EKS writes them: a map.
fn tags(input: &Members) -> Tags {
    input.part("tags").into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// One page of names in EKS's manner.
fn paged(call: &Call, member: &str, rows: Vec<(String, Value)>) -> Answer {
    let length = call.input.int("maxResults").and_then(|most| usize::try_from(most).ok()).unwrap_or(100).clamp(1, 100);
    let (rows, token) = page::cut_by(call, length, call.input.text("nextToken"), &errors::EKS_TOKEN, rows)?;
    Ok(Out::new().with(member, rows).maybe("nextToken", token).done())
}

fn cluster<'a>(world: &'a World<'_>, input: &Members) -> Result<&'a Cluster, AwsError> {
    let name = input.text("name").unwrap_or_default();
    world.region.clusters.get(name).ok_or_else(|| errors::NO_CLUSTER.error(&[name]))
}

fn render(world: &World<'_>, cluster: &Cluster) -> Value {
    let issuer = format!("https://oidc.eks.{}.amazonaws.com/id/{}", world.region.name, cluster.oidc_id);
    let out = Out::new()
        .with("name", cluster.name.clone())
        .with("arn", cluster.arn.clone())
        .with("createdAt", stamp(cluster.created))
        .with("version", cluster.version.clone())
        .with("roleArn", cluster.role_arn.clone())
        .with(
            "resourcesVpcConfig",
            json!({
                "subnetIds": cluster.subnet_ids, "securityGroupIds": cluster.security_group_ids,
                "clusterSecurityGroupId": cluster.cluster_security_group, "vpcId": cluster.vpc_id,
                "endpointPublicAccess": cluster.public_access, "endpointPrivateAccess": cluster.private_access,
                "publicAccessCidrs": ["0.0.0.0/0"],
            }),
        )
        .with("kubernetesNetworkConfig", json!({"serviceIpv4Cidr": cluster.service_ipv4_cidr, "ipFamily": "ipv4"}))
        .with("status", if cluster.active { "ACTIVE" } else { "CREATING" })
        .with("platformVersion", "eks.1")
        .with("tags", json!(cluster.tags))
        .with("health", json!({"issues": []}))
        .with("accessConfig", json!({"authenticationMode": cluster.authentication_mode}))
        .with("upgradePolicy", json!({"supportType": "EXTENDED"}))
        .with("zonalShiftConfig", json!({"enabled": cluster.zonal_shift}))
        .with("deletionProtection", false);
    let out = cluster.asked.iter().fold(out, |out, (member, value)| out.with(member, value.clone()));
    if !cluster.active {
        return out.done();
    }
    // A cluster has these when it is there.
    out.with("endpoint", cluster.endpoint.clone())
        .with("certificateAuthority", json!({"data": cluster.certificate_authority}))
        .with("identity", json!({"oidc": {"issuer": issuer}}))
        .done()
}

fn invalid(message: String) -> AwsError {
    errors::EKS_PARAMETER.error(&[&message])
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let name = input.text("name").unwrap_or_default();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if !(1..=100).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(invalid(format!("The cluster name '{name}' is not valid.")));
    }
    if world.region.clusters.contains_key(name) {
        return Err(errors::CLUSTER_EXISTS.error(&[name]));
    }
    let version = input.text("version").unwrap_or(VERSIONS[VERSIONS.len() - 1]);
    if !VERSIONS.contains(&version) {
        return Err(invalid(format!("unsupported Kubernetes version {version}")));
    }
    let role_arn = input.text("roleArn").unwrap_or_default();
    if !world.account.iam.roles.values().any(|role| role.arn == role_arn) {
        let why = format!("Role with arn: {role_arn}, could not be assumed because it does not exist or the trusted entity is not correct");
        return Err(invalid(why));
    }
    let vpc = input.part("resourcesVpcConfig").cloned().unwrap_or_default();
    let (vpc_id, subnet_ids) = network(world, &vpc)?;
    let network = input.part("kubernetesNetworkConfig");
    let service_cidr = network.and_then(|network| network.text("serviceIpv4Cidr")).unwrap_or("10.100.0.0/16").to_owned();
    let tags = tags(input);
    let cluster = make(world, name, version, role_arn, (vpc_id, subnet_ids), service_cidr, &vpc, input, tags);
    let at = later(world.now, world.account.entropy.delay("cluster-creation", world.account.settings.cluster_creation));
    world.account.agenda.add(at, Due::Cluster { region: world.region.name.clone(), name: name.to_owned() });
    let shown = render(world, &cluster);
    world.region.clusters.insert(name.to_owned(), cluster);
    Ok(Out::new().with("cluster", shown).done())
}

#[allow(clippy::too_many_arguments, reason = "one constructor, called once, of a structure with as many parts")]
fn make(
    world: &mut World<'_>,
    name: &str,
    version: &str,
    role_arn: &str,
    (vpc_id, subnet_ids): (String, Vec<String>),
    service_ipv4_cidr: String,
    vpc: &Members,
    input: &Members,
    tags: Tags,
) -> Cluster {
    let oidc_id = world.account.entropy.letters("oidc", b"0123456789ABCDEF", 32);
    let own = || format!("https://{oidc_id}.gr7.{}.eks.amazonaws.com", world.region.name);
    let endpoint = world.account.settings.cluster_endpoint.clone().unwrap_or_else(own);
    let access = input.part("accessConfig").and_then(|access| access.text("authenticationMode")).unwrap_or("CONFIG_MAP").to_owned();
    // Nobody signs with this key: whoever runs a real control plane puts its own authority in place (`State::set_cluster_endpoint`).
    let key = STANDARD.encode(world.account.entropy.letters("certificate", b"0123456789abcdef", 48));
    let certificate_authority = STANDARD.encode(format!("-----BEGIN CERTIFICATE-----\n{key}\n-----END CERTIFICATE-----\n"));
    Cluster {
        name: name.to_owned(),
        arn: world.account.arn("eks", &world.region.name, &format!("cluster/{name}")),
        version: version.to_owned(),
        role_arn: role_arn.to_owned(),
        endpoint,
        certificate_authority,
        cluster_security_group: cluster_group(world, name, &vpc_id),
        oidc_id,
        subnet_ids,
        security_group_ids: vpc.texts("securityGroupIds").into_iter().map(str::to_owned).collect(),
        vpc_id,
        service_ipv4_cidr,
        authentication_mode: access,
        // Source: EKS API reference, VpcConfigRequest: the defaults.
        public_access: vpc.get("endpointPublicAccess").and_then(Value::as_bool).unwrap_or(true),
        private_access: vpc.flag("endpointPrivateAccess"),
        asked: ECHOED.iter().filter_map(|name| Some((*name, input.get(*name)?.clone()))).collect(),
        zonal_shift: input.part("zonalShiftConfig").is_some_and(|shift| shift.flag("enabled")),
        created: world.now,
        active: false,
        tags,
        shifts: Vec::new(),
        nodegroups: Default::default(),
        entries: Default::default(),
        associations: Default::default(),
    }
}

/// The subnets of a request: known, of one VPC, in at least two zones.
fn network(world: &World<'_>, vpc: &Members) -> Result<(String, Vec<String>), AwsError> {
    let ids: Vec<String> = vpc.texts("subnetIds").into_iter().map(str::to_owned).collect();
    let mut zones = Vec::new();
    let mut vpc_id = None;
    for id in &ids {
        let subnet = world.region.subnets.get(id).ok_or_else(|| invalid(format!("The subnet ID '{id}' does not exist")))?;
        if vpc_id.get_or_insert_with(|| subnet.vpc_id.clone()) != &subnet.vpc_id {
            return Err(invalid("Subnets specified must belong to the same VPC".into()));
        }
        if !zones.contains(&subnet.zone) {
            zones.push(subnet.zone);
        }
    }
    if zones.len() < 2 {
        return Err(invalid("Subnets specified must be in at least two different AZs".into()));
    }
    for id in vpc.texts("securityGroupIds") {
        if !world.region.groups.contains_key(id) {
            return Err(invalid(format!("The security group ID '{id}' does not exist")));
        }
    }
    Ok((vpc_id.unwrap_or_default(), ids))
}

/// The security group that EKS makes for every cluster.
fn cluster_group(world: &mut World<'_>, name: &str, vpc_id: &str) -> String {
    let id = world.account.entropy.id("sg");
    let number = world.account.entropy.below("cluster-group", 1_000_000_000);
    let description =
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.";
    let mut group = SecurityGroup::new(id.clone(), &format!("eks-cluster-sg-{name}-{number:09}"), description, vpc_id);
    group.tags = Tags::from([
        ("Name".to_owned(), group.name.clone()),
        ("aws:eks:cluster-name".to_owned(), name.to_owned()),
        (format!("kubernetes.io/cluster/{name}"), "owned".to_owned()),
    ]);
    group.ingress.push(json!({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": id, "UserId": world.account.id}]}));
    world.region.groups.insert(id.clone(), group);
    id
}

fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let cluster = cluster(world, &call.input)?.clone();
    if !cluster.nodegroups.is_empty() {
        return Err(errors::CLUSTER_HAS_GROUPS.error(&[]));
    }
    let mut shown = render(world, &cluster);
    shown["status"] = "DELETING".into();
    world.region.clusters.remove(&cluster.name);
    let in_use = world.region.interfaces.values().any(|interface| interface.groups.contains(&cluster.cluster_security_group));
    if !in_use {
        world.region.groups.remove(&cluster.cluster_security_group);
    }
    Ok(Out::new().with("cluster", shown).done())
}

fn list(world: &mut World<'_>, call: &Call) -> Answer {
    let rows = world.region.clusters.keys().map(|name| (name.clone(), json!(name))).collect();
    paged(call, "clusters", rows)
}
