"""Every operation of every service with what can go wrong with any of them: throttled, denied by policies, cut short by a dry run, without what
it requires. Each must answer in its protocol's shape, which botocore reads, with its service's code and status."""

import base64
import json

import botocore.parsers
import pytest

import wire
from test_requests import written

NOW = "2026-11-20T17:00:00Z"
# What everybody may do, and what a token alone decides.
FREE = {"GetCallerIdentity", "GetSessionToken", "AssumeRoleWithWebIdentity", "AssumeRoleForPodIdentity"}
# ARC and EKS Auth have 429 in their models.
THROTTLED = {"ec2": ("RequestLimitExceeded", 503), **dict.fromkeys(("arc-zonal-shift", "eks-auth"), ("ThrottlingException", 429))}
DENIED = {
    "ec2": ("UnauthorizedOperation", 403),
    "iam": ("AccessDenied", 403),
    "sts": ("AccessDenied", 403),
    "autoscaling": ("AccessDenied", 403),
    "sqs": ("AccessDenied", 403),
    "ssm": ("AccessDeniedException", 400),
    "pricing": ("AccessDeniedException", 400),
    "events": ("AccessDeniedException", 400),
    "eks": ("AccessDeniedException", 403),
    "eks-auth": ("AccessDeniedException", 403),
    "arc-zonal-shift": ("AccessDeniedException", 403),
}


@pytest.fixture(scope="module")
def cloud():
    codec = wire.Codec()
    yield codec
    codec.close()


class Required(wire.Values):
    """Only what a shape requires."""

    def a_structure(self, shape, depth):
        value = {name: self.of(shape.members[name], depth + 1) for name in shape.required_members}
        # Forms have no word for a structure without members.
        if not value and shape.members and depth:
            name = min(shape.members, key=lambda name: shape.members[name].type_name in ("structure", "list", "map"))
            value[name] = self.of(shape.members[name], depth + 1)
        return value

    def a_string(self, shape, depth):
        return shape.enum[0] if shape.enum else "a" * max(int(shape.metadata.get("min", 0)), 8)


def input_of(service, name):
    shape = wire.model(service).operation_model(name).input_shape
    return Required(f"{service} {name}", replies=False).of(shape) if shape else {}


def told(cloud, service, name, value, key=None):
    """Code, status and message of the error that an operation answers; a success has no code."""
    model = wire.model(service)
    operation = model.operation_model(name)
    request = written(model, operation, value)
    if key:
        request["headers"]["Authorization"] = request["headers"]["Authorization"].replace("=KEY/", f"={key}/")
    answer = cloud.ask(send=request, now=NOW)
    body = base64.b64decode(answer["body"])
    assert "html" not in answer["headers"].get("content-type", "") and b"<html" not in body.lower()
    parser = botocore.parsers.create_parser(model.resolved_protocol)
    read = parser.parse({"status_code": answer["status"], "headers": answer["headers"], "body": body}, operation.output_shape)
    error = read.get("Error", {})
    assert read["ResponseMetadata"].get("RequestId") or "x-amzn-requestid" in answer["headers"]
    return error.get("Code"), answer["status"], error.get("Message")


@pytest.mark.parametrize(("service", "name"), wire.served())
def test_throttled(cloud, service, name):
    cloud.ask(rule={"name": "bucket", "effect": {"throttle": {"operation": name, "burst": 0, "per_second": 0}}})
    try:
        code, status, _ = told(cloud, service, name, input_of(service, name))
        assert (code, status) == THROTTLED.get(service, ("ThrottlingException", 400))
    finally:
        cloud.ask(end="bucket", now=NOW)


@pytest.fixture(scope="module")
def nobody(cloud):
    """The key of a session that may do nothing, while policies decide."""
    trust = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}
    model = wire.model("iam")
    made = written(model, model.operation_model("CreateRole"), {"RoleName": "nobody", "AssumeRolePolicyDocument": json.dumps(trust)})
    arn = base64.b64decode(cloud.ask(send=made, now=NOW)["body"]).decode().split("<Arn>")[1].split("</Arn>")[0]
    model = wire.model("sts")
    asked = written(model, model.operation_model("AssumeRole"), {"RoleArn": arn, "RoleSessionName": "nobody"})
    key = base64.b64decode(cloud.ask(send=asked, now=NOW)["body"]).decode().split("<AccessKeyId>")[1].split("</AccessKeyId>")[0]
    cloud.ask(iam="enforce")
    yield key
    cloud.ask(iam="off")


@pytest.mark.parametrize(("service", "name"), [pair for pair in wire.served() if pair[1] not in FREE])
def test_denied(cloud, nobody, service, name):
    code, status, message = told(cloud, service, name, input_of(service, name), key=nobody)
    assert (code, status) == DENIED[service], message
    assert "assumed-role/nobody/nobody is not authorized to perform" in message


def dry():
    for service, name in wire.served():
        shape = wire.model(service).operation_model(name).input_shape
        if service == "ec2" and shape and "DryRun" in shape.members:
            yield name


@pytest.mark.parametrize("name", list(dry()))
def test_a_dry_run_never_succeeds(cloud, name):
    code, status, message = told(cloud, "ec2", name, {**input_of("ec2", name), "DryRun": True})
    assert code and 400 <= status < 500, message
    if code == "DryRunOperation":
        assert (status, message) == (412, "Request would have succeeded, but DryRun flag is set.")


@pytest.mark.parametrize("name", list(dry()))
def test_a_dry_run_asks_policies_first(cloud, nobody, name):
    assert told(cloud, "ec2", name, {**input_of("ec2", name), "DryRun": True}, key=nobody)[:2] == DENIED["ec2"]


def requiring():
    for service, name in wire.served():
        shape = wire.model(service).operation_model(name).input_shape
        # What stands in the path cannot be left out of it.
        missing = [member for member in (shape.required_members if shape else []) if shape.members[member].serialization.get("location") != "uri"]
        for member in missing:
            yield service, name, member


MISSING = {"MissingParameter", "ValidationError", "ValidationException", "InvalidParameterException", "InvalidRequestException", "MissingParameterException"}


@pytest.mark.parametrize(("service", "name", "member"), list(requiring()))
def test_what_is_required_is_asked_for(cloud, service, name, member):
    value = input_of(service, name)
    del value[member]
    code, status, message = told(cloud, service, name, value)
    assert code in MISSING and 400 <= status < 500, (code, status, message)
    # EC2 speaks of parameters by their names on its wire.
    on_wire = wire.model(service).operation_model(name).input_shape.members[member].serialization
    spoken = (on_wire.get("queryName") or on_wire.get("name") or member) if service == "ec2" else member
    assert spoken.lower() in message.lower(), message
