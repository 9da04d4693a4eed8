A kubelet falls silent: its pods are told not ready, those that do not tolerate it are deleted and replaced, others stay. The node is then taken out of service, and deleted.
After: node-returns

$ kubectl apply -f -
apiVersion: v1
kind: Node
metadata: {name: lost, labels: {player: story-node-lost}}
spec: {taints: [{key: story, value: lost, effect: NoSchedule}]}
$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {player: story-node-lost}
      tolerations: [{key: story, value: lost}, {key: node.kubernetes.io/unreachable, effect: NoExecute, operator: Exists, tolerationSeconds: 4}]
      containers: [{name: main, image: "web:1"}]
$ kubectl apply -f -
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      nodeSelector: {player: story-node-lost}
      tolerations: [{key: story, value: lost}, {key: node.kubernetes.io/unreachable, effect: NoExecute, operator: Exists, tolerationSeconds: 8}]
      containers: [{name: main, image: "db:1"}]
$ kubectl apply -f -
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {player: story-node-lost}
      tolerations: [{key: story, value: lost}]
      containers: [{name: main, image: "agent:1"}]
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  nodeSelector: {player: story-node-lost}
  tolerations: [{key: story, value: lost}]
  containers: [{name: main, image: "alone:1"}]
---
apiVersion: v1
kind: Pod
metadata: {name: patient}
spec:
  nodeSelector: {player: story-node-lost}
  tolerations: [{operator: Exists}]
  containers: [{name: main, image: "patient:1"}]
$ kubectl annotate node lost silent=yes
$ settle 65s
$ kubectl taint node lost node.kubernetes.io/out-of-service=nodeshutdown:NoExecute; sleep 24
$ kubectl delete node lost; sleep 6
$ settle 60s
