//! A judge that cannot fail is none: each of these labs is broken in one place, and the verdict says which.

mod common;

use common::run_changed;
use rstest::rstest;

#[rstest]
#[case::a_price(("lab.yaml", "    boot:", "    prices: { m5.large: $0.12 }\n    boot:"), "✗ cost: { pool: default, hourly: $0.096 } — $0.120/h")]
#[case::the_market(("nodepool.yaml", "values: [on-demand]", "values: [spot]"), "1 × m5.large; spot; pods per node [5]")]
#[case::the_type_list(("nodepool.yaml", "[t3.small, t3.medium, m5.large]", "[t3.small, t3.medium]"), "2 × t3.medium")]
#[case::a_rule_of_sizing(("lab.yaml", "given:\n", "given:\n  controller: { settings: { VM_MEMORY_OVERHEAD_PERCENT: \"0.2\" } }\n"), "✗ always disruptions: 0 — 1 disruptions")]
#[case::the_pods(("inflate.yaml", "memory: 1Gi", "memory: 3Gi"), "✗ nodes: { pool: default, count: 1")]
#[case::types_of_no_node(("lab.yaml", "nodes: { pool: default, count: 0 }", "nodes: { pool: default, types: [m5.large] }"), "✗ nodes: { pool: default, types: [m5.large] } — no nodes")]
#[case::a_bound(("lab.yaml", "p95 < 60s", "p95 < 30s"), "✗ latency: { pod-ready: p95 < 30s }")]
#[case::the_limit(("lab.yaml", "cpu: \"20\"", "cpu: \"40\""), "✗ pods: { ready: 60, pending: 1, reason: limits }")]
#[case::over_the_whole_run(("lab.yaml", "launches: \"<= 10\"", "launches: \"<= 9\""), "✗ always launches: \"<= 9\" — 10 launches")]
fn a_broken_lab_fails(#[case] change: (&str, &str, &str), #[case] says: &str) {
    run_changed(&[change]).exits(1).says(says);
}

#[test]
fn never_is_the_other_way_round() {
    let change = (
        "lab.yaml",
        "      latency: { pod-ready: p95 < 60s }\n\n  - do: scale deployment/other/inflate to 12",
        "    never: { nodes: { pool: default, types: [m5.large] } }\n\n  - do: scale deployment/other/inflate to 12",
    );
    run_changed(&[change]).exits(1).says("✗ never nodes: { pool: default, types: [m5.large] }");
}
