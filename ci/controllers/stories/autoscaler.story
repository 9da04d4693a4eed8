A HorizontalPodAutoscaler under load, without load, with a behaviour that lets it shrink after 20 s.

$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: php}
spec:
  replicas: 1
  selector: {matchLabels: {app: php}}
  template:
    metadata: {labels: {app: php}}
    spec: {containers: [{name: main, image: "php:1", resources: {requests: {cpu: 200m}}}]}
$ settle 20s
$ kubectl apply -f -
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: php}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: php}
  minReplicas: 1
  maxReplicas: 10
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 20}}
$ kubectl annotate pods -l app=php usage.dryfit.dev/cpu=240m
$ settle 50s
$ kubectl annotate pods -l app=php usage.dryfit.dev/cpu=10m --overwrite
$ settle 70s
