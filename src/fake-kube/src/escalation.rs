//! Nobody hands out more than they have: roles and bindings are held against their writer's own rules.
//!
//! Source: `pkg/registry/rbac/{escalation_check,validation}.go`, `pkg/registry/rbac/{clusterrole,role,clusterrolebinding,rolebinding}/policybased`,
//! `k8s.io/component-helpers/auth/rbac/validation/policy_comparator.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::User;
use crate::api::Api;
use crate::auth::{Asks, GROUP};
use crate::kinds::Kind;
use crate::status::Status;

/// 403 when a role's rules, or those of the role that a binding names, go beyond what the writer may do there.
pub(crate) fn check(api: &Api, user: &User, kind: &Kind, namespace: &str, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if kind.group != GROUP || !api.auth().limits(user) || old.is_some_and(|old| collected_only(old, new)) {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let may = |verb: &str, resource: &str, name: &str| {
        let asks = Asks { verb, group: GROUP, resource: resource.to_owned(), namespace, name, ..Asks::default() };
        api.auth().allowed(api, user, &asks).is_ok()
    };
    let refuse = |why: String| Err(Status::forbidden(kind, name, &why));
    match kind.plural.as_str() {
        "roles" | "clusterroles" => {
            if may("escalate", &kind.plural, name) {
                return Ok(());
            }
            if let Some(why) = beyond(api, user, namespace, &rules(&new["rules"])) {
                return refuse(why);
            }
            let gathers = |role: &Value| role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|list| !list.is_empty());
            let everything = json!([
                { "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }, { "verbs": ["*"], "nonResourceURLs": ["*"] },
            ]);
            if (gathers(new) || old.is_some_and(gathers)) && beyond(api, user, namespace, &rules(&everything)).is_some() {
                return refuse("must have cluster-admin privileges to use the aggregationRule".to_owned());
            }
            Ok(())
        }
        "rolebindings" | "clusterrolebindings" => {
            let (of, named) = (new["roleRef"]["kind"].as_str().unwrap_or_default(), new["roleRef"]["name"].as_str().unwrap_or_default());
            let (plural, place) = if of == "ClusterRole" { ("clusterroles", "") } else { ("roles", namespace) };
            if may("bind", plural, named) {
                return Ok(());
            }
            let Some(role) = api.store().get(&format!("{GROUP}/{plural}"), place, named) else {
                // Said of what was asked for, though it is the role that is missing.
                return Err(Status::not_found(kind, named));
            };
            match beyond(api, user, namespace, &rules(&role.value()["rules"])) {
                Some(why) => refuse(why),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Whether nothing changed but what lets the garbage collector go on (IsOnlyMutatingGCFields).
fn collected_only(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object["metadata"].as_object_mut() {
            ["ownerReferences", "finalizers", "managedFields"].iter().for_each(|key| drop(meta.shift_remove(*key)));
        }
        object
    };
    bare(old) == bare(new)
}

/// A rule as lists of words.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rule {
    groups: Vec<String>,
    resources: Vec<String>,
    urls: Vec<String>,
    names: Vec<String>,
    verbs: Vec<String>,
}

fn rules(list: &Value) -> Vec<Rule> {
    let words = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let rule = |rule: &Value| Rule {
        groups: words(&rule["apiGroups"]),
        resources: words(&rule["resources"]),
        urls: words(&rule["nonResourceURLs"]),
        names: words(&rule["resourceNames"]),
        verbs: words(&rule["verbs"]),
    };
    list.as_array().into_iter().flatten().map(rule).collect()
}

impl Rule {
    /// Rules with one word of each sort (BreakdownRule).
    fn broken_down(&self) -> Vec<Rule> {
        let one = |word: &String| vec![word.clone()];
        let mut found = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let plain = Rule { groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                    if self.names.is_empty() {
                        found.push(plain);
                    } else {
                        found.extend(self.names.iter().map(|name| Rule { names: one(name), ..plain.clone() }));
                    }
                }
            }
        }
        for url in &self.urls {
            found.extend(self.verbs.iter().map(|verb| Rule { urls: one(url), verbs: one(verb), ..Rule::default() }));
        }
        found
    }

    /// Whether this rule allows what a broken-down one does.
    fn covers(&self, small: &Rule) -> bool {
        let all = |have: &[String], wanted: &[String]| have.iter().any(|one| one == "*") || wanted.iter().all(|one| have.contains(one));
        let resource = |wanted: &String| {
            let below = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            self.resources.contains(wanted) || below.is_some_and(|below| self.resources.contains(&below))
        };
        let url = |wanted: &String| {
            self.urls.iter().any(|own| own == wanted || own.ends_with('*') && wanted.starts_with(own.trim_end_matches('*')))
        };
        all(&self.verbs, &small.verbs)
            && all(&self.groups, &small.groups)
            && (self.resources.iter().any(|one| one == "*") || small.resources.iter().all(resource))
            && (self.names.is_empty() || !small.names.is_empty() && small.names.iter().all(|name| self.names.contains(name)))
            && small.urls.iter().all(url)
    }

    /// CompactString.
    fn words(&self) -> String {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let shown = parts.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:{}", quoted(list)));
        format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
    }
}

/// Go's `%q` of a list.
fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|one| crate::status::quoted(one)).collect::<Vec<_>>().join(" "))
}

/// The words for what the user does not have of these rules (ConfirmNoEscalation).
fn beyond(api: &Api, user: &User, namespace: &str, wanted: &[Rule]) -> Option<String> {
    let (own, unknown) = api.auth().rules_and_gaps(api, user, namespace);
    let own = rules(&Value::Array(own));
    let missing: Vec<Rule> = wanted.iter().flat_map(Rule::broken_down).filter(|small| !own.iter().any(|rule| rule.covers(small))).collect();
    if missing.is_empty() {
        return None;
    }
    // Those that differ by their verb alone are told as one (CompactRules).
    let mut together: BTreeMap<[Vec<String>; 4], Rule> = BTreeMap::new();
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for rule in missing {
        if !rule.urls.is_empty() {
            shown.insert(rule.words());
            continue;
        }
        let key = [rule.groups.clone(), rule.resources.clone(), rule.names.clone(), rule.urls.clone()];
        together.entry(key).and_modify(|known| known.verbs.extend(rule.verbs.clone())).or_insert(rule);
    }
    shown.extend(together.values().map(Rule::words));
    let list: Vec<String> = shown.into_iter().collect();
    let gaps = match &unknown[..] {
        [] => String::new(),
        [one] => format!("; resolution errors: [{one}]"),
        several => format!("; resolution errors: [[{}]]", several.join(", ")),
    };
    Some(format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}{gaps}",
        crate::status::quoted(&user.name),
        quoted(&user.groups),
        list.join("\n")
    ))
}
