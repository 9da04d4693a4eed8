#!/usr/bin/env python3
"""Writes src/dryfit/tests/upstream-metrics.json: which metrics an unmodified Karpenter shows, from its /metrics at the end of runs.

    dryfit test scenarios/workshops/eks-workshop/consolidation.yaml --cluster local --controller command:KARPENTER --logs FOLDER
    python ci/judges/metrics.py FOLDER/metrics.txt…

One row per family: its type, and the names of its labels. What Go's runtime and client libraries say of themselves is left out.
"""
import json
import pathlib
import re
import sys

LIBRARIES = ("go_", "process_", "workqueue_", "rest_client_", "client_go_", "certwatcher_", "controller_runtime_", "aws_sdk_go_")
families = {}
for path in sys.argv[1:]:
    kinds = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        elif line and not line.startswith("#"):
            name, labels = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ", line).groups()
            family = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
            if family.startswith(LIBRARIES):
                continue
            names = sorted(set(re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"', labels or "")) - {"le", "quantile"})
            row = {"type": kinds[family], "labels": names}
            if families.setdefault(family, row) != row:
                sys.exit(f"{path}: {family} has {row}, and {families[family]} before")
if not families:
    sys.exit("no family: name files with the text of /metrics")
out = pathlib.Path(__file__).resolve().parents[2] / "src/dryfit/tests/upstream-metrics.json"
out.write_text("{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(families.items())) + "\n}\n")
print(f"{len(families)} families")
