//! Load, autoscalers, services.

use super::*;

fn php(load: &str) -> Value {
    let mut made = deployment(1, "200m");
    made["metadata"]["annotations"] = json!({ "load.dryfit.dev/cpu": load });
    made["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = json!({ "cpu": "500m" });
    made
}

fn autoscaler() -> Value {
    json!({ "metadata": { "name": "web" }, "spec": {
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" }, "minReplicas": 1, "maxReplicas": 10,
        "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }] } })
}

fn replicas(world: &World) -> i64 {
    world.get("apps/deployments", "web")["spec"]["replicas"].as_i64().unwrap()
}

fn reason(world: &World, kind: &str) -> String {
    let value = world.get("autoscaling/horizontalpodautoscalers", "web");
    let conditions = value["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["type"] == kind).unwrap()["reason"].as_str().unwrap().to_owned()
}

/// As time passes with kubelets at work.
fn live(world: &mut World, until: i64) {
    while world.now < until {
        let next = world.now + 5;
        world.to(next);
        world.kubelets();
    }
}

#[test]
fn load_makes_pods_and_its_end_takes_them_away_after_five_minutes() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("apps/deployments", php("0s=2m, 2m=580m"));
    world.kubelets();
    world.create("autoscaling/horizontalpodautoscalers", autoscaler());
    live(&mut world, 110);
    assert_eq!((replicas(&world), reason(&world, "ScalingLimited").as_str()), (1, "DesiredWithinRange"));
    let mut seen = vec![1];
    while world.now < 400 {
        let next = world.now + 5;
        live(&mut world, next);
        if seen.last() != Some(&replicas(&world)) {
            seen.push(replicas(&world));
        }
    }
    assert!(seen.is_sorted() && matches!(seen.last(), Some(6 | 7)), "{seen:?}");
    let ended = world.now;
    world.change("apps/deployments", "web", None, |web| web["metadata"]["annotations"]["load.dryfit.dev/cpu"] = json!("2m"));
    assert!(world.kube.unsettled().iter().any(|one| one.contains("have not seen")), "{:?}", world.kube.unsettled());
    live(&mut world, ended + 290);
    assert_eq!((replicas(&world), reason(&world, "AbleToScale").as_str()), (*seen.last().unwrap(), "ScaleDownStabilized"));
    assert!(world.kube.unsettled().iter().any(|one| one.contains("will come to 1")), "{:?}", world.kube.unsettled());
    live(&mut world, ended + 350);
    assert_eq!(replicas(&world), 1);
}

#[test]
fn load_may_be_a_trace_and_what_cannot_be_read_is_told_of() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("configmaps", json!({ "metadata": { "name": "day" }, "data": { "cpu": "seconds,cores\n0,0.1\n120,0.4\n" } }));
    world.create("apps/deployments", php("configmap/day/cpu"));
    world.create("autoscaling/horizontalpodautoscalers", autoscaler());
    live(&mut world, 110);
    assert_eq!(replicas(&world), 1, "half of what is asked for");
    live(&mut world, 240);
    assert_eq!(replicas(&world), 4, "four times as much");
    let told = |world: &World| {
        let events = world.kube.api().store().list("events").map(|event| event.value());
        events.filter(|event| event["reason"] == "UnreadableUsage").map(|event| event["message"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), [] as [Value; 0]);
    world.change("apps/deployments", "web", None, |web| web["metadata"]["annotations"]["load.dryfit.dev/cpu"] = json!("configmap/day/gpu"));
    live(&mut world, 300);
    assert_eq!(told(&world), [json!("load.dryfit.dev/cpu: ConfigMap day has no key gpu")]);
}

/// Each amount is one that a server takes; together they are more than numbers hold.
#[test]
fn amounts_beyond_measure_end_nothing() {
    let mut world = World::new();
    world.node("a", "32");
    let mut made = deployment(3, "9000000000000000");
    made["metadata"]["annotations"] = json!({ "load.dryfit.dev/cpu": "9000000000000000" });
    let template = &mut made["spec"]["template"];
    template["metadata"]["annotations"] = json!({ "usage.dryfit.dev/cpu": "9000000000000000", "usage.dryfit.dev/memory": "7Ei" });
    // Nobody asks whether they fit.
    template["spec"]["nodeName"] = json!("a");
    let mut second = template["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    template["spec"]["containers"].as_array_mut().unwrap().push(second);
    world.create("apps/deployments", made);
    world.create("autoscaling/horizontalpodautoscalers", autoscaler());
    live(&mut world, 120);
    let status = world.get("autoscaling/horizontalpodautoscalers", "web")["status"].clone();
    assert!(status["currentMetrics"][0]["resource"]["current"]["averageUtilization"].is_i64(), "{status}");
}

/// The workshop's `kubectl get hpa --watch`: 242 % beside three replicas, seven in the end; without load still seven for five minutes, then one.
#[test]
fn the_workshop_s_numbers() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("apps/deployments", deployment(1, "200m"));
    world.kubelets();
    let first = world.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let uses = |world: &mut World, pod: &str, load: &str| {
        world.change("pods", pod, None, |pod| pod["metadata"]["annotations"]["usage.dryfit.dev/cpu"] = json!(load));
    };
    uses(&mut world, &first, "2m");
    world.create("autoscaling/horizontalpodautoscalers", autoscaler());
    let mut seen: Vec<(i64, i64)> = Vec::new();
    let mut watch = |world: &mut World, until: i64, enough: &dyn Fn(&World) -> bool| {
        while world.now < until && !enough(world) {
            let next = world.now + 5;
            live(world, next);
            let shown = world.get("autoscaling/horizontalpodautoscalers", "web");
            let percent = shown["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"].as_i64().unwrap_or(-1);
            let line = (percent, shown["spec"].get("maxReplicas").map_or(0, |_| replicas(world)));
            if seen.last() != Some(&line) {
                seen.push(line);
            }
        }
    };
    watch(&mut world, 60, &|_| false);
    // ceil(1 x 130 / 50) = 3.
    uses(&mut world, &first, "260m");
    while replicas(&world) == 1 && world.now < 120 {
        let next = world.now + 1;
        world.to(next);
    }
    // Their image takes five seconds.
    let running = world.now + 5;
    world.to(running);
    world.kubelets();
    // The two new pods are not measured yet: 484m of 200m.
    uses(&mut world, &first, "484m");
    watch(&mut world, 180, &|world| replicas(world) > 3);
    let second = world.pods().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).find(|name| *name != first).unwrap();
    uses(&mut world, &second, "200m");
    watch(&mut world, 300, &|_| false);
    // 684m over seven is 48 %.
    assert_eq!(replicas(&world), 7);
    let ended = world.now;
    uses(&mut world, &first, "0");
    uses(&mut world, &second, "0");
    watch(&mut world, ended + 290, &|_| false);
    assert_eq!((replicas(&world), reason(&world, "AbleToScale").as_str()), (7, "ScaleDownStabilized"));
    watch(&mut world, ended + 350, &|world| replicas(world) == 1);
    assert!(world.now >= ended + 300, "down after {} s", world.now - ended);
    let sizes = seen.iter().map(|(_, size)| *size).fold(Vec::new(), |mut all: Vec<i64>, size| {
        if all.last() != Some(&size) {
            all.push(size);
        }
        all
    });
    assert_eq!(sizes, [1, 3, 5, 7, 1], "{seen:?}");
    assert!(seen.iter().any(|line| line.0 == 242), "{seen:?}");
    assert!(seen.iter().all(|(percent, size)| *size < 7 || *percent <= 68), "{seen:?}");
}

#[test]
fn without_metrics_it_says_so_and_does_nothing() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("apps/deployments", deployment(2, "200m"));
    world.create("autoscaling/horizontalpodautoscalers", autoscaler());
    live(&mut world, 40);
    assert_eq!((replicas(&world), reason(&world, "ScalingActive").as_str()), (2, "FailedGetResourceMetric"));
}

#[test]
fn a_service_s_slice_follows_its_pods() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("services", json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } }));
    let slices = |world: &World| -> Vec<Arc<Value>> {
        world.kube.api().store().list("discovery.k8s.io/endpointslices").map(|one| one.value()).collect()
    };
    let ready = |world: &World| {
        let all = slices(world);
        all.iter()
            .flat_map(|one| one["endpoints"].as_array().cloned().unwrap_or_default())
            .filter(|one| one["conditions"]["ready"] == true)
            .count()
    };
    assert_eq!((slices(&world).len(), ready(&world)), (1, 0));
    world.create("apps/deployments", deployment(150, "10m"));
    world.kubelets();
    for (number, pod) in world.pods().iter().enumerate() {
        let address = format!("10.0.{}.{}", number / 250, number % 250 + 1);
        world.change("pods", pod["metadata"]["name"].as_str().unwrap(), Some("status"), |pod| pod["status"]["podIP"] = json!(address));
    }
    assert_eq!(ready(&world), 110, "as many as the node takes");
    assert!(slices(&world).len() == 2 && slices(&world).iter().all(|one| one["endpoints"].as_array().unwrap().len() <= 100));
    world.change("apps/deployments", "web", None, |web| web["spec"]["replicas"] = json!(3));
    world.kubelets();
    assert_eq!(ready(&world), 3);
    world.delete("services", "web", DeleteOptions::background());
    assert_eq!(slices(&world).len(), 0);
}
