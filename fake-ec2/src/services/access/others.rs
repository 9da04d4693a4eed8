//! Questions of the services beside EC2.

use std::collections::BTreeSet;

use super::ask::{Ask, tags};
use super::launch::passed;
use crate::model::Service;
use crate::policy::{Kind, reference};
use crate::protocol::Call;
use crate::services::input::{Members, Read};
use crate::state::World;
use crate::state::iam::Document;
use crate::state::network::Tags;

pub(super) fn asks(world: &World<'_>, call: &Call) -> Vec<Ask> {
    match call.service {
        Service::Iam => iam(world, call),
        Service::Sts => sts(world, call),
        Service::Sqs => vec![sqs(world, call)],
        Service::Ssm => ssm(world, call),
        Service::Eks | Service::EksAuth => eks(world, call),
        Service::Events => vec![events(world, call)],
        Service::AutoScaling => autoscaling(world, call),
        Service::ArcZonalShift => {
            let id = call.input.text("resourceIdentifier").unwrap_or("*");
            vec![Ask::of(call, "", id).with("arc-zonal-shift:ResourceIdentifier", id)]
        }
        Service::Pricing | Service::Ec2 => vec![Ask::of(call, "", "*")],
    }
}

fn iam(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let (input, iam) = (&call.input, &world.account.iam);
    let decides = iam.in_force(world.now);
    let path = input.text("Path").unwrap_or("/");
    let arn = |rest: String| world.account.arn("iam", "", &rest);
    let mut asks = Vec::new();
    // The operation's own resource is the first that it names.
    if let Some(name) = input.text("InstanceProfileName") {
        let known = iam.profiles.get(name);
        let resource = known.map_or_else(|| arn(format!("instance-profile{path}{name}")), |profile| profile.arn.clone());
        let tags = known.map(|profile| profile.tags.clone()).unwrap_or_default();
        asks.push(Ask::of(call, "instance-profile", resource).resource_tags(&tags));
        let role = input.text("RoleName").filter(|_| call.operation == "AddRoleToInstanceProfile").and_then(|name| iam.roles.get(name));
        asks.extend(role.map(|role| passed(&role.arn, "ec2.amazonaws.com")));
    } else if let Some(name) = input.text("RoleName") {
        let known = iam.roles.get(name);
        let resource = known.map_or_else(|| arn(format!("role{path}{name}")), |role| role.arn.clone());
        asks.push(
            Ask::of(call, "role", resource).resource_tags(&decides.roles.get(name).map(|role| role.tags.clone()).unwrap_or_default()),
        );
    } else if let Some(name) = input.text("UserName") {
        let known = iam.users.get(name);
        let resource = known.map_or_else(|| arn(format!("user{path}{name}")), |user| user.arn.clone());
        asks.push(
            Ask::of(call, "user", resource).resource_tags(&decides.users.get(name).map(|user| user.tags.clone()).unwrap_or_default()),
        );
    } else if let Some(name) = input.text("PolicyName") {
        asks.push(Ask::of(call, "policy", arn(format!("policy{path}{name}"))));
    } else if let Some(policy) = input.text("PolicyArn") {
        asks.push(Ask::of(call, "policy", policy));
    } else if let Some(service) = input.text("AWSServiceName") {
        let resource = arn(format!("role/aws-service-role/{service}/*"));
        asks.push(Ask::of(call, "role", resource).with("iam:AWSServiceName", service));
    } else if let Some(source) = input.text("PolicySourceArn") {
        asks.push(Ask::of(call, if source.contains(":user/") { "user" } else { "role" }, source));
    } else if let Some(provider) = input.text("OpenIDConnectProviderArn") {
        asks.push(Ask::of(call, "oidc-provider", provider));
    } else if let Some(url) = input.text("Url") {
        let host = url.trim_start_matches("https://").trim_end_matches('/');
        asks.push(Ask::of(call, "oidc-provider", arn(format!("oidc-provider/{host}"))));
    } else {
        asks.push(Ask::of(call, "", "*"));
    }
    if let Some(first) = asks.first_mut() {
        *first = first.clone().request_tags(&tags(input, "Tags"));
        first.keys.maybe("iam:PolicyARN", input.text("PolicyArn"));
        first.keys.maybe("iam:PermissionsBoundary", input.text("PermissionsBoundary"));
    }
    asks
}

/// Assuming a role needs the consent of its trust policy.
fn sts(world: &World<'_>, call: &Call) -> Vec<Ask> {
    if call.operation != "AssumeRole" {
        return vec![Ask::of(call, "", "*")];
    }
    let arn = call.input.text("RoleArn").unwrap_or_default();
    let mut ask = Ask::of(call, "role", arn).request_tags(&tags(&call.input, "Tags"));
    ask.keys.maybe("sts:RoleSessionName", call.input.text("RoleSessionName"));
    ask.keys.maybe("sts:ExternalId", call.input.text("ExternalId"));
    ask.keys.maybe("sts:SourceIdentity", call.input.text("SourceIdentity"));
    ask.by_resource = true;
    if let Some((_, role)) = world.role_anywhere(arn, true) {
        ask = ask.resource_tags(&role.tags).own_policy("trust policy", role.trust.policy.clone());
    }
    vec![ask]
}

fn sqs(world: &World<'_>, call: &Call) -> Ask {
    let url = call.input.text("QueueUrl").and_then(|url| url.rsplit('/').next());
    let Some(name) = url.or_else(|| call.input.text("QueueName")) else { return Ask::of(call, "", "*") };
    let owner = crate::services::sqs::abroad(call).and_then(|owner| world.others.get(owner));
    let arn = owner.map_or(&*world.account, |owner| &owner.account).arn("sqs", &world.region.name, name);
    let mut ask = Ask::of(call, "queue", arn).request_tags(&tags(&call.input, "tags"));
    // Of a stranger's queue both must allow it: its policy, and the caller's own.
    ask.by_resource = owner.is_some();
    let region = owner.map_or(Some(&*world.region), |owner| owner.regions.get(&world.region.name));
    if let Some(queue) = region.and_then(|region| region.queues.get(name)) {
        ask = ask.resource_tags(&queue.tags);
        if let Some(document) = queue_policy(queue) {
            ask = ask.own_policy(&format!("of queue {name}"), document.policy);
        }
    }
    ask
}

/// The policy that a queue has as an attribute.
pub(crate) fn queue_policy(queue: &crate::state::queue::Queue) -> Option<Document> {
    Document::read(queue.attributes.get("Policy").filter(|text| !text.is_empty())?, Kind::Resource).ok()
}

/// Public parameters have no account in their ARN.
fn ssm(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let input = &call.input;
    let names: Vec<&str> = input.text("Name").or_else(|| input.text("Path")).into_iter().chain(input.texts("Names")).collect();
    if names.is_empty() {
        return vec![Ask::of(call, "", "*")];
    }
    let asks = names.into_iter().map(|name| {
        let name = name.split(':').next().unwrap_or_default();
        let arn = world.account.arn("ssm", &world.region.name, &format!("parameter/{}", name.trim_start_matches('/')));
        let public = name.starts_with("/aws/service/");
        let arn = if public { arn.replacen(&world.account.id, "", 1) } else { arn };
        Ask::of(call, "parameter", arn).request_tags(&tags(input, "Tags"))
    });
    asks.collect()
}

fn eks(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let input = &call.input;
    let Some(cluster) = input.text("clusterName").or_else(|| input.text("name")) else { return vec![Ask::of(call, "", "*")] };
    let arn = |rest: String| world.account.arn("eks", &world.region.name, &rest);
    let known = world.region.clusters.get(cluster);
    // Each has its own ARN, which ends in an id that a request does not tell, and its own tags.
    let (of_group, of_entry) = (call.operation != "CreateNodegroup", call.operation != "CreateAccessEntry");
    let (kind, resource, tags_held) = match (input.text("nodegroupName"), input.text("principalArn"), input.text("associationId")) {
        (Some(group), ..) if of_group => {
            let held = known.and_then(|cluster| cluster.nodegroups.get(group)).map(|group| (group.arn.clone(), group.tags.clone()));
            let (arn, tags) = held.unwrap_or_else(|| (arn(format!("nodegroup/{cluster}/{group}/*")), Tags::new()));
            ("nodegroup", arn, tags)
        }
        (_, Some(principal), _) if of_entry => {
            let held = known.and_then(|cluster| cluster.entries.get(principal)).map(|entry| (entry.arn.clone(), entry.tags.clone()));
            let (arn, tags) = held.unwrap_or_else(|| (arn(format!("access-entry/{cluster}/*")), Tags::new()));
            ("access-entry", arn, tags)
        }
        (_, _, Some(id)) => {
            let tags = known.and_then(|cluster| cluster.associations.get(id)).map(|held| held.tags.clone()).unwrap_or_default();
            ("podidentityassociation", arn(format!("podidentityassociation/{cluster}/{id}")), tags)
        }
        _ => ("cluster", arn(format!("cluster/{cluster}")), known.map(|cluster| cluster.tags.clone()).unwrap_or_default()),
    };
    let mut asks = vec![Ask::of(call, kind, resource).request_tags(&tags(input, "tags")).resource_tags(&tags_held)];
    let role = input.text("roleArn").or_else(|| input.text("nodeRole")).filter(|_| call.operation.starts_with("Create"));
    let service = if call.operation == "CreatePodIdentityAssociation" { "pods.eks.amazonaws.com" } else { "eks.amazonaws.com" };
    asks.extend(role.map(|role| passed(role, service)));
    asks
}

fn events(world: &World<'_>, call: &Call) -> Ask {
    match call.input.text("Name").or_else(|| call.input.text("Rule")) {
        Some(rule) => Ask::of(call, "rule", world.account.arn("events", &world.region.name, &format!("rule/{rule}"))),
        None => Ask::of(call, "", "*"),
    }
}

/// A group is named by itself, by one of its instances, or by tags; each tag names its own.
/// Source: service authorization reference, "Actions, resources, and condition keys for Amazon EC2 Auto Scaling".
fn autoscaling(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let input = &call.input;
    // What only describes has no resource.
    if reference::action("autoscaling", call.operation).is_some_and(|action| action.resource(GROUP).is_none()) {
        return vec![Ask::of(call, "", "*")];
    }
    let groups = &world.region.groups_of_scaling;
    let of_instance = |id: &str| groups.values().find(|group| group.members.contains_key(id)).map(|group| group.name.as_str());
    let mut names: BTreeSet<&str> = input.text("AutoScalingGroupName").into_iter().collect();
    if names.is_empty() {
        names.extend(input.text("InstanceId").and_then(of_instance));
        names.extend(input.list("Tags").iter().filter_map(|tag| tag.text("ResourceId")));
    }
    let id = |rest: &str| world.account.arn("autoscaling", &world.region.name, &format!("autoScalingGroup:*:autoScalingGroupName/{rest}"));
    if names.is_empty() {
        return vec![Ask::of(call, GROUP, id("*"))];
    }
    let asks = names.into_iter().map(|name| {
        // The group that is made has no tags yet but those of the request, and no id.
        let held = groups.get(name).filter(|_| call.operation != "CreateAutoScalingGroup");
        let tags_held = held.into_iter().flat_map(|group| &group.tags).map(|(key, tag)| (key.clone(), tag.value.clone())).collect();
        let arn = held.map_or_else(|| id(name), |group| group.arn.clone());
        Ask::of(call, GROUP, arn).request_tags(&tags_of(input, name)).resource_tags(&tags_held)
    });
    asks.collect()
}

/// The reference's name of a group.
const GROUP: &str = "autoScalingGroup";

/// The tags that a request brings for one group; of one that makes a group they need not name it.
fn tags_of(input: &Members, name: &str) -> Tags {
    let own = input.list("Tags").iter().filter(|tag| tag.text("ResourceId").is_none_or(|of| of == name));
    own.filter_map(|tag| Some((tag.text("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned()))).collect()
}
