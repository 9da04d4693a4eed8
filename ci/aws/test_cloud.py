"""boto3 against the cloud: what a client builds a lab from, and what it is told when it errs."""

import base64
import json
import uuid

import botocore.exceptions
import pytest

ZONES = ["us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d"]
AMI_PARAMETER = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"
ASSUMED_BY_EC2 = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def refused(code: str, status: int, call, **parameters):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert response["ResponseMetadata"]["RequestId"]
    return response["Error"]["Message"]


@pytest.fixture
def ec2(account):
    return account.client("ec2")


@pytest.fixture
def lab(account, ec2):
    """A role with its profile, a security group, a subnet in two zones, an image, and a launch template with all of them."""
    iam, name = account.client("iam"), unique("lab")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{at}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for at, zone in enumerate(ZONES[:2])
    ]
    group = ec2.create_security_group(GroupName=name, Description="nodes", VpcId=vpc)["GroupId"]
    image = account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    data = {
        "ImageId": image,
        "SecurityGroupIds": [group],
        "IamInstanceProfile": {"Name": name},
        "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True}}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}],
    }
    template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
    return {"name": name, "vpc": vpc, "subnets": subnets, "group": group, "image": image, "template": template}


def fleet(lab, types, capacity=1, lifecycle="on-demand", **more):
    overrides = [{"InstanceType": name, "SubnetId": subnet} for name in types for subnet in lab["subnets"]]
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": lab["name"], "Version": "$Latest"},
                "Overrides": overrides,
            }
        ],
        "TargetCapacitySpecification": {"DefaultTargetCapacityType": lifecycle, "TotalTargetCapacity": capacity},
        "OnDemandOptions": {"AllocationStrategy": "lowest-price"},
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "lab", "Value": lab["name"]}]}],
        **more,
    }


def described(ec2, ids):
    return [found for group in ec2.describe_instances(InstanceIds=ids)["Reservations"] for found in group["Instances"]]


def test_the_caller_is_the_account(account):
    who = account.client("sts").get_caller_identity()
    assert who["Account"].isdigit() and len(who["Account"]) == 12
    assert who["Account"] in who["Arn"]


def test_zones_have_names_and_ids(ec2):
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [zone["ZoneName"] for zone in zones] == ZONES
    assert len({zone["ZoneId"] for zone in zones}) == 4


def test_a_fresh_account_has_a_default_vpc_with_a_subnet_per_zone(ec2):
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    own = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    subnets = ec2.describe_subnets(Filters=own)["Subnets"]
    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == ZONES
    (group,) = ec2.describe_security_groups(Filters=own)["SecurityGroups"]
    assert group["GroupName"] == "default"


def test_another_region_is_another_world(account, lab):
    elsewhere = account.client("ec2", region_name="eu-west-1")
    assert {zone["ZoneName"] for zone in elsewhere.describe_availability_zones()["AvailabilityZones"]} == {
        "eu-west-1a",
        "eu-west-1b",
        "eu-west-1c",
    }
    refused("InvalidVpcID.NotFound", 400, elsewhere.describe_vpcs, VpcIds=[lab["vpc"]])


def test_resources_are_found_by_their_tags(ec2, lab):
    tag = {"Key": "karpenter.sh/discovery", "Value": lab["name"]}
    ec2.create_tags(Resources=[lab["group"], *lab["subnets"]], Tags=[tag])
    by_tag = [{"Name": f"tag:{tag['Key']}", "Values": [tag["Value"]]}]
    found = ec2.describe_subnets(Filters=by_tag)["Subnets"]
    assert sorted(subnet["SubnetId"] for subnet in found) == sorted(lab["subnets"])
    assert all(subnet["AvailableIpAddressCount"] == 251 and subnet["AvailabilityZoneId"] for subnet in found)
    (group,) = ec2.describe_security_groups(Filters=by_tag)["SecurityGroups"]
    assert (group["GroupId"], group["VpcId"]) == (lab["group"], lab["vpc"])


def test_pages_of_types_give_each_type_once(ec2):
    filters = [{"Name": "processor-info.supported-architecture", "Values": ["x86_64", "arm64"]}]
    pages = ec2.get_paginator("describe_instance_types").paginate(Filters=filters, MaxResults=100)
    names = [found["InstanceType"] for page in pages for found in page["InstanceTypes"]]
    assert len(names) == len(set(names)) > 1000
    (large,) = ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"]
    assert (large["VCpuInfo"]["DefaultVCpus"], large["MemoryInfo"]["SizeInMiB"]) == (2, 8192)
    assert large["NetworkInfo"]["NetworkCards"][0]["MaximumNetworkInterfaces"] == 3
    refused("InvalidInstanceType", 400, ec2.describe_instance_types, InstanceTypes=["m5.huge"])


def test_offerings_name_zones(ec2):
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone", MaxResults=1000)
    rows = {(row["InstanceType"], row["Location"]) for page in pages for row in page["InstanceTypeOfferings"]}
    assert {zone for _, zone in rows} == set(ZONES)
    assert ("m5.large", "us-west-2a") in rows


def test_spot_prices_are_below_on_demand(ec2):
    rows = ec2.describe_spot_price_history(InstanceTypes=["m5.large"], ProductDescriptions=["Linux/UNIX"])["SpotPriceHistory"]
    assert {row["AvailabilityZone"] for row in rows} == set(ZONES)
    assert all(0 < float(row["SpotPrice"]) < 0.096 and row["Timestamp"] for row in rows)


def test_the_parameter_of_an_image_leads_to_an_image(ec2, lab):
    (image,) = ec2.describe_images(ImageIds=[lab["image"]])["Images"]
    assert (image["Architecture"], image["State"]) == ("x86_64", "available")
    assert image["Name"].startswith("amazon-eks-node-al2023-x86_64-standard-1.34")


def test_a_fleet_launches_the_cheapest_with_all_of_the_template(account, ec2, lab):
    answer = ec2.create_fleet(**fleet(lab, ["m5.xlarge", "m5.large", "c5.2xlarge"]))
    assert answer["FleetId"].startswith("fleet-") and not answer.get("Errors")
    (launched,) = answer["Instances"]
    assert (launched["InstanceType"], launched["Lifecycle"]) == ("m5.large", "on-demand")
    override = launched["LaunchTemplateAndOverrides"]["Overrides"]
    assert override["InstanceType"] == "m5.large" and override["SubnetId"] in lab["subnets"]
    (instance,) = described(ec2, launched["InstanceIds"])
    assert instance["State"]["Name"] in ("pending", "running")
    assert instance["SubnetId"] == override["SubnetId"]
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [lab["group"]]
    assert instance["ImageId"] == lab["image"]
    assert instance["IamInstanceProfile"]["Arn"].endswith(f"instance-profile/{lab['name']}")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert "SpotInstanceRequestId" not in instance
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert (tags["from"], tags["lab"]) == ("template", lab["name"])
    running = {"Code": 16, "Name": "running"}
    assert account.until(lambda: described(ec2, launched["InstanceIds"])[0]["State"] == running, 120)
    (ended,) = ec2.terminate_instances(InstanceIds=launched["InstanceIds"])["TerminatingInstances"]
    assert ended["CurrentState"] == {"Code": 32, "Name": "shutting-down"}


def test_a_spot_instance_has_its_request(ec2, lab):
    (launched,) = ec2.create_fleet(**fleet(lab, ["m5.large"], lifecycle="spot"))["Instances"]
    assert launched["Lifecycle"] == "spot"
    (instance,) = described(ec2, launched["InstanceIds"])
    assert instance["InstanceLifecycle"] == "spot"
    assert instance["SpotInstanceRequestId"].startswith("sir-")
    ec2.terminate_instances(InstanceIds=launched["InstanceIds"])


def test_a_dry_run_launches_nothing(ec2, lab):
    def count():
        by_tag = [{"Name": "tag:lab", "Values": [lab["name"]]}]
        return sum(len(group["Instances"]) for group in ec2.describe_instances(Filters=by_tag)["Reservations"])

    refused("DryRunOperation", 412, ec2.create_fleet, DryRun=True, **fleet(lab, ["m5.large"]))
    template = {"LaunchTemplateName": lab["name"]}
    run = {"MinCount": 1, "MaxCount": 1, "InstanceType": "m5.large", "SubnetId": lab["subnets"][0], "LaunchTemplate": template}
    refused("DryRunOperation", 412, ec2.run_instances, DryRun=True, **run)
    assert count() == 0


def test_a_token_launches_once(ec2, lab):
    token = unique("token")
    first = ec2.create_fleet(ClientToken=token, **fleet(lab, ["m5.large"]))
    again = ec2.create_fleet(ClientToken=token, **fleet(lab, ["m5.large"]))
    assert first["Instances"][0]["InstanceIds"] == again["Instances"][0]["InstanceIds"]
    refused("IdempotentParameterMismatch", 400, ec2.create_fleet, ClientToken=token, **fleet(lab, ["c5.large"]))
    ec2.terminate_instances(InstanceIds=first["Instances"][0]["InstanceIds"])


def test_what_does_not_exist_is_not_found(ec2, lab):
    message = refused("InvalidInstanceID.NotFound", 400, ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"])
    assert message == "The instance ID 'i-0123456789abcdef0' does not exist"
    refused("InvalidInstanceID.Malformed", 400, ec2.terminate_instances, InstanceIds=["instance-one"])
    refused("InvalidSubnetID.NotFound", 400, ec2.describe_subnets, SubnetIds=["subnet-0123456789abcdef0"])
    missing = "InvalidLaunchTemplateName.NotFoundException"
    refused(missing, 400, ec2.describe_launch_templates, LaunchTemplateNames=[unique("no")])
    taken = "InvalidLaunchTemplateName.AlreadyExistsException"
    refused(taken, 400, ec2.create_launch_template, LaunchTemplateName=lab["name"], LaunchTemplateData={"ImageId": lab["image"]})


def test_what_is_not_done_says_so(ec2):
    message = refused("UnsupportedOperation", 400, ec2.allocate_address)
    assert "AllocateAddress" in message


def test_profiles_and_roles(account, lab):
    iam = account.client("iam")
    profile = iam.get_instance_profile(InstanceProfileName=lab["name"])["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [lab["name"]]
    listed = [row["InstanceProfileName"] for page in iam.get_paginator("list_instance_profiles").paginate() for row in page["InstanceProfiles"]]
    assert lab["name"] in listed
    refused("NoSuchEntity", 404, iam.get_role, RoleName=unique("no"))
    refused("DeleteConflict", 409, iam.delete_instance_profile, InstanceProfileName=lab["name"])
    refused("EntityAlreadyExists", 409, iam.create_instance_profile, InstanceProfileName=lab["name"])


def test_a_message_is_delivered_once(account):
    sqs, name = account.client("sqs"), unique("queue")
    url = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "300"})["QueueUrl"]
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    sqs.send_message(QueueUrl=url, MessageBody="<ä> & b")
    poll = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 5, "WaitTimeSeconds": 1}
    # botocore checks the digest of the body.
    (message,) = sqs.receive_message(**poll)["Messages"]
    assert message["Body"] == "<ä> & b"
    assert "Messages" not in sqs.receive_message(**poll)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert not account.until(lambda: "Messages" in sqs.receive_message(**poll), 10)


def test_a_message_that_is_not_deleted_comes_back(account):
    sqs, name = account.client("sqs"), unique("queue")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sent = sqs.send_message(QueueUrl=url, MessageBody="again")["MessageId"]
    poll = {"QueueUrl": url, "VisibilityTimeout": 5, "AttributeNames": ["ApproximateReceiveCount"]}
    assert sqs.receive_message(**poll)["Messages"][0]["MessageId"] == sent
    received = []
    assert account.until(lambda: received.extend(sqs.receive_message(**poll).get("Messages", [])) or received, 10)
    assert received[0]["MessageId"] == sent
    assert received[0]["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_queue_that_does_not_exist_has_both_codes(account):
    sqs = account.client("sqs")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
        sqs.get_queue_url(QueueName=unique("no"))
    assert caught.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_parameters_are_kept(account):
    ssm, name = account.client("ssm"), "/" + unique("own")
    ssm.put_parameter(Name=name, Value="v", Type="String")
    parameter = ssm.get_parameter(Name=name)["Parameter"]
    assert (parameter["Value"], parameter["Version"]) == ("v", 1)
    refused("ParameterNotFound", 400, ssm.get_parameter, Name=name + "/no")


def test_a_cluster_comes_up(account, lab):
    eks, name = account.client("eks"), unique("cluster")
    role = account.client("iam").get_role(RoleName=lab["name"])["Role"]["Arn"]
    created = eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": lab["subnets"]}, version="1.34")["cluster"]
    assert created["status"] == "CREATING"
    if account.virtual:
        assert account.until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE", 3600)
    cluster = eks.describe_cluster(name=name)["cluster"]
    assert cluster["version"] == "1.34"
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"]
    assert name in eks.list_clusters()["clusters"]
    refused("ResourceInUseException", 409, eks.create_cluster, name=name, roleArn=role, resourcesVpcConfig={})
    refused("ResourceNotFoundException", 404, eks.describe_cluster, name=unique("no"))


def test_prices_are_listed(account):
    wanted = {"regionCode": "us-west-2", "operatingSystem": "Linux", "instanceType": "m5.large", "tenancy": "Shared"}
    filters = [{"Field": field, "Type": "TERM_MATCH", "Value": value} for field, value in wanted.items()]
    listed = account.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    (product,) = [json.loads(text) for text in listed]
    assert product["product"]["attributes"]["instanceType"] == "m5.large"
    (term,) = product["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert float(dimension["pricePerUnit"]["USD"]) == 0.096


def test_a_rule_has_its_targets(account):
    events, name = account.client("events"), unique("rule")
    pattern = json.dumps({"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]})
    events.put_rule(Name=name, EventPattern=pattern)
    url = account.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    attributes = account.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    answer = events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": attributes["QueueArn"]}])
    assert answer["FailedEntryCount"] == 0
    assert name in [rule["Name"] for rule in events.list_rules(NamePrefix=name)["Rules"]]
