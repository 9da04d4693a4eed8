#!/usr/bin/env python3
"""Writes src/api/crds/*.json: Karpenter's CustomResourceDefinitions without their prose.

Source: the Go module github.com/aws/karpenter-provider-aws (Apache-2.0), fetched by `go mod download` through the module proxy. Its
definitions of karpenter.sh are sigs.k8s.io/karpenter's with the rules of this provider's labels (`hack/validation/labels.sh`). Schemas, defaults and CEL rules are what the API server enforces and stay as
they are; descriptions are other people's sentences and are dropped.

    python3 ci/generate/crds.py            # writes
    python3 ci/generate/crds.py --check    # exits 1 when the committed files differ
"""
import json, pathlib, subprocess, sys
import yaml

AWS = ("github.com/aws/karpenter-provider-aws", "v1.14.1")
FILES = [
    (AWS, "karpenter.sh_nodepools.yaml"),
    (AWS, "karpenter.sh_nodeclaims.yaml"),
    (AWS, "karpenter.sh_nodeoverlays.yaml"),
    (AWS, "karpenter.k8s.aws_ec2nodeclasses.yaml"),
]
OUT = pathlib.Path(__file__).resolve().parents[2] / "src/api/crds"


def folder(module):
    name, version = module
    done = subprocess.run(["go", "mod", "download", "-json", f"{name}@{version}"], check=True, capture_output=True, text=True, cwd="/")
    return pathlib.Path(json.loads(done.stdout)["Dir"]) / "pkg/apis/crds"


def prune(value, inside_properties=False):
    """Drops `description` keys of schemas, not properties that happen to be called description."""
    if isinstance(value, list):
        return [prune(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: prune(v, k == "properties") for k, v in value.items() if inside_properties or not (k == "description" and isinstance(v, str))}


def main():
    stale = []
    for module, file in FILES:
        crd = prune(yaml.safe_load((folder(module) / file).read_text()))
        crd["metadata"].setdefault("annotations", {})["dryfit.dev/source"] = f"{module[0]}@{module[1]}"
        text = json.dumps(crd, indent=1) + "\n"
        target = OUT / file.replace(".yaml", ".json")
        if "--check" in sys.argv:
            if target.read_text() != text:
                stale.append(target.name)
        else:
            target.write_text(text)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run ci/generate/crds.py")


main()
