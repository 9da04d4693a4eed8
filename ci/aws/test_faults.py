"""What a cloud does to its customers, injected over `/_dryfit/faults` of a running `dryfit cloud`, seen through boto3."""

import json
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from conftest import ADDRESS
from test_cloud import AMI_PARAMETER, unique

pytestmark = pytest.mark.skipif(not ADDRESS, reason="DRYFIT_CLOUD names no running cloud")

SPOT_WARNING = "EC2 Spot Instance Interruption Warning"


def control(fault=None):
    """Injects faults, or lists them."""
    body = None if fault is None else json.dumps(fault).encode()
    try:
        with urllib.request.urlopen(f"{ADDRESS}/_dryfit/faults", data=body, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.fixture
def queue(account):
    """A queue to which EventBridge sends what Karpenter's template asks for."""
    sqs, events, name = account.client("sqs"), account.client("events"), unique("interruptions")
    url = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "300"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for kind in (SPOT_WARNING, "EC2 Instance Rebalance Recommendation"):
        rule = unique("rule")
        events.put_rule(Name=rule, EventPattern=json.dumps({"source": ["aws.ec2"], "detail-type": [kind]}))
        events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn}])
    return name, url


@pytest.fixture
def spot(account):
    """A Spot instance of a pool of its own; the pool's name and the instance's id."""
    ec2, pool = account.client("ec2"), unique("pool")
    image = account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "karpenter.sh/nodepool", "Value": pool}]}]
    launched = ec2.run_instances(
        ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1, InstanceMarketOptions={"MarketType": "spot"}, TagSpecifications=tags
    )
    yield pool, launched["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[launched["Instances"][0]["InstanceId"]])


def received(account, url):
    found = account.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=10).get("Messages", [])
    return [message["Body"] for message in found]


def test_a_spot_interruption_is_read_from_the_queue_and_ends_the_instance(account, queue, spot):
    (pool, instance), (_, url), ec2 = spot, queue, account.client("ec2")
    status, answer = control({"spot-interruption": {"nodes": {"pool": pool}, "notice": "5s"}})
    assert (status, answer["done"]) == (200, [{"instances": [instance]}])
    (body,) = received(account, url)
    event = json.loads(body)
    zone = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["Placement"]["AvailabilityZone"]
    assert list(event) == ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"]
    assert (event["version"], event["source"], event["detail-type"]) == ("0", "aws.ec2", SPOT_WARNING)
    assert event["detail"] == {"instance-id": instance, "instance-action": "terminate"}
    assert event["resources"] == [f"arn:aws:ec2:{zone}:instance/{instance}"]

    def ending():
        return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    assert account.until(lambda: ending()["State"]["Name"] in ("shutting-down", "terminated"), 15)
    assert ending()["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    (request,) = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[ending()["SpotInstanceRequestId"]])["SpotInstanceRequests"]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")


def test_a_rebalance_recommendation_comes_alone(account, queue, spot):
    (pool, instance), (_, url) = spot, queue
    assert control({"rebalance": {"nodes": {"pool": pool}}})[0] == 200
    (body,) = received(account, url)
    assert json.loads(body)["detail"] == {"instance-id": instance}


def test_stray_messages(account, queue):
    name, url = queue
    faults = [{"message": {"queue": name, "body": "{not JSON"}}, {"message": {"queue": name, "is": "duplicate-of-last"}}]
    assert control(faults)[0] == 200
    assert received(account, url) == ["{not JSON", "{not JSON"]


def test_no_capacity_until_it_is_lifted(account):
    ec2 = account.client("ec2")
    image = account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]

    def run():
        return ec2.run_instances(ImageId=image, InstanceType="c5.metal", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]

    assert control({"ice": {"types": ["c5.metal"]}})[0] == 200
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        run()
    assert refused.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert [fault["hits"] for fault in control()[1]["faults"] if fault["inForce"]] == [1]
    assert control({"lift": "ice"})[0] == 200
    ec2.terminate_instances(InstanceIds=[run()])


@pytest.mark.parametrize(
    "fault, says",
    [
        ({"ice": {"types": ["m5.lagre"]}}, 'did you mean "m5.large"?'),
        ({"icce": {}}, 'did you mean "ice"?'),
        ({"vanish": {"nodes": {"pool": "absent"}}}, "no node is meant by this"),
        ({"message": "foreign"}, "the queue is not named"),
        ({"lift": "throttle"}, "no throttle is in force"),
    ],
)
def test_a_fault_that_matches_nothing_is_refused(fault, says):
    status, answer = control(fault)
    assert status == 400 and says in answer["shown"], answer


def image_of(account):
    return account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]


def told(call, **parameters):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**parameters)
    return refused.value.response["Error"]["Code"]


def test_a_pool_holds_so_many_more_and_recovers(account):
    ec2, run = account.client("ec2"), {"ImageId": image_of(account), "InstanceType": "r5b.large", "MinCount": 1, "MaxCount": 1}
    pool = {"types": ["r5b.large"], "capacity": "on-demand"}
    assert control({"capacity": {**pool, "count": 0}}) == (200, {"done": [{"changed": True}]})
    assert told(ec2.run_instances, **run) == "InsufficientInstanceCapacity"
    assert control({"capacity": {**pool, "count": "unlimited"}})[0] == 200
    ec2.terminate_instances(InstanceIds=[ec2.run_instances(**run)["Instances"][0]["InstanceId"]])


def test_quotas_prices_addresses_and_what_is_not_found_yet(account):
    ec2 = account.client("ec2")
    run = {"ImageId": image_of(account), "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    assert control({"quotas": {"g": 0}})[0] == 200
    assert told(ec2.run_instances, **run) == "VcpuLimitExceeded"
    assert control({"quotas": "none"})[0] == 200
    assert control({"consistency": {"instances": "3s"}})[0] == 200
    made = ec2.run_instances(**run)["Instances"][0]["InstanceId"]
    assert told(ec2.describe_instances, InstanceIds=[made]) == "InvalidInstanceID.NotFound"
    assert account.until(lambda: seen(ec2, made), 10)
    assert control({"consistency": {}})[0] == 200
    ec2.terminate_instances(InstanceIds=[made])
    assert control({"prices": {"g5.xlarge": "$7.5"}})[0] == 200
    wanted = {"regionCode": "us-west-2", "operatingSystem": "Linux", "instanceType": "g5.xlarge", "tenancy": "Shared"}
    filters = [{"Field": field, "Type": "TERM_MATCH", "Value": value} for field, value in wanted.items()]
    (listed,) = account.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    (term,) = json.loads(listed)["terms"]["OnDemand"].values()
    assert [float(row["pricePerUnit"]["USD"]) for row in term["priceDimensions"].values()] == [7.5]
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    of = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "availability-zone", "Values": ["us-west-2d"]}]
    (subnet,) = ec2.describe_subnets(Filters=of)["Subnets"]
    assert control({"addresses": {"zones": ["us-west-2d"], "free": 0}})[0] == 200
    assert ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"][0]["AvailableIpAddressCount"] == 0
    assert told(ec2.run_instances, **{**run, "InstanceType": "m5.large", "SubnetId": subnet["SubnetId"]}) == "InsufficientFreeAddressesInSubnet"
    assert control({"addresses": {"zones": ["us-west-2d"], "free": 4000}})[0] == 200


def seen(ec2, machine):
    try:
        return bool(ec2.describe_instances(InstanceIds=[machine])["Reservations"])
    except botocore.exceptions.ClientError:
        return False


def test_slow_replies_lost_answers_and_short_pages(account):
    import time

    ec2, name = account.client("ec2"), unique("group")
    slow = {"slow": {"operation": "DescribeRegions", "by": "1500ms", "times": 1}}
    lost = {"error": {"operation": "CreatePlacementGroup", "with": {"GroupName": name}, "code": "Lost", "after": True, "times": 1}}
    assert control([slow, lost, {"short-pages": {"operation": "DescribeInstanceTypeOfferings", "most": 2}}])[0] == 200
    begun = time.monotonic()
    ec2.describe_regions()
    assert time.monotonic() - begun > 1.4
    assert told(ec2.create_placement_group, GroupName=name, Strategy="spread") == "Lost"
    ec2.delete_placement_group(GroupName=name)
    page = ec2.describe_instance_type_offerings(MaxResults=1000)
    assert (len(page["InstanceTypeOfferings"]), bool(page["NextToken"])) == (2, True)
    assert control({"lift": "short-pages"})[0] == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"slow": {"operation": "DescribeRegions"}},
        {"slow": {"operation": "DescribeRegions", "by": "5"}},
        {"error": {"operation": "DescribeRegions", "code": "X", "chance": "many"}},
        {"error": {"operation": "DescribeRegions", "code": "X", "with": "all"}},
        {"throttle": {"operation": "RunInstances", "per": "day"}},
        {"capacity": {"types": ["m5.large"]}},
        {"quotas": {"standart": 3}},
        {"addresses": {"zones": ["us-west-2a"]}},
        {"prices": {"m5.large": "cheap"}},
        {"short-pages": {"operation": "DescribeNothing", "most": 1}},
    ],
)
def test_a_fault_that_is_none_changes_nothing(fault):
    before = control()
    status, answer = control(fault)
    assert status == 400 and "the request" in answer["error"], answer
    assert control() == before
