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
