package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/awslabs/operatorpkg/status"
	"github.com/samber/lo"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

// EC2NodeClass stands for the kind that NodePools refer to; nothing of it is read.
type EC2NodeClass struct {
	metav1.TypeMeta
	metav1.ObjectMeta
}

func (in *EC2NodeClass) DeepCopyObject() runtime.Object {
	return &EC2NodeClass{TypeMeta: in.TypeMeta, ObjectMeta: *in.ObjectMeta.DeepCopy()}
}
func (in *EC2NodeClass) GetConditions() []status.Condition { return nil }
func (in *EC2NodeClass) SetConditions([]status.Condition)  {}
func (in *EC2NodeClass) StatusConditions(...status.ForOption) status.ConditionSet {
	return status.NewReadyConditions().For(in)
}

func init() {
	group := schema.GroupVersion{Group: "karpenter.k8s.aws", Version: "v1"}
	clientgoscheme.Scheme.AddKnownTypes(group, &EC2NodeClass{})
}

func (o *offered) GetSupportedNodeClasses() []status.Object { return []status.Object{&EC2NodeClass{}} }
func (o *offered) Name() string                             { return "offered" }

// told keeps what is said of pods that have no place.
type told struct {
	sync.Mutex
	pods map[string]string
}

// Publish takes events.
func (t *told) Publish(published ...events.Event) {
	t.Lock()
	defer t.Unlock()
	for _, event := range published {
		pod, ok := event.InvolvedObject.(*corev1.Pod)
		if words, failed := strings.CutPrefix(event.Message, "Failed to schedule pod, "); ok && failed && event.Reason == events.FailedScheduling {
			t.pods[pod.Namespace+"/"+pod.Name] = words
		}
	}
}

func blank(kind string) (client.Object, error) {
	switch kind {
	case "Pod":
		return &corev1.Pod{}, nil
	case "Node":
		return &corev1.Node{}, nil
	case "Namespace":
		return &corev1.Namespace{}, nil
	case "PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}, nil
	case "PersistentVolume":
		return &corev1.PersistentVolume{}, nil
	case "StorageClass":
		return &storagev1.StorageClass{}, nil
	case "CSINode":
		return &storagev1.CSINode{}, nil
	case "DaemonSet":
		return &appsv1.DaemonSet{}, nil
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}, nil
	case "NodePool":
		return &v1.NodePool{}, nil
	case "NodeClaim":
		return &v1.NodeClaim{}, nil
	}
	return nil, fmt.Errorf("kind %q is not read here", kind)
}

func read(texts []json.RawMessage) ([]client.Object, error) {
	var made []client.Object
	for _, text := range texts {
		var kind metav1.TypeMeta
		if err := json.Unmarshal(text, &kind); err != nil {
			return nil, err
		}
		object, err := blank(kind.Kind)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, object); err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		made = append(made, object)
	}
	return made, nil
}

// provision asks upstream's provisioner about a cluster that is given as objects of the API server.
func provision(ctx context.Context, world *World) (*Answer, error) {
	objects, err := read(world.Objects)
	if err != nil {
		return nil, err
	}
	index := func(of func(client.Object) string) client.IndexerFunc {
		return func(o client.Object) []string { return []string{of(o)} }
	}
	kubeClient := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).
		WithIndex(&corev1.Pod{}, "spec.nodeName", index(func(o client.Object) string { return o.(*corev1.Pod).Spec.NodeName })).
		WithIndex(&corev1.Node{}, "spec.providerID", index(func(o client.Object) string { return o.(*corev1.Node).Spec.ProviderID })).
		WithIndex(&v1.NodeClaim{}, "status.providerID", index(func(o client.Object) string { return o.(*v1.NodeClaim).Status.ProviderID })).
		WithInterceptorFuncs(interceptor.Funcs{Get: rooted}).
		Build()
	nodePools := lo.FilterMap(objects, func(o client.Object, _ int) (*v1.NodePool, bool) { pool, ok := o.(*v1.NodePool); return pool, ok })
	instanceTypes, err := offeredTo(ctx, world, nodePools)
	if err != nil {
		return nil, err
	}
	cloud := &offered{types: instanceTypes}
	cluster := state.NewCluster(clock.RealClock{}, kubeClient, cloud)
	if err := fill(ctx, cluster, objects); err != nil {
		return nil, err
	}
	if !cluster.Synced(ctx) {
		return nil, fmt.Errorf("upstream's cluster state is not synced")
	}
	scheduling.MaxInstanceTypes = world.Options.MaxInstanceTypes
	recorder := &told{pods: map[string]string{}}
	results, err := provisioning.NewProvisioner(kubeClient, recorder, cloud, cluster, clock.RealClock{}, nil, nil).Schedule(ctx)
	if err != nil {
		return nil, err
	}
	made, err := answer(results)
	if err != nil {
		return nil, err
	}
	// Who is refused before anything is planned is told so, and nothing else knows.
	for pod, words := range recorder.pods {
		if _, known := made.Errors[pod]; !known {
			made.Errors[pod] = words
		}
	}
	if len(results.NewNodeClaims)+len(results.ExistingNodes)+len(results.PodErrors) > 0 {
		made.Zones, err = zones()
	}
	if err != nil {
		return nil, err
	}
	made.Fixed = map[string]Claim{}
	for _, pool := range nodePools {
		made.Fixed[pool.Name] = fixedClaim(pool)
	}
	return made, nil
}

// rooted forgets a namespace where a kind has none, as API servers do and the fake client does not.
func rooted(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if _, ok := object.(*corev1.PersistentVolume); ok {
		key.Namespace = ""
	}
	return c.Get(ctx, key, object, opts...)
}

// fill tells upstream's cluster state what its watches would: NodeClaims first, then Nodes, then the rest as it was given.
func fill(ctx context.Context, cluster *state.Cluster, objects []client.Object) error {
	rank := func(o client.Object) int {
		switch o.(type) {
		case *v1.NodeClaim:
			return 0
		case *corev1.Node:
			return 1
		default:
			return 2
		}
	}
	sort.SliceStable(objects, func(i, j int) bool { return rank(objects[i]) < rank(objects[j]) })
	for _, object := range objects {
		var err error
		switch o := object.DeepCopyObject().(type) {
		case *v1.NodeClaim:
			cluster.UpdateNodeClaim(o)
		case *corev1.Node:
			err = cluster.UpdateNode(ctx, o)
		case *corev1.Pod:
			err = cluster.UpdatePod(ctx, o)
		case *appsv1.DaemonSet:
			err = cluster.UpdateDaemonSet(ctx, o)
		}
		if err != nil {
			return fmt.Errorf("%T %s: %w", object, object.GetName(), err)
		}
	}
	return nil
}

func (w *World) options() *options.Options {
	made := &options.Options{
		IgnoreDRARequests: true, CPURequests: 1000, FeatureGates: options.FeatureGates{ReservedCapacity: w.Options.ReservedCapacity},
		MinValuesPolicy: options.MinValuesPolicyStrict, PreferencePolicy: options.PreferencePolicyRespect,
	}
	if w.Options.MinValuesPolicy == "BestEffort" {
		made.MinValuesPolicy = options.MinValuesPolicyBestEffort
	}
	if w.Options.PreferencePolicy == "Ignore" {
		made.PreferencePolicy = options.PreferencePolicyIgnore
	}
	return made
}
