//! IAM: users and roles with their policies, instance profiles, identity providers.
//!
//! What policies decide is in [`access`](super::access); here they are kept, checked and shown.
//!
//! | module | operations |
//! |---|---|
//! | this | roles, instance profiles |
//! | [`grants`] | what is attached to users and roles: managed and inline policies, boundaries |
//! | [`policies`] | managed policies and their versions |
//! | [`users`] | users and their access keys |
//! | [`providers`] | OIDC identity providers |
//! | [`simulate`] | the policy simulator |

mod grants;
mod policies;
mod providers;
mod simulate;
mod users;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::input::{Members, Out, Read, stamp};
use super::page;
use super::{Answer, errors};
use crate::policy::{Kind, identity};
use crate::protocol::{AwsError, Call};
use crate::state::iam::{Document, InstanceProfile, Permissions, Role};
use crate::state::network::Tags;
use crate::state::{Delay, World};

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let lags = world.account.settings.iam_propagation.policies != Delay::ZERO && changes_decisions(call.operation);
    let before = lags.then(|| world.account.iam.as_it_is());
    let answer = answer(world, call)?;
    if let Some(before) = before {
        world.account.iam_changed(world.now, before);
    }
    Ok(answer)
}

/// Whether decisions go by what the operation changes. Instance profiles, identity providers and keys are not asked when one is made.
fn changes_decisions(operation: &str) -> bool {
    !["Get", "List", "Simulate"].iter().any(|reads| operation.starts_with(reads))
        && !["InstanceProfile", "OpenIDConnect", "AccessKey"].iter().any(|other| operation.contains(other))
}

fn answer(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "AddRoleToInstanceProfile" => add_role(world, call),
        "CreateInstanceProfile" => create_profile(world, call),
        "CreateRole" => create_role(world, call),
        "CreateServiceLinkedRole" => create_linked_role(world, call),
        "DeleteInstanceProfile" => delete_profile(world, call),
        "DeleteRole" => delete_role(world, call),
        "GetInstanceProfile" => {
            let profile = profile(world, &call.input)?;
            Ok(Out::new().with("InstanceProfile", render_profile(world, profile)).done())
        }
        "GetRole" => Ok(Out::new().with("Role", render_role(role(world, &call.input)?)).done()),
        "ListInstanceProfiles" => list_profiles(world, call),
        "ListInstanceProfilesForRole" => list_profiles_of_role(world, call),
        "ListRoleTags" => {
            let tags = &role(world, &call.input)?.tags;
            paged(call, "Tags", tags.iter().map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value}))).collect())
        }
        "ListRoles" => list_roles(world, call),
        "RemoveRoleFromInstanceProfile" => remove_role(world, call),
        "TagInstanceProfile" => {
            let new = tags(&call.input);
            profile_mut(world, &call.input)?.tags.extend(new);
            Ok(Out::new().done())
        }
        "TagRole" => {
            let new = tags(&call.input);
            role_mut(world, &call.input)?.tags.extend(new);
            Ok(Out::new().done())
        }
        "UntagInstanceProfile" => {
            let keys = call.input.texts("TagKeys");
            profile_mut(world, &call.input)?.tags.retain(|key, _| !keys.contains(&key.as_str()));
            Ok(Out::new().done())
        }
        "UntagRole" => {
            let keys = call.input.texts("TagKeys");
            role_mut(world, &call.input)?.tags.retain(|key, _| !keys.contains(&key.as_str()));
            Ok(Out::new().done())
        }
        "UpdateAssumeRolePolicy" => update_trust(world, call),
        "SimulateCustomPolicy" | "SimulatePrincipalPolicy" => simulate::handle(world, call),
        name if name.contains("OpenIDConnect") => providers::handle(world, call),
        name if name.ends_with("AccessKey") || name.ends_with("AccessKeys") || name.ends_with("User") || name == "ListUsers" => {
            users::handle(world, call)
        }
        name if name.contains("UserPol") || name.contains("RolePol") || name.contains("PermissionsBoundary") => grants::handle(world, call),
        _ => policies::handle(world, call),
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

fn profile_mut<'a>(world: &'a mut World<'_>, input: &Members) -> Result<&'a mut InstanceProfile, AwsError> {
    let name = input.text("InstanceProfileName").unwrap_or_default();
    world.account.iam.profiles.get_mut(name).ok_or_else(|| errors::NO_PROFILE.error(&[name]))
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
        .with("AssumeRolePolicyDocument", encoded(&role.trust.text))
        .maybe("Description", role.description.clone())
        .with("MaxSessionDuration", role.max_session_seconds)
        .maybe("PermissionsBoundary", role.permissions.boundary.as_deref().map(grants::render_boundary))
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

/// The document of a managed policy.
fn managed_document(input: &Members) -> Result<Document, AwsError> {
    let checked = identity::check(input.text("PolicyDocument").unwrap_or_default(), true);
    checked.map_err(|fault| errors::POLICY_DOCUMENT.error(&[&fault.to_string()]))?;
    document(input, "PolicyDocument", Kind::Identity)
}

fn document(input: &Members, member: &str, kind: Kind) -> Result<Document, AwsError> {
    let text = input.text(member).unwrap_or_default();
    let checked = if kind == Kind::Identity { identity::check(text, false) } else { Ok(()) };
    checked.and_then(|()| Document::read(text, kind)).map_err(|fault| errors::POLICY_DOCUMENT.error(&[&fault.to_string()]))
}

fn create_role(world: &mut World<'_>, call: &Call) -> Answer {
    let (name, path) = (name(&call.input, "RoleName", 64)?, path(&call.input)?);
    let trust = document(&call.input, "AssumeRolePolicyDocument", Kind::Trust)?;
    if world.account.iam.roles.contains_key(name) {
        return Err(errors::ROLE_EXISTS.error(&[name]));
    }
    let boundary = grants::known_boundary(world, &call.input)?;
    let role = Role {
        id: world.account.entropy.iam_id("AROA"),
        arn: world.account.arn("iam", "", &format!("role{path}{name}")),
        name: name.to_owned(),
        path: path.to_owned(),
        description: call.input.text("Description").map(str::to_owned),
        trust,
        max_session_seconds: call.input.int("MaxSessionDuration").unwrap_or(3600),
        created: world.now,
        tags: tags(&call.input),
        permissions: Permissions { boundary, ..Permissions::default() },
    };
    let shown = render_role(&role);
    world.account.iam.roles.insert(role.name.clone(), role);
    Ok(Out::new().with("Role", shown).done())
}

/// `AWSServiceRoleFor…` of a service (`spot.amazonaws.com` → `AWSServiceRoleForEC2Spot`).
fn create_linked_role(world: &mut World<'_>, call: &Call) -> Answer {
    let service = call.input.text("AWSServiceName").unwrap_or_default();
    let role = make_linked_role(world, service, call.input.text("Description"))?;
    Ok(Out::new().with("Role", role).done())
}

/// Makes a service-linked role and shows it.
pub(super) fn make_linked_role(world: &mut World<'_>, service: &str, description: Option<&str>) -> Answer {
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
        description: description.map(str::to_owned),
        trust: Document::read(&trust.to_string(), Kind::Trust).map_err(|fault| errors::POLICY_DOCUMENT.error(&[&fault.to_string()]))?,
        max_session_seconds: 3600,
        created: world.now,
        tags: Tags::new(),
        permissions: Permissions::default(),
    };
    let shown = render_role(&role);
    world.account.iam.roles.insert(role.name.clone(), role);
    Ok(shown)
}

fn update_trust(world: &mut World<'_>, call: &Call) -> Answer {
    let trust = document(&call.input, "PolicyDocument", Kind::Trust)?;
    role_mut(world, &call.input)?.trust = trust;
    Ok(Out::new().done())
}

fn delete_role(world: &mut World<'_>, call: &Call) -> Answer {
    let role = role(world, &call.input)?;
    let name = role.name.clone();
    if world.account.iam.profiles.values().any(|profile| profile.roles.contains(&name)) {
        return Err(errors::ROLE_HAS_PROFILES.error(&[]));
    }
    if !role.permissions.attached.is_empty() || !role.permissions.inline.is_empty() {
        return Err(errors::ROLE_HAS_POLICIES.error(&[]));
    }
    world.account.iam.roles.remove(&name);
    Ok(Out::new().done())
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
        known: world.account.iam_reaches_ec2(world.now),
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
    let known = world.account.iam_reaches_ec2(world.now);
    if let Some(profile) = world.account.iam.profiles.get_mut(&name) {
        profile.roles.push(role);
        profile.known = known;
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
