#!/usr/bin/env python3
"""Writes src/controller/tests/upstream-lines.json: which lines an unmodified Karpenter logs, from the log of a run.

    dryfit test scenarios/reserved/capacity-reservation.yaml --cluster local --controller command:KARPENTER --logs FOLDER
    python ci/judges/log_lines.py FOLDER/controller.log

One row per controller and message: the level, and the keys beside those that controller-runtime adds. Run it on several logs to join them.

With `--stories` first it writes src/dryfit/tests/upstream-lines.json, from the logs of the scenarios that the test there runs; errors count, too.
"""

import json
import pathlib
import sys

ADDED = {"level", "time", "logger", "caller", "message", "commit", "controller", "controllerGroup", "controllerKind", "namespace", "name", "reconcileID"}
ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> None:
    stories = sys.argv[1:2] == ["--stories"]
    target = ROOT / ("src/dryfit/tests" if stories else "src/controller/tests") / "upstream-lines.json"
    rows: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for path in sys.argv[1 + stories:]:
        for text in pathlib.Path(path).read_text().splitlines():
            if not text.startswith("{"):
                continue
            line = json.loads(text)
            # What only controller-runtime says.
            own = line["message"].startswith(("Starting ", "Serving ", "starting server", "Unable to read vcs", "Reconciler error", "Shutdown ", "Stopping ", "All workers", "Wait completed"))
            if own or ("error" in line and not stories):
                continue
            key = (line.get("controller", ""), line["message"])
            level, keys = rows.setdefault(key, (line["level"], set(line) - ADDED))
            rows[key] = (level, keys & (set(line) - ADDED))
    listed = [{"controller": c, "message": m, "level": l, "keys": sorted(k)} for (c, m), (l, k) in sorted(rows.items())]
    target.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in listed) + "\n]\n")


if __name__ == "__main__":
    main()
