Claims: bound at once to what is there, provisioned for a pod, waiting, released.

$ kubectl apply -f -
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: story-later}
provisioner: csi.example.com
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: story-now}
provisioner: csi.example.com
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: later}
spec: {accessModes: [ReadWriteOnce], storageClassName: story-later, resources: {requests: {storage: 2Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: now}
spec: {accessModes: [ReadWriteOnce], storageClassName: story-now, resources: {requests: {storage: 2Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nowhere}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 2Gi}}}
$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  containers: [{name: main, image: "app:1"}]
  volumes:
  - {name: a, persistentVolumeClaim: {claimName: later}}
  - {name: b, persistentVolumeClaim: {claimName: missing}}
$ kubectl apply -f -
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: missing}
spec: {accessModes: [ReadWriteOncePod], storageClassName: story-later, resources: {requests: {storage: 2Gi}}}
$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: second}
spec:
  containers: [{name: main, image: "app:1"}]
  volumes: [{name: b, persistentVolumeClaim: {claimName: missing}}]
---
apiVersion: v1
kind: Pod
metadata: {name: third}
spec:
  containers: [{name: main, image: "app:1"}]
  volumes: [{name: b, persistentVolumeClaim: {claimName: nowhere}}]
$ kubectl delete pvc later --wait=false
$ kubectl delete pod user --wait=false
$ kubectl apply -f -
apiVersion: v1
kind: Pod
metadata: {name: fourth}
spec:
  containers: [{name: main, image: "app:1"}]
  volumes:
  - name: own
    ephemeral:
      volumeClaimTemplate:
        metadata: {labels: {of: fourth}}
        spec: {accessModes: [ReadWriteOnce], storageClassName: story-later, resources: {requests: {storage: 1Gi}}}
$ kubectl delete pod fourth --wait=false
