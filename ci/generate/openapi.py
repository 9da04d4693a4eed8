#!/usr/bin/env python3
"""Writes src/fake-kube/data/openapi.json.gz: the types of the served groups as the API server publishes them under /openapi/v3.

    python ci/generate/openapi.py

Source: api/openapi-spec/v3 of the Go module k8s.io/kubernetes (Apache-2.0), as it is published, descriptions included: `kubectl explain`
prints them; and what values a field may have, from the module's pkg/generated/openapi, as a running server adds them. A type that looks the same in several documents is written once.
"""

import gzip
import io
import json
import re

import sources

MODULE = ("k8s.io/kubernetes", "v1.36.3")
OUT = sources.HERE.parent.parent / "src/fake-kube/data/openapi.json.gz"
GROUPS = """api/v1 apis/admissionregistration.k8s.io/v1 apis/apiextensions.k8s.io/v1 apis/apiregistration.k8s.io/v1 apis/apps/v1
apis/authentication.k8s.io/v1 apis/authorization.k8s.io/v1 apis/autoscaling/v1 apis/autoscaling/v2 apis/batch/v1 apis/coordination.k8s.io/v1
apis/discovery.k8s.io/v1 apis/events.k8s.io/v1 apis/networking.k8s.io/v1 apis/node.k8s.io/v1 apis/policy/v1 apis/rbac.authorization.k8s.io/v1
apis/resource.k8s.io/v1 apis/scheduling.k8s.io/v1 apis/storage.k8s.io/v1""".split()


# A type's function, a property of it, and what is said of the property (or of its items).
FUNCTION = re.compile(r"^func schema_(?:k8sio_(api)_(\w+?)_(v\w+?)|(pkg)_apis_(meta)_(v1))_(\w+)\(ref ")
PROPERTY = re.compile(r'^\t{5}"([^"]+)": \{$')
DESCRIPTION = re.compile(r'^\t+Description:\s+("(?:[^"\\]|\\.)*"),$')
ENUM = re.compile(r"^\t+Enum:\s+\[\]interface\{\}\{(.*)\},$")


def enumerated(path):
    """Values that a running server says, which its published files leave out: by type and property, the description with its values, and the values."""
    found, name, field, description = {}, None, None, None
    for line in path.read_text().splitlines():
        if opened := FUNCTION.match(line):
            _, group, version, meta, _, _, kind = opened.groups()
            name = f"io.k8s.apimachinery.pkg.apis.meta.v1.{kind}" if meta else f"io.k8s.api.{group}.{version}.{kind}"
        elif opened := PROPERTY.match(line):
            field, description = opened[1], None
        elif said := DESCRIPTION.match(line):
            description = json.loads(said[1])
        elif (values := ENUM.match(line)) and name and field:
            found[(name, field)] = (description, json.loads(f"[{values[1]}]"))
    return found


def enrich(name, schema, values):
    for field, property in schema.get("properties", {}).items():
        if (name, field) in values:
            description, listed = values[(name, field)]
            if property.get("type") == "array":
                property["items"]["enum"] = listed
            else:
                property["enum"] = listed
            if description:
                property["description"] = description


def main():
    folder = sources.go_module(*MODULE) / "api/openapi-spec/v3"
    values = enumerated(sources.go_module(*MODULE) / "pkg/generated/openapi/zz_generated.openapi.go")
    schemas, places, documents = [], {}, {}
    for group in GROUPS:
        document = json.loads((folder / (group.replace("/", "__") + "_openapi.json")).read_text())
        documents[group] = {}
        for name, schema in sorted(document["components"]["schemas"].items()):
            enrich(name, schema, values)
            text = sources.compact(schema)
            if text not in places:
                places[text] = len(schemas)
                schemas.append(text)
            documents[group][name] = places[text]
    head = sources.compact({"source": f"{MODULE[0]} {MODULE[1]} api/openapi-spec/v3"})[:-1]
    text = head + ',"documents":' + sources.compact(documents) + ',"schemas":[' + ",\n".join(schemas) + "]}\n"
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as out:
        out.write(text.encode())
    OUT.write_bytes(packed.getvalue())
    print(f"{OUT.name}: {len(schemas)} types, {len(packed.getvalue())} bytes")


main()
