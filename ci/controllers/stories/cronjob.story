A schedule of every minute: a Job each time, what it forgets, and suspension. Begins at twenty seconds past a minute, so that both sides see the same minutes.

$ sleep $(( (80 - $(date +%s) % 60) % 60 ))
$ kubectl apply -f -
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  successfulJobsHistoryLimit: 1
  jobTemplate:
    metadata: {labels: {app: tick}, annotations: {note: one}}
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: "tick:1", command: ["true"]}]
$ sleep 50
$ sleep 55
$ kubectl patch cronjob tick --type merge -p '{"spec":{"suspend":true}}'
$ kubectl delete cronjob tick
