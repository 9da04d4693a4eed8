"""Random clusters for two schedulers: nodes, pods that are there, pods to place one after the other."""

import random

# Priority, and whether others may have to go for such a pod.
CLASSES = {"plain": (0, "Never"), "modest": (1000, "Never"), "low": (1, "PreemptLowerPriority"), "middle": (100, "PreemptLowerPriority"), "high": (1000, "PreemptLowerPriority")}
ZONES = ["z1", "z2", "z3"]
WORDS = ["red", "green", "blue"]


def labelled(draw, name):
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": draw.choice(ZONES)}
    if draw.random() < 0.5:
        labels["disk"] = draw.choice(["ssd", "hdd"])
    if draw.random() < 0.4:
        labels["arch"] = draw.choice(["amd64", "arm64"])
    return labels


def node(draw, number):
    name = f"n{number:02}"
    cpu, memory = draw.choice([2, 4, 8, 16]), draw.choice([4, 8, 16, 32])
    # Uneven amounts, so that few nodes score the same.
    room = {"cpu": f"{cpu * 1000 - draw.randrange(0, 700)}m", "memory": f"{memory * 1024 - draw.randrange(0, 900)}Mi", "pods": str(draw.choice([8, 20, 110])), "ephemeral-storage": "50Gi"}
    taints = []
    if draw.random() < 0.25:
        taints.append({"key": "dedicated", "value": draw.choice(WORDS), "effect": draw.choice(["NoSchedule", "PreferNoSchedule", "NoExecute"])})
    spec = {"taints": taints} if taints else {}
    if draw.random() < 0.07:
        spec["unschedulable"] = True
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labelled(draw, name)}, "spec": spec, "status": {"capacity": room, "allocatable": room}}


def requests(draw):
    amounts = {}
    if draw.random() < 0.9:
        amounts["cpu"] = f"{draw.randrange(50, 1500)}m"
    if draw.random() < 0.9:
        amounts["memory"] = f"{draw.randrange(64, 3000)}Mi"
    if draw.random() < 0.1:
        amounts["ephemeral-storage"] = f"{draw.randrange(1, 60)}Gi"
    return amounts


def term(draw):
    key, values = draw.choice([("disk", ["ssd", "hdd"]), ("arch", ["amd64", "arm64"]), ("topology.kubernetes.io/zone", ZONES)])
    operator = draw.choice(["In", "In", "NotIn", "Exists", "DoesNotExist"])
    expression = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        expression["values"] = draw.sample(values, draw.randrange(1, len(values)))
    return {"matchExpressions": [expression]}


def affinity(draw):
    found = {}
    if draw.random() < 0.3:
        found["nodeAffinity"] = {}
        if draw.random() < 0.6:
            found["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term(draw) for _ in range(draw.choice([1, 1, 2]))]}
        if draw.random() < 0.6:
            found["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": draw.randrange(1, 101), "preference": term(draw)} for _ in range(draw.choice([1, 2]))]
    for kind, chance in (("podAffinity", 0.12), ("podAntiAffinity", 0.15)):
        if draw.random() < chance:
            one = {"topologyKey": draw.choice(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]), "labelSelector": {"matchLabels": {"color": draw.choice(WORDS)}}}
            if draw.random() < 0.5:
                found[kind] = {"requiredDuringSchedulingIgnoredDuringExecution": [one]}
            else:
                found[kind] = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": draw.randrange(1, 101), "podAffinityTerm": one}]}
    return found


def spread(draw, color):
    constraint = {
        "maxSkew": draw.choice([1, 1, 2]), "topologyKey": draw.choice(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]),
        "whenUnsatisfiable": draw.choice(["DoNotSchedule", "ScheduleAnyway"]), "labelSelector": {"matchLabels": {"color": color}},
    }  # fmt: skip
    if draw.random() < 0.3:
        constraint["nodeAffinityPolicy"] = draw.choice(["Honor", "Ignore"])
    if draw.random() < 0.3:
        constraint["nodeTaintsPolicy"] = draw.choice(["Honor", "Ignore"])
    if constraint["whenUnsatisfiable"] == "DoNotSchedule" and draw.random() < 0.3:
        constraint["minDomains"] = draw.randrange(1, 5)
    return constraint


def pod(draw, name):
    color = draw.choice(WORDS)
    container = {"name": "c", "image": "i:1", "resources": {"requests": requests(draw)}}
    if draw.random() < 0.08:
        port = draw.choice([8080, 9090])
        container["ports"] = [{"containerPort": port, "hostPort": port}]
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "preemptionPolicy": "Never", "priorityClassName": "plain"}
    if draw.random() < 0.15:
        spec["nodeSelector"] = {"disk": draw.choice(["ssd", "hdd"])}
    if draw.random() < 0.3:
        spec["tolerations"] = [{"key": "dedicated", **draw.choice([{"operator": "Exists"}, {"operator": "Equal", "value": draw.choice(WORDS)}])}]
    if found := affinity(draw):
        spec["affinity"] = found
    if draw.random() < 0.25:
        spec["topologySpreadConstraints"] = [spread(draw, color)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"color": color}}, "spec": spec}


DRIVER = "csi.example.com"
# What a claim may be, beside bound: a claim that nobody made, one that is to be bound before any pod, and one that waits for a volume that nobody has.
UNBOUND = {"c-missing": None, "c-unbound": "", "c-waits": "waits"}


def volume(draw, number):
    """A claim and its volume, bound to each other."""
    name = f"{number}"
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": [draw.choice(["ReadWriteOnce", "ReadWriteOnce", "ReadWriteOncePod"])], "storageClassName": "",
        "csi": {"driver": draw.choice([DRIVER, DRIVER, "other.example.com"]), "volumeHandle": f"h{name}"},
        "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": "default", "name": f"c{name}"},
    }  # fmt: skip
    labels = {}
    if draw.random() < 0.5:
        expression = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": draw.sample(ZONES, draw.choice([1, 1, 2]))}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    if draw.random() < 0.3:
        labels["topology.kubernetes.io/zone"] = draw.choice(ZONES)
    claim = {"metadata": {"name": f"c{name}", "namespace": "default"}, "spec": {"volumeName": f"v{name}", "accessModes": spec["accessModes"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}
    return claim, {"metadata": {"name": f"v{name}", "labels": labels}, "spec": spec}


class World:
    """Nodes, pods in the order in which they come, and what some of the worlds have beside."""

    def __init__(self, seed, preempting=False):
        draw = random.Random(seed)
        self.nodes = [node(draw, number) for number in range(draw.randrange(3, 13))]
        self.pods = [pod(draw, f"p{number:02}") for number in range(draw.randrange(8, 25))]
        # Later draws from a stream of their own: the worlds without these stay what they were.
        draw = random.Random(f"{seed}, more")
        self.volumes, self.limits = [], []
        # In some worlds pods take others' places; in some of these victims take their time.
        self.preempts, self.lingers = draw.random() < 0.35 and preempting, False
        if self.preempts:
            self.lingers = draw.random() < 0.5
            self.crowd(draw)
        if draw.random() < 0.35:
            self.store(draw)

    def crowd(self, draw):
        self.nodes = self.nodes[: draw.randrange(2, 6)]
        for one in self.nodes:
            one["spec"].pop("unschedulable", None)
            room = {**one["status"]["capacity"], "cpu": f"{draw.randrange(1500, 5000)}m"}
            one["status"] = {"capacity": room, "allocatable": room}
        for one in self.pods:
            spec = one["spec"]
            spec["priorityClassName"] = "modest" if draw.random() < 0.1 else draw.choice(["low", "low", "middle", "high"])
            spec["preemptionPolicy"] = CLASSES[spec["priorityClassName"]][1]
            spec["terminationGracePeriodSeconds"] = 30 if self.lingers else 0
            spec["containers"][0]["resources"]["requests"]["cpu"] = f"{draw.randrange(300, 3000)}m"

    def store(self, draw):
        self.volumes = [volume(draw, number) for number in range(draw.randrange(2, 7))]
        self.limits = [
            {"metadata": {"name": one["metadata"]["name"]}, "spec": {"drivers": [{"name": DRIVER, "nodeID": one["metadata"]["name"], "topologyKeys": [], "allocatable": {"count": draw.randrange(1, 4)}}]}}
            for one in self.nodes if draw.random() < 0.7
        ]  # fmt: skip
        names = [claim["metadata"]["name"] for claim, _ in self.volumes]
        for one in self.pods:
            chosen = draw.sample(names, draw.choice([0, 1, 1, 2]))
            if draw.random() < 0.08:
                chosen.append(draw.choice(list(UNBOUND)))
            if chosen:
                one["spec"]["volumes"] = [{"name": f"v{at}", "persistentVolumeClaim": {"claimName": name}} for at, name in enumerate(chosen)]
