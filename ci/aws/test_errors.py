"""What a client is told when it errs: operation, code, status and words. The sources of code and words stand in the cloud's own table
(`fake-ec2/src/services/errors.rs`)."""

import pytest

from test_cloud import AMI_PARAMETER, refused, unique

GONE = "i-0123456789abcdef0"

# Service, operation, parameters, code, status, message. `{ami}` is an image that is there.
ROWS = [
    ("ec2", "describe_instances", {"InstanceIds": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "describe_instances", {"InstanceIds": ["x-1"]}, "InvalidInstanceID.Malformed", 400, 'Invalid id: "x-1" (expecting "i-...")'),
    ("ec2", "terminate_instances", {"InstanceIds": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "stop_instances", {"InstanceIds": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "start_instances", {"InstanceIds": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "reboot_instances", {"InstanceIds": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "describe_instance_status", {"InstanceIds": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "describe_instance_attribute", {"InstanceId": GONE, "Attribute": "userData"}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "modify_instance_attribute", {"InstanceId": GONE, "DisableApiTermination": {"Value": True}}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "get_console_output", {"InstanceId": GONE}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "describe_instances", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue", 400, "The filter 'colour' is invalid"),
    ("ec2", "describe_subnets", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue", 400, "The filter 'colour' is invalid"),
    ("ec2", "describe_capacity_reservations", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue", 400, "The filter 'colour' is invalid"),
    ("ec2", "describe_placement_groups", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue", 400, "The filter 'colour' is invalid"),
    ("ec2", "describe_subnets", {"SubnetIds": ["subnet-0"]}, "InvalidSubnetID.NotFound", 400, "The subnet ID 'subnet-0' does not exist"),
    ("ec2", "describe_security_groups", {"GroupIds": ["sg-0"]}, "InvalidGroup.NotFound", 400, "The security group 'sg-0' does not exist"),
    ("ec2", "describe_vpcs", {"VpcIds": ["vpc-0"]}, "InvalidVpcID.NotFound", 400, "The vpc ID 'vpc-0' does not exist"),
    ("ec2", "describe_images", {"ImageIds": ["ami-0"]}, "InvalidAMIID.NotFound", 400, "The image id '[ami-0]' does not exist"),
    ("ec2", "describe_volumes", {"VolumeIds": ["vol-0"]}, "InvalidVolume.NotFound", 400, "The volume 'vol-0' does not exist."),
    ("ec2", "describe_launch_templates", {"LaunchTemplateNames": ["none"]}, "InvalidLaunchTemplateName.NotFoundException", 400, "At least one of the launch templates specified in the request does not exist."),
    ("ec2", "delete_launch_template", {"LaunchTemplateId": "lt-0"}, "InvalidLaunchTemplateId.NotFound", 400, "The specified launch template, with template ID lt-0, does not exist."),
    ("ec2", "describe_capacity_reservations", {"CapacityReservationIds": ["cr-0"]}, "InvalidCapacityReservationId.NotFound", 400, "The capacity reservation with ID 'cr-0' was not found"),
    ("ec2", "cancel_capacity_reservation", {"CapacityReservationId": "cr-0"}, "InvalidCapacityReservationId.NotFound", 400, "The capacity reservation with ID 'cr-0' was not found"),
    ("ec2", "describe_placement_groups", {"GroupNames": ["none"]}, "InvalidPlacementGroup.Unknown", 400, "The Placement Group 'none' is unknown."),
    ("ec2", "delete_placement_group", {"GroupName": "none"}, "InvalidPlacementGroup.Unknown", 400, "The Placement Group 'none' is unknown."),
    ("ec2", "describe_instance_types", {"InstanceTypes": ["m5.huge"]}, "InvalidInstanceType", 400, "The following supplied instance types do not exist: [m5.huge]"),
    ("ec2", "describe_instances", {"NextToken": "nonsense"}, "InvalidNextToken", 400, "The specified NextToken is not valid."),
    ("ec2", "describe_instances", {"MaxResults": 4}, "InvalidParameterValue", 400, "Value (4) for parameter maxResults is invalid. Expecting a value greater than or equal to 5."),
    ("ec2", "create_tags", {"Resources": [GONE], "Tags": [{"Key": "aws:x", "Value": ""}]}, "InvalidParameterValue", 400, "Tag keys starting with 'aws:' are reserved for internal use"),
    ("ec2", "create_tags", {"Resources": [GONE], "Tags": [{"Key": "x", "Value": ""}]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "create_tags", {"Resources": [GONE], "Tags": [{"Key": "k" * 129, "Value": ""}]}, "InvalidParameterValue", 400, f"Tag key exceeds the maximum length of 128 characters: '{'k' * 129}'"),
    ("ec2", "create_tags", {"Resources": [GONE], "Tags": [{"Key": "k", "Value": "v" * 257}]}, "InvalidParameterValue", 400, f"Tag value exceeds the maximum length of 256 characters: '{'v' * 257}'"),
    ("ec2", "authorize_security_group_ingress", {"GroupId": "sg-0", "IpProtocol": "tpc", "CidrIp": "0.0.0.0/0"}, "InvalidParameterValue", 400, "Invalid value 'tpc' for IP protocol. Unknown protocol."),
    ("ec2", "authorize_security_group_ingress", {"GroupId": "sg-0", "IpProtocol": "tcp", "FromPort": 70000, "ToPort": 70000}, "InvalidParameterValue", 400, "Invalid value '70000' for port. Must be between 0 and 65535."),
    ("ec2", "authorize_security_group_ingress", {"GroupId": "sg-0", "IpProtocol": "tcp", "FromPort": 90, "ToPort": 80}, "InvalidParameterValue", 400, "Invalid TCP/UDP port range (90:80)"),
    ("ec2", "authorize_security_group_ingress", {"GroupId": "sg-0", "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": "10.0.0.0/33"}, "InvalidParameterValue", 400, "CIDR block 10.0.0.0/33 is malformed"),
    ("ec2", "create_volume", {"AvailabilityZone": "us-west-2a", "Size": 8, "VolumeType": "gp9"}, "InvalidParameterValue", 400, "Value (gp9) for parameter VolumeType is invalid. Valid values are: standard, io1, io2, gp2, sc1, st1, gp3."),
    ("ec2", "run_instances", {"ImageId": "ami-0", "MinCount": 1, "MaxCount": 1}, "InvalidAMIID.NotFound", 400, "The image id '[ami-0]' does not exist"),
    ("ec2", "run_instances", {"ImageId": "{ami}", "InstanceType": "m5.huge", "MinCount": 1, "MaxCount": 1}, "InvalidParameterValue", 400, "Invalid value 'm5.huge' for InstanceType."),
    ("ec2", "run_instances", {"ImageId": "{ami}", "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 1}, "InvalidParameterValue", 400, "Value (2) for parameter minCount is invalid. Expecting a value less than or equal to maxCount."),
    ("ec2", "run_instances", {"ImageId": "{ami}", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": "subnet-0"}, "InvalidSubnetID.NotFound", 400, "The subnet ID 'subnet-0' does not exist"),
    ("ec2", "run_instances", {"ImageId": "{ami}", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "SecurityGroupIds": ["sg-0"]}, "InvalidGroup.NotFound", 400, "The security group 'sg-0' does not exist"),
    ("ec2", "run_instances", {"ImageId": "{ami}", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue", 400, "Value (none) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"),
    ("ec2", "run_instances", {"ImageId": "{ami}", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "DryRun": True}, "DryRunOperation", 412, "Request would have succeeded, but DryRun flag is set."),
    ("iam", "get_role", {"RoleName": "none"}, "NoSuchEntity", 404, "The role with name none cannot be found."),
    ("iam", "get_user", {"UserName": "none"}, "NoSuchEntity", 404, "The user with name none cannot be found."),
    ("iam", "get_instance_profile", {"InstanceProfileName": "none"}, "NoSuchEntity", 404, "Instance Profile none cannot be found."),
    ("iam", "get_policy", {"PolicyArn": "arn:aws:iam::123456789012:policy/none"}, "NoSuchEntity", 404, "Policy arn:aws:iam::123456789012:policy/none was not found."),
    ("sqs", "get_queue_url", {"QueueName": "none"}, "AWS.SimpleQueueService.NonExistentQueue", 400, "The specified queue does not exist."),
    ("ssm", "get_parameter", {"Name": "/none"}, "ParameterNotFound", 400, ""),
    ("eks", "describe_cluster", {"name": "none"}, "ResourceNotFoundException", 404, "No cluster found for name: none."),
    ("eks", "describe_nodegroup", {"clusterName": "none", "nodegroupName": "x"}, "ResourceNotFoundException", 404, "No cluster found for name: none."),
    ("events", "describe_rule", {"Name": "none"}, "ResourceNotFoundException", 400, "Rule none does not exist on EventBus default."),
    ("events", "put_rule", {"Name": "r", "ScheduleExpression": "rate(1 minutes)"}, "ValidationException", 400, "Parameter ScheduleExpression is not valid."),
    ("events", "put_rule", {"Name": "r", "ScheduleExpression": "cron(0 12 * * ? *)"}, "UnsupportedOperation", 400, "Schedules of this cloud are rate(…); cron(…) does not fire here."),
    ("events", "put_targets", {"Rule": "none", "Targets": [{"Id": "a", "Arn": "arn:aws:sqs:us-west-2:123456789012:q", "Input": "{}", "InputPath": "$.a"}]}, "ValidationException", 400, "Only one of Input, InputPath, or InputTransformer must be provided for target a."),
    ("pricing", "get_products", {"ServiceCode": "None"}, "NotFoundException", 400, "Invalid ServiceCode: None"),
    ("sts", "assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/none", "RoleSessionName": "session"}, "AccessDenied", 403, "User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/none"),
    ("sts", "decode_authorization_message", {"EncodedMessage": "nonsense"}, "InvalidAuthorizationMessageException", 400, "Message is not valid"),
    ("arc-zonal-shift", "get_managed_resource", {"resourceIdentifier": "arn:aws:eks:us-west-2:123456789012:cluster/none"}, "ResourceNotFoundException", 404, "The resource with identifier arn:aws:eks:us-west-2:123456789012:cluster/none was not found."),
]


@pytest.fixture(scope="module")
def ami(account):
    return account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]


@pytest.mark.parametrize("service, operation, parameters, code, status, message", ROWS, ids=[f"{row[1]}-{row[3]}" for row in ROWS])
def test_a_row(account, ami, service, operation, parameters, code, status, message):
    parameters = {name: ami if value == "{ami}" else value for name, value in parameters.items()}
    assert refused(code, status, getattr(account.client(service), operation), **parameters) == message


def test_a_token_belongs_to_its_request(account):
    ec2 = account.client("ec2")
    token = ec2.describe_instance_types(MaxResults=5)["NextToken"]
    ec2.describe_instance_types(MaxResults=7, NextToken=token)
    filters = [{"Name": "bare-metal", "Values": ["true"]}]
    refused("InvalidNextToken", 400, ec2.describe_instance_types, MaxResults=5, NextToken=token, Filters=filters)
    refused("InvalidNextToken", 400, ec2.describe_subnets, MaxResults=5, NextToken=token)


def test_a_name_is_taken_once(account):
    ec2, name = account.client("ec2"), unique("taken")
    ec2.create_placement_group(GroupName=name, Strategy="spread")
    refused("InvalidPlacementGroup.Duplicate", 400, ec2.create_placement_group, GroupName=name, Strategy="spread")
    ec2.delete_placement_group(GroupName=name)
