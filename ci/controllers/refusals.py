"""What is refused to whom: the same requests by the same people to both servers, with RBAC on; code and whole Status must be equal."""

import planes

ROLE = {"metadata": {"name": "reader"}, "rules": [
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]},
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "resourceNames": ["web"], "verbs": ["get", "patch"]},
]}  # fmt: skip
BINDING = {
    "metadata": {"name": "reader"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
    "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
}  # fmt: skip
ROBOT = "system:serviceaccount:default:robot"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# Who may write roles, and do little else.
CLERK = {"metadata": {"name": "clerk"}, "rules": [
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["get", "create", "update", "patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
]}  # fmt: skip
CLERKS = {
    "metadata": {"name": "clerk"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "clerk"},
    "subjects": [{"kind": "User", "name": "carl"}],
}  # fmt: skip


def role(name, *rules):
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(name, kind, role):
    return {"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]}


ROLES, BINDINGS = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"
APPS = "/apis/apps/v1/namespaces/default/deployments"
SCALE = {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 2}}
POD = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
# Who, verb, path, body.
REQUESTS = [
    ("jane", "GET", "/api/v1/namespaces/default/pods/absent", None),
    ("jane", "GET", "/api/v1/namespaces/default/pods", None),
    ("jane", "GET", "/api/v1/namespaces/default/pods?watch=1", None),
    ("jane", "GET", "/api/v1/namespaces/kube-system/pods/absent", None),
    ("jane", "GET", "/api/v1/pods", None),
    ("jane", "GET", "/api/v1/nodes/a", None),
    ("jane", "POST", "/api/v1/namespaces/default/pods", POD),
    ("jane", "DELETE", "/api/v1/namespaces/default/pods/x", None),
    ("jane", "DELETE", "/api/v1/namespaces/default/pods", None),
    ("jane", "POST", "/api/v1/namespaces/default/pods/x/eviction", {"metadata": {"name": "x"}}),
    ("jane", "POST", "/api/v1/namespaces/default/pods/x/binding", {"target": {"kind": "Node", "name": "a"}}),
    ("jane", "GET", "/api/v1/namespaces/default/pods/absent/log", None),
    ("jane", "GET", f"{APPS}/web", None),
    ("jane", "GET", f"{APPS}/web/scale", None),
    ("jane", "GET", f"{APPS}/other/scale", None),
    ("jane", "PATCH", f"{APPS}/web/status", {}),
    ("jane", "GET", "/apis/karpenter.sh/v1/nodepools", None),
    ("jane", "GET", "/version", None),
    ("jane", "GET", "/metrics", None),
    (ROBOT, "GET", "/api/v1/namespaces/default/pods/absent", None),
    (ROBOT, "GET", "/api/v1/namespaces/default/secrets", None),
    ("jane", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}}),
    # Nobody hands out more than they have.
    ("carl", "POST", ROLES, role("same", {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})),
    ("carl", "POST", ROLES, role("more", {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list", "delete"]})),
    ("carl", "POST", ROLES, role("named", {"apiGroups": ["apps", ""], "resources": ["deployments/scale"], "resourceNames": ["a", "b"], "verbs": ["patch"]})),
    ("carl", "PATCH", f"{ROLES}/same", {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
    ("carl", "PATCH", f"{ROLES}/same", {"metadata": {"finalizers": ["example.com/a"]}}),
    ("carl", "PATCH", f"{ROLES}/same", {"metadata": {"finalizers": None}}),
    ("carl", "POST", BINDINGS, binding("same", "Role", "same")),
    ("carl", "POST", BINDINGS, binding("reads", "Role", "reader")),
    ("carl", "POST", BINDINGS, binding("rules", "ClusterRole", "cluster-admin")),
    ("carl", "POST", BINDINGS, binding("nothing", "Role", "absent")),
    ("carl", "POST", f"{RBAC}/clusterroles", role("x")),
    ("jane", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}}}),
]  # fmt: skip


def answers(api):
    base = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    for plural, body in (("roles", ROLE), ("rolebindings", BINDING)):
        code, said = api.ask("POST", f"{base}/{plural}", body)
        assert code == 201, said
    for plural, body in (("clusterroles", CLERK), ("clusterrolebindings", CLERKS)):
        code, said = api.ask("POST", f"{RBAC}/{plural}", body)
        assert code == 201, said
    # The real one's authorizer sees a new role after a moment.
    first = REQUESTS[0]
    planes.until("the role", lambda: api.ask(first[1], first[2], None, "application/json", {"Impersonate-User": first[0]})[0] == 404)
    planes.until("the clerk", lambda: api.ask("GET", f"{ROLES}/absent", None, "application/json", {"Impersonate-User": "carl"})[0] == 404)
    found = []
    for who, verb, path, body in REQUESTS:
        kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        code, said = api.ask(verb, path, body, kind, {"Impersonate-User": who})
        if code < 400:
            # What those see who may is another comparison's question; a review's answer is this one's.
            said = said.get("status", {}) if "reviews" in path else "allowed"
        found.append(f"{who} {verb} {path}: {code} {said}")
    return found


def gathered(api):
    """What roles that gather others come to."""
    found = []
    for name in ("view", "edit", "admin"):
        path = f"{RBAC}/clusterroles/{name}"
        planes.until(f"rules of {name}", lambda: api.ask("GET", path)[1].get("rules"))
        rules = api.ask("GET", path)[1]["rules"]
        found.append(f"{name}: {sorted(str({key: rule[key] for key in sorted(rule)}) for rule in rules)}")
    return found


def compare(children, work, theirs):
    """Lines that differ. `theirs` is the real server's side."""
    mine = planes.ours(children, work, "--rbac", name="dryfit-rbac")
    for side in (theirs, mine):
        until_seen(side)
    both = [answers(side.client()) + gathered(side.client()) for side in (theirs, mine)]
    return [f"refusals:\n- {left}\n+ {right}" for left, right in zip(*both) if left != right]


def until_seen(side):
    planes.until(f"{side.name}: roles", lambda: len(side.client().items("/apis/rbac.authorization.k8s.io/v1/clusterroles")) > 50)
