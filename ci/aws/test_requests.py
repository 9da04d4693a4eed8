"""What botocore writes for random valid inputs, our parser reads as what was meant."""

import botocore.awsrequest
import botocore.serialize
import pytest

import wire


def written(model, operation, value) -> dict:
    """botocore's request, with a credential scope and nothing else of a signature."""
    serializer = botocore.serialize.create_serializer(model.resolved_protocol, include_validation=False)
    parts = serializer.serialize_to_request(value, operation)
    prepared = botocore.awsrequest.prepare_request_dict
    prepared(parts, endpoint_url="http://127.0.0.1:4566")
    request = botocore.awsrequest.create_request_object(parts).prepare()
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    scope = f"KEY/20261120/eu-west-1/{model.signing_name}/aws4_request"
    headers = dict(request.headers)
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"
    return wire.wire_request(request.method, request.url, headers, body)


@pytest.mark.parametrize("turn", range(wire.ROUNDS))
@pytest.mark.parametrize(("service", "name"), wire.served())
def test_a_request_is_read_as_meant(codec, service, name, turn):
    model = wire.model(service)
    operation = model.operation_model(name)
    shape = operation.input_shape
    value = wire.Values(f"{service} {name} {turn}", replies=False).of(shape) if shape else {}
    read = codec.ask(request=written(model, operation, value))
    assert "error" not in read, read
    assert (read["service"], read["operation"], read["region"]) == (model.signing_name, name, "eu-west-1")
    assert read["unknown"] == []
    meant = wire.seam(shape, value) if shape else {}
    # botocore fills idempotency tokens in.
    tokens = {member for member in read["input"] if shape.members[member].metadata.get("idempotencyToken")}
    for token in tokens - set(meant):
        del read["input"][token]
    assert read["input"] == present(shape, meant, model.resolved_protocol)


def present(shape, value, protocol):
    """What the wire can say: forms cannot tell a structure without members, or a list of such, from nothing at all."""
    if shape is None or protocol not in ("ec2", "query"):
        return value
    kept = keep(shape, value)
    return {} if kept is None else kept


def keep(shape, value):
    if shape.type_name == "structure":
        members = {name: keep(shape.members[name], item) for name, item in value.items()}
        members = {name: item for name, item in members.items() if item is not None}
        return members or None
    if shape.type_name == "list":
        items = [item for item in (keep(shape.member, item) for item in value) if item is not None]
        return items or None
    if shape.type_name == "map":
        items = {name: keep(shape.value, item) for name, item in value.items()}
        return {name: item for name, item in items.items() if item is not None} or None
    return value
