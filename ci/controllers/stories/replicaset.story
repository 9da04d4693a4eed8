A ReplicaSet makes, loses and adopts pods.

$ kubectl apply -f -
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: set}
spec:
  replicas: 3
  minReadySeconds: 1
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec: {containers: [{name: main, image: "nginx:1"}]}
$ kubectl delete pod $(kubectl get pod -o name | head -1 | sed s,pod/,,) --wait=false
$ kubectl scale rs set --replicas 1
$ kubectl delete rs set --cascade=orphan
