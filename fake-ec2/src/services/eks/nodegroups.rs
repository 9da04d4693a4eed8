//! Managed node groups: a launch template and an Auto Scaling group that EKS makes and keeps, with machines that join the cluster.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{cluster_mut, owner, paged, tags};
use crate::model::Service;
use crate::protocol::{AwsError, Call, Caller};
use crate::services::ec2::templates;
use crate::services::input::{Members, Out, Read, stamp};
use crate::services::{Answer, dispatch, errors};
use crate::state::World;
use crate::state::cluster::{Cluster, Nodegroup, Update};
use crate::state::machine::Phase;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.text("nodegroupName").unwrap_or_default().to_owned();
    match call.operation {
        "CreateNodegroup" => create(world, call, &name),
        "DescribeNodegroup" => {
            settle(world, call, &name)?;
            let cluster = owner(world, call)?;
            let group = cluster.nodegroups.get(&name).ok_or_else(|| errors::NO_NODEGROUP.error(&[&name]))?;
            Ok(Out::new().with("nodegroup", render(world, cluster, group)).done())
        }
        "ListNodegroups" => {
            let names = owner(world, call)?.nodegroups.keys();
            paged(call, "nodegroups", names.map(|name| (name.clone(), json!(name))).collect())
        }
        "UpdateNodegroupConfig" => update(world, call, &name),
        "DeleteNodegroup" => delete(world, call, &name),
        _ => Err(errors::unsupported(call)),
    }
}

/// Does an operation of another service as EKS does it: with the account's own rights.
pub(super) fn on_behalf(world: &mut World<'_>, service: Service, operation: &'static str, input: Value) -> Answer {
    let account = world.account.id.clone();
    let call = Call {
        service,
        operation,
        region: world.region.name.clone(),
        caller: Caller { access_key: None, principal: format!("arn:aws:iam::{account}:root"), user_id: account.clone(), account },
        request_id: String::new(),
        input: input.as_object().cloned().unwrap_or_default(),
        unknown: Vec::new(),
        short_pages: None,
    };
    dispatch(world, &call)
}

/// A group is active once its machines have run.
fn settle(world: &mut World<'_>, call: &Call, name: &str) -> Result<(), AwsError> {
    let cluster = owner(world, call)?;
    let group = cluster.nodegroups.get(name).ok_or_else(|| errors::NO_NODEGROUP.error(&[name]))?;
    let scaling = world.region.groups_of_scaling.get(&group.group);
    let running = scaling.map_or(0, |scaling| {
        let members = scaling.members.keys().filter_map(|id| world.region.instances.get(id));
        members.filter(|instance| instance.phase == Phase::Running).count() as u64
    });
    let active = group.active || scaling.is_some_and(|scaling| running >= scaling.desired);
    if let Some(group) = cluster_mut(world, call)?.nodegroups.get_mut(name) {
        group.active = active;
    }
    Ok(())
}

fn render(world: &World<'_>, cluster: &Cluster, group: &Nodegroup) -> Value {
    let scaling = world.region.groups_of_scaling.get(&group.group);
    let sizes = scaling.map(|it| json!({"minSize": it.least, "maxSize": it.most, "desiredSize": it.desired}));
    let mut out = Out::new()
        .with("nodegroupName", group.name.clone())
        .with("nodegroupArn", group.arn.clone())
        .with("clusterName", cluster.name.clone())
        .with("createdAt", stamp(group.created))
        .with("modifiedAt", stamp(group.created))
        .with(
            "status",
            if group.updating() {
                "UPDATING"
            } else if group.active {
                "ACTIVE"
            } else {
                "CREATING"
            },
        )
        .maybe("scalingConfig", sizes)
        .with("labels", json!(group.labels))
        .with("resources", json!({"autoScalingGroups": [{"name": group.group}]}))
        .with("health", json!({"issues": []}))
        .with("tags", json!(group.tags));
    if !group.taints.is_empty() {
        out = out.with("taints", group.taints.clone());
    }
    for (member, value) in &group.shown {
        out = out.with(member, value.clone());
    }
    out.done()
}

/// The optimised image of a type of image. Source: EKS user guide, "Retrieve recommended Amazon Linux AMI IDs".
fn image_parameter(kind: &str, version: &str) -> Option<String> {
    let rest = match kind {
        "AL2023_x86_64_STANDARD" => "amazon-linux-2023/x86_64/standard/recommended/image_id",
        "AL2023_ARM_64_STANDARD" => "amazon-linux-2023/arm64/standard/recommended/image_id",
        _ => return None,
    };
    Some(format!("/aws/service/eks/optimized-ami/{version}/{rest}"))
}

fn create(world: &mut World<'_>, call: &Call, name: &str) -> Answer {
    let input = &call.input;
    let cluster = owner(world, call)?.clone();
    if cluster.nodegroups.contains_key(name) {
        return Err(errors::NODEGROUP_EXISTS.error(&[name, &cluster.name]));
    }
    let role = input.text("nodeRole").unwrap_or_default();
    let role = world.account.iam.role_by_arn(role).map(|role| role.name.clone());
    let role = role.ok_or_else(|| super::invalid("The role with the given ARN cannot be found.".to_owned()))?;
    let subnets = input.texts("subnets");
    if let Some(unknown) = subnets.iter().find(|id| !world.region.subnets.contains_key(**id)) {
        return Err(super::invalid(format!("The subnet ID '{unknown}' does not exist")));
    }
    let own = own_template(world, input)?;
    let mut data = own.as_ref().map(|own| own.data.clone()).unwrap_or_default();
    let custom = data.text("ImageId").map(str::to_owned);
    let kind = if custom.is_some() { "CUSTOM" } else { input.text("amiType").unwrap_or("AL2023_x86_64_STANDARD") };
    let image = image(world, kind, &cluster.version, custom.clone())?;
    let of_template = data.text("InstanceType").map(str::to_owned);
    let types: Vec<&str> = match (input.texts("instanceTypes"), &of_template) {
        (asked, Some(_)) if !asked.is_empty() => {
            return Err(super::invalid("Instance types must be specified either in the launch template or in the request.".to_owned()));
        }
        (asked, None) if !asked.is_empty() => asked,
        (_, of_template) => vec![of_template.as_deref().unwrap_or("t3.medium")],
    };
    let capacity = input.text("capacityType").unwrap_or("ON_DEMAND");
    let sizes = input.part("scalingConfig").cloned().unwrap_or_default();
    let size = |member: &str, default: i64| sizes.int(member).unwrap_or(default);
    let labels = string_map(input.part("labels"));
    let id = world.account.entropy.uuid("nodegroup");
    let group_name = format!("eks-{name}-{id}");

    let profile = format!("eks-{id}");
    on_behalf(world, Service::Iam, "CreateInstanceProfile", json!({"InstanceProfileName": profile}))?;
    on_behalf(world, Service::Iam, "AddRoleToInstanceProfile", json!({"InstanceProfileName": profile, "RoleName": role}))?;
    let made_from = MadeFrom { cluster: &cluster, name, capacity, labels: &labels, taints: input.list("taints") };
    made_from.complete(&mut data, &image, custom.is_some(), types[0], &profile);
    on_behalf(world, Service::Ec2, "CreateLaunchTemplate", json!({"LaunchTemplateName": group_name, "LaunchTemplateData": data}))?;
    let overrides: Vec<Value> = types.iter().map(|name| json!({"InstanceType": name})).collect();
    let share = if capacity == "SPOT" { 0 } else { 100 };
    let tag = |key: String, value: &str| json!({"ResourceId": group_name, "ResourceType": "auto-scaling-group", "Key": key, "Value": value, "PropagateAtLaunch": true});
    // Source: EKS user guide, "Simplify node lifecycle with managed node groups": tags for Cluster Autoscaler.
    let asked = json!({
        "AutoScalingGroupName": group_name, "MinSize": size("minSize", 1), "MaxSize": size("maxSize", 2),
        "DesiredCapacity": size("desiredSize", 2), "VPCZoneIdentifier": subnets.join(","), "CapacityRebalance": capacity == "SPOT",
        "MixedInstancesPolicy": {
            "LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateName": group_name, "Version": "1"}, "Overrides": overrides},
            "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": share, "SpotAllocationStrategy": "price-capacity-optimized"},
        },
        "Tags": [
            tag("eks:cluster-name".into(), &cluster.name), tag("eks:nodegroup-name".into(), name),
            tag("k8s.io/cluster-autoscaler/enabled".into(), "true"), tag(format!("k8s.io/cluster-autoscaler/{}", cluster.name), "owned"),
            tag(format!("kubernetes.io/cluster/{}", cluster.name), "owned"),
        ],
    });
    on_behalf(world, Service::AutoScaling, "CreateAutoScalingGroup", asked).map_err(|why| super::invalid(why.message))?;
    let mut shown = Map::new();
    if let Some(own) = &own {
        shown.insert("launchTemplate".to_owned(), json!({"id": own.id, "name": own.name, "version": own.version.to_string()}));
    }
    for (member, value) in [
        ("version", json!(cluster.version)),
        ("releaseVersion", json!(cluster.version)),
        ("capacityType", json!(capacity)),
        ("instanceTypes", json!(types)),
        ("subnets", json!(subnets)),
        ("amiType", json!(kind)),
        ("nodeRole", input["nodeRole"].clone()),
        ("diskSize", json!(input.int("diskSize").unwrap_or(20))),
        ("updateConfig", json!({"maxUnavailable": 1})),
    ] {
        shown.insert(member.to_owned(), value);
    }
    if let Some(access) = input.get("remoteAccess") {
        shown.insert("remoteAccess".to_owned(), access.clone());
    }
    let group = Nodegroup {
        name: name.to_owned(),
        arn: world.account.arn("eks", &world.region.name, &format!("nodegroup/{}/{name}/{id}", cluster.name)),
        group: group_name,
        shown,
        labels,
        taints: input.list("taints").to_vec(),
        created: world.now,
        active: false,
        tags: tags(input),
        updates: Vec::new(),
    };
    let rendered = render(world, &cluster, &group);
    cluster_mut(world, call)?.nodegroups.insert(name.to_owned(), group);
    Ok(Out::new().with("nodegroup", rendered).done())
}

/// The image of a type of image, or the one that a template brings.
pub(super) fn image(world: &World<'_>, kind: &str, version: &str, custom: Option<String>) -> Result<String, AwsError> {
    let published = || world.region.public_parameters.get(&image_parameter(kind, version)?).cloned();
    custom.or_else(published).ok_or_else(|| super::invalid(format!("The AMI type {kind} is not supported by this cloud.")))
}

/// What the machines of a group are told of it.
pub(super) struct MadeFrom<'a> {
    pub cluster: &'a Cluster,
    pub name: &'a str,
    pub capacity: &'a str,
    pub labels: &'a std::collections::BTreeMap<String, String>,
    pub taints: &'a [Value],
}

impl MadeFrom<'_> {
    /// Makes a template's data the group's own.
    pub fn complete(&self, data: &mut Members, image: &str, custom: bool, instance_type: &str, profile: &str) {
        let theirs =
            data.text("UserData").and_then(|text| STANDARD.decode(text).ok()).map(|text| String::from_utf8_lossy(&text).into_owned());
        // Of an image of one's own EKS leaves the user data alone. Source: EKS user guide, "Customize managed nodes with launch templates".
        if !custom {
            let text = user_data(self.cluster, self.name, self.capacity, self.labels, self.taints, theirs.as_deref());
            data.insert("UserData".into(), text.into());
        }
        let mut tags = data.list("TagSpecifications").to_vec();
        tags.push(json!({"ResourceType": "instance", "Tags": [
            {"Key": "eks:cluster-name", "Value": self.cluster.name}, {"Key": "eks:nodegroup-name", "Value": self.name},
        ]}));
        if data.list("SecurityGroupIds").is_empty() && data.list("NetworkInterfaces").is_empty() {
            data.insert("SecurityGroupIds".into(), json!([self.cluster.cluster_security_group]));
        }
        for (member, value) in [
            ("ImageId", json!(image)),
            ("InstanceType", json!(instance_type)),
            ("IamInstanceProfile", json!({"Name": profile})),
            ("TagSpecifications", json!(tags)),
        ] {
            data.insert(member.to_owned(), value);
        }
    }
}

/// A launch template that the group is made from.
pub(super) struct OwnTemplate {
    pub id: String,
    pub name: String,
    pub version: u64,
    pub data: Members,
}

/// The template that a request names, if what it holds may be held by a node group's.
/// Source: EKS user guide, "Customize managed nodes with launch templates", what is prohibited there.
pub(super) fn own_template(world: &World<'_>, input: &Members) -> Result<Option<OwnTemplate>, AwsError> {
    let Some(named) = input.part("launchTemplate") else { return Ok(None) };
    let refused = |why: &str| super::invalid(format!("Launch template {why}"));
    // What the request itself says comes before what the template holds.
    if input.contains_key("diskSize") {
        return Err(super::invalid("Disk size must be specified within the launch template.".to_owned()));
    }
    if input.contains_key("remoteAccess") {
        return Err(super::invalid("Remote access configuration cannot be specified with a launch template.".to_owned()));
    }
    let asked = json!({"LaunchTemplateId": named.text("id"), "LaunchTemplateName": named.text("name")});
    let asked: Members =
        asked.as_object().into_iter().flatten().filter(|(_, id)| !id.is_null()).map(|(name, id)| (name.clone(), id.clone())).collect();
    let template = templates::named(world, &asked).map_err(|why| super::invalid(why.message))?;
    let version =
        templates::version(template, Some(named.text("version").unwrap_or("$Default"))).map_err(|why| super::invalid(why.message))?;
    let data = template.versions.get(&version).map(|version| version.data.clone()).unwrap_or_default();
    for (member, what) in [("IamInstanceProfile", "an IAM instance profile"), ("HibernationOptions", "hibernation")] {
        if data.contains_key(member) {
            return Err(refused(&format!("{} should not specify {what}.", template.id)));
        }
    }
    if data.part("InstanceMarketOptions").is_some_and(|market| market.text("MarketType") == Some("spot")) {
        return Err(refused(&format!("{} should not request Spot instances; use the capacity type of the node group.", template.id)));
    }
    if data.list("NetworkInterfaces").iter().any(|interface| interface.text("SubnetId").is_some()) {
        return Err(refused(&format!("{} should not specify subnets.", template.id)));
    }
    Ok(Some(OwnTemplate { id: template.id.clone(), name: template.name.clone(), version, data }))
}

fn string_map(map: Option<&Members>) -> std::collections::BTreeMap<String, String> {
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// What nodeadm of Amazon Linux 2023 reads. Source: awslabs.github.io/amazon-eks-ami, "nodeadm".
fn user_data(
    cluster: &Cluster,
    group: &str,
    capacity: &str,
    labels: &std::collections::BTreeMap<String, String>,
    taints: &[Value],
    theirs: Option<&str>,
) -> String {
    let mut all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.push(format!("eks.amazonaws.com/nodegroup={group}"));
    all.push(format!("eks.amazonaws.com/capacityType={capacity}"));
    // EKS writes effects in capitals: NO_SCHEDULE.
    let effect = |taint: &Value| match taint.text("effect").unwrap_or_default() {
        "NO_EXECUTE" => "NoExecute",
        "PREFER_NO_SCHEDULE" => "PreferNoSchedule",
        _ => "NoSchedule",
    };
    let taints: Vec<Value> = taints
        .iter()
        .map(|taint| json!({"key": taint.text("key"), "value": taint.text("value").unwrap_or_default(), "effect": effect(taint)}))
        .collect();
    let config = json!({
        "apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig",
        "spec": {
            "cluster": {
                "name": cluster.name, "apiServerEndpoint": cluster.endpoint, "certificateAuthority": cluster.certificate_authority,
                "cidr": cluster.service_ipv4_cidr,
            },
            "kubelet": {"config": {"registerWithTaints": taints}, "flags": [format!("--node-labels={}", all.join(","))]},
        },
    });
    // What the template brings comes before what EKS adds.
    let theirs = theirs.map(|theirs| format!("--//\n{}\n", part(theirs).trim_end())).unwrap_or_default();
    let text = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n{theirs}--//\nContent-Type: application/node.eks.aws\n\n{config}\n--//--\n"
    );
    STANDARD.encode(text)
}

/// A document as a part of another: multipart ones as they are, inside; any other as the script or the configuration that it is.
fn part(text: &str) -> String {
    if text.trim_start().starts_with("MIME-Version:") || text.trim_start().starts_with("Content-Type:") {
        return text.trim_start().to_owned();
    }
    let kind = if text.trim_start().starts_with("#!") { "text/x-shellscript; charset=\"us-ascii\"" } else { "application/node.eks.aws" };
    format!("Content-Type: {kind}\n\n{text}")
}

fn update(world: &mut World<'_>, call: &Call, name: &str) -> Answer {
    let input = &call.input;
    let group = owner(world, call)?.nodegroups.get(name).ok_or_else(|| errors::NO_NODEGROUP.error(&[name]))?;
    if group.updating() {
        return Err(errors::NODEGROUP_BUSY.error(&[name]));
    }
    let group = group.group.clone();
    if let Some(sizes) = input.part("scalingConfig") {
        let mut asked = json!({"AutoScalingGroupName": group});
        for (theirs, ours) in [("minSize", "MinSize"), ("maxSize", "MaxSize"), ("desiredSize", "DesiredCapacity")] {
            if let Some(size) = sizes.int(theirs) {
                asked[ours] = size.into();
            }
        }
        on_behalf(world, Service::AutoScaling, "UpdateAutoScalingGroup", asked).map_err(|why| super::invalid(why.message))?;
    }
    let (id, now) = (world.account.entropy.uuid("eks-update"), world.now);
    if let Some(group) = cluster_mut(world, call)?.nodegroups.get_mut(name)
        && let Some(labels) = input.part("labels")
    {
        group.labels.extend(string_map(labels.part("addOrUpdateLabels")));
        let gone = labels.texts("removeLabels");
        group.labels.retain(|key, _| !gone.contains(&key.as_str()));
    }
    if let Some(group) = cluster_mut(world, call)?.nodegroups.get_mut(name)
        && let Some(taints) = input.part("taints")
    {
        // A taint is known by its key and its effect.
        let same = |one: &Value, two: &Value| (one.text("key"), one.text("effect")) == (two.text("key"), two.text("effect"));
        let (new, gone) = (taints.list("addOrUpdateTaints"), taints.list("removeTaints"));
        group.taints.retain(|held| !new.iter().chain(gone).any(|asked| same(held, asked)));
        group.taints.extend(new.iter().cloned());
    }
    let update = Update {
        id,
        kind: "ConfigUpdate".to_owned(),
        status: "Successful".to_owned(),
        params: Vec::new(),
        created: now,
        why: None,
        template: 0,
        sizes: (0, 0),
        moved: now,
        left: 0,
        then: Vec::new(),
    };
    let shown = super::updates::render(&update);
    if let Some(group) = cluster_mut(world, call)?.nodegroups.get_mut(name) {
        group.updates.push(update);
    }
    Ok(Out::new().with("update", shown).done())
}

fn delete(world: &mut World<'_>, call: &Call, name: &str) -> Answer {
    let cluster = owner(world, call)?;
    let group = cluster.nodegroups.get(name).ok_or_else(|| errors::NO_NODEGROUP.error(&[name]))?.clone();
    let mut shown = render(world, cluster, &group);
    shown["status"] = "DELETING".into();
    let asked = json!({"AutoScalingGroupName": group.group, "ForceDelete": true});
    on_behalf(world, Service::AutoScaling, "DeleteAutoScalingGroup", asked)?;
    on_behalf(world, Service::Ec2, "DeleteLaunchTemplate", json!({"LaunchTemplateName": group.group}))?;
    cluster_mut(world, call)?.nodegroups.remove(name);
    Ok(Out::new().with("nodegroup", shown).done())
}
