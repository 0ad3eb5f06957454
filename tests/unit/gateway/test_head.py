"""What the head of a call must look like, whatever the parser before it lets through."""

import pytest

from backburner.gateway.http.head import Head
from backburner_schemas.errors import CallRefused, EncodingRefused


def check(*headers, version="1.1"):
    Head({"http_version": version, "headers": [(b"host", b"gateway"), *headers]}).check()


LENGTH, CODING = b"content-length", b"transfer-encoding"


@pytest.mark.parametrize(
    "headers",
    [
        [(LENGTH, b"1"), (LENGTH, b"1")],
        [(LENGTH, b"1"), (CODING, b"chunked")],
        [(LENGTH, b"+1")],
        [(LENGTH, b"-1")],
        [(LENGTH, b"1, 1")],
        [(LENGTH, b"")],
        [(CODING, b"gzip")],
        [(CODING, b"gzip, chunked")],
        [(CODING, b"chunked"), (CODING, b"chunked")],
        [(b"host", b"other")],
        [(b"authorization", b"a"), (b"authorization", b"b")],
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused(headers):
    with pytest.raises(CallRefused):
        check(*headers)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity, gzip", b""])
def test_what_is_compressed_is_refused(coding):
    with pytest.raises(EncodingRefused):
        check((b"content-encoding", coding))


@pytest.mark.parametrize("version", ["0.9", "2", "3"])
def test_other_versions_are_refused(version):
    with pytest.raises(CallRefused):
        check(version=version)


@pytest.mark.parametrize(
    "headers", [[], [(LENGTH, b"0")], [(LENGTH, b" 12 ")], [(CODING, b"Chunked")], [(b"content-encoding", b"Identity")]]
)
def test_an_ordinary_head_passes(headers):
    check(*headers)
    check(*headers, version="1.0")
