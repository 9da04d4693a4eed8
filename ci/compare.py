#!/usr/bin/env python3
"""Compares two runs of one scenario: what was bought, what is left for pods, and what was asked of AWS on the way.

    ci/compare.py ONE.json ONE.trace OTHER.json OTHER.trace     exits 1 when they differ
    ci/compare.py --record RUN.trace FILE.json                  writes what a run asked of AWS, normalised, as a fixture
    ci/compare.py --requests RUN.trace FILE.json                compares a run with such a fixture

With --any-of TYPE,TYPE… before these, a dry run may try any of the types: upstream takes the first that a Go map yields. Templates that
only dry runs use belong to the type tried, and are left out.

Left out of the comparison, because each run draws it anew: client tokens, ids in EC2's requests for templates (their names are
hashes of each controller's own making), the order of tags. Fleets that ask for the same are added up: how many launches share a
call depends on who is faster.
"""
import base64, json, re, sys, urllib.parse

ANY_OF = set()
DRAWN = {"ClientToken", "LaunchTemplateName"}


def untag(parameters):
    """Tags as sorted `key=value` lists per resource instead of numbered pairs."""
    tags, rest = {}, {}
    kinds = {}
    for key, value in parameters.items():
        found = re.fullmatch(r"(.*TagSpecification\.\d+)\.(ResourceType|Tag\.(\d+)\.(Key|Value))", key)
        if not found:
            rest[key] = value
        elif found[2] == "ResourceType":
            kinds[found[1]] = value
        else:
            tags.setdefault(found[1], {}).setdefault(found[3], {})[found[4]] = value
    for place, numbered in tags.items():
        name = re.sub(r"\.\d+$", "", place) + " " + kinds.get(place, "")
        rest[name] = sorted(f"{tag.get('Key')}={tag.get('Value', '')}" for tag in numbered.values())
    return rest


def user_data(text):
    """The NodeConfig inside, its flags as a sorted list; any other text as it is."""
    decoded = base64.b64decode(text).decode()
    if "application/node.eks.aws" not in decoded:
        return decoded
    body = decoded.split("application/node.eks.aws", 1)[1].split("\n--", 1)[0]
    try:
        import yaml
        config = yaml.safe_load(body.strip())
    except ImportError:
        return body.strip()
    flags = config.get("spec", {}).get("kubelet", {}).get("flags", [])
    config["spec"]["kubelet"]["flags"] = sorted(flag for line in flags for flag in re.split(r"[=,]", line, maxsplit=1)[1:] for flag in flag.split(","))
    for drawn in ("apiServerEndpoint", "certificateAuthority"):
        config["spec"]["cluster"].pop(drawn, None)
    return config


def sort_overrides(parameters):
    """Upstream walks its zones in the order of a Go map: overrides in order of type and zone, and profiles by their prefix alone."""
    place = re.compile(r"(LaunchTemplateConfigs\.\d+\.Overrides)\.(\d+)\.(\w+)")
    numbered, rest = {}, {}
    for key, value in parameters.items():
        found = place.fullmatch(key)
        if found:
            numbered.setdefault((found[1], found[2]), {})[found[3]] = value
        else:
            rest[key] = value
    for (name, _), override in numbered.items():
        rest.setdefault(name, []).append(override)
    for name in {name for name, _ in numbered}:
        rest[name].sort(key=lambda o: (o["InstanceType"], o.get("AvailabilityZone", ""), o["SubnetId"]))
    profile = "LaunchTemplateData.IamInstanceProfile.Name"
    if profile in rest:
        rest[profile] = re.sub(r"_\d+$", "_drawn", rest[profile])
    return rest


def sort_configs(parameters):
    """A fleet's templates come in the order of a Go map; their names are each controller's own."""
    place = re.compile(r"LaunchTemplateConfigs\.(\d+)\.(.+)")
    numbered, rest = {}, {}
    for key, value in parameters.items():
        found = place.fullmatch(key)
        if not found:
            rest[key] = value
        elif not found[2].endswith(".LaunchTemplateName"):
            numbered.setdefault(found[1], {})[found[2]] = value
    for number, config in enumerate(sorted(numbered.values(), key=lambda config: json.dumps(config, sort_keys=True)), 1):
        rest |= {f"LaunchTemplateConfigs.{number}.{key}": value for key, value in config.items()}
    return rest


def requests(trace):
    """Launch templates and fleets, dry runs apart, normalised."""
    fleets, templates, dry, used = {}, [], [], set()
    for line in open(trace):
        entry = json.loads(line)
        of = entry["of"]
        if entry["what"] != "aws request" or of["operation"] not in ("CreateFleet", "CreateLaunchTemplate"):
            continue
        parameters = dict(urllib.parse.parse_qsl(of["body"], keep_blank_values=True))
        name = parameters.get("LaunchTemplateName")
        if of["operation"] == "CreateFleet" and parameters.get("DryRun") != "true":
            used |= {value for key, value in parameters.items() if key.endswith(".LaunchTemplateName")}
        parameters = {k: v for k, v in parameters.items() if k not in DRAWN}
        if "LaunchTemplateData.UserData" in parameters:
            parameters["LaunchTemplateData.UserData"] = user_data(parameters["LaunchTemplateData.UserData"])
        parameters = sort_configs(sort_overrides(untag(parameters)))
        if of["operation"] == "CreateLaunchTemplate":
            templates.append((name, parameters))
        elif parameters.get("DryRun") == "true":
            for override in (o for key, value in parameters.items() if key.endswith(".Overrides") for o in value):
                if override["InstanceType"] in ANY_OF:
                    override["InstanceType"] = "one of " + ", ".join(sorted(ANY_OF))
            for key in [k for k in parameters if k.endswith(".Overrides")]:
                parameters[key].sort(key=lambda o: o["SubnetId"])
            dry.append(parameters)
        else:
            count = int(parameters.pop("TargetCapacitySpecification.TotalTargetCapacity", "0"))
            key = json.dumps(parameters, sort_keys=True)
            fleets[key] = fleets.get(key, 0) + count
    distinct = lambda items: sorted({json.dumps(item, sort_keys=True) for item in items})
    return {
        "fleets": [dict(json.loads(key), total=count) for key, count in sorted(fleets.items())],
        "launch templates": [json.loads(item) for item in distinct(parameters for name, parameters in templates if name in used)],
        "dry runs": [json.loads(item) for item in distinct(dry)],
    }


def bought(report):
    nodes = json.load(open(report))[0]["nodes"]
    return sorted((n["pool"], n["instance_type"], n["capacity_type"], json.dumps(n["claim_allocatable"], sort_keys=True), n["node_allocatable"], n["pods"]) for n in nodes), len({n["zone"] for n in nodes})


def differences(one, other, path=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other)):
            yield from differences(a, b, f"{path}[{index}]")
    elif one != other:
        yield f"{path}:\n  {json.dumps(one)}\n  {json.dumps(other)}"


def main(words):
    if words[:1] == ["--any-of"]:
        ANY_OF.update(words[1].split(","))
        words = words[2:]
    if words[:1] == ["--record"]:
        with open(words[2], "w") as file:
            json.dump(requests(words[1]), file, indent=1, sort_keys=True)
            file.write("\n")
        return 0
    if words[:1] == ["--requests"]:
        found = list(differences(json.load(open(words[2])), requests(words[1])))
    else:
        one_json, one_trace, other_json, other_trace = words
        (nodes, zones), (other_nodes, other_zones) = bought(one_json), bought(other_json)
        found = list(differences(nodes, other_nodes, "nodes")) + list(differences(zones, other_zones, "zones"))
        found += list(differences(requests(one_trace), requests(other_trace)))
    for difference in found:
        print(difference)
    print(f"{len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
