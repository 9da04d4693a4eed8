"""Every filter that AWS documents for an operation that the cloud does is known to it, and a name that AWS does not document is refused.

The names are those of the documentation in botocore's models; a filter that finds nothing is as good as one that finds all: what each of
them finds is the Rust tests' subject, and that of test_operations.py.
"""

import re

import botocore.loaders
from botocore import xform_name
from botocore.exceptions import ClientError

import wire
from test_cloud import AMI_PARAMETER

MODEL = botocore.loaders.Loader().load_service_model("ec2", "service-2")

# What an operation wants beside its filters.
NEEDED = {"describe_launch_template_versions": {"LaunchTemplateName": "filtered"}}


def documented():
    """Pairs of an operation and the names of its filters: first words of the list's items, without the lists within them."""
    for operation, about in sorted(MODEL["operations"].items()):
        members = MODEL["shapes"][about["input"]["shape"]]["members"] if "input" in about else {}
        for member in members.values():
            if member["shape"] != "FilterList":
                continue
            text = re.sub(r"(<li>(?:(?!</?li>).)*)<ul>.*?</ul>", r"\1", member.get("documentation", ""), flags=re.S)
            names = re.findall(r"<li>\s*<p>\s*<code>([^<]+)</code>", text)
            yield operation, [name.split(":")[0] + ":x" if name.startswith("tag:") else "tag:x" if name == "tag" else name for name in names]


FILTERS = [pair for pair in documented() if pair[1]]


def test_the_documentation_is_read():
    names = dict(FILTERS)
    assert len(FILTERS) > 100 and "instance-state-name" in names["DescribeInstances"] and len(names["DescribeInstances"]) > 100
    # Values that are listed within an item are no names.
    assert "active" not in names["DescribeCapacityReservations"] and "critical" not in names["DescribeImages"]


def test_every_documented_filter_is_known(account):
    ec2 = account.client("ec2")
    ec2.create_launch_template(LaunchTemplateName="filtered", LaunchTemplateData={"InstanceType": "m5.large"})

    def refused(operation, name):
        try:
            getattr(ec2, operation)(Filters=[{"Name": name, "Values": ["x"]}], **NEEDED.get(operation, {}))
        except ClientError as error:
            return error.response["Error"]["Code"]
        return None

    served, unknown, taken = {operation for service, operation in wire.served() if service == "ec2"}, [], []
    for operation, names in FILTERS:
        if operation not in served:
            continue
        asked = xform_name(operation)
        unknown += [f"{operation} {name}: {code}" for name in names if (code := refused(asked, name))]
        if refused(asked, "no-such-filter") != "InvalidParameterValue":
            taken.append(operation)
    assert len(served & dict(FILTERS).keys()) >= 18
    assert (unknown, taken) == ([], [])


def test_filters_on_what_is_not_shown_find_their_own(account):
    """Of what a reply has no member for, or has it inside the launch specification: each finds the one, and a wrong value nothing."""
    ec2, ssm = account.client("ec2"), account.client("ssm")
    image = ssm.get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "of-filters", "Value": "mine"}]}]
    made = ec2.run_instances(
        ImageId=image, InstanceType="c5.large", MinCount=1, MaxCount=1, TagSpecifications=tags, InstanceMarketOptions={"MarketType": "spot"}
    )["Instances"][0]

    def found(operation, listed, name, value):
        reply = getattr(ec2, operation)(Filters=[{"Name": name, "Values": [value]}])[listed]
        return [one for each in reply for one in each.get("Instances", [each])]

    for operation, listed, name, value, member, expected in [
        ("describe_images", "Images", "public-ssm-parameter-name", AMI_PARAMETER, "ImageId", image),
        ("describe_instances", "Reservations", "network-interface.tag-key", "of-filters", "InstanceId", made["InstanceId"]),
        ("describe_instances", "Reservations", "network-interface.tag-value", "mine", "InstanceId", made["InstanceId"]),
        ("describe_spot_instance_requests", "SpotInstanceRequests", "launch.instance-type", "c5.large", "InstanceId", made["InstanceId"]),
        ("describe_spot_instance_requests", "SpotInstanceRequests", "launch.image-id", image, "InstanceId", made["InstanceId"]),
    ]:
        assert expected in [one[member] for one in found(operation, listed, name, value)], name
        assert found(operation, listed, name, "no-such-value") == [], name
