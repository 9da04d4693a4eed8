A Job that completes, one that fails, one that is suspended, an indexed one.

$ kubectl apply -f -
apiVersion: batch/v1
kind: Job
metadata: {name: good}
spec:
  completions: 3
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "job:1", command: ["true"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 0
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "job:1", command: ["false"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: forever}
spec:
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "job:1"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: later}
spec:
  suspend: true
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "job:1", command: ["true"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: numbered}
spec:
  completions: 4
  parallelism: 2
  completionMode: Indexed
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "job:1", command: ["true"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: hasty}
spec:
  activeDeadlineSeconds: 6
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "job:1"}]}
$ settle 8s
$ kubectl patch job later --type merge -p '{"spec":{"suspend":false}}'
$ kubectl patch job forever --type merge -p '{"spec":{"parallelism":1}}'
$ kubectl delete job good forever
