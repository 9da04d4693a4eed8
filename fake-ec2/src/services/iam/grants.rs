//! What is attached to users and roles: managed and inline policies, permissions boundaries. One code for both, since IAM's operations on
//! them differ in a word.

use serde_json::{Value, json};

use super::{document, encoded, name, paged};
use crate::policy::Kind;
use crate::protocol::{AwsError, Call};
use crate::services::input::{Members, Out, Read};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::iam::Permissions;

/// Whose permissions an operation is about.
#[derive(Clone, Copy)]
enum Owner {
    User,
    Role,
}

impl Owner {
    fn member(self) -> &'static str {
        match self {
            Self::User => "UserName",
            Self::Role => "RoleName",
        }
    }

    fn no_policy(self, policy: &str) -> AwsError {
        match self {
            Self::User => errors::NO_USER_POLICY.error(&[policy]),
            Self::Role => errors::NO_POLICY.error(&[policy]),
        }
    }
}

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let owner = if call.operation.contains("User") { Owner::User } else { Owner::Role };
    match call.operation {
        "AttachRolePolicy" | "AttachUserPolicy" => attach(world, call, owner),
        "DetachRolePolicy" | "DetachUserPolicy" => detach(world, call, owner),
        "PutRolePolicy" | "PutUserPolicy" => put(world, call, owner),
        "GetRolePolicy" | "GetUserPolicy" => get(world, call, owner),
        "DeleteRolePolicy" | "DeleteUserPolicy" => delete(world, call, owner),
        "ListAttachedRolePolicies" | "ListAttachedUserPolicies" => {
            let attached = permissions(world, call, owner)?.attached.iter();
            let rows = attached.map(|arn| (arn.clone(), json!({"PolicyName": arn.rsplit('/').next(), "PolicyArn": arn})));
            paged(call, "AttachedPolicies", rows.collect())
        }
        "ListRolePolicies" | "ListUserPolicies" => {
            let names = permissions(world, call, owner)?.inline.keys();
            paged(call, "PolicyNames", names.map(|name| (name.clone(), json!(name))).collect())
        }
        "PutRolePermissionsBoundary" | "PutUserPermissionsBoundary" => {
            let boundary = known_boundary(world, &call.input)?;
            permissions(world, call, owner)?.boundary = boundary;
            Ok(Out::new().done())
        }
        "DeleteRolePermissionsBoundary" | "DeleteUserPermissionsBoundary" => {
            let held = permissions(world, call, owner)?.boundary.take();
            let name = call.input.text(owner.member()).unwrap_or_default();
            held.map(|_| Out::new().done()).ok_or_else(|| errors::NO_SUCH_ROLE_BOUNDARY.error(&[name]))
        }
        _ => Err(errors::unsupported(call)),
    }
}

fn permissions<'a>(world: &'a mut World<'_>, call: &Call, owner: Owner) -> Result<&'a mut Permissions, AwsError> {
    let name = call.input.text(owner.member()).unwrap_or_default();
    let iam = &mut world.account.iam;
    match owner {
        Owner::User => iam.users.get_mut(name).map(|user| &mut user.permissions).ok_or_else(|| errors::NO_USER.error(&[name])),
        Owner::Role => iam.roles.get_mut(name).map(|role| &mut role.permissions).ok_or_else(|| errors::NO_ROLE.error(&[name])),
    }
}

/// The boundary that a request names, which must be a policy.
pub(super) fn known_boundary(world: &World<'_>, input: &Members) -> Result<Option<String>, AwsError> {
    let Some(arn) = input.text("PermissionsBoundary") else { return Ok(None) };
    world.account.iam.managed(arn).map(|_| Some(arn.to_owned())).ok_or_else(|| errors::NO_BOUNDARY.error(&[arn]))
}

pub(super) fn render_boundary(arn: &str) -> Value {
    json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn})
}

/// The account's policies must be there. AWS's own are taken by their name; what the table of documents does not know grants nothing.
fn attach(world: &mut World<'_>, call: &Call, owner: Owner) -> Answer {
    let arn = call.input.text("PolicyArn").unwrap_or_default().to_owned();
    let of_aws = arn.split(':').nth(4) == Some("aws") && arn.contains(":policy/");
    if !of_aws && !world.account.iam.policies.contains_key(&arn) {
        return Err(errors::NOT_ATTACHABLE.error(&[&arn]));
    }
    permissions(world, call, owner)?.attached.insert(arn);
    Ok(Out::new().done())
}

fn detach(world: &mut World<'_>, call: &Call, owner: Owner) -> Answer {
    let arn = call.input.text("PolicyArn").unwrap_or_default();
    if permissions(world, call, owner)?.attached.remove(arn) { Ok(Out::new().done()) } else { Err(errors::NOT_ATTACHED.error(&[arn])) }
}

fn put(world: &mut World<'_>, call: &Call, owner: Owner) -> Answer {
    let policy = name(&call.input, "PolicyName", 128)?.to_owned();
    let document = document(&call.input, "PolicyDocument", Kind::Identity)?;
    permissions(world, call, owner)?.inline.insert(policy, document);
    Ok(Out::new().done())
}

fn get(world: &mut World<'_>, call: &Call, owner: Owner) -> Answer {
    let policy = call.input.text("PolicyName").unwrap_or_default();
    let document = permissions(world, call, owner)?.inline.get(policy).ok_or_else(|| owner.no_policy(policy))?;
    Ok(Out::new()
        .with(owner.member(), call.input.text(owner.member()).unwrap_or_default())
        .with("PolicyName", policy)
        .with("PolicyDocument", encoded(&document.text))
        .done())
}

fn delete(world: &mut World<'_>, call: &Call, owner: Owner) -> Answer {
    let policy = call.input.text("PolicyName").unwrap_or_default();
    let removed = permissions(world, call, owner)?.inline.remove(policy);
    removed.map(|_| Out::new().done()).ok_or_else(|| owner.no_policy(policy))
}
