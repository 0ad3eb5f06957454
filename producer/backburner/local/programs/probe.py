"""Questions to servers on loopback: does it answer, and with what. Each takes two seconds at most and never raises."""

import contextlib
import http.client
import socket
import struct

from backburner.local.programs.ports import LOOPBACK

_PROBE_SECONDS = 2.0

_METADATA_API_KEY = 3
_METADATA_VERSION = 1
_CORRELATION_ID = 0x6262
_HEAD = struct.Struct(">iii")
"""Of the answer: its length, the number that it answers, how many brokers follow."""


def http_status(port: int, path: str) -> int | None:
    """The status of `GET path`, or None if nothing answers in HTTP."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_PROBE_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def speaks_kafka(port: int) -> bool:
    """Whether a broker answers a Metadata request, which asks for no topic and so creates none.

    One that answers before it counts among the brokers of its cluster is not ready: no topic can be created yet.
    """
    header = struct.pack(">hhih", _METADATA_API_KEY, _METADATA_VERSION, _CORRELATION_ID, -1)
    request = header + struct.pack(">i", 0)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PROBE_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                head = answer.read(_HEAD.size)
    except OSError:
        return False
    if len(head) < _HEAD.size:
        return False
    _, correlation, brokers = _HEAD.unpack(head)
    return bool(correlation == _CORRELATION_ID and brokers > 0)
