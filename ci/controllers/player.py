"""Plays kubelets, a CSI provisioner and a metrics server for any API server, so that two control planes meet the same ones."""

import copy
import http.client
import http.server
import json
import re
import ssl
import threading
import time

CLUSTERWIDE = ssl._create_unverified_context()
ZONES = ["us-west-2a", "us-west-2b", "us-west-2c"]
PROVISIONER = "csi.example.com"


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Client:
    """One connection to an API server; not for several threads."""

    def __init__(self, address, token):
        self.address, self.token, self.wire = address, token, None

    def ask(self, method, path, body=None, kind="application/json", more=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json", **(more or {})}
        for attempt in (1, 2):
            try:
                if self.wire is None:
                    self.wire = http.client.HTTPSConnection(self.address, context=CLUSTERWIDE, timeout=30)
                self.wire.request(method, path, None if body is None else json.dumps(body), headers)
                reply = self.wire.getresponse()
                text = reply.read()
                return reply.status, json.loads(text) if text[:1] == b"{" else {"message": text.decode()}
            except (OSError, http.client.HTTPException):
                self.wire = None
                if attempt == 2:
                    raise

    def items(self, path):
        code, reply = self.ask("GET", path)
        return reply.get("items", []) if code == 200 else []


def ready(pod):
    """Whether its containers are to become ready."""
    return pod["metadata"].get("annotations", {}).get("ready") != "false"


def node(name, zone):
    room = {"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone, "topology.csi.example.com/zone": zone}},
        "spec": {},
        "status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status", "lastHeartbeatTime": now(), "lastTransitionTime": now()},
        ]},
    }  # fmt: skip


class Player(threading.Thread):
    """Runs what is bound: a container whose command is `true` or `false` ends so after a second, any other goes on.

    A story's own node has the label `player`; one with the annotation `silent` has a kubelet that says and does nothing,
    one with `unwell` a kubelet that leaves the conditions as they are.
    """

    def __init__(self, address, token, names):
        super().__init__(daemon=True)
        self.client, self.names, self.leases, self.stopped = Client(address, token), names, 0, False
        self.seen, self.turns, self.addresses, self.alive = {}, {}, 0, set()

    def join_nodes(self):
        for name, zone in zip(self.names, ZONES * len(self.names)):
            body = node(name, zone)
            status = body.pop("status")
            self.client.ask("POST", "/api/v1/nodes", body)
            self.client.ask("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, "application/merge-patch+json")
            csi = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": [
                {"name": PROVISIONER, "nodeID": name, "topologyKeys": ["topology.csi.example.com/zone"], "allocatable": {"count": 3}}]}}  # fmt: skip
            self.client.ask("POST", "/apis/storage.k8s.io/v1/csinodes", csi)

    def run(self):
        while not self.stopped:
            try:
                self.look()
                self.renew()
                for pod in self.client.items("/api/v1/pods"):
                    self.attend(pod)
                self.provision()
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.25)

    def look(self):
        """Which nodes have a kubelet that works; a story's own node is ready as soon as it has one."""
        nodes = [one for one in self.client.items("/api/v1/nodes") if "silent" not in one["metadata"].get("annotations", {})]
        came = {one["metadata"]["name"] for one in nodes} - self.alive
        self.alive = {one["metadata"]["name"] for one in nodes}
        for one in nodes:
            meta, well = one["metadata"], [each for each in one.get("status", {}).get("conditions", []) if each["type"] == "Ready" and each["status"] == "True"]
            if "player" in meta.get("labels", {}) and not well and "unwell" not in meta.get("annotations", {}):
                self.client.ask("PATCH", f"/api/v1/nodes/{meta['name']}/status", {"status": node(meta["name"], "")["status"]}, "application/strategic-merge-patch+json")
        if came:
            self.leases = 0

    def renew(self):
        if time.monotonic() - self.leases < 5:
            return
        self.leases = time.monotonic()
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        for name in self.alive:
            path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
            spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": at}
            code, _ = self.client.ask("PATCH", f"{path}/{name}", {"spec": spec}, "application/merge-patch+json")
            if code == 404:
                self.client.ask("POST", path, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec})

    def attend(self, pod):
        meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        if spec.get("nodeName") not in self.alive:
            return
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            if "finalizers" not in meta or status.get("phase") in ("Succeeded", "Failed"):
                self.client.ask("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
            else:
                self.tell(pod, path, "Failed")
            return
        command = spec["containers"][0].get("command", [])
        began = self.seen.get(meta["uid"])
        if status.get("phase", "Pending") == "Pending":
            if not self.bound(pod) or not self.turn(meta["namespace"]):
                return
            self.seen[meta["uid"]] = time.monotonic()
            self.tell(pod, path, "Running")
        elif status.get("phase") == "Running" and command and began and time.monotonic() - began > 1.0:
            self.tell(pod, path, {"true": "Succeeded", "false": "Failed"}.get(command[0], "Running"))
        elif status.get("phase") == "Running" and ready(pod) and not any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", [])):
            self.tell(pod, path, "Running")

    def turn(self, namespace):
        """One pod of a namespace after the other: a controller that counts ready pods then sees each number on both sides."""
        if time.monotonic() < self.turns.get(namespace, 0):
            return False
        self.turns[namespace] = time.monotonic() + 0.6
        return True

    def bound(self, pod):
        """Whether every claim has its volume."""
        for volume in pod["spec"].get("volumes", []):
            if "persistentVolumeClaim" in volume:
                name = volume["persistentVolumeClaim"]["claimName"]
                _, claim = self.client.ask("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}/persistentvolumeclaims/{name}")
                if claim.get("status", {}).get("phase") != "Bound":
                    return False
        return True

    def tell(self, pod, path, phase):
        good = phase == "Running" and ready(pod)
        over = phase in ("Succeeded", "Failed")
        end = {"terminated": {"exitCode": 0 if phase == "Succeeded" else 1, "reason": "Completed" if phase == "Succeeded" else "Error", "startedAt": now(), "finishedAt": now()}}
        state = end if over else {"running": {"startedAt": now()}}
        conditions = [{"type": kind, "status": "True" if holds else "False", "lastTransitionTime": now()} for kind, holds in
                      [("PodReadyToStartContainers", not over), ("Initialized", True), ("Ready", good), ("ContainersReady", good)]]  # fmt: skip
        if over:
            for one in conditions[2:]:
                one["reason"] = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        self.addresses += 1
        address = pod.get("status", {}).get("podIP") or f"10.7.{self.addresses // 250}.{self.addresses % 250 + 1}"
        body = {"status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.8.0.1", "hostIPs": [{"ip": "10.8.0.1"}], "startTime": pod.get("status", {}).get("startTime") or now(), "conditions": conditions,
                "containerStatuses": [{"name": one["name"], "image": one["image"], "imageID": "", "ready": good, "started": good, "restartCount": 0, "state": copy.deepcopy(state)} for one in pod["spec"]["containers"]]}}  # fmt: skip
        self.client.ask("PATCH", path + "/status", body, "application/strategic-merge-patch+json")

    def provision(self):
        """What csi-provisioner does: makes a volume where the selected node is, once a claim is annotated."""
        claims = [one for one in self.client.items("/api/v1/persistentvolumeclaims") if one.get("status", {}).get("phase") == "Pending"]
        for claim in claims:
            meta, spec = claim["metadata"], claim["spec"]
            notes = meta.get("annotations", {})
            if notes.get("volume.kubernetes.io/storage-provisioner") != PROVISIONER or spec.get("volumeName"):
                continue
            _, sort = self.client.ask("GET", f"/apis/storage.k8s.io/v1/storageclasses/{spec['storageClassName']}")
            chosen = notes.get("volume.kubernetes.io/selected-node")
            if sort.get("volumeBindingMode") == "WaitForFirstConsumer" and not chosen:
                continue
            zone = ZONES[0]
            if chosen:
                _, where = self.client.ask("GET", f"/api/v1/nodes/{chosen}")
                zone = where["metadata"]["labels"]["topology.kubernetes.io/zone"]
            volume = {
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": f"pvc-{meta['uid']}", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
                "spec": {
                    "capacity": {"storage": spec["resources"]["requests"]["storage"]}, "accessModes": spec["accessModes"],
                    "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
                    "csi": {"driver": PROVISIONER, "volumeHandle": meta["uid"]}, "storageClassName": spec["storageClassName"],
                    "persistentVolumeReclaimPolicy": sort.get("reclaimPolicy", "Delete"),
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "topology.csi.example.com/zone", "operator": "In", "values": [zone]}]}]}},
                },
            }  # fmt: skip
            self.client.ask("POST", "/api/v1/persistentvolumes", volume)
        for volume in self.client.items("/api/v1/persistentvolumes"):
            if volume.get("status", {}).get("phase") == "Released" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                self.client.ask("DELETE", f"/api/v1/persistentvolumes/{volume['metadata']['name']}", {})


class Metrics(threading.Thread):
    """Serves metrics.k8s.io/v1beta1 from annotations of pods, for the real API server's aggregator."""

    def __init__(self, address, token, certificate, key):
        super().__init__(daemon=True)
        api = Client(address, token)
        lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path, _, query = self.path.partition("?")
                match = re.fullmatch(r"/apis/metrics\.k8s\.io/v1beta1/namespaces/([^/]+)/pods", path)
                if match:
                    with lock:
                        pods = api.items(f"/api/v1/namespaces/{match[1]}/pods?{query}")
                    body = {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": [line for line in map(self.line, pods) if line]}
                else:
                    sort = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
                    body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [sort]}
                text = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def line(self, pod):
                cpu = pod["metadata"].get("annotations", {}).get("usage.dryfit.dev/cpu", "0")
                if pod.get("status", {}).get("phase") != "Running":
                    return None
                meta = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"], "labels": pod["metadata"].get("labels", {})}
                containers = [{"name": pod["spec"]["containers"][0]["name"], "usage": {"cpu": cpu, "memory": "10Mi"}}]
                return {"metadata": meta, "timestamp": now(), "window": "15s", "containers": containers}

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]

    def run(self):
        self.server.serve_forever()
