//! The planner's verdicts on nodes in short sentences.

use planner::disruption::{Blocker, Invalid, Method, Unconsolidatable, Why};
use planner::output::Choice;
use std::sync::Arc;
use vocabulary::{Resources, UsdPerHour, labels};

/// `1 pod`, `5 pods`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `$0.096/h`.
pub fn price(price: UsdPerHour) -> String {
    format!("{price}/h")
}

/// The same of a sum or a difference.
pub fn dollars(dollars: f64) -> String {
    UsdPerHour::new(dollars).map_or_else(|| "an unknown price".to_owned(), price)
}

/// `180m cpu, 5240Mi memory`; how many pods it is is said elsewhere.
pub fn amounts(resources: &Resources) -> String {
    let named = resources.iter().filter(|(name, amount)| *name != vocabulary::resources::PODS && *amount != 0);
    let shown: Vec<String> = named.map(|(name, amount)| format!("{} {name}", Resources::print(name, amount))).collect();
    if shown.is_empty() { "no resources".to_owned() } else { shown.join(", ") }
}

/// Types with prices; of many the first ten.
pub fn choices(choices: &[Choice]) -> String {
    let shown: Vec<String> = choices.iter().take(10).map(|c| format!("{} at {}", c.instance_type, price(c.price))).collect();
    let more = if choices.len() > 10 { format!(" and {} more", choices.len() - 10) } else { String::new() };
    shown.join(", ") + &more
}

pub fn method(method: Method) -> &'static str {
    match method {
        Method::Emptiness => "emptiness",
        Method::Drift => "drift",
        Method::MultiNode => "multi-node consolidation",
        Method::SingleNode => "single-node consolidation",
    }
}

/// The methods that say the same, in short.
pub fn methods(methods: &[Method]) -> String {
    let short = |method: &Method| match method {
        Method::Emptiness => "emptiness",
        Method::Drift => "drift",
        Method::MultiNode => "multi-node",
        Method::SingleNode => "single-node",
    };
    if methods == Method::ALL { "every method".to_owned() } else { methods.iter().map(short).collect::<Vec<_>>().join(", ") }
}

/// Why a command was not carried out.
pub fn invalid(invalid: Invalid) -> &'static str {
    match invalid {
        Invalid::Budget => "the budgets of its NodePool no longer allowed it",
        Invalid::Scheduling => "its pods would have gone elsewhere by then",
        Invalid::Churn => "pods had come or gone, or the nodes might no longer be disrupted",
    }
}

/// Why a node stays by one method's lights. `more` is what the record holds beside: until when, or how much.
pub fn why(by: Method, why: &Why, more: Option<&str>) -> String {
    let more = more.map(|more| format!(", {more}")).unwrap_or_default();
    match why {
        Why::Blocked(blocker) => blocked(blocker) + &more,
        Why::Unconsolidatable(reason) => unconsolidatable(reason),
        Why::Budget => format!("the budgets of its NodePool for {} are used up{more}", by.reason()),
        Why::NotMarked(condition) if &**condition == "Drifted" => "it has not drifted".to_owned(),
        Why::NotMarked(condition) => format!("it was not {condition} yet{more}"),
        Why::OtherMethod if by == Method::Emptiness => "it is not empty".to_owned(),
        Why::Unbalanced => "giving it up saves too little for the pods that would have to move, and its NodePool is balanced".to_owned(),
        Why::FixedSize => "its NodePool has a fixed size, so that only drift replaces its nodes".to_owned(),
        Why::OtherMethod => "it is empty, so it is left to emptiness".to_owned(),
    }
}

pub fn blocked(blocker: &Blocker) -> String {
    match blocker {
        Blocker::InQueue => "a command is being carried out on it".to_owned(),
        Blocker::NotManaged => "it has no NodeClaim, so it is not Karpenter's".to_owned(),
        Blocker::NoNode => "its machine is no node yet".to_owned(),
        Blocker::NotInitialized => "it is not initialized yet".to_owned(),
        Blocker::Deleting => "it is being deleted".to_owned(),
        Blocker::Nominated => "it is kept for pods that wait".to_owned(),
        Blocker::Annotation => format!("its annotation {} forbids it", labels::DO_NOT_DISRUPT),
        Blocker::NoPoolLabel => format!("it has no label {}", labels::NODEPOOL),
        Blocker::PoolNotFound(pool) => format!("NodePool {pool} is not there, or has no instance types"),
        Blocker::Pod(pod) => format!("the annotation {} of pod {pod} forbids it", labels::DO_NOT_DISRUPT),
        Blocker::PodBudget(budget) => format!("PodDisruptionBudget {budget} allows no eviction"),
        Blocker::SeveralPodBudgets(budgets) => {
            format!("one of its pods has several PodDisruptionBudgets, with which nobody can evict it: {}", budgets.join(", "))
        }
        Blocker::Unplaced(pods) => unplaced(pods),
    }
}

pub fn unconsolidatable(reason: &Unconsolidatable) -> String {
    match reason {
        Unconsolidatable::InstanceTypeNotFound(name) => format!("its NodePool does not offer its type {name:?}"),
        Unconsolidatable::LabelMissing(key) => format!("it has no label {key}"),
        Unconsolidatable::ConsolidationDisabled(pool) => format!("NodePool {pool} never consolidates (consolidateAfter: Never)"),
        Unconsolidatable::OnlyWhenEmpty(pool) => {
            format!("NodePool {pool} consolidates empty nodes alone (consolidationPolicy: WhenEmpty), and it is not empty")
        }
        Unconsolidatable::Pods(pods) => unplaced(pods),
        Unconsolidatable::SeveralNodes(number) => format!("its pods would need {number} new nodes, and only one may stand in"),
        Unconsolidatable::NotCheaper { best: None, price: own } => {
            format!("nothing that is to be had would take its pods; it costs {}", price(*own))
        }
        Unconsolidatable::NotCheaper { best: Some((name, best)), price: own } => {
            let by = best.dollars() - own.dollars();
            let lost = if by > 0.0 { format!("{} more than it does now", dollars(by)) } else { "no less than it does now".to_owned() };
            format!("its cheapest replacement is {name} at {}, {lost} ({})", price(*best), price(*own))
        }
        Unconsolidatable::MinValues { key, wanted, found } => {
            format!("of what is cheaper {found} of the {wanted} values of {key} are left that minValues asks for")
        }
        Unconsolidatable::SpotToSpotDisabled => "its replacement would be Spot for Spot, and SpotToSpotConsolidation is off".to_owned(),
        Unconsolidatable::SpotToSpotNeedsTypes { wanted, found } => {
            format!("Spot for Spot needs {wanted} cheaper types to choose from, and there are {found}")
        }
    }
}

/// The first five pods with their reasons: the others have none in the record.
fn unplaced(pods: &[(Arc<str>, String)]) -> String {
    let told: Vec<String> = pods.iter().take(5).map(|(pod, why)| format!("{pod}: {why}")).collect();
    let more = if pods.len() > 5 { format!("; and {} more", pods.len() - 5) } else { String::new() };
    let pods = if pods.len() == 1 {
        "1 of its pods would find no place".to_owned()
    } else {
        format!("{} of its pods would find no place", pods.len())
    };
    format!("{pods}: {}{more}", told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn dollars_per_hour(amount: f64) -> UsdPerHour {
        UsdPerHour::new(amount).expect("finite")
    }

    fn pods(many: usize) -> Vec<(Arc<str>, String)> {
        (0..many).map(|n| (Arc::from(format!("other/p{n}")), format!("why {n}"))).collect()
    }

    #[rstest]
    #[case(Blocker::InQueue, "a command is being carried out on it")]
    #[case(Blocker::NotManaged, "it has no NodeClaim, so it is not Karpenter's")]
    #[case(Blocker::NoNode, "its machine is no node yet")]
    #[case(Blocker::NotInitialized, "it is not initialized yet")]
    #[case(Blocker::Deleting, "it is being deleted")]
    #[case(Blocker::Nominated, "it is kept for pods that wait")]
    #[case(Blocker::Annotation, "its annotation karpenter.sh/do-not-disrupt forbids it")]
    #[case(Blocker::NoPoolLabel, "it has no label karpenter.sh/nodepool")]
    #[case(Blocker::PoolNotFound("spot".into()), "NodePool spot is not there, or has no instance types")]
    #[case(Blocker::Pod("other/a".into()), "the annotation karpenter.sh/do-not-disrupt of pod other/a forbids it")]
    #[case(Blocker::PodBudget("other/a".into()), "PodDisruptionBudget other/a allows no eviction")]
    #[case(
        Blocker::SeveralPodBudgets(vec!["other/a".into(), "other/b".into()]),
        "one of its pods has several PodDisruptionBudgets, with which nobody can evict it: other/a, other/b"
    )]
    #[case(Blocker::Unplaced(pods(1)), "1 of its pods would find no place: other/p0: why 0")]
    fn blockers(#[case] blocker: Blocker, #[case] says: &str) {
        assert_eq!(blocked(&blocker), says);
        assert_eq!(why(Method::Drift, &Why::Blocked(blocker), Some("until 9.0s")), format!("{says}, until 9.0s"));
    }

    #[rstest]
    #[case(Unconsolidatable::InstanceTypeNotFound("m9.huge".into()), "its NodePool does not offer its type \"m9.huge\"")]
    #[case(Unconsolidatable::LabelMissing("a/b".into()), "it has no label a/b")]
    #[case(Unconsolidatable::ConsolidationDisabled("spot".into()), "NodePool spot never consolidates (consolidateAfter: Never)")]
    #[case(
        Unconsolidatable::OnlyWhenEmpty("spot".into()),
        "NodePool spot consolidates empty nodes alone (consolidationPolicy: WhenEmpty), and it is not empty"
    )]
    #[case(
        Unconsolidatable::Pods(pods(6)),
        "6 of its pods would find no place: other/p0: why 0; other/p1: why 1; other/p2: why 2; other/p3: why 3; other/p4: why 4; and 1 more"
    )]
    #[case(Unconsolidatable::SeveralNodes(3), "its pods would need 3 new nodes, and only one may stand in")]
    #[case::as_dear(
        Unconsolidatable::NotCheaper { best: Some(("m5.large".into(), dollars_per_hour(0.096))), price: dollars_per_hour(0.096) },
        "its cheapest replacement is m5.large at $0.096/h, no less than it does now ($0.096/h)"
    )]
    #[case::dearer(
        Unconsolidatable::NotCheaper { best: Some(("m5.large".into(), dollars_per_hour(0.096))), price: dollars_per_hour(0.0208) },
        "its cheapest replacement is m5.large at $0.096/h, $0.0752/h more than it does now ($0.0208/h)"
    )]
    #[case::nothing_to_be_had(
        Unconsolidatable::NotCheaper { best: None, price: dollars_per_hour(0.096) },
        "nothing that is to be had would take its pods; it costs $0.096/h"
    )]
    #[case(
        Unconsolidatable::MinValues { key: "node.kubernetes.io/instance-type".into(), wanted: 5, found: 2 },
        "of what is cheaper 2 of the 5 values of node.kubernetes.io/instance-type are left that minValues asks for"
    )]
    #[case(Unconsolidatable::SpotToSpotDisabled, "its replacement would be Spot for Spot, and SpotToSpotConsolidation is off")]
    #[case(
        Unconsolidatable::SpotToSpotNeedsTypes { wanted: 15, found: 3 },
        "Spot for Spot needs 15 cheaper types to choose from, and there are 3"
    )]
    fn what_is_not_consolidated(#[case] reason: Unconsolidatable, #[case] says: &str) {
        assert_eq!(unconsolidatable(&reason), says);
        assert_eq!(why(Method::SingleNode, &Why::Unconsolidatable(reason), None), says);
    }

    #[rstest]
    #[case(
        Method::MultiNode,
        Why::Budget,
        Some("1 of 2 allowed"),
        "the budgets of its NodePool for Underutilized are used up, 1 of 2 allowed"
    )]
    #[case(Method::Emptiness, Why::Budget, None, "the budgets of its NodePool for Empty are used up")]
    #[case(Method::Drift, Why::NotMarked("Drifted".into()), None, "it has not drifted")]
    #[case(Method::SingleNode, Why::NotMarked("Consolidatable".into()), Some("until 8.0s"), "it was not Consolidatable yet, until 8.0s")]
    #[case(Method::Emptiness, Why::OtherMethod, None, "it is not empty")]
    #[case(Method::MultiNode, Why::OtherMethod, None, "it is empty, so it is left to emptiness")]
    fn reasons_to_stay(#[case] by: Method, #[case] reason: Why, #[case] more: Option<&str>, #[case] says: &str) {
        assert_eq!(why(by, &reason, more), says);
    }

    #[rstest]
    #[case(Invalid::Budget, "budgets")]
    #[case(Invalid::Scheduling, "gone elsewhere")]
    #[case(Invalid::Churn, "come or gone")]
    fn rejections(#[case] reason: Invalid, #[case] says: &str) {
        assert!(invalid(reason).contains(says));
    }

    #[test]
    fn ten_types_are_shown() {
        let many: Vec<Choice> = (0..12).map(|n| Choice { instance_type: format!("t{n}").into(), price: dollars_per_hour(0.1) }).collect();
        assert!(choices(&many).ends_with("t9 at $0.100/h and 2 more"), "{}", choices(&many));
        assert_eq!(choices(&many[..1]), "t0 at $0.100/h");
    }
}
