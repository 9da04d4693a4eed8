//! Questions, and the parts they are made from.

use std::sync::Arc;

use jiff::Timestamp;

use super::who;
use crate::model::Service;
use crate::policy::verdict::PrincipalKind;
use crate::policy::{Context, Held, Policy, Principal, Source, reference};
use crate::protocol::Call;
use crate::services::input::{Members, Read};
use crate::state::World;
use crate::state::network::Tags;

/// May this be done to that resource?
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// `ec2`
    pub prefix: &'static str,
    /// `RunInstances`
    pub name: &'static str,
    /// The reference's name of the resource's type; empty for none.
    pub kind: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
    /// Everything known; what the action does not carry for this type of resource is left out before policies see it.
    pub keys: Context,
    /// The resource's own policy.
    pub own_policy: Option<Held>,
    /// Which must allow it.
    pub by_resource: bool,
    /// There is no such resource, so that nothing is known of it.
    pub gone: bool,
}

impl Ask {
    pub fn new(prefix: &'static str, name: &'static str, kind: &'static str, resource: impl Into<String>) -> Self {
        let resource = resource.into();
        Self { prefix, name, kind, resource, keys: Context::default(), own_policy: None, by_resource: false, gone: false }
    }

    /// The action of a call on a resource.
    pub fn of(call: &Call, kind: &'static str, resource: impl Into<String>) -> Self {
        let (prefix, name) = super::action(call.service, call.operation);
        Self::new(prefix, name, kind, resource)
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.keys.set(key, value);
        self
    }

    #[must_use]
    pub fn keys(mut self, keys: &Context) -> Self {
        self.keys.extend(keys);
        self
    }

    /// The tags that the request brings.
    #[must_use]
    pub fn request_tags(mut self, tags: &Tags) -> Self {
        if !tags.is_empty() {
            self.keys.set_all("aws:TagKeys", tags.keys().cloned().collect());
        }
        for (key, value) in tags {
            self.keys.set(&format!("aws:RequestTag/{key}"), value.clone());
        }
        self
    }

    /// The tags that the resource has.
    #[must_use]
    pub fn resource_tags(mut self, tags: &Tags) -> Self {
        for (key, value) in tags {
            self.keys.set(&format!("aws:ResourceTag/{key}"), value.clone());
            self.keys.set(&format!("{}:ResourceTag/{key}", self.prefix), value.clone());
        }
        self
    }

    #[must_use]
    pub fn gone(mut self, gone: bool) -> Self {
        self.gone = gone;
        self
    }

    /// Whether a condition key would tell of the resource, which is gone: one that the reference names for its type and that the request
    /// itself has not set.
    pub fn lacks(&self, context: &Context, key: &str) -> bool {
        const OF_REQUEST: [&str; 7] = [
            "aws:requesttag/",
            "aws:tagkeys",
            "ec2:attribute",
            "ec2:createaction",
            "ec2:islaunchtemplateresource",
            "ec2:launchtemplate",
            "ec2:newinstanceprofile",
        ];
        let of_request = OF_REQUEST.iter().any(|start| key.to_ascii_lowercase().starts_with(start));
        let named = || reference::action(self.prefix, self.name)?.resource(self.kind).map(|resource| resource.has(key));
        !of_request && context.get(key).is_none() && named().unwrap_or(false)
    }

    #[must_use]
    pub fn own_policy(mut self, name: &str, policy: Arc<Policy>) -> Self {
        self.own_policy = Some(Held { source: Source::Resource, name: name.to_owned(), policy });
        self
    }

    pub fn action(&self) -> String {
        format!("{}:{}", self.prefix, self.name)
    }

    /// The context that policies see.
    pub fn context(&self, common: &Context) -> Context {
        let mut context = common.clone();
        context.extend(&self.keys);
        if let Some(action) = reference::action(self.prefix, self.name) {
            // The reference has no row for it, and yet IAM asks: EC2 user guide, "Spot Instance requests: required permissions".
            let spot = self.kind == "spot-instances-request";
            context.retain(|key| action.carries(self.kind, key) || (spot && (key.starts_with("aws:RequestTag/") || key == "aws:TagKeys")));
        }
        context
    }
}

/// Keys of every request. Source: IAM user guide, "AWS global condition context keys".
pub(crate) fn common(world: &World<'_>, call: &Call, principal: &Principal) -> Context {
    let mut context = Context::default();
    context.set("aws:PrincipalArn", principal.role.clone().unwrap_or_else(|| principal.arn.clone()));
    context.set("aws:PrincipalAccount", principal.account.clone());
    let kind = match principal.kind {
        PrincipalKind::Root => "Account",
        PrincipalKind::User => "User",
        PrincipalKind::Session => "AssumedRole",
        PrincipalKind::Service | PrincipalKind::Federated => "Service",
    };
    context.set("aws:PrincipalType", kind);
    context.set("aws:userid", call.caller.user_id.clone());
    context.maybe("aws:username", who::user_name(&principal.arn));
    context.set("aws:PrincipalIsAWSService", "false");
    context.set("aws:ViaAWSService", "false");
    // Global services live in us-east-1. Source: same page, aws:RequestedRegion.
    let region = if call.service == Service::Iam { "us-east-1" } else { &call.region };
    context.set("aws:RequestedRegion", region);
    if call.service == Service::Ec2 {
        context.set("ec2:Region", call.region.clone());
    }
    times(&mut context, world.now);
    // Loopback, and as the client sees it, safe: policies that insist on TLS are not what is tried here.
    context.set("aws:SecureTransport", "true");
    context.set("aws:SourceIp", "127.0.0.1");
    for (key, value) in principal_tags(world, call, principal) {
        context.set(&format!("aws:PrincipalTag/{key}"), value);
    }
    let session = call.caller.access_key.as_deref().and_then(|key| world.account.iam.sessions.get(key));
    if let Some(session) = session {
        context.set("aws:TokenIssueTime", session.issued.to_string());
        context.set("aws:MultiFactorAuthPresent", "false");
    }
    context
}

fn times(context: &mut Context, now: Timestamp) {
    context.set("aws:CurrentTime", now.to_string());
    context.set("aws:EpochTime", now.as_second().to_string());
}

fn principal_tags(world: &World<'_>, call: &Call, principal: &Principal) -> Tags {
    let iam = world.account.iam.in_force(world.now);
    let own = match who::role_name(&principal.arn) {
        Some(role) => iam.roles.get(role).map(|role| &role.tags),
        None => who::user_name(&principal.arn).and_then(|user| iam.users.get(user)).map(|user| &user.tags),
    };
    let mut tags = own.cloned().unwrap_or_default();
    let session = call.caller.access_key.as_deref().and_then(|key| world.account.iam.sessions.get(key));
    tags.extend(session.map(|session| session.tags.clone()).unwrap_or_default());
    tags
}

/// `Tags` of a request: a list of `{Key, Value}`, or a map.
pub(super) fn tags(input: &Members, member: &str) -> Tags {
    let pairs = input.list(member).iter().filter_map(|tag| {
        let text = |upper: &str, lower: &str| tag.text(upper).or_else(|| tag.text(lower));
        Some((text("Key", "key")?.to_owned(), text("Value", "value").unwrap_or_default().to_owned()))
    });
    let map = input.part(member).into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    pairs.chain(map).collect()
}
