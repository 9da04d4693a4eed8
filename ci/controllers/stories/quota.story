A quota over pods of a DaemonSet, over services and over storage: what is refused when it comes, and when it grows.

$ kubectl apply -f -
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {pods: "2", services.loadbalancers: "0"}}
$ kubectl apply -f -
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
$ kubectl patch quota small --type merge -p '{"spec":{"hard":{"pods":"3"}}}'
$ kubectl apply -f -
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: main, image: "agent:1"}]}
