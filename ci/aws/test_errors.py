"""What a client is told when it errs: operation, code, status and words. The sources of code and words stand in the cloud's own table
(`fake-ec2/src/services/errors.rs`)."""

import pytest

from test_cloud import AMI_PARAMETER, refused, unique

GONE = "i-0123456789abcdef0"
IAM = "arn:aws:iam::123456789012"
RANGE = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:*","Resource":"*"}]}'

# Service, operation, parameters, code, status, message. `{ami}` is an image that is there, `{queue}` the URL of a queue that is not.
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
    ("autoscaling", "create_or_update_tags", {"Tags": [{"ResourceId": "none", "ResourceType": "auto-scaling-group", "Key": "k", "Value": "v", "PropagateAtLaunch": True}]}, "ValidationError", 400, "AutoScalingGroup name not found - AutoScalingGroup 'none' not found"),
    ("autoscaling", "delete_tags", {"Tags": [{"ResourceId": "none", "ResourceType": "auto-scaling-group", "Key": "k"}]}, "ValidationError", 400, "AutoScalingGroup name not found - AutoScalingGroup 'none' not found"),
    ("autoscaling", "describe_auto_scaling_instances", {"NextToken": "nonsense"}, "InvalidNextToken", 400, "The token '' is invalid."),
    ("autoscaling", "describe_auto_scaling_groups", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "ValidationError", 400, "Filter type colour is not correct. Allowed Filter types are: tag-key tag-value tag:<key>"),
    ("autoscaling", "describe_launch_configurations", {"NextToken": "nonsense"}, "InvalidNextToken", 400, "The token '' is invalid."),
    ("autoscaling", "describe_tags", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "ValidationError", 400, "Filter type colour is not correct. Allowed Filter types are: auto-scaling-group key value propagate-at-launch"),
    ("arc-zonal-shift", "list_zonal_shifts", {"nextToken": "nonsense"}, "ValidationException", 400, "The pagination token is not valid."),
    ("pricing", "describe_services", {"NextToken": "nonsense"}, "InvalidNextTokenException", 400, "The pagination token is invalid."),
    ("pricing", "describe_services", {"ServiceCode": "None"}, "NotFoundException", 400, "Invalid ServiceCode: None"),
    ("ec2", "authorize_security_group_egress", {"GroupId": "sg-0", "IpPermissions": RANGE}, "InvalidGroup.NotFound", 400, "The security group 'sg-0' does not exist"),
    ("ec2", "cancel_spot_instance_requests", {"SpotInstanceRequestIds": ["sir-01234567"]}, "InvalidSpotInstanceRequestID.NotFound", 400, "The spot instance request ID 'sir-01234567' does not exist"),
    ("ec2", "create_capacity_reservation", {"InstanceType": "m5.huge", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-west-2a", "InstanceCount": 1}, "InvalidParameterValue", 400, "Invalid value 'm5.huge' for InstanceType."),
    ("ec2", "create_launch_template_version", {"LaunchTemplateId": "lt-0", "LaunchTemplateData": {"InstanceType": "m5.large"}}, "InvalidLaunchTemplateId.NotFound", 400, "The specified launch template, with template ID lt-0, does not exist."),
    ("ec2", "delete_tags", {"Resources": [GONE]}, "InvalidInstanceID.NotFound", 400, f"The instance ID '{GONE}' does not exist"),
    ("ec2", "describe_image_attribute", {"ImageId": "ami-0", "Attribute": "launchPermission"}, "InvalidAMIID.NotFound", 400, "The image id '[ami-0]' does not exist"),
    ("ec2", "get_instance_types_from_instance_requirements", {"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"], "InstanceRequirements": {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}}, "NextToken": "nonsense"}, "InvalidNextToken", 400, "The specified NextToken is not valid."),
    ("ec2", "modify_launch_template", {"LaunchTemplateId": "lt-0", "DefaultVersion": "1"}, "InvalidLaunchTemplateId.NotFound", 400, "The specified launch template, with template ID lt-0, does not exist."),
    ("ec2", "modify_subnet_attribute", {"SubnetId": "subnet-0", "MapPublicIpOnLaunch": {"Value": True}}, "InvalidSubnetID.NotFound", 400, "The subnet ID 'subnet-0' does not exist"),
    ("events", "list_rule_names_by_target", {"TargetArn": "arn:aws:sqs:us-west-2:123456789012:q", "EventBusName": "none"}, "ResourceNotFoundException", 400, "Event bus none does not exist."),
    ("iam", "delete_open_id_connect_provider", {"OpenIDConnectProviderArn": f"{IAM}:oidc-provider/none.example.com"}, "NoSuchEntity", 404, f"OpenIDConnect Provider not found for arn {IAM}:oidc-provider/none.example.com"),
    ("ssm", "get_parameters", {"Names": ["/a"] * 11}, "ValidationException", 400, f"1 validation error detected: Value '[{', '.join(['/a'] * 11)}]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10."),
]

# Of one message each: what is named is not there.
CLUSTER = {"clusterName": "none"}
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
GONE_FROM = [
    ("eks", "ResourceNotFoundException", 404, "No cluster found for name: none.", [
        ("associate_access_policy", {**CLUSTER, "principalArn": f"{IAM}:role/r", "policyArn": VIEW, "accessScope": {"type": "cluster"}}),
        ("delete_access_entry", {**CLUSTER, "principalArn": f"{IAM}:role/r"}),
        ("delete_nodegroup", {**CLUSTER, "nodegroupName": "x"}),
        ("delete_pod_identity_association", {**CLUSTER, "associationId": "a-1"}),
        ("disassociate_access_policy", {**CLUSTER, "principalArn": f"{IAM}:role/r", "policyArn": VIEW}),
        ("list_access_entries", CLUSTER),
        ("list_associated_access_policies", {**CLUSTER, "principalArn": f"{IAM}:role/r"}),
        ("list_nodegroups", CLUSTER),
        ("list_pod_identity_associations", CLUSTER),
        ("list_updates", {"name": "none"}),
        ("update_pod_identity_association", {**CLUSTER, "associationId": "a-1", "roleArn": f"{IAM}:role/r"}),
    ]),
    ("events", "ResourceNotFoundException", 400, "Rule none does not exist on EventBus default.", [
        ("disable_rule", {"Name": "none"}),
        ("enable_rule", {"Name": "none"}),
        ("list_targets_by_rule", {"Rule": "none"}),
        ("remove_targets", {"Rule": "none", "Ids": ["a"]}),
    ]),
    ("iam", "NoSuchEntity", 404, "The user with name none cannot be found.", [
        ("attach_user_policy", {"UserName": "none", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
        ("delete_user_permissions_boundary", {"UserName": "none"}),
        ("delete_user_policy", {"UserName": "none", "PolicyName": "p"}),
        ("detach_user_policy", {"UserName": "none", "PolicyArn": f"{IAM}:policy/p"}),
        ("list_access_keys", {"UserName": "none"}),
        ("list_attached_user_policies", {"UserName": "none"}),
        ("list_user_policies", {"UserName": "none"}),
        ("put_user_permissions_boundary", {"UserName": "none", "PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}),
        ("put_user_policy", {"UserName": "none", "PolicyName": "p", "PolicyDocument": POLICY}),
    ]),
    ("iam", "NoSuchEntity", 404, "The role with name none cannot be found.", [
        ("delete_role_policy", {"RoleName": "none", "PolicyName": "p"}),
        ("list_attached_role_policies", {"RoleName": "none"}),
        ("list_instance_profiles_for_role", {"RoleName": "none"}),
        ("list_role_policies", {"RoleName": "none"}),
        ("list_role_tags", {"RoleName": "none"}),
        ("put_role_policy", {"RoleName": "none", "PolicyName": "p", "PolicyDocument": POLICY}),
        ("tag_role", {"RoleName": "none", "Tags": [{"Key": "k", "Value": "v"}]}),
        ("untag_role", {"RoleName": "none", "TagKeys": ["k"]}),
    ]),
    ("iam", "NoSuchEntity", 404, "Instance Profile none cannot be found.", [
        ("tag_instance_profile", {"InstanceProfileName": "none", "Tags": [{"Key": "k", "Value": "v"}]}),
        ("untag_instance_profile", {"InstanceProfileName": "none", "TagKeys": ["k"]}),
    ]),
    ("iam", "NoSuchEntity", 404, f"Policy {IAM}:policy/none was not found.", [
        ("list_policy_versions", {"PolicyArn": f"{IAM}:policy/none"}),
        ("set_default_policy_version", {"PolicyArn": f"{IAM}:policy/none", "VersionId": "v1"}),
    ]),
    ("iam", "ValidationError", 400, "Invalid Marker.", [
        ("list_instance_profiles", {"Marker": "nonsense"}),
        ("list_policies", {"Marker": "nonsense"}),
        ("list_users", {"Marker": "nonsense"}),
    ]),
    ("sqs", "AWS.SimpleQueueService.NonExistentQueue", 400, "The specified queue does not exist.", [
        ("change_message_visibility", {"QueueUrl": "{queue}", "ReceiptHandle": "h", "VisibilityTimeout": 1}),
        ("change_message_visibility_batch", {"QueueUrl": "{queue}", "Entries": [{"Id": "a", "ReceiptHandle": "h", "VisibilityTimeout": 1}]}),
        ("delete_message_batch", {"QueueUrl": "{queue}", "Entries": [{"Id": "a", "ReceiptHandle": "h"}]}),
        ("get_queue_attributes", {"QueueUrl": "{queue}", "AttributeNames": ["All"]}),
        ("list_queue_tags", {"QueueUrl": "{queue}"}),
        ("purge_queue", {"QueueUrl": "{queue}"}),
        ("tag_queue", {"QueueUrl": "{queue}", "Tags": {"k": "v"}}),
        ("untag_queue", {"QueueUrl": "{queue}", "TagKeys": ["k"]}),
    ]),
]  # fmt: skip
ROWS += [(service, operation, parameters, code, status, message) for service, code, status, message, rows in GONE_FROM for operation, parameters in rows]


@pytest.fixture(scope="module")
def ami(account):
    return account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]


@pytest.mark.parametrize("service, operation, parameters, code, status, message", ROWS, ids=[f"{row[1]}-{row[3]}" for row in ROWS])
def test_a_row(account, ami, service, operation, parameters, code, status, message):
    client = account.client(service)
    known = {"{ami}": ami, "{queue}": f"{client.meta.endpoint_url}/123456789012/none"}
    parameters = {name: known.get(value, value) if isinstance(value, str) else value for name, value in parameters.items()}
    assert refused(code, status, getattr(client, operation), **parameters) == message


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
