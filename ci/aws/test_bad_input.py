"""Bodies that a server must not wait for or hold for ever, over a socket: cut, slow, huge, and no HTTP at all."""

import re
import socket
import time
import urllib.parse

import pytest

from conftest import ADDRESS

pytestmark = pytest.mark.skipif(not ADDRESS, reason="DRYFIT_CLOUD names no running cloud")

SCOPE = "AWS4-HMAC-SHA256 Credential=test/20261120/us-west-2/{}/aws4_request, SignedHeaders=host, Signature=00"


def head(service, length, **more):
    lines = ["POST / HTTP/1.1", "host: cloud", f"content-length: {length}", f"authorization: {SCOPE.format(service)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


FORM = {"content_type": "application/x-www-form-urlencoded"}
JSON = {"content_type": "application/x-amz-json-1.0", "x_amz_target": "AmazonSQS.ListQueues"}


def connected():
    where = urllib.parse.urlparse(ADDRESS)
    return socket.create_connection((where.hostname, where.port), timeout=40)


def answer(peer):
    """Status and body; nothing if the server hung up."""
    got = b""
    while True:
        try:
            piece = peer.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            break
        got += piece
        length = re.search(rb"content-length: (\d+)", got, re.I)
        if b"\r\n\r\n" in got and length and len(got.split(b"\r\n\r\n", 1)[1]) >= int(length[1]):
            break
    if not got:
        return None, ""
    return int(got.split(b" ", 2)[1]), got.split(b"\r\n\r\n", 1)[1].decode()


@pytest.mark.parametrize("service, more, code", [("ec2", FORM, "<Code>RequestTimeout</Code>"), ("sqs", JSON, '"RequestTimeout"')])
def test_a_body_that_never_ends_is_answered(service, more, code):
    with connected() as peer:
        begun = time.monotonic()
        peer.sendall(head(service, 1000, **more) + b"Action=DescribeVpcs&")
        status, body = answer(peer)
        assert (status, code in body) == (408, True), body
        assert 15 < time.monotonic() - begun < 30


def test_a_body_that_is_cut_is_no_request():
    with connected() as peer:
        peer.sendall(head("ec2", 1000, **FORM) + b"Action=CreateVpc&CidrBlock=10.77.0.0/16&Version=2016-11-15")
        peer.shutdown(socket.SHUT_WR)
        status, body = answer(peer)
        assert status in (None, 408), body
    assert "10.77.0.0/16" not in ask("Action=DescribeVpcs&Version=2016-11-15")


@pytest.mark.parametrize("size", [3 << 20, 20 << 20])
def test_a_huge_body_is_refused(size):
    with connected() as peer:
        try:
            peer.sendall(head("ec2", size, **FORM))
            for _ in range(size >> 16):
                peer.sendall(b"a" * (1 << 16))
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has heard enough.
        status, body = answer(peer)
        assert status in (None, 413), body
        assert size > 16 << 20 or "<Code>RequestEntityTooLarge</Code>" in body


def test_no_http_does_no_harm():
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000, b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"):
        with connected() as peer:
            peer.sendall(noise)
            peer.shutdown(socket.SHUT_WR)
            status, _ = answer(peer)
            assert status in (None, 400)
    assert "<vpcSet>" in ask("Action=DescribeVpcs&Version=2016-11-15")


def ask(form):
    with connected() as peer:
        peer.sendall(head("ec2", len(form), **FORM) + form.encode())
        status, body = answer(peer)
        assert status == 200, body
        return body


def test_a_head_that_does_not_come_is_not_waited_for():
    """Slowloris: a byte now and then, and nothing at all; both end, and the server serves others meanwhile."""
    slow, silent = connected(), connected()
    slow.settimeout(0.5)
    slow.sendall(b"POST / HTTP/1.1\r\nhost: cloud\r\n")
    began, ended = time.monotonic(), None
    while ended is None and time.monotonic() - began < 45:
        try:
            slow.sendall(b"x")
            if slow.recv(100) == b"":
                ended = time.monotonic()
        except TimeoutError:
            pass
        except OSError:
            ended = time.monotonic()
        if time.monotonic() - began < 1:
            assert "<vpcSet>" in ask("Action=DescribeVpcs&Version=2016-11-15")
    assert ended is not None and 25 < ended - began < 45
    # Nothing at all was sent here: it ends as well.
    silent.settimeout(15)
    assert silent.recv(100) == b""
    slow.close()
    silent.close()


def test_more_connections_than_there_are_seats_wait_and_nobody_is_lost():
    """Idle peers hold their seats; the others are served when these have gone."""
    peers = []
    try:
        for _ in range(950):
            peers.append(connected())
        late = connected()
        late.settimeout(3)
        form = "Action=DescribeVpcs&Version=2016-11-15"
        late.sendall(head("ec2", len(form), **FORM) + form.encode())
        with pytest.raises(TimeoutError):
            late.recv(100)
        while peers:
            peers.pop().close()
        late.settimeout(20)
        assert answer(late)[0] == 200
        late.close()
    finally:
        for peer in peers:
            peer.close()


def test_many_large_bodies_at_once_are_all_answered():
    """Only some are read at a time."""
    form = "Action=DescribeVpcs&Version=2016-11-15&Padding=" + "x" * 300_000
    peers = [connected() for _ in range(100)]
    for peer in peers:
        peer.sendall(head("ec2", len(form), **FORM) + form[:100_000].encode())
    for peer in peers:
        peer.sendall(form[100_000:].encode())
    assert {answer(peer)[0] for peer in peers} == {200}
    for peer in peers:
        peer.close()
