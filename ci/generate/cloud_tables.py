#!/usr/bin/env python3
"""Writes src/cloud/data: what Karpenter compiles in (VPC limits, bandwidth, first prices), EC2's names of parameters,
and the order in which the models list them.

    python ci/generate/cloud_tables.py

Limits, bandwidth and prices come from Karpenter's Go module, names and order from botocore's models; both Apache-2.0. Each file begins
with a line that says where it comes from.
"""

import gzip
import io
import json
import pathlib
import re

import sources

KARPENTER = ("github.com/aws/karpenter-provider-aws", "v1.14.1")
OUT = sources.HERE.parent.parent / "src" / "cloud" / "data"
OPERATIONS = [
    "CreateFleet", "CreateLaunchTemplate", "CreateTags", "DeleteLaunchTemplate", "DescribeCapacityReservations", "DescribeImages",
    "DescribeInstanceStatus", "DescribeInstanceTypeOfferings", "DescribeInstanceTypes", "DescribeInstances", "DescribeLaunchTemplates",
    "DescribePlacementGroups", "DescribeSecurityGroups", "DescribeSpotPriceHistory", "DescribeSubnets", "RunInstances", "TerminateInstances",
]

# Services beside EC2 whose requests have a body: the model's folder, and what the adapter calls.
OTHERS = {
    "iam/2010-05-08": [
        "AddRoleToInstanceProfile", "CreateInstanceProfile", "DeleteInstanceProfile", "GetInstanceProfile", "ListInstanceProfiles",
        "RemoveRoleFromInstanceProfile",
    ],
    "pricing/2017-10-15": ["GetProducts"],
    "sqs/2012-11-05": ["DeleteMessage", "GetQueueUrl", "ReceiveMessage"],
    "ssm/2014-11-06": ["GetParameter"],
}


def header(source: str, version: str) -> str:
    return f"# From {source} {version}, Apache-2.0."


def limits(module: pathlib.Path) -> list[str]:
    """Type, branch interfaces (if it trunks), IPv4 addresses per interface, Mbit/s; a dash where upstream has nothing."""
    text = (module / "pkg/providers/instancetype/zz_generated.vpclimits.go").read_text()
    rows: dict[str, list[str]] = {}
    entry = re.compile(
        r'^\t"([^"]+)": \{.*?IPv4PerInterface:\s+(\d+),\s+IsTrunkingCompatible:\s+(true|false),\s+BranchInterface:\s+(\d+),', re.M | re.S
    )
    for name, addresses, trunks, branches in entry.findall(text):
        rows[name] = [branches if trunks == "true" else "-", addresses, "-"]
    text = (module / "pkg/providers/instancetype/zz_generated.bandwidth.go").read_text()
    for name, bandwidth in re.findall(r'^\t\t"([^"]+)":\s+(\d+),', text, re.M):
        rows.setdefault(name, ["-", "-", "-"])[2] = bandwidth
    return ["\t".join([name, *rows[name]]) for name in sorted(rows)]


def prices(module: pathlib.Path) -> list[str]:
    """Region, type, currency per hour as upstream writes it, without trailing zeros."""
    rows = set()
    for suffix in ["aws", "aws_cn", "aws_us_gov"]:
        region = None
        for line in (module / f"pkg/providers/pricing/zz_generated.pricing_{suffix}.go").read_text().splitlines():
            if opened := re.match(r'^\t"([^"]+)": \{', line):
                region = opened[1]
            for name, price in re.findall(r'"([a-z0-9-]+\.[a-z0-9-]+)": ([0-9.]+)', line):
                rows.add((region, name, price.rstrip("0").rstrip(".")))
    return ["\t".join(row) for row in sorted(rows)]


def names(model: dict) -> list[str]:
    """Operation, path of members, name on the wire: only where the name is not the member's own."""
    shapes, lines = model["shapes"], []

    def walk(operation: str, shape: dict, path: list[str]):
        while shape["type"] == "list":
            shape = shapes[shape["member"]["shape"]]
        for member, ref in shape.get("members", {}).items():
            name = ref.get("queryName") or ref.get("locationName", member)
            name = ref.get("queryName") or name[:1].upper() + name[1:]
            here = [*path, member]
            if name != member:
                lines.append("\t".join([operation, ".".join(here), name]))
            walk(operation, shapes[ref["shape"]], here)

    for operation in OPERATIONS:
        walk(operation, shapes[model["operations"][operation]["input"]["shape"]], [])
    return lines


def order(model: dict, operations: list[str]) -> list[str]:
    """Operation, path of members, and the members of the structure there as the model lists them: only where there is more than one."""
    shapes, lines = model["shapes"], []

    def walk(operation: str, shape: dict, path: list[str]):
        while shape["type"] == "list":
            shape = shapes[shape["member"]["shape"]]
        members = shape.get("members", {})
        if len(members) > 1:
            lines.append("\t".join([operation, ".".join(path), " ".join(members)]))
        for member, ref in members.items():
            walk(operation, shapes[ref["shape"]], [*path, member])

    for operation in operations:
        walk(operation, shapes[model["operations"][operation]["input"]["shape"]], [])
    return lines


def write(name: str, lines: list[str], packed: bool):
    data = ("\n".join(lines) + "\n").encode()
    if packed:
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0, compresslevel=9) as out:
            out.write(data)
        data = buffer.getvalue()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_bytes(data)
    print(f"src/cloud/data/{name}: {len(lines)} lines, {len(data)} bytes")


def main():
    module = sources.go_module(*KARPENTER)
    karpenter = header(*KARPENTER)
    write("limits.tsv.gz", [karpenter, *limits(module)], packed=True)
    write("prices.tsv.gz", [karpenter, *prices(module)], packed=True)
    wheel = sources.wheel("botocore")

    def model(folder: str) -> dict:
        return json.loads(gzip.decompress(wheel.read(f"botocore/data/{folder}/service-2.json.gz")))

    botocore, ec2 = header("botocore", sources.pinned("botocore")), model("ec2/2016-11-15")
    write("ec2_names.tsv", [botocore, *names(ec2)], packed=False)
    others = [line for folder, operations in OTHERS.items() for line in order(model(folder), operations)]
    write("member_order.tsv", [botocore, *order(ec2, OPERATIONS), *others], packed=False)


if __name__ == "__main__":
    main()
