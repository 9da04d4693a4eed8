"""The unmodified kube-scheduler and kube-controller-manager on the embedded API server: they must not notice.

unmodified.py DRYFIT JUDGES
"""

import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from planes import JUDGES, ours, start

NAMESPACE = "story"
WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: one, resources: {requests: {cpu: 100m}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: data}
spec:
  replicas: 2
  serviceName: data
  selector: {matchLabels: {app: data}}
  template:
    metadata: {labels: {app: data}}
    spec: {containers: [{name: c, image: one}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: one}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  completions: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: one, command: [sleep, "1"]}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: few}
spec: {hard: {configmaps: "5", pods: "50"}}
"""


class Cluster:
    def __init__(self, kubeconfig):
        self.kubeconfig = kubeconfig

    def kubectl(self, *words, text=None, check=True):
        command = [str(JUDGES / "kubectl"), "--kubeconfig", str(self.kubeconfig), "-n", NAMESPACE, *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise SystemExit(f"$ kubectl {' '.join(words)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def get(self, what, *more):
        return json.loads(self.kubectl("get", what, *more, "-o", "json", "--ignore-not-found") or "{}")

    def until(self, what, holds, seconds=30):
        """Waits until it holds; says how long that took."""
        began = time.monotonic()
        while True:
            found = holds()
            if found:
                print(f"  {what} ({time.monotonic() - began:.1f} s)")
                return found
            if time.monotonic() - began > seconds:
                raise SystemExit(f"not within {seconds} s: {what}\n{self.kubectl('get', 'all,endpointslices,quota,events', '-o', 'wide')}")
            time.sleep(0.3)


def story(cluster):
    items = lambda what, *more: cluster.get(what, *more).get("items", [])
    pods = lambda app: items("pods", "-l", f"app={app}")
    ready = lambda pod: any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", []))
    cluster.until("three nodes without a taint", lambda: len([n for n in items("nodes") if ready(n) and not n["spec"].get("taints")]) == 3)
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.until("the namespace has its service account and its certificates", lambda: cluster.get("sa", "default") and cluster.get("cm", "kube-root-ca.crt"))
    cluster.kubectl("apply", "-f", "-", text=WORKLOADS)
    cluster.until("the Deployment's pods are ready", lambda: cluster.get("deployment", "web")["status"].get("readyReplicas") == 3)
    cluster.until("they were scheduled by kube-scheduler", lambda: [e for e in items("events") if e["reason"] == "Scheduled" and "kube-scheduler" in json.dumps(e.get("metadata", {}).get("managedFields", "kube-scheduler"))])
    cluster.until("the Service has their addresses", lambda: sum(len(s.get("endpoints") or []) for s in items("endpointslices", "-l", "kubernetes.io/service-name=web")) == 3)
    cluster.until("the budget allows one disruption", lambda: cluster.get("pdb", "web").get("status", {}).get("disruptionsAllowed") == 1)
    cluster.until("the StatefulSet is there, in order", lambda: [p["metadata"]["name"] for p in pods("data") if ready(p)] == ["data-0", "data-1"])
    cluster.until("the DaemonSet has a pod on each node", lambda: len({p["spec"].get("nodeName") for p in pods("agent") if ready(p)}) == 3)
    cluster.until("the Job is complete", lambda: cluster.get("job", "once")["status"].get("succeeded") == 2 and cluster.get("job", "once")["status"].get("completionTime"))
    cluster.until("the quota counts them", lambda: cluster.get("quota", "few").get("status", {}).get("used", {}).get("pods") == str(3 + 2 + 3))
    cluster.kubectl("scale", "deployment/web", "--replicas", "5")
    cluster.until("it grows to five", lambda: cluster.get("deployment", "web")["status"].get("readyReplicas") == 5)
    cluster.kubectl("set", "image", "deployment/web", "c=two")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout", "60s")
    cluster.until("it rolls to the other image", lambda: len(pods("web")) == 5 and {p["spec"]["containers"][0]["image"] for p in pods("web")} == {"two"})
    cluster.kubectl("rollout", "undo", "deployment/web")
    cluster.until("and back", lambda: len(pods("web")) == 5 and all(ready(p) and p["spec"]["containers"][0]["image"] == "one" for p in pods("web")))
    cluster.kubectl("delete", "deployment", "web", "--cascade=foreground")
    cluster.until("the garbage collector takes its ReplicaSets and pods", lambda: not pods("web") and not items("replicasets"))
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    cluster.until("the namespace ends with all that is in it", lambda: not cluster.get("namespace", NAMESPACE), 60)


def complaints(path):
    """What only a server that is not the real one would be told: replies that cannot be read, panics, watches that fail."""
    bad = re.compile(r"panic|decod|unmarshal|unable to parse|unexpected object|converting|couldn't get resource list|failed to (list|watch)|Unhandled Error", re.I)
    # What is said on a real server, too; and the kind that is not served: docs/embedded-kubernetes.md names it.
    fine = re.compile(
        r"context canceled|connection refused|metrics\.k8s\.io|is not as new as written version|because it is being terminated"
        r"|list \*v1\.CertificateSigningRequest: the server could not find"
    )
    return [line for line in path.read_text().splitlines() if bad.search(line) and not fine.search(line)]


def main():
    children = []
    with tempfile.TemporaryDirectory(prefix="dryfit-unmodified-") as folder:
        work = pathlib.Path(folder)
        try:
            side = ours(children, work, "--without-controllers", nodes=3)
            subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], check=True, capture_output=True, cwd=work)
            authority = re.search(r"certificate-authority-data: (\S+)", side.kubeconfig.read_text())[1]
            (work / "ca.crt").write_bytes(base64.b64decode(authority))
            common = [f"--kubeconfig={side.kubeconfig}", "--leader-elect=true", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000"]
            start(children, work, "kube-scheduler", JUDGES / "kube-scheduler", *common)
            start(
                children, work, "kube-controller-manager", JUDGES / "kube-controller-manager", *common,
                "--service-account-private-key-file=sa.key", "--root-ca-file=ca.crt", "--controllers=*,-nodeipam",
            )  # fmt: skip
            print("the unmodified kube-scheduler and kube-controller-manager on the embedded API server:")
            story(Cluster(side.kubeconfig))
            said = [f"{name}: {line}" for name in ("kube-scheduler", "kube-controller-manager") for line in complaints(work / f"{name}.log")]
            for line in said[:20]:
                print(line)
            if said:
                raise SystemExit(f"{len(said)} lines of their logs complain about the server")
        except SystemExit:
            for name in ("dryfit", "kube-scheduler", "kube-controller-manager"):
                if (work / f"{name}.log").exists():
                    print(f"--- {name}", *(work / f"{name}.log").read_text().splitlines()[-15:], sep="\n", file=sys.stderr)
            raise
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()


if __name__ == "__main__":
    main()
