//! Pods of one rule by domain, and the domain that the next one may go to.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/topologygroup.go`. Where upstream takes any of several (it walks a Go map) this
//! takes the first by name, which is one of the answers that upstream may give.

use super::definition::Kind;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use vocabulary::{Operator, Requirement};

/// Counts by host, and how many hosts have any. Hosts are numbers: a new NodeClaim is a host of its own.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// As the cluster is.
    base: Rc<Vec<u32>>,
    /// Since then.
    more: Vec<i32>,
    occupied: usize,
}

impl Hosts {
    pub fn new(base: Rc<Vec<u32>>) -> Self {
        let occupied = base.iter().filter(|count| **count > 0).count();
        Hosts { base, more: Vec::new(), occupied }
    }

    pub fn count(&self, host: usize) -> i64 {
        let base = self.base.get(host).copied().unwrap_or(0);
        i64::from(base) + i64::from(self.more.get(host).copied().unwrap_or(0))
    }

    pub fn add(&mut self, host: usize, by: i32) {
        let before = self.count(host);
        if host >= self.more.len() {
            self.more.resize(host + 1, 0);
        }
        self.more[host] += by;
        match (before, before + i64::from(by)) {
            (0, after) if after > 0 => self.occupied += 1,
            (before, 0) if before > 0 => self.occupied -= 1,
            _ => {}
        }
    }
}

/// Counts by domain name; domains without a pod are there with zero.
pub type Domains = BTreeMap<Arc<str>, i64>;

#[derive(Clone, Debug)]
pub enum Counts {
    Hosts(Hosts),
    Domains(Domains),
}

/// What is asked of a group: the pod's strict demand and what the node may be, on the group's key.
pub struct Question<'a> {
    /// `None`: anything.
    pub pod: Option<&'a Requirement>,
    pub node: Option<&'a Requirement>,
    /// The rule is about the pod itself too.
    pub selects: bool,
}

fn has(requirement: Option<&Requirement>, domain: &str) -> bool {
    requirement.is_none_or(|requirement| requirement.has(domain))
}

impl Hosts {
    pub fn allows(&self, kind: Kind, host: usize, pod_may: impl Fn() -> bool, selects: impl Fn() -> bool) -> bool {
        let count = self.count(host);
        match kind {
            // A node can always be made, so that the emptiest host has nobody.
            Kind::Spread { max_skew, .. } => count < i64::from(max_skew) || count == i64::from(max_skew) && !selects(),
            Kind::AntiAffinity => count == 0,
            Kind::Affinity => pod_may() && (count > 0 || self.occupied == 0 && selects()),
        }
    }
}

/// Domains that the next pod may go to, in order.
pub fn next_domains(kind: Kind, domains: &Domains, question: &Question<'_>) -> Vec<Arc<str>> {
    match kind {
        Kind::Spread { max_skew, min_domains } => emptiest(domains, max_skew, min_domains, question).into_iter().collect(),
        Kind::Affinity => beside(domains, question),
        Kind::AntiAffinity => {
            let free = domains.iter().filter(|(domain, count)| **count == 0 && has(question.node, domain) && has(question.pod, domain));
            free.map(|(domain, _)| domain.clone()).collect()
        }
    }
}

/// All domains that the next pod could go to, of which [`next_domains`] of a spread constraint are the emptiest.
pub fn valid_domains(kind: Kind, domains: &Domains, question: &Question<'_>) -> Vec<Arc<str>> {
    let Kind::Spread { max_skew, min_domains } = kind else { return next_domains(kind, domains, question) };
    let level = within_skew(domains, max_skew, min_domains, question);
    domains.iter().filter(|(domain, count)| level(domain, **count)).map(|(domain, _)| domain.clone()).collect()
}

/// Whether a domain of the node, with so many pods and the next one, is within the skew.
fn within_skew<'a>(
    domains: &Domains,
    max_skew: i32,
    min_domains: Option<i32>,
    question: &'a Question<'_>,
) -> impl Fn(&Arc<str>, i64) -> bool + use<'a> {
    let least = fewest(domains, min_domains, question);
    let own = i64::from(question.selects);
    move |domain, count| has(question.node, domain) && count + own - least <= i64::from(max_skew)
}

/// Pods in the emptiest domain that the pod may go to; 0 while there are fewer domains than there must be.
fn fewest(domains: &Domains, min_domains: Option<i32>, question: &Question<'_>) -> i64 {
    let supported = domains.iter().filter(|(domain, _)| has(question.pod, domain)).map(|(_, count)| *count);
    let (number, least) = supported.fold((0i64, i64::from(i32::MAX)), |(number, least), count| (number + 1, least.min(count)));
    if min_domains.is_some_and(|wanted| number < i64::from(wanted)) { 0 } else { least }
}

/// The emptiest domain of the node that the skew allows.
fn emptiest(domains: &Domains, max_skew: i32, min_domains: Option<i32>, question: &Question<'_>) -> Option<Arc<str>> {
    let allowed = within_skew(domains, max_skew, min_domains, question);
    let listed = question.node.filter(|node| node.operator() == Operator::In);
    let best = match listed {
        Some(node) => {
            let known = node.values.iter().filter_map(|domain| domains.get_key_value(domain));
            known.filter(|(domain, count)| allowed(domain, **count)).min_by_key(|(_, count)| **count)
        }
        None => domains.iter().filter(|(domain, count)| allowed(domain, **count)).min_by_key(|(_, count)| **count),
    };
    best.map(|(domain, _)| domain.clone())
}

/// Domains that have such a pod, or where the first of them may go.
fn beside(domains: &Domains, question: &Question<'_>) -> Vec<Arc<str>> {
    let occupied = |domain: &Arc<str>, count: i64| count > 0 && has(question.pod, domain);
    let options: Vec<Arc<str>> = domains
        .iter()
        .filter(|(domain, count)| occupied(domain, **count) && has(question.node, domain))
        .map(|(domain, _)| domain.clone())
        .collect();
    if !options.is_empty() || !question.selects {
        return options;
    }
    if domains.iter().any(|(domain, count)| occupied(domain, *count)) {
        return options;
    }
    // Upstream offers a domain of the node and, whatever that is, the first that the pod may have.
    let here = domains.keys().find(|domain| has(question.pod, domain) && has(question.node, domain));
    let anywhere = domains.keys().find(|domain| has(question.pod, domain));
    let mut first: Vec<Arc<str>> = here.into_iter().chain(anywhere).cloned().collect();
    first.sort();
    first.dedup();
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn domains(counts: &[(&str, i64)]) -> Domains {
        counts.iter().map(|(domain, count)| (Arc::from(*domain), *count)).collect()
    }

    fn spread(max_skew: i32) -> Kind {
        Kind::Spread { max_skew, min_domains: None }
    }

    #[rstest]
    #[case::the_emptiest(spread(1), &[("a", 2), ("b", 1), ("c", 1)], None, None, true, &["b"])]
    #[case::within_the_skew(spread(1), &[("a", 2), ("b", 1)], Some(&["a"][..]), None, true, &[])]
    #[case::not_counting_itself(spread(1), &[("a", 2), ("b", 1)], Some(&["a"][..]), None, false, &["a"])]
    #[case::the_least_among_what_the_pod_may_have(spread(1), &[("a", 0), ("b", 3), ("c", 3)], Some(&["b", "c"][..]), Some(&["b", "c"][..]), true, &["b"])]
    #[case::too_few_domains_count_as_empty(Kind::Spread { max_skew: 1, min_domains: Some(3) }, &[("a", 1), ("b", 1)], None, None, true, &[])]
    #[case::beside_the_others(Kind::Affinity, &[("a", 0), ("b", 2), ("c", 1)], None, None, true, &["b", "c"])]
    #[case::the_first_goes_anywhere(Kind::Affinity, &[("a", 0), ("b", 0)], None, None, true, &["a"])]
    #[case::the_first_goes_where_the_node_is(Kind::Affinity, &[("a", 0), ("b", 0)], Some(&["b"][..]), None, true, &["a", "b"])]
    #[case::nobody_to_be_beside(Kind::Affinity, &[("a", 0)], None, None, false, &[])]
    #[case::apart(Kind::AntiAffinity, &[("a", 0), ("b", 1), ("c", 0)], None, None, true, &["a", "c"])]
    fn where_the_next_one_goes(
        #[case] kind: Kind,
        #[case] counts: &[(&str, i64)],
        #[case] node: Option<&[&str]>,
        #[case] pod: Option<&[&str]>,
        #[case] selects: bool,
        #[case] expected: &[&str],
    ) {
        let requirement = |values: Option<&[&str]>| values.map(|v| Requirement::new("zone", Operator::In, v.iter().copied()));
        let (node, pod) = (requirement(node), requirement(pod));
        let question = Question { pod: pod.as_ref(), node: node.as_ref(), selects };
        let found = next_domains(kind, &domains(counts), &question);
        assert_eq!(found.iter().map(|d| &**d).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_host_for_oneself() {
        let mut hosts = Hosts::new(Rc::new(vec![0, 1]));
        assert!(hosts.allows(Kind::AntiAffinity, 0, || true, || true) && !hosts.allows(Kind::AntiAffinity, 1, || true, || true));
        assert!(hosts.allows(Kind::Affinity, 1, || true, || false) && !hosts.allows(Kind::Affinity, 7, || true, || true));
        hosts.add(1, -1);
        assert!(hosts.allows(Kind::Affinity, 7, || true, || true));
        hosts.add(7, 2);
        assert!(!hosts.allows(spread(2), 7, || true, || true) && hosts.allows(spread(2), 7, || true, || false));
    }
}
