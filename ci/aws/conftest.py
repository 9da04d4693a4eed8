"""Fixtures: the codec, and clients of the cloud."""

import base64
import datetime
import json
import os
import time
import urllib.request

import boto3
import botocore.awsrequest
import botocore.config
import pytest

import wire

ADDRESS = os.environ.get("DRYFIT_CLOUD")


@pytest.fixture(scope="session")
def codec():
    codec = wire.Codec()
    yield codec
    codec.close()


class Pipe:
    """Answers botocore's requests through the codec's cloud, in virtual time: no socket, no waiting."""

    def __init__(self, codec):
        self.codec = codec
        self.now = "2026-11-20T17:00:00Z"

    def pass_time(self, seconds):
        now = datetime.datetime.fromisoformat(self.now) + datetime.timedelta(seconds=seconds)
        self.now = now.isoformat().replace("+00:00", "Z")

    def send(self, request, **_):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        answer = self.codec.ask(send=wire.wire_request(request.method, request.url, dict(request.headers), body), now=self.now)
        self.now = answer["now"]
        raw = Raw(base64.b64decode(answer["body"]))
        headers = botocore.awsrequest.HeadersDict(answer["headers"])
        return botocore.awsrequest.AWSResponse(request.url, answer["status"], headers, raw)


class Raw:
    def __init__(self, body):
        self.body = body

    def stream(self, **_):
        yield self.body


class Seen:
    """Every answer of the session: (service, operation, code, status, message); code is None where the call succeeded."""

    answers = set()

    @classmethod
    def note(cls, http_response, parsed, model, **_):
        error = parsed.get("Error", {})
        service = model.service_model.signing_name
        cls.answers.add((service, model.name, error.get("Code"), http_response.status_code, error.get("Message")))
        # A fleet tells of its launches' errors in an answer that succeeded.
        for launch in parsed.get("Errors", []) if model.name == "CreateFleet" else []:
            cls.answers.add((service, model.name, launch["ErrorCode"], http_response.status_code, launch["ErrorMessage"]))


class Account:
    """A cloud of a test's own (or the one at the given address), and clients for it."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-west-2")

    def iam(self, mode):
        """Whether policies decide: off, log, enforce."""
        if self.pipe:
            self.pipe.codec.ask(iam=mode)
            return
        request = urllib.request.Request(f"{ADDRESS}/_dryfit/iam", json.dumps({"mode": mode}).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    def rule(self, name, effect, account=None, **more):
        """A fault of the cloud, of the first account's calls or of another's, until it is ended; `effect` in the cloud's own words."""
        if self.pipe:
            of = {} if account is None else {"account": account}
            self.pipe.codec.ask(rule={"name": name, "effect": effect, **more}, **of)
        else:
            self.control("faults", {**({} if account is None else {"account": account}), **effect, **more})

    def end(self, name):
        """Ends it; where a cloud runs for real, all faults with the first word of the name."""
        if self.pipe:
            self.pipe.codec.ask(end=name, now=self.pipe.now)
        else:
            self.control("faults", {"lift": [name.split()[0]]})

    @staticmethod
    def control(path, body):
        request = urllib.request.Request(f"{ADDRESS}/_dryfit/{path}", json.dumps(body).encode())
        urllib.request.urlopen(request).close()

    def client(self, service, session=None, **more):
        settings = botocore.config.Config(retries={"total_max_attempts": 1}, **more)
        client = (session or self.session).client(service, endpoint_url=ADDRESS or "http://127.0.0.1:4566", config=settings)
        client.meta.events.register("after-call", Seen.note)
        if self.pipe:
            client.meta.events.register("before-send", self.pipe.send)
        return client

    @property
    def virtual(self):
        """Whether time is ours to move."""
        return self.pipe is not None

    def until(self, holds, seconds):
        """Lets this much time pass at most, until something holds; says whether it does."""
        if self.pipe:
            self.pipe.pass_time(seconds)
            return holds()
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True


@pytest.fixture(scope="session")
def account():
    if ADDRESS:
        yield Account(None)
        return
    codec = wire.Codec()
    yield Account(Pipe(codec))
    codec.close()
