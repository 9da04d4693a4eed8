//! Users and their access keys.

use serde_json::{Value, json};

use super::{grants, name, paged, path, render_tags, tags};
use crate::config::AccessKey;
use crate::protocol::{AwsError, Call};
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::iam::{Permissions, User, UserKey};

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "CreateUser" => create(world, call),
        "GetUser" => Ok(Out::new().with("User", render(user(world, call)?)).done()),
        "ListUsers" => {
            let prefix = call.input.text("PathPrefix").unwrap_or("/");
            let users = world.account.iam.users.values().filter(|user| user.path.starts_with(prefix));
            paged(call, "Users", users.map(|user| (user.name.clone(), render(user))).collect())
        }
        "DeleteUser" => delete(world, call),
        "CreateAccessKey" => create_key(world, call),
        "DeleteAccessKey" => {
            let id = call.input.text("AccessKeyId").unwrap_or_default();
            world.account.iam.keys.remove(id).map(|_| Out::new().done()).ok_or_else(|| errors::NO_ACCESS_KEY.error(&[id]))
        }
        "ListAccessKeys" => {
            let name = user(world, call)?.name.clone();
            let keys = world.account.iam.keys.iter().filter(|(_, key)| key.user == name);
            let rows = keys.map(|(id, key)| {
                let row = json!({"UserName": name, "AccessKeyId": id, "Status": "Active", "CreateDate": stamp(key.created)});
                (id.clone(), row)
            });
            paged(call, "AccessKeyMetadata", rows.collect())
        }
        _ => Err(errors::unsupported(call)),
    }
}

/// The user that is named, or who calls.
fn user<'a>(world: &'a World<'_>, call: &Call) -> Result<&'a User, AwsError> {
    let own = call.caller.principal.split(":user/").nth(1).and_then(|rest| rest.rsplit('/').next());
    let name = call.input.text("UserName").or(own).unwrap_or_default();
    world.account.iam.users.get(name).ok_or_else(|| errors::NO_USER.error(&[name]))
}

fn render(user: &User) -> Value {
    Out::new()
        .with("Path", user.path.clone())
        .with("UserName", user.name.clone())
        .with("UserId", user.id.clone())
        .with("Arn", user.arn.clone())
        .with("CreateDate", stamp(user.created))
        .maybe("PermissionsBoundary", user.permissions.boundary.as_deref().map(grants::render_boundary))
        .with("Tags", render_tags(&user.tags))
        .done()
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let (name, path) = (name(&call.input, "UserName", 64)?, path(&call.input)?);
    if world.account.iam.users.contains_key(name) {
        return Err(errors::USER_EXISTS.error(&[name]));
    }
    let user = User {
        name: name.to_owned(),
        path: path.to_owned(),
        id: world.account.entropy.iam_id("AIDA"),
        arn: world.account.arn("iam", "", &format!("user{path}{name}")),
        created: world.now,
        tags: tags(&call.input),
        permissions: Permissions { boundary: grants::known_boundary(world, &call.input)?, ..Permissions::default() },
    };
    let shown = render(&user);
    world.account.iam.users.insert(user.name.clone(), user);
    Ok(Out::new().with("User", shown).done())
}

fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let user = user(world, call)?;
    if !user.permissions.attached.is_empty() || !user.permissions.inline.is_empty() {
        return Err(errors::USER_HAS_POLICIES.error(&[]));
    }
    let name = user.name.clone();
    if world.account.iam.keys.values().any(|key| key.user == name) {
        return Err(errors::USER_HAS_KEYS.error(&[]));
    }
    world.account.iam.users.remove(&name);
    Ok(Out::new().done())
}

fn create_key(world: &mut World<'_>, call: &Call) -> Answer {
    let user = user(world, call)?;
    let (name, principal, user_id) = (user.name.clone(), user.arn.clone(), user.id.clone());
    if world.account.iam.keys.values().filter(|key| key.user == name).count() >= 2 {
        return Err(errors::ACCESS_KEYS.error(&[]));
    }
    let id = world.account.entropy.iam_id("AKIA")[..20].to_owned();
    let secret = world.account.entropy.letters("secret", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 40);
    let shown = json!({"UserName": name, "AccessKeyId": id, "Status": "Active", "SecretAccessKey": secret, "CreateDate": stamp(world.now)});
    let key = AccessKey { secret, session_token: None, principal, user_id };
    world.account.iam.keys.insert(id, UserKey { user: name, created: world.now, key });
    Ok(Out::new().with("AccessKey", shown).done())
}
