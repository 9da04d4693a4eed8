"""The AWS CLI against a running cloud: `DRYFIT_CLOUD=http://127.0.0.1:PORT`."""

import json
import os
import subprocess
import sys

import pytest

ADDRESS = os.environ.get("DRYFIT_CLOUD")
pytestmark = pytest.mark.skipif(not ADDRESS, reason="DRYFIT_CLOUD names no running cloud")


def aws(*words: str) -> subprocess.CompletedProcess:
    own = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-west-2", "AWS_PAGER": ""}
    environment = {**os.environ, **own, "AWS_DEFAULT_REGION": "us-west-2"}
    # Version 1 of the CLI has its own idea of SQS's address unless the option is given.
    command = [sys.executable, "-m", "awscli", *words, "--output", "json", "--endpoint-url", ADDRESS]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def told(*words: str):
    done = aws(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sts get-caller-identity", "Account"),
        ("ec2 describe-availability-zones", "AvailabilityZones"),
        ("ec2 describe-vpcs --filters Name=is-default,Values=true", "Vpcs"),
        ("ec2 describe-subnets", "Subnets"),
        ("ec2 describe-instance-types --instance-types m5.large t3.small", "InstanceTypes"),
        ("ec2 describe-instance-type-offerings --location-type availability-zone --max-items 3", "InstanceTypeOfferings"),
        ("ec2 describe-instances", "Reservations"),
        ("iam list-roles", "Roles"),
        ("iam list-instance-profiles", "InstanceProfiles"),
        ("eks list-clusters", "clusters"),
        ("events list-rules", "Rules"),
    ],
)
def test_a_command_is_answered(words, expected):
    assert expected in told(*words.split())


def test_a_queue_lives_from_create_to_delete():
    url = told("sqs", "create-queue", "--queue-name", "cli-queue")["QueueUrl"]
    told("sqs", "send-message", "--queue-url", url, "--message-body", "hello")
    (message,) = told("sqs", "receive-message", "--queue-url", url)["Messages"]
    assert message["Body"] == "hello"
    told("sqs", "delete-queue", "--queue-url", url)


def test_an_error_is_named():
    done = aws("ec2", "describe-instances", "--instance-ids", "i-0123456789abcdef0")
    assert done.returncode != 0
    assert "(InvalidInstanceID.NotFound)" in done.stderr
