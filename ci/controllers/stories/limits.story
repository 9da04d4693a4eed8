A LimitRange refuses, fills in, and says so in events.

$ kubectl apply -f -
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec:
  limits:
  - type: Container
    max: {memory: 1Gi}
    min: {memory: 100Mi}
    default: {memory: 512Mi, cpu: 200m}
    defaultRequest: {memory: 256Mi, cpu: 100m}
    maxLimitRequestRatio: {cpu: "2"}
$ kubectl apply -f -
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: fine}
spec:
  selector: {matchLabels: {app: fine}}
  template:
    metadata: {labels: {app: fine}}
    spec: {containers: [{name: main, image: "app:1"}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: large}
spec:
  selector: {matchLabels: {app: large}}
  template:
    metadata: {labels: {app: large}}
    spec: {containers: [{name: main, image: "app:1", resources: {limits: {memory: 2Gi}}}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: greedy}
spec:
  selector: {matchLabels: {app: greedy}}
  template:
    metadata: {labels: {app: greedy}}
    spec: {containers: [{name: main, image: "app:1", resources: {requests: {cpu: 100m}, limits: {cpu: 300m}}}]}
$ settle 12s
