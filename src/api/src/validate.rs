//! What the definitions cannot say: upstream checks it at run time and reports it in `ValidationSucceeded`.
//!
//! Source: `C/pkg/apis/v1/nodepool_validation.go`, `nodeclaim_validation.go`; names and values as in
//! `k8s.io/apimachinery/pkg/util/validation/validation.go`.

use crate::nodepool::{NodeClaimTemplate, SelectorRequirement};
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeSet;
use vocabulary::{Operator, labels};

/// Everything that is wrong with a NodePool's template, in order of the fields; empty when nothing is.
pub fn template(template: &NodeClaimTemplate) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, value) in &template.metadata.labels {
        if key == labels::NODEPOOL {
            faults.push(format!("invalid key name {key:?} in labels, restricted"));
        }
        faults.extend(qualified_name(key).map(|fault| format!("invalid key name {key:?} in labels, {fault:?}")));
        faults.extend(label_value(value).map(|fault| format!("invalid value: {value} for label[{key}], {fault}")));
        faults.extend(restricted(key).map(|fault| format!("invalid key name {key:?} in labels, {fault}")));
    }
    let mut seen = BTreeSet::new();
    faults.extend(template.spec.taints.iter().flat_map(|t| taint(t, "taints", &mut seen)).collect::<Vec<_>>());
    faults.extend(template.spec.startup_taints.iter().flat_map(|t| taint(t, "startupTaints", &mut seen)).collect::<Vec<_>>());
    let requirements = &template.spec.requirements;
    faults.extend(requirements.iter().flat_map(requirement).map(|fault| format!("invalid value: {fault} in requirements, restricted")));
    let own = requirements.iter().filter(|r| r.key == labels::NODEPOOL);
    faults.extend(own.map(|r| format!("invalid key: {:?} in requirements, restricted", r.key)));
    faults
}

fn taint(taint: &Taint, field: &str, seen: &mut BTreeSet<(String, String)>) -> Vec<String> {
    let mut faults: Vec<String> = qualified_name(&taint.key).into_iter().collect();
    let value = taint.value.as_deref().unwrap_or_default();
    if !value.is_empty() {
        faults.extend(qualified_name(value));
    }
    if !["NoSchedule", "PreferNoSchedule", "NoExecute", ""].contains(&taint.effect.as_str()) {
        faults.push(format!("{:?}", taint.effect));
    }
    let mut faults: Vec<String> = faults.into_iter().map(|fault| format!("invalid value: {fault} in {field}")).collect();
    if !seen.insert((taint.key.clone(), taint.effect.clone())) {
        faults.push(format!("duplicate taint Key/Effect pair {}={}", taint.key, taint.effect));
    }
    faults
}

/// What is wrong with one requirement (ValidateRequirement).
pub fn requirement(written: &SelectorRequirement) -> Vec<String> {
    let key = labels::normalize(&written.key);
    let mut faults = Vec::new();
    let operator = Operator::parse(&written.operator);
    if operator.is_none() {
        faults.push(format!("key {key} has an unsupported operator {}", written.operator));
    }
    faults.extend(restricted(key));
    faults.extend(qualified_name(key).map(|fault| format!("key {key} is not a qualified name, {fault}")));
    faults.extend(written.values.iter().filter_map(|v| Some(format!("invalid value {v} for key {key}, {}", label_value(v)?))));
    let fewest = usize::try_from(written.min_values.unwrap_or(0)).unwrap_or(usize::MAX);
    match operator {
        Some(Operator::In) => {
            faults.extend(known_values(key, &written.values, fewest));
            if written.values.is_empty() {
                faults.push(format!("key {key} with operator In must have a value defined"));
            } else if written.values.len() < fewest {
                faults.push(format!("key {key} with operator In must have at least minimum number of values defined in 'values' field"));
            }
        }
        Some(Operator::Gt | Operator::Lt | Operator::Gte | Operator::Lte) => {
            let number = matches!(written.values.as_slice(), [one] if one.parse::<i64>().is_ok_and(|n| n >= 0));
            if !number {
                faults.push(format!("key {key} with operator {} must have a single positive integer value", written.operator));
            }
        }
        _ => {}
    }
    faults
}

fn known_values(key: &str, values: &[String], fewest: usize) -> Option<String> {
    let known = labels::known_values(key)?;
    let valid = values.iter().filter(|value| known.contains(&value.as_str())).count();
    let expected = known.join(", ");
    if valid == 0 {
        return Some(format!("no valid values found in {values:?} for {key}, expected one of: {expected}"));
    }
    (valid < fewest).then(|| format!("not enough valid values found in {values:?} for {key}, expected at least {fewest} of: {expected}"))
}

fn restricted(key: &str) -> Option<String> {
    labels::is_restricted(key).then(|| {
        format!("using label {key} is not allowed as it might interfere with the internal provisioning logic; specify a well known label, or a custom label that does not use a restricted domain: {}", labels::RESTRICTED_DOMAINS.join(", "))
    })
}

/// `prefix/name`: a DNS subdomain of at most 253 characters, and at most 63 of letters, digits, `-`, `_`, `.`.
fn qualified_name(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.contains('/') {
        return Some("a qualified name has one slash at the most".to_owned());
    }
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        return Some("prefix part must be a DNS subdomain".to_owned());
    }
    (name.is_empty() || !is_word(name)).then(|| {
        "name part must consist of alphanumeric characters, '-', '_' or '.', must start and end with an alphanumeric character, and have 1 to 63 characters".to_owned()
    })
}

fn label_value(value: &str) -> Option<String> {
    (!value.is_empty() && !is_word(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', must start and end with an alphanumeric character, and have at most 63 characters".to_owned()
    })
}

fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let outer = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63 && text.chars().all(inner) && text.starts_with(outer) && text.ends_with(outer)
}

fn is_subdomain(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label =
        |part: &str| part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && part.chars().all(|c| alphanumeric(c) || c == '-');
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn entry(key: &str, operator: &str, values: &[&str], min_values: Option<u32>) -> SelectorRequirement {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        SelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values, min_values }
    }

    #[rstest]
    #[case(entry("karpenter.sh/capacity-type", "In", &["on-demand"], None), "")]
    #[case(entry("karpenter.sh/capacity-type", "In", &["ondemand"], None), "no valid values found")]
    #[case(entry("karpenter.sh/capacity-type", "In", &["spot", "x"], Some(2)), "not enough valid values")]
    #[case(entry("kubernetes.io/hostname", "Exists", &[], None), "is not allowed")]
    #[case(entry("karpenter.sh/custom", "Exists", &[], None), "is not allowed")]
    #[case(entry("team", "In", &[], None), "must have a value defined")]
    #[case(entry("team", "In", &["a"], Some(2)), "at least minimum number")]
    #[case(entry("team", "Near", &["a"], None), "unsupported operator")]
    #[case(entry("karpenter.k8s.aws/instance-cpu", "Gt", &["-1"], None), "single positive integer")]
    #[case(entry("karpenter.k8s.aws/instance-cpu", "Gt", &["1", "2"], None), "single positive integer")]
    #[case(entry("karpenter.k8s.aws/instance-cpu", "Lte", &["8"], None), "")]
    #[case(entry("-bad", "Exists", &[], None), "not a qualified name")]
    #[case(entry("UPPER/x", "Exists", &[], None), "not a qualified name")]
    #[case(entry("team", "In", &["no spaces"], None), "invalid value no spaces")]
    fn requirements_are_judged(#[case] written: SelectorRequirement, #[case] fault: &str) {
        let faults = requirement(&written);
        assert_eq!(faults.is_empty(), fault.is_empty(), "{faults:?}");
        assert!(faults.join("; ").contains(fault), "{faults:?}");
    }

    #[test]
    fn a_template_names_all_its_faults() {
        let mut made = NodeClaimTemplate::default();
        made.metadata.labels.insert("karpenter.sh/nodepool".to_owned(), "x".to_owned());
        let bad = Taint { key: "a".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        made.spec.taints = vec![bad.clone()];
        made.spec.startup_taints = vec![bad];
        let faults = template(&made);
        assert_eq!(
            faults,
            ["invalid key name \"karpenter.sh/nodepool\" in labels, restricted", "duplicate taint Key/Effect pair a=NoSchedule"]
        );
    }
}
