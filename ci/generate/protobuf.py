#!/usr/bin/env python3
"""Writes src/fake-kube/data/protobuf.json: the built-in kinds as protobuf, by the descriptions that Kubernetes publishes.

    python ci/generate/protobuf.py

Numbers and types come from the `generated.proto` files of k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver
(Apache-2.0, through the Go module proxy); from the Go types beside them: a field's name in JSON, whether it is inline, whether a zero
is left out of JSON, and the Go name that the server's errors say. Kept is what a request body of a served kind reaches.
"""

import json
import re

import sources

VERSION = "v0.36.3"
MODULES = {"k8s.io/api": "", "k8s.io/apimachinery": "", "k8s.io/apiextensions-apiserver": "", "k8s.io/kube-aggregator": ""}
ROOT = sources.HERE.parent.parent
TABLE = ROOT / "src/fake-kube/src/kinds/table.rs"
OUT = ROOT / "src/fake-kube/data/protobuf.json"
# Bodies that no table names: of subresources, reviews and deletions.
BODIES = {
    "/v1/Binding": "k8s.io.api.core.v1.Binding",
    "policy/v1/Eviction": "k8s.io.api.policy.v1.Eviction",
    "autoscaling/v1/Scale": "k8s.io.api.autoscaling.v1.Scale",
    "events.k8s.io/v1/Event": "k8s.io.api.events.v1.Event",
    "authentication.k8s.io/v1/TokenReview": "k8s.io.api.authentication.v1.TokenReview",
    "authentication.k8s.io/v1/TokenRequest": "k8s.io.api.authentication.v1.TokenRequest",
    "authentication.k8s.io/v1/SelfSubjectReview": "k8s.io.api.authentication.v1.SelfSubjectReview",
    "authorization.k8s.io/v1/SelfSubjectAccessReview": "k8s.io.api.authorization.v1.SelfSubjectAccessReview",
    "authorization.k8s.io/v1/SelfSubjectRulesReview": "k8s.io.api.authorization.v1.SelfSubjectRulesReview",
    "authorization.k8s.io/v1/SubjectAccessReview": "k8s.io.api.authorization.v1.SubjectAccessReview",
    "authorization.k8s.io/v1/LocalSubjectAccessReview": "k8s.io.api.authorization.v1.LocalSubjectAccessReview",
    "*/DeleteOptions": "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions",
}

# One line of a message: its label, its type or map, its name, its number.
FIELD = re.compile(r"^\s*(?:(optional|repeated)\s+([\w.]+)|map<string, ([\w.]+)>)\s+(\w+) = (\d+);")
# A field of a Go struct: name (absent when embedded), type, tags.
MEMBER = re.compile(r"^\s*(?:(\w+)\s+)?(\*?)([\w.\[\]*]+)\s+`([^`]*)`")


def read_proto(path, messages):
    package = re.search(r"^package ([\w.]+);", path.read_text(), re.M)[1]
    name = None
    for line in path.read_text().splitlines():
        if opened := re.match(r"message (\w+) \{", line):
            name = f"{package}.{opened[1]}"
            messages[name] = {"fields": {}, "folder": path.parent}
        elif line.startswith("}"):
            name = None
        elif name and (field := FIELD.match(line)):
            label, kind, of_map, proto, number = field.groups()
            kind = kind or of_map
            if kind.startswith("."):
                kind = kind[1:]
            elif kind[0].isupper():
                kind = f"{package}.{kind}"
            shape = "m" if of_map else "r" if label == "repeated" else ""
            messages[name]["fields"][int(number)] = (proto, kind, shape)


def read_go(folder, structs):
    for path in sorted(folder.glob("*.go")):
        if path.name.startswith(("generated", "zz_generated")) or path.name.endswith("_test.go"):
            continue
        name = None
        for line in path.read_text().splitlines():
            if opened := re.match(r"type (\w+) struct \{", line):
                name = opened[1]
            elif line.startswith("}"):
                name = None
            elif name and (member := MEMBER.match(line)):
                go, pointer, kind, tags = member.groups()
                wire = re.search(r'protobuf:"\w+,(\d+),', tags)
                text = re.search(r'json:"([^"]*)"', tags)
                if wire and text:
                    json_name, _, options = text[1].partition(",")
                    structs[(folder, name, int(wire[1]))] = {
                        "go": go or kind.rsplit(".", 1)[-1].lstrip("*"),
                        "json": json_name,
                        "inline": "inline" in options.split(","),
                        "omit": "omitempty" in options,
                        "zero": "omitzero" in options,
                        "pointer": bool(pointer),
                    }


def short(name):
    for prefix in ("k8s.io.api.", "k8s.io.apimachinery.pkg.apis.", "k8s.io.apimachinery.pkg.", "k8s.io.apiextensions_apiserver.pkg.apis.", "k8s.io.kube_aggregator.pkg.apis."):
        if name.startswith(prefix):
            return name[len(prefix):]
    return name


def served():
    """Group, version, kind of the rows of the table."""
    return re.findall(r'^    \("([\w.]*)", "(\w+)", "(\w+)", "\w+", ', TABLE.read_text(), re.M)


def message_of(group, version, kind, messages):
    """The message of a kind: packages are named after the first part of the group."""
    part = (group.split(".")[0] or "core").replace("rbac", "rbac")
    ends = f".{part}.{version}.{kind}"
    found = [name for name in messages if name.endswith(ends)]
    if len(found) != 1:
        raise SystemExit(f"{group}/{version} {kind}: {found}")
    return found[0]


def main():
    messages, structs, folders = {}, {}, set()
    for module in MODULES:
        base = sources.go_module(module, VERSION)
        for path in sorted(base.glob("**/generated.proto")):
            if "vendor" in path.parts or "testing" in path.parts:
                continue
            read_proto(path, messages)
            folders.add(path.parent)
    for folder in sorted(folders):
        read_go(folder, structs)
    kinds = {f"{group}/{version}/{kind}": message_of(group, version, kind, messages) for group, version, kind in served()} | BODIES
    open_, done = sorted(kinds.values()), {}
    while open_:
        name = open_.pop()
        if name in done:
            continue
        fields = []
        for number, (proto, kind, shape) in sorted(messages[name]["fields"].items()):
            if "." in kind:
                open_.append(kind)
            go = structs.get((messages[name]["folder"], name.rsplit(".", 1)[-1], number))
            if go is None:
                # Messages that Go writes by hand: their reader is written by hand, too.
                go = {"go": proto[:1].upper() + proto[1:], "json": proto, "inline": False, "omit": True, "zero": False, "pointer": False}
            flags = shape + ("i" if go["inline"] else "") + ("o" if go["omit"] else "") + ("z" if go["zero"] else "") + ("p" if go["pointer"] else "")
            fields.append([number, go["json"] or proto, short(kind), flags, go["go"]])
        done[name] = fields
    lines = [f"{json.dumps(short(name))}:{json.dumps(fields, separators=(',', ':'))}" for name, fields in sorted(done.items())]
    named = json.dumps({gvk: short(name) for gvk, name in sorted(kinds.items())}, separators=(",", ":"))
    source = json.dumps(f"generated.proto and types.go of {', '.join(MODULES)} {VERSION}")
    OUT.write_text('{"source":' + source + ',"kinds":' + named + ',\n"messages":{\n' + ",\n".join(lines) + "\n}}\n")
    print(f"{OUT.relative_to(ROOT)}: {len(done)} messages, {OUT.stat().st_size} bytes")


main()
