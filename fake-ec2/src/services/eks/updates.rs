//! Updates of managed node groups: to a new release of the image, or to another version of the launch template. Machines are replaced one at a
//! time, each new one running before an old one goes; pods are not drained, since the Kubernetes behind a cluster is somebody else's.
//!
//! Source: EKS user guide, "Understand each phase of node updates".

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::nodegroups::{self, on_behalf};
use super::{cluster_mut, owner, paged};
use crate::model::Service;
use crate::protocol::{AwsError, Call};
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::agenda::Due;
use crate::state::cluster::{Nodegroup, Update};
use crate::state::lifecycle::later;
use crate::state::machine::Phase;

/// How often a group under update is looked at.
const STEP: SignedDuration = SignedDuration::from_secs(15);
/// So long a new machine may take before the update fails. Source: the same page, the upgrade phase's timeout.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let group = call.input.text("nodegroupName").unwrap_or_default().to_owned();
    match call.operation {
        "UpdateNodegroupVersion" => begin(world, call, &group),
        "DescribeUpdate" => {
            let id = call.input.text("updateId").unwrap_or_default();
            let update = updates(world, call)?.iter().find(|update| update.id == id).ok_or_else(|| errors::NO_UPDATE.error(&[id]))?;
            Ok(Out::new().with("update", render(update)).done())
        }
        "ListUpdates" => {
            let rows = updates(world, call)?.iter().map(|update| (update.id.clone(), json!(update.id))).collect();
            paged(call, "updateIds", rows)
        }
        _ => Err(errors::unsupported(call)),
    }
}

/// Updates of the node group that a request names. Clusters themselves are not updated here.
fn updates<'a>(world: &'a World<'_>, call: &Call) -> Result<&'a [Update], AwsError> {
    let cluster = call.input.text("name").unwrap_or_default();
    let cluster = world.region.clusters.get(cluster).ok_or_else(|| errors::NO_CLUSTER.error(&[cluster]))?;
    let Some(group) = call.input.text("nodegroupName") else { return Ok(&[]) };
    Ok(&cluster.nodegroups.get(group).ok_or_else(|| errors::NO_NODEGROUP.error(&[group]))?.updates)
}

pub(super) fn render(update: &Update) -> Value {
    let params: Vec<Value> = update.params.iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
    let errors = update.why.iter().map(|why| json!({"errorCode": "NodeCreationFailure", "errorMessage": why})).collect::<Vec<_>>();
    json!({
        "id": update.id, "status": update.status, "type": update.kind, "params": params, "createdAt": stamp(update.created), "errors": errors,
    })
}

fn begin(world: &mut World<'_>, call: &Call, name: &str) -> Answer {
    let input = &call.input;
    let cluster = owner(world, call)?.clone();
    let group = cluster.nodegroups.get(name).ok_or_else(|| errors::NO_NODEGROUP.error(&[name]))?.clone();
    if group.updating() || !group.active {
        return Err(errors::NODEGROUP_BUSY.error(&[name]));
    }
    let text = |member: &str| group.shown.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("amiType");
    let version = input.text("version").unwrap_or(&cluster.version).to_owned();
    let own = nodegroups::own_template(world, input)?;
    let had_own = group.shown.contains_key("launchTemplate");
    if own.is_some() && !had_own {
        return Err(super::invalid("Node group was not created with a launch template.".to_owned()));
    }
    let minor = |version: &str| version.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok());
    if minor(&version) > minor(&cluster.version) || minor(&version).is_none() {
        return Err(super::invalid(format!("Nodegroup Kubernetes version {version} must not be above the cluster's {}.", cluster.version)));
    }
    let held = on_behalf(
        world,
        Service::Ec2,
        "DescribeLaunchTemplateVersions",
        json!({"LaunchTemplateName": group.group, "Versions": ["$Latest"]}),
    )?;
    let held = held["LaunchTemplateVersions"][0]["LaunchTemplateData"].as_object().cloned().unwrap_or_default();
    let mut data = own.as_ref().map_or_else(|| held.clone(), |own| own.data.clone());
    let custom = if own.is_some() {
        data.text("ImageId").map(str::to_owned)
    } else {
        (kind == "CUSTOM").then(|| held.text("ImageId").unwrap_or_default().to_owned())
    };
    if custom.is_some() && input.text("version").or_else(|| input.text("releaseVersion")).is_some() {
        return Err(super::invalid("You cannot specify a version or a release version with a custom AMI.".to_owned()));
    }
    let kind = if custom.is_some() { "CUSTOM".to_owned() } else { kind };
    let image = nodegroups::image(world, &kind, &version, custom.clone())?;
    if own.is_some() {
        let instance_type = data.text("InstanceType").or_else(|| held.text("InstanceType")).unwrap_or_default().to_owned();
        let profile = held.part("IamInstanceProfile").and_then(|it| it.text("Name")).unwrap_or_default().to_owned();
        let made_from =
            nodegroups::MadeFrom { cluster: &cluster, name, capacity: &text("capacityType"), labels: &group.labels, taints: &group.taints };
        made_from.complete(&mut data, &image, custom.is_some(), &instance_type, &profile);
    } else {
        data.insert("ImageId".into(), image.into());
    }
    let made = on_behalf(
        world,
        Service::Ec2,
        "CreateLaunchTemplateVersion",
        json!({"LaunchTemplateName": group.group, "LaunchTemplateData": data}),
    )?;
    let template = made["LaunchTemplateVersion"]["VersionNumber"].as_u64().unwrap_or_default();
    let scaling = world.region.groups_of_scaling.get(&group.group);
    let (desired, most) = scaling.map_or((0, 0), |scaling| (scaling.desired, scaling.most));
    let mut policy = scaling.and_then(|scaling| scaling.mixed.clone()).map(Value::Object).unwrap_or_default();
    policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"] = template.to_string().into();
    if own.is_some()
        && let Some(name) = data.text("InstanceType")
    {
        policy["LaunchTemplate"]["Overrides"] = json!([{"InstanceType": name}]);
    }
    on_behalf(
        world,
        Service::AutoScaling,
        "UpdateAutoScalingGroup",
        json!({"AutoScalingGroupName": group.group, "MixedInstancesPolicy": policy}),
    )?;

    let mut shown = vec![
        ("version", json!(version)),
        ("releaseVersion", json!(input.text("releaseVersion").unwrap_or(&version))),
        ("amiType", json!(kind)),
    ];
    let mut params = vec![
        ("Version".to_owned(), version.clone()),
        ("ReleaseVersion".to_owned(), input.text("releaseVersion").unwrap_or(&version).to_owned()),
    ];
    if let Some(own) = &own {
        shown.push(("launchTemplate", json!({"id": own.id, "name": own.name, "version": own.version.to_string()})));
        params = vec![("LaunchTemplateName".to_owned(), own.name.clone()), ("LaunchTemplateVersion".to_owned(), own.version.to_string())];
    }
    let update = Update {
        id: world.account.entropy.uuid("eks-update"),
        kind: "VersionUpdate".to_owned(),
        status: "InProgress".to_owned(),
        params,
        created: world.now,
        why: None,
        template,
        sizes: (desired, most),
        moved: world.now,
        left: u64::MAX,
        then: shown.into_iter().map(|(member, value)| (member.to_owned(), value)).collect(),
    };
    let rendered = render(&update);
    cluster_mut(world, call)?.nodegroups.entry(name.to_owned()).and_modify(|group| group.updates.push(update));
    look_again(world, &cluster.name, name);
    Ok(Out::new().with("update", rendered).done())
}

fn look_again(world: &mut World<'_>, cluster: &str, name: &str) {
    let due = Due::Nodegroup { region: world.region.name.clone(), cluster: cluster.to_owned(), name: name.to_owned() };
    world.account.agenda.add(later(world.now, STEP), due);
}

/// One step of an update: one machine more than is wanted, until all are new; each time that all run, the oldest goes.
pub(crate) fn step(world: &mut World<'_>, cluster: &str, name: &str) {
    let group = world.region.clusters.get(cluster).and_then(|cluster| cluster.nodegroups.get(name));
    let Some((group, update)) = group.and_then(|group| Some((group.group.clone(), group.updates.last()?.clone()))) else { return };
    let Some(scaling) = world.region.groups_of_scaling.get(&group).filter(|_| update.status == "InProgress") else { return };
    let phase = |id: &String| world.region.instances.get(id).map(|instance| instance.phase);
    let working = scaling.members.iter().filter(|(id, _)| matches!(phase(id), Some(Phase::Pending | Phase::Running)));
    let old: Vec<String> =
        working.filter(|(_, member)| member.template.1 != update.template.to_string()).map(|(id, _)| id.clone()).collect();
    let running = scaling.members.keys().filter(|id| phase(id) == Some(Phase::Running)).count() as u64;
    let (desired, most) = update.sizes;
    let (now_desired, left) = (scaling.desired, old.len() as u64);
    let moved = if left < update.left { world.now } else { update.moved };
    let mut done = None;
    if left == 0 {
        resize(world, &group, desired, most);
        done = Some(("Successful", None));
    } else if now_desired == desired {
        resize(world, &group, desired + 1, most.max(desired + 1));
    } else if running >= now_desired {
        // The last one is not replaced: its place was filled at the beginning.
        let asked = json!({"InstanceId": old[0], "ShouldDecrementDesiredCapacity": left == 1});
        // Whoever took it meanwhile has done the same.
        let _ = on_behalf(world, Service::AutoScaling, "TerminateInstanceInAutoScalingGroup", asked);
    } else if later(moved, PATIENCE) <= world.now {
        resize(world, &group, desired, most);
        done = Some(("Failed", Some("New nodes did not come to run in time.".to_owned())));
    }
    let found = world.region.clusters.get_mut(cluster).and_then(|cluster| cluster.nodegroups.get_mut(name));
    let Some(group) = found else { return };
    let Some(update) = group.updates.last_mut() else { return };
    (update.moved, update.left) = (moved, left);
    let Some((status, why)) = done else { return look_again(world, cluster, name) };
    (update.status, update.why) = (status.to_owned(), why);
    let then = std::mem::take(&mut update.then);
    if status == "Successful" {
        group.shown.extend(then);
    }
}

/// Neither size may be refused on the way: first the larger bound, then what lies below it.
fn resize(world: &mut World<'_>, group: &str, desired: u64, most: u64) {
    let asked = json!({"AutoScalingGroupName": group, "DesiredCapacity": desired, "MaxSize": most});
    // The group may have gone meanwhile; then there is nothing to size.
    let _ = on_behalf(world, Service::AutoScaling, "UpdateAutoScalingGroup", asked);
}

impl Nodegroup {
    /// Whether an update of it is on its way.
    pub fn updating(&self) -> bool {
        self.updates.iter().any(|update| update.status == "InProgress")
    }
}
