#!/usr/bin/env python3
"""Makes larger worlds from the benchmark's own, for target/release/examples/benchmark.

    ci/oracle/benchmark/worlds.py WORLD.json one-more NODES OUT.json    a full cluster of so many nodes with three pods each, and one pod more
    ci/oracle/benchmark/worlds.py WORLD.json plain PODS OUT.json        so many pods without rules about others

WORLD.json is what ci/oracle/benchmark/run leaves in the target folder.
"""

import copy
import json
import sys

LABELS = 24


def plain(world):
    """Pods that ask for nothing but room."""
    rules = ("spread", "node_affinity", "preferred_node_affinity")
    return [pod for pod in world["snapshot"]["pending"] if not any(pod[rule] for rule in rules) and not any(pod["pod_affinity"].values()) and not any(pod["pod_anti_affinity"].values())]


def named(pod, name, **more):
    return {**copy.deepcopy(pod), "name": name, "uid": name, **more}


def node(number, kind, pods):
    name = f"node-{number:05}"
    zone = f"test-zone-{number % 3 + 1}"
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "karpenter.sh/nodepool": "default", "karpenter.sh/capacity-type": "on-demand", "node.kubernetes.io/instance-type": kind["name"]}
    labels |= {f"example.com/label-{i}": f"value-{i}" for i in range(LABELS - len(labels))}
    requests = {key: sum(pod["requests"].get(key, 0) for pod in pods) for key in ("cpu", "memory", "pods")}
    return {
        "name": name, "node_claim": f"default-{number:05}", "pool": "default", "provider_id": f"aws:///{zone}/i-{number:017x}", "created": "1970-01-01T00:00:00Z",
        "has_node": True, "launched": True, "registered": True, "initialized": True, "ready": True, "deleting": False, "nominated_until": None,
        "labels": labels, "annotations": {}, "taints": [], "capacity": kind["capacity"], "allocatable": {**kind["allocatable"], **requests}, "pods": pods,
        "price": 0.1, "consolidatable": None, "drifted": None,
    }


def main(path, what, count, out):
    world = json.load(open(path))
    pods, count = plain(world), int(count)
    kind = next(iter(world["offerings"].values()))[50]
    if what == "one-more":
        held = [[named(pods[(3 * n + i) % len(pods)], f"bound-{n:05}-{i}") for i in range(3)] for n in range(count)]
        world["snapshot"]["nodes"] = [node(n, kind, three) for n, three in enumerate(held)]
        world["snapshot"]["pending"] = [named(pods[0], "one-more")]
    elif what == "plain":
        world["snapshot"]["pending"] = [named(pods[n % len(pods)], f"pod-{n:06}") for n in range(count)]
    else:
        raise SystemExit(__doc__)
    json.dump(world, open(out, "w"))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
