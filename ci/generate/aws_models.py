#!/usr/bin/env python3
"""Writes fake-ec2/data/models: AWS's service models, cut down to the operations that the cloud serves, without documentation.

    python ci/generate/aws_models.py

The source is the botocore wheel (Apache-2.0), pinned in sources.txt. The names of all other operations stay, so that an operation
that is not done here can be told from one that does not exist.
"""

import gzip
import json
import zipfile

import sources

SERVED = {
    "ec2": """
        CreateVpc DescribeVpcs DeleteVpc CreateSubnet DescribeSubnets DeleteSubnet ModifySubnetAttribute CreateSecurityGroup
        DeleteSecurityGroup AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress RevokeSecurityGroupIngress
        DescribeSecurityGroups CreateTags DeleteTags DescribeTags DescribeAvailabilityZones DescribeRegions DescribeAccountAttributes
        RunInstances StartInstances StopInstances RebootInstances TerminateInstances DescribeInstances DescribeInstanceStatus
        DescribeInstanceAttribute ModifyInstanceAttribute DescribeInstanceTypes DescribeInstanceTypeOfferings
        DescribeSpotPriceHistory DescribeSpotInstanceRequests CancelSpotInstanceRequests CreateLaunchTemplate
        CreateLaunchTemplateVersion ModifyLaunchTemplate DescribeLaunchTemplates DescribeLaunchTemplateVersions DeleteLaunchTemplate
        CreateFleet DescribeFleets DeleteFleets CreateImage RegisterImage CopyImage DescribeImages DescribeImageAttribute ModifyImageAttribute EnableImageDeprecation DisableImageDeprecation DeregisterImage
        DescribeCapacityReservations CreateCapacityReservation ModifyCapacityReservation CancelCapacityReservation
        CreatePlacementGroup DescribePlacementGroups DeletePlacementGroup DescribeVolumes CreateVolume AttachVolume DetachVolume
        DeleteVolume DescribeNetworkInterfaces
        GetConsoleOutput GetInstanceTypesFromInstanceRequirements""",
    "iam": """
        CreateRole GetRole DeleteRole ListRoles AttachRolePolicy DetachRolePolicy ListAttachedRolePolicies PutRolePolicy
        GetRolePolicy ListRolePolicies DeleteRolePolicy UpdateAssumeRolePolicy PutRolePermissionsBoundary
        DeleteRolePermissionsBoundary CreateInstanceProfile GetInstanceProfile AddRoleToInstanceProfile
        RemoveRoleFromInstanceProfile DeleteInstanceProfile ListInstanceProfiles ListInstanceProfilesForRole TagInstanceProfile
        UntagInstanceProfile TagRole UntagRole ListRoleTags CreateServiceLinkedRole CreatePolicy GetPolicy DeletePolicy ListPolicies
        CreatePolicyVersion GetPolicyVersion ListPolicyVersions DeletePolicyVersion SetDefaultPolicyVersion CreateUser GetUser
        DeleteUser ListUsers CreateAccessKey DeleteAccessKey ListAccessKeys PutUserPolicy GetUserPolicy DeleteUserPolicy
        ListUserPolicies AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies PutUserPermissionsBoundary
        DeleteUserPermissionsBoundary CreateOpenIDConnectProvider GetOpenIDConnectProvider DeleteOpenIDConnectProvider
        ListOpenIDConnectProviders SimulatePrincipalPolicy SimulateCustomPolicy""",
    "sts": "GetCallerIdentity AssumeRole AssumeRoleWithWebIdentity GetSessionToken GetAccessKeyInfo DecodeAuthorizationMessage",
    "sqs": """
        CreateQueue GetQueueUrl GetQueueAttributes SetQueueAttributes ListQueues SendMessage SendMessageBatch ReceiveMessage
        DeleteMessage DeleteMessageBatch ChangeMessageVisibility ChangeMessageVisibilityBatch DeleteQueue PurgeQueue TagQueue
        UntagQueue ListQueueTags""",
    "ssm": "GetParameter GetParameters GetParametersByPath PutParameter DeleteParameter DescribeParameters",
    "eks": """
        CreateCluster DescribeCluster ListClusters DeleteCluster CreateNodegroup DescribeNodegroup ListNodegroups DeleteNodegroup
        UpdateNodegroupConfig UpdateNodegroupVersion DescribeUpdate ListUpdates CreateAccessEntry DescribeAccessEntry ListAccessEntries DeleteAccessEntry AssociateAccessPolicy
        ListAssociatedAccessPolicies DisassociateAccessPolicy CreatePodIdentityAssociation DescribePodIdentityAssociation
        ListPodIdentityAssociations DeletePodIdentityAssociation UpdatePodIdentityAssociation""",
    "eks-auth": "AssumeRoleForPodIdentity",
    "pricing": "GetProducts DescribeServices",
    "events": """
        PutRule PutTargets ListRules DescribeRule EnableRule DisableRule ListTargetsByRule ListRuleNamesByTarget RemoveTargets
        DeleteRule PutEvents""",
    "autoscaling": """
        CreateAutoScalingGroup UpdateAutoScalingGroup DeleteAutoScalingGroup DescribeAutoScalingGroups
        DescribeAutoScalingInstances DescribeScalingActivities DescribeTags CreateOrUpdateTags DeleteTags SetDesiredCapacity
        SetInstanceProtection TerminateInstanceInAutoScalingGroup DescribeLaunchConfigurations""",
    "arc-zonal-shift": "GetManagedResource ListZonalShifts StartZonalShift CancelZonalShift",
}

# The second pin of botocore: SQS's model while it described the query protocol.
QUERY_ERA = 1

# Enumerations that are longer than this are data, not protocol (EC2's 1,300 instance types): the catalogue has them.
LONGEST_ENUM = 60


def read(archive: zipfile.ZipFile, service: str, file: str) -> dict | None:
    """A file of the newest version of a service's model."""
    names = [name for name in archive.namelist() if name.startswith(f"botocore/data/{service}/")]
    newest = max(name.split("/")[3] for name in names)
    path = f"botocore/data/{service}/{newest}/{file}"
    if path + ".gz" in names:
        return json.loads(gzip.decompress(archive.read(path + ".gz")))
    return json.loads(archive.read(path)) if path in names else None


def copied(source: dict, *keys: str) -> dict:
    return {key: source[key] for key in keys if source.get(key) not in (None, False, [])}


def reference(source: dict) -> dict:
    """A member: the shape it refers to and its traits on the wire."""
    keys = ("shape", "locationName", "queryName", "location", "flattened", "idempotencyToken", "timestampFormat", "jsonvalue", "streaming")
    if set(source) & {"xmlNamespace", "xmlAttribute", "eventpayload", "hostLabel", "document"}:
        raise SystemExit(f"a trait that no codec reads: {source}")
    return copied(source, *keys)


def shape(source: dict) -> dict:
    pruned = copied(source, "type", "required", "flattened", "payload", "timestampFormat", "min", "max", "exception")
    if "error" in source:
        pruned["error"] = copied(source["error"], "code", "httpStatusCode", "senderFault")
    if 0 < len(source.get("enum", [])) <= LONGEST_ENUM:
        pruned["enum"] = source["enum"]
    if "members" in source:
        pruned["members"] = {name: reference(member) for name, member in source["members"].items()}
    for part in ("member", "key", "value"):
        if part in source:
            pruned[part] = reference(source[part])
    if source.get("document") or source.get("eventstream"):
        raise SystemExit(f"a shape that no codec reads: {source}")
    return pruned


def operation(source: dict, paginator: dict | None) -> dict:
    pruned = copied(source["http"], "method", "requestUri", "responseCode")
    if "input" in source:
        pruned["input"] = source["input"]["shape"]
    if "output" in source:
        pruned["output"] = source["output"]["shape"]
        pruned.update(copied(source["output"], "resultWrapper"))
    pruned["errors"] = sorted(error["shape"] for error in source.get("errors", []))
    if paginator:
        pruned["paginator"] = copied(paginator, "input_token", "output_token", "limit_key", "result_key", "more_results")
    return pruned


def reachable(shapes: dict, roots: list[str]) -> set[str]:
    seen: set[str] = set()
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        parts = list(shapes[name].get("members", {}).values()) + [shapes[name][part] for part in ("member", "key", "value") if part in shapes[name]]
        queue += [part["shape"] for part in parts]
    return seen


def prune(model: dict, paginators: dict, served: list[str]) -> dict:
    unknown = sorted(set(served) - set(model["operations"]))
    if unknown:
        raise SystemExit(f"no such operations: {unknown}")
    metadata = copied(
        model["metadata"], "apiVersion", "endpointPrefix", "signingName", "globalEndpoint", "jsonVersion", "protocol", "targetPrefix",
        "xmlNamespace", "serviceId",
    )
    # A service may speak several protocols; the one that `protocol` names is what SDKs fall back to.
    metadata["protocols"] = model["metadata"].get("protocols", [metadata["protocol"]])
    metadata["queryCompatible"] = "awsQueryCompatible" in model["metadata"]
    operations = {name: operation(model["operations"][name], paginators.get(name)) for name in sorted(served)}
    roots = [op[part] for op in operations.values() for part in ("input", "output") if part in op]
    roots += [error for op in operations.values() for error in op["errors"]]
    names = sorted(reachable(model["shapes"], roots))
    others = sorted(set(model["operations"]) - set(served))
    http = {name: model["operations"][name]["http"] for name in others}
    return {
        "metadata": metadata,
        "operations": operations,
        "shapes": {name: shape(model["shapes"][name]) for name in names},
        "others": {name: f"{http[name]['method']} {http[name]['requestUri']}" for name in others},
    }


def write(service: str, origin: dict, model: dict) -> None:
    """One operation and one shape a line, so that a new version's differences can be read."""
    lines = ["{", f'"provenance":{sources.compact(origin)},', f'"metadata":{sources.compact(model["metadata"])},']
    for part in ("operations", "shapes", "others"):
        lines.append(f'"{part}":{{')
        # Members keep the model's order, in which they are found fastest.
        rows = [f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'), ensure_ascii=False)}" for name, value in model[part].items()]
        lines += [",\n".join(rows), "}," if part != "others" else "}"]
    lines.append("}")
    path = sources.DATA / "models" / f"{service}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    print(f"{service}: {len(model['operations'])} operations, {len(model['shapes'])} shapes, {len(model['others'])} others, {path.stat().st_size} bytes")


def add_query_names(model: dict, older: dict) -> None:
    """Adds what a service called things while it spoke the query protocol, which older clients still do: wire names and error codes."""
    model["metadata"]["queryNamespace"] = older["metadata"]["xmlNamespace"]
    for name, op in model["operations"].items():
        wrapper = older["operations"].get(name, {}).get("output", {}).get("resultWrapper")
        if wrapper:
            op["resultWrapper"] = wrapper
    for name, pruned in model["shapes"].items():
        former = older["shapes"].get(name, {})
        if "error" in former:
            pruned["error"] = copied(former["error"], "code", "httpStatusCode", "senderFault")
        for part in ("member", "key", "value"):
            if part in pruned and part in former:
                pruned[part].update(copied(former[part], "locationName"))
        for member, traits in pruned.get("members", {}).items():
            # A name may stand at the shape that a member refers to.
            traits.update(copied(older["shapes"].get(traits["shape"], {}), "locationName"))
            traits.update(copied(former.get("members", {}).get(member, {}), "locationName", "flattened"))


def main() -> None:
    archive = sources.wheel("botocore")
    for service, names in SERVED.items():
        model = read(archive, service, "service-2.json")
        paginators = (read(archive, service, "paginators-1.json") or {}).get("pagination", {})
        origin = sources.provenance(f"botocore (PyPI) botocore/data/{service}", sources.pinned("botocore"), sources.wheel_date(archive))
        pruned = prune(model, paginators, names.split())
        if pruned["metadata"]["queryCompatible"]:
            version = sources.pinned("botocore", QUERY_ERA)
            add_query_names(pruned, read(sources.wheel("botocore", QUERY_ERA), service, "service-2.json"))
            origin["source"] += f", and its query names from version {version}"
        write(service, origin, pruned)


if __name__ == "__main__":
    main()
