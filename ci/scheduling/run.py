#!/usr/bin/env python3
"""Random clusters on the real kube-scheduler and on ours: the same node where scores decide, the same words where nothing fits.

    python3 ci/scheduling/run.py DRYFIT JUDGES FIRST COUNT [--preempting]

World FIRST, FIRST+1, … : both sides get the same nodes, then pod by pod. After each pod both say where it went, or why it went nowhere. A tie of
scores is drawn by lot upstream; then ours is asked for its scores' winner only by the rest of the world: the pod is moved to upstream's node on our
side as well, and the tie is counted. A difference that is no tie fails, with the world's number.

With --preempting a third of the worlds have pods that take others' places, in half of them slowly.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "controllers"))
ARGUMENTS = sys.argv[1:]
sys.argv = [sys.argv[0], ARGUMENTS[0], ARGUMENTS[1]]

import planes  # noqa: E402
from world import CLASSES, UNBOUND, World  # noqa: E402

DRYFIT = pathlib.Path(ARGUMENTS[0]).resolve()
FIRST, COUNT = int(ARGUMENTS[2]), int(ARGUMENTS[3])
PREEMPTING = "--preempting" in ARGUMENTS[4:]
# What keeps nodes from being looked at, until their controllers have done so.
NOT_READY = "node.kubernetes.io/not-ready"
# Seconds until a scheduler has said something about a pod, on a machine that is busy.
PATIENCE = 20


def furnish(api, world):
    for claim, volume in world.volumes:
        bound(api, claim, volume)
    if world.volumes:
        for name, sort in UNBOUND.items():
            if sort is not None:
                spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": sort, "resources": {"requests": {"storage": "1Gi"}}}
                api.ask("POST", "/api/v1/namespaces/default/persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})
    for limits in world.limits:
        code, said = api.ask("POST", "/apis/storage.k8s.io/v1/csinodes", limits)
        assert code == 201, said
    nodes = world.nodes
    for node in nodes:
        status = node["status"]
        code, made = api.ask("POST", "/api/v1/nodes", {key: value for key, value in node.items() if key != "status"})
        assert code == 201, made
        name = node["metadata"]["name"]
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": planes.now(), "lastTransitionTime": planes.now()}
        api.ask("PATCH", f"/api/v1/nodes/{name}/status", {"status": {**status, "conditions": [ready]}}, "application/merge-patch+json")
        # Admission's taint; no node controller runs here.
        taints = [one for one in made["spec"].get("taints", []) if one["key"] != NOT_READY]
        if made["spec"].get("unschedulable"):
            taints = [one for one in taints if one["key"] != "node.kubernetes.io/unschedulable"] + [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
        code, said = api.ask("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": taints or None}}, "application/merge-patch+json")
        assert code == 200, said


def bound(api, claim, volume):
    """Both as they are once the volume controller, which does not run here, has bound them."""
    path = "/api/v1/namespaces/default/persistentvolumeclaims"
    note = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
    code, made = api.ask("POST", path, {**claim, "metadata": {**claim["metadata"], "annotations": note}})
    assert code == 201, made
    spec = {**volume["spec"], "claimRef": {**volume["spec"]["claimRef"], "uid": made["metadata"]["uid"]}}
    code, said = api.ask("POST", "/api/v1/persistentvolumes", {**volume, "spec": spec})
    assert code == 201, said
    name = claim["metadata"]["name"]
    status = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["capacity"]}
    api.ask("PATCH", f"{path}/{name}/status", {"status": status}, "application/merge-patch+json")
    api.ask("PATCH", f"/api/v1/persistentvolumes/{volume['metadata']['name']}/status", {"status": {"phase": "Bound"}}, "application/merge-patch+json")


# In the order in which they go.
CLEARED = [
    "/api/v1/namespaces/default/pods", "/api/v1/nodes", "/apis/storage.k8s.io/v1/csinodes", "/api/v1/namespaces/default/persistentvolumeclaims",
    "/api/v1/persistentvolumes",
]  # fmt: skip


def clear(api):
    for base in CLEARED:
        for one in api.items(base):
            path = f"{base}/{one['metadata']['name']}"
            if one["metadata"].get("finalizers"):
                api.ask("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
            api.ask("DELETE", path, {"gracePeriodSeconds": 0})
    for _ in range(100):
        if not any(api.items(base) for base in CLEARED):
            return
        time.sleep(0.05)
    raise SystemExit("a world did not go away")


PODS = "/api/v1/namespaces/default/pods"


def verdict(api, name, lingers=False):
    """Where a pod went, or why it did not; with `lingers`, which node it was promised."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _, pod = api.ask("GET", f"{PODS}/{name}")
        if node := pod["spec"].get("nodeName"):
            return node, ""
        status = pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                promised = status.get("nominatedNodeName")
                if not promised:
                    return "", condition["message"]
                if lingers:
                    return "", f"promised {promised}: {condition['message']}"
        time.sleep(0.01)
    return "", "no answer"


def started(api, name, number):
    """Who came first counts when somebody has to go: seconds, the same on both sides."""
    at = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
    api.ask("PATCH", f"{PODS}/{name}/status", {"status": {"startTime": at}}, "application/merge-patch+json")


def place(api, pod, node):
    """Makes the pod again, on this node."""
    api.ask("DELETE", f"{PODS}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
    there = json.loads(json.dumps(pod))
    there["spec"]["nodeName"] = node
    code, said = api.ask("POST", PODS, there)
    assert code == 201, said


def there(api):
    """Pods with their nodes; those that are on their way out, and what pods were promised, with a mark."""
    found = {}
    for pod in api.items(PODS):
        going = " (going)" if pod["metadata"].get("deletionTimestamp") else ""
        found[pod["metadata"]["name"]] = f"{pod['spec'].get('nodeName', '')}{going} {pod['status'].get('nominatedNodeName', '')}"
    return found


def scores(world, api, pod):
    """What ours says of each node, to tell a tie from a mistake; `api` has the cluster as it was before."""
    placed = [one for one in api.items(PODS) if one["spec"].get("nodeName") and one["metadata"]["name"] != pod["metadata"]["name"]]
    lists = {name: api.items(path) for name, path in (("claims", CLEARED[3]), ("volumes", CLEARED[4]), ("limits", CLEARED[2]))}
    promised = [one for one in api.items(PODS) if one["status"].get("nominatedNodeName")]
    asked = json.dumps({"nodes": world.nodes, "pods": placed, "promised": promised, "pod": pod, **lists})
    done = subprocess.run([str(DRYFIT.parent / "examples" / "score")], input=asked, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge(seed, theirs, ours):
    world = World(seed, PREEMPTING)
    for api in (theirs, ours):
        furnish(api, world)
    time.sleep(0.1)
    wrong, counts = [], {"pods": 0, "refused": 0, "ties": 0, "preempted": 0, "promised": 0}
    for number, pod in enumerate(world.pods):
        name = pod["metadata"]["name"]
        counts["pods"] += 1
        before = len(there(theirs)) if world.preempts else 0
        for api in (theirs, ours):
            code, said = api.ask("POST", PODS, pod)
            assert code == 201, said
        left, right = verdict(theirs, name, world.lingers), verdict(ours, name, world.lingers)
        promised = left[1].startswith("promised")
        counts["promised"] += promised
        counts["refused"] += not left[0] and not promised
        if left != right:
            found = scores(world, theirs, pod) if left[0] and right[0] else {}
            if found and found.get(left[0]) == found.get(right[0]):
                counts["ties"] += 1
                place(ours, pod, left[0])
            else:
                wrong.append(f"world {seed}, {name}:\n  kube-scheduler: {left}\n  dryfit:         {right}\n  scores: {found}\n  {json.dumps(pod['spec'])}")
                break
        if not left[0] and not promised:
            # It would be tried again and again.
            for api in (theirs, ours):
                api.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
        if world.preempts:
            for api in (theirs, ours):
                started(api, name, number)
            if differs := same(theirs, ours):
                wrong.append(f"world {seed}, after {name}: {differs}")
                break
            counts["preempted"] += max(0, before + bool(left[0]) - len(there(theirs)))
            # Both schedulers are to know who came when before the next pod asks.
            time.sleep(0.05)
    if world.lingers and not wrong:
        going = [one["metadata"]["name"] for one in theirs.items(PODS) if one["metadata"].get("deletionTimestamp")]
        for name in going:
            for api in (theirs, ours):
                api.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
            counts["preempted"] += 1
            # The real one writes a status between two attempts, and would see the next victim go meanwhile.
            time.sleep(0.5)
        # Some may wait for ever: somebody more important took their room. Others are backing off.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(one["spec"].get("nodeName") for api in (theirs, ours) for one in api.items(PODS)):
            time.sleep(0.2)
        if differs := same(theirs, ours):
            wrong.append(f"world {seed}, after the victims have gone: {differs}")
    for api in (theirs, ours):
        clear(api)
    return counts, wrong


def same(theirs, ours):
    """What differs between the pods of both, once that has had its time."""
    for _ in range(100):
        left, right = there(theirs), there(ours)
        if left == right:
            return None
        time.sleep(0.05)
    shown = sorted(name for name in {*left, *right} if left.get(name) != right.get(name))
    return "\n".join(f"\n  {name}: kube-scheduler {left.get(name)!r}, dryfit {right.get(name)!r}" for name in shown)


def main():
    children, wrong, counts = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(os.environ.get("DRYFIT_LOGS") or folder)
        try:
            theirs, ours = planes.real(children, work, controllers=False).client(), planes.ours(children, work).client()
            for api in (theirs, ours):
                for name, (value, policy) in CLASSES.items():
                    api.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": name}, "value": value, "preemptionPolicy": policy})
                waits = {"metadata": {"name": "waits"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
                api.ask("POST", "/apis/storage.k8s.io/v1/storageclasses", waits)
            # The real one takes its time until it has seen what there is.
            for api in (theirs, ours):
                first = World(0).pods[0]
                for _ in range(6):
                    # Classes are admission's a moment after they are made.
                    planes.until("the first pod", lambda: api.ask("POST", PODS, first)[0] in (201, 409))
                    if verdict(api, first["metadata"]["name"])[1] != "no answer":
                        break
                clear(api)
            for seed in range(FIRST, FIRST + COUNT):
                found, differs = judge(seed, theirs, ours)
                counts = {name: counts.get(name, 0) + more for name, more in found.items()}
                wrong += differs
                if os.environ.get("DRYFIT_VERBOSE"):
                    print(seed, found, *differs, flush=True)
                if len(wrong) >= 5:
                    break
        finally:
            for child in reversed(children):
                child.kill()
                child.wait()
    print("\n\n".join(wrong))
    print(
        f"{COUNT} worlds from {FIRST}, {counts['pods']} pods, {counts['refused']} of them fit nowhere, {counts['preempted']} evicted for others, "
        f"{counts['promised']} promised room, {counts['ties']} ties, {len(wrong)} differences"
    )
    sys.exit(1 if wrong else 0)


main()
