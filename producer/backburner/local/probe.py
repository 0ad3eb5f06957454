"""Questions to servers on loopback: does it answer, and with what. Each takes two seconds at most and never raises."""

import contextlib
import http.client
import socket
import struct

from backburner.local.ports import LOOPBACK

_SECONDS = 2.0

_METADATA = 3
_METADATA_VERSION = 1
_CORRELATION = 0x6262


def http_status(port: int, path: str) -> int | None:
    """The status of `GET path`, or None if nothing answers in HTTP."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def speaks_kafka(port: int) -> bool:
    """Whether a broker answers a Metadata request, which asks for no topic and so creates none."""
    header = struct.pack(">hhih", _METADATA, _METADATA_VERSION, _CORRELATION, -1)
    request = header + struct.pack(">i", 0)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                head = answer.read(8)
    except OSError:
        return False
    return len(head) == 8 and struct.unpack(">ii", head)[1] == _CORRELATION  # noqa: PLR2004 - two 32-bit integers
