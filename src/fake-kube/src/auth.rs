//! Who asks, and whether they may: tokens, service accounts, impersonation, RBAC.
//!
//! Without tokens ([`crate::Config::tokens`]) whoever can ask is the administrator. RBAC is enforced when [`crate::Config::rbac`] says so.
//! Source: `k8s.io/apiserver/pkg/{authentication,authorization,endpoints/filters/{authorization,impersonation}}`,
//! `plugin/pkg/auth/authorizer/rbac`, `pkg/serviceaccount/claims.go`. Service account tokens are signed by the server's own secret
//! (HS256), not by a key pair: only this server can verify them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::status::Status;
use crate::store::Object;
use crate::time;

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
const MASTERS: &str = "system:masters";

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

impl User {
    /// Who may do everything.
    pub fn administrator() -> User {
        User { name: "admin".to_owned(), uid: "admin".to_owned(), groups: vec![MASTERS.to_owned(), "system:authenticated".to_owned()] }
    }

    fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        let groups =
            ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), "system:authenticated".to_owned()];
        User { name: format!("system:serviceaccount:{namespace}:{name}"), uid: uid.to_owned(), groups: groups.into() }
    }

    /// As `userInfo` of a review.
    pub(crate) fn info(&self) -> Value {
        let mut info = json!({ "username": self.name });
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        info
    }
}

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asks<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// `pods`, `pods/log`; empty for a path that is no resource.
    pub resource: String,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
}

impl Asks<'_> {
    /// The words of a refusal (`responsewriters/errors.go`, forbiddenMessage).
    fn refused(&self, user: &User) -> String {
        if self.resource.is_empty() {
            return format!("User {:?} cannot {} path {:?}", user.name, self.verb, self.path);
        }
        let place =
            if self.namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {:?}", self.namespace) };
        format!("User {:?} cannot {} resource {:?} in API group {:?} {place}", user.name, self.verb, self.resource, self.group)
    }
}

/// Tokens and the rule of the house.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auth {
    /// By the tokens' digests, so that a comparison tells nothing of them.
    tokens: BTreeMap<[u8; 32], User>,
    secret: Vec<u8>,
    pub(crate) rbac: bool,
}

impl Auth {
    pub(crate) fn new(tokens: &[(String, User)], secret: Vec<u8>, rbac: bool) -> Auth {
        let tokens = tokens.iter().map(|(token, user)| (Sha256::digest(token).into(), user.clone())).collect();
        Auth { tokens, secret, rbac }
    }

    /// # Errors
    /// 401 for a token that nobody gave out; 403 for an impersonation that is not allowed.
    pub(crate) fn who(&self, api: &Api, now: Timestamp, headers: &HeaderMap) -> Result<User, Status> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let user = match text("authorization").and_then(|said| said.strip_prefix("Bearer ")) {
            None => User::administrator(),
            Some(token) => match self.of_token(api, now, token) {
                Some(user) => user,
                None if self.tokens.is_empty() => User::administrator(),
                None => return Err(Status::new(401, "Unauthorized", "Unauthorized".to_owned())),
            },
        };
        let Some(name) = text("impersonate-user") else { return Ok(user) };
        self.allowed(api, &user, &Asks { verb: "impersonate", resource: "users".to_owned(), name, ..Asks::default() })
            .map_err(|why| Status::new(403, "Forbidden", format!("users {name:?} is forbidden: {why}")))?;
        let mut groups: Vec<String> =
            headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
        if let (true, Some((namespace, account))) =
            (groups.is_empty(), name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')))
        {
            groups = User::service_account(namespace, account, "").groups;
        }
        groups.retain(|group| group != "system:authenticated");
        groups.push("system:authenticated".to_owned());
        Ok(User { name: name.to_owned(), uid: String::new(), groups })
    }

    /// Whose token that is; a service account's only while the account is there and the token has not expired.
    pub(crate) fn of_token(&self, api: &Api, now: Timestamp, token: &str) -> Option<User> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.tokens.get(&digest).cloned().or_else(|| self.of_account(api, now, token))
    }

    fn of_account(&self, api: &Api, now: Timestamp, token: &str) -> Option<User> {
        let (signed, signature) = token.rsplit_once('.')?;
        let claimed = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let right = self.sign(signed);
        let equal = claimed.len() == right.len() && claimed.iter().zip(right).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()?;
        if !equal || claims["exp"].as_i64()? <= now.as_second() {
            return None;
        }
        let bound = &claims["kubernetes.io"];
        let (namespace, account) = (bound["namespace"].as_str()?, &bound["serviceaccount"]);
        let (name, uid) = (account["name"].as_str()?, account["uid"].as_str()?);
        let found = api.store().get("serviceaccounts", namespace, name)?;
        (found.meta.uid == uid).then(|| User::service_account(namespace, name, uid))
    }

    /// HMAC-SHA256 (RFC 2104).
    fn sign(&self, text: &str) -> [u8; 32] {
        const BLOCK: usize = 64;
        let mut key = [0u8; BLOCK];
        let secret: [u8; 32] = Sha256::digest(&self.secret).into();
        key[..secret.len()].copy_from_slice(&secret);
        let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
        Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
    }

    /// `serviceaccounts/token`: a TokenRequest with its status.
    pub(crate) fn issue(&self, now: Timestamp, account: &Object, asked: &Value) -> Value {
        let (namespace, name, uid) = (&account.meta.namespace, &account.meta.name, &account.meta.uid);
        let seconds = asked["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let audiences =
            asked["spec"]["audiences"].as_array().filter(|list| !list.is_empty()).cloned().unwrap_or_else(|| vec![json!(ISSUER)]);
        let expires = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "aud": audiences, "exp": expires.as_second(), "iat": now.as_second(), "iss": ISSUER,
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": uid } },
            "nbf": now.as_second(), "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let signed = format!("{}.{}", encode(json!({ "alg": "HS256", "typ": "JWT" })), encode(claims));
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(&signed)));
        json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": { "name": name, "namespace": namespace, "creationTimestamp": time::seconds(now) },
            "spec": { "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": asked["spec"]["boundObjectRef"] },
            "status": { "token": token, "expirationTimestamp": time::seconds(expires) },
        })
    }

    /// Why the user may, in RBAC's words (empty when no rule was asked).
    ///
    /// # Errors
    /// The words of the refusal.
    pub(crate) fn allowed(&self, api: &Api, user: &User, asks: &Asks<'_>) -> Result<String, String> {
        if !self.limits(user) {
            return Ok(String::new());
        }
        let mut missing = Vec::new();
        for (binding, role, rules) in grants(api, user, asks.namespace, &mut missing) {
            if rules.iter().any(|rule| covers(rule, asks)) {
                return Ok(format!("RBAC: allowed by {binding} of {role} to {}", subject_words(api, &binding, user)));
            }
        }
        let why = asks.refused(user);
        match &missing[..] {
            [] => Err(why),
            [one] => Err(format!("{why}: RBAC: {one}")),
            several => Err(format!("{why}: RBAC: [{}]", several.join(", "))),
        }
    }

    /// 403 unless the user may.
    pub(crate) fn require(&self, api: &Api, user: &User, asks: &Asks<'_>) -> Result<(), Status> {
        self.allowed(api, user, asks).map(drop).map_err(|why| {
            let plural = asks.resource.split('/').next().unwrap_or_default();
            let resource = if asks.group.is_empty() { plural.to_owned() } else { format!("{plural}.{}", asks.group) };
            let message = match (asks.resource.is_empty(), asks.name.is_empty()) {
                (true, _) => format!("forbidden: {why}"),
                (false, true) => format!("{resource} is forbidden: {why}"),
                (false, false) => format!("{resource} {:?} is forbidden: {why}", asks.name),
            };
            Status::new(403, "Forbidden", message).of_resource(asks.group, plural, asks.name)
        })
    }

    /// Whether there is anything that the user may not do.
    pub(crate) fn limits(&self, user: &User) -> bool {
        self.rbac && !user.groups.iter().any(|group| group == MASTERS)
    }

    /// Every rule that the user has in a namespace, and what was not found of the roles that bindings name.
    pub(crate) fn rules_and_gaps(&self, api: &Api, user: &User, namespace: &str) -> (Vec<Value>, Vec<String>) {
        let mut missing = Vec::new();
        let rules = grants(api, user, namespace, &mut missing).into_iter().flat_map(|(_, _, rules)| rules).collect();
        (rules, missing)
    }

    /// Every rule that the user has in a namespace, for SelfSubjectRulesReview.
    pub(crate) fn rules(&self, api: &Api, user: &User, namespace: &str) -> Vec<Value> {
        if !self.limits(user) {
            let all = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] });
            return vec![all, json!({ "verbs": ["*"], "nonResourceURLs": ["*"] })];
        }
        grants(api, user, namespace, &mut Vec::new()).into_iter().flat_map(|(_, _, rules)| rules).collect()
    }
}

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// Binding and role in words, and the role's rules, for every binding that means the user: of the cluster first.
fn grants(api: &Api, user: &User, namespace: &str, missing: &mut Vec<String>) -> Vec<(String, String, Vec<Value>)> {
    let mut found = Vec::new();
    let cluster = api.store().list("rbac.authorization.k8s.io/clusterrolebindings");
    let local = api.store().list_in("rbac.authorization.k8s.io/rolebindings", namespace).filter(|_| !namespace.is_empty());
    for binding in cluster.chain(local) {
        let value = binding.value();
        let means = value["subjects"].as_array().into_iter().flatten().any(|subject| is(subject, user, &binding.meta.namespace));
        if !means {
            continue;
        }
        let (kind, name) = (value["roleRef"]["kind"].as_str().unwrap_or_default(), value["roleRef"]["name"].as_str().unwrap_or_default());
        let role = match kind {
            "ClusterRole" => api.store().get("rbac.authorization.k8s.io/clusterroles", "", name),
            _ => api.store().get("rbac.authorization.k8s.io/roles", &binding.meta.namespace, name),
        };
        let Some(role) = role else {
            missing.push(format!("{}.{GROUP} {name:?} not found", kind.to_lowercase()));
            continue;
        };
        let words = if binding.meta.namespace.is_empty() {
            format!("{} {:?}", binding.kind.kind, binding.meta.name)
        } else {
            format!("{} {:?}", binding.kind.kind, format!("{}/{}", binding.meta.name, binding.meta.namespace))
        };
        let rules = role.value()["rules"].as_array().cloned().unwrap_or_default();
        found.push((words, format!("{kind} {name:?}"), rules));
    }
    found
}

fn is(subject: &Value, user: &User, namespace: &str) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => name == user.name,
        Some("Group") => user.groups.iter().any(|group| group == name),
        Some("ServiceAccount") => {
            let place = subject["namespace"].as_str().filter(|place| !place.is_empty()).unwrap_or(namespace);
            user.name == format!("system:serviceaccount:{place}:{name}")
        }
        _ => false,
    }
}

/// `User "jane"`, `Group "x"`, `ServiceAccount "name/namespace"`: the subject of the binding that means the user.
fn subject_words(api: &Api, binding: &str, user: &User) -> String {
    let all = ["rbac.authorization.k8s.io/clusterrolebindings", "rbac.authorization.k8s.io/rolebindings"];
    let name = binding.split('"').nth(1).unwrap_or_default();
    let (name, namespace) = name.split_once('/').unwrap_or((name, ""));
    let found = all.iter().find_map(|plural| api.store().get(plural, namespace, name)).map(|binding| binding.value());
    let subjects = found.as_ref().and_then(|value| value["subjects"].as_array()).into_iter().flatten();
    let words = |subject: &Value| match subject["kind"].as_str() {
        Some("ServiceAccount") => {
            let place = subject["namespace"].as_str().filter(|place| !place.is_empty()).unwrap_or(namespace);
            format!("ServiceAccount \"{}/{place}\"", subject["name"].as_str().unwrap_or_default())
        }
        kind => format!("{} {}", kind.unwrap_or_default(), subject["name"]),
    };
    subjects.filter(|subject| is(subject, user, namespace)).map(words).next().unwrap_or_default()
}

/// `pkg/apis/rbac/v1/evaluation_helpers.go`.
fn covers(rule: &Value, asks: &Asks<'_>) -> bool {
    let has = |key: &str, wanted: &str| rule[key].as_array().into_iter().flatten().any(|one| one == "*" || one == wanted);
    if !has("verbs", asks.verb) {
        return false;
    }
    if asks.resource.is_empty() {
        let path = |one: &Value| {
            one.as_str().is_some_and(|rule| rule == asks.path || rule.strip_suffix('*').is_some_and(|prefix| asks.path.starts_with(prefix)))
        };
        return rule["nonResourceURLs"].as_array().into_iter().flatten().any(path);
    }
    let sub = asks.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let resource = has("resources", &asks.resource) || sub.is_some_and(|sub| has("resources", &sub));
    let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
    has("apiGroups", asks.group) && resource && names.is_none_or(|names| names.iter().any(|one| one == asks.name))
}
