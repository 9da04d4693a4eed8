//! A random world as the API server's objects: machines on their way, pods with all that may stand in one, claims and volumes.

use super::support::World;
use super::support::random::Dice;
use planner::input::{Daemon, Labels, Node, Pod, PodTerm, PodTerms, Pool, Selector, SpreadConstraint};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use vocabulary::{Operator, Requirement, Requirements, Resources, Taint, labels};

const CREATED: &str = "2026-01-01T00:00:00Z";
/// Long before the plan is made, on either side's clock.
const STARTED: &str = "2025-12-01T00:00:00Z";
const CLASSES: [&str; 4] = ["anywhere", "zonal", "at-once", "of-nobody"];

/// How far a machine has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is a NodeClaim with a machine, and no Node.
    Launched,
    /// The Node is there, and Karpenter has not seen to it.
    Joined,
    Registered,
    Initialized,
}

/// Each as the API server would give it.
pub fn objects(world: &World, seed: u64) -> Vec<Value> {
    let dice = &mut Dice::new(seed ^ 0x0b1e_c705);
    let snapshot = &world.snapshot;
    let mut made = Vec::new();
    let pools: Vec<Pool> = snapshot.pools.iter().map(|pool| with_startup_taints(dice, pool)).collect();
    made.extend(pools.iter().map(pool_object));
    made.extend(snapshot.namespaces.iter().map(
        |namespace| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name, "labels": namespace.labels}}),
    ));
    let mut claims = Claims::default();
    let mut homes = Vec::new();
    for node in &snapshot.nodes {
        let stage = stage(dice, node);
        let pool = node.pool.as_ref().and_then(|name| pools.iter().find(|pool| pool.name == *name));
        made.extend(machine(dice, node, pool, stage));
        if matches!(stage, Stage::Registered | Stage::Initialized) {
            homes.push(node.name.to_string());
            for pod in &node.pods {
                let mut object = pod_object(dice, pod, Some(&node.name), &mut claims);
                settled(dice, pod, &mut object);
                made.push(object);
            }
        }
    }
    for daemon in &snapshot.daemons {
        made.push(daemon_set(dice, daemon));
        if !homes.is_empty() && dice.percent(40) {
            let home = dice.pick(&homes).clone();
            made.push(daemon_pod(dice, daemon, &home));
        }
    }
    for pod in &snapshot.pending {
        let mut object = pod_object(dice, pod, None, &mut claims);
        waiting(dice, &mut object);
        made.push(object);
    }
    for n in 0..dice.between(0, 2) {
        made.push(budget(dice, n));
    }
    made.extend(claims.objects());
    for object in &mut made {
        object["metadata"]["resourceVersion"] = json!("1");
        if object["metadata"].get("uid").is_none() {
            object["metadata"]["uid"] = json!(format!("{}/{}", object["kind"], object["metadata"]["name"]));
        }
    }
    made
}

/// Memory in the form that Kubernetes writes back, so that sums are written alike.
fn quantity(name: &str, amount: i64) -> String {
    match name {
        "cpu" => format!("{amount}m"),
        "memory" => format!("{}Ki", amount / 1024),
        _ => amount.to_string(),
    }
}

fn list(resources: &Resources) -> Value {
    resources.iter().map(|(name, amount)| (name.to_owned(), json!(quantity(name, amount)))).collect::<Map<_, _>>().into()
}

fn operator(requirement: &Requirement) -> String {
    format!("{:?}", requirement.operator())
}

/// Entries of a NodePool, where bounds are inclusive.
fn pool_entries(requirement: &Requirement) -> Vec<Value> {
    let entry = |operator: &str, values: Vec<String>| {
        let mut made = json!({"key": requirement.key, "operator": operator, "values": values});
        if let Some(least) = requirement.min_values {
            made["minValues"] = json!(least);
        }
        made
    };
    let mut made: Vec<Value> = requirement.gte.map(|low| entry("Gte", vec![low.to_string()])).into_iter().collect();
    made.extend(requirement.lte.map(|high| entry("Lte", vec![high.to_string()])));
    if made.is_empty() || !requirement.values.is_empty() {
        made.push(entry(&operator(requirement), requirement.values.iter().map(ToString::to_string).collect()));
    }
    made
}

/// Expressions of a pod, where bounds are exclusive.
fn expressions(requirements: &Requirements) -> Vec<Value> {
    let mut made = Vec::new();
    for requirement in requirements.iter() {
        let before = made.len();
        let mut entry =
            |operator: &str, values: Vec<String>| made.push(json!({"key": requirement.key, "operator": operator, "values": values}));
        if let Some(low) = requirement.gte {
            entry("Gt", vec![(low - 1).to_string()]);
        }
        if let Some(high) = requirement.lte {
            entry("Lt", vec![(high + 1).to_string()]);
        }
        if (requirement.gte.is_none() && requirement.lte.is_none()) || !requirement.values.is_empty() {
            entry(&operator(requirement), requirement.values.iter().map(ToString::to_string).collect());
        }
        debug_assert!(made.len() > before);
    }
    made
}

fn taints(list: &[Taint]) -> Vec<Value> {
    list.iter().map(|taint| json!({"key": taint.key, "value": taint.value, "effect": format!("{:?}", taint.effect)})).collect()
}

const STARTUP: &str = "example.com/starting";

fn with_startup_taints(dice: &mut Dice, pool: &Pool) -> Pool {
    let mut pool = pool.clone();
    if dice.percent(40) {
        pool.startup_taints = vec![Taint { key: STARTUP.into(), value: "".into(), effect: vocabulary::Effect::NoSchedule }];
    }
    pool
}

fn class_ref() -> Value {
    json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"})
}

fn pool_object(pool: &Pool) -> Value {
    let requirements: Vec<Value> = pool.requirements.iter().flat_map(pool_entries).collect();
    let status = if pool.ready { "True" } else { "False" };
    let conditions: Vec<Value> = ["ValidationSucceeded", "NodeClassReady", "Ready"]
        .map(|name| json!({"type": name, "status": status, "reason": "R", "message": "", "lastTransitionTime": CREATED}))
        .into();
    let mut made = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": pool.name, "uid": pool.uid},
        "spec": {"template": {"metadata": {"labels": pool.labels, "annotations": pool.annotations}, "spec": {
            "taints": taints(&pool.taints), "startupTaints": taints(&pool.startup_taints), "requirements": requirements, "nodeClassRef": class_ref(),
            "expireAfter": "Never"}}, "disruption": {"consolidateAfter": "0s"}},
        "status": {"conditions": conditions}});
    if pool.weight > 0 {
        made["spec"]["weight"] = json!(pool.weight);
    }
    if !pool.limits.is_empty() {
        made["spec"]["limits"] = list(&pool.limits);
    }
    made
}

fn stage(dice: &mut Dice, node: &Node) -> Stage {
    if node.node_claim.is_none() || node.initialized {
        return Stage::Initialized;
    }
    *dice.pick(&[Stage::Launched, Stage::Joined, Stage::Registered])
}

/// The Node, its NodeClaim, and its CSINode, as far as there are such.
fn machine(dice: &mut Dice, node: &Node, pool: Option<&Pool>, stage: Stage) -> Vec<Value> {
    let mut made = Vec::new();
    let startup = pool.map(|pool| pool.startup_taints.clone()).unwrap_or_default();
    if node.node_claim.is_some() {
        let mut own = node.labels.clone();
        for key in [labels::HOSTNAME, labels::REGISTERED, labels::INITIALIZED] {
            own.remove(key);
        }
        // So that a NodeClaim does not come where its Node would.
        let name = format!("{}-{}", if dice.percent(50) { "a" } else { "pool" }, node.name);
        let mut claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": name, "labels": own, "creationTimestamp": CREATED},
            "spec": {"nodeClassRef": class_ref(), "requirements": [], "resources": {}, "taints": taints(&node.taints), "startupTaints": taints(&startup),
                "expireAfter": "Never"},
            "status": {"providerID": node.provider_id, "nodeName": if stage == Stage::Launched { "" } else { &node.name },
                "capacity": list(&node.capacity), "allocatable": list(&node.allocatable), "conditions": []}});
        if node.deleting {
            leave(&mut claim);
        }
        made.push(claim);
    }
    if stage == Stage::Launched {
        return made;
    }
    let (mut own, mut tainted) = (node.labels.clone(), taints(&node.taints));
    let (mut capacity, mut allocatable) = (node.capacity.clone(), node.allocatable.clone());
    let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let mut ready = true;
    if stage == Stage::Joined {
        own.remove(labels::REGISTERED);
        // What the pool's labels are, Karpenter writes when it registers the node; its user data may have said so already.
        if dice.percent(50) {
            own.remove(labels::NODEPOOL);
            own.remove("team");
        }
        tainted = vec![json!({"key": "karpenter.sh/unregistered", "effect": "NoExecute"})];
        if dice.percent(50) {
            tainted.push(json!({"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}));
        }
    }
    if stage != Stage::Initialized {
        own.remove(labels::INITIALIZED);
        tainted.extend(taints(&startup));
        if dice.percent(60) {
            (ready, _) = (false, tainted.push(not_ready.clone()));
        }
        if dice.percent(15) {
            tainted.push(json!({"key": "readiness.k8s.io/network", "effect": "NoSchedule"}));
        }
        // Nobody told the kubelet yet.
        for name in ["memory", "cpu"] {
            if dice.percent(15) {
                capacity.set(name, 0);
                allocatable.set(name, 0);
            }
        }
    } else if dice.percent(10) {
        tainted.extend([not_ready, json!({"key": STARTUP, "effect": "NoSchedule"})]);
    }
    let mut object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": own, "creationTimestamp": CREATED},
        "spec": {"providerID": node.provider_id, "taints": tainted},
        "status": {"capacity": list(&capacity), "allocatable": list(&allocatable),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
    if node.deleting && node.node_claim.is_none() {
        leave(&mut object);
    }
    made.push(object);
    if !node.volume_limits.is_empty() {
        let driver =
            |(name, limit): (&_, &i64)| json!({"name": name, "nodeID": node.name, "topologyKeys": [], "allocatable": {"count": limit}});
        let drivers: Vec<Value> = node.volume_limits.iter().map(driver).collect();
        made.push(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": node.name}, "spec": {"drivers": drivers}}),
        );
    }
    made
}

/// Somebody deleted it, and a finalizer keeps it.
fn leave(object: &mut Value) {
    object["metadata"]["deletionTimestamp"] = json!(CREATED);
    object["metadata"]["finalizers"] = json!(["example.com/stays"]);
}

fn label_selector(selector: &Selector) -> Value {
    let Some(terms) = selector else { return Value::Null };
    let expressions: Vec<Value> = terms
        .iter()
        .map(|term| {
            let mut made = json!({"key": term.key, "operator": format!("{:?}", term.operator)});
            if matches!(term.operator, Operator::In | Operator::NotIn) {
                made["values"] = json!(term.values);
            }
            made
        })
        .collect();
    json!({"matchExpressions": expressions})
}

fn put(object: &mut Value, key: &str, value: Value) {
    if !value.is_null() {
        object[key] = value;
    }
}

fn spread(dice: &mut Dice, constraint: &SpreadConstraint) -> Value {
    let mut made = json!({"maxSkew": constraint.max_skew, "topologyKey": constraint.key,
        "whenUnsatisfiable": if constraint.soft { "ScheduleAnyway" } else { "DoNotSchedule" }});
    put(&mut made, "labelSelector", label_selector(&constraint.selector));
    put(&mut made, "minDomains", constraint.min_domains.map_or(Value::Null, |least| json!(least)));
    let policy = |honor: bool| json!(if honor { "Honor" } else { "Ignore" });
    // What is not said is the default.
    if !constraint.honor_affinity || dice.percent(50) {
        made["nodeAffinityPolicy"] = policy(constraint.honor_affinity);
    }
    if constraint.honor_taints || dice.percent(50) {
        made["nodeTaintsPolicy"] = policy(constraint.honor_taints);
    }
    if constraint.selector.is_some() && dice.percent(20) {
        made["matchLabelKeys"] = json!([*dice.pick(&["tier", "pod-template-hash"])]);
    }
    made
}

fn pod_terms(terms: &PodTerms) -> Value {
    let one = |term: &PodTerm| {
        let mut made = json!({"topologyKey": term.key});
        put(&mut made, "labelSelector", label_selector(&term.selector));
        put(&mut made, "namespaceSelector", label_selector(&term.namespace_selector));
        if !term.namespaces.is_empty() {
            made["namespaces"] = json!(term.namespaces);
        }
        made
    };
    if terms.required.is_empty() && terms.preferred.is_empty() {
        return Value::Null;
    }
    let preferred: Vec<Value> =
        terms.preferred.iter().map(|(weight, term)| json!({"weight": weight, "podAffinityTerm": one(term)})).collect();
    json!({"requiredDuringSchedulingIgnoredDuringExecution": terms.required.iter().map(one).collect::<Vec<_>>(),
        "preferredDuringSchedulingIgnoredDuringExecution": preferred})
}

fn affinity(pod: &Pod) -> Value {
    let mut made = json!({});
    let term = |requirements: &Requirements| json!({"matchExpressions": expressions(requirements)});
    let mut of_nodes = json!({});
    if !pod.node_affinity.is_empty() {
        let terms: Vec<Value> = pod.node_affinity.iter().map(term).collect();
        of_nodes["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": terms});
    }
    if !pod.preferred_node_affinity.is_empty() {
        let terms: Vec<Value> =
            pod.preferred_node_affinity.iter().map(|(weight, asked)| json!({"weight": weight, "preference": term(asked)})).collect();
        of_nodes["preferredDuringSchedulingIgnoredDuringExecution"] = json!(terms);
    }
    if of_nodes != json!({}) {
        made["nodeAffinity"] = of_nodes;
    }
    put(&mut made, "podAffinity", pod_terms(&pod.pod_affinity));
    put(&mut made, "podAntiAffinity", pod_terms(&pod.pod_anti_affinity));
    if made == json!({}) { Value::Null } else { made }
}

/// Containers that together ask about what the pod asks: several, some before the others, some beside them, or the pod itself says it.
fn containers(dice: &mut Dice, pod: &Pod, template: bool) -> Value {
    let mut asked = pod.requests.clone();
    asked.set("pods", 0);
    let asked: Resources =
        asked.iter().filter(|(_, amount)| *amount != 0).fold(Resources::new(), |made, (name, amount)| made.with(name, amount));
    let part = |share: i64, of: i64| {
        asked.iter().fold(Resources::new(), |made, (name, amount)| {
            let whole = !matches!(name, "cpu" | "memory");
            if whole && share == 1 && of > 1 { made } else { made.with(name, if whole { amount } else { amount * share / of }) }
        })
    };
    let container = |name: &str, requests: &Resources| json!({"name": name, "image": "i", "resources": {"requests": list(requests)}});
    let mut main = container("main", &asked);
    let mut spec = json!({});
    let (mut all, mut before) = (Vec::new(), Vec::new());
    if dice.percent(20) {
        main = container("main", &part(2, 3));
        all.push(container("second", &part(1, 3)));
    }
    for n in 0..if dice.percent(25) { dice.between(1, 3) } else { 0 } {
        let (share, of) = *dice.pick(&[(1, 2), (1, 1), (3, 2), (2, 1)]);
        let mut made = container(&format!("init-{n}"), &part(share, of));
        if dice.percent(40) {
            made["restartPolicy"] = json!("Always");
        }
        before.push(made);
    }
    if dice.percent(8) {
        spec["overhead"] = json!({"cpu": "120m", "memory": "64Mi"});
    }
    if dice.percent(8) {
        let name = *dice.pick(&["cpu", "memory"]);
        spec["resources"] = json!({"requests": {name: quantity(name, asked.get(name) * 2)}});
    }
    if template && dice.percent(30) {
        main["resources"]["limits"] = json!({"cpu": "200m", "memory": "300Mi"});
    }
    for port in &pod.host_ports {
        let mut wire = json!({"containerPort": port.port, "hostPort": port.port, "protocol": port.protocol});
        if !port.ip.is_empty() {
            wire["hostIP"] = json!(port.ip);
        }
        main["ports"] = json!([wire]);
    }
    all.insert(0, main);
    spec["containers"] = json!(all);
    if !before.is_empty() {
        spec["initContainers"] = json!(before);
    }
    spec
}

fn pod_object(dice: &mut Dice, pod: &Pod, node: Option<&str>, claims: &mut Claims) -> Value {
    let mut spec = containers(dice, pod, false);
    put(&mut spec, "nodeName", node.map_or(Value::Null, |node| json!(node)));
    put(&mut spec, "nodeSelector", if pod.selector.is_empty() { Value::Null } else { json!(pod.selector) });
    put(&mut spec, "affinity", affinity(pod));
    spec["tolerations"] = tolerations(pod);
    if !pod.spread.is_empty() {
        spec["topologySpreadConstraints"] = pod.spread.iter().map(|constraint| spread(dice, constraint)).collect();
    }
    let mut volumes = Vec::new();
    for (n, (_, claim)) in pod.volumes.attached.iter().enumerate() {
        claims.used(claim, node.is_some());
        volumes.push(json!({"name": format!("data-{n}"), "persistentVolumeClaim": {"claimName": claim.rsplit('/').next()}}));
    }
    if !pod.volumes.attached.is_empty() && dice.percent(20) {
        claims.used(&format!("{}/{}-scratch", pod.namespace, pod.name), node.is_some());
        volumes.push(
            json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}}}}),
        );
    }
    if !volumes.is_empty() {
        spec["volumes"] = json!(volumes);
    }
    let mut made = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "labels": pod.labels,
        "creationTimestamp": pod.created.to_string()}, "spec": spec, "status": {"phase": "Pending"}});
    if pod.terminating {
        leave(&mut made);
    }
    made
}

fn tolerations(pod: &Pod) -> Value {
    let one = |toleration: &vocabulary::Toleration| {
        let mut made = json!({"operator": if toleration.exists { "Exists" } else { "Equal" }});
        for (key, value) in [("key", &toleration.key), ("value", &toleration.value)] {
            if !value.is_empty() {
                made[key] = json!(value);
            }
        }
        put(&mut made, "effect", toleration.effect.map_or(Value::Null, |effect| json!(format!("{effect:?}"))));
        made
    };
    pod.tolerations.iter().map(one).collect()
}

fn owned(object: &mut Value, api_version: &str, kind: &str, name: &str) {
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": format!("\"{kind}\"/\"{name}\""), "controller": true}]);
}

/// A pod that has its node: of some owner, protected, resized.
fn settled(dice: &mut Dice, pod: &Pod, object: &mut Value) {
    object["status"]["phase"] =
        json!(if pod.terminal { *dice.pick(&["Succeeded", "Failed"]) } else { *dice.pick(&["Running", "Running", "Pending"]) });
    object["status"]["startTime"] = json!(STARTED);
    if pod.daemon {
        owned(object, "apps/v1", "DaemonSet", "somebody-elses");
    } else {
        match dice.between(0, 9) {
            0 | 1 => owned(object, "apps/v1", "StatefulSet", "db"),
            2 => owned(object, "v1", "Node", "n"),
            3..6 => owned(object, "apps/v1", "ReplicaSet", "web"),
            _ => {}
        }
    }
    if dice.percent(15) {
        let value = *dice.pick(&["true", "true", "false", "8760000h", "1s", "soon"]);
        object["metadata"]["annotations"] = json!({"karpenter.sh/do-not-disrupt": value});
    }
    if dice.percent(15) {
        let ready = if dice.percent(50) { "True" } else { "False" };
        object["status"]["conditions"] = json!([{"type": "Ready", "status": ready}]);
    }
    if dice.percent(15) {
        let amounts = json!({"cpu": "900m", "memory": "700Mi"});
        let mut status = json!({"name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0});
        if dice.percent(70) {
            status["resources"] = json!({"requests": amounts});
        }
        if dice.percent(70) {
            status["allocatedResources"] = amounts;
        }
        object["status"]["containerStatuses"] = json!([status.clone()]);
        status["name"] = json!("init-0");
        object["status"]["initContainerStatuses"] = json!([status]);
        if dice.percent(30) {
            object["status"]["conditions"] = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        }
    }
}

/// A pod that has no node: the scheduler said so, mostly.
fn waiting(dice: &mut Dice, object: &mut Value) {
    let said = |reason: &str| json!([{"type": "PodScheduled", "status": "False", "reason": reason}]);
    object["status"]["conditions"] = said("Unschedulable");
    match dice.between(0, 39) {
        0 => object["status"]["conditions"] = said("SchedulingGated"),
        1 => object["status"]["conditions"] = json!([]),
        2 => object["status"]["nominatedNodeName"] = json!("node-0"),
        3 => owned(object, "apps/v1", "DaemonSet", "somebody-elses"),
        4 => owned(object, "v1", "Node", "n"),
        5 => owned(object, "apps/v1", "StatefulSet", "db"),
        _ => {}
    }
}

fn daemon_set(dice: &mut Dice, daemon: &Daemon) -> Value {
    let mut spec = containers(dice, &daemon.pod, true);
    put(&mut spec, "nodeSelector", if daemon.pod.selector.is_empty() { Value::Null } else { json!(daemon.pod.selector) });
    put(&mut spec, "affinity", affinity(&daemon.pod));
    spec["tolerations"] = tolerations(&daemon.pod);
    let labels: Labels = [("daemon".into(), daemon.name.clone())].into();
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": daemon.name, "namespace": daemon.namespace, "creationTimestamp": CREATED},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}})
}

/// One that the DaemonSet made, on which admission wrote something else.
fn daemon_pod(dice: &mut Dice, daemon: &Daemon, node: &str) -> Value {
    let mut pod = (*daemon.pod).clone();
    pod.requests.set("cpu", pod.requests.get("cpu") + 25 * dice.between(0, 8));
    let mut spec = containers(dice, &pod, false);
    spec["nodeName"] = json!(node);
    put(&mut spec, "nodeSelector", if pod.selector.is_empty() { Value::Null } else { json!(pod.selector) });
    spec["tolerations"] = tolerations(&pod);
    spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
    let mut made = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{}-{node}", daemon.name), "namespace": daemon.namespace,
        "labels": {"daemon": daemon.name}, "creationTimestamp": CREATED}, "spec": spec, "status": {"phase": "Running", "startTime": STARTED}});
    owned(&mut made, "apps/v1", "DaemonSet", &daemon.name);
    made
}

fn budget(dice: &mut Dice, n: i64) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": *dice.pick(&["db", "web", "worker"])}}});
    match dice.between(0, 4) {
        0 => spec["maxUnavailable"] = json!(0),
        1 => spec["maxUnavailable"] = json!("0%"),
        2 => spec["minAvailable"] = json!("100%"),
        3 => spec["minAvailable"] = json!(1),
        _ => spec["maxUnavailable"] = json!(1),
    }
    if dice.percent(40) {
        spec["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
    }
    let allowed = dice.between(0, 1);
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": format!("budget-{n}"), "namespace": "default"}, "spec": spec,
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}})
}

/// Claims that pods name, and whether one of these pods runs: then the claim is well.
#[derive(Default)]
struct Claims(BTreeMap<String, bool>);

impl Claims {
    fn used(&mut self, key: &str, runs: bool) {
        *self.0.entry(key.to_owned()).or_default() |= runs;
    }

    fn objects(&self) -> Vec<Value> {
        let mut made: Vec<Value> = CLASSES[..3].iter().map(|name| class(name)).collect();
        for (key, runs) in &self.0 {
            // The same claim is the same in every run, whoever names it.
            let mut dice = Dice::new(key.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte)));
            let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
            let kind = if *runs { dice.between(0, 5) } else { dice.between(0, 14) };
            let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}, "status": {"phase": "Pending"}});
            let volume = format!("{namespace}-{name}");
            match kind {
                0..7 => {
                    claim["spec"]["volumeName"] = json!(volume);
                    claim["status"]["phase"] = json!("Bound");
                    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
                    made.push(volume_object(&mut dice, &volume));
                }
                7 | 8 => claim["spec"]["storageClassName"] = json!("zonal"),
                9 | 10 => claim["spec"]["storageClassName"] = json!("anywhere"),
                11 => claim["spec"]["storageClassName"] = json!(*dice.pick(&["at-once", "of-nobody"])),
                12 => claim["status"]["phase"] = json!("Lost"),
                // Bound to what is not there.
                13 => claim["spec"]["volumeName"] = json!("nothing"),
                _ => continue,
            }
            made.push(claim);
        }
        made
    }
}

fn class(name: &str) -> Value {
    let mut made = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}, "provisioner": "ebs.csi.aws.com",
        "volumeBindingMode": if name == "at-once" { "Immediate" } else { "WaitForFirstConsumer" }});
    if name == "zonal" {
        made["allowedTopologies"] =
            json!([{"matchLabelExpressions": [{"key": labels::ZONE, "values": [super::support::ZONES[0], super::support::ZONES[1]]}]}]);
    }
    made
}

/// In a zone, in one of several, anywhere, or on a host.
fn volume_object(dice: &mut Dice, name: &str) -> Value {
    let mut made = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {"capacity": {"storage": "1Gi"},
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": name}}});
    let zone = |dice: &mut Dice| json!({"matchExpressions": [{"key": labels::ZONE, "operator": "In", "values": [*dice.pick(&super::support::ZONES)]}]});
    let terms = match dice.between(0, 9) {
        0..6 => vec![zone(dice)],
        6 => vec![zone(dice), zone(dice)],
        7 => {
            made["spec"]["local"] = json!({"path": "/data"});
            made["spec"].as_object_mut().map(|spec| spec.remove("csi"));
            vec![json!({"matchExpressions": [{"key": labels::HOSTNAME, "operator": "In", "values": ["node-0"]}]})]
        }
        _ => Vec::new(),
    };
    if !terms.is_empty() {
        made["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
    }
    made
}
