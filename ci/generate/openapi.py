#!/usr/bin/env python3
"""Writes src/fake-kube/data/openapi.json.gz: the types of the served groups as the API server publishes them under /openapi/v3.

    python ci/generate/openapi.py

Source: api/openapi-spec/v3 of the Go module k8s.io/kubernetes (Apache-2.0). Descriptions are other people's sentences and are
dropped; types, formats, defaults, list kinds, merge keys and references are what clients compute with and stay. A type that looks the
same in several documents is written once.
"""

import gzip
import io
import json

import sources

MODULE = ("k8s.io/kubernetes", "v1.36.3")
OUT = sources.HERE.parent.parent / "src/fake-kube/data/openapi.json.gz"
GROUPS = """api/v1 apis/admissionregistration.k8s.io/v1 apis/apiextensions.k8s.io/v1 apis/apiregistration.k8s.io/v1 apis/apps/v1
apis/authentication.k8s.io/v1 apis/authorization.k8s.io/v1 apis/autoscaling/v1 apis/autoscaling/v2 apis/batch/v1 apis/coordination.k8s.io/v1
apis/discovery.k8s.io/v1 apis/events.k8s.io/v1 apis/networking.k8s.io/v1 apis/node.k8s.io/v1 apis/policy/v1 apis/rbac.authorization.k8s.io/v1
apis/scheduling.k8s.io/v1 apis/storage.k8s.io/v1""".split()


def plain(value, names=False):
    """Without descriptions; a property may be called description."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: plain(one, key == "properties") for key, one in value.items() if names or not (key == "description" and isinstance(one, str))}


def main():
    folder = sources.go_module(*MODULE) / "api/openapi-spec/v3"
    schemas, places, documents = [], {}, {}
    for group in GROUPS:
        document = json.loads((folder / (group.replace("/", "__") + "_openapi.json")).read_text())
        documents[group] = {}
        for name, schema in sorted(document["components"]["schemas"].items()):
            text = sources.compact(plain(schema))
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
