"""A catalogue that `dryfit catalog refresh` wrote is what boto3 reads from the same cloud."""

import json
import os
import subprocess

import boto3
import pytest

DRYFIT = os.environ.get("DRYFIT") or os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "dryfit")


@pytest.fixture(scope="module")
def served():
    if not os.path.exists(DRYFIT):
        pytest.skip(f"{DRYFIT} is not built")
    process = subprocess.Popen([DRYFIT, "cloud", "--listen", "127.0.0.1:0", "--spot", "moving"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait()


def client(served, service):
    return boto3.client(service, endpoint_url=served, region_name="us-west-2", aws_access_key_id="test", aws_secret_access_key="test")


def test_a_refreshed_catalogue_is_what_boto3_reads(served, tmp_path):
    path = tmp_path / "us-west-2.json"
    environment = {**os.environ, "AWS_ENDPOINT_URL": served, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    subprocess.run([DRYFIT, "catalog", "refresh", "--region", "us-west-2", "--output", path], check=True, env=environment)
    types = json.loads(path.read_text())["types"]
    ec2 = client(served, "ec2")
    read = {details["InstanceType"]: details for page in ec2.get_paginator("describe_instance_types").paginate() for details in page["InstanceTypes"]}
    assert {name: offer["details"] for name, offer in types.items()} == read
    zones = {}
    for page in ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone"):
        for offering in page["InstanceTypeOfferings"]:
            zones.setdefault(offering["InstanceType"], []).append(offering["Location"])
    assert {name: offer["zones"] for name, offer in types.items()} == {name: sorted(found) for name, found in zones.items()}
    pricing = client(served, "pricing")
    terms = {"regionCode": "us-west-2", "tenancy": "Shared", "operatingSystem": "Linux", "preInstalledSw": "NA", "capacitystatus": "Used"}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in terms.items()]
    checked = 0
    for page in pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters):
        for product in map(json.loads, page["PriceList"]):
            name = product["product"]["attributes"]["instanceType"]
            (term,) = product["terms"]["OnDemand"].values()
            (dimension,) = term["priceDimensions"].values()
            assert float(types[name]["onDemand"]) == float(dimension["pricePerUnit"]["USD"]), name
            checked += 1
    assert checked > 500
