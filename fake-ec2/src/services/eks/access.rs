//! Access entries: which IAM principals the cluster knows, and with which access policies. Kubernetes' own authorization is not asked.

use serde_json::{Value, json};

use super::{cluster_mut, owner, paged, tags};
use crate::protocol::{AwsError, Call};
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::cluster::AccessEntry;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let principal = call.input.text("principalArn").unwrap_or_default().to_owned();
    match call.operation {
        "CreateAccessEntry" => create(world, call, &principal),
        "DescribeAccessEntry" => {
            let cluster = owner(world, call)?;
            let entry = cluster.entries.get(&principal).ok_or_else(|| errors::NO_ENTRY.error(&[]))?;
            Ok(Out::new().with("accessEntry", render(&cluster.name, entry)).done())
        }
        "ListAccessEntries" => {
            let policy = call.input.text("associatedPolicyArn");
            let entries = owner(world, call)?.entries.values();
            let asked = entries.filter(|entry| policy.is_none_or(|arn| entry.policies.contains_key(arn)));
            paged(call, "accessEntries", asked.map(|entry| (entry.principal.clone(), json!(entry.principal))).collect())
        }
        "DeleteAccessEntry" => {
            let removed = cluster_mut(world, call)?.entries.remove(&principal);
            removed.map(|_| Out::new().done()).ok_or_else(|| errors::NO_ENTRY.error(&[]))
        }
        "AssociateAccessPolicy" => associate(world, call, &principal),
        "DisassociateAccessPolicy" => {
            let arn = call.input.text("policyArn").unwrap_or_default();
            entry(world, call, &principal)?.policies.remove(arn);
            Ok(Out::new().done())
        }
        "ListAssociatedAccessPolicies" => {
            let name = owner(world, call)?.name.clone();
            let entry = entry(world, call, &principal)?;
            let rows = entry.policies.iter().map(|(arn, held)| (arn.clone(), render_policy(arn, held))).collect();
            let mut answer = paged(call, "associatedAccessPolicies", rows)?;
            answer["clusterName"] = name.into();
            answer["principalArn"] = principal.into();
            Ok(answer)
        }
        _ => Err(errors::unsupported(call)),
    }
}

fn entry<'a>(world: &'a mut World<'_>, call: &Call, principal: &str) -> Result<&'a mut AccessEntry, AwsError> {
    cluster_mut(world, call)?.entries.get_mut(principal).ok_or_else(|| errors::NO_ENTRY.error(&[]))
}

fn render(cluster: &str, entry: &AccessEntry) -> Value {
    json!({
        "clusterName": cluster, "principalArn": entry.principal, "kubernetesGroups": entry.groups, "accessEntryArn": entry.arn,
        "createdAt": stamp(entry.created), "modifiedAt": stamp(entry.created), "tags": entry.tags, "username": entry.username, "type": entry.kind,
    })
}

fn render_policy(arn: &str, (scope, at): &(Value, jiff::Timestamp)) -> Value {
    json!({"policyArn": arn, "accessScope": scope, "associatedAt": stamp(*at), "modifiedAt": stamp(*at)})
}

fn create(world: &mut World<'_>, call: &Call, principal: &str) -> Answer {
    let input = &call.input;
    let cluster = owner(world, call)?;
    if cluster.entries.contains_key(principal) {
        return Err(errors::ENTRY_EXISTS.error(&[]));
    }
    let name = cluster.name.clone();
    let kind = input.text("type").unwrap_or("STANDARD").to_owned();
    // Source: EKS user guide, "Create access entries": user names of nodes, roles and users.
    let username = match (input.text("username"), kind.as_str()) {
        (Some(username), _) => username.to_owned(),
        (None, "EC2_LINUX" | "EC2" | "HYBRID_LINUX") => "system:node:{{EC2PrivateDNSName}}".to_owned(),
        (None, _) => match principal.split_once(":role/") {
            Some((account, role)) => {
                let account = account.rsplit(':').next().unwrap_or_default();
                format!("arn:aws:sts::{account}:assumed-role/{}/{{{{SessionName}}}}", role.rsplit('/').next().unwrap_or_default())
            }
            None => principal.to_owned(),
        },
    };
    let mut groups: Vec<String> = input.texts("kubernetesGroups").into_iter().map(str::to_owned).collect();
    if kind == "EC2_LINUX" {
        groups.push("system:nodes".to_owned());
    }
    let id = world.account.entropy.uuid("access-entry");
    let rest = format!("access-entry/{name}/{}/{id}", principal.rsplit(':').next().unwrap_or_default());
    let entry = AccessEntry {
        principal: principal.to_owned(),
        arn: world.account.arn("eks", &world.region.name, &rest),
        kind,
        username,
        groups,
        created: world.now,
        tags: tags(input),
        policies: Default::default(),
    };
    let shown = render(&name, &entry);
    cluster_mut(world, call)?.entries.insert(principal.to_owned(), entry);
    Ok(Out::new().with("accessEntry", shown).done())
}

fn associate(world: &mut World<'_>, call: &Call, principal: &str) -> Answer {
    let arn = call.input.text("policyArn").unwrap_or_default().to_owned();
    if !arn.starts_with("arn:aws:eks::aws:cluster-access-policy/") {
        return Err(super::invalid(format!("The policyArn parameter format is not valid: {arn}")));
    }
    let scope = call.input.get("accessScope").cloned().unwrap_or_else(|| json!({"type": "cluster"}));
    let now = world.now;
    let held = (scope, now);
    let shown = render_policy(&arn, &held);
    entry(world, call, principal)?.policies.insert(arn, held);
    let name = call.input.text("clusterName").unwrap_or_default();
    Ok(json!({"clusterName": name, "principalArn": principal, "associatedAccessPolicy": shown}))
}
