package main

import (
	"encoding/json"
	"math"
	"path"
	"sort"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/scheduling"
)

// The planner's input, as far as scheduling reads it, or in place of the snapshot the objects that it was made from.
type World struct {
	Objects   []json.RawMessage         `json:"objects"`
	Snapshot  Snapshot                  `json:"snapshot"`
	Offerings map[string][]InstanceType `json:"offerings"`
	Options   Options                   `json:"options"`
	Overlays  []Overlay                 `json:"overlays"`
}

// Overlay is a NodeOverlay; its price is text, an adjustment where it begins with a sign.
type Overlay struct {
	Name         string       `json:"name"`
	Weight       int32        `json:"weight"`
	Requirements Requirements `json:"requirements"`
	Price        *string      `json:"price"`
	Capacity     Resources    `json:"capacity"`
}

type Snapshot struct {
	Pools      []Pool      `json:"pools"`
	Nodes      []Node      `json:"nodes"`
	Pending    []Pod       `json:"pending"`
	Daemons    []Daemon    `json:"daemons"`
	Namespaces []Namespace `json:"namespaces"`
}

type Namespace struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

type Options struct {
	PreferencePolicy string `json:"preference_policy"`
	MinValuesPolicy  string `json:"min_values_policy"`
	ReservedCapacity bool   `json:"reserved_capacity"`
	MaxInstanceTypes int    `json:"max_instance_types"`
}

type Pool struct {
	Name          string            `json:"name"`
	UID           string            `json:"uid"`
	Weight        int32             `json:"weight"`
	Ready         bool              `json:"ready"`
	NodeClass     string            `json:"node_class"`
	Labels        map[string]string `json:"labels"`
	Annotations   map[string]string `json:"annotations"`
	Taints        []Taint           `json:"taints"`
	StartupTaints []Taint           `json:"startup_taints"`
	Requirements  []Requirement     `json:"requirements"`
	Limits        Resources         `json:"limits"`
}

type Node struct {
	Name        string            `json:"name"`
	NodeClaim   *string           `json:"node_claim"`
	ProviderID  *string           `json:"provider_id"`
	Deleting    bool              `json:"deleting"`
	Labels      map[string]string `json:"labels"`
	Taints      []Taint           `json:"taints"`
	Capacity    Resources         `json:"capacity"`
	Allocatable Resources         `json:"allocatable"`
	Pods        []Pod             `json:"pods"`
	Limits      map[string]int32  `json:"volume_limits"`
}

type Pod struct {
	UID                   string            `json:"uid"`
	Namespace             string            `json:"namespace"`
	Name                  string            `json:"name"`
	Created               time.Time         `json:"created"`
	Requests              Resources         `json:"requests"`
	Selector              map[string]string `json:"selector"`
	NodeAffinity          []Requirements    `json:"node_affinity"`
	PreferredNodeAffinity []Preference      `json:"preferred_node_affinity"`
	Tolerations           []Toleration      `json:"tolerations"`
	HostPorts             []HostPort        `json:"host_ports"`
	Spread                []Spread          `json:"spread"`
	PodAffinity           PodTerms          `json:"pod_affinity"`
	PodAntiAffinity       PodTerms          `json:"pod_anti_affinity"`
	Volumes               Volumes           `json:"volumes"`
	Labels                map[string]string `json:"labels"`
	Daemon                bool              `json:"daemon"`
	Terminating           bool              `json:"terminating"`
	Terminal              bool              `json:"terminal"`
	PhasePending          bool              `json:"phase_pending"`
}

// SelectorTerm is one expression of a label selector.
type SelectorTerm struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

// Selector is nil where none is given.
type Selector *[]SelectorTerm

type Spread struct {
	Key           string   `json:"key"`
	MaxSkew       int32    `json:"max_skew"`
	MinDomains    *int32   `json:"min_domains"`
	Soft          bool     `json:"soft"`
	Selector      Selector `json:"selector"`
	HonorAffinity bool     `json:"honor_affinity"`
	HonorTaints   bool     `json:"honor_taints"`
}

type PodTerms struct {
	Required  []PodTerm         `json:"required"`
	Preferred []WeightedPodTerm `json:"preferred"`
}

type PodTerm struct {
	Key               string   `json:"key"`
	Selector          Selector `json:"selector"`
	Namespaces        []string `json:"namespaces"`
	NamespaceSelector Selector `json:"namespace_selector"`
}

// WeightedPodTerm is a weight and its term.
type WeightedPodTerm struct {
	Weight int32
	Term   PodTerm
}

type Volumes struct {
	Requirements []Requirements `json:"requirements"`
	Attached     [][2]string    `json:"attached"`
}

type Daemon struct {
	Name string `json:"name"`
	Pod  Pod    `json:"pod"`
}

type HostPort struct {
	IP       string `json:"ip"`
	Port     int32  `json:"port"`
	Protocol string `json:"protocol"`
}

type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

type Toleration struct {
	Key    string  `json:"key"`
	Exists bool    `json:"exists"`
	Value  string  `json:"value"`
	Effect *string `json:"effect"`
}

// Resources in thousandths for cpu and whole units for the rest.
type Resources map[string]int64

type Requirements map[string]Requirement

type Requirement struct {
	Key        string   `json:"key"`
	Complement bool     `json:"complement"`
	Values     []string `json:"values"`
	Gte        *int64   `json:"gte"`
	Lte        *int64   `json:"lte"`
	MinValues  *int     `json:"min_values"`
}

// Preference is a weight and its requirements.
type Preference struct {
	Weight       int32
	Requirements Requirements
}

type InstanceType struct {
	Name         string       `json:"name"`
	Requirements Requirements `json:"requirements"`
	Capacity     Resources    `json:"capacity"`
	Allocatable  Resources    `json:"allocatable"`
	Offerings    []Offering   `json:"offerings"`
}

type Offering struct {
	Price               float64      `json:"price"`
	Available           bool         `json:"available"`
	Requirements        Requirements `json:"requirements"`
	ReservationCapacity *int         `json:"reservation_capacity"`
}

func (r Resources) list() corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, amount := range r {
		if name == "cpu" {
			list[corev1.ResourceName(name)] = *resource.NewMilliQuantity(amount, resource.DecimalSI)
		} else {
			list[corev1.ResourceName(name)] = *resource.NewQuantity(amount, resource.BinarySI)
		}
	}
	return list
}

func amounts(list corev1.ResourceList) Resources {
	made := Resources{}
	for name, quantity := range list {
		amount := quantity.Value()
		if name == corev1.ResourceCPU {
			amount = quantity.MilliValue()
		}
		if amount != 0 {
			made[string(name)] = amount
		}
	}
	return made
}

func number(n int64) []string { return []string{strconv.FormatInt(n, 10)} }

// Entries of a NodePool; bounds are inclusive there.
func (r Requirement) poolEntries() []v1.NodeSelectorRequirementWithMinValues {
	entry := func(operator corev1.NodeSelectorOperator, values []string) v1.NodeSelectorRequirementWithMinValues {
		return v1.NodeSelectorRequirementWithMinValues{Key: r.Key, Operator: operator, Values: values, MinValues: r.MinValues}
	}
	var entries []v1.NodeSelectorRequirementWithMinValues
	if r.Gte != nil {
		entries = append(entries, entry(v1.NodeSelectorOpGte, number(*r.Gte)))
	}
	if r.Lte != nil {
		entries = append(entries, entry(v1.NodeSelectorOpLte, number(*r.Lte)))
	}
	if len(entries) == 0 || len(r.Values) > 0 {
		entries = append(entries, entry(r.operator(), r.Values))
	}
	return entries
}

// Entries of a pod; bounds are exclusive there.
func (r Requirement) podEntries() []corev1.NodeSelectorRequirement {
	var entries []corev1.NodeSelectorRequirement
	if r.Gte != nil && *r.Gte > math.MinInt64 {
		entries = append(entries, corev1.NodeSelectorRequirement{Key: r.Key, Operator: corev1.NodeSelectorOpGt, Values: number(*r.Gte - 1)})
	}
	if r.Lte != nil && *r.Lte < math.MaxInt64 {
		entries = append(entries, corev1.NodeSelectorRequirement{Key: r.Key, Operator: corev1.NodeSelectorOpLt, Values: number(*r.Lte + 1)})
	}
	if len(entries) == 0 || len(r.Values) > 0 {
		entries = append(entries, corev1.NodeSelectorRequirement{Key: r.Key, Operator: r.operator(), Values: r.Values})
	}
	return entries
}

func (r Requirement) operator() corev1.NodeSelectorOperator {
	switch {
	case r.Complement && len(r.Values) == 0:
		return corev1.NodeSelectorOpExists
	case r.Complement:
		return corev1.NodeSelectorOpNotIn
	case len(r.Values) == 0:
		return corev1.NodeSelectorOpDoesNotExist
	default:
		return corev1.NodeSelectorOpIn
	}
}

func (r Requirements) term() corev1.NodeSelectorTerm {
	var term corev1.NodeSelectorTerm
	for _, key := range sortedKeys(r) {
		term.MatchExpressions = append(term.MatchExpressions, r[key].podEntries()...)
	}
	return term
}

func (r Requirements) scheduling() scheduling.Requirements {
	made := scheduling.NewRequirements()
	for _, requirement := range r {
		made.Add(scheduling.NewNodeSelectorRequirementsWithMinValues(requirement.poolEntries()...).Values()...)
	}
	return made
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func taints(list []Taint) []corev1.Taint {
	var made []corev1.Taint
	for _, t := range list {
		made = append(made, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	return made
}

func (p *Pool) nodePool() *v1.NodePool {
	pool := &v1.NodePool{ObjectMeta: metav1.ObjectMeta{Name: p.Name, UID: types.UID(p.UID)}}
	pool.Spec.Weight = &p.Weight
	pool.Spec.Template.Labels = p.Labels
	pool.Spec.Template.Annotations = p.Annotations
	spec := &pool.Spec.Template.Spec
	spec.Taints, spec.StartupTaints = taints(p.Taints), taints(p.StartupTaints)
	spec.NodeClassRef = &v1.NodeClassReference{Group: "karpenter.k8s.aws", Kind: "EC2NodeClass", Name: p.NodeClass}
	for _, requirement := range p.Requirements {
		spec.Requirements = append(spec.Requirements, requirement.poolEntries()...)
	}
	if len(p.Limits) > 0 {
		pool.Spec.Limits = v1.Limits(p.Limits.list())
	}
	return pool
}

func (p *Pod) pod(node string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: p.Name, Namespace: p.Namespace, UID: types.UID(p.UID), Labels: p.Labels, CreationTimestamp: metav1.NewTime(p.Created),
	}}
	pod.Spec.NodeName = node
	pod.Spec.NodeSelector = p.Selector
	if p.Daemon {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: p.Name, UID: "1"}}
	}
	requests := p.Requests.list()
	delete(requests, corev1.ResourcePods)
	container := corev1.Container{Name: "main", Resources: corev1.ResourceRequirements{Requests: requests}}
	for _, port := range p.HostPorts {
		container.Ports = append(container.Ports, corev1.ContainerPort{
			HostIP: port.IP, HostPort: port.Port, ContainerPort: port.Port, Protocol: corev1.Protocol(port.Protocol),
		})
	}
	pod.Spec.Containers = []corev1.Container{container}
	for _, t := range p.Tolerations {
		toleration := corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOpEqual, Value: t.Value}
		if t.Exists {
			toleration.Operator = corev1.TolerationOpExists
		}
		if t.Effect != nil {
			toleration.Effect = corev1.TaintEffect(*t.Effect)
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, toleration)
	}
	pod.Spec.Affinity = p.affinity()
	for i, attached := range p.Volumes.Attached {
		claim := corev1.PersistentVolumeClaimVolumeSource{ClaimName: path.Base(attached[1])}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: "volume-" + strconv.Itoa(i), VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &claim},
		})
	}
	for _, constraint := range p.Spread {
		pod.Spec.TopologySpreadConstraints = append(pod.Spec.TopologySpreadConstraints, constraint.constraint())
	}
	if p.Terminating {
		pod.DeletionTimestamp, pod.Finalizers = &metav1.Time{Time: p.Created}, []string{"example.com/stays"}
	}
	pod.Status.Phase = corev1.PodRunning
	if p.PhasePending {
		pod.Status.Phase = corev1.PodPending
	}
	if p.Terminal {
		pod.Status.Phase = corev1.PodSucceeded
	}
	return pod
}

func (p *Pod) affinity() *corev1.Affinity {
	made := &corev1.Affinity{NodeAffinity: p.nodeAffinity()}
	if required, preferred := p.PodAffinity.terms(); len(required)+len(preferred) > 0 {
		made.PodAffinity = &corev1.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: preferred,
		}
	}
	if required, preferred := p.PodAntiAffinity.terms(); len(required)+len(preferred) > 0 {
		made.PodAntiAffinity = &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: preferred,
		}
	}
	if made.NodeAffinity == nil && made.PodAffinity == nil && made.PodAntiAffinity == nil {
		return nil
	}
	return made
}

func labelSelector(selector Selector) *metav1.LabelSelector {
	if selector == nil {
		return nil
	}
	made := &metav1.LabelSelector{}
	for _, term := range *selector {
		made.MatchExpressions = append(made.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: term.Key, Operator: metav1.LabelSelectorOperator(term.Operator), Values: term.Values,
		})
	}
	return made
}

func (t *PodTerm) term() corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{
		TopologyKey: t.Key, LabelSelector: labelSelector(t.Selector), Namespaces: t.Namespaces, NamespaceSelector: labelSelector(t.NamespaceSelector),
	}
}

func (t *PodTerms) terms() ([]corev1.PodAffinityTerm, []corev1.WeightedPodAffinityTerm) {
	var required []corev1.PodAffinityTerm
	var preferred []corev1.WeightedPodAffinityTerm
	for _, term := range t.Required {
		required = append(required, term.term())
	}
	for _, weighted := range t.Preferred {
		preferred = append(preferred, corev1.WeightedPodAffinityTerm{Weight: weighted.Weight, PodAffinityTerm: weighted.Term.term()})
	}
	return required, preferred
}

func (s *Spread) constraint() corev1.TopologySpreadConstraint {
	honored := func(honor bool) *corev1.NodeInclusionPolicy {
		policy := corev1.NodeInclusionPolicyIgnore
		if honor {
			policy = corev1.NodeInclusionPolicyHonor
		}
		return &policy
	}
	made := corev1.TopologySpreadConstraint{
		MaxSkew: s.MaxSkew, TopologyKey: s.Key, MinDomains: s.MinDomains, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: labelSelector(s.Selector), NodeAffinityPolicy: honored(s.HonorAffinity), NodeTaintsPolicy: honored(s.HonorTaints),
	}
	if s.Soft {
		made.WhenUnsatisfiable = corev1.ScheduleAnyway
	}
	return made
}

func (p *Pod) nodeAffinity() *corev1.NodeAffinity {
	if len(p.NodeAffinity) == 0 && len(p.PreferredNodeAffinity) == 0 {
		return nil
	}
	affinity := &corev1.NodeAffinity{}
	if len(p.NodeAffinity) > 0 {
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
	}
	for _, term := range p.NodeAffinity {
		required := affinity.RequiredDuringSchedulingIgnoredDuringExecution
		required.NodeSelectorTerms = append(required.NodeSelectorTerms, term.term())
	}
	for _, preferred := range p.PreferredNodeAffinity {
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = append(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.PreferredSchedulingTerm{Weight: preferred.Weight, Preference: preferred.Requirements.term()})
	}
	return affinity
}

// Claims of the pod's volumes, bound, and what they are bound to. Where the volumes are is told to the scheduler beside them.
func (p *Pod) storage() []client.Object {
	var made []client.Object
	for _, attached := range p.Volumes.Attached {
		name := path.Base(attached[1])
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name}}
		claim.Spec.VolumeName = p.Namespace + "-" + name
		volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName}}
		volume.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: attached[0], VolumeHandle: name}
		made = append(made, claim, volume)
	}
	return made
}

func (n *Node) csiNode() *storagev1.CSINode {
	made := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	for driver, limit := range n.Limits {
		made.Spec.Drivers = append(made.Spec.Drivers, storagev1.CSINodeDriver{
			Name: driver, NodeID: n.Name, Allocatable: &storagev1.VolumeNodeResources{Count: &limit},
		})
	}
	return made
}

func (t *InstanceType) instanceType() *cloudprovider.InstanceType {
	overhead := corev1.ResourceList{}
	for name, amount := range t.Capacity {
		for resource, quantity := range (Resources{name: amount - t.Allocatable[name]}).list() {
			overhead[resource] = quantity
		}
	}
	made := &cloudprovider.InstanceType{
		Name:         t.Name,
		Requirements: t.Requirements.scheduling(),
		Capacity:     t.Capacity.list(),
		Overhead:     &cloudprovider.InstanceTypeOverhead{KubeReserved: overhead},
	}
	for _, o := range t.Offerings {
		offering := &cloudprovider.Offering{Requirements: o.Requirements.scheduling(), Price: o.Price, Available: o.Available}
		if o.ReservationCapacity != nil {
			offering.ReservationCapacity = *o.ReservationCapacity
		}
		made.Offerings = append(made.Offerings, offering)
	}
	return made
}

// UnmarshalJSON reads a pair.
func (p *Preference) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&p.Weight, &p.Requirements})
}

// UnmarshalJSON reads a pair.
func (t *WeightedPodTerm) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&t.Weight, &t.Term})
}
