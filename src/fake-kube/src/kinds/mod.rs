//! What the server knows about a kind: its names, its scope, its subresources, its schema. Built-in kinds and CRDs alike.

mod table;

use std::sync::Arc;

use serde_json::Value;

pub use table::built_in;

/// A kind that is served. One entry per group and plural; several versions share the objects.
#[derive(Debug)]
pub struct Kind {
    /// `"pods"` in the core group, else `"apps/deployments"`.
    pub key: String,
    pub group: String,
    /// The storage version.
    pub version: String,
    pub kind: String,
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub status: bool,
    pub scale: Option<Scale>,
    /// Fields that a field selector may name, beside `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<Selectable>,
    /// Empty for built-in kinds, whose one version is `version`.
    pub versions: Vec<Arc<crate::crd::Version>>,
}

/// Where `scale` finds its numbers; JSON paths as dotted keys without the leading dot.
#[derive(Clone, Debug)]
pub struct Scale {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub selector: Option<String>,
}

/// A field for field selectors.
#[derive(Clone, Debug)]
pub struct Selectable {
    /// As in the selector: `spec.nodeName`.
    pub name: String,
    /// Where it is in the object, when that differs from the name.
    pub path: Vec<String>,
    /// What an absent field counts as.
    pub absent: String,
}

impl Selectable {
    pub fn new(name: &str, absent: &str) -> Selectable {
        Selectable { name: name.to_owned(), path: name.split('.').map(str::to_owned).collect(), absent: absent.to_owned() }
    }

    pub(crate) fn read(&self, object: &Value) -> String {
        let found = self.path.iter().try_fold(object, |at, key| at.get(key));
        match found {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            _ => self.absent.clone(),
        }
    }
}

impl Kind {
    /// `v1`, `apps/v1`: the storage version as objects carry it.
    pub fn api_version(&self) -> String {
        self.api_version_of(&self.version)
    }

    pub fn api_version_of(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// `pods`, `deployments.apps`: how error messages name the resource.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Pod`, `Deployment.apps`: how validation messages name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    pub fn is_custom(&self) -> bool {
        !self.versions.is_empty()
    }

    pub fn serves(&self, version: &str) -> bool {
        if self.versions.is_empty() {
            self.version == version
        } else {
            self.versions.iter().any(|entry| entry.served && entry.name == version)
        }
    }

    /// The description of one version of a custom kind.
    pub fn custom(&self, version: &str) -> Option<&Arc<crate::crd::Version>> {
        self.versions.iter().find(|entry| entry.name == version)
    }
}

/// The key of a kind: `"pods"`, `"apps/deployments"`.
pub fn key(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{group}/{plural}") }
}
