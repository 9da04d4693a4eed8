"""What our serialiser writes for random outputs and errors, botocore reads as what was meant."""

import base64

import botocore.parsers
import pytest

import wire


def parsed(model, shape, answer):
    parser = botocore.parsers.create_parser(model.resolved_protocol)
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    response = {"status_code": answer["status"], "headers": headers, "body": base64.b64decode(answer["body"])}
    return parser.parse(response, shape)


@pytest.mark.parametrize("turn", range(wire.ROUNDS))
@pytest.mark.parametrize(("service", "name"), wire.served())
def test_a_reply_is_read_as_meant(codec, service, name, turn):
    model = wire.model(service)
    shape = model.operation_model(name).output_shape
    value = wire.Values(f"{service} {name} {turn}", replies=True).of(shape) if shape else {}
    meant = wire.seam(shape, value) if shape else {}
    answer = codec.ask(reply={"service": service, "operation": name, "output": meant, "headers": sent_headers(model)})
    read = parsed(model, shape, answer)
    metadata = read.pop("ResponseMetadata")
    assert metadata["HTTPStatusCode"] // 100 == 2
    assert metadata.get("RequestId", metadata["HTTPHeaders"].get("x-amzn-requestid")) == "an-id"
    assert without_empty_flat(shape, read) == without_empty_flat(shape, value)


def without_empty_flat(shape, value):
    """A flattened list without items does not show in XML; botocore reads nothing or an empty list."""
    if shape is None:
        return value
    if shape.type_name == "structure":
        members = {name: without_empty_flat(shape.members[name], item) for name, item in value.items()}
        return {name: item for name, item in members.items() if not (item == [] and flat(shape.members[name]))}
    if shape.type_name == "list":
        return [without_empty_flat(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {name: without_empty_flat(shape.value, item) for name, item in value.items()}
    return value


def flat(shape):
    return shape.serialization.get("flattened")


def sent_headers(model):
    return {"content-type": "application/x-amz-json-1.1"} if "json" in model.resolved_protocol else {}


ERRORS = [
    ("ec2", "DescribeInstances", "InvalidInstanceID.NotFound", 400, "InvalidInstanceID.NotFound"),
    ("ec2", "RunInstances", "DryRunOperation", 412, "DryRunOperation"),
    ("ec2", "CreateFleet", "UnauthorizedOperation", 403, "UnauthorizedOperation"),
    ("ec2", "CreateFleet", "RequestLimitExceeded", 503, "RequestLimitExceeded"),
    ("iam", "GetRole", "NoSuchEntity", 404, "NoSuchEntity"),
    ("iam", "GetRole", "NoSuchEntityException", 404, "NoSuchEntity"),
    ("iam", "CreateRole", "EntityAlreadyExists", 409, "EntityAlreadyExists"),
    ("sts", "AssumeRole", "AccessDenied", 403, "AccessDenied"),
    ("ssm", "GetParameter", "ParameterNotFound", 400, "ParameterNotFound"),
    ("sqs", "GetQueueUrl", "QueueDoesNotExist", 400, "QueueDoesNotExist"),
    ("eks", "DescribeCluster", "ResourceNotFoundException", 404, "ResourceNotFoundException"),
    ("eks", "CreateCluster", "ResourceInUseException", 409, "ResourceInUseException"),
    ("pricing", "GetProducts", "InvalidParameterException", 400, "InvalidParameterException"),
    ("events", "DescribeRule", "ResourceNotFoundException", 400, "ResourceNotFoundException"),
    ("autoscaling", "CreateAutoScalingGroup", "AlreadyExists", 400, "AlreadyExists"),
    ("arc-zonal-shift", "GetManagedResource", "ResourceNotFoundException", 404, "ResourceNotFoundException"),
]


@pytest.mark.parametrize(("service", "name", "code", "status", "read_code"), ERRORS)
def test_an_error_is_read_as_meant(codec, service, name, code, status, read_code):
    model = wire.model(service)
    error = {"code": code, "message": "No <such> thing & more: é"}
    answer = codec.ask(reply={"service": service, "operation": name, "error": error, "headers": sent_headers(model)})
    read = parsed(model, model.operation_model(name).output_shape, answer)
    assert answer["status"] == status
    assert read["Error"]["Code"] == read_code
    assert read["Error"]["Message"] == error["message"]


def test_sqs_tells_the_old_code_to_those_who_ask(codec):
    model = wire.model("sqs")
    headers = {"content-type": "application/x-amz-json-1.0", "x-amzn-query-mode": "true"}
    error = {"code": "QueueDoesNotExist", "message": "gone"}
    answer = codec.ask(reply={"service": "sqs", "operation": "GetQueueUrl", "error": error, "headers": headers})
    assert answer["headers"]["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    read = parsed(model, model.operation_model("GetQueueUrl").output_shape, answer)
    assert read["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_sqs_does_not_tell_it_to_others(codec):
    error = {"code": "QueueDoesNotExist", "message": "gone"}
    headers = {"content-type": "application/x-amz-json-1.0"}
    answer = codec.ask(reply={"service": "sqs", "operation": "GetQueueUrl", "error": error, "headers": headers})
    assert "x-amzn-query-error" not in answer["headers"]


def test_an_output_that_does_not_fit_is_loud(codec):
    meant = {"service": "ec2", "operation": "DescribeVpcs", "output": {"Vpcs": [{"VpcID": "vpc-1"}]}, "headers": {}}
    answer = codec.ask(reply=meant)
    assert answer["status"] == 500
    assert b"VpcID" in base64.b64decode(answer["body"])
