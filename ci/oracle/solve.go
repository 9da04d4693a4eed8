package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/samber/lo"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/apis/v1alpha1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/logging"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	karpenter "sigs.k8s.io/karpenter/pkg/scheduling"
	nodepoolutils "sigs.k8s.io/karpenter/pkg/utils/nodepool"
	podutils "sigs.k8s.io/karpenter/pkg/utils/pod"
)

// Answer is what upstream would do.
type Answer struct {
	Claims []Claim             `json:"claims"`
	Nodes  map[string][]string `json:"nodes"`
	Errors map[string]string   `json:"errors"`
	Fixed  map[string]Claim    `json:"fixed"`
	// Zones has the pods that wait by effective zone, as Karpenter's metric says.
	Zones map[string]int `json:"zones"`
}

// Claim is a NodeClaim to create.
type Claim struct {
	Pool         string              `json:"pool"`
	Pods         []string            `json:"pods"`
	Types        []string            `json:"types"`
	Requirements map[string][]string `json:"requirements"`
	Requests     Resources           `json:"requests"`
	Labels       map[string]string   `json:"labels"`
	Relaxed      string              `json:"relaxed"`
	// Whether a price, or a resource, is an overlay's.
	Overlaid [2]string `json:"overlaid"`
}

func init() {
	log.SetLogger(logging.NopLogger)
	instance := []string{
		"hypervisor", "encryption-in-transit-supported", "category", "capability-flex", "family", "generation", "local-nvme", "size",
		"cpu", "cpu-manufacturer", "cpu-sustained-clock-speed-mhz", "memory", "ebs-bandwidth", "network-bandwidth", "gpu-name",
		"gpu-manufacturer", "gpu-count", "gpu-memory", "accelerator-name", "accelerator-manufacturer", "accelerator-count", "tenancy",
	}
	for _, name := range instance {
		v1.WellKnownLabels.Insert("karpenter.k8s.aws/instance-" + name)
	}
	v1.WellKnownLabels.Insert("topology.k8s.aws/zone-id", "karpenter.k8s.aws/capacity-reservation-id",
		"karpenter.k8s.aws/capacity-reservation-type", "karpenter.k8s.aws/capacity-reservation-interruptible",
		"karpenter.k8s.aws/placement-group-id", "karpenter.k8s.aws/placement-group-partition")
	v1.RestrictedLabelDomains.Insert("karpenter.k8s.aws")
	cloudprovider.ReservationIDLabel = "karpenter.k8s.aws/capacity-reservation-id"
}

func solve(world *World) (*Answer, error) {
	opts := world.options()
	ctx := options.ToContext(injection.WithControllerName(context.Background(), "provisioner"), opts)
	if world.Objects != nil {
		return provision(ctx, world)
	}
	cluster, kubeClient, err := buildCluster(ctx, world)
	if err != nil {
		return nil, err
	}
	nodePools := lo.FilterMap(world.Snapshot.Pools, func(p Pool, _ int) (*v1.NodePool, bool) { return p.nodePool(), p.Ready })
	instanceTypes, err := offeredTo(ctx, world, nodePools)
	if err != nil {
		return nil, err
	}
	pods := lo.Map(world.Snapshot.Pending, func(p Pod, _ int) *corev1.Pod { return p.pod("") })
	for _, node := range world.Snapshot.Nodes {
		for _, pod := range node.Pods {
			if node.Deleting && podutils.IsReschedulable(pod.pod(node.Name)) {
				pods = append(pods, pod.pod(node.Name))
			}
		}
	}
	// The first pod of a rule decides its details, and upstream takes the pods as the API server lists them: by name.
	sort.SliceStable(pods, func(i, j int) bool {
		return pods[i].Namespace < pods[j].Namespace || pods[i].Namespace == pods[j].Namespace && pods[i].Name < pods[j].Name
	})
	daemons := lo.Map(world.Snapshot.Daemons, func(d Daemon, _ int) *corev1.Pod { return d.Pod.pod("") })
	if len(pods) == 0 || len(nodePools) == 0 {
		return &Answer{Fixed: fixed(world)}, nil
	}
	results, err := run(ctx, world, kubeClient, cluster, nodePools, instanceTypes, pods, daemons, opts.MinValuesPolicy)
	if err != nil {
		return nil, err
	}
	made, err := answer(results.TruncateInstanceTypes(ctx, scheduling.MaxInstanceTypes))
	if err != nil {
		return nil, err
	}
	made.Zones, err = zones()
	if err != nil {
		return nil, err
	}
	made.Fixed = fixed(world)
	return made, nil
}

// offeredTo orders the pools by weight and gives each its instance types, with what NodeOverlays make of them.
func offeredTo(ctx context.Context, world *World, nodePools []*v1.NodePool) (map[string][]*cloudprovider.InstanceType, error) {
	nodepoolutils.OrderByWeight(nodePools)
	instanceTypes := map[string][]*cloudprovider.InstanceType{}
	for _, pool := range nodePools {
		for _, it := range world.Offerings[pool.Name] {
			instanceTypes[pool.Name] = append(instanceTypes[pool.Name], it.instanceType())
		}
	}
	return overlaid(ctx, world, nodePools, instanceTypes)
}

func run(ctx context.Context, world *World, kubeClient client.Client, cluster *state.Cluster, nodePools []*v1.NodePool,
	instanceTypes map[string][]*cloudprovider.InstanceType, pods, daemons []*corev1.Pod, policy options.MinValuesPolicy,
) (scheduling.Results, error) {
	scheduling.MaxInstanceTypes = world.Options.MaxInstanceTypes
	settings := []scheduling.Options{
		scheduling.DisableReservedCapacityFallback, scheduling.NumConcurrentReconciles(1), scheduling.MinValuesPolicy(policy),
	}
	if world.Options.PreferencePolicy == "Ignore" {
		settings = append(settings, scheduling.IgnorePreferences)
	}
	nodes := cluster.DeepCopyNodes().Active()
	topology, err := scheduling.NewTopology(ctx, kubeClient, cluster, nodes, nodePools, instanceTypes, pods, settings...)
	if err != nil {
		return scheduling.Results{}, err
	}
	scheduler := scheduling.NewScheduler(ctx, kubeClient, nodePools, cluster, nodes, topology, instanceTypes, daemons,
		events.NewRecorder(&record.FakeRecorder{}), clock.RealClock{}, volumeRequirements(world), nil, settings...)
	return scheduler.Solve(ctx, pods)
}

// volumeRequirements are what the provisioner finds out from claims and volumes before it schedules.
func volumeRequirements(world *World) map[types.UID][]karpenter.Requirements {
	made := map[types.UID][]karpenter.Requirements{}
	pods := world.Snapshot.Pending
	for _, node := range world.Snapshot.Nodes {
		pods = append(pods, node.Pods...)
	}
	for _, pod := range pods {
		for _, requirements := range pod.Volumes.Requirements {
			made[types.UID(pod.UID)] = append(made[types.UID(pod.UID)], requirements.scheduling())
		}
	}
	return made
}

// buildCluster feeds nodes, NodeClaims and bound pods to upstream's own cluster state.
func buildCluster(ctx context.Context, world *World) (*state.Cluster, client.Client, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, nil, err
	}
	byNode := func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }
	builder := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&corev1.Pod{}, "spec.nodeName", byNode)
	for _, namespace := range world.Snapshot.Namespaces {
		builder = builder.WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace.Name, Labels: namespace.Labels}})
	}
	storage := map[string]client.Object{}
	for _, pod := range world.Snapshot.Pending {
		for _, object := range pod.storage() {
			storage[fmt.Sprintf("%T %s/%s", object, object.GetNamespace(), object.GetName())] = object
		}
	}
	for _, node := range world.Snapshot.Nodes {
		builder = builder.WithObjects(node.node(), node.csiNode())
		for _, pod := range node.Pods {
			builder = builder.WithObjects(pod.pod(node.Name))
			for _, object := range pod.storage() {
				storage[fmt.Sprintf("%T %s/%s", object, object.GetNamespace(), object.GetName())] = object
			}
		}
	}
	builder = builder.WithObjects(lo.Values(storage)...)
	kubeClient := builder.Build()
	cluster := state.NewCluster(clock.RealClock{}, kubeClient, nil)
	for _, node := range world.Snapshot.Nodes {
		providerID := lo.FromPtrOr(node.ProviderID, node.Name)
		if node.NodeClaim != nil {
			claim := &v1.NodeClaim{ObjectMeta: metav1.ObjectMeta{Name: *node.NodeClaim, Labels: node.Labels}}
			claim.Spec.Taints = taints(node.Taints)
			claim.Status = v1.NodeClaimStatus{ProviderID: providerID, NodeName: node.Name, Capacity: node.Capacity.list(), Allocatable: node.Allocatable.list()}
			cluster.UpdateNodeClaim(claim)
		}
		if err := cluster.UpdateNode(ctx, node.node()); err != nil {
			return nil, nil, fmt.Errorf("node %s: %w", node.Name, err)
		}
		for _, pod := range node.Pods {
			if err := cluster.UpdatePod(ctx, pod.pod(node.Name)); err != nil {
				return nil, nil, fmt.Errorf("pod %s: %w", pod.Name, err)
			}
		}
		if node.Deleting {
			cluster.MarkForDeletion(providerID)
		}
	}
	return cluster, kubeClient, nil
}

func (n *Node) node() *corev1.Node {
	made := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}
	made.Spec = corev1.NodeSpec{ProviderID: lo.FromPtrOr(n.ProviderID, n.Name), Taints: taints(n.Taints)}
	made.Status = corev1.NodeStatus{Capacity: n.Capacity.list(), Allocatable: n.Allocatable.list()}
	return made
}

func names(pods []*corev1.Pod) []string {
	made := lo.Map(pods, func(p *corev1.Pod, _ int) string { return p.Namespace + "/" + p.Name })
	sort.Strings(made)
	return made
}

func answer(results scheduling.Results) (*Answer, error) {
	made := &Answer{Nodes: map[string][]string{}, Errors: map[string]string{}}
	for _, n := range results.NewNodeClaims {
		claim := n.ToNodeClaim()
		made.Claims = append(made.Claims, Claim{
			Pool:         n.NodePoolName,
			Pods:         names(n.Pods),
			Types:        lo.Map(n.InstanceTypeOptions, func(it *cloudprovider.InstanceType, _ int) string { return it.Name }),
			Requirements: written(claim.Spec.Requirements),
			Requests:     amounts(claim.Spec.Resources.Requests),
			Labels:       claim.Labels,
			Relaxed:      claim.Annotations[v1.NodeClaimMinValuesRelaxedAnnotationKey],
			Overlaid: [2]string{
				claim.Annotations[v1alpha1.PriceOverlayAppliedAnnotationKey], claim.Annotations[v1alpha1.CapacityOverlayAppliedAnnotationKey],
			},
		})
	}
	for _, node := range results.ExistingNodes {
		if len(node.Pods) > 0 {
			// A machine is called by its Node as soon as there is one.
			name := node.Name()
			if node.Node != nil {
				name = node.Node.Name
			}
			made.Nodes[name] = names(node.Pods)
		}
	}
	for pod, err := range results.PodErrors {
		made.Errors[pod.Namespace+"/"+pod.Name] = err.Error()
	}
	return made, nil
}

// zones reads the metric that Solve sets.
func zones() (map[string]int, error) {
	families, err := metrics.Registry.Gather()
	if err != nil {
		return nil, err
	}
	made := map[string]int{}
	for _, family := range families {
		if family.GetName() != "karpenter_scheduler_pending_pods_by_effective_zone_count" {
			continue
		}
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				if label.GetName() == "zone" {
					made[label.GetValue()] = int(metric.Gauge.GetValue())
				}
			}
		}
	}
	return made, nil
}

// written maps a key to its entries, each as one line of JSON.
func written(requirements []v1.NodeSelectorRequirementWithMinValues) map[string][]string {
	made := map[string][]string{}
	for _, r := range requirements {
		line := lo.Must(json.Marshal([]any{r.Operator, lo.Ternary(r.Values == nil, []string{}, r.Values), lo.FromPtr(r.MinValues)}))
		made[r.Key] = append(made[r.Key], string(line))
	}
	for _, lines := range made {
		sort.Strings(lines)
	}
	return made
}
