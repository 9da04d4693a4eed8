//! From a path to what it means.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::dialect::Dialect;
use crate::kinds::{Kind, key};
use crate::status::Status;
use crate::store::Store;

/// A resource path.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Arc<Kind>,
    /// The kind's own; what the client calls it is the dialect's.
    pub(crate) version: String,
    /// Empty: cluster-scoped, or all namespaces.
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    pub(crate) dialect: Dialect,
    /// The old form of a watch: `/api/v1/watch/…`.
    pub(crate) watch: bool,
}

/// Groups that hold nothing but reviews and subresources.
pub(crate) const VIRTUAL: &[(&str, &str)] = &[("authentication.k8s.io", "v1"), ("authorization.k8s.io", "v1")];

#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Not below `/api` or `/apis`.
    Other(String),
    Core,
    Groups,
    Group(String),
    Version {
        group: String,
        version: String,
    },
    Resource(Resource),
    /// A review, or `…/bindings`: plural and namespace.
    Virtual {
        group: String,
        plural: String,
        namespace: String,
    },
}

pub(crate) fn route(store: &Store, path: &str) -> Result<Route, Status> {
    let decoded: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api"] => return Ok(Route::Core),
        ["apis"] => return Ok(Route::Groups),
        ["apis", group] => return Ok(Route::Group((*group).to_owned())),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Ok(Route::Other(path.to_owned())),
    };
    if rest.is_empty() {
        return Ok(Route::Version { group: group.to_owned(), version: version.to_owned() });
    }
    resource(store, group, version, rest)
}

fn resource(store: &Store, group: &str, version: &str, parts: &[&str]) -> Result<Route, Status> {
    let (watch, parts) = match parts {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, parts) = match parts {
        // `/namespaces/NAME` and its subresources are the namespace itself.
        ["namespaces", namespace, rest @ ..] if !(rest.is_empty() || group.is_empty() && matches!(rest, ["status" | "finalize"])) => {
            (Some(*namespace), rest)
        }
        rest => (None, rest),
    };
    let (plural, rest) = parts.split_first().ok_or_else(Status::no_such_resource)?;
    let virtual_group = VIRTUAL.contains(&(group, version)) || (group.is_empty() && *plural == "bindings");
    if virtual_group && rest.is_empty() {
        return Ok(Route::Virtual {
            group: group.to_owned(),
            plural: (*plural).to_owned(),
            namespace: namespace.unwrap_or_default().to_owned(),
        });
    }
    // Events have two names and one store.
    if group == "events.k8s.io" && *plural != "events" {
        return Err(Status::no_such_resource());
    }
    let home = if group == "events.k8s.io" { "" } else { group };
    let old_autoscaler = (group, version, *plural) == ("autoscaling", "v1", "horizontalpodautoscalers");
    let version = if old_autoscaler { "v2" } else { version };
    let kind = store.kind(&key(home, plural)).filter(|kind| kind.serves(version)).ok_or_else(Status::no_such_resource)?;
    if namespace.is_some() && !kind.namespaced || rest.len() > 2 {
        return Err(Status::no_such_resource());
    }
    let name = rest.first().map(|name| (*name).to_owned());
    if name.is_some() && kind.namespaced && namespace.is_none() {
        return Err(Status::no_such_resource());
    }
    Ok(Route::Resource(Resource {
        kind: kind.clone(),
        version: version.to_owned(),
        dialect: match group {
            "events.k8s.io" => Dialect::Events,
            _ if old_autoscaler => Dialect::Autoscalers,
            _ => Dialect::Plain,
        },
        namespace: namespace.unwrap_or_default().to_owned(),
        name,
        subresource: rest.get(1).map(|part| (*part).to_owned()),
        watch,
    }))
}
