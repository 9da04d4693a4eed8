#!/usr/bin/env python3
"""How many plain pods a second the real kube-scheduler binds; the objects are those of `speed` in src/fake-kube/examples.

    python3 ci/scheduling/speed.py DRYFIT JUDGES NODES PODS
"""

import concurrent.futures
import os
import pathlib
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "controllers"))
NODES, PODS = int(sys.argv[3]), int(sys.argv[4])

import planes  # noqa: E402

ZONES = ["us-west-2a", "us-west-2b", "us-west-2c"]
ROOM = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "80Gi"}


def node(api, number):
    name = f"node-{number}"
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": ZONES[number % 3], "node.kubernetes.io/instance-type": "m5.4xlarge"}
    api.ask("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}, "status": {"capacity": ROOM, "allocatable": ROOM, "conditions": [{"type": "Ready", "status": "True"}]}})
    api.ask("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, "application/merge-patch+json")


def pod(api, number):
    container = {
        "name": "main", "image": "registry.example.com/team/service:1.2.3", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "env": [{"name": "LOG", "value": "info"}], "ports": [{"containerPort": 8080}],
    }  # fmt: skip
    labels = {"app": f"service-{number % 500}", "team": f"t{number % 40}"}
    api.ask("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": f"service-{number:07}", "labels": labels}, "spec": {"containers": [container]}})


def spread(side, work, count, workers=16):
    clients = [side.client() for _ in range(workers)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda at: [work(clients[at], number) for number in range(at, count, workers)], range(workers)))


def unbound(api):
    _, left = api.ask("GET", "/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3D&limit=1")
    return bool(left["items"])


def main():
    children = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            # As many requests as upstream's own benchmarks let it send (test/integration/scheduler_perf).
            side = planes.real(children, pathlib.Path(folder), controllers=False, rate=5000)
            scheduler = children[-1]
            # It sleeps until all are there, so that its own time is seen.
            scheduler.send_signal(signal.SIGSTOP)
            spread(side, node, NODES)
            spread(side, pod, PODS)
            api = side.client()
            begin = time.monotonic()
            before = cpu(scheduler.pid)
            scheduler.send_signal(signal.SIGCONT)
            while unbound(api):
                time.sleep(0.1)
            took = time.monotonic() - begin
            busy = cpu(scheduler.pid) - before
            print(f"kube-scheduler: {PODS} plain pods on {NODES} nodes in {took:.1f} s, {PODS / took:.0f} a second; {busy:.1f} s of its own processor time")
        finally:
            for child in reversed(children):
                child.kill()
                child.wait()


def cpu(process):
    """Seconds of processor time."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


main()
