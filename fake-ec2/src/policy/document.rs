//! Policy documents: JSON in, statements or a reason out.
//!
//! Source: IAM user guide, "Grammar of the IAM JSON policy language"; the words of the refusals are those that clients report.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Operator;

/// What a document is attached to, which decides what it must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// On a user or a role, or a managed policy: no principal, a resource in each statement.
    Identity,
    /// On a resource: a principal and a resource in each statement.
    Resource,
    /// Who may assume a role: a principal, no resource.
    Trust,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Variables are read from version 2012-10-17 on.
    pub variables: bool,
    pub statements: Vec<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// As written.
    pub sid: Option<String>,
    pub effect: Effect,
    /// Whom it is about; `None` on an identity's policy.
    pub principals: Option<Principals>,
    pub actions: Choice,
    /// `None` in a trust policy.
    pub resources: Option<Choice>,
    pub conditions: Vec<Condition>,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub not: bool,
    pub patterns: Vec<String>,
}

/// `Principal` or `NotPrincipal`: type (`AWS`, `Service`, `Federated`, or `*` for everybody) and name.
#[derive(Clone, Debug, PartialEq)]
pub struct Principals {
    pub not: bool,
    pub names: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub operator: Operator,
    pub key: String,
    pub values: Vec<String>,
}

/// Why a document is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("Syntax errors in policy.")]
    Syntax,
    #[error("This policy contains invalid Json")]
    Json,
    #[error("Policy statement must contain actions.")]
    NoAction,
    #[error("Policy statement must contain resources.")]
    NoResource,
    #[error("Policy document should not specify a principal.")]
    Principal,
    #[error("Missing required field Principal")]
    NoPrincipal,
    #[error("Has prohibited field Resource")]
    Resource,
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    Vendor,
    #[error("Resource {0} must be in ARN format or \"*\".")]
    Arn(String),
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    Sids,
    #[error("Policy document must be version 2012-10-17 or greater.")]
    Version,
    #[error("The policy failed legacy parsing")]
    Legacy,
    #[error("Vendor {0} is not valid")]
    NoVendor(String),
    #[error("Actions/Condition can contain only one colon.")]
    Colons,
    #[error("Partition \"{0}\" is not valid for resource \"{1}\".")]
    Partition(String, String),
    #[error("Resource vendor must be fully qualified and cannot contain regexes.")]
    VendorOfResource,
    #[error("IAM resource path must either be \"*\" or start with {0}.")]
    PathOfIam(&'static str),
    #[error("IAM resource {0} cannot contain region information.")]
    RegionOfIam(String),
    #[error("Resource {0} can not contain region information.")]
    Region(String),
    #[error("Invalid Condition type : {0}")]
    Operator(String),
}

impl Policy {
    pub fn read(text: &str, kind: Kind) -> Result<Self, Fault> {
        let document: Value = serde_json::from_str(text).map_err(|_| Fault::Json)?;
        let document = document.as_object().ok_or(Fault::Syntax)?;
        known(document, &["Version", "Id", "Statement"])?;
        let variables = match document.get("Version") {
            None => false,
            Some(version) => match version.as_str() {
                Some("2012-10-17") => true,
                Some("2008-10-17") => false,
                _ => return Err(Fault::Syntax),
            },
        };
        let statements = match document.get("Statement").ok_or(Fault::Syntax)? {
            Value::Array(list) if !list.is_empty() => list.iter().map(|one| statement(one, kind)).collect::<Result<Vec<_>, _>>()?,
            one @ Value::Object(_) => vec![statement(one, kind)?],
            _ => return Err(Fault::Syntax),
        };
        let mut sids: Vec<&str> =
            statements.iter().filter_map(|statement| statement.sid.as_deref()).filter(|sid| !sid.is_empty()).collect();
        let count = sids.len();
        sids.sort_unstable();
        sids.dedup();
        if sids.len() != count {
            return Err(Fault::Sids);
        }
        Ok(Self { variables, statements })
    }
}

pub(super) fn known(object: &Map<String, Value>, names: &[&str]) -> Result<(), Fault> {
    if object.keys().all(|key| names.contains(&key.as_str())) { Ok(()) } else { Err(Fault::Syntax) }
}

fn statement(value: &Value, kind: Kind) -> Result<Statement, Fault> {
    let object = value.as_object().ok_or(Fault::Syntax)?;
    let names = ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    known(object, &names)?;
    let effect = match object.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(Fault::Syntax),
    };
    let sid = match object.get("Sid") {
        None => None,
        Some(sid) => Some(sid.as_str().ok_or(Fault::Syntax)?.to_owned()),
    };
    let actions = choice(object, "Action", "NotAction")?.ok_or(Fault::NoAction)?;
    if actions.patterns.iter().any(|action| action != "*" && !action.contains(':')) {
        return Err(Fault::Vendor);
    }
    let resources = choice(object, "Resource", "NotResource")?;
    match (&resources, kind) {
        (Some(_), Kind::Trust) => return Err(Fault::Resource),
        (None, Kind::Identity | Kind::Resource) => return Err(Fault::NoResource),
        _ => {}
    }
    let arn = |resource: &&String| !(resource.as_str() == "*" || resource.starts_with("arn:") || resource.starts_with("${"));
    if let Some(resource) = resources.as_ref().and_then(|resources| resources.patterns.iter().find(arn)) {
        return Err(Fault::Arn(resource.clone()));
    }
    let principals = principals(object)?;
    match (&principals, kind) {
        (Some(_), Kind::Identity) => return Err(Fault::Principal),
        (None, Kind::Resource | Kind::Trust) => return Err(Fault::NoPrincipal),
        _ => {}
    }
    let conditions = object.get("Condition").map_or(Ok(Vec::new()), conditions)?;
    Ok(Statement { sid, effect, principals, actions, resources, conditions })
}

fn choice(object: &Map<String, Value>, plain: &str, inverted: &str) -> Result<Option<Choice>, Fault> {
    match (object.get(plain), object.get(inverted)) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(Choice { not: false, patterns: texts(value)? })),
        (None, Some(value)) => Ok(Some(Choice { not: true, patterns: texts(value)? })),
        (Some(_), Some(_)) => Err(Fault::Syntax),
    }
}

/// A text or a list of texts.
fn texts(value: &Value) -> Result<Vec<String>, Fault> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        // IAM takes a null in a list and makes nothing of it.
        Value::Array(list) => {
            let items = list.iter().filter(|item| !item.is_null());
            items.map(|item| item.as_str().map(str::to_owned).ok_or(Fault::Syntax)).collect()
        }
        _ => Err(Fault::Syntax),
    }
}

fn principals(object: &Map<String, Value>) -> Result<Option<Principals>, Fault> {
    let (not, value) = match (object.get("Principal"), object.get("NotPrincipal")) {
        (None, None) => return Ok(None),
        (Some(value), None) => (false, value),
        (None, Some(value)) => (true, value),
        (Some(_), Some(_)) => return Err(Fault::Syntax),
    };
    let names = match value {
        Value::String(text) if text == "*" => vec![("*".to_owned(), "*".to_owned())],
        Value::Object(kinds) => {
            let mut names = Vec::new();
            for (kind, value) in kinds {
                if !matches!(kind.as_str(), "AWS" | "Service" | "Federated" | "CanonicalUser") {
                    return Err(Fault::Syntax);
                }
                names.extend(texts(value)?.into_iter().map(|name| (kind.clone(), name)));
            }
            names
        }
        _ => return Err(Fault::Syntax),
    };
    Ok(Some(Principals { not, names }))
}

fn conditions(value: &Value) -> Result<Vec<Condition>, Fault> {
    let mut conditions = Vec::new();
    for (name, keys) in value.as_object().ok_or(Fault::Syntax)? {
        let keys = keys.as_object().ok_or(Fault::Syntax)?;
        // IAM lets an operator without keys pass whatever its name, and keys without a service's prefix: such a key is never there.
        if keys.is_empty() {
            continue;
        }
        let operator = Operator::read(name).ok_or_else(|| Fault::Operator(name.clone()))?;
        for (key, values) in keys {
            conditions.push(Condition { operator, key: key.clone(), values: scalars(values)? });
        }
    }
    Ok(conditions)
}

/// Condition values may be numbers and booleans, too.
fn scalars(value: &Value) -> Result<Vec<String>, Fault> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Fault::Syntax),
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_json("{", Kind::Identity, "This policy contains invalid Json")]
    #[case::no_statement("{}", Kind::Trust, "Syntax errors in policy.")]
    #[case::unknown_element(
        r#"{"Statement": {"Effect": "Allow", "Actions": "*", "Resource": "*"}}"#,
        Kind::Identity,
        "Syntax errors in policy."
    )]
    #[case::no_action(r#"{"Statement": {"Effect": "Allow", "Resource": "*"}}"#, Kind::Identity, "Policy statement must contain actions.")]
    #[case::no_resource(r#"{"Statement": {"Effect": "Allow", "Action": "*"}}"#, Kind::Identity, "Policy statement must contain resources.")]
    #[case::principal(
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}}"#,
        Kind::Identity,
        "Policy document should not specify a principal."
    )]
    #[case::no_principal(
        r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole"}}"#,
        Kind::Trust,
        "Missing required field Principal"
    )]
    #[case::trust_resource(
        r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*", "Resource": "*"}}"#,
        Kind::Trust,
        "Has prohibited field Resource"
    )]
    #[case::vendor(
        r#"{"Statement": {"Effect": "Allow", "Action": "RunInstances", "Resource": "*"}}"#,
        Kind::Identity,
        "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
    )]
    #[case::arn(
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "i-1"}}"#,
        Kind::Identity,
        "Resource i-1 must be in ARN format or \"*\"."
    )]
    #[case::operator(
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringSame": {"aws:x": "y"}}}}"#,
        Kind::Identity,
        "Invalid Condition type : StringSame"
    )]
    #[case::sids(r#"{"Statement": [{"Sid": "a", "Effect": "Allow", "Action": "*", "Resource": "*"}, {"Sid": "a", "Effect": "Deny", "Action": "*", "Resource": "*"}]}"#, Kind::Identity, "Statement IDs (SID) in a single policy must be unique.")]
    #[case::both(
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}}"#,
        Kind::Identity,
        "Syntax errors in policy."
    )]
    #[case::version(
        r#"{"Version": "2020-01-01", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
        Kind::Identity,
        "Syntax errors in policy."
    )]
    fn faults(#[case] text: &str, #[case] kind: Kind, #[case] message: &str) {
        assert_eq!(Policy::read(text, kind).expect_err("a fault").to_string(), message);
    }
}
