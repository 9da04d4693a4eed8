A kubelet falls silent and comes back before its pods' patience ends: nothing is deleted, and everything is ready again. Then it says itself that it is not ready, and the node is tainted by hand, and the taint is taken away in time.

$ kubectl apply -f -
apiVersion: v1
kind: Node
metadata: {name: returns, labels: {player: story-node-returns, kubernetes.io/os: linux, kubernetes.io/arch: arm64}}
spec: {taints: [{key: story, value: returns, effect: NoSchedule}]}
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
      nodeSelector: {player: story-node-returns}
      tolerations: [{key: story, value: returns}, {key: maintenance, operator: Exists, effect: NoExecute, tolerationSeconds: 100}]
      containers: [{name: main, image: "web:1"}]
$ kubectl annotate node returns silent=yes
$ settle 58s
$ kubectl annotate node returns silent-; sleep 6
$ kubectl annotate node returns unwell=yes
$ kubectl patch node returns --subresource status -p '{"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"container runtime is down"},{"type":"DiskPressure","status":"True"}]}}'; sleep 16
$ kubectl annotate node returns unwell-; sleep 6
$ kubectl taint node returns maintenance=now:NoExecute
$ kubectl taint node returns maintenance-
$ kubectl delete node returns; sleep 6
