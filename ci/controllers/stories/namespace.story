A namespace ends: what is in it goes, what has a finalizer is waited for, and nothing new comes in.

$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: main, image: "app:1"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: held, finalizers: [example.com/hold]}
---
apiVersion: v1
kind: Secret
metadata: {name: held, finalizers: [example.com/hold, example.com/other]}
$ kubectl delete namespace story-namespace --wait=false; sleep 15
$ kubectl create configmap late 2>&1 | grep -F 'configmaps "late" is forbidden: unable to create new content in namespace story-namespace because it is being terminated'
$ kubectl patch secret held --type merge -p '{"metadata":{"finalizers":null}}'; sleep 12
$ kubectl patch configmap held --type merge -p '{"metadata":{"finalizers":null}}'; sleep 12
