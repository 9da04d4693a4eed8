#!/usr/bin/env python3
"""moto's own tests against our cloud: how many pass, by file.

    python ci/aws/moto_suite.py --dryfit target/release/dryfit [--list failures.txt] [FILE…]
    python ci/aws/moto_suite.py --dryfit target/release/dryfit --must-pass ci/aws/moto_must_pass.txt     exits 1 if one does not

Takes moto's source package from the Python package index for the run (nothing of it is kept), and its server mode, in which its mocks send
to an endpoint; that is ours, and each test begins with a fresh account. Run it in an environment with moto, pytest and what moto's tests
import: `pip install 'moto[ec2,iam,sqs]==5.2.5' pytest pytest-timeout freezegun sure parameterized`.

The files are those about operations that this cloud serves. Many tests in them ask for other operations: they fail, and are told apart.
"""

import argparse
import collections
import os
import pathlib
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as tree

VERSION = "5.2.5"
FILES = """
    test_ec2/test_instances.py test_ec2/test_launch_templates.py test_ec2/test_fleets.py test_ec2/test_spot_instances.py
    test_ec2/test_spot_fleet.py test_ec2/test_subnets.py test_ec2/test_vpcs.py test_ec2/test_security_groups.py test_ec2/test_amis.py
    test_ec2/test_tags.py test_ec2/test_instance_types.py test_ec2/test_instance_type_offerings.py test_ec2/test_regions.py
    test_ec2/test_availability_zones_and_regions.py test_ec2/test_account_attributes.py
    test_iam/test_iam.py test_iam/test_iam_policies.py test_iam/test_iam_oidc.py test_iam/test_iam_access_integration.py
    test_sts/test_sts.py test_sts/test_sts_integration.py test_sqs/test_sqs.py test_sqs/test_sqs_message_attributes.py
    test_events/test_events.py test_events/test_events_integration.py
    test_ssm/test_ssm.py test_ssm/test_ssm_parameterstore.py test_ssm/test_ssm_defaults.py test_ssm/test_ssm_default_amis.py
    test_eks/test_eks.py test_eks/test_eks_ec2.py test_autoscaling/test_autoscaling.py test_autoscaling/test_autoscaling_groups.py
    test_autoscaling/test_autoscaling_group_filters.py test_autoscaling/test_autoscaling_tags.py""".split()

# Starts a cloud of its own in place of each of moto's resets: a start takes some milliseconds.
PLUGIN = """
import json, os, random, subprocess
from moto.core import models

import boto3
import botocore.exceptions
import botocore.handlers

# Images of moto's own are replaced by images that this cloud has in the region that is asked: which one is of no matter to a test.
PATH = "/aws/service/eks/optimized-ami/{}/amazon-linux-2023/x86_64/standard/recommended/image_id"
VERSIONS = {"ami-12c6146b": "1.34", "ami-03cf127a": "1.35"}
images = {}

def image(name, region):
    if (name, region) not in images:
        ssm = boto3.client("ssm", region_name=region, endpoint_url=os.environ["TEST_SERVER_MODE_ENDPOINT"])
        images[name, region] = ssm.get_parameter(Name=PATH.format(VERSIONS[name]))["Parameter"]["Value"]
    return images[name, region]

def own(value, region):
    if isinstance(value, dict):
        return {key: own(item, region) for key, item in value.items()}
    if isinstance(value, list):
        return [own(item, region) for item in value]
    return image(value, region) if isinstance(value, str) and value in VERSIONS else value

def with_own_images(params, context, **_):
    return own(params, context["client_region"])

botocore.handlers.BUILTIN_HANDLERS.append(("provide-client-params.ec2", with_own_images))

# EKS takes roles and subnets that exist: what moto's tests make up is made, or replaced by what a fresh account has.
made = set()
subnets = {}
MADE_UP = ("subnet-12345ab", "subnet-67890cd")
EKS = {"1": "1.34", "AL2_x86_64": "AL2023_x86_64_STANDARD"}

def client(service, region="us-east-1"):
    return boto3.client(service, region_name=region, endpoint_url=os.environ["TEST_SERVER_MODE_ENDPOINT"])

def role(arn):
    if arn not in made:
        made.add(arn)
        trust = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Service": ["eks.amazonaws.com", "ec2.amazonaws.com"]}, "Action": "sts:AssumeRole"}}
        try:
            client("iam").create_role(RoleName=arn.rsplit("/", 1)[-1], AssumeRolePolicyDocument=json.dumps(trust))
        except botocore.exceptions.ClientError:
            pass

def subnet(at, region):
    if region not in subnets:
        found = client("ec2", region).describe_subnets()["Subnets"]
        subnets[region] = [one["SubnetId"] for one in sorted(found, key=lambda one: one["AvailabilityZone"])]
    return subnets[region][at]

def with_own_world(params, context, **_):
    region = context["client_region"]
    for name in ("roleArn", "nodeRole"):
        if isinstance(params.get(name), str) and ":role/" in params[name]:
            role(params[name])
    def own(value):
        if isinstance(value, dict):
            return {key: own(item) for key, item in value.items()}
        if isinstance(value, list):
            return [own(item) for item in value]
        return subnet(MADE_UP.index(value), region) if value in MADE_UP else value
    params = own(params)
    for name in ("version", "amiType"):
        if params.get(name) in EKS:
            params[name] = EKS[params[name]]
    return params

def with_their_names(parsed, context, **_):
    def theirs(value):
        if isinstance(value, dict):
            return {key: theirs(item) for key, item in value.items()}
        if isinstance(value, list):
            return [theirs(item) for item in value]
        ours = subnets.get(context["client_region"], [])[:2]
        return MADE_UP[ours.index(value)] if value in ours else value
    for key, value in list(parsed.items()):
        if key != "ResponseMetadata":
            parsed[key] = theirs(value)

botocore.handlers.BUILTIN_HANDLERS.append(("provide-client-params.eks", with_own_world))
botocore.handlers.BUILTIN_HANDLERS.append(("after-call.eks", with_their_names))

PORT = os.environ["TEST_SERVER_MODE_ENDPOINT"].rsplit(":", 1)[1]
running = []

def reset(self):
    made.clear()
    while running:
        cloud = running.pop()
        cloud.kill()
        cloud.wait()
    command = [os.environ["DRYFIT"], "cloud", "--listen", f"127.0.0.1:{PORT}", "--region", "us-east-1"]
    running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    if not running[0].stdout.readline():
        raise RuntimeError("the cloud does not start")

models.ServerModeMockAWS.reset = reset

# Some tests draw addresses and ports: the same ones in every run. One draws two ports for a range without regard to their order, which AWS
# refuses if the first is the larger one; these are in order.
SEED = 2

def pytest_runtest_setup(item):
    random.seed(SEED)

def pytest_unconfigure(config):
    for cloud in running:
        cloud.kill()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def source(folder: pathlib.Path) -> pathlib.Path:
    """The source package, unpacked there."""
    root = folder / f"moto-{VERSION}"
    if not (root / "tests").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "moto", "-d", str(folder), f"moto=={VERSION}"]
        subprocess.run(command, check=True)
        with tarfile.open(folder / f"moto-{VERSION}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return root


def why(case) -> str:
    """In a few words, why a test failed."""
    text = " ".join((part.get("message") or "") + (part.text or "") for part in case)
    if found := re.search(r"\((?:UnsupportedOperation|InvalidAction|UnknownOperationException)\) when calling the (\w+) operation", text):
        return f"not done here: {found[1]}"
    if "moto-api" in text or "/moto-api" in text:
        return "asks moto's own control"
    if "ResourceNotFoundException" in text or "ClientError" in text:
        code = re.search(r"An error occurred \(([\w.]+)\) when calling the (\w+)", text)
        return f"{code[2]} answers {code[1]}" if code else "another error"
    if "DID NOT RAISE" in text:
        return "no error where moto has one"
    if "Timeout" in text:
        return "takes too long"
    return "another answer"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dryfit", default="target/release/dryfit")
    arguments.add_argument("--list", type=pathlib.Path, help="where each failure and its reason is written")
    arguments.add_argument("--passed", type=pathlib.Path, help="where each test that passed is written")
    arguments.add_argument("--must-pass", type=pathlib.Path, help="runs the tests that are listed there, and no others; all must pass")
    arguments.add_argument("--cache", type=pathlib.Path, help="where moto's source package is kept; a folder of the run's own if absent")
    arguments.add_argument("files", nargs="*", default=FILES)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        root = source(chosen.cache or folder)
        (folder / "dryfit_plugin.py").write_text(PLUGIN)
        environment = {
            **os.environ, "TEST_SERVER_MODE": "true", "TEST_SERVER_MODE_ENDPOINT": f"http://127.0.0.1:{free_port()}",
            "DRYFIT": os.path.abspath(chosen.dryfit),
            "PYTHONPATH": f"{folder}:{root}",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
        }
        wanted = collections.defaultdict(list)
        if chosen.must_pass:
            for test in chosen.must_pass.read_text().split():
                wanted[test.split("::")[0]].append(test)
        totals, reasons, failures, passed = collections.Counter(), collections.Counter(), [], []
        for file in wanted or [name for name in chosen.files if (root / "tests" / name).exists()]:
            report = folder / "report.xml"
            report.unlink(missing_ok=True)
            tests = [f"tests/{test}" for test in wanted[file]] or [f"tests/{file}"]
            run = [sys.executable, "-m", "pytest", "-q", "-p", "dryfit_plugin", "--timeout", "20", f"--junitxml={report}", *tests]
            said = subprocess.run(run, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
            if not report.exists():
                sys.exit(f"pytest made no report of {file}:\n{said}")
            counts = collections.Counter()
            for case in tree.parse(report).iter("testcase"):
                kinds = {part.tag for part in case}
                verdict = "skipped" if "skipped" in kinds else "failed" if kinds & {"failure", "error"} else "passed"
                counts[verdict] += 1
                where = "::".join(case.get("classname").removeprefix("tests.").split(".")[2:])
                name = "::".join(part for part in (file, where, case.get("name")) if part)
                if verdict == "passed":
                    passed.append(name)
                if verdict == "failed":
                    reasons[why(case)] += 1
                    failures.append(f"{name}: {why(case)}")
            totals += counts
            print(f"{file:48} {counts['passed']:4} passed {counts['failed']:4} failed {counts['skipped']:4} skipped", flush=True)
        print(f"{'all':48} {totals['passed']:4} passed {totals['failed']:4} failed {totals['skipped']:4} skipped")
        for reason, count in reasons.most_common(40):
            print(f"{count:5}  {reason}")
        if chosen.list:
            chosen.list.write_text("\n".join(failures) + "\n")
        if chosen.passed:
            chosen.passed.write_text("\n".join(passed) + "\n")
        if chosen.must_pass and totals["passed"] != sum(map(len, wanted.values())):
            sys.exit("must pass, and did not:\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
