//! The service authorization reference: which resource types an action has, and which condition keys it carries for each.
//!
//! `data/iam/actions.tsv.gz` is written by `ci/generate/iam_tables.py`. It is read when the first question is asked.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

/// One action of one service.
#[derive(Debug, Default)]
pub struct Action {
    /// Keys of the action, whatever the resource.
    pub keys: Vec<&'static str>,
    pub resources: Vec<ResourceType>,
}

/// A resource type of an action.
#[derive(Debug)]
pub struct ResourceType {
    pub name: &'static str,
    /// The action always has one.
    pub required: bool,
    /// Condition keys; one that ends in `/` stands for all that begin so (`aws:RequestTag/`).
    pub keys: Vec<&'static str>,
}

impl ResourceType {
    /// Whether the reference names the key, whose case does not matter, for this type.
    pub fn has(&self, key: &str) -> bool {
        let begins = |known: &str| key.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
        self.keys.iter().any(|known| begins(known) && (known.ends_with('/') || key.len() == known.len()))
    }
}

impl Action {
    pub fn resource(&self, name: &str) -> Option<&ResourceType> {
        self.resources.iter().find(|resource| resource.name == name)
    }

    /// Whether the context of this action on a resource of this type has the key. Global keys are always there; `aws:RequestTag/` and its
    /// like only where the reference names them.
    pub fn carries(&self, kind: &str, key: &str) -> bool {
        let named = |keys: &[&str]| keys.iter().any(|known| if known.ends_with('/') { key.starts_with(known) } else { *known == key });
        let scoped = ["aws:RequestTag/", "aws:ResourceTag/", "aws:TagKeys"].iter().any(|tag| key.starts_with(tag));
        (key.starts_with("aws:") && !scoped) || named(&self.keys) || self.resource(kind).is_some_and(|resource| named(&resource.keys))
    }
}

static ACTIONS: LazyLock<BTreeMap<&'static str, BTreeMap<&'static str, Action>>> =
    LazyLock::new(|| read(include_bytes!("../../data/iam/actions.tsv.gz")));

/// An action by the service's prefix and its name; `None` if the reference has no such action.
pub fn action(prefix: &str, name: &str) -> Option<&'static Action> {
    ACTIONS.get(prefix)?.get(name)
}

/// The names of a service's actions.
pub fn actions(prefix: &str) -> impl Iterator<Item = &'static str> {
    ACTIONS.get(prefix).into_iter().flat_map(|actions| actions.keys().copied())
}

static MANAGED: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let text = unpack(include_bytes!("../../data/iam/managed_policies.tsv.gz"));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t')).collect()
});

/// The document of one of AWS's own policies, by its ARN, where it is known here.
pub fn managed_policy(arn: &str) -> Option<&'static str> {
    MANAGED.get(arn).copied()
}

/// ARNs of AWS's own policies that are known here.
pub fn managed_policies() -> impl Iterator<Item = &'static str> {
    MANAGED.keys().copied()
}

fn unpack(packed: &[u8]) -> &'static str {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).expect("the committed table is packed text");
    text.leak()
}

fn read(packed: &[u8]) -> BTreeMap<&'static str, BTreeMap<&'static str, Action>> {
    let mut services: BTreeMap<&str, BTreeMap<&str, Action>> = BTreeMap::new();
    let mut prefix = "";
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in unpack(packed).lines() {
        let mut cells = line.split('\t');
        match (cells.next(), cells.next()) {
            (Some("S"), Some(service)) => {
                prefix = service;
                kinds.clear();
            }
            (Some("R"), Some(kind)) => drop(kinds.insert(kind, cells.next().map(list).unwrap_or_default())),
            (Some("A"), Some(name)) => drop(services.entry(prefix).or_default().insert(name, row(cells, &kinds))),
            _ => {}
        }
    }
    services
}

fn list(keys: &'static str) -> Vec<&'static str> {
    keys.split(',').filter(|key| !key.is_empty()).collect()
}

/// An action's cells. Where a resource type has no keys of its own in an action, those of the type hold, but for the request's tags.
fn row(cells: impl Iterator<Item = &'static str>, kinds: &BTreeMap<&str, Vec<&'static str>>) -> Action {
    let mut action = Action::default();
    for (kind, keys) in cells.filter_map(|cell| cell.split_once('=')) {
        let (name, required) = kind.strip_suffix('!').map_or((kind, false), |name| (name, true));
        let mut keys = list(keys);
        if name.is_empty() {
            action.keys = keys;
            continue;
        }
        if keys.is_empty() {
            let of_kind = kinds.get(name).into_iter().flatten().copied();
            keys = of_kind.filter(|key| !key.starts_with("aws:RequestTag/") && *key != "aws:TagKeys").collect();
        }
        action.resources.push(ResourceType { name, required, keys });
    }
    action
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::Service;
    use crate::policy::{Kind, Policy};

    #[rstest]
    #[case("RunInstances", "instance", "ec2:InstanceType", true)]
    #[case("RunInstances", "subnet", "ec2:InstanceType", false)]
    #[case("RunInstances", "instance", "aws:RequestTag/team", true)]
    #[case("RunInstances", "subnet", "aws:RequestTag/team", false)]
    #[case("RunInstances", "subnet", "aws:ResourceTag/team", true)]
    #[case("CreateTags", "instance", "ec2:CreateAction", true)]
    #[case("DescribeInstances", "", "aws:RequestedRegion", true)]
    #[case("DescribeInstances", "", "ec2:InstanceType", false)]
    fn keys(#[case] name: &str, #[case] kind: &str, #[case] key: &str, #[case] carries: bool) {
        assert_eq!(action("ec2", name).expect("an action").carries(kind, key), carries);
    }

    /// What the models describe, the reference knows, under the names by which `services::access` asks.
    #[test]
    fn every_operation_is_an_action() {
        let mut unknown = Vec::new();
        for service in Service::ALL {
            for operation in service.model().operations.keys() {
                let (prefix, name) = crate::services::access::action(service, operation);
                if action(prefix, name).is_none() {
                    unknown.push(format!("{prefix}:{name}"));
                }
            }
        }
        assert_eq!(unknown, Vec::<String>::new());
    }

    #[test]
    fn managed_policies_are_policies() {
        for arn in managed_policies() {
            let document = managed_policy(arn).expect("a document");
            Policy::read(document, Kind::Identity).unwrap_or_else(|fault| panic!("{arn}: {fault}"));
        }
    }
}
