A Parallel StatefulSet that begins at 5, with claims that go when it shrinks.

$ kubectl apply -f -
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: waits}
provisioner: csi.example.com
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: fast}
spec:
  serviceName: fast
  replicas: 3
  ordinals: {start: 5}
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}
  selector: {matchLabels: {app: fast}}
  template:
    metadata: {labels: {app: fast}}
    spec: {containers: [{name: main, image: "db:1", volumeMounts: [{name: data, mountPath: /data}]}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: waits, resources: {requests: {storage: 1Gi}}}
$ kubectl scale sts fast --replicas 2
$ kubectl delete sts fast
