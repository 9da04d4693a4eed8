Words of the scheduler: nothing fits, minDomains, node inclusion policies, affinity, ports.

$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: large}
spec: {containers: [{name: main, image: "app:1", resources: {requests: {cpu: "100"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: domains-1, labels: {app: domains}}
spec: &domains
  nodeSelector: {kubernetes.io/hostname: node-a}
  containers: [{name: main, image: "app:1"}]
  topologySpreadConstraints:
  - {maxSkew: 1, minDomains: 5, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: domains}}}
$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: picky}
spec:
  nodeSelector: {kubernetes.io/hostname: nowhere}
  containers: [{name: main, image: "app:1"}]
---
apiVersion: v1
kind: Pod
metadata: {name: port-1}
spec:
  nodeSelector: {kubernetes.io/hostname: node-a}
  containers: [{name: main, image: "app:1", ports: [{containerPort: 80, hostPort: 8080}]}]
$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: port-2}
spec:
  nodeSelector: {kubernetes.io/hostname: node-a}
  containers: [{name: main, image: "app:1", ports: [{containerPort: 80, hostPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: domains-2, labels: {app: domains}}
spec:
  nodeSelector: {kubernetes.io/hostname: node-a}
  containers: [{name: main, image: "app:1"}]
  topologySpreadConstraints:
  - {maxSkew: 1, nodeAffinityPolicy: Ignore, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: domains}}}
