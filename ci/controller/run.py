#!/usr/bin/env python3
"""Runs scenarios with an unmodified Karpenter and with ours as a process, each on a real control plane, and compares what they did.

    python3 ci/controller/run.py DRYFIT CONTROL_PLANE OUT SCENARIO…        exits 1 when something differs that differences.txt does not have

DRYFIT is the binary, CONTROL_PLANE the folder of the judges' binaries (ci/judges/build), OUT a folder for logs and traces. Of each scenario:

  asked       CreateFleet and CreateLaunchTemplate, normalised (ci/compare.py)
  bought      the machines that are left at the end
  events      kind of object, type, reason and message of each Event, however often it was said
  conditions  kind of object, condition, status and reason of each transition
  lines       controller, level, message and keys of each line of its log

Names that are drawn, ids, addresses and times are left out. What the two draw differently or tell at other moments is let through by
differences.txt: a line `what | pattern | reason` lets pass what matches, and one that lets nothing pass in a run over all scenarios is told.
"""

import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import compare  # noqa: E402


class Any(set):
    """Upstream's dry runs try the first type that a Go map yields."""

    def __contains__(self, _):
        return True


compare.ANY_OF = Any()

MOST = 30
DRAWN = [
    (re.compile(r"\bip-\d+-\d+-\d+-\d+[.\w-]*"), "NODE"),
    (re.compile(r"\bi-[0-9a-f]{17}\b"), "INSTANCE"),
    (re.compile(r"\b(ami|subnet|sg|lt|cr|fleet|pg)-[0-9a-f]{8,17}\b"), r"\1-ID"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC"), "TIME"),
    (re.compile(r"karpenter\.k8s\.aws/\d+"), "karpenter.k8s.aws/HASH"),
    (re.compile(r"\b((\d+h)?(\d+m)?\d+(\.\d+)?(ms|µs|s)|\d+h\d+m)\b"), "SPAN"),
    # The first of several that lacked capacity, in the order of a Go map.
    (re.compile(r"\((us|eu|ap)-[a-z]+-\d[a-z]\)"), "(ZONE)"),
    # A pod's name, then the generated part of any other.
    (re.compile(r"\b([a-z][a-z0-9-]*)-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b"), r"\1-DRAWN"),
    (re.compile(r"\b([a-z][a-z0-9-]*)-(?=[a-z0-9]*[0-9bcdfghjklmnpqrstvwxz])[bcdfghjklmnpqrstvwxz2456789]{5}\b"), r"\1-DRAWN"),
]
# What controller-runtime adds, and what only the one or the other process has.
ADDED = {"level", "time", "logger", "caller", "message", "commit", "controller", "controllerGroup", "controllerKind", "namespace", "name", "reconcileID", "aws-error-code", "aws-operation-name", "aws-request-id", "aws-service-name", "aws-status-code"}
RUNTIME = ("Starting ", "Serving ", "starting server", "attempting to acquire leader lease", "successfully acquired lease", "webhook disabled", "Stopping ", "All workers", "Shutdown ", "Wait completed")


def plain(text):
    for pattern, name in DRAWN:
        text = pattern.sub(name, text)
    return text


def said(trace):
    for line in open(trace):
        if '"what":"said"' in line:
            return json.loads(line)["of"]
    raise SystemExit(f"{trace}: the run did not come to its end")


def lines(log):
    found = set()
    for text in log.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if not isinstance(line, dict) or "message" not in line or line["message"].startswith(RUNTIME):
            continue
        keys = sorted(set(line) - ADDED)
        found.add(f"{line.get('controller', '')}: {line['level']} {plain(line['message'])!r} {', '.join(keys)}")
    return found


def picture(folder):
    told = said(folder / "trace")
    return {
        "asked": compare.requests(folder / "trace"),
        "bought": compare.bought(folder / "report.json")[0],
        "events": {f"{e['kind']} {e['type']} {e['reason']}: {plain(e['message'])}" for e in told["events"]},
        "conditions": {f"{c['kind']} {c['condition']}={c['status']} because {c['reason']}" for c in told["conditions"]},
        "lines": lines(folder / "logs" / "controller.log"),
    }


def run(dryfit, plane, folder, scenario, controller):
    folder.mkdir(parents=True, exist_ok=True)
    command = [dryfit, "test", scenario, "--cluster", "local", "--controller", controller, "--trace", folder / "trace", "--logs", folder / "logs", "--format", "json", "--output", folder / "report.json"]
    environment = {"PATH": "/usr/bin:/bin", "DRYFIT_CONTROL_PLANE": str(plane), "HOME": str(pathlib.Path.home())}
    # Unmodified Karpenter has a second try, which is told: it has races of its own, and this is no test of it.
    for tries in range(2 if controller != "process" else 1):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode == 0:
            return None
        failed = f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        print(f"{scenario.stem} with {controller}, try {tries + 1}: {failed}", flush=True)
    return failed


def differences(one, other):
    """What, and on which side it is alone."""
    for what in ("events", "conditions", "lines"):
        for text in sorted(one[what] - other[what]):
            yield what, f"only upstream: {text}"
        for text in sorted(other[what] - one[what]):
            yield what, f"only ours: {text}"
    for what in ("asked", "bought"):
        for text in compare.differences(one[what], other[what]):
            yield what, text


def judged(one, known):
    """How many Events, transitions and lines of upstream's would be told if ours lacked them: what is let through is not judged."""
    alone = lambda what, text: any(of == what and pattern.search(f"only upstream: {text}") for of, pattern, _ in known)
    return {what: sum(not alone(what, text) for text in one[what]) for what in ("events", "conditions", "lines")}


def let_through():
    rows = []
    for text in (HERE / "differences.txt").read_text().splitlines():
        if text.strip() and not text.startswith("#"):
            what, pattern, reason = (part.strip() for part in text.split(" | "))
            rows.append((what, re.compile(pattern, re.DOTALL), reason))
    if len(rows) > MOST:
        raise SystemExit(f"differences.txt has {len(rows)} rows; {MOST} are the most")
    return rows


def main(words):
    if len(words) < 4:
        raise SystemExit(__doc__)
    dryfit, plane, out = (pathlib.Path(word).resolve() for word in words[:3])
    scenarios = [pathlib.Path(word) for word in words[3:]]
    sides = {"upstream": f"command:{plane / 'karpenter'}", "ours": "process"}
    known, used, wrong = let_through(), set(), 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = {
            (scenario, side): pool.submit(run, dryfit, plane, out / scenario.stem / side, scenario, controller)
            for scenario in scenarios
            for side, controller in sides.items()
        }
        for scenario in scenarios:
            failed = [f"{side}: {why}" for side in sides if (why := jobs[scenario, side].result())]
            found = []
            if not failed:
                one, other = (picture(out / scenario.stem / side) for side in sides)
                for what, text in differences(one, other):
                    row = next((i for i, (of, pattern, _) in enumerate(known) if of == what and pattern.search(text)), None)
                    used.add(row)
                    if row is None:
                        found.append(f"{what}: {text}")
                counts = judged(one, known)
                sizes = ", ".join(f"{count} of {len(one[what])} {what} judged" for what, count in counts.items())
                # A comparison that lets everything through would hold, too.
                found += [f"{what}: none is judged" for what, count in counts.items() if not count]
            wrong += len(found) + len(failed)
            print(f"{scenario.stem}: {len(found)} differences" + (f" ({sizes})" if not failed else ", did not hold"))
            for text in failed + found:
                print("    " + text.replace("\n", "\n    "))
    idle = [pattern.pattern for i, (_, pattern, _) in enumerate(known) if i not in used]
    if idle:
        print(f"rows of differences.txt that let nothing through here: {', '.join(idle)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
