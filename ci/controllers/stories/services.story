Services: their slices and endpoints as pods come, are not ready, and go.

$ kubectl apply -f -
apiVersion: v1
kind: Service
metadata: {name: web, labels: {tier: front}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}, {name: admin, port: 81, targetPort: 8081}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {clusterIP: None, selector: {app: nobody}, ports: [{port: 80}]}
$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web}}
spec: {containers: [{name: main, image: "app:1", ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: web}, annotations: {ready: "false"}}
spec: {containers: [{name: main, image: "app:1", ports: [{name: web, containerPort: 8080}]}]}
$ kubectl label pod one app=other --overwrite
$ kubectl delete svc web
