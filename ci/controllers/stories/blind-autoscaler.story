A HorizontalPodAutoscaler over pods that never run, so that nobody knows what they use.

$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: blind}
spec:
  selector: {matchLabels: {app: blind}}
  template:
    metadata: {labels: {app: blind}}
    spec:
      nodeSelector: {kubernetes.io/hostname: nowhere}
      containers: [{name: main, image: "php:1", resources: {requests: {cpu: 200m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: blind}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: blind}
  maxReplicas: 10
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
$ settle 20s
