// Says what Karpenter's AWS provider would make of a NodeClass: its instance types, its launch templates, its hashes.
//
// Reads questions from stdin, one JSON object per line, and answers each with one line of JSON. The instance types come from the EC2
// endpoint in AWS_ENDPOINT_URL. Upstream's packages run as they are; only the clients are replaced where an answer is looked at.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
	"github.com/patrickmn/go-cache"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	coreoptions "sigs.k8s.io/karpenter/pkg/operator/options"
	"sigs.k8s.io/karpenter/pkg/scheduling"

	v1 "github.com/aws/karpenter-provider-aws/pkg/apis/v1"
	sdk "github.com/aws/karpenter-provider-aws/pkg/aws"
	"github.com/aws/karpenter-provider-aws/pkg/operator/options"
	"github.com/aws/karpenter-provider-aws/pkg/providers/amifamily"
	"github.com/aws/karpenter-provider-aws/pkg/providers/instancetype"
	"github.com/aws/karpenter-provider-aws/pkg/providers/launchtemplate"
	"github.com/aws/karpenter-provider-aws/pkg/providers/placementgroup"
	"github.com/aws/karpenter-provider-aws/pkg/utils"
)

type question struct {
	Ask          string            `json:"ask"`
	Region       string            `json:"region"`
	Class        *v1.EC2NodeClass  `json:"class"`
	Claim        *karpv1.NodeClaim `json:"claim"`
	Pool         *karpv1.NodePool  `json:"pool"`
	Types        []string          `json:"types"`
	Zones        []string          `json:"zones"`
	CapacityType string            `json:"capacityType"`
	Tenancy      string            `json:"tenancy"`
	Settings     settings          `json:"settings"`
}

type settings struct {
	ClusterName     string  `json:"clusterName"`
	ClusterEndpoint string  `json:"clusterEndpoint"`
	ClusterCIDR     string  `json:"clusterCidr"`
	ClusterCA       *string `json:"clusterCa"`
	DNS             string  `json:"dns"`
	MemoryOverhead  float64 `json:"memoryOverhead"`
	ReservedENIs    int     `json:"reservedEnis"`
	Reserved        bool    `json:"reservedCapacity"`
}

func main() {
	ctx := context.Background()
	infos, err := describe(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	questions := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := questions.ReadBytes('\n')
		if err != nil {
			return
		}
		var q question
		var answer any
		if err = json.Unmarshal(line, &q); err == nil {
			answer, err = reply(ctx, &q, infos)
		}
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		text, err := json.Marshal(answer)
		if err != nil {
			text, _ = json.Marshal(map[string]string{"error": err.Error()})
		}
		out.Write(append(text, '\n'))
		out.Flush()
	}
}

// The types that upstream asks for (pkg/providers/instancetype/instancetype.go, UpdateInstanceTypes).
func describe(ctx context.Context) (map[string]ec2types.InstanceTypeInfo, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	infos := map[string]ec2types.InstanceTypeInfo{}
	pages := ec2.NewDescribeInstanceTypesPaginator(ec2.NewFromConfig(cfg), &ec2.DescribeInstanceTypesInput{
		Filters: []ec2types.Filter{
			{Name: aws.String("supported-virtualization-type"), Values: []string{"hvm"}},
			{Name: aws.String("processor-info.supported-architecture"), Values: []string{"x86_64", "arm64"}},
		},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, info := range page.InstanceTypes {
			infos[string(info.InstanceType)] = info
		}
	}
	return infos, nil
}

func reply(ctx context.Context, q *question, infos map[string]ec2types.InstanceTypeInfo) (any, error) {
	ctx = options.ToContext(ctx, &options.Options{
		ClusterName: q.Settings.ClusterName, VMMemoryOverheadPercent: q.Settings.MemoryOverhead, ReservedENIs: q.Settings.ReservedENIs,
	})
	ctx = coreoptions.ToContext(ctx, &coreoptions.Options{FeatureGates: coreoptions.FeatureGates{ReservedCapacity: q.Settings.Reserved}})
	switch q.Ask {
	case "hash":
		answer := map[string]string{}
		if q.Class != nil {
			answer["class"] = q.Class.Hash(q.Settings.ClusterCA)
		}
		if q.Pool != nil {
			answer["pool"] = q.Pool.Hash()
		}
		return answer, nil
	case "tags":
		tags, err := utils.GetTags(q.Class, q.Claim, q.Settings.ClusterName)
		return tags, err
	case "types":
		return instanceTypes(ctx, q, infos), nil
	case "templates":
		return templates(ctx, q, infos)
	}
	return nil, fmt.Errorf("what is %q?", q.Ask)
}

func resolve(ctx context.Context, q *question, infos map[string]ec2types.InstanceTypeInfo) []*cloudprovider.InstanceType {
	names := q.Types
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(infos))
	}
	resolver := instancetype.NewDefaultResolver(q.Region)
	var types []*cloudprovider.InstanceType
	for _, name := range names {
		types = append(types, resolver.Resolve(ctx, infos[name], q.Zones, q.Class))
	}
	return types
}

func instanceTypes(ctx context.Context, q *question, infos map[string]ec2types.InstanceTypeInfo) any {
	type row struct {
		Name         string                       `json:"name"`
		Requirements map[string][]string          `json:"requirements"`
		Capacity     map[string]resource.Quantity `json:"capacity"`
		Allocatable  map[string]resource.Quantity `json:"allocatable"`
	}
	rows := []row{}
	for _, kind := range resolve(ctx, q, infos) {
		rows = append(rows, row{kind.Name, requirements(kind.Requirements), amounts(kind.Capacity), amounts(kind.Allocatable())})
	}
	return rows
}

// Values by key; a key that must not be there has none.
func requirements(set scheduling.Requirements) map[string][]string {
	all := map[string][]string{}
	for key, requirement := range set {
		values := requirement.Values()
		slices.Sort(values)
		switch requirement.Operator() {
		case corev1.NodeSelectorOpIn:
			all[key] = values
		case corev1.NodeSelectorOpDoesNotExist:
			all[key] = []string{}
		default:
			all[key] = append([]string{string(requirement.Operator())}, values...)
		}
	}
	return all
}

func amounts(list corev1.ResourceList) map[string]resource.Quantity {
	all := map[string]resource.Quantity{}
	for name, amount := range list {
		if !amount.IsZero() {
			all[string(name)] = amount
		}
	}
	return all
}

// No launch template exists yet; what is created is kept.
type ec2Client struct {
	sdk.EC2API
	created map[string]*ec2.CreateLaunchTemplateInput
}

func (c *ec2Client) DescribeLaunchTemplates(context.Context, *ec2.DescribeLaunchTemplatesInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplatesOutput, error) {
	return nil, &smithy.GenericAPIError{Code: "InvalidLaunchTemplateName.NotFoundException", Message: "not there"}
}

func (c *ec2Client) CreateLaunchTemplate(_ context.Context, input *ec2.CreateLaunchTemplateInput, _ ...func(*ec2.Options)) (*ec2.CreateLaunchTemplateOutput, error) {
	c.created[*input.LaunchTemplateName] = input
	id := "lt-" + *input.LaunchTemplateName
	return &ec2.CreateLaunchTemplateOutput{LaunchTemplate: &ec2types.LaunchTemplate{LaunchTemplateName: input.LaunchTemplateName, LaunchTemplateId: &id}}, nil
}

type eksClient struct {
	sdk.EKSAPI
	cidr string
}

func (c *eksClient) DescribeCluster(context.Context, *eks.DescribeClusterInput, ...func(*eks.Options)) (*eks.DescribeClusterOutput, error) {
	network := &ekstypes.KubernetesNetworkConfigResponse{}
	if strings.Contains(c.cidr, ":") {
		network.ServiceIpv6Cidr = &c.cidr
	} else {
		network.ServiceIpv4Cidr = &c.cidr
	}
	return &eks.DescribeClusterOutput{Cluster: &ekstypes.Cluster{KubernetesNetworkConfig: network}}, nil
}

type noGroups struct{ placementgroup.Provider }

func (noGroups) Get(context.Context, placementgroup.NodeClass) (*placementgroup.PlacementGroup, error) {
	return nil, nil
}

func templates(ctx context.Context, q *question, infos map[string]ec2types.InstanceTypeInfo) (any, error) {
	client := &ec2Client{created: map[string]*ec2.CreateLaunchTemplateInput{}}
	var dns net.IP
	if q.Settings.DNS != "" {
		dns = net.ParseIP(q.Settings.DNS)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	provider := launchtemplate.NewDefaultProvider(ctx, cache.New(cache.NoExpiration, 0), client, &eksClient{cidr: q.Settings.ClusterCIDR},
		amifamily.NewDefaultResolver(q.Region), nil, nil, noGroups{}, q.Settings.ClusterCA, make(chan struct{}), dns, q.Settings.ClusterEndpoint)
	if q.Settings.ClusterCIDR != "" {
		if err := provider.ResolveClusterCIDR(ctx); err != nil {
			return nil, err
		}
	}
	tags, err := utils.GetTags(q.Class, q.Claim, q.Settings.ClusterName)
	if err != nil {
		return nil, err
	}
	made, err := provider.EnsureAll(ctx, q.Class, q.Claim, resolve(ctx, q, infos), q.CapacityType, tags, q.Tenancy)
	if err != nil {
		return nil, err
	}
	type row struct {
		Image   string                         `json:"image"`
		Zone    string                         `json:"zone"`
		Types   []string                       `json:"types"`
		Request *ec2.CreateLaunchTemplateInput `json:"request"`
	}
	rows := []row{}
	for _, template := range made {
		names := []string{}
		for _, kind := range template.InstanceTypes {
			names = append(names, kind.Name)
		}
		slices.Sort(names)
		rows = append(rows, row{template.ImageID, template.Zone, names, client.created[template.Name]})
	}
	return rows, nil
}
