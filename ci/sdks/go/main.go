// Calls a fresh `dryfit cloud` through AWS SDK for Go v2, and prints one line per answer.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	pricingtypes "github.com/aws/aws-sdk-go-v2/service/pricing/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
const parameter = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func main() {
	ctx := context.Background()
	name := "sdk-go"
	cfg := must(config.LoadDefaultConfig(ctx))

	who := must(sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil))
	fmt.Println("sts account", *who.Account)

	machines := ec2.NewFromConfig(cfg)
	var zones []string
	for _, zone := range must(machines.DescribeAvailabilityZones(ctx, nil)).AvailabilityZones {
		zones = append(zones, *zone.ZoneName)
	}
	sort.Strings(zones)
	fmt.Println("ec2 zones", strings.Join(zones, " "))
	kinds := must(machines.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"m5.large"}})).InstanceTypes
	fmt.Println("ec2 type", kinds[0].InstanceType, "vcpus", *kinds[0].VCpuInfo.DefaultVCpus, "memory", *kinds[0].MemoryInfo.SizeInMiB)
	seen := map[ec2types.InstanceType]int{}
	for pages := ec2.NewDescribeInstanceTypesPaginator(machines, &ec2.DescribeInstanceTypesInput{MaxResults: aws.Int32(100)}); pages.HasMorePages(); {
		for _, kind := range must(pages.NextPage(ctx)).InstanceTypes {
			seen[kind.InstanceType]++
		}
	}
	if len(seen) < 500 || seen["m5.large"] != 1 {
		log.Fatalf("pages gave %d types", len(seen))
	}
	fmt.Println("ec2 types paged all there")

	image := *must(ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(parameter)})).Parameter.Value
	fmt.Println("ssm image", strings.Split(image, "-")[0])

	run := &ec2.RunInstancesInput{
		ImageId: &image, InstanceType: "m5.large", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), DryRun: aws.Bool(true),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("sdk"), Value: aws.String("smoke")}}}},
	}
	_, err := machines.RunInstances(ctx, run)
	var reply *smithyhttp.ResponseError
	if !errors.As(err, &reply) {
		log.Fatal(err)
	}
	fmt.Println("ec2 dry run", code(err), reply.HTTPStatusCode())
	run.DryRun = nil
	made := must(machines.RunInstances(ctx, run)).Instances[0]
	fmt.Println("ec2 run", made.State.Name, made.InstanceType)
	found := must(machines.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*made.InstanceId}})).Reservations
	tag := found[0].Instances[0].Tags[0]
	fmt.Printf("ec2 describe %d tag %s=%s\n", len(found), *tag.Key, *tag.Value)
	ended := must(machines.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*made.InstanceId}})).TerminatingInstances
	fmt.Println("ec2 terminate", ended[0].CurrentState.Name)
	_, err = machines.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
	var api smithy.APIError
	errors.As(err, &api)
	fmt.Println("ec2 fault", api.ErrorCode(), api.ErrorMessage())

	people := iam.NewFromConfig(cfg)
	must(people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, Path: aws.String("/sdk/"), AssumeRolePolicyDocument: aws.String(trust)}))
	fmt.Println("iam role", *must(people.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})).Role.Path)
	must(people.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name}))
	_, err = people.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	var nobody *iamtypes.NoSuchEntityException
	fmt.Println("iam fault NoSuchEntity", typed(errors.As(err, &nobody)))

	queues := sqs.NewFromConfig(cfg)
	url := must(queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})).QueueUrl
	must(queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(`<one> & "two"`)}))
	got := must(queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 1})).Messages
	fmt.Println("sqs body", *got[0].Body)
	must(queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: got[0].ReceiptHandle}))
	must(queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url}))
	_, err = queues.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("none")})
	var absent *sqstypes.QueueDoesNotExist
	fmt.Println("sqs fault QueueDoesNotExist", typed(errors.As(err, &absent)))

	clusters := eks.NewFromConfig(cfg)
	fmt.Println("eks clusters", len(must(clusters.ListClusters(ctx, nil)).Clusters))
	_, err = clusters.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("none")})
	var unknown *ekstypes.ResourceNotFoundException
	ok := errors.As(err, &unknown)
	fmt.Println("eks fault ResourceNotFound", typed(ok), unknown.ErrorMessage())

	filter := func(field, value string) pricingtypes.Filter {
		return pricingtypes.Filter{Type: pricingtypes.FilterTypeTermMatch, Field: &field, Value: &value}
	}
	list := must(pricing.NewFromConfig(cfg, func(o *pricing.Options) { o.Region = "us-east-1" }).GetProducts(ctx, &pricing.GetProductsInput{
		ServiceCode: aws.String("AmazonEC2"),
		Filters: []pricingtypes.Filter{
			filter("regionCode", "us-east-1"), filter("instanceType", "m5.large"), filter("operatingSystem", "Linux"),
			filter("tenancy", "Shared"), filter("preInstalledSw", "NA"), filter("capacitystatus", "Used"),
		},
	})).PriceList
	var product struct {
		Terms struct {
			OnDemand map[string]struct {
				PriceDimensions map[string]struct{ PricePerUnit struct{ USD string } }
			}
		}
	}
	if err := json.Unmarshal([]byte(list[0]), &product); err != nil {
		log.Fatal(err)
	}
	for _, offer := range product.Terms.OnDemand {
		for _, dimension := range offer.PriceDimensions {
			fmt.Println("pricing m5.large", dimension.PricePerUnit.USD)
		}
	}
	os.Exit(0)
}

func typed(is bool) string {
	if is {
		return "typed"
	}
	return "not typed"
}
