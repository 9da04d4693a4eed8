//! Which families there are, with upstream's names, kinds, labels and buckets.
//!
//! Sources: `C/pkg/metrics/metrics.go`, `C/pkg/controllers/{disruption,provisioning/scheduling,node/termination/**,metrics/*}/metrics.go`,
//! `C/pkg/cloudprovider/metrics`, `A/pkg/controllers/interruption/metrics.go`, `A/pkg/providers/**/metrics.go`,
//! `awslabs/operatorpkg/status/metrics.go`.

use super::exposition::{Family, Kind};

/// `C/pkg/metrics/constants.go`, DurationBuckets.
pub const DURATIONS: Kind = Kind::Histogram(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0,
    3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 120.0, 150.0, 300.0, 450.0, 600.0,
]);
/// Powers of two up to 1,024 and 2,048 (`C/pkg/controllers/nodeclaim/lifecycle/metrics.go`).
const TO_1024: Kind = Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]);
const TO_2048: Kind = Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0]);
/// `C/pkg/controllers/node/termination/metrics.go`: from a quarter of an hour to thirty days.
const LIFETIMES: Kind = Kind::Histogram(&[
    900.0,
    1800.0,
    2700.0,
    3600.0,
    7200.0,
    14400.0,
    21600.0,
    28800.0,
    36000.0,
    43200.0,
    57600.0,
    72000.0,
    86400.0,
    172_800.0,
    259_200.0,
    432_000.0,
    864_000.0,
    1_296_000.0,
    1_728_000.0,
    2_160_000.0,
    2_592_000.0,
]);

/// `A/pkg/batcher/metrics.go`, SizeBuckets.
const SIZES: Kind = Kind::Histogram(&[
    1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 125.0, 150.0, 175.0, 200.0, 225.0, 250.0,
    275.0, 300.0, 350.0, 400.0, 450.0, 500.0, 550.0, 600.0, 700.0, 800.0, 900.0, 1000.0,
]);

macro_rules! families {
    ($($constant:ident: $kind:expr, $name:literal, $help:literal;)*) => {
        $(pub const $constant: Family = Family { name: $name, kind: $kind, help: $help };)*
    };
}

families! {
    BUILD_INFO: Kind::Gauge, "karpenter_build_info", "1, with the version as a label.";
    CLAIMS_CREATED: Kind::Counter, "karpenter_nodeclaims_created_total", "NodeClaims created, by reason and NodePool.";
    CLAIMS_TERMINATED: Kind::Counter, "karpenter_nodeclaims_terminated_total", "NodeClaims that are gone.";
    CLAIMS_DISRUPTED: Kind::Counter, "karpenter_nodeclaims_disrupted_total", "NodeClaims deleted by the controller, by reason and NodePool.";
    UNHEALTHY_DISRUPTED: Kind::Counter, "karpenter_nodeclaims_unhealthy_disrupted_total", "NodeClaims deleted since their node was broken, by its condition.";
    CLAIM_TERMINATION: TO_2048, "karpenter_nodeclaims_termination_duration_seconds", "From the deletion of a NodeClaim until it is gone.";
    INSTANCE_TERMINATION: TO_1024, "karpenter_nodeclaims_instance_termination_duration_seconds", "From the call that terminates a machine until it is gone.";
    NODES_CREATED: Kind::Counter, "karpenter_nodes_created_total", "Nodes that registered.";
    NODES_TERMINATED: Kind::Counter, "karpenter_nodes_terminated_total", "Nodes that are gone.";
    NODES_DRAINED: Kind::Counter, "karpenter_nodes_drained_total", "Nodes drained.";
    NODE_TERMINATION: Kind::Summary, "karpenter_nodes_termination_duration_seconds", "From the deletion of a Node until it is gone.";
    NODE_LIFETIME: LIFETIMES, "karpenter_nodes_lifetime_duration_seconds", "Age of Nodes at their end.";
    NODE_ALLOCATABLE: Kind::Gauge, "karpenter_nodes_allocatable", "Allocatable resources of a Node.";
    NODE_POD_REQUESTS: Kind::Gauge, "karpenter_nodes_total_pod_requests", "Requests of the pods on a Node, those of DaemonSets included.";
    NODE_POD_LIMITS: Kind::Gauge, "karpenter_nodes_total_pod_limits", "Limits of the pods on a Node, those of DaemonSets included.";
    NODE_DAEMON_REQUESTS: Kind::Gauge, "karpenter_nodes_total_daemon_requests", "Requests of the DaemonSets' pods on a Node.";
    NODE_DAEMON_LIMITS: Kind::Gauge, "karpenter_nodes_total_daemon_limits", "Limits of the DaemonSets' pods on a Node.";
    NODE_OVERHEAD: Kind::Gauge, "karpenter_nodes_system_overhead", "What a Node keeps for itself: capacity less allocatable.";
    NODE_AGE: Kind::Gauge, "karpenter_nodes_current_lifetime_seconds", "Age of a Node.";
    UTILIZATION: Kind::Gauge, "karpenter_cluster_utilization_percent", "Requests of all pods on Nodes, in percent of what is allocatable.";
    POD_STATE: Kind::Gauge, "karpenter_pods_state", "1 per pod, with its state as labels.";
    POD_STARTUP: Kind::Summary, "karpenter_pods_startup_duration_seconds", "From a pod's creation until it is ready.";
    POD_UNSTARTED: Kind::Gauge, "karpenter_pods_unstarted_time_seconds", "Age of a pod that does not run yet.";
    POD_BOUND: DURATIONS, "karpenter_pods_bound_duration_seconds", "From a pod's creation until it is bound.";
    POD_UNBOUND: Kind::Gauge, "karpenter_pods_unbound_time_seconds", "Age of a pod that is not bound yet.";
    POD_PROVISIONING_BOUND: DURATIONS, "karpenter_pods_provisioning_bound_duration_seconds", "From the first plan with a place for a pod until it is bound.";
    POD_PROVISIONING_UNBOUND: Kind::Gauge, "karpenter_pods_provisioning_unbound_time_seconds", "Since when a pod that is not bound has a place in a plan.";
    POD_PROVISIONING_STARTUP: DURATIONS, "karpenter_pods_provisioning_startup_duration_seconds", "From the first plan with a place for a pod until it is ready.";
    POD_PROVISIONING_UNSTARTED: Kind::Gauge, "karpenter_pods_provisioning_unstarted_time_seconds", "Since when a pod that does not run has a place in a plan.";
    POD_UNDECIDED: Kind::Gauge, "karpenter_pods_provisioning_scheduling_undecided_time_seconds", "Since when a pod is known without a plan about it.";
    POD_DECISION: DURATIONS, "karpenter_pods_scheduling_decision_duration_seconds", "From the first sight of a pod until the first plan about it.";
    EVICTIONS: Kind::Counter, "karpenter_pods_eviction_requests_total", "Eviction requests, by the code of the answer.";
    PODS_DRAINED: Kind::Counter, "karpenter_pods_drained_total", "Pods evicted, by the reason why their node goes.";
    SCHEDULING: DURATIONS, "karpenter_scheduler_scheduling_duration_seconds", "How long planning took.";
    QUEUE_DEPTH: Kind::Gauge, "karpenter_scheduler_queue_depth", "Pods that the plan in the making has not looked at: none between plans.";
    IGNORED_PODS: Kind::Gauge, "karpenter_scheduler_ignored_pods_count", "Pods that are not planned for because they are malformed.";
    UNSCHEDULABLE_PODS: Kind::Gauge, "karpenter_scheduler_unschedulable_pods_count", "Pods for which the last plan has no place.";
    PENDING_BY_ZONE: Kind::Gauge, "karpenter_scheduler_pending_pods_by_effective_zone_count", "Pending pods by the zone that they, their volumes and their spread leave: its name, flexible for several, none.";
    SCORES: Kind::Histogram(&[0.1, 0.25, 0.33, 0.5, 1.0, 2.0, 5.0, 10.0]), "karpenter_consolidation_score", "Savings by disruption of the moves that balanced NodePools judged.";
    MOVES: Kind::Counter, "karpenter_consolidation_moves_total", "Moves of consolidation that were judged.";
    EVALUATION: DURATIONS, "karpenter_voluntary_disruption_decision_evaluation_duration_seconds", "How long a search for nodes that should go took.";
    DECISIONS: Kind::Counter, "karpenter_voluntary_disruption_decisions_total", "Disruption commands begun.";
    POOL_DECISIONS: Kind::Counter, "karpenter_voluntary_disruption_decisions_by_nodepool_total", "Disruption commands begun, per NodePool with a node in them.";
    ELIGIBLE: Kind::Gauge, "karpenter_voluntary_disruption_eligible_nodes", "Nodes that a search could have taken.";
    TIMEOUTS: Kind::Counter, "karpenter_voluntary_disruption_consolidation_timeouts_total", "Searches that were given up for time: none, ours has no timeout.";
    FAILED_VALIDATIONS: Kind::Counter, "karpenter_voluntary_disruption_failed_validations_total", "Nodes of commands that did not hold when they were judged again.";
    QUEUE_FAILURES: Kind::Counter, "karpenter_voluntary_disruption_queue_failures_total", "Disruption commands given up.";
    POOL_LIMIT: Kind::Gauge, "karpenter_nodepools_limit", "Limits of a NodePool.";
    POOL_USAGE: Kind::Gauge, "karpenter_nodepools_usage", "What a NodePool has provisioned.";
    POOL_COST: Kind::Gauge, "karpenter_nodepools_cost_total", "Price per hour of a NodePool's machines, in dollars.";
    POOL_ALLOWED: Kind::Gauge, "karpenter_nodepools_allowed_disruptions", "Nodes that a NodePool's budgets let go now.";
    POOL_CONSUMING: Kind::Gauge, "karpenter_nodepools_nodes_consuming_budgets", "Nodes that count against a NodePool's budgets now.";
    STATE_NODES: Kind::Gauge, "karpenter_cluster_state_node_count", "Nodes and NodeClaims known.";
    STATE_SYNCED: Kind::Gauge, "karpenter_cluster_state_synced", "1 when everything is listed and every NodeClaim has its machine.";
    STATE_UNSYNCED: Kind::Gauge, "karpenter_cluster_state_unsynced_time_seconds", "Since when that is not so.";
    CALLS: DURATIONS, "karpenter_cloudprovider_duration_seconds", "How long calls of the cloud took.";
    CALL_ERRORS: Kind::Counter, "karpenter_cloudprovider_errors_total", "Calls of the cloud that failed.";
    TYPE_CORES: Kind::Gauge, "karpenter_cloudprovider_instance_type_cpu_cores", "vCPUs of an instance type.";
    TYPE_MEMORY: Kind::Gauge, "karpenter_cloudprovider_instance_type_memory_bytes", "Memory of an instance type.";
    OFFERING_AVAILABLE: Kind::Gauge, "karpenter_cloudprovider_instance_type_offering_available", "1 when an offering can be bought.";
    OFFERING_PRICE: Kind::Gauge, "karpenter_cloudprovider_instance_type_offering_price_estimate", "Price per hour of an offering, in dollars.";
    MESSAGES_RECEIVED: Kind::Counter, "karpenter_interruption_received_messages_total", "Messages of the interruption queue, by kind.";
    MESSAGES_DELETED: Kind::Counter, "karpenter_interruption_deleted_messages_total", "Messages deleted from the interruption queue.";
    MESSAGE_LATENCY: DURATIONS, "karpenter_interruption_message_queue_duration_seconds", "From an event until its message was received.";
    UNHEALTHY: Kind::Counter, "karpenter_interruption_instance_status_unhealthy_total", "Machines that EC2 found broken, by category.";
    BATCH_WINDOW: DURATIONS, "karpenter_cloudprovider_batcher_batch_time_seconds", "How long equal calls of the cloud were gathered.";
    BATCH_SIZE: SIZES, "karpenter_cloudprovider_batcher_batch_size", "Calls of the cloud that became one.";
    USER_DATA: Kind::Gauge, "karpenter_ec2nodeclasses_userdata_bytes", "Bytes of the user data of a NodeClass's last launch template, decoded.";
    LAUNCH_FAILURES: Kind::Counter, "karpenter_cloudprovider_instance_launch_failures_total", "Pools of fleets that gave nothing, by reason.";
    TERMINATION_FAILURES: Kind::Counter, "karpenter_cloudprovider_instance_termination_failures_total", "Machines that could not be terminated.";
    LEADER: Kind::Gauge, "leader_election_master_status", "1 while this process holds the lease.";
    RECONCILES: Kind::Counter, "controller_runtime_reconcile_total", "Pieces of work decided, by controller and result.";
    RECONCILE_ERRORS: Kind::Counter, "controller_runtime_reconcile_errors_total", "Pieces of work that ended in an error.";
    RECONCILE_TIME: Kind::Histogram(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0]), "controller_runtime_reconcile_time_seconds", "How long a piece of work took, its effects included.";
}

/// The families of one kind of object's conditions (`operatorpkg/status`).
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    pub transitions: Family,
    pub transition: Family,
    pub current: Family,
    pub count: Family,
    pub terminating: Family,
    pub terminated: Family,
}

/// `C/pkg/controllers/controllers.go`: doubled from half a second on.
const SPANS: Kind = Kind::Histogram(&[0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0]);
/// `prometheus/client_golang`, DefBuckets.
const DEFAULT: Kind = Kind::Histogram(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);

macro_rules! conditions {
    ($prefix:literal, $spans:expr) => {
        Conditions {
            transitions: Family {
                name: concat!("operator_", $prefix, "status_condition_transitions_total"),
                kind: Kind::Counter,
                help: "Transitions of conditions.",
            },
            transition: Family {
                name: concat!("operator_", $prefix, "status_condition_transition_seconds"),
                kind: $spans,
                help: "How long a condition kept a status that it left.",
            },
            current: Family {
                name: concat!("operator_", $prefix, "status_condition_current_status_seconds"),
                kind: Kind::Gauge,
                help: "Since when a condition has its status.",
            },
            count: Family {
                name: concat!("operator_", $prefix, "status_condition_count"),
                kind: Kind::Gauge,
                help: "1 per condition, with its status as labels.",
            },
            terminating: Family {
                name: concat!("operator_", $prefix, "termination_current_time_seconds"),
                kind: Kind::Gauge,
                help: "Since when an object is being deleted.",
            },
            terminated: Family {
                name: concat!("operator_", $prefix, "termination_duration_seconds"),
                kind: $spans,
                help: "From an object's deletion until it is gone.",
            },
        }
    };
}

pub const NODE_CLAIM: Conditions = conditions!("nodeclaim_", SPANS);
pub const NODE: Conditions = conditions!("node_", SPANS);
pub const NODE_POOL: Conditions = conditions!("nodepool_", SPANS);
pub const NODE_CLASS: Conditions = conditions!("ec2nodeclass_", DEFAULT);
/// The names without a kind, of all kinds but Node; deprecated upstream, still there.
pub const ANY: Conditions = conditions!("", DEFAULT);
