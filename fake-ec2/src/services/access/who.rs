//! The caller as a principal, and the policies in force for it.

use std::sync::Arc;

use crate::policy::verdict::PrincipalKind;
use crate::policy::{Held, Kind, Policy, Principal, Source};
use crate::protocol::Call;
use crate::state::World;
use crate::state::iam::{Iam, Permissions};

/// Who calls.
pub(crate) fn of_caller(world: &World<'_>, call: &Call) -> Principal {
    let arn = call.caller.principal.clone();
    let account = call.caller.account.clone();
    if let Some(name) = role_name(&arn) {
        let iam = &world.account.iam;
        let role = iam.in_force(world.now).roles.get(name).or_else(|| iam.roles.get(name)).map(|role| role.arn.clone());
        let role = role.unwrap_or_else(|| world.account.arn("iam", "", &format!("role/{name}")));
        return Principal { account, arn, role: Some(role), kind: PrincipalKind::Session };
    }
    let kind = if arn.ends_with(":root") { PrincipalKind::Root } else { PrincipalKind::User };
    Principal { account, arn, role: None, kind }
}

/// The role of `arn:aws:sts::…:assumed-role/NAME/SESSION`.
pub(super) fn role_name(arn: &str) -> Option<&str> {
    arn.split_once(":assumed-role/")?.1.split('/').next()
}

/// The user of `arn:aws:iam::…:user/PATH/NAME`.
pub(super) fn user_name(arn: &str) -> Option<&str> {
    arn.split_once(":user/")?.1.rsplit('/').next()
}

/// What a principal of this ARN has: `None` if there is no such user or role.
pub(crate) fn permissions<'a>(iam: &'a Iam, arn: &str) -> Option<&'a Permissions> {
    if let Some(name) = role_name(arn) {
        return iam.roles.get(name).map(|role| &role.permissions);
    }
    if let Some(role) = iam.role_by_arn(arn) {
        return Some(&role.permissions);
    }
    iam.users.values().find(|user| user.arn == arn).map(|user| &user.permissions)
}

/// All policies in force for a call, but the resource's own.
pub(crate) fn policies(world: &World<'_>, call: &Call, principal: &Principal) -> Vec<Held> {
    let iam = world.account.iam.in_force(world.now);
    let mut held = permissions(iam, &principal.arn).map(|permissions| of(iam, permissions)).unwrap_or_default();
    let session = call.caller.access_key.as_deref().and_then(|key| world.account.iam.sessions.get(key));
    for (name, document) in session.into_iter().flat_map(|session| &session.policies) {
        held.push(Held { source: Source::Session, name: name.clone(), policy: Arc::clone(&document.policy) });
    }
    held.extend(service_control(world));
    held
}

/// Identity policies and the boundary. A managed policy of AWS whose document is not known here grants nothing.
pub(crate) fn of(iam: &Iam, permissions: &Permissions) -> Vec<Held> {
    let mut held = Vec::new();
    let managed = |source: Source, arn: &String| Some(Held { source, name: arn.clone(), policy: iam.managed(arn)?.policy });
    for (name, document) in &permissions.inline {
        held.push(Held { source: Source::Identity, name: name.clone(), policy: Arc::clone(&document.policy) });
    }
    held.extend(permissions.attached.iter().filter_map(|arn| managed(Source::Identity, arn)));
    held.extend(permissions.boundary.iter().filter_map(|arn| managed(Source::Boundary, arn)));
    held
}

pub(crate) fn service_control(world: &World<'_>) -> Vec<Held> {
    let documents = world.account.settings.service_control_policies.iter().enumerate();
    let read = documents.filter_map(|(at, text)| {
        let policy = Arc::new(Policy::read(text, Kind::Identity).ok()?);
        Some(Held { source: Source::ServiceControl, name: format!("number {}", at + 1), policy })
    });
    read.collect()
}
