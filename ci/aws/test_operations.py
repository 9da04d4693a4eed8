"""Every operation that the tests of single services leave out, in success and in each of its refusals, told as small stories."""

import base64
import json

import botocore.exceptions
import pytest

from test_cloud import AMI_PARAMETER, ASSUMED_BY_EC2, refused, unique

ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]})
FILTER_ALL = [{"Name": "vpc-id", "Values": ["vpc-0"]}]


@pytest.fixture(scope="module")
def ec2(account):
    return account.client("ec2")


@pytest.fixture(scope="module")
def iam(account):
    return account.client("iam")


@pytest.fixture(scope="module")
def image(account):
    return account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]


@pytest.fixture(scope="module")
def arm(account):
    return account.client("ssm").get_parameter(Name=AMI_PARAMETER.replace("x86_64", "arm64"))["Parameter"]["Value"]


def run(ec2, image, **more):
    made = ec2.run_instances(**{"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **more})
    return made["Instances"][0]["InstanceId"]


def state(ec2, machine):
    return ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]["State"]["Name"]


def becomes(account, ec2, machine, wanted):
    assert account.until(lambda: state(ec2, machine) == wanted, 120), state(ec2, machine)


# EC2: networks


def test_a_network_is_made_and_taken_down(ec2):
    refused("InvalidVpc.Range", 400, ec2.create_vpc, CidrBlock="10.9.0.0/8")
    made = ec2.create_vpc(CidrBlock="10.9.8.7/16")["Vpc"]
    assert made["CidrBlock"] == "10.9.0.0/16"
    vpc = made["VpcId"]
    refused("InvalidSubnet.Range", 400, ec2.create_subnet, VpcId=vpc, CidrBlock="10.10.0.0/24")
    refused("InvalidParameterValue", 400, ec2.create_subnet, VpcId=vpc, CidrBlock="10.9.0.0/24", AvailabilityZone="us-west-2x")
    refused("InvalidParameterValue", 400, ec2.describe_availability_zones, ZoneNames=["us-west-2x"])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    refused("InvalidSubnet.Conflict", 400, ec2.create_subnet, VpcId=vpc, CidrBlock="10.9.0.0/25")
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["MapPublicIpOnLaunch"]
    refused("DependencyViolation", 400, ec2.delete_vpc, VpcId=vpc)
    ec2.delete_subnet(SubnetId=subnet)
    refused("InvalidSubnetID.NotFound", 400, ec2.delete_subnet, SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)
    refused("InvalidVpcID.NotFound", 400, ec2.delete_vpc, VpcId=vpc)


def test_a_security_groups_rules(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    refused("InvalidGroup.Duplicate", 400, ec2.create_security_group, GroupName="g", Description="g", VpcId=vpc)
    rule = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
    refused("InvalidPermission.Duplicate", 400, ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=rule)
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=rule)
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"][0]["FromPort"] == 443
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rule)
    refused("InvalidPermission.NotFound", 400, ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=rule)
    (own,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    refused("CannotDelete", 400, ec2.delete_security_group, GroupId=own["GroupId"])
    ec2.delete_security_group(GroupId=group)
    refused("InvalidGroup.NotFound", 400, ec2.delete_security_group, GroupId=group)
    ec2.delete_vpc(VpcId=vpc)


def test_what_is_in_use_stays(ec2, image):
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    machine = run(ec2, image, SubnetId=subnet, SecurityGroupIds=[group])
    (face,) = ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])["NetworkInterfaces"]
    assert face["Attachment"]["InstanceId"] == machine
    refused("InvalidNetworkInterfaceID.NotFound", 400, ec2.describe_network_interfaces, NetworkInterfaceIds=["eni-0"])
    refused("DependencyViolation", 400, ec2.delete_subnet, SubnetId=subnet)
    refused("DependencyViolation", 400, ec2.delete_security_group, GroupId=group)
    other = ec2.create_vpc(CidrBlock="10.6.0.0/16")["Vpc"]["VpcId"]
    stranger = ec2.create_security_group(GroupName="g", Description="g", VpcId=other)["GroupId"]
    refused("InvalidParameter", 400, run, ec2=ec2, image=image, SubnetId=subnet, SecurityGroupIds=[stranger])
    ec2.terminate_instances(InstanceIds=[machine])


def test_a_small_subnet_runs_out_of_addresses(ec2, image):
    vpc = ec2.create_vpc(CidrBlock="10.5.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.5.0.0/28")["Subnet"]["SubnetId"]
    refused("InsufficientFreeAddressesInSubnet", 400, run, ec2=ec2, image=image, SubnetId=subnet, MinCount=12, MaxCount=12)


# EC2: machines


def test_a_machine_stops_starts_and_ends(account, ec2, image):
    machine = run(ec2, image)
    becomes(account, ec2, machine, "running")
    (status,) = ec2.describe_instance_status(InstanceIds=[machine])["InstanceStatuses"]
    assert status["InstanceState"]["Name"] == "running"
    ec2.reboot_instances(InstanceIds=[machine])
    assert ec2.get_console_output(InstanceId=machine)["InstanceId"] == machine
    (disk,) = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [machine]}])["Volumes"]
    refused("VolumeInUse", 400, ec2.delete_volume, VolumeId=disk["VolumeId"])
    ec2.stop_instances(InstanceIds=[machine])
    becomes(account, ec2, machine, "stopped")
    refused("IncorrectInstanceState", 400, ec2.reboot_instances, InstanceIds=[machine])
    assert ec2.start_instances(InstanceIds=[machine])["StartingInstances"][0]["CurrentState"]["Name"] == "pending"
    ec2.modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": True})
    assert ec2.describe_instance_attribute(InstanceId=machine, Attribute="disableApiTermination")["DisableApiTermination"]["Value"]
    refused("OperationNotPermitted", 400, ec2.terminate_instances, InstanceIds=[machine])
    ec2.modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[machine])
    becomes(account, ec2, machine, "terminated")
    refused("IncorrectInstanceState", 400, ec2.stop_instances, InstanceIds=[machine])
    gone = ["i-0123456789abcdef0", "i-0123456789abcdef1"]
    refused("InvalidInstanceID.NotFound", 400, ec2.describe_instances, InstanceIds=gone)


def test_a_disk_outlives_its_machine_if_told_so(account, ec2, image):
    disks = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": False}}]
    machine = run(ec2, image, BlockDeviceMappings=disks)
    becomes(account, ec2, machine, "running")
    (disk,) = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [machine]}])["Volumes"]
    ec2.terminate_instances(InstanceIds=[machine])
    becomes(account, ec2, machine, "terminated")
    ec2.delete_volume(VolumeId=disk["VolumeId"])
    refused("InvalidVolume.NotFound", 400, ec2.delete_volume, VolumeId=disk["VolumeId"])


def test_a_disk_is_made_attached_and_taken_off(account, ec2, image):
    made = {"AvailabilityZone": "us-west-2a", "VolumeType": "gp3", "Size": 10}
    refused("InvalidZone.NotFound", 400, ec2.create_volume, **{**made, "AvailabilityZone": "us-west-2x"})
    refused("InvalidParameterValue", 400, ec2.create_volume, **{**made, "VolumeType": "gp9"})
    refused("InvalidParameterValue", 400, ec2.create_volume, **{**made, "VolumeType": "st1"})
    refused("InvalidParameterValue", 400, ec2.create_volume, **{**made, "VolumeType": "gp2", "Iops": 3000})
    refused("MissingParameter", 400, ec2.create_volume, **{**made, "VolumeType": "io2"})
    refused("InvalidSnapshot.NotFound", 400, ec2.create_volume, SnapshotId="snap-0123456789abcdef0", **made)
    refused("DryRunOperation", 412, ec2.create_volume, DryRun=True, **made)
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "of", "Value": "mine"}]}]
    disk = ec2.create_volume(ClientToken=unique("token"), TagSpecifications=tags, **made)
    assert (disk["State"], disk["Iops"], disk["Throughput"], disk["Tags"]) == ("creating", 3000, 125, tags[0]["Tags"])
    disk = disk["VolumeId"]
    snapshot = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    copy = ec2.create_volume(AvailabilityZone="us-west-2a", SnapshotId=snapshot)
    assert (copy["SnapshotId"], copy["VolumeType"], copy["Size"] > 0) == (snapshot, "gp2", True)
    ec2.delete_volume(VolumeId=copy["VolumeId"])

    def shown():
        (found,) = ec2.describe_volumes(VolumeIds=[disk])["Volumes"]
        return found["State"], [(one["InstanceId"], one["Device"], one["DeleteOnTermination"]) for one in found["Attachments"]]

    assert shown() == ("available", [])
    machine = run(ec2, image, Placement={"AvailabilityZone": "us-west-2a"})
    elsewhere = run(ec2, image, Placement={"AvailabilityZone": "us-west-2b"})
    assert refused("IncorrectState", 400, ec2.attach_volume, VolumeId=disk, InstanceId=machine, Device="/dev/sdf") == f"Instance '{machine}' is not 'running'."
    becomes(account, ec2, machine, "running")
    becomes(account, ec2, elsewhere, "running")
    refused("InvalidVolume.ZoneMismatch", 400, ec2.attach_volume, VolumeId=disk, InstanceId=elsewhere, Device="/dev/sdf")
    refused("InvalidParameterValue", 400, ec2.attach_volume, VolumeId=disk, InstanceId=machine, Device="/dev/xvda")
    assert ec2.attach_volume(VolumeId=disk, InstanceId=machine, Device="/dev/sdf")["State"] == "attaching"
    assert shown() == ("in-use", [(machine, "/dev/sdf", False)])
    devices = ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
    assert disk in {one["Ebs"]["VolumeId"] for one in devices}
    refused("VolumeInUse", 400, ec2.attach_volume, VolumeId=disk, InstanceId=machine, Device="/dev/sdg")
    refused("VolumeInUse", 400, ec2.delete_volume, VolumeId=disk)
    refused("InvalidAttachment.NotFound", 400, ec2.detach_volume, VolumeId=disk, InstanceId=elsewhere)
    root = next(one["Ebs"]["VolumeId"] for one in devices if one["DeviceName"] == "/dev/xvda")
    refused("OperationNotPermitted", 400, ec2.detach_volume, VolumeId=root)
    assert ec2.detach_volume(VolumeId=disk)["State"] == "detaching"
    assert shown() == ("available", [])
    refused("IncorrectState", 400, ec2.detach_volume, VolumeId=disk)
    ec2.attach_volume(VolumeId=disk, InstanceId=machine, Device="/dev/sdf")
    ec2.terminate_instances(InstanceIds=[machine, elsewhere])
    becomes(account, ec2, machine, "terminated")
    assert shown() == ("available", [])
    ec2.delete_volume(VolumeId=disk)


def test_a_spot_machine_and_its_request(account, ec2, image):
    machine = run(ec2, image, InstanceMarketOptions={"MarketType": "spot"})
    (asked,) = [one for one in ec2.describe_spot_instance_requests()["SpotInstanceRequests"] if one.get("InstanceId") == machine]
    becomes(account, ec2, machine, "running")
    refused("UnsupportedOperation", 400, ec2.stop_instances, InstanceIds=[machine])
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[asked["SpotInstanceRequestId"]])
    refused("InvalidSpotInstanceRequestID.NotFound", 400, ec2.describe_spot_instance_requests, SpotInstanceRequestIds=["sir-00000000"])
    ec2.terminate_instances(InstanceIds=[machine])
    cheap = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}
    refused("SpotMaxPriceTooLow", 400, run, ec2=ec2, image=image, InstanceMarketOptions=cheap)
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]
    refused("InvalidParameterValue", 400, run, ec2=ec2, image=image, TagSpecifications=tags)
    refused("UnsupportedOperation", 400, run, ec2=ec2, image=image, InstanceMarketOptions={"MarketType": "capacity-block"})


LAUNCHES = [
    ({"ImageId": "x-1"}, "InvalidAMIID.Malformed"),
    ({"InstanceType": "m6g.large"}, "InvalidParameterValue"),
    ({"IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/none"}}, "InvalidParameterValue"),
    ({"UserData": base64.b64encode(b"x" * 16385).decode()}, "InvalidUserData.Malformed"),
    ({"MinCount": 100000, "MaxCount": 100000}, "InstanceLimitExceeded"),
    ({"Placement": {"AvailabilityZone": "us-west-2x"}}, "InvalidParameterValue"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0}], "SecurityGroupIds": ["sg-0"]}, "InvalidParameterCombination"),
    ({"NetworkInterfaces": [{"DeviceIndex": at} for at in range(40)]}, "AttachmentLimitExceeded"),
    ({"LaunchTemplate": {"LaunchTemplateName": "none"}}, "InvalidLaunchTemplateName.NotFoundException"),
    ({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": f"k{at}", "Value": ""} for at in range(51)]}]}, "TagLimitExceeded"),
    ({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:k", "Value": ""}]}]}, "InvalidParameterValue"),
]


@pytest.mark.parametrize("more, code", LAUNCHES, ids=[f"{next(iter(row[0]))}-{row[1]}" for row in LAUNCHES])
def test_a_launch_that_is_wrong(ec2, image, more, code):
    refused(code, 400, run, ec2=ec2, image=image, **more) if "ImageId" not in more else refused(
        code, 400, ec2.run_instances, InstanceType="m5.large", MinCount=1, MaxCount=1, **more
    )


def test_a_type_is_not_in_every_zone(ec2, image):
    zones = {}
    for offer in ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone").build_full_result()["InstanceTypeOfferings"]:
        zones.setdefault(offer["InstanceType"], set()).add(offer["Location"])
    kinds = ec2.get_paginator("describe_instance_types").paginate(Filters=[{"Name": "processor-info.supported-architecture", "Values": ["x86_64"]}])
    intel = {kind["InstanceType"] for kind in kinds.build_full_result()["InstanceTypes"]}
    name, missing = next((name, zone) for name in sorted(intel) for zone in ("us-west-2d", "us-west-2a") if zone not in zones[name])
    refused("Unsupported", 400, run, ec2=ec2, image=image, InstanceType=name, Placement={"AvailabilityZone": missing})


def test_a_launch_needs_an_image(ec2):
    refused("MissingParameter", 400, ec2.run_instances, InstanceType="m5.large", MinCount=1, MaxCount=1)


def test_tags(ec2, image):
    machine = run(ec2, image)
    ec2.create_tags(Resources=[machine], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    refused("TagLimitExceeded", 400, ec2.create_tags, Resources=[machine], Tags=[{"Key": f"k{at}", "Value": ""} for at in range(50)])
    ec2.delete_tags(Resources=[machine], Tags=[{"Key": "a"}])
    found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [machine]}])["Tags"]
    assert [(tag["Key"], tag["ResourceType"]) for tag in found] == [("b", "instance")]
    refused("InvalidID", 400, ec2.create_tags, Resources=["nonsense"], Tags=[{"Key": "a", "Value": "1"}])
    ec2.terminate_instances(InstanceIds=[machine])


def test_images_are_ones_own_or_not(ec2, image):
    for call in (ec2.enable_image_deprecation, ec2.disable_image_deprecation, ec2.deregister_image):
        more = {"DeprecateAt": "2030-01-01T00:00:00Z"} if call == ec2.enable_image_deprecation else {}
        refused("AuthFailure", 401, call, ImageId=image, **more)


def test_an_image_of_ones_own(account, ec2, image):
    machine, name = run(ec2, image), unique("image")
    becomes(account, ec2, machine, "running")
    refused("InvalidInstanceID.NotFound", 400, ec2.create_image, InstanceId="i-0123456789abcdef0", Name=name)
    refused("InvalidAMIName.Malformed", 400, ec2.create_image, InstanceId=machine, Name="no?")
    refused("DryRunOperation", 412, ec2.create_image, InstanceId=machine, Name=name, DryRun=True)
    tags = [{"ResourceType": "image", "Tags": [{"Key": "of", "Value": "mine"}]}]
    own = ec2.create_image(InstanceId=machine, Name=name, Description="d", TagSpecifications=tags)["ImageId"]
    told = refused("InvalidAMIName.Duplicate", 400, ec2.create_image, InstanceId=machine, Name=name)
    assert told == f"AMI name {name} is already in use by AMI {own}"

    def shown(**more):
        return ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}], **more)["Images"]

    (made,) = shown()
    assert (made["State"], made["Public"], made["SourceInstanceId"], made["Tags"]) == ("pending", False, machine, [{"Key": "of", "Value": "mine"}])
    if account.virtual:
        assert refused("InvalidAMIID.Unavailable", 400, run, ec2=ec2, image=own) == f"The image ID '{own}' is not available"
        assert account.until(lambda: shown()[0]["State"] == "available", 90)
        ec2.terminate_instances(InstanceIds=[run(ec2, own)])
        refused("InvalidParameterValue", 400, ec2.enable_image_deprecation, ImageId=own, DeprecateAt="2020-01-01T00:00:00Z")
        ec2.enable_image_deprecation(ImageId=own, DeprecateAt="2026-12-01T00:00:00Z")
        assert shown()[0]["DeprecationTime"].startswith("2026-12-01T00:00:00")
        account.pipe.pass_time(30 * 24 * 3600)
        # Deprecated ones are shown to those who ask for them, and to those who name them.
        assert not shown() and shown(IncludeDeprecated=True) and ec2.describe_images(ImageIds=[own])["Images"]
        ec2.disable_image_deprecation(ImageId=own)
        assert "DeprecationTime" not in shown()[0]
    ec2.deregister_image(ImageId=own)
    refused("InvalidAMIID.NotFound", 400, ec2.describe_images, ImageIds=[own])
    if not account.virtual:
        ec2.terminate_instances(InstanceIds=[machine])


def test_images_of_snapshots_copies_and_who_may_launch_them(account, ec2, image):
    (of,) = ec2.describe_images(ImageIds=[image])["Images"]
    (disk,) = [row for row in of["BlockDeviceMappings"] if row["DeviceName"] == of["RootDeviceName"]]
    name = unique("registered")
    mappings = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": disk["Ebs"]["SnapshotId"], "VolumeSize": 50}}]
    made = {"Name": name, "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": mappings}
    refused("InvalidParameterValue", 400, ec2.register_image, **{**made, "RootDeviceName": "/dev/sda1"})
    refused("InvalidParameterValue", 400, ec2.register_image, Architecture="arm64", **made)
    none = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]
    refused("InvalidSnapshot.NotFound", 400, ec2.register_image, **{**made, "BlockDeviceMappings": none})
    own = ec2.register_image(Architecture="x86_64", **made)["ImageId"]
    refused("InvalidAMIName.Duplicate", 400, ec2.register_image, **made)
    (shown,) = ec2.describe_images(ImageIds=[own])["Images"]
    assert (shown["State"], shown["Public"], shown["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]) == ("available", False, 50)
    assert run(ec2, own)

    refused("UnsupportedOperation", 400, ec2.copy_image, SourceImageId=image, SourceRegion="eu-west-1", Name=unique("copy"))
    copy = ec2.copy_image(SourceImageId=image, SourceRegion="us-west-2", Name=unique("copy"))["ImageId"]
    (shown,) = ec2.describe_images(ImageIds=[copy])["Images"]
    assert (shown["OwnerId"], shown["State"], shown["Public"]) == ("123456789012", "pending", False)

    def launchers():
        return ec2.describe_image_attribute(ImageId=own, Attribute="launchPermission")["LaunchPermissions"]

    refused("AuthFailure", 401, ec2.modify_image_attribute, ImageId=image, LaunchPermission={"Add": [{"Group": "all"}]})
    refused("InvalidAMIAttributeItemValue", 400, ec2.modify_image_attribute, ImageId=own, LaunchPermission={"Add": [{"UserId": "me"}]})
    ec2.modify_image_attribute(ImageId=own, LaunchPermission={"Add": [{"UserId": "210987654321"}, {"Group": "all"}]})
    assert launchers() == [{"UserId": "210987654321"}, {"Group": "all"}]
    assert own in {one["ImageId"] for one in ec2.describe_images(ExecutableUsers=["all"])["Images"]}
    ec2.modify_image_attribute(ImageId=own, Attribute="launchPermission", OperationType="remove", UserGroups=["all"])
    assert launchers() == [{"UserId": "210987654321"}]
    ec2.modify_image_attribute(ImageId=own, Description={"Value": "new words"})
    assert ec2.describe_image_attribute(ImageId=own, Attribute="description")["Description"]["Value"] == "new words"
    for one in (own, copy):
        ec2.deregister_image(ImageId=one)


def test_the_account_and_its_regions(ec2):
    assert "us-west-2" in {region["RegionName"] for region in ec2.describe_regions()["Regions"]}
    assert ec2.describe_account_attributes()["AccountAttributes"]


def test_a_region_must_be_one(account):
    refused("AuthFailure", 401, account.client("ec2", region_name="xx-west-1").describe_vpcs)


# EC2: templates, fleets, reservations, groups


def test_a_template_and_its_versions(ec2, image):
    name = unique("template")
    refused("InvalidLaunchTemplateName.MalformedException", 400, ec2.create_launch_template, LaunchTemplateName="a b", LaunchTemplateData={"ImageId": image})
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})["LaunchTemplate"]
    refused("InvalidLaunchTemplateName.AlreadyExistsException", 400, ec2.create_launch_template, LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "m5.large"})
    ec2.modify_launch_template(LaunchTemplateName=name, DefaultVersion="2")
    (found,) = ec2.describe_launch_templates(LaunchTemplateNames=[name])["LaunchTemplates"]
    assert (found["DefaultVersionNumber"], found["LatestVersionNumber"]) == (2, 2)
    assert len(ec2.describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"]) == 2
    refused("InvalidLaunchTemplateId.VersionNotFound", 400, ec2.describe_launch_template_versions, LaunchTemplateName=name, Versions=["9"])
    ec2.delete_launch_template(LaunchTemplateId=made["LaunchTemplateId"])


def test_fleets_that_are_not_to_be_had(ec2, image):
    name = unique("fleet")
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    configs = [{"LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"}, "Overrides": [{"InstanceType": "m5.large"}]}]
    target = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
    refused("UnsupportedOperation", 400, ec2.create_fleet, Type="maintain", LaunchTemplateConfigs=configs, TargetCapacitySpecification=target)
    ec2.delete_launch_template(LaunchTemplateName=name)


def test_a_fleet_of_what_has_the_attributes(ec2, image):
    name = unique("fleet")
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    wanted = {"VCpuCount": {"Min": 2, "Max": 4}, "MemoryMiB": {"Min": 4096, "Max": 16384}}
    specification = {"LaunchTemplateName": name, "Version": "$Latest"}
    configs = [{"LaunchTemplateSpecification": specification, "Overrides": [{"InstanceRequirements": wanted}]}]
    target = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
    pages = ec2.get_paginator("get_instance_types_from_instance_requirements")
    pages = pages.paginate(ArchitectureTypes=["x86_64"], VirtualizationTypes=["hvm"], InstanceRequirements=wanted)
    suiting = {found["InstanceType"] for page in pages for found in page["InstanceTypes"]}
    assert "m5.large" in suiting and "m5.4xlarge" not in suiting
    made = ec2.create_fleet(Type="instant", LaunchTemplateConfigs=configs, TargetCapacitySpecification=target)
    assert [one["InstanceType"] in suiting for one in made["Instances"]] == [True]
    fleet = made["FleetId"]
    assert [one["FleetId"] for one in ec2.describe_fleets(FleetIds=[fleet])["Fleets"]] == [fleet]
    ended = ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=True)
    assert [one["FleetId"] for one in ended["SuccessfulFleetDeletions"]] == [fleet]
    refused("InvalidFleetId.NotFound", 400, ec2.describe_fleets, FleetIds=["fleet-00000000-0000-0000-0000-000000000000"])
    many = {"VCpuCount": {"Min": 100000}, "MemoryMiB": {"Min": 4096}}
    both = {"InstanceType": "m5.large", "InstanceRequirements": wanted}
    for code, override in [("InvalidParameterValue", {"InstanceRequirements": many}), ("InvalidParameterCombination", both)]:
        wishes = [{"LaunchTemplateSpecification": specification, "Overrides": [override]}]
        refused(code, 400, ec2.create_fleet, Type="instant", LaunchTemplateConfigs=wishes, TargetCapacitySpecification=target)
    ec2.delete_launch_template(LaunchTemplateName=name)


def test_a_reservation_is_made_used_and_cancelled(account, ec2, image):
    zone = {"InstanceType": "m5.xlarge", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-west-2a"}
    made = ec2.create_capacity_reservation(InstanceCount=1, InstanceMatchCriteria="targeted", **zone)["CapacityReservation"]["CapacityReservationId"]
    target = {"CapacityReservationTarget": {"CapacityReservationId": made}}
    refused("InvalidParameterValue", 400, run, ec2=ec2, image=image, CapacityReservationSpecification=target)
    here = {"InstanceType": "m5.xlarge", "Placement": {"AvailabilityZone": "us-west-2a"}, "CapacityReservationSpecification": target}
    machine = run(ec2, image, **here)
    refused("ReservationCapacityExceeded", 400, run, ec2=ec2, image=image, **here)
    ec2.modify_capacity_reservation(CapacityReservationId=made, InstanceCount=2)
    (found,) = ec2.describe_capacity_reservations(CapacityReservationIds=[made])["CapacityReservations"]
    assert (found["TotalInstanceCount"], found["AvailableInstanceCount"]) == (2, 1)
    ec2.terminate_instances(InstanceIds=[machine])
    ec2.cancel_capacity_reservation(CapacityReservationId=made)
    refused("InvalidCapacityReservationState", 400, ec2.modify_capacity_reservation, CapacityReservationId=made, InstanceCount=3)


def test_placement_groups_keep_their_machines(account, ec2, image):
    name = unique("spread")
    ec2.create_placement_group(GroupName=name, Strategy="spread")
    assert ec2.describe_placement_groups(GroupNames=[name])["PlacementGroups"][0]["Strategy"] == "spread"
    where = {"Placement": {"AvailabilityZone": "us-west-2a", "GroupName": name}}
    many = ec2.run_instances(ImageId=image, InstanceType="m5.large", MinCount=7, MaxCount=7, **where)["Instances"]
    refused("InsufficientInstanceCapacity", 500, run, ec2=ec2, image=image, **where)
    refused("InvalidPlacementGroup.InUse", 400, ec2.delete_placement_group, GroupName=name)
    ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in many])


# IAM


def test_a_role_from_its_making_to_its_end(iam):
    name, arn = unique("role"), "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
    refused("ValidationError", 400, iam.create_role, RoleName="a b", AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    refused("EntityAlreadyExists", 409, iam.create_role, RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=ASSUMED_BY_EC2)
    refused("MalformedPolicyDocument", 400, iam.update_assume_role_policy, RoleName=name, PolicyDocument="{}")
    iam.tag_role(RoleName=name, Tags=[{"Key": "a", "Value": "1"}])
    assert iam.list_role_tags(RoleName=name)["Tags"] == [{"Key": "a", "Value": "1"}]
    iam.untag_role(RoleName=name, TagKeys=["a"])
    iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=ALLOW)
    assert iam.get_role_policy(RoleName=name, PolicyName="inline")["PolicyDocument"] == json.loads(ALLOW)
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["inline"]
    refused("NoSuchEntity", 404, iam.get_role_policy, RoleName=name, PolicyName="none")
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    refused("NoSuchEntity", 404, iam.attach_role_policy, RoleName=name, PolicyArn="arn:aws:iam::123456789012:policy/none")
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"][0]["PolicyArn"] == arn
    refused("DeleteConflict", 409, iam.delete_role, RoleName=name)
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=arn)
    iam.delete_role_permissions_boundary(RoleName=name)
    refused("NoSuchEntity", 404, iam.delete_role_permissions_boundary, RoleName=name)
    refused("NoSuchEntity", 404, iam.put_role_permissions_boundary, RoleName=name, PermissionsBoundary="arn:aws:iam::123456789012:policy/none")
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    refused("NoSuchEntity", 404, iam.detach_role_policy, RoleName=name, PolicyArn=arn)
    iam.delete_role_policy(RoleName=name, PolicyName="inline")
    assert name in {role["RoleName"] for role in iam.list_roles()["Roles"]}
    refused("ValidationError", 400, iam.list_roles, Marker="nonsense")
    iam.delete_role(RoleName=name)


def test_a_profile_from_its_making_to_its_end(iam):
    name, other = unique("profile"), unique("other")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    iam.create_role(RoleName=other, AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    iam.create_instance_profile(InstanceProfileName=name)
    refused("EntityAlreadyExists", 409, iam.create_instance_profile, InstanceProfileName=name)
    iam.tag_instance_profile(InstanceProfileName=name, Tags=[{"Key": "a", "Value": "1"}])
    iam.untag_instance_profile(InstanceProfileName=name, TagKeys=["a"])
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    refused("LimitExceeded", 409, iam.add_role_to_instance_profile, InstanceProfileName=name, RoleName=other)
    assert len(iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]) == 1
    refused("DeleteConflict", 409, iam.delete_instance_profile, InstanceProfileName=name)
    refused("DeleteConflict", 409, iam.delete_role, RoleName=name)
    refused("NoSuchEntity", 404, iam.remove_role_from_instance_profile, InstanceProfileName=name, RoleName=other)
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_instance_profile(InstanceProfileName=name)
    for role in (name, other):
        iam.delete_role(RoleName=role)


def test_a_policy_and_its_versions(iam):
    name, role = unique("policy"), unique("role")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=ALLOW)["Policy"]["Arn"]
    refused("EntityAlreadyExists", 409, iam.create_policy, PolicyName=name, PolicyDocument=ALLOW)
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=ALLOW)
    refused("LimitExceeded", 409, iam.create_policy_version, PolicyArn=arn, PolicyDocument=ALLOW)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    refused("DeleteConflict", 409, iam.delete_policy_version, PolicyArn=arn, VersionId="v2")
    refused("NoSuchEntity", 404, iam.get_policy_version, PolicyArn=arn, VersionId="v9")
    assert len(iam.list_policy_versions(PolicyArn=arn)["Versions"]) == 5
    for version in ("v1", "v3", "v4", "v5"):
        iam.delete_policy_version(PolicyArn=arn, VersionId=version)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=ASSUMED_BY_EC2)
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    refused("DeleteConflict", 409, iam.delete_policy, PolicyArn=arn)
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    assert arn in {policy["Arn"] for policy in iam.list_policies(Scope="Local")["Policies"]}
    iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName=role)


def test_a_user_from_its_making_to_its_end(iam):
    name, arn = unique("user"), "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
    iam.create_user(UserName=name)
    refused("EntityAlreadyExists", 409, iam.create_user, UserName=name)
    assert iam.get_user(UserName=name)["User"]["UserName"] == name
    assert name in {user["UserName"] for user in iam.list_users()["Users"]}
    keys = [iam.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"] for _ in range(2)]
    refused("LimitExceeded", 409, iam.create_access_key, UserName=name)
    assert len(iam.list_access_keys(UserName=name)["AccessKeyMetadata"]) == 2
    refused("DeleteConflict", 409, iam.delete_user, UserName=name)
    for key in keys:
        iam.delete_access_key(UserName=name, AccessKeyId=key)
    refused("NoSuchEntity", 404, iam.delete_access_key, UserName=name, AccessKeyId="AKIAIOSFODNN7NOTHERE")
    iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=ALLOW)
    assert iam.get_user_policy(UserName=name, PolicyName="inline")["UserName"] == name
    assert iam.list_user_policies(UserName=name)["PolicyNames"] == ["inline"]
    refused("NoSuchEntity", 404, iam.get_user_policy, UserName=name, PolicyName="none")
    refused("DeleteConflict", 409, iam.delete_user, UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    assert len(iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]) == 1
    iam.detach_user_policy(UserName=name, PolicyArn=arn)
    iam.delete_user_policy(UserName=name, PolicyName="inline")
    iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary=arn)
    iam.delete_user_permissions_boundary(UserName=name)
    iam.delete_user(UserName=name)


def test_linked_roles_and_providers(iam):
    made = {"AWSServiceName": "autoscaling.amazonaws.com", "CustomSuffix": unique("s")}
    iam.create_service_linked_role(**made)
    refused("InvalidInput", 400, iam.create_service_linked_role, **made)
    refused("InvalidInput", 400, iam.create_service_linked_role, AWSServiceName="nobody.amazonaws.com")
    refused("ValidationError", 400, iam.create_open_id_connect_provider, Url="http://plain.example", ThumbprintList=["a" * 40])
    url = f"https://{unique('oidc')}.example"
    arn = iam.create_open_id_connect_provider(Url=url, ThumbprintList=["a" * 40])["OpenIDConnectProviderArn"]
    refused("EntityAlreadyExists", 409, iam.create_open_id_connect_provider, Url=url, ThumbprintList=["a" * 40])
    assert arn in {one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]}
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    refused("NoSuchEntity", 404, iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn)


def test_the_simulator(iam):
    found = iam.simulate_custom_policy(PolicyInputList=[ALLOW], ActionNames=["ec2:DescribeVpcs", "ec2:RunInstances"])["EvaluationResults"]
    assert [one["EvalDecision"] for one in found] == ["allowed", "implicitDeny"]
    refused("InvalidInput", 400, iam.simulate_custom_policy, PolicyInputList=["{}"], ActionNames=["ec2:DescribeVpcs"])
    gone = "arn:aws:iam::123456789012:role/none"
    refused("NoSuchEntity", 404, iam.simulate_principal_policy, PolicySourceArn=gone, ActionNames=["ec2:DescribeVpcs"])


# Messages, parameters, prices, clusters, scaling, zones


def test_a_queue_with_batches(account):
    sqs, name = account.client("sqs"), unique("queue")
    missing, twice = "AWS.SimpleQueueService.EmptyBatchRequest", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
    refused("QueueAlreadyExists", 400, sqs.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "31"})
    refused("InvalidAttributeName", 400, sqs.create_queue, QueueName=unique("q"), Attributes={"Colour": "red"})
    refused("InvalidAttributeValue", 400, sqs.set_queue_attributes, QueueUrl=url, Attributes={"VisibilityTimeout": "-1"})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "40"})
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=url) or not sqs.list_queue_tags(QueueUrl=url)["Tags"]
    entries = [{"Id": str(at), "MessageBody": f"m{at}"} for at in range(11)]
    refused("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400, sqs.send_message_batch, QueueUrl=url, Entries=entries)
    refused(missing, 400, sqs.send_message_batch, QueueUrl=url, Entries=[])
    refused(twice, 400, sqs.send_message_batch, QueueUrl=url, Entries=[entries[0], entries[0]])
    assert len(sqs.send_message_batch(QueueUrl=url, Entries=entries[:3])["Successful"]) == 3
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"], VisibilityTimeout=0)
    visible = [{"Id": "1", "ReceiptHandle": got[2]["ReceiptHandle"], "VisibilityTimeout": 0}, {"Id": "2", "ReceiptHandle": "none", "VisibilityTimeout": 0}]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=visible)
    assert ([one["Id"] for one in changed["Successful"]], [one["Id"] for one in changed["Failed"]]) == (["1"], ["2"])
    sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "1", "ReceiptHandle": got[1]["ReceiptHandle"]}])
    refused("ReceiptHandleIsInvalid", 400, sqs.delete_message, QueueUrl=url, ReceiptHandle="nonsense")
    refused("InvalidParameterValue", 400, sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
    refused("InvalidParameterValue", 400, sqs.send_message, QueueUrl=url, MessageBody="x" * (1024 * 1024 + 1))
    sqs.purge_queue(QueueUrl=url)
    sqs.delete_queue(QueueUrl=url)
    refused("AWS.SimpleQueueService.UnsupportedOperation", 400, sqs.create_queue, QueueName="a.fifo", Attributes={"FifoQueue": "true"})


def test_a_rule_and_its_targets(account):
    events, sqs, name = account.client("events"), account.client("sqs"), unique("rule")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    refused("InvalidEventPatternException", 400, events.put_rule, Name=name, EventPattern="{")
    refused("ValidationException", 400, events.put_rule, Name=name)
    refused("ResourceNotFoundException", 400, events.put_rule, Name=name, EventPattern='{"source":["a"]}', EventBusName="none")
    events.put_rule(Name=name, EventPattern='{"source":["lab"]}')
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    assert events.describe_rule(Name=name)["State"] == "ENABLED"
    assert events.list_targets_by_rule(Rule=name)["Targets"][0]["Arn"] == arn
    assert events.list_rule_names_by_target(TargetArn=arn)["RuleNames"] == [name]
    events.disable_rule(Name=name)
    assert events.describe_rule(Name=name)["State"] == "DISABLED"
    events.enable_rule(Name=name)
    entry = {"Source": "lab", "DetailType": "news", "Detail": "{}"}
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    assert account.until(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"), 5)
    refused("ValidationException", 400, events.delete_rule, Name=name)
    refused("ValidationException", 400, events.list_rules, NextToken="nonsense")
    events.remove_targets(Rule=name, Ids=["1"])
    events.delete_rule(Name=name)


def test_parameters(account):
    ssm, name = account.client("ssm"), f"/{unique('p')}"
    refused("InvalidFilterKey", 400, ssm.describe_parameters, ParameterFilters=[{"Key": "Nope", "Values": ["x"]}])
    ssm.put_parameter(Name=f"{name}/a", Value="1", Type="String")
    refused("ParameterAlreadyExists", 400, ssm.put_parameter, Name=f"{name}/a", Value="2", Type="String")
    refused("AccessDeniedException", 400, ssm.put_parameter, Name="/aws/mine", Value="2", Type="String")
    refused("ValidationException", 400, ssm.put_parameter, Name=f"{name}/b", Value="2")
    refused("ValidationException", 400, ssm.put_parameter, Name=f"{name}/ami", Value="ami-0", Type="String", DataType="aws:ec2:image")
    assert ssm.get_parameters(Names=[f"{name}/a", "/none"])["InvalidParameters"] == ["/none"]
    assert len(ssm.get_parameters_by_path(Path=name, Recursive=True)["Parameters"]) == 1
    refused("InvalidNextToken", 400, ssm.get_parameters_by_path, Path=name, NextToken="nonsense")
    ssm.delete_parameter(Name=f"{name}/a")
    refused("ParameterNotFound", 400, ssm.delete_parameter, Name=f"{name}/a")


NOT_DONE = [
    ("ec2", "describe_fleets", {}),
    ("ec2", "delete_fleets", {"FleetIds": ["fleet-0"], "TerminateInstances": True}),
    ("ssm", "describe_parameters", {}),
    ("pricing", "describe_services", {}),
]


@pytest.mark.parametrize("service, operation, parameters", NOT_DONE, ids=[row[1] for row in NOT_DONE])
def test_what_is_not_done_says_so(account, service, operation, parameters):
    try:
        getattr(account.client(service), operation)(**parameters)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "UnsupportedOperation"


def test_a_session_is_as_long_as_its_role_lets_it_be(account, iam):
    name = unique("role")
    trust = json.loads(ASSUMED_BY_EC2)
    trust["Statement"][0]["Principal"] = {"AWS": "arn:aws:iam::123456789012:root"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    refused("ValidationError", 400, account.client("sts").assume_role, RoleArn=role, RoleSessionName="session", DurationSeconds=7200)


def test_pages_and_names_exclude_each_other(ec2):
    refused("InvalidParameterCombination", 400, ec2.describe_instance_types, InstanceTypes=["m5.large"], MaxResults=5)


def test_a_zonal_shift_of_a_cluster(account, iam):
    eks, arc, name = account.client("eks"), account.client("arc-zonal-shift"), unique("shifted")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)["Role"]["Arn"]
    subnets = [one["SubnetId"] for one in account.client("ec2").describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]]
    made = eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, zonalShiftConfig={"enabled": True})["cluster"]
    assert made["zonalShiftConfig"] == {"enabled": True}
    away = {"resourceIdentifier": made["arn"], "awayFrom": "usw2-az1", "comment": "away"}
    refused("ValidationException", 400, arc.start_zonal_shift, expiresIn="soon", **away)
    shift = arc.start_zonal_shift(expiresIn="1h", **away)["zonalShiftId"]
    refused("ConflictException", 409, arc.start_zonal_shift, expiresIn="1h", **away)
    assert arc.get_managed_resource(resourceIdentifier=made["arn"])["appliedWeights"]["usw2-az1"] == 0.0
    assert shift in {one["zonalShiftId"] for one in arc.list_zonal_shifts()["items"]}
    assert arc.cancel_zonal_shift(zonalShiftId=shift)["status"] == "CANCELED"
    second = arc.start_zonal_shift(expiresIn="1h", **away)["zonalShiftId"]
    pages = arc.get_paginator("list_zonal_shifts").paginate(resourceIdentifier=made["arn"], PaginationConfig={"PageSize": 1})
    assert sorted([one["zonalShiftId"] for one in page["items"]] for page in pages if page["items"]) == sorted([[shift], [second]])
    arc.cancel_zonal_shift(zonalShiftId=second)
    refused("ResourceNotFoundException", 404, arc.cancel_zonal_shift, zonalShiftId="00000000-0000-0000-0000-000000000000")


def test_the_price_list(account):
    pricing = account.client("pricing", region_name="us-east-1")
    refused("InvalidNextTokenException", 400, pricing.get_products, ServiceCode="AmazonEC2", NextToken="nonsense")


def test_groups_tags(account, ec2, image):
    scaling, name = account.client("autoscaling"), unique("group")
    template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "m5.large"})["LaunchTemplate"]
    made = {"LaunchTemplate": {"LaunchTemplateId": template["LaunchTemplateId"]}, "MinSize": 0, "MaxSize": 3, "AvailabilityZones": ["us-west-2a"]}
    scaling.create_auto_scaling_group(AutoScalingGroupName=name, **made)
    tag = {"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": "a", "Value": "1", "PropagateAtLaunch": True}
    scaling.create_or_update_tags(Tags=[tag])
    of = [{"Name": "auto-scaling-group", "Values": [name]}]
    assert scaling.describe_tags(Filters=of)["Tags"] == [tag]
    for propagates in (True, False):
        by = [*of, {"Name": "propagate-at-launch", "Values": [str(propagates).lower()]}]
        assert scaling.describe_tags(Filters=by)["Tags"] == [tag] * propagates
    scaling.delete_tags(Tags=[tag])
    scaling.update_auto_scaling_group(AutoScalingGroupName=name, MaxSize=5)
    assert scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]["MaxSize"] == 5
    assert scaling.describe_launch_configurations()["LaunchConfigurations"] == []
    refused("InvalidNextToken", 400, scaling.describe_auto_scaling_groups, NextToken="nonsense")
    scaling.delete_auto_scaling_group(AutoScalingGroupName=name)


def test_a_cluster_its_entries_and_its_pods_roles(account, iam):
    eks, name = account.client("eks"), unique("cluster")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)["Role"]["Arn"]
    subnets = [subnet["SubnetId"] for subnet in account.client("ec2").describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]]
    refused("InvalidParameterException", 400, eks.create_cluster, name="a b", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    access = {"accessConfig": {"authenticationMode": "API"}}
    eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, **access)
    refused("InvalidParameterException", 400, eks.list_clusters, nextToken="nonsense")
    assert account.until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE", 1200)
    eks.create_access_entry(clusterName=name, principalArn=role, type="STANDARD")
    assert eks.describe_access_entry(clusterName=name, principalArn=role)["accessEntry"]["type"] == "STANDARD"
    policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    eks.associate_access_policy(clusterName=name, principalArn=role, policyArn=policy, accessScope={"type": "cluster"})
    eks.disassociate_access_policy(clusterName=name, principalArn=role, policyArn=policy)
    made = eks.create_pod_identity_association(clusterName=name, namespace="a", serviceAccount="b", roleArn=role)["association"]["associationId"]
    assert eks.describe_pod_identity_association(clusterName=name, associationId=made)["association"]["namespace"] == "a"
    eks.update_pod_identity_association(clusterName=name, associationId=made, roleArn=role)
    eks.delete_pod_identity_association(clusterName=name, associationId=made)
    eks.delete_cluster(name=name)
