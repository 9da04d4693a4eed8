#!/usr/bin/env python3
"""The same changes on a real control plane and on ours: the same objects after each step, the same events about each object in order.

    python3 ci/controllers/run.py DRYFIT JUDGES [STORY…]

Stories in `stories/long` are told when they are named.

JUDGES is the folder that `ci/judges/build` prints. A story (`stories/*.story`) is a list of commands for kubectl, with what they read from
standard input below them; every story has a namespace of its own on both sides, and all are told at once, but for one that says `After: STORY`. After each step both sides
are left alone until nothing changes any more, then their objects are compared, normalised. What may differ stands in `differences.txt`,
each with its reason; an entry that nothing needs is a failure, too.
"""

import concurrent.futures
import difflib
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time

import refusals
from planes import ours, real, until

HERE = pathlib.Path(__file__).resolve().parent
MOST_DIFFERENCES = 25
MOST_LINES = int(os.environ.get("DRYFIT_LINES", 60))
# How often events are looked at until both sides say the same.
LOOKS = 5

# What is compared in a story's namespace, beside events.
KINDS = [
    ("/apis/apps/v1", "deployments"), ("/apis/apps/v1", "replicasets"), ("/apis/apps/v1", "statefulsets"), ("/apis/apps/v1", "daemonsets"),
    ("/apis/apps/v1", "controllerrevisions"), ("/apis/batch/v1", "jobs"), ("/apis/batch/v1", "cronjobs"), ("/api/v1", "pods"), ("/api/v1", "configmaps"),
    ("/api/v1", "persistentvolumeclaims"), ("/api/v1", "endpoints"), ("/apis/discovery.k8s.io/v1", "endpointslices"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"), ("/apis/policy/v1", "poddisruptionbudgets"),
]  # fmt: skip
# Of metadata and status, what two clusters cannot share.
PRIVATE = {"uid", "resourceVersion", "managedFields", "selfLink", "podIP", "podIPs", "hostIP", "hostIPs", "nodeName", "creationTimestamp", "lastProbeTime", "clusterIP", "clusterIPs", "ca.crt"}
HASHES = ("pod-template-hash", "controller-revision-hash", "controller.kubernetes.io/hash")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
PLACE = re.compile(r"node-[abc]|us-west-2[abc]|10\.7\.\d+\.\d+")
REFUSED = re.compile(r'pods "([a-z0-9-]+-)[a-z0-9]{5}" is forbidden')
# A claim that waits is told so when it comes, or when its pod has come by then, and again every fifteen seconds: which of these words
# the real controller says depends on where its own clock stands.
WAITS = re.compile(r"Normal (WaitForFirstConsumer: waiting for first consumer to be created before binding|WaitForPodScheduled: waiting for pod \S+ to be scheduled)")
# The volume of a service account's token has a drawn name.
TOKEN = re.compile(r"kube-api-access-[a-z0-9]{5}\b")
# The nodes that a story has had, by its namespace.
OWN_NODES = {}
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def story(path):
    """Commands, each with what it reads."""
    steps, about = [], []
    for line in path.read_text().splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
        elif line:
            about.append(line)
    return [(command, "\n".join(text)) for command, text in steps]


def observe(client, namespace):
    found = {}
    for base, plural in KINDS:
        code, reply = client.ask("GET", f"{base}/namespaces/{namespace}/{plural}")
        found[plural] = reply.get("items", []) if code == 200 else []
    volumes = client.items("/api/v1/persistentvolumes")
    found["persistentvolumes"] = [one for one in volumes if one["spec"].get("claimRef", {}).get("namespace") == namespace]
    # The namespace itself, and the nodes that are the story's own.
    code, reply = client.ask("GET", f"/api/v1/namespaces/{namespace}")
    found["namespaces"] = [reply] if code == 200 else []
    found["nodes"] = client.items(f"/api/v1/nodes?labelSelector=player%3D{namespace}")
    OWN_NODES.setdefault(namespace, set()).update(one["metadata"]["name"] for one in found["nodes"])
    return found


def settled(client, namespace, quiet=3.0, most=60.0):
    """What there is when nothing has changed for a while."""
    began = since = time.monotonic()
    before, most = None, max(most, quiet + 20)
    while True:
        found = observe(client, namespace)
        # A status that is written again and again (an autoscaler's metrics) does not count; which pods there are does.
        mark = [(plural, one["metadata"]["name"], one["metadata"].get("resourceVersion")) for plural, items in found.items() for one in items if plural not in ("horizontalpodautoscalers", "endpoints")]
        if mark != before:
            before, since = mark, time.monotonic()
        if time.monotonic() - since > quiet or time.monotonic() - began > most:
            return found
        time.sleep(0.7)


def generated(meta):
    """A name without what was drawn; children of generated names have such names themselves."""
    prefix = meta.get("generateName")
    name = meta["name"]
    return prefix + "*" if prefix and name.startswith(prefix) else name


def normal(value, names, key=None):
    if isinstance(value, dict):
        kept = {name: normal(one, names, name) for name, one in value.items() if name not in PRIVATE}
        if "type" in value and "reason" in value and "status" in value and "lastTransitionTime" in kept:
            kept["lastTransitionTime"] = "TIME"
        return kept
    if isinstance(value, list):
        items = [normal(one, names) for one in value]
        if key in ("conditions", "ownerReferences", "finalizers", "endpoints", "addresses", "notReadyAddresses"):
            items.sort(key=lambda one: json.dumps(one, sort_keys=True))
        return items
    if isinstance(value, str):
        value = UID.sub("UID", TIME.sub("TIME", value))
        # Which of equal nodes is drawn.
        value = TOKEN.sub("kube-api-access-*", PLACE.sub("PLACE", value))
        return words(value, names)
    return value


def words(text, names):
    for real_name, shown in names:
        if real_name in text:
            # Whole names: `db-5` is no part of the hash in `db-57c9`.
            text = re.sub(rf"(?<![a-z0-9]){re.escape(real_name)}(?![a-z0-9])", shown, text)
    # A pod that was refused has a drawn name that no object bears.
    return REFUSED.sub(r'pods "\1*" is forbidden', text)


def hashes(found, known):
    """Each side has its own hash of templates; numbered in the order in which they come up."""
    made = sorted((one for plural in ("replicasets", "controllerrevisions") for one in found[plural]), key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
    for one in made:
        for label in HASHES:
            value = one["metadata"].get("labels", {}).get(label)
            if value and value not in known:
                known[value] = f"HASH{len(known) + 1}"
    return list(known.items())


def normalised(found, known):
    names = sorted(((one["metadata"]["name"], generated(one["metadata"])) for items in found.values() for one in items), key=lambda pair: -len(pair[0]))
    names = [pair for pair in names if pair[0] != pair[1]] + hashes(found, known)
    shown = {}
    for plural, items in found.items():
        texts = sorted(json.dumps(normal(strip(one), names), indent=1, sort_keys=True) for one in items)
        shown[plural] = [f"{plural} {line.rstrip(',')}" for text in texts for line in text.splitlines()]
    return shown, names


def strip(one):
    meta = one["metadata"]
    meta.get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    if meta.get("annotations") == {}:
        del meta["annotations"]
    meta.pop("deletionTimestamp", None)
    return one


def told(client, namespace, names):
    """Events by what they are about, in the order of their first mention."""
    events = client.items(f"/api/v1/namespaces/{namespace}/events")
    events += [one for one in client.items("/api/v1/namespaces/default/events") if one["involvedObject"]["name"] in OWN_NODES.get(namespace, ())]
    # Pods that came and went between two looks.
    for one in events:
        made = re.fullmatch(r"Created pod: (\S+)", one.get("message", ""))
        if made and made[1].startswith(one["involvedObject"]["name"] + "-") and re.search("-[a-z0-9]{5}$", made[1]):
            names = merge(names, [(made[1], made[1][:-5] + "*")])
    when = lambda one: one.get("eventTime") or one.get("firstTimestamp") or ""
    lines = {}
    for one in sorted(events, key=lambda one: (when(one)[:19], int(one["metadata"]["resourceVersion"]))):
        about = one["involvedObject"]
        line = f"{one['type']} {one['reason']}: {words(UID.sub('UID', one.get('message', '')), names)}"
        said = lines.setdefault((about["kind"], about["name"]), [])
        line = WAITS.sub("Normal waits for its pod", PLACE.sub("PLACE", line))
        # How often the same is said again is a matter of time.
        if line not in said:
            said.append(line)
    shown = {}
    for (kind, name), said in lines.items():
        shown.setdefault(f"{kind} {words(name, names)}", []).append(said)
    # Objects of drawn names: which of them has which history does not matter.
    return [f"events {about}: {line}" for about in sorted(shown) for said in sorted(shown[about]) for line in said]


class Differences:
    """Lines `STORY · PATTERN · reason`: a differing line of either side that matches is let through."""

    def __init__(self):
        self.rows, self.used, self.lock = [], set(), threading.Lock()
        # A reason that begins with `sometimes` is about the real one's timing: it may be needed in one run and not in the next.
        for line in (HERE / "differences.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                where, pattern, reason = line.split(" · ")
                self.rows.append((where, re.compile(pattern), reason))

    def lets(self, name, line, used):
        for number, (where, pattern, _) in enumerate(self.rows):
            if where in ("*", name) and pattern.search(line):
                used.add(number)
                return True
        return False

    def use(self, numbers):
        with self.lock:
            self.used |= numbers


def compare(left, right, name, differences, used):
    """Lines that differ and may not; into `used` come the known differences that let others pass."""
    wrong = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        gone = [f"- {line}" for line in left[a:b] if not differences.lets(name, "- " + line, used)]
        new = [f"+ {line}" for line in right[c:d] if not differences.lets(name, "+ " + line, used)]
        if gone or new:
            wrong += [f"  {line}" for line in left[max(0, a - 3) : a]] + gone + new
    return wrong


def tell(path, sides, differences, over):
    name, steps = path.stem, story(path)
    # What would meddle with another: scheduling on every node is told of a node that comes or goes.
    before = re.search(r"^After: (\S+)$", path.read_text(), re.MULTILINE)
    if before and before[1] in over:
        over[before[1]].wait()
    try:
        return tell_steps(name, steps, sides, differences)
    finally:
        over[name].set()


def tell_steps(name, steps, sides, differences):
    wrong = []
    namespace = f"story-{name}"
    clients = [side.client() for side in sides]
    with concurrent.futures.ThreadPoolExecutor(2) as both:
        each = lambda work: list(both.map(work, sides, clients))
        each(lambda side, client: client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}))
        names, known_hashes = [[], []], [{}, {}]
        for command, text in steps:
            quiet = 3.0
            match = re.match(r"settle (\d+)s", command)
            if match:
                quiet = float(match[1])
            else:
                wrong += [said for said in each(lambda side, client: side.kubectl(command, text, namespace)) if said]
            found = each(lambda side, client: settled(client, namespace, quiet))
            if os.environ.get("DRYFIT_VERBOSE"):
                print(f"{time.monotonic():.0f} {name}: $ {command}", flush=True)
            (left, theirs), (right, mine) = map(normalised, found, known_hashes)
            names = [merge(names[0], theirs), merge(names[1], mine)]
            for plural in left:
                used = set()
                lines = compare(left[plural], right[plural], name, differences, used)
                differences.use(used)
                if lines:
                    wrong.append("\n".join([f"{name}: after $ {command}", *lines[:MOST_LINES]]))
        # What is tried again and again (a refused pod) says something new at its tenth failure, 2.5 s after its first: the look at one side may
        # be before it and at the other after it. What stays different is a difference.
        for look in range(LOOKS):
            if look:
                time.sleep(3)
            said = [told(client, namespace, known) for client, known in zip(clients, names)]
            used = set()
            lines = compare(*said, name, differences, used)
            if not lines:
                break
        differences.use(used)
        if lines:
            wrong.append("\n".join([f"{name}: events", *lines[:MOST_LINES]]))
    return len(steps), wrong


def merge(known, more):
    return sorted(set(known) | set(more), key=lambda pair: -len(pair[0]))


def main():
    children = []
    stories = sorted((HERE / "stories").glob("**/*.story" if sys.argv[3:] else "*.story"))
    chosen = [path for path in stories if not sys.argv[3:] or path.stem in sys.argv[3:]]
    differences = Differences()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(os.environ.get("DRYFIT_LOGS") or folder)
        try:
            sides = [real(children, work), ours(children, work)]
            for side in sides:
                side.player.join_nodes()
                side.player.start()
            for side in sides:
                api = side.client()
                free = lambda: all(not one["spec"].get("taints") for one in api.items("/api/v1/nodes"))
                until(f"{side.name}: nodes", free)
                # Ours has a metrics server once somebody says what anything uses; the real one's is the player's.
                note = {"metadata": {"annotations": {"load.dryfit.dev/cpu": "0"}}}
                api.ask("PATCH", "/api/v1/namespaces/default", note, "application/merge-patch+json")
                served = lambda: api.ask("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")[0] == 200
                until(f"{side.name}: metrics", served)
            refused = [] if sys.argv[3:] and "refusals" not in sys.argv[3:] else refusals.compare(children, work, sides[0])
            over = {path.stem: threading.Event() for path in chosen}
            with concurrent.futures.ThreadPoolExecutor(len(chosen) or 1) as pool:
                results = list(pool.map(lambda path: tell(path, sides, differences, over), chosen))
        finally:
            for child in reversed(children):
                child.kill()
                child.wait()
    wrong = refused + [text for _, texts in results for text in texts]
    print("\n\n".join(wrong))
    unused = [row for number, row in enumerate(differences.rows) if number not in differences.used and not row[2].startswith("sometimes") and (row[0] == "*" or row[0] in {path.stem for path in chosen}) and not sys.argv[3:]]
    for where, pattern, reason in unused:
        print(f"no longer differs: {where} · {pattern.pattern} · {reason}")
    many = len(differences.rows) > MOST_DIFFERENCES
    if many:
        print(f"{len(differences.rows)} known differences, more than {MOST_DIFFERENCES}")
    print(f"{len(chosen)} stories, {sum(count for count, _ in results)} steps, {len(wrong)} places where both differ, {len(differences.rows)} known differences")
    sys.exit(1 if wrong or unused or many else 0)


main()
