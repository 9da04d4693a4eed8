//! IAM: roles with their policies, instance profiles. Policies are kept, not evaluated.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::input::{Members, Out, Read, stamp};
use super::page;
use super::{Answer, errors};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::iam::{InstanceProfile, Role};
use crate::state::network::Tags;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "AddRoleToInstanceProfile" => add_role(world, call),
        "AttachRolePolicy" => attach(world, call),
        "CreateInstanceProfile" => create_profile(world, call),
        "CreateRole" => create_role(world, call),
        "CreateServiceLinkedRole" => create_linked_role(world, call),
        "DeleteInstanceProfile" => delete_profile(world, call),
        "DeleteRole" => delete_role(world, call),
        "DeleteRolePolicy" => delete_inline(world, call),
        "DetachRolePolicy" => detach(world, call),
        "GetInstanceProfile" => {
            let profile = profile(world, &call.input)?;
            Ok(Out::new().with("InstanceProfile", render_profile(world, profile)).done())
        }
        "GetRole" => Ok(Out::new().with("Role", render_role(role(world, &call.input)?)).done()),
        "GetRolePolicy" => get_inline(world, call),
        "ListAttachedRolePolicies" => list_attached(world, call),
        "ListInstanceProfiles" => list_profiles(world, call),
        "ListInstanceProfilesForRole" => list_profiles_of_role(world, call),
        "ListRolePolicies" => list_inline(world, call),
        "ListRoles" => list_roles(world, call),
        "PutRolePolicy" => put_inline(world, call),
        "RemoveRoleFromInstanceProfile" => remove_role(world, call),
        "TagInstanceProfile" => {
            let name = profile(world, &call.input)?.name.clone();
            if let Some(profile) = world.account.iam.profiles.get_mut(&name) {
                profile.tags.extend(tags(&call.input));
            }
            Ok(Out::new().done())
        }
        "TagRole" => {
            let name = role(world, &call.input)?.name.clone();
            if let Some(role) = world.account.iam.roles.get_mut(&name) {
                role.tags.extend(tags(&call.input));
            }
            Ok(Out::new().done())
        }
        "UntagInstanceProfile" => {
            let name = profile(world, &call.input)?.name.clone();
            let keys = call.input.texts("TagKeys");
            if let Some(profile) = world.account.iam.profiles.get_mut(&name) {
                profile.tags.retain(|key, _| !keys.contains(&key.as_str()));
            }
            Ok(Out::new().done())
        }
        "UpdateAssumeRolePolicy" => update_trust(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

fn tags(input: &Members) -> Tags {
    let pair = |tag: &Value| Some((tag.text("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned()));
    input.list("Tags").iter().filter_map(pair).collect()
}

fn render_tags(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// A name of 1 to `most` letters, digits and `_+=,.@-`. Source: IAM user guide, "IAM name requirements".
fn name<'a>(input: &'a Members, member: &str, most: usize) -> Result<&'a str, AwsError> {
    let name = input.text(member).unwrap_or_default();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if (1..=most).contains(&name.len()) && name.chars().all(allowed) {
        Ok(name)
    } else {
        Err(errors::IAM_NAME.error(&[&super::input::lower_first(member)]))
    }
}

fn path(input: &Members) -> Result<&str, AwsError> {
    let path = input.text("Path").unwrap_or("/");
    if path.starts_with('/') && path.ends_with('/') { Ok(path) } else { Err(errors::IAM_NAME.error(&["path"])) }
}

fn role<'a>(world: &'a World<'_>, input: &Members) -> Result<&'a Role, AwsError> {
    let name = input.text("RoleName").unwrap_or_default();
    world.account.iam.roles.get(name).ok_or_else(|| errors::NO_ROLE.error(&[name]))
}

fn role_mut<'a>(world: &'a mut World<'_>, input: &Members) -> Result<&'a mut Role, AwsError> {
    let name = input.text("RoleName").unwrap_or_default();
    world.account.iam.roles.get_mut(name).ok_or_else(|| errors::NO_ROLE.error(&[name]))
}

fn profile<'a>(world: &'a World<'_>, input: &Members) -> Result<&'a InstanceProfile, AwsError> {
    let name = input.text("InstanceProfileName").unwrap_or_default();
    world.account.iam.profiles.get(name).ok_or_else(|| errors::NO_PROFILE.error(&[name]))
}

/// Policy documents come back percent-encoded. Source: IAM API reference, Role, AssumeRolePolicyDocument.
fn encoded(document: &str) -> String {
    utf8_percent_encode(document, NON_ALPHANUMERIC).to_string()
}

fn render_role(role: &Role) -> Value {
    Out::new()
        .with("Path", role.path.clone())
        .with("RoleName", role.name.clone())
        .with("RoleId", role.id.clone())
        .with("Arn", role.arn.clone())
        .with("CreateDate", stamp(role.created))
        .with("AssumeRolePolicyDocument", encoded(&role.trust))
        .maybe("Description", role.description.clone())
        .with("MaxSessionDuration", role.max_session_seconds)
        .with("Tags", render_tags(&role.tags))
        .done()
}

fn render_profile(world: &World<'_>, profile: &InstanceProfile) -> Value {
    let roles = profile.roles.iter().filter_map(|name| world.account.iam.roles.get(name));
    json!({
        "Path": profile.path, "InstanceProfileName": profile.name, "InstanceProfileId": profile.id, "Arn": profile.arn,
        "CreateDate": stamp(profile.created), "Roles": roles.map(render_role).collect::<Vec<_>>(), "Tags": render_tags(&profile.tags),
    })
}

fn document<'a>(input: &'a Members, member: &str) -> Result<&'a str, AwsError> {
    let text = input.text(member).unwrap_or_default();
    let object = serde_json::from_str::<Value>(text).is_ok_and(|document| document.is_object());
    if object { Ok(text) } else { Err(errors::POLICY_DOCUMENT.error(&[])) }
}

fn create_role(world: &mut World<'_>, call: &Call) -> Answer {
    let (name, path) = (name(&call.input, "RoleName", 64)?, path(&call.input)?);
    let trust = document(&call.input, "AssumeRolePolicyDocument")?;
    if world.account.iam.roles.contains_key(name) {
        return Err(errors::ROLE_EXISTS.error(&[name]));
    }
    let role = Role {
        id: world.account.entropy.iam_id("AROA"),
        arn: world.account.arn("iam", "", &format!("role{path}{name}")),
        name: name.to_owned(),
        path: path.to_owned(),
        description: call.input.text("Description").map(str::to_owned),
        trust: trust.to_owned(),
        max_session_seconds: call.input.int("MaxSessionDuration").unwrap_or(3600),
        created: world.now,
        tags: tags(&call.input),
        attached: Default::default(),
        inline: Default::default(),
    };
    let shown = render_role(&role);
    world.account.iam.roles.insert(role.name.clone(), role);
    Ok(Out::new().with("Role", shown).done())
}

/// `AWSServiceRoleFor…` of a service (`spot.amazonaws.com` → `AWSServiceRoleForEC2Spot`).
fn create_linked_role(world: &mut World<'_>, call: &Call) -> Answer {
    let service = call.input.text("AWSServiceName").unwrap_or_default();
    let short = match service {
        "spot.amazonaws.com" => "EC2Spot",
        "spotfleet.amazonaws.com" => "EC2SpotFleet",
        "ec2fleet.amazonaws.com" => "EC2Fleet",
        "eks.amazonaws.com" => "AmazonEKS",
        "eks-nodegroup.amazonaws.com" => "AmazonEKSNodegroup",
        "autoscaling.amazonaws.com" => "AutoScaling",
        _ => return Err(errors::NO_LINKED_ROLE.error(&[])),
    };
    let name = format!("AWSServiceRoleFor{short}");
    if world.account.iam.roles.contains_key(&name) {
        return Err(errors::LINKED_ROLE_EXISTS.error(&[&name]));
    }
    let path = format!("/aws-service-role/{service}/");
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"},
    ]});
    let role = Role {
        id: world.account.entropy.iam_id("AROA"),
        arn: world.account.arn("iam", "", &format!("role{path}{name}")),
        name,
        path,
        description: call.input.text("Description").map(str::to_owned),
        trust: trust.to_string(),
        max_session_seconds: 3600,
        created: world.now,
        tags: Tags::new(),
        attached: Default::default(),
        inline: Default::default(),
    };
    let shown = render_role(&role);
    world.account.iam.roles.insert(role.name.clone(), role);
    Ok(Out::new().with("Role", shown).done())
}

fn update_trust(world: &mut World<'_>, call: &Call) -> Answer {
    let trust = document(&call.input, "PolicyDocument")?.to_owned();
    role_mut(world, &call.input)?.trust = trust;
    Ok(Out::new().done())
}

fn delete_role(world: &mut World<'_>, call: &Call) -> Answer {
    let role = role(world, &call.input)?;
    let name = role.name.clone();
    if world.account.iam.profiles.values().any(|profile| profile.roles.contains(&name)) {
        return Err(errors::ROLE_HAS_PROFILES.error(&[]));
    }
    if !role.attached.is_empty() || !role.inline.is_empty() {
        return Err(errors::ROLE_HAS_POLICIES.error(&[]));
    }
    world.account.iam.roles.remove(&name);
    Ok(Out::new().done())
}

fn attach(world: &mut World<'_>, call: &Call) -> Answer {
    let arn = call.input.text("PolicyArn").unwrap_or_default().to_owned();
    role_mut(world, &call.input)?.attached.insert(arn);
    Ok(Out::new().done())
}

fn detach(world: &mut World<'_>, call: &Call) -> Answer {
    let arn = call.input.text("PolicyArn").unwrap_or_default();
    if role_mut(world, &call.input)?.attached.remove(arn) { Ok(Out::new().done()) } else { Err(errors::NOT_ATTACHED.error(&[arn])) }
}

fn put_inline(world: &mut World<'_>, call: &Call) -> Answer {
    let policy = name(&call.input, "PolicyName", 128)?.to_owned();
    let document = document(&call.input, "PolicyDocument")?.to_owned();
    role_mut(world, &call.input)?.inline.insert(policy, document);
    Ok(Out::new().done())
}

fn get_inline(world: &mut World<'_>, call: &Call) -> Answer {
    let (role, policy) = (role(world, &call.input)?, call.input.text("PolicyName").unwrap_or_default());
    let document = role.inline.get(policy).ok_or_else(|| errors::NO_POLICY.error(&[policy]))?;
    Ok(json!({"RoleName": role.name, "PolicyName": policy, "PolicyDocument": encoded(document)}))
}

fn delete_inline(world: &mut World<'_>, call: &Call) -> Answer {
    let policy = call.input.text("PolicyName").unwrap_or_default();
    let removed = role_mut(world, &call.input)?.inline.remove(policy);
    removed.map(|_| Out::new().done()).ok_or_else(|| errors::NO_POLICY.error(&[policy]))
}

/// One page in IAM's manner: `Marker`, `MaxItems`, `IsTruncated`.
fn paged(call: &Call, member: &str, rows: Vec<(String, Value)>) -> Answer {
    let length = call.input.int("MaxItems").and_then(|items| usize::try_from(items).ok()).unwrap_or(100).clamp(1, 1000);
    let (rows, marker) = page::cut_by(call, length, call.input.text("Marker"), &errors::IAM_MARKER, rows)?;
    Ok(Out::new().with(member, rows).with("IsTruncated", marker.is_some()).maybe("Marker", marker).done())
}

fn list_roles(world: &mut World<'_>, call: &Call) -> Answer {
    let prefix = call.input.text("PathPrefix").unwrap_or("/");
    let roles = world.account.iam.roles.values().filter(|role| role.path.starts_with(prefix));
    paged(call, "Roles", roles.map(|role| (role.name.clone(), render_role(role))).collect())
}

fn list_attached(world: &mut World<'_>, call: &Call) -> Answer {
    let attached = role(world, &call.input)?.attached.iter();
    let rows = attached.map(|arn| (arn.clone(), json!({"PolicyName": arn.rsplit('/').next(), "PolicyArn": arn})));
    paged(call, "AttachedPolicies", rows.collect())
}

fn list_inline(world: &mut World<'_>, call: &Call) -> Answer {
    let names = role(world, &call.input)?.inline.keys();
    paged(call, "PolicyNames", names.map(|name| (name.clone(), json!(name))).collect())
}

fn create_profile(world: &mut World<'_>, call: &Call) -> Answer {
    let (name, path) = (name(&call.input, "InstanceProfileName", 128)?, path(&call.input)?);
    if world.account.iam.profiles.contains_key(name) {
        return Err(errors::PROFILE_EXISTS.error(&[name]));
    }
    let profile = InstanceProfile {
        id: world.account.entropy.iam_id("AIPA"),
        arn: world.account.arn("iam", "", &format!("instance-profile{path}{name}")),
        name: name.to_owned(),
        path: path.to_owned(),
        created: world.now,
        tags: tags(&call.input),
        roles: Vec::new(),
    };
    let shown = render_profile(world, &profile);
    world.account.iam.profiles.insert(profile.name.clone(), profile);
    Ok(Out::new().with("InstanceProfile", shown).done())
}

fn delete_profile(world: &mut World<'_>, call: &Call) -> Answer {
    let profile = profile(world, &call.input)?;
    if !profile.roles.is_empty() {
        return Err(errors::PROFILE_HAS_ROLES.error(&[]));
    }
    let name = profile.name.clone();
    world.account.iam.profiles.remove(&name);
    world.account.machines_version += 1;
    Ok(Out::new().done())
}

fn add_role(world: &mut World<'_>, call: &Call) -> Answer {
    let role = role(world, &call.input)?.name.clone();
    let profile = profile(world, &call.input)?;
    if !profile.roles.is_empty() {
        return Err(errors::PROFILE_FULL.error(&[]));
    }
    let name = profile.name.clone();
    if let Some(profile) = world.account.iam.profiles.get_mut(&name) {
        profile.roles.push(role);
    }
    world.account.machines_version += 1;
    Ok(Out::new().done())
}

fn remove_role(world: &mut World<'_>, call: &Call) -> Answer {
    let role = call.input.text("RoleName").unwrap_or_default();
    let name = profile(world, &call.input)?.name.clone();
    let roles = &mut world.account.iam.profiles.get_mut(&name).ok_or_else(|| errors::NO_PROFILE.error(&[&name]))?.roles;
    let at = roles.iter().position(|held| held == role).ok_or_else(|| errors::ROLE_NOT_IN_PROFILE.error(&[role]))?;
    roles.remove(at);
    world.account.machines_version += 1;
    Ok(Out::new().done())
}

fn list_profiles(world: &mut World<'_>, call: &Call) -> Answer {
    let prefix = call.input.text("PathPrefix").unwrap_or("/");
    let profiles = world.account.iam.profiles.values().filter(|profile| profile.path.starts_with(prefix));
    paged(call, "InstanceProfiles", profiles.map(|profile| (profile.name.clone(), render_profile(world, profile))).collect())
}

fn list_profiles_of_role(world: &mut World<'_>, call: &Call) -> Answer {
    let role = role(world, &call.input)?.name.clone();
    let profiles = world.account.iam.profiles.values().filter(|profile| profile.roles.contains(&role));
    paged(call, "InstanceProfiles", profiles.map(|profile| (profile.name.clone(), render_profile(world, profile))).collect())
}
