"""boto3 against a cloud whose policies decide: refusals in each service's words, decoded, explained, simulated."""

import json
import re

import boto3
import botocore.config
import botocore.exceptions
import pytest

from test_cloud import AMI_PARAMETER, refused, unique

TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}]}


@pytest.fixture
def enforced(account):
    account.iam("enforce")
    yield account
    account.iam("off")


class Session:
    """A role's session and its clients."""

    def __init__(self, account, statements, **session):
        iam, self.name = account.client("iam"), unique("role")
        self.iam, self.account = iam, account
        role = iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
        self.arn = role["Arn"]
        self.may(statements)
        keys = account.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="session", **session)["Credentials"]
        self.session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name="us-west-2")

    def may(self, statements):
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.iam.put_role_policy(RoleName=self.name, PolicyName="own", PolicyDocument=document)

    def client(self, service):
        return self.account.client(service, session=self.session)


def allow(*actions, resource="*", **condition):
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


# What each service says to a session that may do nothing but look at queues.
@pytest.mark.parametrize(
    "service, operation, parameters, code, status",
    [
        ("ec2", "describe_instances", {}, "UnauthorizedOperation", 403),
        ("iam", "list_roles", {}, "AccessDenied", 403),
        ("sqs", "list_queues", {}, "AccessDenied", 403),
        ("ssm", "get_parameter", {"Name": "/a"}, "AccessDeniedException", 400),
        ("eks", "describe_cluster", {"name": "x"}, "AccessDeniedException", 403),
        ("pricing", "get_products", {"ServiceCode": "AmazonEC2"}, "AccessDeniedException", 400),
        ("events", "list_rules", {}, "AccessDeniedException", 400),
        ("autoscaling", "describe_auto_scaling_groups", {}, "AccessDenied", 403),
        ("sts", "decode_authorization_message", {"EncodedMessage": "x"}, "AccessDenied", 403),
    ],
)
def test_refusals(enforced, service, operation, parameters, code, status):
    session = Session(enforced, [allow("cloudwatch:*")])
    message = refused(code, status, getattr(session.client(service), operation), **parameters)
    assert "is not authorized to perform: " in message


def test_identity_needs_no_permission(enforced):
    session = Session(enforced, [allow("cloudwatch:*")])
    identity = session.client("sts").get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::123456789012:assumed-role/{session.name}/session"


def test_a_launch_by_type_and_tag(enforced):
    image = enforced.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    session = Session(
        enforced,
        [
            allow("ec2:RunInstances", resource="arn:aws:ec2:*:*:instance/*", StringEquals={"ec2:InstanceType": "t3.small", "aws:RequestTag/team": "a"}),
            allow("ec2:RunInstances", resource=[f"arn:aws:ec2:*:*:{kind}/*" for kind in ("subnet", "volume", "network-interface")] + ["arn:aws:ec2:*::image/*"]),
            allow("ec2:CreateTags", StringEquals={"ec2:CreateAction": "RunInstances"}),
            allow("sts:DecodeAuthorizationMessage"),
        ],
    )
    ec2 = session.client("ec2")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "a"}]}]
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
    refused("DryRunOperation", 412, ec2.run_instances, InstanceType="t3.small", TagSpecifications=tags, DryRun=True, **launch)
    message = refused("UnauthorizedOperation", 403, ec2.run_instances, InstanceType="m5.large", TagSpecifications=tags, DryRun=True, **launch)
    encoded = re.search(r"Encoded authorization failure message: (\S+)$", message)[1]
    decoded = json.loads(session.client("sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert decoded["context"]["action"] == "ec2:RunInstances"
    assert {"key": "ec2:InstanceType", "values": {"items": [{"value": "m5.large"}]}} in decoded["context"]["conditions"]["items"]
    refused("UnauthorizedOperation", 403, ec2.run_instances, InstanceType="t3.small", **launch)
    (instance,) = ec2.run_instances(InstanceType="t3.small", TagSpecifications=tags, **launch)["Instances"]
    refused("UnauthorizedOperation", 403, ec2.terminate_instances, InstanceIds=[instance["InstanceId"]])
    session.may([allow("ec2:TerminateInstances", StringEquals={"aws:ResourceTag/team": "a"})])
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])


def test_a_session_policy_caps(enforced):
    only = json.dumps({"Version": "2012-10-17", "Statement": [allow("ec2:*")]})
    session = Session(enforced, [allow("*")], Policy=only)
    session.client("ec2").describe_vpcs()
    assert refused("AccessDenied", 403, session.client("iam").list_roles).endswith("because no session policy allows the iam:ListRoles action")


def test_a_user_with_a_key(enforced):
    iam, name = enforced.client("iam"), unique("user")
    iam.create_user(UserName=name)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name="us-west-2")
    sqs = enforced.client("sqs", session=session)
    refused("AccessDenied", 403, sqs.list_queues)
    iam.attach_user_policy(UserName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
    sqs.list_queues()
    assert enforced.client("sts", session=session).get_caller_identity()["Arn"].endswith(f":user/{name}")


def test_the_simulator(account):
    iam, name = account.client("iam"), unique("role")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    document = {"Version": "2012-10-17", "Statement": [allow("ec2:Describe*"), {"Effect": "Deny", "Action": "ec2:DescribeVpcs", "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))
    actions = ["ec2:DescribeSubnets", "ec2:DescribeVpcs", "iam:ListRoles"]
    results = iam.simulate_principal_policy(PolicySourceArn=role["Arn"], ActionNames=actions)["EvaluationResults"]
    assert [result["EvalDecision"] for result in results] == ["allowed", "explicitDeny", "implicitDeny"]


@pytest.mark.parametrize(
    "document, message",
    [
        ("{", "Syntax errors in policy."),
        ({"Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}, "Policy document must be version 2012-10-17 or greater."),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*"}]}, "Policy statement must contain actions."),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "RunInstances", "Resource": "*"}]}, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        ({"Statement": [{"Effect": "Maybe", "Action": "ec2:*", "Resource": "*"}]}, "Syntax errors in policy."),
    ],
)
def test_documents_that_are_none(account, document, message):
    text = document if isinstance(document, str) else json.dumps(document)
    assert refused("MalformedPolicyDocument", 400, account.client("iam").create_policy, PolicyName=unique("p"), PolicyDocument=text) == message


def test_managed_policies_have_versions(account):
    iam = account.client("iam")
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow("ec2:*")]})
    arn = iam.create_policy(PolicyName=unique("p"), PolicyDocument=document)["Policy"]["Arn"]
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
    refused("LimitExceeded", 409, iam.create_policy_version, PolicyArn=arn, PolicyDocument=document)
    refused("DeleteConflict", 409, iam.delete_policy_version, PolicyArn=arn, VersionId="v5")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v5"
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == json.loads(document)
    refused("NoSuchEntity", 404, iam.get_policy_version, PolicyArn=arn, VersionId="v1")
