#!/usr/bin/env python3
"""Writes src/fake-kube/data/rbac.json: the roles and bindings that a real API server makes at its start.

    python3 ci/controllers/record_rbac.py DRYFIT JUDGES
"""

import json
import pathlib
import tempfile

import planes

OUT = pathlib.Path(__file__).resolve().parents[2] / "src/fake-kube/data/rbac.json"
KINDS = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"]


def main():
    children, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        try:
            api = planes.real(children, pathlib.Path(folder), controllers=False).client()
            planes.until("roles", lambda: len(api.items("/apis/rbac.authorization.k8s.io/v1/rolebindings")) > 5)
            for plural in KINDS:
                for one in api.items(f"/apis/rbac.authorization.k8s.io/v1/{plural}"):
                    meta = {key: one["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if key in one["metadata"]}
                    kept = {key: one[key] for key in ("rules", "aggregationRule", "subjects", "roleRef") if one.get(key)}
                    found.append({"plural": plural, "object": {"metadata": meta, **kept}})
        finally:
            for child in reversed(children):
                child.kill()
                child.wait()
    OUT.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n")
    print(len(found), "objects,", OUT.stat().st_size, "bytes")


main()
