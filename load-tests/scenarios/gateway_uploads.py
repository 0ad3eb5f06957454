"""An upload to one replica of the gateway, against a bare PUT that is piped to the same store: speed and memory.

The gateway gets it as the stock client sends it, a multipart form, and checks each line on its way.
"""

import json
import socket
import time
from collections.abc import Sequence

from backburner.local.programs.ports import LOOPBACK
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.part import Part
from scenarios.gateway_sides import Sides

_LINE_CHARACTERS = 2000
_SEND_BYTES = 1 << 20


def upload(sides: Sides, pairs: int, size: int) -> list[Pair]:
    """Upload about so many bytes in each of the pairs."""
    content = _lines(size)
    form, content_type = _form(content)
    bare, ours = sides.bare[0], sides.gateways[0]
    authorization = f"authorization: Bearer {sides.key}"

    def send_bare(number: int) -> Measured:
        head = [f"PUT /uploads/{number} HTTP/1.1", f"content-length: {len(content)}"]
        return _measured(bare, bare.port, head, [content])

    def send_ours(_number: int) -> Measured:
        length = sum(map(len, form))
        head = ["POST /v1/files HTTP/1.1", f"content-length: {length}", f"content-type: {content_type}", authorization]
        return _measured(ours, sides.ports[0], head, form)

    return interleaved(pairs, Side("bare PUT", send_bare), Side("upload", send_ours))


def _lines(size: int) -> memoryview:
    """Batch lines of about so many bytes together."""
    found, number = bytearray(), 0
    while len(found) < size:
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} " + "x" * _LINE_CHARACTERS}]}
        line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        found += json.dumps(line).encode() + b"\n"
        number += 1
    return memoryview(found)


def _form(content: memoryview) -> tuple[list[memoryview], str]:
    """The multipart form around it, in pieces, and its content type."""
    mark = "0123456789abcdef0123456789abcdef"
    head = (
        f'--{mark}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="input.jsonl"\r\n'
        "content-type: application/octet-stream\r\n\r\n"
    )
    tail = f"\r\n--{mark}--\r\n"
    return [memoryview(head.encode()), content, memoryview(tail.encode())], f"multipart/form-data; boundary={mark}"


def _measured(part: Part, port: int, head: Sequence[str], pieces: Sequence[memoryview]) -> Measured:
    """Send a request, whose body is these pieces, and wait for its answer. Raises `RuntimeError` unless it is a 200."""
    before, cpu = part.resident_mb(), part.cpu_seconds()
    part.reset_peak()
    started = time.monotonic()
    with socket.create_connection((LOOPBACK, port)) as connection:
        connection.sendall("\r\n".join([*head, f"host: {LOOPBACK}", "connection: close", "", ""]).encode())
        for piece in pieces:
            for start in range(0, len(piece), _SEND_BYTES):
                connection.sendall(piece[start : start + _SEND_BYTES])
        answer = b"".join(iter(lambda: connection.recv(_SEND_BYTES), b""))
    seconds = time.monotonic() - started
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"an upload was answered with {answer[:2000].decode(errors='replace')}")
    grown = part.peak_mb() - before
    return Measured(seconds, part.cpu_seconds() - cpu, sum(map(len, pieces)) / 1e6, {"grown_mb": grown})
