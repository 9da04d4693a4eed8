#!/usr/bin/env python3
"""Random clusters on the real kube-scheduler and on ours: the same node where scores decide, the same words where nothing fits.

    python3 ci/scheduling/run.py DRYFIT JUDGES FIRST COUNT

World FIRST, FIRST+1, … : both sides get the same nodes, then pod by pod. After each pod both say where it went, or why it went nowhere. A tie of
scores is drawn by lot upstream; then ours is asked for its scores' winner only by the rest of the world: the pod is moved to upstream's node on our
side as well, and the tie is counted. A difference that is no tie fails, with the world's number.
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
from world import world  # noqa: E402

DRYFIT = pathlib.Path(ARGUMENTS[0]).resolve()
FIRST, COUNT = int(ARGUMENTS[2]), int(ARGUMENTS[3])
# What keeps nodes from being looked at, until their controllers have done so.
NOT_READY = "node.kubernetes.io/not-ready"
# Seconds until a scheduler has said something about a pod, on a machine that is busy.
PATIENCE = 20


def furnish(api, nodes):
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


def clear(api):
    for kind in ("pods", "nodes"):
        base = f"/api/v1/namespaces/default/{kind}" if kind == "pods" else "/api/v1/nodes"
        for one in api.items(base):
            api.ask("DELETE", f"{base}/{one['metadata']['name']}", {"gracePeriodSeconds": 0})
    for _ in range(100):
        if not api.items("/api/v1/pods") and not api.items("/api/v1/nodes"):
            return
        time.sleep(0.05)
    raise SystemExit("a world did not go away")


def verdict(api, name):
    """Where a pod went, or why it did not."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _, pod = api.ask("GET", f"/api/v1/namespaces/default/pods/{name}")
        if node := pod["spec"].get("nodeName"):
            return node, ""
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                return "", condition["message"]
        time.sleep(0.01)
    return "", "no answer"


def place(api, pod, node):
    """Makes the pod again, on this node."""
    path = "/api/v1/namespaces/default/pods"
    api.ask("DELETE", f"{path}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
    there = json.loads(json.dumps(pod))
    there["spec"]["nodeName"] = node
    code, said = api.ask("POST", path, there)
    assert code == 201, said


def scores(seed, names, pod):
    """What ours says of each node, to tell a tie from a mistake."""
    nodes, pods = world(seed)
    placed = [dict(one, spec={**one["spec"], "nodeName": names[one["metadata"]["name"]]}) for one in pods if names.get(one["metadata"]["name"])]
    asked = json.dumps({"nodes": nodes, "pods": placed, "pod": pod})
    done = subprocess.run([str(DRYFIT.parent / "examples" / "score")], input=asked, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge(seed, theirs, ours):
    nodes, pods = world(seed)
    for api in (theirs, ours):
        furnish(api, nodes)
    time.sleep(0.1)
    names, wrong, ties, refused = {}, [], 0, 0
    for pod in pods:
        name = pod["metadata"]["name"]
        for api in (theirs, ours):
            code, said = api.ask("POST", "/api/v1/namespaces/default/pods", pod)
            assert code == 201, said
        left, right = verdict(theirs, name), verdict(ours, name)
        refused += not left[0]
        if left != right:
            found = scores(seed, names, pod) if left[0] and right[0] else {}
            if found and found.get(left[0]) == found.get(right[0]):
                ties += 1
                place(ours, pod, left[0])
            else:
                wrong.append(f"world {seed}, {name}:\n  kube-scheduler: {left}\n  dryfit:         {right}\n  scores: {found}\n  {json.dumps(pod['spec'])}")
                break
        names[name] = left[0]
        if not left[0]:
            # It would be tried again and again.
            for api in (theirs, ours):
                api.ask("DELETE", f"/api/v1/namespaces/default/pods/{name}", {"gracePeriodSeconds": 0})
    for api in (theirs, ours):
        clear(api)
    return len(names), refused, ties, wrong


def main():
    children, wrong, counts = [], [], [0, 0, 0]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(os.environ.get("DRYFIT_LOGS") or folder)
        try:
            theirs, ours = planes.real(children, work, controllers=False).client(), planes.ours(children, work).client()
            for api in (theirs, ours):
                api.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "plain"}, "value": 0, "preemptionPolicy": "Never"})
            # The real one takes its time until it has seen what there is.
            for api in (theirs, ours):
                _, pods = world(0)
                for _ in range(6):
                    api.ask("POST", "/api/v1/namespaces/default/pods", pods[0])
                    if verdict(api, pods[0]["metadata"]["name"])[1] != "no answer":
                        break
                clear(api)
            for seed in range(FIRST, FIRST + COUNT):
                *found, differs = judge(seed, theirs, ours)
                counts = [a + b for a, b in zip(counts, found)]
                wrong += differs
                if len(wrong) >= 5:
                    break
        finally:
            for child in reversed(children):
                child.kill()
                child.wait()
    print("\n\n".join(wrong))
    print(f"{COUNT} worlds from {FIRST}, {counts[0]} pods, {counts[1]} of them fit nowhere, {counts[2]} ties, {len(wrong)} differences")
    sys.exit(1 if wrong else 0)


main()
