Owners and what they own: in the foreground, orphaned, in the background; two owners, an owner that never was, one of another namespace.

$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}, finalizers: [example.com/hold]}
    spec: {containers: [{name: main, image: "app:1"}]}
$ kubectl delete deployment app --cascade=foreground --wait=false
$ kubectl get pods -o name | xargs -n1 kubectl patch --type merge -p '{"metadata":{"finalizers":null}}'
$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: main, image: "app:2"}]}
$ kubectl delete deployment app --cascade=orphan
$ kubectl delete rs -l app=app --cascade=background
$ kubectl create configmap first && kubectl create configmap second && kubectl create configmap child
$ kubectl patch configmap child --type merge -p "{\"metadata\":{\"ownerReferences\":[$(for one in first second; do echo "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"$one\",\"uid\":\"$(kubectl get configmap $one -o jsonpath={.metadata.uid})\"}"; done | paste -sd,)]}}"
$ kubectl delete configmap first
$ kubectl delete configmap second --cascade=foreground
$ kubectl apply -f -
apiVersion: v1
kind: ConfigMap
metadata: {name: foundling, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: nobody, uid: 00000000-0000-4000-8000-000000000000}]}
$ kubectl create configmap near
$ kubectl patch configmap near --type merge -p "{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"name\":\"default\",\"uid\":\"$(kubectl get serviceaccount default --namespace default -o jsonpath={.metadata.uid})\"}]}}"
$ kubectl create configmap unknown
$ kubectl patch configmap unknown --type merge -p '{"metadata":{"ownerReferences":[{"apiVersion":"example.com/v1","kind":"Nothing","name":"x","uid":"00000000-0000-4000-8000-000000000001"}]}}'
$ kubectl create clusterrole garbage-story --verb=get --resource=pods && kubectl patch clusterrole garbage-story --type merge -p "{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"unknown\",\"uid\":\"00000000-0000-4000-8000-000000000002\"}]}}"
$ kubectl get clusterrole garbage-story
