#!/usr/bin/env python3
"""Writes fake-ec2/data: instance types, offerings per zone, and us-east-1's on-demand prices.

    python ci/generate/catalogue.py

Types and offerings come from the moto wheel, prices from Karpenter's Go module; both Apache-2.0. Members that the EC2 model does not
know are dropped from the types, and which generations are current is AWS's own list. Each file begins with a line that says where it comes from.
"""

import gzip
import json
import re
import zipfile

import sources

KARPENTER = ("github.com/aws/karpenter-provider-aws", "v1.14.1")
PRICES = "pkg/providers/pricing/zz_generated.pricing_aws.go"
RESOURCES = "moto/ec2/resources/"

# Families that are of a previous generation: EC2 user guide, "Amazon EC2 instance types", and aws.amazon.com/ec2/previous-generation; d2 by moto
# alone. moto asks one region after the other and keeps what the last one said, and so takes m5, c5, r5, c6gn, m6i, r6i, g5 and r7g for past.
PREVIOUS = set("a1 c1 c3 c4 d2 g2 g3 g3s i2 m1 m2 m3 m4 p2 r3 r4 t1".split())


def read(archive: zipfile.ZipFile, name: str):
    return json.loads(gzip.decompress(archive.read(RESOURCES + name)))


def ec2_shapes() -> dict:
    archive = sources.wheel("botocore")
    return json.loads(gzip.decompress(archive.read("botocore/data/ec2/2016-11-15/service-2.json.gz")))["shapes"]


def prune(shapes: dict, name: str, value):
    """Keeps what the model of the shape knows."""
    shape = shapes[name]
    if shape["type"] == "structure":
        members = shape["members"]
        return {key: prune(shapes, members[key]["shape"], value[key]) for key in value if key in members}
    if shape["type"] == "list":
        return [prune(shapes, shape["member"]["shape"], item) for item in value]
    return value


def instance_types(archive: zipfile.ZipFile, origin: dict) -> set[str]:
    shapes = ec2_shapes()
    types = read(archive, "instance_types.json.gz")
    lines = [sources.compact(origin)]
    for name in sorted(types):
        details = prune(shapes, "InstanceTypeInfo", types[name])
        details["InstanceType"] = name
        details["CurrentGeneration"] = name.partition(".")[0] not in PREVIOUS
        lines.append(name + "\t" + sources.compact(details))
    sources.write_gzip("instance_types.jsonl.gz", lines)
    return set(types)


def by_place(rows: list[dict]) -> dict[str, set[str]]:
    places: dict[str, set[str]] = {}
    for row in rows:
        places.setdefault(row["Location"], set()).add(row["InstanceType"])
    return places


def zone_ids(region: str, by_name: dict[str, set[str]], by_id: dict[str, set[str]]) -> dict[str, str]:
    """Pairs zone names with zone ids: the two lists describe the same zones, so equal sets of types belong together."""
    left = dict(sorted(by_id.items()))
    pairs = {}
    for name in sorted(by_name):
        zone_id = next((zone_id for zone_id, types in left.items() if types == by_name[name]), None)
        if zone_id is None:
            raise SystemExit(f"{region}: no zone id offers what {name} offers")
        del left[zone_id]
        pairs[name] = zone_id
    if left:
        raise SystemExit(f"{region}: no zone name for {sorted(left)}")
    return pairs


def offerings(archive: zipfile.ZipFile, origin: dict, known: set[str]) -> None:
    folder = RESOURCES + "instance_type_offerings/availability-zone/"
    names = sorted(name for name in archive.namelist() if name.startswith(folder))
    lines = [sources.compact(origin)]
    for name in names:
        region = name.removeprefix(folder).removesuffix(".json.gz")
        file = f"{region}.json.gz"
        by_name = by_place(read(archive, f"instance_type_offerings/availability-zone/{file}"))
        by_id = by_place(read(archive, f"instance_type_offerings/availability-zone-id/{file}"))
        pairs = zone_ids(region, by_name, by_id)
        masks: dict[str, int] = {}
        for at, zone in enumerate(pairs):
            for instance_type in by_name[zone] & known:
                masks[instance_type] = masks.get(instance_type, 0) | 1 << at
        zones = [{"name": zone, "id": zone_id} for zone, zone_id in pairs.items()]
        lines.append("\t".join([region, sources.compact(zones), sources.compact(masks)]))
    sources.write_gzip("offerings.jsonl.gz", lines)


def prices() -> None:
    text = (sources.go_module(*KARPENTER) / PRICES).read_text()
    date, region = re.search(r"generated at (\d{4}-\d\d-\d\d)T\S+ for (\S+)", text).groups()
    if region != "us-east-1":
        raise SystemExit(f"the price table is of {region}")
    rows = re.findall(r'"([a-z0-9-]+\.[a-z0-9-]+)": (\d+)\.(\d{6})\b', text)
    if len(rows) != len(re.findall(r'": \d', text)):
        raise SystemExit("the price table has rows of another form than expected")
    lines = [sources.compact(sources.provenance(f"{KARPENTER[0]} {PRICES}", KARPENTER[1], date))]
    lines += [f"{name}\t{int(whole + fraction)}" for name, whole, fraction in sorted(rows)]
    sources.write_gzip("prices.tsv.gz", lines)


def main() -> None:
    archive = sources.wheel("moto")
    origin = sources.provenance("moto (PyPI) " + RESOURCES, sources.pinned("moto"), sources.wheel_date(archive))
    known = instance_types(archive, origin)
    offerings(archive, origin, known)
    prices()


if __name__ == "__main__":
    main()
