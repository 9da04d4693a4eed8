The autoscaler of the workshop: one pod, then three, five, seven; without load seven for five minutes, then one.

$ kubectl apply -f -
apiVersion: apps/v1
kind: Deployment
metadata: {name: php}
spec:
  selector: {matchLabels: {run: php}}
  template:
    metadata: {labels: {run: php}}
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
$ settle 40s
$ kubectl annotate pods -l run=php usage.dryfit.dev/cpu=260m
$ settle 50s
$ kubectl annotate pods -l run=php usage.dryfit.dev/cpu=160m --overwrite
$ settle 60s
$ kubectl annotate pods -l run=php usage.dryfit.dev/cpu=137m --overwrite
$ settle 60s
$ kubectl annotate pods -l run=php usage.dryfit.dev/cpu=0 --overwrite
$ settle 240s
$ settle 120s
