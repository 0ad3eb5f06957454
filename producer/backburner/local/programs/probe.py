"""Questions to servers on loopback: does it answer, and with what. Each takes two seconds at most and never raises."""

import contextlib
import http.client
import io
import socket
import struct
from collections.abc import Iterator

from backburner.local.programs.ports import LOOPBACK

_PROBE_SECONDS = 2.0

_METADATA_API_KEY = 3
_METADATA_VERSION = 1
_CORRELATION_ID = 0x6262
_LENGTH_BYTES = 4
_HEAD = struct.Struct(">iii")
"""Of the answer: its length, the number that it answers, how many brokers follow."""
_MAX_ANSWER_BYTES = 1024 * 1024


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
    """Whether a broker answers there that counts itself, or another, among the brokers of its cluster.

    One that counts none yet is not ready: no topic can be created.
    """
    return bool(kafka_brokers(port))


def kafka_brokers(port: int) -> frozenset[int]:
    """The numbers of the brokers that a broker names in its cluster; none where nobody answers.

    Asked by a Metadata request for no topic, which therefore creates none.
    """
    header = struct.pack(">hhih", _METADATA_API_KEY, _METADATA_VERSION, _CORRELATION_ID, -1)
    request = header + struct.pack(">i", 0)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PROBE_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                length, correlation, count = _HEAD.unpack(answer.read(_HEAD.size))
                if correlation != _CORRELATION_ID or not 0 < length < _MAX_ANSWER_BYTES:
                    return frozenset()
                return frozenset(_node_numbers(answer.read(length - _HEAD.size + _LENGTH_BYTES), count))
    except (OSError, struct.error):
        return frozenset()


def _node_numbers(answer: bytes, count: int) -> Iterator[int]:
    """Of each broker in a Metadata answer: its number. Its host, its port and its rack are passed over."""
    fields = io.BytesIO(answer)

    def number(form: str) -> int:
        (found,) = struct.unpack(form, fields.read(struct.calcsize(form)))
        return int(found)

    for _ in range(count):
        yield number(">i")
        fields.seek(max(number(">h"), 0), io.SEEK_CUR)
        number(">i")
        fields.seek(max(number(">h"), 0), io.SEEK_CUR)
