//! Managed policies and their versions.

use serde_json::{Value, json};

use super::{encoded, managed_document, name, paged, path, render_tags, tags};
use crate::policy::reference;
use crate::protocol::{AwsError, Call};
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::iam::{Iam, ManagedPolicy, PolicyVersion};

/// Most versions of a policy. Source: IAM user guide, "IAM and AWS STS quotas".
const VERSIONS: usize = 5;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "CreatePolicy" => create(world, call),
        "GetPolicy" => {
            let arn = call.input.text("PolicyArn").unwrap_or_default();
            match world.account.iam.policies.get(arn) {
                Some(policy) => Ok(Out::new().with("Policy", render(&world.account.iam, policy)).done()),
                None if reference::managed_policy(arn).is_some() => Ok(Out::new().with("Policy", of_aws(world, arn)).done()),
                None => Err(errors::NO_MANAGED_POLICY.error(&[arn])),
            }
        }
        "DeletePolicy" => delete(world, call),
        "ListPolicies" => list(world, call),
        "CreatePolicyVersion" => create_version(world, call),
        "GetPolicyVersion" => get_version(world, call),
        "ListPolicyVersions" => {
            let policy = policy(world, call)?;
            let rows =
                policy.versions.iter().map(|(number, version)| (format!("{number:09}"), render_version(policy, *number, version, false)));
            paged(call, "Versions", rows.collect())
        }
        "DeletePolicyVersion" => {
            let (arn, number) = version(world, call)?;
            let policy = world.account.iam.policies.get_mut(&arn).ok_or_else(|| errors::NO_MANAGED_POLICY.error(&[&arn]))?;
            if policy.default_version == number {
                return Err(errors::POLICY_DEFAULT.error(&[]));
            }
            policy.versions.remove(&number);
            Ok(Out::new().done())
        }
        "SetDefaultPolicyVersion" => {
            let (arn, number) = version(world, call)?;
            let policy = world.account.iam.policies.get_mut(&arn).ok_or_else(|| errors::NO_MANAGED_POLICY.error(&[&arn]))?;
            policy.default_version = number;
            Ok(Out::new().done())
        }
        _ => Err(errors::unsupported(call)),
    }
}

fn policy<'a>(world: &'a World<'_>, call: &Call) -> Result<&'a ManagedPolicy, AwsError> {
    let arn = call.input.text("PolicyArn").unwrap_or_default();
    world.account.iam.policies.get(arn).ok_or_else(|| errors::NO_MANAGED_POLICY.error(&[arn]))
}

/// The version that a request names (`v3`), which must be there.
fn version(world: &World<'_>, call: &Call) -> Result<(String, u64), AwsError> {
    let policy = policy(world, call)?;
    let asked = call.input.text("VersionId").unwrap_or_default();
    let number = asked.strip_prefix('v').and_then(|number| number.parse().ok()).filter(|number| policy.versions.contains_key(number));
    Ok((policy.arn.clone(), number.ok_or_else(|| errors::NO_POLICY_VERSION.error(&[&policy.arn, asked]))?))
}

fn attachments(iam: &Iam, arn: &str) -> (usize, usize) {
    let all = || iam.roles.values().map(|role| &role.permissions).chain(iam.users.values().map(|user| &user.permissions));
    let attached = all().filter(|permissions| permissions.attached.contains(arn)).count();
    (attached, all().filter(|permissions| permissions.boundary.as_deref() == Some(arn)).count())
}

fn render(iam: &Iam, policy: &ManagedPolicy) -> Value {
    let (attached, bounds) = attachments(iam, &policy.arn);
    Out::new()
        .with("PolicyName", policy.name.clone())
        .with("PolicyId", policy.id.clone())
        .with("Arn", policy.arn.clone())
        .with("Path", policy.path.clone())
        .with("DefaultVersionId", format!("v{}", policy.default_version))
        .with("AttachmentCount", attached)
        .with("PermissionsBoundaryUsageCount", bounds)
        .with("IsAttachable", true)
        .maybe("Description", policy.description.clone())
        .with("CreateDate", stamp(policy.created))
        .with("UpdateDate", stamp(policy.updated))
        .with("Tags", render_tags(&policy.tags))
        .done()
}

/// One of AWS's own; its id and dates are not known here.
fn of_aws(world: &World<'_>, arn: &str) -> Value {
    let path = arn.split(":policy").nth(1).and_then(|rest| rest.rsplit_once('/')).map_or("/".to_owned(), |(path, _)| format!("{path}/"));
    let (attached, bounds) = attachments(&world.account.iam, arn);
    json!({
        "PolicyName": arn.rsplit('/').next(), "Arn": arn, "Path": path, "DefaultVersionId": "v1", "AttachmentCount": attached,
        "PermissionsBoundaryUsageCount": bounds, "IsAttachable": true,
    })
}

fn render_version(policy: &ManagedPolicy, number: u64, version: &PolicyVersion, whole: bool) -> Value {
    Out::new()
        .maybe("Document", whole.then(|| encoded(&version.document.text)))
        .with("VersionId", format!("v{number}"))
        .with("IsDefaultVersion", number == policy.default_version)
        .with("CreateDate", stamp(version.created))
        .done()
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let (name, path) = (name(&call.input, "PolicyName", 128)?, path(&call.input)?);
    let document = managed_document(&call.input)?;
    let arn = world.account.arn("iam", "", &format!("policy{path}{name}"));
    if world.account.iam.policies.values().any(|policy| policy.name == name) {
        return Err(errors::POLICY_EXISTS.error(&[name]));
    }
    let policy = ManagedPolicy {
        name: name.to_owned(),
        path: path.to_owned(),
        id: world.account.entropy.iam_id("ANPA"),
        arn: arn.clone(),
        description: call.input.text("Description").map(str::to_owned),
        created: world.now,
        updated: world.now,
        tags: tags(&call.input),
        default_version: 1,
        versions: [(1, PolicyVersion { document, created: world.now })].into(),
        latest: 1,
    };
    let shown = render(&world.account.iam, &policy);
    world.account.iam.policies.insert(arn, policy);
    Ok(Out::new().with("Policy", shown).done())
}

fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let policy = policy(world, call)?;
    let arn = policy.arn.clone();
    if attachments(&world.account.iam, &arn) != (0, 0) {
        return Err(errors::POLICY_ATTACHED.error(&[]));
    }
    if policy.versions.len() > 1 {
        return Err(errors::POLICY_DEFAULT.error(&[]));
    }
    world.account.iam.policies.remove(&arn);
    Ok(Out::new().done())
}

fn list(world: &mut World<'_>, call: &Call) -> Answer {
    let scope = call.input.text("Scope").unwrap_or("All");
    let prefix = call.input.text("PathPrefix").unwrap_or("/");
    let iam = &world.account.iam;
    let mut rows: Vec<(String, Value)> = Vec::new();
    if scope != "AWS" {
        rows.extend(iam.policies.values().map(|policy| (policy.arn.clone(), render(iam, policy))));
    }
    if scope != "Local" {
        rows.extend(reference::managed_policies().map(|arn| (arn.to_owned(), of_aws(world, arn))));
    }
    rows.retain(|(_, row)| row.text("Path").is_some_and(|path| path.starts_with(prefix)));
    if call.input.flag("OnlyAttached") {
        rows.retain(|(_, row)| row.int("AttachmentCount").unwrap_or(0) > 0);
    }
    paged(call, "Policies", rows)
}

fn create_version(world: &mut World<'_>, call: &Call) -> Answer {
    let document = managed_document(&call.input)?;
    let arn = policy(world, call)?.arn.clone();
    let now = world.now;
    let policy = world.account.iam.policies.get_mut(&arn).ok_or_else(|| errors::NO_MANAGED_POLICY.error(&[&arn]))?;
    if policy.versions.len() >= VERSIONS {
        return Err(errors::POLICY_VERSIONS.error(&[]));
    }
    policy.latest += 1;
    let number = policy.latest;
    policy.versions.insert(number, PolicyVersion { document, created: now });
    policy.updated = now;
    if call.input.flag("SetAsDefault") {
        policy.default_version = number;
    }
    let shown = policy.versions.get(&number).map(|version| render_version(policy, number, version, false));
    Ok(Out::new().maybe("PolicyVersion", shown).done())
}

fn get_version(world: &mut World<'_>, call: &Call) -> Answer {
    let arn = call.input.text("PolicyArn").unwrap_or_default();
    if let Some(text) = reference::managed_policy(arn) {
        let shown = json!({"Document": encoded(text), "VersionId": "v1", "IsDefaultVersion": true});
        return Ok(Out::new().with("PolicyVersion", shown).done());
    }
    let (_, number) = version(world, call)?;
    let policy = policy(world, call)?;
    let shown = policy.versions.get(&number).map(|version| render_version(policy, number, version, true));
    Ok(Out::new().maybe("PolicyVersion", shown).done())
}
