"""Pipes to the codec, and values made from a model."""

import base64
import datetime
import json
import os
import pathlib
import random
import string
import subprocess

import botocore.session

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "fake-ec2" / "data" / "models"
SEED = int(os.environ.get("DRYFIT_SEED", "1"))
ROUNDS = int(os.environ.get("DRYFIT_ROUNDS", "5"))
SESSION = botocore.session.Session()


def served() -> list[tuple[str, str]]:
    """(signing name, operation) of everything that the committed models serve."""
    pairs = []
    for path in sorted(MODELS.glob("*.json")):
        pairs += [(path.stem, operation) for operation in json.loads(path.read_text())["operations"]]
    return pairs


def model(service: str):
    """botocore's whole model of a service: not the pruned one, so that pruning is judged too."""
    return SESSION.get_service_model(service)


class Codec:
    """The example binary, one line out for one line in."""

    def __init__(self):
        binary = os.environ.get("DRYFIT_CODEC")
        command = [binary] if binary else ["cargo", "run", "--quiet", "--package", "fake-ec2", "--example", "codec"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "unusable" not in answer, answer
        return answer

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def wire_request(method: str, url: str, headers: dict, body: bytes) -> dict:
    text = {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in headers.items()}
    return {"method": method, "url": url, "headers": text, "body": base64.b64encode(body).decode()}


class Values:
    """Random values that fit a shape. Members are left out at random; structures that contain themselves end at a depth."""

    def __init__(self, seed: str, replies: bool):
        self.random = random.Random(f"{SEED} {seed}")
        self.replies = replies
        # A reply's list may be empty; an empty list of a request is not written by EC2's protocol.
        self.shortest = 0 if replies else 1

    def of(self, shape, depth: int = 0):
        return getattr(self, f"a_{shape.type_name}")(shape, depth)

    def a_structure(self, shape, depth):
        value = {}
        for name, member in shape.members.items():
            required = name in shape.required_members
            if required or (depth < 5 and self.random.random() < (0.7 if depth < 2 else 0.5)):
                value[name] = self.of(member, depth + 1)
        # Forms have no word for a structure without members.
        if not value and shape.members and not self.replies:
            name = min(shape.members, key=lambda name: shape.members[name].type_name in ("structure", "list", "map"))
            value[name] = self.of(shape.members[name], depth + 1)
        return value

    def a_list(self, shape, depth):
        length = self.random.randint(self.shortest, 3)
        if depth >= 5:
            length = self.shortest
        return [self.of(shape.member, depth + 1) for _ in range(length)]

    def a_map(self, shape, depth):
        return {self.key(shape.key): self.of(shape.value, depth + 1) for _ in range(self.random.randint(1, 3))}

    def key(self, shape):
        return self.random.choice(shape.enum) if shape.enum else self.text(1, 12)

    def a_string(self, shape, _depth):
        if shape.enum:
            return self.random.choice(shape.enum)
        return self.text(1, 12)

    def text(self, least, most):
        # XML's own letters, blanks inside, a plus and a percent sign for forms, letters beyond ASCII, beyond 16 bits too.
        letters = string.ascii_letters + string.digits + "&<>\"'+%=/.:;-_~é漢😀"
        inner = letters + " \n"
        length = self.random.randint(least, most)
        text = [self.random.choice(inner) for _ in range(length)]
        text[0], text[-1] = self.random.choice(letters), self.random.choice(letters)
        return "".join(text)

    def a_integer(self, shape, _depth):
        return self.random.choice([0, 1, -1, 2**31 - 1, -(2**31), self.random.randint(-10**6, 10**6)])

    def a_long(self, shape, _depth):
        return self.random.choice([0, 1, 2**53, -(2**63), 2**63 - 1, self.random.randint(-10**15, 10**15)])

    def a_double(self, shape, _depth):
        return self.random.choice([0.0, 0.5, -1.25, 81.25, self.random.randrange(10**6) / 1000])

    a_float = a_double

    def a_boolean(self, shape, _depth):
        return self.random.random() < 0.5

    def a_timestamp(self, shape, _depth):
        seconds = self.random.randint(0, 4 * 10**9)
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)

    def a_blob(self, shape, _depth):
        return self.random.randbytes(self.random.randint(1, 20))


def seam(shape, value):
    """A botocore value as the seam has it: timestamps as RFC 3339 text, blobs in base64."""
    kind = shape.type_name
    if kind == "structure":
        return {name: seam(shape.members[name], item) for name, item in value.items()}
    if kind == "list":
        return [seam(shape.member, item) for item in value]
    if kind == "map":
        return {name: seam(shape.value, item) for name, item in value.items()}
    if kind == "timestamp":
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    if kind == "blob":
        return base64.b64encode(value).decode()
    return value
