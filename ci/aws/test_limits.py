"""What a cloud has no room for, or will not do just now: capacity, quotas, buckets, zones; seen through boto3 in virtual time."""

import base64
import json

import boto3
import pytest

from conftest import ADDRESS
from test_cloud import AMI_PARAMETER, ASSUMED_BY_EC2, ZONES, refused, unique

pytestmark = pytest.mark.skipif(bool(ADDRESS), reason="faults by value are of the cloud in virtual time")


@pytest.fixture(scope="module")
def ec2(account):
    return account.client("ec2")


@pytest.fixture(scope="module")
def image(account):
    return account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]


@pytest.fixture
def fault(account):
    """Puts a fault in force for the length of a test."""
    names = []

    def put(effect, **more):
        names.append(unique("fault"))
        account.rule(names[-1], effect, **more)

    yield put
    for name in names:
        account.end(name)


def dry(*zones, market=None):
    return {"insufficient_capacity": {"instance_types": ["c6i.large"], "zones": list(zones), "markets": [market] if market else []}}


def run(ec2, image, **more):
    return ec2.run_instances(**{"ImageId": image, "InstanceType": "c6i.large", "MinCount": 1, "MaxCount": 1, **more})


SPOT = {"MarketType": "spot"}


def test_no_capacity_in_a_zone(ec2, image, fault):
    fault(dry("us-west-2a"))
    told = refused("InsufficientInstanceCapacity", 500, run, ec2=ec2, image=image, Placement={"AvailabilityZone": "us-west-2a"})
    assert told == (
        "We currently do not have sufficient c6i.large capacity in the Availability Zone you requested (us-west-2a). Our system will be working on "
        "provisioning additional capacity. You can currently get c6i.large capacity by not specifying an Availability Zone in your request or "
        "choosing us-west-2b, us-west-2c, us-west-2d."
    )
    run(ec2, image, Placement={"AvailabilityZone": "us-west-2b"})


def test_no_capacity_anywhere(ec2, image, fault):
    fault(dry())
    told = refused("InsufficientInstanceCapacity", 500, run, ec2=ec2, image=image, Placement={"AvailabilityZone": "us-west-2a"})
    assert told.endswith("(us-west-2a). Our system will be working on provisioning additional capacity.")
    assert refused("InsufficientInstanceCapacity", 500, run, ec2=ec2, image=image) == "There is no c6i.large capacity available that matches your request."


def test_no_spot_capacity(ec2, image, fault):
    fault(dry(market="spot"))
    told = refused("InsufficientInstanceCapacity", 500, run, ec2=ec2, image=image, InstanceMarketOptions=SPOT)
    assert told == "There is no Spot capacity available that matches your request."


def fleet(ec2, image, spot, **more):
    name = unique("fleet")
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    overrides = [{"InstanceType": "c6i.large", "AvailabilityZone": zone} for zone in ZONES[:2]]
    market = "spot" if spot else "on-demand"
    return ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"}, "Overrides": overrides}],
        TargetCapacitySpecification={"TotalTargetCapacity": 2, "DefaultTargetCapacityType": market},
        **more,
    )


def test_a_fleet_says_which_pools_gave_nothing(account, ec2, image, fault):
    fault(dry("us-west-2a"))
    made = fleet(ec2, image, spot=False, OnDemandOptions={"AllocationStrategy": "prioritized"})
    assert sum(len(group["InstanceIds"]) for group in made["Instances"]) == 2
    codes = [(error["ErrorCode"], error["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"]) for error in made["Errors"]]
    assert codes in ([], [("InsufficientInstanceCapacity", "us-west-2a")])
    fault(dry(market="spot"))
    made = fleet(ec2, image, spot=True)
    assert not made["Instances"]
    text = "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again."
    assert {(error["ErrorCode"], error["ErrorMessage"], error["Lifecycle"]) for error in made["Errors"]} == {("UnfulfillableCapacity", text, "spot")}


def test_less_than_the_minimum_is_nothing(account, ec2, image, fault):
    account.pipe.codec.ask(quotas=[{"class": "standard", "market": "on-demand", "vcpus": used(ec2) + 2}])
    try:
        whole = {"AllocationStrategy": "lowest-price", "MinTargetCapacity": 2, "SingleInstanceType": True}
        made = fleet(ec2, image, spot=False, OnDemandOptions=whole)
        assert not made["Instances"] and {error["ErrorCode"] for error in made["Errors"]} == {"VcpuLimitExceeded"}
    finally:
        account.pipe.codec.ask(quotas=[])


def test_a_minimum_of_what_is_not_sold_there_is_nothing(ec2, image):
    # Found by its attributes in the region, and not sold in the one zone that is asked for.
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone", MaxResults=1000)
    zones = {}
    for row in (row for page in pages for row in page["InstanceTypeOfferings"]):
        zones.setdefault(row["InstanceType"], set()).add(row["Location"])
    kind = min(name for name, found in zones.items() if name.startswith(("c6i", "m6i", "r6i", "c7i", "m7i", "r7i")) and "us-west-2d" not in found)
    name = unique("minimum")
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    wanted = {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}, "AllowedInstanceTypes": [kind], "BareMetal": "included", "BurstablePerformance": "included"}
    made = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "1"},
                "Overrides": [{"InstanceRequirements": wanted, "AvailabilityZone": "us-west-2d"}],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
        SpotOptions={"MinTargetCapacity": 1, "SingleInstanceType": True},
    )
    assert not made["Instances"]
    assert [error["ErrorMessage"] for error in made["Errors"]] == ["The minimum target capacity of 1 could not be reached; no instances were launched."]


def used(ec2):
    """vCPUs of what runs on demand, all of two vCPUs or more in one class as the tests here launch them."""
    sizes = {}
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    shown = [i for r in ec2.describe_instances(Filters=running)["Reservations"] for i in r["Instances"] if i.get("InstanceLifecycle") != "spot"]
    for instance in shown:
        sizes[instance["InstanceType"]] = sizes.get(instance["InstanceType"], 0) + 1
    if not sizes:
        return 0
    types = ec2.describe_instance_types(InstanceTypes=sorted(sizes))["InstanceTypes"]
    return sum(kind["VCpuInfo"]["DefaultVCpus"] * sizes[kind["InstanceType"]] for kind in types if kind["InstanceType"][0] in "acdmrtz")


def test_quotas_are_of_a_class_and_a_market(account, ec2, image):
    account.pipe.codec.ask(quotas=[{"class": "standard", "market": "on-demand", "vcpus": 0}, {"class": "standard", "market": "spot", "vcpus": 0}])
    try:
        told = refused("VcpuLimitExceeded", 400, run, ec2=ec2, image=image)
        assert told.startswith("You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket")
        told = refused("MaxSpotInstanceCountExceeded", 400, run, ec2=ec2, image=image, InstanceMarketOptions=SPOT)
        assert told == "Max spot instance count exceeded"
        run(ec2, image, InstanceType="g5.xlarge")
    finally:
        account.pipe.codec.ask(quotas=[])


def test_buckets_refuse_in_each_services_words(account, ec2, image, fault):
    fault({"throttle": {"operation": "DescribeVpcs", "burst": 1, "per_second": 1}})
    ec2.describe_vpcs()
    assert refused("RequestLimitExceeded", 503, ec2.describe_vpcs) == "Request limit exceeded."
    account.pipe.pass_time(1)
    ec2.describe_vpcs()
    eks = account.client("eks")
    fault({"throttle": {"operation": "ListClusters", "burst": 1, "per_second": 1}})
    eks.list_clusters()
    assert refused("ThrottlingException", 400, eks.list_clusters) == "Rate exceeded"
    # A bucket of resources: two requests for one instance each, and none for two.
    fault({"throttle": {"operation": "RunInstances", "burst": 2, "per_second": 0, "per_instance": True}})
    run(ec2, image)
    refused("RequestLimitExceeded", 503, run, ec2=ec2, image=image, MaxCount=2)
    run(ec2, image)
    refused("RequestLimitExceeded", 503, run, ec2=ec2, image=image)


def test_a_zone_that_is_down(ec2, fault):
    fault({"zone_down": {"zones": ["us-west-2a"]}})
    assert refused("Unavailable", 503, ec2.describe_instances) == "The server is overloaded and can't handle the request."


def test_errors_by_what_a_call_holds_by_chance_and_after_the_effect(account, ec2, fault):
    lost = {"error": {"operation": "CreatePlacementGroup", "code": "Lost", "message": "lost", "after": True}}
    fault(lost, count=1)
    name = unique("group")
    assert refused("Lost", 400, ec2.create_placement_group, GroupName=name, Strategy="spread") == "lost"
    assert ec2.describe_placement_groups(GroupNames=[name])["PlacementGroups"][0]["GroupName"] == name, "it was made all the same"
    only = {"with": {"GroupNames": name[:8] + "*"}}
    fault({"error": {"operation": "DescribePlacementGroups", "code": "Yours", "message": "yours", "only": only}})
    assert refused("Yours", 400, ec2.describe_placement_groups, GroupNames=[name]) == "yours"
    assert ec2.describe_placement_groups()["PlacementGroups"]
    fault({"error": {"operation": "DescribeVpcs", "code": "AtTimes", "message": "at times", "only": {"permille": 500}}})
    seen = [failed(ec2.describe_vpcs) for _ in range(60)]
    assert 10 < sum(seen) < 50, sum(seen)


def failed(call):
    try:
        call()
    except Exception:  # whichever it is, here it is the fault's
        return True
    return False


def test_a_slow_reply_comes_later(account, ec2, fault):
    fault({"slow": {"operation": "DescribeVpcs", "by": {"least": "PT7S", "most": "PT7S"}}})
    before = account.pipe.now
    ec2.describe_vpcs()
    import datetime

    took = datetime.datetime.fromisoformat(account.pipe.now) - datetime.datetime.fromisoformat(before)
    assert took.total_seconds() == 7


@pytest.mark.parametrize("most", [0, 3])
def test_short_pages_lose_nothing(ec2, fault, most):
    def pages():
        return list(ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="region", MaxResults=1000))

    whole = {row["InstanceType"] for page in pages() for row in page["InstanceTypeOfferings"]}
    fault({"short_pages": {"operation": "DescribeInstanceTypeOfferings", "most": most or 0}})
    if most:
        first = ec2.describe_instance_type_offerings(LocationType="region", MaxResults=1000)
        assert (len(first["InstanceTypeOfferings"]), bool(first["NextToken"])) == (most, True)
        fault({"short_pages": {"operation": "DescribeInstanceTypeOfferings", "most": 100}})
    shortened = pages()
    if not most:
        assert shortened[0]["InstanceTypeOfferings"] == [] and shortened[0]["NextToken"]
        assert {row["InstanceType"] for page in shortened for row in page["InstanceTypeOfferings"]} == whole


def test_a_spot_machine_is_taken_back_when_its_price_passes_the_most_that_is_paid(account, ec2, image, fault):
    options = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.06"}}
    machine = run(ec2, image, InstanceMarketOptions=options)["Instances"][0]
    cheap = run(ec2, image, InstanceMarketOptions={"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.9"}})["Instances"][0]
    account.pipe.pass_time(60)
    request = {"SpotInstanceRequestIds": [machine["SpotInstanceRequestId"]]}
    status = lambda: ec2.describe_spot_instance_requests(**request)["SpotInstanceRequests"][0]["Status"]["Code"]
    assert status() == "fulfilled"
    fault({"spot_price": {"instance_types": ["c6i.large"], "price": {"per_hour": 80000}}})
    assert status() == "marked-for-termination"
    account.pipe.pass_time(125)
    assert status() == "instance-terminated-by-price"
    (shown,) = ec2.describe_instances(InstanceIds=[machine["InstanceId"]])["Reservations"][0]["Instances"]
    assert (shown["State"]["Name"], shown["StateReason"]["Code"]) == ("shutting-down", "Server.SpotInstanceTermination")
    (other,) = ec2.describe_instances(InstanceIds=[cheap["InstanceId"]])["Reservations"][0]["Instances"]
    assert other["State"]["Name"] == "running"
    ec2.terminate_instances(InstanceIds=[cheap["InstanceId"]])


# Places and types


def test_a_type_that_the_region_does_not_sell(account, ec2, image):
    def offered(client):
        pages = client.get_paginator("describe_instance_type_offerings").paginate(MaxResults=1000)
        return {row["InstanceType"] for page in pages for row in page["InstanceTypeOfferings"]}

    here, there = offered(ec2), account.client("ec2", region_name="us-east-1")
    missing = sorted(offered(there) - here)
    types = [t["InstanceType"] for t in there.describe_instance_types(InstanceTypes=missing[:90])["InstanceTypes"] if "x86_64" in t["ProcessorInfo"]["SupportedArchitectures"]]
    told = refused("Unsupported", 400, run, ec2=ec2, image=image, InstanceType=types[0])
    assert told.startswith("The requested configuration is currently not supported.")


def test_a_type_that_is_not_sold_as_spot(ec2, image):
    pages = ec2.get_paginator("describe_instance_types").paginate(Filters=[{"Name": "processor-info.supported-architecture", "Values": ["x86_64"]}])
    only = [t["InstanceType"] for page in pages for t in page["InstanceTypes"] if "spot" not in t["SupportedUsageClasses"]]
    told = refused("Unsupported", 400, run, ec2=ec2, image=image, InstanceType=only[0], InstanceMarketOptions=SPOT)
    assert told == f"The instance type '{only[0]}' does not support the market type 'spot'."


def test_a_cluster_placement_group_is_of_one_zone_and_of_some_types(ec2, image):
    ec2.create_placement_group(GroupName="close", Strategy="cluster")
    close = {"GroupName": "close", "AvailabilityZone": "us-west-2a"}
    run(ec2, image, Placement=close)
    told = refused("InvalidPlacementGroup.InUse", 400, run, ec2=ec2, image=image, Placement=close | {"AvailabilityZone": "us-west-2b"})
    assert told == "The placement group 'close' is in use in another availability zone: us-west-2a"
    told = refused("InvalidParameterCombination", 400, run, ec2=ec2, image=image, InstanceType="t3.small", Placement=close)
    assert told.startswith("Cluster placement groups are not supported by the 't3.small' instance type.")


def test_a_region_without_its_defaults(account):
    ec2 = account.client("ec2", region_name="eu-west-1")
    image = account.client("ssm", region_name="eu-west-1").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    told = refused("MissingInput", 400, run, ec2=ec2, image=image, InstanceType="m5.large")
    assert told == f"No subnets found for the default VPC '{vpc['VpcId']}'. Please specify a subnet."
    ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert refused("VPCIdNotSpecified", 400, run, ec2=ec2, image=image, InstanceType="m5.large") == "No default VPC for this user"


# Identities


def jwt(issuer, subject="system:serviceaccount:kube-system:karpenter", audience="sts.amazonaws.com", expires=4_000_000_000):
    claims = {"iss": issuer, "sub": subject, "aud": audience, "exp": expires}
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".c2ln"


def test_a_web_identity(account):
    iam, sts, name = account.client("iam"), account.client("sts"), unique("web")
    issuer = f"https://oidc.eks.us-west-2.amazonaws.com/id/{unique('B')}"
    provider = iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    condition = {"StringEquals": {f"{issuer.removeprefix('https://')}:sub": "system:serviceaccount:kube-system:karpenter"}}
    trust = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))["Role"]["Arn"]

    def become(token):
        return sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="session", WebIdentityToken=token)

    account.iam("enforce")
    try:
        got = become(jwt(issuer))
        assert got["SubjectFromWebIdentityToken"] == "system:serviceaccount:kube-system:karpenter"
        told = refused("InvalidIdentityToken", 400, become, token=jwt("https://elsewhere"))
        assert told == "No OpenIDConnect provider found in your account for the issuer of the token"
        refused("ExpiredTokenException", 400, become, token=jwt(issuer, expires=1))
        refused("AccessDenied", 403, become, token=jwt(issuer, subject="system:serviceaccount:default:other"))
    finally:
        account.iam("off")


def session_of(keys):
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name="us-west-2")


@pytest.mark.parametrize(
    "service, operation, code, status",
    [
        ("sts", "get_caller_identity", "ExpiredToken", 403),
        ("iam", "list_roles", "ExpiredToken", 403),
        ("ec2", "describe_vpcs", "RequestExpired", 400),
        ("sqs", "list_queues", "ExpiredTokenException", 400),
        ("eks", "list_clusters", "ExpiredTokenException", 400),
        ("ssm", "describe_parameters", "ExpiredTokenException", 400),
    ],
)
def test_keys_end_when_they_say(account, service, operation, code, status):
    keys = account.client("sts").get_session_token(DurationSeconds=900)["Credentials"]
    client = account.client(service, session=session_of(keys))
    getattr(client, operation)()
    account.pipe.pass_time(901)
    told = refused(code, status, getattr(client, operation))
    assert told == ("Request has expired." if service == "ec2" else "The security token included in the request is expired")


def test_session_tokens(account):
    sts = account.client("sts")
    refused("ValidationError", 400, sts.get_session_token, DurationSeconds=129_601)
    keys = sts.get_session_token()["Credentials"]
    own = account.client("sts", session=session_of(keys))
    assert own.get_caller_identity()["Arn"] == sts.get_caller_identity()["Arn"]
    assert refused("AccessDenied", 403, own.get_session_token) == "Cannot call GetSessionToken with session credentials"
    assert sts.get_access_key_info(AccessKeyId=keys["AccessKeyId"])["Account"] == sts.get_caller_identity()["Account"]
    refused("ValidationError", 400, sts.get_access_key_info, AccessKeyId="not a key of AWS")


def test_a_first_spot_machine_wants_its_service_linked_role(account, image):
    iam, name = account.client("iam"), unique("buyer")
    iam.create_user(UserName=name)
    may = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    iam.put_user_policy(UserName=name, PolicyName="ec2", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [may]}))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    buyer = account.client("ec2", session=boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-west-2"))
    account.iam("enforce")
    try:
        made = fleet(buyer, image, spot=True)
        assert not made["Instances"]
        assert {error["ErrorCode"] for error in made["Errors"]} == {"AuthFailure.ServiceLinkedRoleCreationNotPermitted"}
    finally:
        account.iam("off")
