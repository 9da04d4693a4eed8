#!/usr/bin/env python3
"""Writes src/fake-kube/tests/replay/kinds.json: for every kind with a spec of its own one object through its life, as clients do it.

Replies that were recorded for the same steps are kept. When a step is another, none is, and `cargo run -p fake-kube --example record_replies -- URL TOKEN src/fake-kube/tests/replay/kinds.json` asks a fresh kube-apiserver. Steps that
differ and may are marked by hand in DIFFERS below.
"""

import json
import pathlib

FILE = pathlib.Path(__file__).resolve().parents[2] / "src/fake-kube/tests/replay/kinds.json"
POD = {"containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "100m"}}}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": POD}
ENDING = {"metadata": {"labels": {"a": "b"}}, "spec": {**POD, "restartPolicy": "Never"}}
CA = "Cg=="
WEBHOOK = {"name": "a.example.com", "clientConfig": {"service": {"namespace": "default", "name": "w"}, "caBundle": CA}, "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]}
RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
# Path (NS where the namespace goes), object, a merge patch; and an object that is refused.
KINDS = [
    ("/api/v1/namespaces", {}, {"metadata": {"labels": {"x": "y"}}}, {"metadata": {"name": "Upper"}}),
    ("/api/v1/nodes", {"spec": {"providerID": "a:///b"}}, {"spec": {"unschedulable": True}}, {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}),
    ("/api/v1/NS/services", {"spec": {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}}, {"spec": {"selector": {"a": "c"}}}, {"spec": {"clusterIP": "None", "ports": [{"port": 80}, {"port": 81}]}}),
    ("/api/v1/NS/endpoints", {"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80}]}]}, {"subsets": None}, {"subsets": "x"}),
    ("/api/v1/NS/configmaps", {"data": {"a": "b"}}, {"data": {"c": "d"}}, {"data": {"a/b": "c"}}),
    ("/api/v1/NS/secrets", {"type": "helm.sh/release.v1", "stringData": {"release": "abc"}}, {"metadata": {"labels": {"status": "superseded"}}}, {"data": {"a": "%"}}),
    ("/api/v1/NS/serviceaccounts", {"automountServiceAccountToken": False}, {"imagePullSecrets": [{"name": "s"}]}, {"secrets": "x"}),
    ("/api/v1/persistentvolumes", {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "v"}}}, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, {"spec": {"capacity": {"storage": "1Gi"}}}),
    ("/api/v1/NS/persistentvolumeclaims", {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "s", "resources": {"requests": {"storage": "1Gi"}}}}, {"metadata": {"labels": {"x": "y"}}}, {"spec": {}}),
    ("/api/v1/NS/replicationcontrollers", {"spec": {"selector": {"a": "b"}, "template": TEMPLATE}}, {"spec": {"replicas": 3}}, {"spec": {"selector": {"a": "c"}, "template": TEMPLATE}}),
    ("/api/v1/NS/limitranges", {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}, {"spec": {"limits": []}}, {"spec": {"limits": [{"type": "Pod", "default": {"cpu": "1"}}]}}),
    ("/api/v1/NS/resourcequotas", {"spec": {"hard": {"pods": "100"}}}, {"spec": {"hard": {"secrets": "500"}}}, {"spec": {"hard": {"pods": "-1"}}}),
    ("/api/v1/NS/podtemplates", {"template": TEMPLATE}, {"metadata": {"labels": {"x": "y"}}}, {"template": {"spec": {"containers": []}}}),
    ("/apis/apps/v1/NS/deployments", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}, {"spec": {"replicas": 3}}, {"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": TEMPLATE}}),
    ("/apis/apps/v1/NS/replicasets", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}, {"spec": {"replicas": 3}}, {"spec": {"replicas": -1, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}),
    ("/apis/apps/v1/NS/daemonsets", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}, {"spec": {"minReadySeconds": 3}}, {"spec": {"selector": {}, "template": TEMPLATE}}),
    ("/apis/apps/v1/NS/statefulsets", {"spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}, {"spec": {"replicas": 3}}, {"spec": {"serviceName": "s", "podManagementPolicy": "Never", "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}),
    ("/apis/apps/v1/NS/controllerrevisions", {"revision": 1, "data": {"a": "b"}}, {"revision": 2}, {"revision": -1, "data": {"a": "b"}}),
    ("/apis/batch/v1/NS/jobs", {"spec": {"template": ENDING}}, {"spec": {"suspend": True}}, {"spec": {"template": TEMPLATE}}),
    ("/apis/batch/v1/NS/cronjobs", {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": ENDING}}}}, {"spec": {"suspend": True}}, {"spec": {"schedule": "* * *", "jobTemplate": {"spec": {"template": ENDING}}}}),
    ("/apis/policy/v1/NS/poddisruptionbudgets", {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}}, {"spec": {"maxUnavailable": "50%"}}, {"spec": {"maxUnavailable": 1, "minAvailable": 1}}),
    ("/apis/coordination.k8s.io/v1/NS/leases", {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}}, {"spec": {"holderIdentity": "you"}}, {"spec": {"leaseDurationSeconds": 0}}),
    ("/apis/storage.k8s.io/v1/storageclasses", {"provisioner": "ebs.csi.aws.com"}, {"allowVolumeExpansion": True}, {"provisioner": "a b"}),
    ("/apis/storage.k8s.io/v1/csinodes", {"spec": {"drivers": [{"name": "ebs.csi.aws.com", "nodeID": "i-1", "topologyKeys": ["z"], "allocatable": {"count": 25}}]}}, {"metadata": {"labels": {"x": "y"}}}, {"spec": {"drivers": [{"name": "d", "nodeID": "", "topologyKeys": []}]}}),
    ("/apis/storage.k8s.io/v1/volumeattachments", {"spec": {"attacher": "ebs.csi.aws.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}}, {"metadata": {"labels": {"x": "y"}}}, {"spec": {"attacher": "a", "nodeName": "n", "source": {}}}),
    ("/apis/storage.k8s.io/v1/csidrivers", {"spec": {"attachRequired": True}}, {"metadata": {"labels": {"x": "y"}}}, {"metadata": {"name": "-"}, "spec": {}}),
    ("/apis/storage.k8s.io/v1/NS/csistoragecapacities", {"storageClassName": "s", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"z": "a"}}}, {"capacity": "2Gi"}, {"storageClassName": "", "capacity": "1Gi"}),
    ("/apis/scheduling.k8s.io/v1/priorityclasses", {"value": 10}, {"description": "x"}, {"value": 2000000000}),
    ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "runsc", "overhead": {"podFixed": {"cpu": "10m"}}}, {"metadata": {"labels": {"x": "y"}}}, {"handler": "A B"}),
    ("/apis/discovery.k8s.io/v1/NS/endpointslices", {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.1.1"]}], "ports": [{"port": 80}]}, {"endpoints": []}, {"addressType": "IPv5", "endpoints": []}),
    ("/apis/autoscaling/v2/NS/horizontalpodautoscalers", {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}, {"spec": {"minReplicas": 2}}, {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 0}}),
    ("/apis/rbac.authorization.k8s.io/v1/NS/roles", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}, {"metadata": {"labels": {"x": "y"}}}, {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
    ("/apis/rbac.authorization.k8s.io/v1/NS/rolebindings", {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "default"}]}, {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "other"}}, {"roleRef": {"kind": "Thing", "name": "x"}}),
    ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}, {"metadata": {"labels": {"x": "y"}}}, {"rules": [{"apiGroups": [""], "verbs": ["get"]}]}),
    ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "Group", "name": "g"}]}, {"subjects": []}, {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}}),
    ("/apis/networking.k8s.io/v1/NS/networkpolicies", {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}}, {"spec": {"egress": [{}]}}, {"spec": {"podSelector": {}, "policyTypes": ["Sideways"]}}),
    ("/apis/networking.k8s.io/v1/NS/ingresses", {"spec": {"rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}, {"spec": {"ingressClassName": "alb"}}, {"spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
    ("/apis/networking.k8s.io/v1/ingressclasses", {"spec": {"controller": "example.com/c"}}, {"metadata": {"labels": {"x": "y"}}}, {"spec": {"controller": ""}}),
    ("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", {"webhooks": [WEBHOOK]}, {"webhooks": []}, {"webhooks": [{**WEBHOOK, "sideEffects": "Some"}]}),
    ("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {"webhooks": [WEBHOOK]}, {"webhooks": []}, {"webhooks": [{**WEBHOOK, "name": "a"}]}),
    ("/apis/storage.k8s.io/v1/volumeattributesclasses", {"driverName": "ebs.csi.aws.com", "parameters": {"iops": "4000"}}, {"parameters": {"iops": "5000"}}, {"driverName": "a b", "parameters": {}}),
    ("/apis/networking.k8s.io/v1/ipaddresses", {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}}, {"spec": {"parentRef": {"name": "other"}}}, {"spec": {"parentRef": {"resource": "", "name": "a/b"}}}),
    ("/apis/networking.k8s.io/v1/servicecidrs", {"spec": {"cidrs": ["10.101.0.0/24"]}}, {"spec": {"cidrs": ["10.102.0.0/24"]}}, {"spec": {"cidrs": []}}),
    ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", {"spec": {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "object.spec.replicas <= 5"}]}}, {"spec": {"failurePolicy": "Ignore"}}, {"spec": {"failurePolicy": "Sometimes"}}),
    ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", {"spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}}}, {"spec": {"validationActions": ["Warn"]}}, {"spec": {"paramRef": {}, "validationActions": ["Never"]}}),
]  # fmt: skip
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
NAME = "probe"
# Of kinds whose names say something.
NAMES = {"ipaddresses": "10.100.9.9"}
# What is asked of each, by the number of the step within its kind.
NULL = "no limits at all stand there as null"
PARTIAL_SET = "rows and partial objects there are without the annotation that a conversion adds"
DIFFERS = {
    ("namespaces", 8): "a Namespace's finalizers come with its creation and are nobody's field there",
    ("namespaces", 14): "its controller runs inside: an empty namespace is gone at once",
    ("limitranges", 7): NULL,
    ("limitranges", 8): NULL,
    ("limitranges", 10): NULL,
    ("daemonsets", 4): PARTIAL_SET,
    ("daemonsets", 5): PARTIAL_SET,
    ("daemonsets", 11): PARTIAL_SET,
    ("controllerrevisions", 8): "a revision's data is one field there",
}


def life(path, body, patch, bad):
    base = path.replace("NS", "namespaces/default")
    name = NAMES.get(base.rsplit("/", 1)[1], NAME)
    one = f"{base}/{name}"
    named = {**body, "metadata": {"name": name, "labels": {"probe": "yes"}, **body.get("metadata", {})}}
    merge = {"type": "application/merge-patch+json"}
    yield {"do": f"POST {base}", "body": {"metadata": {"name": "bad"}, **bad}}
    yield {"do": f"POST {base}?dryRun=All&fieldValidation=Strict", "body": {**named, "nonsense": 1}}
    yield {"do": f"POST {base}", "body": named}
    yield {"do": f"POST {base}", "body": named}
    yield {"do": f"GET {base}?labelSelector=probe%3Dyes&limit=500", "accept": TABLE}
    yield {"do": f"GET {base}?labelSelector=probe%3Dyes&resourceVersion=0", "accept": PARTIAL}
    yield {"do": f"PATCH {one}", "body": patch, **merge}
    yield {"do": f"PATCH {one}", "body": {"metadata": {"labels": {"probe": "no"}, "annotations": {"example.com/a": "b"}}}, "type": "application/strategic-merge-patch+json"}
    yield {"do": f"PATCH {one}?fieldManager=helm&force=true", "body": {"apiVersion": version(base), "kind": KIND[base.rsplit("/", 1)[1]], "metadata": {"name": name, "labels": {"owner": "helm"}}}, "type": "application/apply-patch+yaml", "managed": True}
    yield {"do": f"PUT {one}", "body": {**named, "metadata": {**named["metadata"], "resourceVersion": "1"}}}
    yield {"do": f"GET {one}"}
    yield {"do": f"GET {one}", "accept": TABLE}
    yield {"do": f"DELETE {one}", "body": {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "wrong"}}}
    yield {"do": f"DELETE {one}?propagationPolicy=Background&gracePeriodSeconds=0"}
    yield {"do": f"GET {one}"}


def version(base):
    parts = base.split("/")
    return parts[2] if parts[1] == "api" else f"{parts[2]}/{parts[3]}"


KIND = dict(line.split() for line in """
namespaces Namespace
nodes Node
services Service
endpoints Endpoints
configmaps ConfigMap
secrets Secret
serviceaccounts ServiceAccount
persistentvolumes PersistentVolume
persistentvolumeclaims PersistentVolumeClaim
replicationcontrollers ReplicationController
limitranges LimitRange
resourcequotas ResourceQuota
podtemplates PodTemplate
deployments Deployment
replicasets ReplicaSet
daemonsets DaemonSet
statefulsets StatefulSet
controllerrevisions ControllerRevision
jobs Job
cronjobs CronJob
poddisruptionbudgets PodDisruptionBudget
leases Lease
storageclasses StorageClass
csinodes CSINode
volumeattachments VolumeAttachment
csidrivers CSIDriver
csistoragecapacities CSIStorageCapacity
priorityclasses PriorityClass
runtimeclasses RuntimeClass
endpointslices EndpointSlice
horizontalpodautoscalers HorizontalPodAutoscaler
roles Role
rolebindings RoleBinding
clusterroles ClusterRole
clusterrolebindings ClusterRoleBinding
networkpolicies NetworkPolicy
ingresses Ingress
ingressclasses IngressClass
mutatingwebhookconfigurations MutatingWebhookConfiguration
validatingwebhookconfigurations ValidatingWebhookConfiguration
volumeattributesclasses VolumeAttributesClass
ipaddresses IPAddress
servicecidrs ServiceCIDR
validatingadmissionpolicies ValidatingAdmissionPolicy
validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding
""".strip().splitlines())


def main():
    steps = []
    for row in KINDS:
        plural = row[0].rsplit("/", 1)[1]
        for number, step in enumerate(life(*row)):
            if reason := DIFFERS.get((plural, number)):
                step["differs"] = reason
            steps.append(step)
    about = "One object of every kind through its life, as clients do it; written by ci/generate/replay_kinds.py."
    answers = ("code", "reply")
    recorded = json.loads(FILE.read_text())["steps"] if FILE.exists() else []
    # A reply depends on all steps before it. The reason of a difference is no part of the question.
    asked = lambda step: {key: value for key, value in step.items() if key not in (*answers, "differs")}
    if [asked(step) for step in recorded] == [asked(step) for step in steps]:
        steps = [{**step, **{key: old[key] for key in answers if key in old}} for step, old in zip(steps, recorded)]
    else:
        print("the steps are others: their replies have to be recorded anew")
    line = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    FILE.write_text(f'{{"about":{line(about)},"steps":[\n' + ",\n".join(line(step) for step in steps) + "\n]}\n")
    print(len(steps), "steps")


main()
