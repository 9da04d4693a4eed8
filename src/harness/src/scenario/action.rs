//! `do`: what happens in a step, in one line.

use super::fault::Fault;
use super::fields::{Fields, Reader, suggest};
use super::given::{Manifest, manifest};
use super::mistake::Site;
use super::select::{self, Nodes};
use super::units;
use crate::yaml::{Kind, Node};
use fake_ec2::model::Service;
use jiff::SignedDuration;
use serde_json::Value;
use std::path::Path;

/// An object of the cluster: `deployment/other/inflate`, or `nodepool/default` for kinds without namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As written: a kind, plural or short name, lower case.
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Action {
    Scale {
        target: Target,
        replicas: u32,
    },
    Apply(Manifest),
    Delete(Target),
    /// A JSON merge patch.
    Patch {
        target: Target,
        patch: Value,
    },
    /// Nodes or NodeClaims by what they are.
    DeleteNodes {
        /// `node` or `nodeclaim`.
        kind: String,
        nodes: Nodes,
        site: Site,
    },
    /// Lets time pass.
    Advance(SignedDuration),
    /// The account's owner asks AWS for something, past every policy and fault.
    Ask(Ask),
    /// The cloud does something, not a client.
    Fault(Fault),
}

/// A call of an AWS operation.
#[derive(Clone, Debug)]
pub struct Ask {
    pub service: Service,
    pub operation: &'static str,
    /// Another account than the first.
    pub account: Option<String>,
    /// By the names of the service's model.
    pub input: Value,
    pub site: Site,
}

const VERBS: [&str; 5] = ["scale", "apply", "delete", "patch", "advance"];

/// One action: a line such as `scale deployment/other/inflate to 5`, or a mapping `{patch: nodepool/default, with: {…}}`.
pub fn action(reader: &Reader, folder: &Path, node: &Node, region: &str) -> Option<Action> {
    if let Kind::Map(_) = &node.kind {
        return mapping(reader, folder, node, region);
    }
    let text = reader.text_of(node, "do")?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let wrong = |help: &str| {
        reader.wrong(&node.span, format!("cannot read the action {text:?}"), help.to_owned());
        None
    };
    match words.as_slice() {
        ["scale", object, "to", count] => match (target(object), count.parse()) {
            (Some(target), Ok(replicas)) => Some(Action::Scale { target, replicas }),
            _ => wrong("write: scale deployment/NAMESPACE/NAME to 5"),
        },
        ["scale", ..] => wrong("write: scale deployment/NAMESPACE/NAME to 5"),
        ["apply", file] => {
            let at = Node { span: node.span.clone(), kind: Kind::Text((*file).to_owned()) };
            manifest(reader, folder, &at).map(Action::Apply)
        }
        ["delete", kind @ ("node" | "nodeclaim"), "of", "pool", pool] => {
            Some(Action::DeleteNodes { kind: (*kind).to_owned(), nodes: Nodes::of_pool(pool), site: reader.site(&node.span) })
        }
        ["delete", object] => target(object)
            .map(Action::Delete)
            .or_else(|| wrong("write: delete KIND/NAMESPACE/NAME, or KIND/NAME for kinds without namespaces")),
        ["delete", ..] => wrong("write: delete KIND/NAMESPACE/NAME, KIND/NAME, or delete node of pool NAME"),
        ["advance", time] => match units::duration(time) {
            Ok(duration) => Some(Action::Advance(duration)),
            Err(help) => wrong(&help),
        },
        [verb, ..] => {
            let help = suggest(verb, &VERBS).unwrap_or_default();
            reader.wrong(&node.span, format!("unknown action {verb:?}"), help);
            None
        }
        [] => wrong("write an action, for example: scale deployment/other/inflate to 5"),
    }
}

fn mapping(reader: &Reader, folder: &Path, node: &Node, region: &str) -> Option<Action> {
    let fields = reader.map(node, "do", &["patch", "with", "apply", "advance", "delete", "of", "count", "aws", "account"]);
    if let Some(kind) = fields.get("delete") {
        let kind = reader.parsed(kind, "do.delete", |text| match text {
            "node" | "nodeclaim" => Ok(text.to_owned()),
            _ => Err("write {delete: node, of: {pool: default}}; one object by its name is: delete KIND/NAME".to_owned()),
        })?;
        let nodes = select::nodes(reader, fields.get("of"), fields.get("count"), "do.of", region);
        return Some(Action::DeleteNodes { kind, nodes, site: reader.site(&node.span) });
    }
    if let Some(file) = fields.get("apply") {
        return manifest(reader, folder, file).map(Action::Apply);
    }
    if let Some(time) = fields.get("advance") {
        return reader.parsed(time, "do.advance", units::duration).map(Action::Advance);
    }
    if fields.get("aws").is_some() {
        let account = fields.get("account").and_then(|n| {
            reader.parsed(n, "do.account", |text| {
                fake_ec2::state::is_account(text)
                    .then(|| text.to_owned())
                    .ok_or_else(|| "write an account's twelve digits, quoted".to_owned())
            })
        });
        return asked(reader, node, &fields, account).map(Action::Ask);
    }
    let (Some(object), Some(with)) = (fields.get("patch"), fields.get("with")) else {
        reader.wrong(&node.span, "an action as a mapping is {patch: KIND/NAME, with: {…}}", None);
        return None;
    };
    let target =
        reader.parsed(object, "do.patch", |text| target(text).ok_or_else(|| "write KIND/NAMESPACE/NAME, or KIND/NAME".to_owned()))?;
    Some(Action::Patch { target, patch: with.to_json() })
}

/// `{aws: ec2 CreateTags, with: {…}}`.
pub(super) fn asked(reader: &Reader, node: &Node, fields: &Fields<'_>, account: Option<String>) -> Option<Ask> {
    let (service, operation) = reader.parsed(fields.get("aws")?, "aws", called)?;
    let input = fields.get("with").map_or_else(|| Value::Object(Default::default()), Node::to_json);
    Some(Ask { service, operation, account, input, site: reader.site(&node.span) })
}

/// `ec2 CreateTags`: a service and one of its operations.
fn called(text: &str) -> Result<(Service, &'static str), String> {
    let help = || "write a service and one of its operations, for example: ec2 CreateTags".to_owned();
    let (service, name) = text.split_once(' ').ok_or_else(help)?;
    let service = Service::from_signing_name(service).ok_or_else(help)?;
    let operation = service.model().operations.keys().find(|known| **known == name.trim()).copied();
    Ok((service, operation.ok_or_else(help)?))
}

pub fn target(text: &str) -> Option<Target> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
        return None;
    }
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, name] => (kind, None, name),
        [kind, namespace, name] => (kind, Some((*namespace).to_owned()), name),
        _ => return None,
    };
    Some(Target { kind: kind.to_lowercase(), namespace, name: (*name).to_owned() })
}
