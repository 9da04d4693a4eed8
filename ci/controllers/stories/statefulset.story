A StatefulSet in order: up, down, rolled with a partition, rolled whole, back, deleted.

$ kubectl apply -f -
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: "db:1"}]}
$ kubectl scale sts db --replicas 2
$ kubectl patch sts db --type merge -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":1}},"template":{"metadata":{"annotations":{"version":"2"}}}}}'
$ kubectl patch sts db --type merge -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}'
$ kubectl delete pod db-0 --wait=false
$ kubectl rollout undo sts/db
$ kubectl delete sts db
