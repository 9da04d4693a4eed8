"""What the session has seen of every operation and of every error. It runs last, and only where everything else ran before it.

`docs/fake-aws-errors.md` is written from it with DRYFIT_BLESS=1: operation, code, status, form of the message and its source, which is the
table of the cloud's own (`fake-ec2/src/services/errors.rs`). `unproved.txt` lists what no test here brings about; it may only shrink.
"""

import json
import os
import pathlib
import re

import pytest

import wire
from conftest import ADDRESS, Seen

HERE = pathlib.Path(__file__).parent
PAGE = wire.ROOT / "docs" / "fake-aws-errors.md"
ALL = {"test_cloud", "test_errors", "test_iam", "test_limits", "test_operations", "test_scaling"}
TEXT = r'"((?:[^"\\]|\\.)*)"'
ROW = re.compile(rf"^    ([A-Z_]+): {TEXT}, {TEXT}, {TEXT};$", re.M)


def rows():
    """The cloud's own table: name, code, form, source."""
    text = (wire.ROOT / "fake-ec2" / "src" / "services" / "errors.rs").read_text()
    return [(name, code, json.loads(f'"{form}"'), source) for name, code, form, source in ROW.findall(text)]


# SQS has other names on the wire for these.
OLD = {"NonExistentQueue": "QueueDoesNotExist", "QueueAlreadyExists": "QueueNameExists"}


def plain(code):
    """A code without what protocols add to it."""
    code = code.removeprefix("AWS.SimpleQueueService.")
    return OLD.get(code, code).removesuffix("Exception")


def fits(row, code, message):
    form = re.sub(r"\\\{\d\\\}", ".*", re.escape(row[2]))
    return plain(code) == plain(row[1]) and re.fullmatch(form, message or "", re.S)


def row_of(code, message):
    """The row that an answer is of: the one with the most words of its own."""
    found = [row for row in rows() if fits(row, code, message)]
    return max(found, key=lambda row: len(re.sub(r"\{\d\}", "", row[2])), default=None)


def unproved():
    lines = (HERE / "unproved.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def whole(request):
    ran = {item.path.stem for item in request.session.items}
    if ADDRESS or not ALL <= ran:
        pytest.skip("only where the whole of ci/aws runs in virtual time")


def served():
    """Operations that the cloud's code answers; the models know some more, which answer UnsupportedOperation."""
    refused = {(service, operation) for service, operation, code, _, _ in Seen.answers if code == "UnsupportedOperation"}
    done = {(service, operation) for service, operation, code, _, _ in Seen.answers if code is None}
    return [pair for pair in wire.served() if pair not in refused - done]


def test_every_operation_has_succeeded(whole):
    done = {(service, operation) for service, operation, code, _, _ in Seen.answers if code is None}
    never = sorted(f"operation {service} {operation}" for service, operation in served() if (service, operation) not in done)
    assert never == sorted(line for line in unproved() if line.startswith("operation "))


def test_every_row_has_been_seen(whole):
    # Rows with the same code and words are one to a client.
    seen = {row[1:3] for _, _, code, _, message in Seen.answers if code and (row := row_of(code, message))}
    never = sorted(f"row {row[0]}" for row in rows() if row[1:3] not in seen)
    assert never == sorted(line for line in unproved() if line.startswith("row ")), never


def test_the_committed_table_is_what_was_seen(whole):
    lines = set()
    for service, operation, code, status, message in Seen.answers:
        if code and (row := row_of(code, message)):
            form = row[2].replace("|", "\\|") or "(no words)"
            lines.add(f"| {service} | {operation} | {code} | {status} | {form} | {row[3]} |")
    head = """# What a client is told when it errs

Written by `DRYFIT_BLESS=1 pytest ci/aws` from what boto3 was told in the tests there; CI compares. `{0}`, `{1}` … stand for what the caller sent.
The sources: "EC2 errors" is AWS's page of EC2's error codes; "observed" is a text that clients report; "(code)" says that only the code
has a source and the words are ours; "A/…" is karpenter-provider-aws, whose matching it must satisfy; "model" is the service's own model.
Refusals by policies, by signatures and by malformed requests are in [the fake AWS](fake-aws.md#iam).

| service | operation | code | status | message | source |
|---|---|---|---|---|---|
"""
    text = head + "\n".join(sorted(lines)) + "\n"
    if os.environ.get("DRYFIT_BLESS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "run with DRYFIT_BLESS=1, and look at what changed"
