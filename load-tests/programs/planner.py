"""A child process: plans a job. Each question `{"requests", "beginning"}` is one job of so many requests.

Twenty requests share each beginning, and the input has them far apart. Making a request is not on the clock, nor is
reading and checking its line; what the index takes from the parsed body is.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import InputDigest
from backburner_schemas.request import Endpoint
from measuring.cpu import cpu_seconds, peak_mib, reset_peak

REQUESTS_PER_BEGINNING = 20
_STRIDE_REQUESTS = 7919
"""Prime, so that every request comes once."""
_BATCH_REQUESTS = 1000
_LINE_BYTES = 3000
_WORDS = "the river follows a stone and every bridge returns near the old harbour slowly. "


def plan(requests: int, beginning: int) -> dict[str, Any]:
    """Plan one job; time, CPU, and how much the memory grew at most."""
    text = (_WORDS * (beginning // len(_WORDS) + 1))[:beginning]
    reset_peak()
    before, adding, cpu, offset = peak_mib(), 0.0, 0.0, 0
    index = OrderIndex()
    for batch in _batches(requests, text):
        cpu_before, started = cpu_seconds(), time.monotonic()
        for body in batch:
            index.add(offset, _LINE_BYTES, Endpoint.CHAT, body, pool="fake", verbatim=True)
            offset += _LINE_BYTES + 1
        adding += time.monotonic() - started
        cpu += cpu_seconds() - cpu_before
    cpu_before, started = cpu_seconds(), time.monotonic()
    with index.plan(InputDigest(offset, bytes(32), bytes(32))) as made:
        sorting = time.monotonic() - started
        cpu += cpu_seconds() - cpu_before
        found = made.forecast
        index.close()
        return {
            "seconds": adding + sorting,
            "cpu_seconds": cpu,
            "adding": adding,
            "grown_mb": (peak_mib() - before) * 2**20 / 1e6,
            "hit_ratio": found.hit_ratio,
            "plan_bytes": made.size,
        }


def _batches(requests: int, text: str) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, requests, _BATCH_REQUESTS):
        yield [_body(number * _STRIDE_REQUESTS % requests, text) for number in range(start, start + _BATCH_REQUESTS)]


def _body(number: int, text: str) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": f"Note {number // REQUESTS_PER_BEGINNING}. {text}"},
        {"role": "user", "content": f"What of {number}?"},
    ]
    return {"model": "fake", "messages": messages, "max_tokens": 4}


def main() -> None:
    """Answer questions until there are none."""
    print(json.dumps({"warm": True}), flush=True)
    while question := sys.stdin.readline():
        print(json.dumps(plan(**json.loads(question))), flush=True)


if __name__ == "__main__":
    main()
