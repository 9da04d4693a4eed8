"""boto3 in two accounts: a key of twelve digits is an account's root; a role leads from one into the other if it trusts it."""

import json
import random

import boto3
import pytest

from test_cloud import AMI_PARAMETER, refused, unique

HOME = "123456789012"


@pytest.fixture
def other(account):
    """Another account's number, and clients of its root."""
    number = f"{random.SystemRandom().randrange(10**12):012}"
    session = boto3.Session(aws_access_key_id=number, aws_secret_access_key="test", region_name="us-west-2")
    return number, lambda service: account.client(service, session=session)


def trusting(client, *principals):
    statement = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": "sts:AssumeRole"}
    name, document = unique("visitor"), json.dumps({"Version": "2012-10-17", "Statement": statement})
    role = client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    client("iam").put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    return role["Arn"]


def assumed(account, sts, arn):
    keys = sts.assume_role(RoleArn=arn, RoleSessionName="visit")["Credentials"]
    number = arn.split(":")[4]
    assert account.client("sts").get_access_key_info(AccessKeyId=keys["AccessKeyId"])["Account"] == number
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name="us-west-2")
    return lambda service: account.client(service, session=session)


def test_a_key_of_twelve_digits_is_the_root_of_that_account(other):
    number, client = other
    assert client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{number}:root"


def test_a_session_of_the_other_accounts_role_sees_that_accounts_world(account, other):
    number, client = other
    arn = trusting(client, HOME)
    assert arn.split(":")[4] == number
    visitor = assumed(account, account.client("sts"), arn)
    identity = visitor("sts").get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (number, f"arn:aws:sts::{number}:assumed-role/{arn.rsplit('/')[-1]}/visit")

    ec2, name = visitor("ec2"), unique("queue")
    assert ec2.describe_instances()["Reservations"] == []
    image = visitor("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    # The catalogue and AWS's images are the same for all.
    assert account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"] == image
    ours, theirs = ({row["InstanceType"] for row in one.describe_instance_type_offerings()["InstanceTypeOfferings"]} for one in (ec2, account.client("ec2")))
    assert ours == theirs and "m5.large" in ours
    launched = ec2.run_instances(ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1)
    assert launched["OwnerId"] == number
    instance = launched["Instances"][0]["InstanceId"]
    refused("InvalidInstanceID.NotFound", 400, account.client("ec2").describe_instances, InstanceIds=[instance])
    (found,) = client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
    assert found["OwnerId"] == number

    url = visitor("sqs").create_queue(QueueName=name)["QueueUrl"]
    assert f"/{number}/{name}" in url
    refused("AWS.SimpleQueueService.NonExistentQueue", 400, account.client("sqs").get_queue_url, QueueName=name)
    ec2.terminate_instances(InstanceIds=[instance])


def test_the_trust_policy_and_the_callers_own_decide(account, other):
    number, client = other
    iam = account.client("iam")
    user = unique("user")
    iam.create_user(UserName=user)
    keys = iam.create_access_key(UserName=user)["AccessKey"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name="us-west-2")
    sts = account.client("sts", session=session)
    open_role, closed_role = trusting(client, f"arn:aws:iam::{HOME}:user/{user}"), trusting(client, "333333333333")
    account.iam("enforce")
    try:
        # Trusted, but the own account has not allowed it.
        assert "identity-based policy" in refused("AccessDenied", 403, sts.assume_role, RoleArn=open_role, RoleSessionName="visit")
        document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": f"arn:aws:iam::{number}:role/*"}}
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(document))
        assert assumed(account, sts, open_role)("sts").get_caller_identity()["Account"] == number
        assert "resource-based policy" in refused("AccessDenied", 403, sts.assume_role, RoleArn=closed_role, RoleSessionName="visit")
        # The session has its role's permissions there, and none here.
        assert assumed(account, sts, open_role)("ec2").describe_instances()["Reservations"] == []
    finally:
        account.iam("off")


def test_a_role_of_an_account_that_is_not_there_is_refused(account):
    refused("AccessDenied", 403, account.client("sts").assume_role, RoleArn="arn:aws:iam::999999999999:role/x", RoleSessionName="visit")


def policy_of(arn, principal, actions):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": actions, "Resource": arn}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def a_user(account, actions):
    """A user of the first account who may do this, with keys; its ARN and its clients."""
    iam, name = account.client("iam"), unique("user")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name="us-west-2")
    return arn, lambda service: account.client(service, session=session)


def test_a_queues_policy_lets_another_account_in(account, other):
    number, client = other
    theirs, name = client("sqs"), unique("queue")
    url = theirs.create_queue(QueueName=name)["QueueUrl"]
    arn = theirs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn.split(":")[4] == number
    user, as_user = a_user(account, "sqs:*")
    _, as_nobody = a_user(account, "ec2:*")
    ours = as_user("sqs")
    account.iam("enforce")
    try:
        assert "resource-based policy" in refused("AccessDenied", 403, ours.send_message, QueueUrl=url, MessageBody="m")
        theirs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy_of(arn, HOME, ["sqs:SendMessage", "sqs:GetQueueUrl"])})
        # Their policy lets the account in; the account must let its user, too.
        assert "identity-based policy" in refused("AccessDenied", 403, as_nobody("sqs").send_message, QueueUrl=url, MessageBody="m")
        assert ours.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=number)["QueueUrl"] == url
        ours.send_message(QueueUrl=url, MessageBody="one")
        assert len(ours.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "two"}])["Successful"]) == 1
        # What the policy does not name is refused, and so is the account's root without it.
        refused("AccessDenied", 403, ours.receive_message, QueueUrl=url)
        refused("AccessDenied", 403, account.client("sqs").receive_message, QueueUrl=url)
        got = theirs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        assert sorted(one["Body"] for one in got) == ["one", "two"]
        theirs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy_of(arn, user, "sqs:*")})
        ours.send_message(QueueUrl=url, MessageBody="three")
        (message,) = ours.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
        assert message["Body"] == "three"
        ours.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        # A queue's owner alone may delete it. Source: SQS API reference, DeleteQueue, "Cross-account permissions don't apply to this action".
        refused("AWS.SimpleQueueService.NonExistentQueue", 400, ours.delete_queue, QueueUrl=url)
    finally:
        account.iam("off")


def test_an_image_is_shared_with_an_account_and_taken_back(account, other):
    number, client = other
    ours, theirs = account.client("ec2"), client("ec2")
    image = account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    own = ours.copy_image(SourceImageId=image, SourceRegion="us-west-2", Name=unique("image"))["ImageId"]
    ours.create_tags(Resources=[own], Tags=[{"Key": "ours", "Value": "alone"}])
    refused("InvalidAMIID.NotFound", 400, theirs.describe_images, ImageIds=[own])
    ours.modify_image_attribute(ImageId=own, LaunchPermission={"Add": [{"UserId": number}]})
    (seen,) = theirs.describe_images(ImageIds=[own])["Images"]
    assert (seen["OwnerId"], seen["Public"], seen.get("Tags", [])) == (HOME, False, [])
    assert [one["ImageId"] for one in theirs.describe_images(ExecutableUsers=["self"])["Images"]] == [own]
    assert [one["ImageId"] for one in theirs.describe_images(Owners=[HOME])["Images"]] == [own]
    refused("AuthFailure", 401, theirs.deregister_image, ImageId=own)
    refused("AuthFailure", 401, theirs.modify_image_attribute, ImageId=own, Description={"Value": "mine"})
    if account.virtual:
        account.pipe.pass_time(90)
        launched = theirs.run_instances(ImageId=own, InstanceType="m5.large", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        theirs.terminate_instances(InstanceIds=[launched])
    # A third account, and one that is first spoken of later, see it as soon as it is everybody's.
    third = boto3.Session(aws_access_key_id=f"{(int(number) + 1) % 10**12:012}", aws_secret_access_key="test", region_name="us-west-2")
    third = account.client("ec2", session=third)
    refused("InvalidAMIID.NotFound", 400, third.describe_images, ImageIds=[own])
    ours.modify_image_attribute(ImageId=own, LaunchPermission={"Add": [{"Group": "all"}], "Remove": [{"UserId": number}]})
    for client in (third, theirs):
        assert client.describe_images(ImageIds=[own])["Images"][0]["Public"]
    ours.modify_image_attribute(ImageId=own, LaunchPermission={"Remove": [{"Group": "all"}]})
    refused("InvalidAMIID.NotFound", 400, theirs.describe_images, ImageIds=[own])
    ours.modify_image_attribute(ImageId=own, LaunchPermission={"Add": [{"UserId": number}]})
    ours.deregister_image(ImageId=own)
    refused("InvalidAMIID.NotFound", 400, theirs.describe_images, ImageIds=[own])


def test_a_fault_meets_the_account_that_it_names(account, other):
    number, client = other
    effect = {"error": {"operation": "DescribeVpcs", "code": "InternalError", "message": "theirs alone"}}
    account.rule("error theirs", effect, account=number)
    assert refused("InternalError", 500, client("ec2").describe_vpcs) == "theirs alone"
    assert account.client("ec2").describe_vpcs()["Vpcs"]
    account.end("error theirs")
    assert client("ec2").describe_vpcs()["Vpcs"]
