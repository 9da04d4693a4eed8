"""boto3 against Auto Scaling and EKS's node groups, as Cluster Autoscaler uses them; access entries and Pod Identity."""

import base64
import json

import pytest

from test_cloud import AMI_PARAMETER, ASSUMED_BY_EC2, ZONES, refused, unique


@pytest.fixture
def scaling(account):
    return account.client("autoscaling")


@pytest.fixture
def group(account, scaling):
    """A group of two m5.large over two zones."""
    ec2, name = account.client("ec2"), unique("group")
    image = account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "m5.large"})
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name, MinSize=0, MaxSize=4, DesiredCapacity=2, AvailabilityZones=ZONES[:2],
        LaunchTemplate={"LaunchTemplateName": name, "Version": "$Latest"},
        Tags=[{"Key": "k8s.io/cluster-autoscaler/enabled", "Value": "true", "PropagateAtLaunch": False}, {"Key": "team", "Value": "a", "PropagateAtLaunch": True}],
    )
    yield name
    scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


def described(scaling, name):
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return group


def in_service(account, scaling, name, count):
    def holds():
        instances = described(scaling, name)["Instances"]
        return [i["LifecycleState"] for i in instances] == ["InService"] * count

    assert account.until(holds, 90), described(scaling, name)
    return described(scaling, name)["Instances"]


def test_a_group_keeps_its_size(account, scaling, group):
    one, two = in_service(account, scaling, group, 2)
    assert {one["AvailabilityZone"], two["AvailabilityZone"]} == set(ZONES[:2])
    ec2 = account.client("ec2")
    (reservation,) = ec2.describe_instances(InstanceIds=[one["InstanceId"]])["Reservations"]
    tags = {tag["Key"]: tag["Value"] for tag in reservation["Instances"][0]["Tags"]}
    assert tags["aws:autoscaling:groupName"] == group and tags["team"] == "a" and "k8s.io/cluster-autoscaler/enabled" not in tags
    ec2.terminate_instances(InstanceIds=[one["InstanceId"]])
    account.until(lambda: one["InstanceId"] not in [i["InstanceId"] for i in described(scaling, group)["Instances"]], 90)
    assert one["InstanceId"] not in [i["InstanceId"] for i in in_service(account, scaling, group, 2)]
    activities = scaling.describe_scaling_activities(AutoScalingGroupName=group)["Activities"]
    assert any("health check" in activity["Cause"] for activity in activities)


def test_cluster_autoscalers_way(account, scaling, group):
    in_service(account, scaling, group, 2)
    scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3, HonorCooldown=False)
    instances = in_service(account, scaling, group, 3)
    gone = instances[0]["InstanceId"]
    activity = scaling.terminate_instance_in_auto_scaling_group(InstanceId=gone, ShouldDecrementDesiredCapacity=True)["Activity"]
    assert activity["Description"] == f"Terminating EC2 instance: {gone}"
    assert described(scaling, group)["DesiredCapacity"] == 2
    account.until(lambda: len(described(scaling, group)["Instances"]) == 2, 90)
    assert gone not in [i["InstanceId"] for i in in_service(account, scaling, group, 2)]
    details = scaling.describe_auto_scaling_instances(InstanceIds=[instances[1]["InstanceId"]])["AutoScalingInstances"]
    assert details[0]["AutoScalingGroupName"] == group and details[0]["HealthStatus"] == "HEALTHY"
    filters = [{"Name": "tag:k8s.io/cluster-autoscaler/enabled", "Values": ["true"]}]
    assert group in [g["AutoScalingGroupName"] for g in scaling.describe_auto_scaling_groups(Filters=filters)["AutoScalingGroups"]]


def test_protection(account, scaling, group):
    one, two = in_service(account, scaling, group, 2)
    scaling.set_instance_protection(AutoScalingGroupName=group, InstanceIds=[one["InstanceId"]], ProtectedFromScaleIn=True)
    scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)
    account.until(lambda: len(described(scaling, group)["Instances"]) == 1, 120)
    assert [i["InstanceId"] for i in described(scaling, group)["Instances"]] == [one["InstanceId"]]


@pytest.mark.parametrize(
    "operation, parameters, code, message",
    [
        ("set_desired_capacity", {"DesiredCapacity": 9}, "ValidationError", "New SetDesiredCapacity value 9 is above max value 4 for the AutoScalingGroup."),
        ("set_desired_capacity", {"AutoScalingGroupName": "none", "DesiredCapacity": 1}, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup 'none' not found"),
        ("update_auto_scaling_group", {"MinSize": 9}, "ValidationError", "Max bound, must be greater than or equal to min bound."),
        ("delete_auto_scaling_group", {}, "ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group."),
        ("describe_scaling_activities", {"AutoScalingGroupName": "none"}, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup 'none' not found"),
        ("create_auto_scaling_group", {"MinSize": 0, "MaxSize": 1}, "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name {0} already exists"),
        ("set_instance_protection", {"InstanceIds": ["i-0"], "ProtectedFromScaleIn": True}, "ValidationError", "The instance i-0 is not part of Auto Scaling group {0}."),
    ],
)
def test_errors(account, scaling, group, operation, parameters, code, message):
    in_service(account, scaling, group, 2)
    told = refused(code, 400, getattr(scaling, operation), **{"AutoScalingGroupName": group, **parameters})
    assert told == message.format(group)


def test_no_instance_of_a_group(scaling):
    told = refused("ValidationError", 400, scaling.terminate_instance_in_auto_scaling_group, InstanceId="i-0", ShouldDecrementDesiredCapacity=False)
    assert told == "Instance Id not found - No managed instance found for instance ID: i-0"


def test_a_mixed_group_buys_a_share_on_demand(account, scaling):
    ec2, name = account.client("ec2"), unique("mixed")
    image = account.client("ssm").get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    policy = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
            "Overrides": [{"InstanceType": "m5.large"}, {"InstanceType": "m6i.large"}],
        },
        "InstancesDistribution": {"OnDemandBaseCapacity": 1, "OnDemandPercentageAboveBaseCapacity": 50, "SpotAllocationStrategy": "price-capacity-optimized"},
    }
    scaling.create_auto_scaling_group(AutoScalingGroupName=name, MinSize=5, MaxSize=5, AvailabilityZones=ZONES[:3], MixedInstancesPolicy=policy)
    ids = [i["InstanceId"] for i in in_service(account, scaling, name, 5)]
    shown = [i for r in ec2.describe_instances(InstanceIds=ids)["Reservations"] for i in r["Instances"]]
    assert sorted(i.get("InstanceLifecycle", "on-demand") for i in shown) == ["on-demand"] * 3 + ["spot"] * 2
    assert {i["InstanceType"] for i in shown if "InstanceLifecycle" not in i} == {"m5.large"}
    scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


@pytest.fixture
def cluster(account):
    iam, ec2, eks, name = account.client("iam"), account.client("ec2"), account.client("eks"), unique("cluster")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_EC2)["Role"]["Arn"]
    vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.2.{at}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"] for at, zone in enumerate(ZONES[:2])
    ]
    eks.create_cluster(name=name, version="1.36", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    assert account.until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE", 30)
    return {"name": name, "role": role, "subnets": subnets}


def test_a_node_group(account, scaling, cluster):
    eks = account.client("eks")
    eks.create_nodegroup(
        clusterName=cluster["name"], nodegroupName="workers", subnets=cluster["subnets"], nodeRole=cluster["role"], instanceTypes=["m5.large"],
        scalingConfig={"minSize": 1, "maxSize": 3, "desiredSize": 1}, labels={"team": "a"}, taints=[{"key": "t", "value": "v", "effect": "NO_SCHEDULE"}],
    )
    described = lambda: eks.describe_nodegroup(clusterName=cluster["name"], nodegroupName="workers")["nodegroup"]
    assert described()["status"] == "CREATING"
    assert account.until(lambda: described()["status"] == "ACTIVE", 60)
    group = described()
    assert (group["labels"], group["taints"]) == ({"team": "a"}, [{"key": "t", "value": "v", "effect": "NO_SCHEDULE"}])
    name = group["resources"]["autoScalingGroups"][0]["name"]
    (instance,) = in_service(account, scaling, name, 1)
    attribute = account.client("ec2").describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert b"eks.amazonaws.com/nodegroup=workers" in base64.b64decode(attribute["UserData"])
    eks.update_nodegroup_config(clusterName=cluster["name"], nodegroupName="workers", scalingConfig={"desiredSize": 2})
    assert described()["scalingConfig"] == {"minSize": 1, "maxSize": 3, "desiredSize": 2}
    refused("ResourceInUseException", 409, eks.delete_cluster, name=cluster["name"])
    refused("InvalidParameterException", 400, eks.update_nodegroup_config, clusterName=cluster["name"], nodegroupName="workers", scalingConfig={"desiredSize": 9})
    assert eks.list_nodegroups(clusterName=cluster["name"])["nodegroups"] == ["workers"]
    of = {"clusterName": cluster["name"], "nodegroupName": "workers"}
    refused("InvalidParameterException", 400, eks.update_nodegroup_version, **of, version="1.37")
    refused("ResourceNotFoundException", 404, eks.update_nodegroup_version, clusterName=cluster["name"], nodegroupName="none")
    machines = lambda: {one["InstanceId"] for one in in_service(account, scaling, name, 2)}
    before = machines()
    update = eks.update_nodegroup_version(**of, version="1.36")["update"]
    assert (update["status"], update["type"], described()["status"]) == ("InProgress", "VersionUpdate", "UPDATING")
    refused("ResourceInUseException", 409, eks.update_nodegroup_version, **of)
    refused("ResourceInUseException", 409, eks.update_nodegroup_config, **of, scalingConfig={"desiredSize": 1})
    refused("ResourceNotFoundException", 404, eks.describe_update, name=cluster["name"], nodegroupName="workers", updateId="none")
    shown = lambda: eks.describe_update(name=cluster["name"], nodegroupName="workers", updateId=update["id"])["update"]["status"]
    fewest = 9
    for _ in range(40):
        members = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]["Instances"]
        fewest = min(fewest, sum(one["LifecycleState"] == "InService" for one in members))
        if not account.virtual or account.until(lambda: shown() == "Successful", 5):
            break
    assert account.until(lambda: shown() == "Successful", 300)
    assert fewest >= 2, "a new machine runs before an old one goes"
    assert (described()["status"], described()["scalingConfig"]["desiredSize"], described()["scalingConfig"]["maxSize"]) == ("ACTIVE", 2, 3)
    assert not before & machines(), "all machines are new ones"
    assert len(eks.list_updates(name=cluster["name"], nodegroupName="workers")["updateIds"]) == 2
    eks.delete_nodegroup(clusterName=cluster["name"], nodegroupName="workers")
    refused("ResourceNotFoundException", 404, eks.describe_nodegroup, clusterName=cluster["name"], nodegroupName="workers")


def test_a_node_group_of_a_launch_template(account, scaling, cluster):
    eks, ec2, name = account.client("eks"), account.client("ec2"), unique("own")
    script = base64.b64encode(b"#!/bin/bash\necho mine\n").decode()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "blue"}]}]
    data = {"InstanceType": "m5.xlarge", "UserData": script, "TagSpecifications": tags, "MetadataOptions": {"HttpTokens": "required"}}
    template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
    of = {"clusterName": cluster["name"], "nodegroupName": name, "subnets": cluster["subnets"], "nodeRole": cluster["role"]}
    sizes = {"minSize": 1, "maxSize": 1, "desiredSize": 1}
    refused("InvalidParameterException", 400, eks.create_nodegroup, **of, launchTemplate={"name": "none"})
    refused("InvalidParameterException", 400, eks.create_nodegroup, **of, launchTemplate={"name": name}, instanceTypes=["m5.large"])
    refused("InvalidParameterException", 400, eks.create_nodegroup, **of, launchTemplate={"name": name}, diskSize=30)
    profile = {"IamInstanceProfile": {"Name": "any"}}
    ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=profile)
    refused("InvalidParameterException", 400, eks.create_nodegroup, **of, launchTemplate={"name": name, "version": "2"})
    made = eks.create_nodegroup(**of, launchTemplate={"name": name, "version": "1"}, scalingConfig=sizes)["nodegroup"]
    assert made["launchTemplate"] == {"id": template["LaunchTemplateId"], "name": name, "version": "1"}
    assert made["instanceTypes"] == ["m5.xlarge"]
    refused("ResourceInUseException", 409, eks.create_nodegroup, **of, scalingConfig=sizes)
    group = made["resources"]["autoScalingGroups"][0]["name"]
    (member,) = in_service(account, scaling, group, 1)
    (instance,) = ec2.describe_instances(InstanceIds=[member["InstanceId"]])["Reservations"][0]["Instances"]
    held = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert (instance["InstanceType"], held["team"], held["eks:nodegroup-name"]) == ("m5.xlarge", "blue", name)
    data = ec2.describe_launch_template_versions(LaunchTemplateName=group)["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    text = base64.b64decode(data["UserData"]).decode()
    # Both parts, the template's first, each of its kind; what EKS adds makes the node join.
    assert text.index("echo mine") < text.index("eks.amazonaws.com/nodegroup=" + name)
    assert "Content-Type: text/x-shellscript" in text and "Content-Type: application/node.eks.aws" in text
    # Another version of the template: the machines come to it.
    newer = base64.b64encode(b"#!/bin/sh\necho newer\n").decode()
    changed = {"InstanceType": "m5.2xlarge", "UserData": newer}
    made = ec2.create_launch_template_version(LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData=changed)["LaunchTemplateVersion"]
    version = str(made["VersionNumber"])
    shown = lambda: eks.describe_nodegroup(clusterName=cluster["name"], nodegroupName=name)["nodegroup"]
    assert account.until(lambda: shown()["status"] == "ACTIVE", 60)
    of = {"clusterName": cluster["name"], "nodegroupName": name}
    refused("InvalidParameterException", 400, eks.update_nodegroup_version, **of, launchTemplate={"name": name, "version": "9"})
    eks.update_nodegroup_version(**of, launchTemplate={"name": name, "version": version})
    assert shown()["status"] == "UPDATING"
    assert account.until(lambda: shown()["status"] == "ACTIVE", 300)
    assert shown()["launchTemplate"]["version"] == version
    (member,) = in_service(account, scaling, group, 1)
    (instance,) = ec2.describe_instances(InstanceIds=[member["InstanceId"]])["Reservations"][0]["Instances"]
    assert instance["InstanceType"] == "m5.2xlarge"
    data = ec2.describe_launch_template_versions(LaunchTemplateName=group, Versions=["$Latest"])["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    text = base64.b64decode(data["UserData"]).decode()
    assert "echo newer" in text and "echo mine" not in text and "eks.amazonaws.com/nodegroup=" + name in text
    eks.delete_nodegroup(clusterName=cluster["name"], nodegroupName=name)


def test_access_entries(account, cluster):
    eks, of = account.client("eks"), {"clusterName": cluster["name"], "principalArn": cluster["role"]}
    refused("ResourceNotFoundException", 404, eks.describe_access_entry, **of)
    made = eks.create_access_entry(**of, type="EC2_LINUX")["accessEntry"]
    assert made["username"] == "system:node:{{EC2PrivateDNSName}}" and made["kubernetesGroups"] == ["system:nodes"]
    refused("ResourceInUseException", 409, eks.create_access_entry, **of)
    policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    eks.associate_access_policy(**of, policyArn=policy, accessScope={"type": "cluster"})
    listed = eks.list_associated_access_policies(**of)["associatedAccessPolicies"]
    assert [p["policyArn"] for p in listed] == [policy]
    assert eks.list_access_entries(clusterName=cluster["name"])["accessEntries"] == [cluster["role"]]
    eks.delete_access_entry(**of)
    assert eks.list_access_entries(clusterName=cluster["name"])["accessEntries"] == []


def token(namespace, account, audience="pods.eks.amazonaws.com", expires=4_000_000_000):
    claims = {"aud": [audience], "sub": f"system:serviceaccount:{namespace}:{account}", "exp": expires}
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".c2ln"


def test_pod_identity(account, cluster):
    eks, of = account.client("eks"), {"clusterName": cluster["name"]}
    made = eks.create_pod_identity_association(**of, namespace="kube-system", serviceAccount="karpenter", roleArn=cluster["role"])["association"]
    refused("ResourceInUseException", 409, eks.create_pod_identity_association, **of, namespace="kube-system", serviceAccount="karpenter", roleArn=cluster["role"])
    assert eks.list_pod_identity_associations(**of)["associations"][0]["associationId"] == made["associationId"]
    auth = account.client("eks-auth")
    got = auth.assume_role_for_pod_identity(**of, token=token("kube-system", "karpenter"))
    keys = got["credentials"]
    assert keys["accessKeyId"].startswith("ASIA") and got["podIdentityAssociation"]["associationId"] == made["associationId"]
    import boto3

    session = boto3.Session(keys["accessKeyId"], keys["secretAccessKey"], keys["sessionToken"], region_name="us-west-2")
    arn = account.client("sts", session=session).get_caller_identity()["Arn"]
    assert arn == got["assumedRoleUser"]["arn"]
    refused("InvalidTokenException", 400, auth.assume_role_for_pod_identity, **of, token=token("kube-system", "karpenter", expires=1))
    refused("InvalidTokenException", 400, auth.assume_role_for_pod_identity, **of, token=token("kube-system", "karpenter", audience="sts.amazonaws.com"))
    refused("ResourceNotFoundException", 404, auth.assume_role_for_pod_identity, **of, token=token("default", "other"))
    eks.delete_pod_identity_association(**of, associationId=made["associationId"])
    refused("ResourceNotFoundException", 404, eks.describe_pod_identity_association, **of, associationId=made["associationId"])


def test_oidc_providers(account):
    iam = account.client("iam")
    url = f"https://oidc.eks.us-west-2.amazonaws.com/id/{unique('A')}"
    arn = iam.create_open_id_connect_provider(Url=url, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["Url"] == url.removeprefix("https://")
    refused("EntityAlreadyExists", 409, iam.create_open_id_connect_provider, Url=url, ClientIDList=["x"])
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    refused("NoSuchEntity", 404, iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn)
