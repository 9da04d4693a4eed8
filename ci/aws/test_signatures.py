"""botocore's signatures hold, and do not after any change."""

import copy
import datetime

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import wire

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REQUESTS = {
    "form": ("ec2", "POST", "http://127.0.0.1:4566/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=DescribeVpcs&Version=2016-11-15"),
    "query": ("iam", "GET", "http://iam.amazonaws.com/?Version=2010-05-08&Action=GetRole&RoleName=a%2Bb%20c~", {}, b""),
    "json": ("ssm", "POST", "http://127.0.0.1:4566/", {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}, b'{"Name": "/a/b"}'),
    "path": ("eks", "GET", "http://127.0.0.1:4566/clusters/a%20b%2Fc", {}, b""),
    "arn": ("arc-zonal-shift", "GET", "http://h/managedresources/arn%3Aaws%3Aeks%3Aus-west-2%3A1%3Acluster%2Fc", {}, b""),
}


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def signed(case, token=None, presigned=False):
    service, method, url, headers, body = REQUESTS[case]
    request = botocore.awsrequest.AWSRequest(method=method, url=url, headers=headers, data=body)
    credentials = botocore.credentials.Credentials("AKIDEXAMPLE", SECRET, token)
    auth = botocore.auth.SigV4QueryAuth if presigned else botocore.auth.SigV4Auth
    auth(credentials, service, "us-west-2").add_auth(request)
    prepared = request.prepare()
    sent = dict(prepared.headers)
    sent.setdefault("Host", prepared.url.split("/")[2])
    return wire.wire_request(prepared.method, prepared.url, sent, body)


def outcome(codec, request, at=None):
    return codec.ask(verify=request, secret=SECRET, now=(at or now()).isoformat().replace("+00:00", "Z"))


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize("case", REQUESTS)
def test_a_signature_holds(codec, case, token):
    assert outcome(codec, signed(case, token)) == {"ok": True}


@pytest.mark.parametrize("case", ["query", "path"])
def test_a_presigned_request_holds(codec, case):
    assert outcome(codec, signed(case, presigned=True)) == {"ok": True}


@pytest.mark.parametrize("change", ["method", "url", "body", "signature", "date"])
def test_a_changed_request_does_not(codec, change):
    request = signed("json")
    changed = copy.deepcopy(request)
    if change == "method":
        changed["method"] = "PUT"
    elif change == "url":
        changed["url"] += "?a=b"
    elif change == "body":
        changed["body"] = "e30="
    elif change == "signature":
        header = changed["headers"]["Authorization"]
        changed["headers"]["Authorization"] = header[:-1] + ("0" if header[-1] != "0" else "1")
    else:
        earlier = now() - datetime.timedelta(seconds=30)
        changed["headers"]["X-Amz-Date"] = earlier.strftime("%Y%m%dT%H%M%SZ")
    assert outcome(codec, request) == {"ok": True}
    assert outcome(codec, changed)["error"]["code"] == "InvalidSignatureException"


@pytest.mark.parametrize(("case", "code"), [("form", "RequestExpired"), ("query", "SignatureDoesNotMatch"), ("json", "InvalidSignatureException")])
@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_that_is_off_is_told(codec, case, code, minutes):
    assert outcome(codec, signed(case), now() + datetime.timedelta(minutes=minutes))["error"]["code"] == code
