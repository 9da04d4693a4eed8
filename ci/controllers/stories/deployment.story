A Deployment comes up, is scaled, rolled, paused, rolled back and deleted.

$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "nginx:1", resources: {requests: {cpu: 10m}}}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 50%, selector: {matchLabels: {app: web}}}
$ kubectl scale deployment web --replicas 5
$ kubectl set image deployment/web main=nginx:2
$ kubectl rollout undo deployment/web
$ kubectl patch deployment web --type merge -p '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null},"template":{"metadata":{"annotations":{"a":"b"}}}}}'
$ kubectl scale deployment web --replicas 1
$ kubectl delete deployment web
