#!/usr/bin/env python3
"""Random pods that are bound to random nodes: what the kubelet's own code says of each (ci/judges/kubernetes/admit), and what ours says.

    python3 ci/scheduling/admission.py UPSTREAM OURS FIRST COUNT

World FIRST, FIRST+1, …: a node, the pods that run there, and one that comes. Both programs get the same JSON. Taken or not, reason, message and the
pods that have to go must be the same; a world that differs is shown whole.
"""

import json
import random
import subprocess
import sys

ZONES, WORDS = ["z1", "z2"], ["red", "green"]
SYSCTLS = ["net.ipv4.tcp_syncookies", "kernel.shm_rmid_forced", "kernel.msgmax", "net/ipv4/tcp_rmem", "net.core.somaxconn"]
CRITICAL = [2_000_000_000, 2_000_001_000]


def amounts(draw, roomy):
    """Requests; small ones if there is to be room."""
    most = 400 if roomy else 1500
    found = {}
    if draw.random() < 0.85:
        found["cpu"] = draw.choice([f"{draw.randrange(1, most)}m", str(draw.randrange(0, 2)), "0.1"])
    if draw.random() < 0.8:
        found["memory"] = draw.choice([f"{draw.randrange(1, most)}Mi", f"{draw.randrange(1, most)}M", "1e8", "100000000"])
    if draw.random() < 0.15:
        found["ephemeral-storage"] = f"{draw.randrange(1, 12)}Gi"
    # One kind at most: of several that lack, upstream names any.
    if draw.random() < 0.15:
        found["example.com/chip"] = str(draw.randrange(0, 4))
    return found


def container(draw, name, roomy):
    made = {"name": name, "image": "i", "resources": {"requests": amounts(draw, roomy)}}
    if draw.random() < 0.1:
        port = {"containerPort": 80, "hostPort": draw.choice([80, 81])}
        if draw.random() < 0.5:
            port["protocol"] = draw.choice(["TCP", "UDP"])
        if draw.random() < 0.4:
            port["hostIP"] = draw.choice(["0.0.0.0", "10.0.0.1", "10.0.0.2"])
        made["ports"] = [port]
    return made


def spec(draw, roomy):
    made = {"nodeName": "n", "containers": [container(draw, f"c{at}", roomy) for at in range(draw.choice([1, 1, 2]))]}
    if draw.random() < 0.25:
        made["initContainers"] = [container(draw, f"i{at}", roomy) for at in range(draw.choice([1, 2]))]
        for one in made["initContainers"]:
            if draw.random() < 0.4:
                one["restartPolicy"] = "Always"
    return made


def term(draw):
    key, values = draw.choice([("disk", ["ssd", "hdd"]), ("topology.kubernetes.io/zone", ZONES), ("cores", ["3"]), ("kubernetes.io/os", ["linux", "windows"])])
    operator = draw.choice(["In", "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])
    if operator in ("Gt", "Lt"):
        return {"matchExpressions": [{"key": "cores", "operator": operator, "values": [str(draw.randrange(1, 6))]}]}
    expression = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        expression["values"] = draw.sample(values, draw.randrange(1, len(values) + 1))
    made = {"matchExpressions": [expression]}
    if draw.random() < 0.2:
        made["matchFields"] = [{"key": "metadata.name", "operator": draw.choice(["In", "NotIn"]), "values": [draw.choice(["n", "m"])]}]
    return made


def choosy(draw, made):
    """Rules of a pod that no other pod's end would satisfy."""
    if draw.random() < 0.2:
        made["nodeSelector"] = {"disk": draw.choice(["ssd", "hdd"])}
    if draw.random() < 0.25:
        terms = [term(draw) for _ in range(draw.choice([1, 1, 2]))]
        made["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    if draw.random() < 0.1:
        made["os"] = {"name": draw.choice(["linux", "linux", "windows"])}
    if draw.random() < 0.1:
        made["hostNetwork"] = True
    if draw.random() < 0.05:
        made["hostIPC"] = True
    security = {}
    if draw.random() < 0.1:
        security["sysctls"] = [{"name": name, "value": "1"} for name in draw.sample(SYSCTLS, draw.choice([1, 2]))]
    if draw.random() < 0.1:
        security["supplementalGroupsPolicy"] = draw.choice(["Strict", "Merge"])
    if security:
        made["securityContext"] = security
    if draw.random() < 0.05:
        made["nodeName"] = "m"


def pod(draw, name, made, important):
    made["priority"] = draw.choice(CRITICAL) if important else draw.choice([0, 0, 100])
    if draw.random() < 0.1:
        del made["priority"]
    meta = {"name": name, "namespace": "default", "uid": name}
    if draw.random() < 0.03:
        meta["labels"] = {"kubernetes.io/os": draw.choice(["linux", "windows"])}
    if draw.random() < 0.05:
        meta["annotations"] = {"kubernetes.io/config.source": draw.choice(["file", "api"])}
    elif draw.random() < 0.03:
        meta["annotations"] = {"kubernetes.io/config.mirror": "x"}
    status = {"phase": "Running", "qosClass": draw.choice(["BestEffort", "Burstable", "Burstable", "Guaranteed"])}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": made, "status": status}


def node(draw):
    labels = {"disk": draw.choice(["ssd", "hdd"]), "topology.kubernetes.io/zone": draw.choice(ZONES), "cores": str(draw.randrange(2, 6))}
    if draw.random() < 0.3:
        labels["kubernetes.io/os"] = draw.choice(["linux", "windows"])
    if draw.random() < 0.1:
        labels = {}
    room = {"cpu": f"{draw.randrange(1500, 5000)}m", "memory": f"{draw.randrange(1500, 6000)}Mi", "pods": str(draw.choice([3, 10, 110])), "ephemeral-storage": "20Gi"}
    if draw.random() < 0.6:
        room["example.com/chip"] = str(draw.randrange(0, 5))
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}, "spec": {}, "status": {"capacity": room, "allocatable": room}}
    if draw.random() < 0.3:
        effects = ["NoSchedule", "PreferNoSchedule", "NoExecute", "NoExecute"]
        made["spec"]["taints"] = [{"key": "dedicated", "value": draw.choice(WORDS), "effect": draw.choice(effects)}]
    if draw.random() < 0.5:
        made["status"]["features"] = {"supplementalGroupsPolicy": draw.random() < 0.7}
    return made


def world(seed):
    draw = random.Random(seed)
    roomy, important = draw.random() < 0.4, draw.random() < 0.35
    there = [pod(draw, f"p{at:02}", spec(draw, roomy), draw.random() < 0.15) for at in range(draw.randrange(0, 9))]
    made = spec(draw, roomy)
    # Critical pods that are choosy as well would seldom get as far as to others.
    if not important or draw.random() < 0.2:
        choosy(draw, made)
    if draw.random() < 0.4:
        toleration = draw.choice([{"operator": "Exists"}, {"key": "dedicated", "operator": "Exists"}, {"key": "dedicated", "value": draw.choice(WORDS)}])
        made["tolerations"] = [{**toleration, **draw.choice([{}, {"effect": "NoExecute"}, {"effect": "NoSchedule"}])}]
    if not important and draw.random() < 0.1:
        made["overhead"] = {"cpu": "250m", "memory": "120Mi"}
    if not important and draw.random() < 0.1:
        made["resources"] = {"requests": {"cpu": f"{draw.randrange(100, 3000)}m"}}
    return {"node": node(draw), "pods": there, "pod": pod(draw, "new", made, important)}


def ask(program, worlds):
    text = "".join(json.dumps(one) + "\n" for one in worlds)
    done = subprocess.run([program], input=text, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{program} failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    upstream, ours, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    worlds = [world(seed) for seed in range(first, first + count)]
    theirs, mine = ask(upstream, worlds), ask(ours, worlds)
    if not len(theirs) == len(mine) == count:
        sys.exit(f"{count} worlds, {len(theirs)} answers of the kubelet's, {len(mine)} of ours")
    reasons, preempted, wrong = {}, 0, []
    for seed, asked, left, right in zip(range(first, first + count), worlds, theirs, mine):
        preempted += bool(left["victims"])
        reasons[left["reason"] or "taken"] = reasons.get(left["reason"] or "taken", 0) + 1
        if left != right:
            wrong.append(f"world {seed}:\n  kubelet: {json.dumps(left)}\n  dryfit:  {json.dumps(right)}\n  {json.dumps(asked)}")
    print("\n\n".join(wrong[:5]))
    told = ", ".join(f"{name} {times}" for name, times in sorted(reasons.items(), key=lambda one: -one[1]))
    print(f"{count} pods at the kubelet's door from {first}: {told}; {preempted} of them made others go; {len(wrong)} differences")
    # The comparison must be able to fail, and worlds that are all the same say nothing.
    if len(reasons) < 5:
        sys.exit("hardly any of the worlds differ")
    sys.exit(1 if wrong else 0)


main()
