//! All policies together: may this principal do this to that resource, which statement says so, and if none does, what lacks.
//!
//! Source: IAM user guide, "How AWS enforcement code logic evaluates requests to allow or deny access".

use std::sync::Arc;

use super::Context;
use super::document::{Choice, Condition, Effect, Policy, Statement};
use super::pattern::{Case, Pattern};

/// What a policy is attached as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Identity,
    Resource,
    Boundary,
    Session,
    /// Of the organization: nothing is granted by it, all that it does not allow is lost.
    ServiceControl,
}

impl Source {
    /// As AWS's messages call it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Resource => "resource-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::ServiceControl => "service control policy",
        }
    }
}

/// A policy in force.
#[derive(Clone, Debug)]
pub struct Held {
    pub source: Source,
    /// A managed policy's ARN, or an inline one's name.
    pub name: String,
    pub policy: Arc<Policy>,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    /// The account's twelve digits.
    pub account: String,
    /// A user's, a role session's, the root's; a service's name; an identity provider's ARN.
    pub arn: String,
    /// Of a role's session, the role's.
    pub role: Option<String>,
    pub kind: PrincipalKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrincipalKind {
    #[default]
    User,
    Session,
    Root,
    Service,
    Federated,
}

#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `ec2:RunInstances`
    pub action: &'a str,
    /// An ARN, or `*`.
    pub resource: &'a str,
    pub context: &'a Context,
    pub principal: &'a Principal,
    /// The resource's own policy must allow it, as a role's trust policy must.
    pub by_resource: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub cause: Cause,
    /// Statements that decided: the denials, or what allowed.
    pub matched: Vec<Named>,
    /// When nothing allows: statements that name the action, and why each does not apply.
    pub near: Vec<Near>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Allowed,
    /// A statement denies.
    Denied(Source),
    /// No statement of this kind of policy allows.
    Lacks(Source),
}

/// A statement by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub source: Source,
    pub policy: String,
    /// From 0.
    pub index: usize,
    pub sid: Option<String>,
}

/// A statement that names the action and does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    pub statement: Named,
    pub lacks: Vec<String>,
}

impl Verdict {
    pub fn allowed(&self) -> bool {
        self.cause == Cause::Allowed
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sid.as_deref().filter(|sid| !sid.is_empty()) {
            Some(sid) => write!(f, "statement {sid} of {} {}", self.source.words(), self.policy),
            None => write!(f, "statement {} of {} {}", self.index + 1, self.source.words(), self.policy),
        }
    }
}

/// How directly a resource's policy names the principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grant {
    None,
    /// The account: its identities' own policies decide.
    Account,
    /// The role: boundaries and session policies still hold.
    Role,
    /// The user, the session, the service, or everybody.
    Direct,
}

pub fn decide(question: &Question<'_>, policies: &[Held]) -> Verdict {
    decide_knowing(question, policies, &|_| true)
}

/// Whether it would be allowed if conditions on some keys were met wherever a statement allows, and nowhere where one denies.
pub fn allowed_but_for(question: &Question<'_>, policies: &[Held], unknown: impl Fn(&str) -> bool) -> bool {
    decide_knowing(question, policies, &|key| !unknown(key)).allowed()
}

fn decide_knowing(question: &Question<'_>, policies: &[Held], known: &dyn Fn(&str) -> bool) -> Verdict {
    let (mut denials, mut allowing) = (Vec::new(), Vec::new());
    let mut grant = Grant::None;
    for (held, index, statement) in all(policies) {
        if !applies(statement, held, question, known) {
            continue;
        }
        match statement.effect {
            Effect::Deny => denials.push(named(held, index, statement)),
            Effect::Allow => {
                if held.source == Source::Resource {
                    grant = grant.max(granted(statement, question.principal));
                }
                allowing.push(named(held, index, statement));
            }
        }
    }
    if let Some(first) = denials.first() {
        let source = first.source;
        denials.retain(|denial| denial.source == source);
        return Verdict { cause: Cause::Denied(source), matched: denials, near: Vec::new() };
    }
    match missing(question, policies, &allowing, grant) {
        Some(source) => Verdict { cause: Cause::Lacks(source), matched: Vec::new(), near: near(question, policies, source) },
        None => Verdict { cause: Cause::Allowed, matched: allowing, near: Vec::new() },
    }
}

/// The kind of policy that would have to allow and does not.
fn missing(question: &Question<'_>, policies: &[Held], allowing: &[Named], grant: Grant) -> Option<Source> {
    let has = |source: Source| policies.iter().any(|held| held.source == source);
    let allows = |source: Source| allowing.iter().any(|named| named.source == source);
    let capped = |source: Source| has(source) && !allows(source);
    if question.principal.kind != PrincipalKind::Service && capped(Source::ServiceControl) {
        return Some(Source::ServiceControl);
    }
    if question.by_resource && grant == Grant::None {
        return Some(Source::Resource);
    }
    // Another account's consent grants nothing here: the caller's own account must allow it, too.
    // Source: IAM user guide, "Cross-account policy evaluation logic".
    let abroad = question.by_resource && question.resource.split(':').nth(4).is_some_and(|account| account != question.principal.account);
    match question.principal.kind {
        PrincipalKind::Root => return None,
        // Nobody but the resource knows them.
        PrincipalKind::Service | PrincipalKind::Federated => return (grant == Grant::None).then_some(Source::Resource),
        PrincipalKind::User | PrincipalKind::Session => {}
    }
    if grant == Grant::Direct && !abroad {
        return None;
    }
    if (grant != Grant::Role || abroad) && !allows(Source::Identity) {
        return Some(Source::Identity);
    }
    [Source::Boundary, Source::Session].into_iter().find(|source| capped(*source))
}

fn all(policies: &[Held]) -> impl Iterator<Item = (&Held, usize, &Statement)> {
    policies.iter().flat_map(|held| held.policy.statements.iter().enumerate().map(move |(index, statement)| (held, index, statement)))
}

fn named(held: &Held, index: usize, statement: &Statement) -> Named {
    Named { source: held.source, policy: held.name.clone(), index, sid: statement.sid.clone() }
}

fn applies(statement: &Statement, held: &Held, question: &Question<'_>, known: &dyn Fn(&str) -> bool) -> bool {
    let holds = |condition: &Condition| match known(&condition.key) {
        true => condition.holds(question.context, held.policy.variables),
        false => statement.effect == Effect::Allow,
    };
    statement.names_action(question.action)
        && statement.resources.as_ref().is_none_or(|resources| names_resource(resources, held, question))
        && names_principal(statement, question.principal)
        && statement.conditions.iter().all(holds)
}

impl Statement {
    /// Whether the statement is about an action.
    pub fn names_action(&self, action: &str) -> bool {
        self.actions.not != self.actions.patterns.iter().any(|pattern| Pattern::plain(pattern).matches(action, Case::Ignored))
    }
}

fn names_resource(resources: &Choice, held: &Held, question: &Question<'_>) -> bool {
    let matches = |pattern: &String| {
        let pattern =
            if held.policy.variables { Pattern::with_variables(pattern, question.context) } else { Some(Pattern::plain(pattern)) };
        pattern.is_some_and(|pattern| pattern.matches(question.resource, Case::Exact))
    };
    resources.not != resources.patterns.iter().any(matches)
}

fn names_principal(statement: &Statement, principal: &Principal) -> bool {
    let Some(principals) = &statement.principals else { return true };
    principals.not != principals.names.iter().any(|(kind, name)| grant_of(kind, name, principal) != Grant::None)
}

/// How directly a statement that applies names the principal.
fn granted(statement: &Statement, principal: &Principal) -> Grant {
    let Some(principals) = &statement.principals else { return Grant::None };
    if principals.not {
        return Grant::Direct;
    }
    principals.names.iter().map(|(kind, name)| grant_of(kind, name, principal)).max().unwrap_or(Grant::None)
}

fn grant_of(kind: &str, name: &str, principal: &Principal) -> Grant {
    let (user, service, federated) = match principal.kind {
        PrincipalKind::Service => (false, true, false),
        PrincipalKind::Federated => (false, false, true),
        _ => (true, false, false),
    };
    match kind {
        "*" => Grant::Direct,
        "AWS" if name == "*" => Grant::Direct,
        "AWS" if user && name == principal.arn => Grant::Direct,
        "AWS" if user && principal.role.as_deref() == Some(name) => Grant::Role,
        "AWS" if user && (name == principal.account || account_of_root(name) == Some(&principal.account)) => Grant::Account,
        "Service" if service && name == principal.arn => Grant::Direct,
        "Federated" if federated && name == principal.arn => Grant::Direct,
        _ => Grant::None,
    }
}

/// The account of `arn:aws:iam::123456789012:root`.
fn account_of_root(arn: &str) -> Option<&str> {
    arn.strip_suffix(":root")?.rsplit(':').next()
}

/// Most statements that an explanation lists.
const NEAREST: usize = 5;

/// Statements of the lacking kind that name the action, those that lack least first.
fn near(question: &Question<'_>, policies: &[Held], source: Source) -> Vec<Near> {
    let mut found = Vec::new();
    for (held, index, statement) in all(policies) {
        if held.source != source || statement.effect != Effect::Allow || !statement.names_action(question.action) {
            continue;
        }
        let mut lacks = Vec::new();
        if let Some(resources) = statement.resources.as_ref().filter(|resources| !names_resource(resources, held, question)) {
            let element = if resources.not { "NotResource" } else { "Resource" };
            lacks.push(format!("{element} is {}, the request is for {}", resources.patterns.join(", "), question.resource));
        }
        if !names_principal(statement, question.principal) {
            lacks.push(format!("its Principal does not name {}", question.principal.arn));
        }
        let unmet = statement.conditions.iter().filter(|condition| !condition.holds(question.context, held.policy.variables));
        lacks.extend(unmet.map(|condition| unmet_words(condition, question.context)));
        found.push(Near { statement: named(held, index, statement), lacks });
    }
    found.sort_by_key(|near| near.lacks.len());
    found.truncate(NEAREST);
    found
}

fn unmet_words(condition: &Condition, context: &Context) -> String {
    let has = match context.get(&condition.key) {
        None => "the request has no such key".to_owned(),
        Some(values) => format!("the request has {}", values.join(", ")),
    };
    let Condition { operator, key, values } = condition;
    format!("{} {key} wants {}; {has}", operator.name(), values.join(" or "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::Kind;

    const ACTION: &str = "sqs:SendMessage";
    const QUEUE: &str = "arn:aws:sqs:us-west-2:123456789012:q";

    fn held(source: Source, statement: Value) -> Held {
        let kind = if source == Source::Resource { Kind::Resource } else { Kind::Identity };
        let text = json!({"Version": "2012-10-17", "Statement": statement}).to_string();
        Held { source, name: "p".into(), policy: Arc::new(Policy::read(&text, kind).expect("a policy")) }
    }

    fn allow(source: Source) -> Held {
        held(source, json!({"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}))
    }

    fn deny(source: Source) -> Held {
        held(source, json!({"Effect": "Deny", "Action": "*", "Resource": "*"}))
    }

    fn nothing(source: Source) -> Held {
        held(source, json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}))
    }

    fn resource(principal: Value) -> Held {
        held(Source::Resource, json!({"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE, "Principal": principal}))
    }

    fn session() -> Principal {
        Principal {
            account: "123456789012".into(),
            arn: "arn:aws:sts::123456789012:assumed-role/r/s".into(),
            role: Some("arn:aws:iam::123456789012:role/r".into()),
            kind: PrincipalKind::Session,
        }
    }

    fn ask(principal: &Principal, policies: &[Held], by_resource: bool) -> Cause {
        let context = Context::default();
        decide(&Question { action: ACTION, resource: QUEUE, context: &context, principal, by_resource }, policies).cause
    }

    use Cause::{Allowed, Denied, Lacks};
    use Source::{Boundary, Identity, Resource, ServiceControl, Session};

    const ROLE: &str = "arn:aws:iam::123456789012:role/r";
    const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/r/s";

    // The flow chart of the user guide, box by box, for a role's session.
    #[rstest]
    #[case::nothing(vec![], Lacks(Identity))]
    #[case::identity(vec![allow(Identity)], Allowed)]
    #[case::deny_wins(vec![allow(Identity), deny(Identity)], Denied(Identity))]
    #[case::scp_grants_nothing(vec![allow(ServiceControl)], Lacks(Identity))]
    #[case::scp_caps(vec![nothing(ServiceControl), allow(Identity)], Lacks(ServiceControl))]
    #[case::scp_denies(vec![allow(ServiceControl), deny(ServiceControl), allow(Identity)], Denied(ServiceControl))]
    #[case::scp_caps_a_resources_grant(vec![nothing(ServiceControl), resource(json!("*"))], Lacks(ServiceControl))]
    #[case::boundary_caps(vec![nothing(Boundary), allow(Identity)], Lacks(Boundary))]
    #[case::boundary_grants_nothing(vec![allow(Boundary)], Lacks(Identity))]
    #[case::boundary_and_identity(vec![allow(Boundary), allow(Identity)], Allowed)]
    #[case::session_caps(vec![nothing(Session), allow(Identity)], Lacks(Session))]
    #[case::session_and_identity(vec![allow(Session), allow(Identity)], Allowed)]
    #[case::session_denies(vec![deny(Session), allow(Identity)], Denied(Session))]
    #[case::resource_for_session(vec![resource(json!({"AWS": SESSION})), nothing(Boundary), nothing(Session)], Allowed)]
    #[case::resource_for_role(vec![resource(json!({"AWS": ROLE}))], Allowed)]
    #[case::resource_for_role_is_capped(vec![resource(json!({"AWS": ROLE})), nothing(Boundary)], Lacks(Boundary))]
    #[case::resource_for_account_is_no_grant(vec![resource(json!({"AWS": "123456789012"}))], Lacks(Identity))]
    #[case::resource_denies(vec![allow(Identity), held(Resource, json!({"Effect": "Deny", "Action": "sqs:*", "Resource": "*", "Principal": "*"}))], Denied(Resource))]
    #[case::resource_denies_all_but(vec![allow(Identity), held(Resource, json!({"Effect": "Deny", "Action": "sqs:*", "Resource": "*", "NotPrincipal": {"AWS": ROLE}}))], Allowed)]
    #[case::another_principal(vec![resource(json!({"AWS": "arn:aws:iam::123456789012:role/other"}))], Lacks(Identity))]
    fn a_session(#[case] policies: Vec<Held>, #[case] cause: Cause) {
        assert_eq!(ask(&session(), &policies, false), cause);
    }

    #[rstest]
    #[case::trusted_account_needs_identity(vec![resource(json!({"AWS": "arn:aws:iam::123456789012:root"}))], Lacks(Identity))]
    #[case::trusted_account_and_identity(vec![resource(json!({"AWS": "arn:aws:iam::123456789012:root"})), allow(Identity)], Allowed)]
    #[case::untrusted(vec![allow(Identity)], Lacks(Resource))]
    #[case::trusted_role(vec![resource(json!({"AWS": ROLE}))], Allowed)]
    fn what_needs_the_resources_consent(#[case] policies: Vec<Held>, #[case] cause: Cause) {
        assert_eq!(ask(&session(), &policies, true), cause);
    }

    #[rstest]
    #[case::root(PrincipalKind::Root, vec![], Allowed)]
    #[case::root_under_scp(PrincipalKind::Root, vec![nothing(ServiceControl)], Lacks(ServiceControl))]
    #[case::service(PrincipalKind::Service, vec![resource(json!({"Service": "events.amazonaws.com"}))], Allowed)]
    #[case::service_past_scp(PrincipalKind::Service, vec![nothing(ServiceControl), resource(json!({"Service": "events.amazonaws.com"}))], Allowed)]
    #[case::service_not_named(PrincipalKind::Service, vec![resource(json!({"Service": "sns.amazonaws.com"}))], Lacks(Resource))]
    fn others(#[case] kind: PrincipalKind, #[case] policies: Vec<Held>, #[case] cause: Cause) {
        let arn = if kind == PrincipalKind::Service { "events.amazonaws.com" } else { "arn:aws:iam::123456789012:root" };
        let principal = Principal { account: "123456789012".into(), arn: arn.into(), role: None, kind };
        assert_eq!(ask(&principal, &policies, false), cause);
    }

    #[test]
    fn what_lacks_is_told_by_statement() {
        let statement = json!([
            {"Sid": "Other", "Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
            {"Sid": "Near", "Effect": "Allow", "Action": "sqs:Send*", "Resource": "arn:aws:sqs:us-west-2:123456789012:p",
             "Condition": {"StringEqualsIfExists": {"aws:RequestedRegion": "us-east-1"}}},
        ]);
        let mut context = Context::default();
        context.set("aws:RequestedRegion", "us-west-2");
        let principal = session();
        let question = Question { action: ACTION, resource: QUEUE, context: &context, principal: &principal, by_resource: false };
        let verdict = decide(&question, &[held(Identity, statement)]);
        let [near] = &verdict.near[..] else { panic!("one statement is near: {verdict:?}") };
        assert_eq!(near.statement.to_string(), "statement Near of identity-based policy p");
        assert_eq!(
            near.lacks,
            [
                format!("Resource is arn:aws:sqs:us-west-2:123456789012:p, the request is for {QUEUE}"),
                "StringEqualsIfExists aws:RequestedRegion wants us-east-1; the request has us-west-2".to_owned(),
            ]
        );
    }

    #[test]
    fn not_action_and_not_resource_invert() {
        let all_but =
            held(Identity, json!({"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:sqs:us-west-2:123456789012:secret"}));
        assert_eq!(ask(&session(), std::slice::from_ref(&all_but), false), Allowed);
        let but_this = held(Identity, json!({"Effect": "Allow", "NotAction": "sqs:*", "Resource": "*"}));
        assert_eq!(ask(&session(), &[but_this], false), Lacks(Identity));
        let other = held(Identity, json!({"Effect": "Allow", "Action": "*", "NotResource": QUEUE}));
        assert_eq!(ask(&session(), &[other], false), Lacks(Identity));
    }
}
