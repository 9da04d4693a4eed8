A DaemonSet on three nodes, rolled, then kept from two of them.

$ kubectl apply -f -
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: main, image: "agent:1"}]}
$ kubectl set image ds/agent main=agent:2
$ kubectl patch ds agent --type merge -p '{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node-b"}}}}}'
$ kubectl delete ds agent
