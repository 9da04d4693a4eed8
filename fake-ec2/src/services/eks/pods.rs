//! Pod Identity: which service account has which role, and the keys that a pod's agent gets for its token.

use serde_json::{Value, json};

use super::{cluster_mut, owner, paged, tags};
use crate::protocol::{AwsError, Call};
use crate::services::access::token;
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors, sts};
use crate::state::cluster::PodAssociation;
use crate::state::network::Tags;
use crate::state::{IamMode, World};

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.text("associationId").unwrap_or_default().to_owned();
    match call.operation {
        "CreatePodIdentityAssociation" => create(world, call),
        "DescribePodIdentityAssociation" => {
            let cluster = owner(world, call)?;
            let association = cluster.associations.get(&id).ok_or_else(|| errors::NO_ASSOCIATION.error(&[&id]))?;
            Ok(Out::new().with("association", render(&cluster.name, association)).done())
        }
        "ListPodIdentityAssociations" => list(world, call),
        "UpdatePodIdentityAssociation" => {
            let now = world.now;
            let role = call.input.text("roleArn").map(str::to_owned);
            let cluster = cluster_mut(world, call)?;
            let association = cluster.associations.get_mut(&id).ok_or_else(|| errors::NO_ASSOCIATION.error(&[&id]))?;
            association.role = role.unwrap_or_else(|| association.role.clone());
            association.modified = now;
            let shown = render(&cluster.name, &cluster.associations[&id]);
            Ok(Out::new().with("association", shown).done())
        }
        "DeletePodIdentityAssociation" => {
            let cluster = cluster_mut(world, call)?;
            let association = cluster.associations.remove(&id).ok_or_else(|| errors::NO_ASSOCIATION.error(&[&id]))?;
            Ok(Out::new().with("association", render(&cluster.name, &association)).done())
        }
        _ => Err(errors::unsupported(call)),
    }
}

fn render(cluster: &str, association: &PodAssociation) -> Value {
    json!({
        "clusterName": cluster, "namespace": association.namespace, "serviceAccount": association.service_account,
        "roleArn": association.role, "associationArn": association.arn, "associationId": association.id, "tags": association.tags,
        "createdAt": stamp(association.created), "modifiedAt": stamp(association.modified), "disableSessionTags": false,
    })
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let cluster = owner(world, call)?;
    let text = |member: &str| input.text(member).unwrap_or_default().to_owned();
    let (namespace, service_account, role) = (text("namespace"), text("serviceAccount"), text("roleArn"));
    let same = |it: &&PodAssociation| it.namespace == namespace && it.service_account == service_account;
    if let Some(held) = cluster.associations.values().find(same) {
        return Err(errors::ASSOCIATION_EXISTS.error(&[&held.id]));
    }
    let name = cluster.name.clone();
    if world.account.iam.role_by_arn(&role).is_none() {
        return Err(super::invalid(format!("Role provided in the request does not exist: {role}")));
    }
    let id = format!("a-{}", world.account.entropy.letters("pod-association", b"abcdefghijklmnopqrstuvwxyz0123456789", 17));
    let association = PodAssociation {
        arn: world.account.arn("eks", &world.region.name, &format!("podidentityassociation/{name}/{id}")),
        id: id.clone(),
        namespace,
        service_account,
        role,
        created: world.now,
        modified: world.now,
        tags: tags(input),
    };
    let shown = render(&name, &association);
    cluster_mut(world, call)?.associations.insert(id, association);
    Ok(Out::new().with("association", shown).done())
}

fn list(world: &mut World<'_>, call: &Call) -> Answer {
    let (namespace, account) = (call.input.text("namespace"), call.input.text("serviceAccount"));
    let cluster = owner(world, call)?;
    let asked = cluster.associations.values().filter(|it| {
        namespace.is_none_or(|namespace| it.namespace == namespace) && account.is_none_or(|account| it.service_account == account)
    });
    let rows = asked.map(|it| {
        let row = json!({
            "clusterName": cluster.name, "namespace": it.namespace, "serviceAccount": it.service_account, "associationArn": it.arn,
            "associationId": it.id,
        });
        (it.id.clone(), row)
    });
    paged(call, "associations", rows.collect())
}

/// Keys of the role that the token's service account has. The token's signature is not verified; its audience and time are.
/// Source: EKS Auth API reference, AssumeRoleForPodIdentity; the session tags are those of the user guide's "Grant Pods access … based on tags".
pub(super) fn assume(world: &mut World<'_>, call: &Call) -> Answer {
    let refused = |why: &str| -> AwsError { errors::POD_TOKEN.error(&[why]) };
    let claims = token::claims(call.input.text("token").unwrap_or_default()).ok_or_else(|| refused("it is no JWT"))?;
    if !token::audiences(&claims).contains(&"pods.eks.amazonaws.com") {
        return Err(refused("its audience is not pods.eks.amazonaws.com"));
    }
    if claims.int("exp").is_some_and(|expires| expires <= world.now.as_second()) {
        return Err(refused("it has expired"));
    }
    let subject = claims.text("sub").unwrap_or_default().strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let (namespace, account) = subject.ok_or_else(|| refused("its subject is no service account"))?;
    let cluster = owner(world, call)?;
    let association = cluster.associations.values().find(|it| it.namespace == namespace && it.service_account == account);
    let association = association.ok_or_else(|| errors::POD_UNKNOWN.error(&[namespace, account]))?.clone();
    let cluster_arn = cluster.arn.clone();
    let cluster = cluster.name.clone();
    let role = world
        .role_anywhere(&association.role, world.account.settings.iam == IamMode::Enforce)
        .map(|(_, role)| (role.id.clone(), role.name.clone()));
    let (role_id, role) = role.ok_or_else(|| errors::POD_UNKNOWN.error(&[namespace, account]))?;
    let tags = [
        ("eks-cluster-arn", cluster_arn),
        ("eks-cluster-name", cluster.clone()),
        ("kubernetes-namespace", namespace.to_owned()),
        ("kubernetes-service-account", account.to_owned()),
    ];
    let tags: Tags = tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let session = format!("eks-{cluster}-{account}-{}", world.account.entropy.uuid("pod-session"));
    let keys = sts::keys(world.account, world.now, 6 * 3600, Vec::new(), tags);
    Ok(json!({
        "subject": {"namespace": namespace, "serviceAccount": account},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {"associationArn": association.arn, "associationId": association.id},
        "assumedRoleUser": {
            "arn": world.account.arn("sts", "", &format!("assumed-role/{role}/{session}")), "assumeRoleId": format!("{role_id}:{session}"),
        },
        "credentials": {
            "sessionToken": keys["SessionToken"], "secretAccessKey": keys["SecretAccessKey"], "accessKeyId": keys["AccessKeyId"],
            "expiration": keys["Expiration"],
        },
    }))
}
