"""SQS as clients of the query age speak it: botocore with the model of that time, which the generator reads as well."""

import json
import sys

import botocore.model
import pytest

import test_replies
import test_requests
import wire

sys.path.append(str(wire.ROOT / "ci" / "generate"))
import sources  # noqa: E402

SERVED = [name for service, name in wire.served() if service == "sqs"]


@pytest.fixture(scope="session")
def older():
    archive = sources.wheel("botocore", 1)
    return botocore.model.ServiceModel(json.loads(archive.read("botocore/data/sqs/2012-11-05/service-2.json")), "sqs")


@pytest.mark.parametrize("turn", range(wire.ROUNDS))
@pytest.mark.parametrize("name", SERVED)
def test_both_ways(codec, older, name, turn):
    operation = older.operation_model(name)
    assert older.resolved_protocol == "query"
    value = wire.Values(f"query {name} {turn}", replies=False).of(operation.input_shape)
    read = codec.ask(request=test_requests.written(older, operation, value))
    meant = wire.seam(operation.input_shape, value)
    assert (read["operation"], read["unknown"]) == (name, [])
    assert read["input"] == test_requests.present(operation.input_shape, meant, "query")
    shape = operation.output_shape
    if shape is None:
        return
    value = wire.Values(f"query {name} {turn}", replies=True).of(shape)
    answer = codec.ask(reply={"service": "sqs", "operation": name, "output": wire.seam(shape, value), "headers": {}})
    read = test_replies.parsed(older, shape, answer)
    assert read.pop("ResponseMetadata")["RequestId"] == "an-id"
    assert test_replies.without_empty_flat(shape, read) == test_replies.without_empty_flat(shape, value)


def test_an_error_has_the_old_code(codec, older):
    error = {"code": "QueueDoesNotExist", "message": "gone"}
    answer = codec.ask(reply={"service": "sqs", "operation": "GetQueueUrl", "error": error, "headers": {}})
    read = test_replies.parsed(older, older.operation_model("GetQueueUrl").output_shape, answer)
    assert read["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
