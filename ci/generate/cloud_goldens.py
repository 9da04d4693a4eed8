#!/usr/bin/env python3
"""Writes src/cloud/testdata/expected.json: what botocore's serializers make of the adapter's parameters.

    DRYFIT_BLESS=1 cargo test -p dryfit-cloud goldens     # when the adapter's requests were meant to change
    python ci/generate/cloud_goldens.py

The pinned botocore wheel (Apache-2.0) is unpacked, not installed; what it needs itself (jmespath, python-dateutil, urllib3) must be there.
Its validation is on: a parameter that the model does not know is an error.
"""

import json
import sys
import tempfile

import sources

TESTDATA = sources.HERE.parent.parent / "src" / "cloud" / "testdata"


def flat(body) -> dict:
    """Form values as they are written."""
    def text(value):
        return ("true" if value else "false") if isinstance(value, bool) else str(value)

    return {key: text(value) for key, value in body.items()}


def expected(loader, serialize, model, request: dict) -> dict:
    service = model.ServiceModel(loader.load_service_model(request["service"], "service-2"), request["service"])
    protocol = service.metadata["protocols"][0] if "protocols" in service.metadata else service.metadata["protocol"]
    protocol = "json" if request["service"] == "sqs" else service.resolved_protocol if hasattr(service, "resolved_protocol") else protocol
    serializer = serialize.create_serializer(protocol, True)
    made = serializer.serialize_to_request(request["parameters"], service.operation_model(request["operation"]))
    body = made["body"]
    if isinstance(body, dict):
        body = flat(body)
    elif body:
        body = json.loads(body)
    headers = {name.lower(): value for name, value in made["headers"].items()}
    return {"operation": request["operation"], "method": made["method"], "path": made["url_path"], "headers": headers, "body": body or None}


def main():
    with tempfile.TemporaryDirectory() as folder:
        sources.wheel("botocore").extractall(folder)
        sys.path.insert(0, folder)
        import botocore
        import botocore.loaders
        import botocore.model
        import botocore.serialize

        assert botocore.__version__ == sources.pinned("botocore"), botocore.__version__
        loader = botocore.loaders.Loader(extra_search_paths=[f"{folder}/botocore/data"])
        requests = json.loads((TESTDATA / "requests.json").read_text())
        made = [expected(loader, botocore.serialize, botocore.model, request) for request in requests]
    lines = ",\n".join(json.dumps(entry, separators=(",", ":"), ensure_ascii=False) for entry in made)
    source = json.dumps(f"botocore {sources.pinned('botocore')}")
    (TESTDATA / "expected.json").write_text(f'{{"source":{source},"requests":[\n{lines}\n]}}\n')
    print(f"src/cloud/testdata/expected.json: {len(made)} requests")


if __name__ == "__main__":
    main()
