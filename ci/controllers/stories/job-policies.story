Limits per index, policies of failure, and policies of success.

$ kubectl apply -f -
apiVersion: batch/v1
kind: Job
metadata: {name: indexed}
spec:
  completionMode: Indexed
  completions: 3
  parallelism: 1
  backoffLimitPerIndex: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "job:1", command: ["false"]}]
$ kubectl apply -f -
apiVersion: batch/v1
kind: Job
metadata: {name: limited}
spec:
  completionMode: Indexed
  completions: 4
  parallelism: 1
  backoffLimitPerIndex: 0
  maxFailedIndexes: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "job:1", command: ["false"]}]
$ kubectl apply -f -
apiVersion: batch/v1
kind: Job
metadata: {name: again}
spec:
  completionMode: Indexed
  completions: 1
  parallelism: 1
  backoffLimitPerIndex: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "job:1", command: ["false"]}]
$ settle 15s
$ kubectl apply -f -
apiVersion: batch/v1
kind: Job
metadata: {name: fatal}
spec:
  backoffLimit: 4
  podFailurePolicy:
    rules:
    - action: FailJob
      onExitCodes: {containerName: main, operator: In, values: [1, 42]}
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "job:1", command: ["false"]}]
$ kubectl apply -f -
apiVersion: batch/v1
kind: Job
metadata: {name: first}
spec:
  completionMode: Indexed
  completions: 3
  parallelism: 1
  successPolicy:
    rules: [{succeededIndexes: "0"}]
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "job:1", command: ["true"]}]
