//go:build test_performance

package scheduling_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/samber/lo"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	reqs "sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/karpenter/pkg/test"
)

// What the benchmark's own suite would declare.
var (
	ctx           context.Context
	cluster       *state.Cluster
	cloudProvider *fake.CloudProvider
)

type object = map[string]any

// TestDump solves upstream's own benchmark workload of BENCHMARK_PODS pods once, cold, and writes it to BENCHMARK_WORLD
// as the planner's input. The pods come from upstream's generator, with its seed.
func TestDump(t *testing.T) {
	count := lo.Must(strconv.Atoi(os.Getenv("BENCHMARK_PODS")))
	pods := makeDiversePods(count)
	pool := object{
		"name": "default", "uid": "default", "weight": 0, "ready": true, "node_class": "default", "labels": object{}, "annotations": object{},
		"taints": []any{}, "startup_taints": []any{}, "requirements": []any{}, "limits": object{}, "expire_after": nil,
		"termination_grace_period": nil, "hash": "1",
		"disruption": object{"consolidate_after": nil, "policy": "WhenEmptyOrUnderutilized", "budgets": []any{}},
	}
	types := lo.Map(fake.InstanceTypes(400), func(it *cloudprovider.InstanceType, _ int) object { return instanceType(it) })
	world := object{
		"snapshot":  object{"pools": []any{pool}, "nodes": []any{}, "pending": lo.Map(pods, func(p *corev1.Pod, _ int) object { return pod(p) }), "daemons": []any{}},
		"offerings": object{"default": types},
		"options": object{
			"preference_policy": "Respect", "min_values_policy": "Strict", "spot_to_spot_consolidation": false, "reserved_capacity": true,
			"max_instance_types": 600,
		},
	}
	lo.Must0(os.WriteFile(os.Getenv("BENCHMARK_WORLD"), lo.Must(json.Marshal(world)), 0o644))
	if os.Getenv("BENCHMARK_SOLVE") == "" {
		return
	}
	ctx = options.ToContext(injection.WithControllerName(context.Background(), "provisioner"), test.Options())
	// The first is cold and is the one whose time counts; the others show how far upstream's own price moves on one world.
	for range lo.Must(strconv.Atoi(lo.CoalesceOrEmpty(os.Getenv("BENCHMARK_TIMES"), "1"))) {
		start := time.Now()
		scheduler := lo.Must(setupScheduler(ctx, pods, scheduling.NumConcurrentReconciles(2)))
		results := lo.Must(scheduler.Solve(ctx, pods))
		took := time.Since(start)
		price := 0.0
		for _, claim := range results.NewNodeClaims {
			price += cheapest(claim)
		}
		fmt.Printf("upstream: %d pods in %.3f s, %d NodeClaims at $%.2f/h, %d pods refused\n",
			count, took.Seconds(), len(results.NewNodeClaims), price, len(results.PodErrors))
	}
}

func cheapest(claim *scheduling.NodeClaim) float64 {
	it := claim.InstanceTypeOptions.OrderByPrice(claim.Requirements)[0]
	return it.Offerings.Available().Compatible(claim.Requirements).Cheapest().Price
}

func amounts(list corev1.ResourceList) object {
	made := object{}
	for name, quantity := range list {
		made[string(name)] = lo.Ternary(name == corev1.ResourceCPU, quantity.MilliValue(), quantity.Value())
	}
	return made
}

func selector(from *metav1.LabelSelector) any {
	if from == nil {
		return nil
	}
	terms := []any{}
	for key, value := range from.MatchLabels {
		terms = append(terms, object{"key": key, "operator": "In", "values": []string{value}})
	}
	return terms
}

func pod(p *corev1.Pod) object {
	requests := amounts(p.Spec.Containers[0].Resources.Requests)
	requests["pods"] = 1
	spread := []any{}
	for _, c := range p.Spec.TopologySpreadConstraints {
		spread = append(spread, object{
			"key": c.TopologyKey, "max_skew": c.MaxSkew, "min_domains": c.MinDomains, "soft": c.WhenUnsatisfiable == corev1.ScheduleAnyway,
			"selector": selector(c.LabelSelector), "honor_affinity": true, "honor_taints": false,
		})
	}
	terms := func(list []corev1.PodAffinityTerm) object {
		required := lo.Map(list, func(t corev1.PodAffinityTerm, _ int) any {
			return object{"key": t.TopologyKey, "selector": selector(t.LabelSelector), "namespaces": []string{}, "namespace_selector": nil}
		})
		return object{"required": required, "preferred": []any{}}
	}
	near, apart := terms(nil), terms(nil)
	if affinity := p.Spec.Affinity; affinity != nil {
		if affinity.PodAffinity != nil {
			near = terms(affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		if affinity.PodAntiAffinity != nil {
			apart = terms(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
	}
	return object{
		"uid": p.UID, "namespace": p.Namespace, "name": p.Name, "created": "1970-01-01T00:00:00Z", "requests": requests, "selector": object{},
		"node_affinity": []any{}, "preferred_node_affinity": []any{}, "tolerations": []any{}, "host_ports": []any{}, "spread": spread,
		"pod_affinity": near, "pod_anti_affinity": apart, "labels": p.Labels, "owner": nil, "daemon": false, "do_not_disrupt": false,
		"priority": 0, "deletion_cost": 0.0, "terminating": false, "terminal": false, "undecided": []any{},
	}
}

// requirements of instance types and offerings have values or none; bounds do not occur.
func requirements(from reqs.Requirements) object {
	made := object{}
	for key, r := range from {
		values := r.Values()
		if values == nil {
			values = []string{}
		}
		complement := r.Operator() == corev1.NodeSelectorOpExists || r.Operator() == corev1.NodeSelectorOpNotIn
		made[key] = object{"key": key, "complement": complement, "values": values, "gte": nil, "lte": nil, "min_values": nil}
	}
	return made
}

func instanceType(it *cloudprovider.InstanceType) object {
	offerings := lo.Map(it.Offerings, func(o *cloudprovider.Offering, _ int) object {
		return object{
			"zone": o.Zone(), "zone_id": nil, "capacity_type": o.CapacityType(), "price": o.Price, "available": o.Available,
			"requirements": requirements(o.Requirements), "reservation_capacity": nil,
		}
	})
	return object{
		"name": it.Name, "requirements": requirements(it.Requirements), "capacity": amounts(it.Capacity),
		"allocatable": amounts(it.Allocatable()), "offerings": offerings,
	}
}
