#!/usr/bin/env python3
"""Runs upstream's own end-to-end specs (core's regression suite) against a controller on our cloud and kubelets, and a real control plane.

    python3 ci/regression/run.py DRYFIT CONTROL_PLANE OUT [--controller process|command:KARPENTER] [--file integration_test.go]… [--focus REGEX]

DRYFIT is the binary, CONTROL_PLANE the folder of the judges' binaries (ci/judges/build), OUT a folder for logs. Specs that OUT/results.json
knows already are left out, so that an interrupted run goes on where it was; delete a spec's line to run it again. At the end it prints a table.

Needs Go, for building the suite (one and a half minutes, then cached) and for the CapacityBuffer definition, which the suite lists.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

HERE = pathlib.Path(__file__).resolve().parent
FILES = ["integration_test.go", "nodeclaim_test.go", "staticcapacity_test.go", "chaos_test.go"]
STARTUP = 300


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dryfit", type=pathlib.Path)
    parser.add_argument("control_plane", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--controller", default="process")
    parser.add_argument("--file", action="append", default=[], help=f"specs of this file; all of {', '.join(FILES)} if absent")
    parser.add_argument("--focus", action="append", default=[], help="specs whose whole name matches")
    parser.add_argument("--minutes", type=int, default=180, help="how long the whole suite may take")
    return parser.parse_args()


def build(out):
    """The suite's binary, and the definition of CapacityBuffer from the same module."""
    suite = out / "suite"
    subprocess.run(["go", "test", "-c", "-o", suite, "sigs.k8s.io/karpenter/test/suites/regression"], cwd=HERE, check=True)
    module = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/karpenter"], cwd=HERE, check=True, capture_output=True, text=True)
    return suite, pathlib.Path(module.stdout.strip()) / "pkg/apis/crds/autoscaling.x-k8s.io_capacitybuffers.yaml"


def start(options):
    """The world, as a process group of its own, once its kubeconfig serves the definitions."""
    logs = options.out / "stack"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    environment = {**os.environ, "DRYFIT_CONTROL_PLANE": str(options.control_plane.resolve())}
    command = [options.dryfit.resolve(), "test", HERE / "stack.yaml", "--cluster", "local", "--controller", options.controller, "--logs", logs]
    stack = subprocess.Popen(command, env=environment, stdout=open(options.out / "stack.log", "w"), stderr=subprocess.STDOUT, start_new_session=True)
    kubectl = [options.control_plane / "kubectl", "--kubeconfig", logs / "kubeconfig"]
    for _ in range(STARTUP):
        ready = subprocess.run([*kubectl, "get", "nodes", "--no-headers"], capture_output=True, text=True)
        log = (logs / "controller.log").read_text() if (logs / "controller.log").exists() else ""
        if " Ready " in ready.stdout and log:
            return stack, kubectl, logs / "kubeconfig"
        if stack.poll() is not None:
            break
        time.sleep(1)
    stack.terminate()
    sys.exit(f"the world does not stand:\n{(options.out / 'stack.log').read_text()[-2000:]}")


def read(report):
    """Name, outcome, seconds and first words of the failure, of each spec that ran."""
    for case in ET.parse(report).iter("testcase"):
        if not case.get("name", "").startswith("[It]") or case.get("status") not in ("passed", "failed", "timedout", "panicked"):
            continue
        failure = next((child.get("message", "") for child in case if child.tag in ("failure", "error")), "")
        yield case.get("name")[5:], {"outcome": case.get("status"), "seconds": round(float(case.get("time", 0))), "why": failure.split("\n")[0][:200]}


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    known = options.out / "results.json"
    results = json.loads(known.read_text()) if known.exists() else {}
    suite, buffers = build(options.out)
    stack, kubectl, kubeconfig = start(options)
    try:
        subprocess.run([*kubectl, "apply", "--server-side", "-f", buffers], check=True, stdout=subprocess.DEVNULL)
        report = options.out / "junit.xml"
        report.unlink(missing_ok=True)
        command = [suite.resolve(), "--default-nodeclass", HERE / "nodeclass.yaml", "--default-nodepool", HERE / "nodepool.yaml",
                   "--ginkgo.junit-report", report.resolve(), "--ginkgo.v", "--ginkgo.no-color", "--ginkgo.timeout", f"{options.minutes}m"]
        for file in options.file or FILES:
            command += ["--ginkgo.focus-file", file]
        for focus in options.focus:
            command += ["--ginkgo.focus", focus]
        for name in results:
            command += ["--ginkgo.skip", re.escape(name) + "$"]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig.resolve()), "OUTPUT_DIR": str(options.out.resolve())}
        with open(options.out / "suite.log", "w") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=options.out)
    finally:
        os.killpg(stack.pid, signal.SIGTERM)
        stack.wait()
    if not report.exists():
        sys.exit(f"the suite wrote no report:\n{(options.out / 'suite.log').read_text()[-2000:]}")
    results.update(read(report))
    known.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    for name, row in sorted(results.items()):
        print(f"| {name} | {row['outcome']} | {row['seconds']} s |")
    passed = sum(row["outcome"] == "passed" for row in results.values())
    print(f"{passed} of {len(results)} specs passed")


main()
