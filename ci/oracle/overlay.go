package main

import (
	"context"
	"fmt"
	"strings"

	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/apis/v1alpha1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeoverlay"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
)

// offered is a cloud that has instance types and nothing else.
type offered struct {
	cloudprovider.CloudProvider
	types map[string][]*cloudprovider.InstanceType
}

func (o *offered) GetInstanceTypes(_ context.Context, pool *v1.NodePool) ([]*cloudprovider.InstanceType, error) {
	return o.types[pool.Name], nil
}

func (o *Overlay) overlay() *v1alpha1.NodeOverlay {
	made := &v1alpha1.NodeOverlay{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
	made.Spec.Weight = &o.Weight
	for _, key := range sortedKeys(o.Requirements) {
		for _, entry := range o.Requirements[key].poolEntries() {
			made.Spec.Requirements = append(made.Spec.Requirements, v1alpha1.NodeSelectorRequirement{
				Key: entry.Key, Operator: entry.Operator, Values: entry.Values,
			})
		}
	}
	if o.Price != nil && strings.ContainsAny((*o.Price)[:1], "+-") {
		made.Spec.PriceAdjustment = o.Price
	} else {
		made.Spec.Price = o.Price
	}
	if len(o.Capacity) > 0 {
		made.Spec.Capacity = o.Capacity.list()
	}
	return made
}

// overlaid asks upstream's own controller what the overlays make of the instance types.
func overlaid(ctx context.Context, world *World, pools []*v1.NodePool, types map[string][]*cloudprovider.InstanceType,
) (map[string][]*cloudprovider.InstanceType, error) {
	if len(world.Overlays) == 0 {
		return types, nil
	}
	builder := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithStatusSubresource(&v1alpha1.NodeOverlay{})
	for _, pool := range pools {
		builder = builder.WithObjects(pool.DeepCopy())
	}
	for i := range world.Overlays {
		builder = builder.WithObjects(world.Overlays[i].overlay())
	}
	kubeClient := builder.Build()
	store := nodeoverlay.NewInstanceTypeStore()
	cluster := state.NewCluster(clock.RealClock{}, kubeClient, nil)
	controller := nodeoverlay.NewController(clock.RealClock{}, kubeClient, &offered{types: types}, store, cluster)
	if _, err := controller.Reconcile(ctx, reconcile.Request{}); err != nil {
		return nil, fmt.Errorf("overlays: %w", err)
	}
	made := map[string][]*cloudprovider.InstanceType{}
	for name, its := range types {
		applied, err := store.ApplyAll(name, its)
		if err != nil {
			return nil, fmt.Errorf("overlays of %s: %w", name, err)
		}
		made[name] = applied
	}
	return made, nil
}

// fixed is the NodeClaim that each pool would get if its size were fixed.
func fixed(world *World) map[string]Claim {
	made := map[string]Claim{}
	for _, pool := range world.Snapshot.Pools {
		made[pool.Name] = fixedClaim(pool.nodePool())
	}
	return made
}

func fixedClaim(pool *v1.NodePool) Claim {
	nodePool := pool.DeepCopy()
	one := int64(1)
	nodePool.Spec.Replicas = &one
	claim := scheduling.NewNodeClaimTemplate(nodePool).ToNodeClaim()
	return Claim{
		Pool: pool.Name, Pods: []string{}, Types: []string{}, Requirements: written(claim.Spec.Requirements),
		Requests: amounts(claim.Spec.Resources.Requests), Labels: claim.Labels,
	}
}
