"""An input whose lines were all accepted, and its plan."""

import json
from collections.abc import AsyncIterator
from hashlib import sha256

from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import InputDigest, Plan

CHAT = "/v1/chat/completions"


def line_of(number, prompt, model="fake", **fields):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
    return json.dumps({"custom_id": f"r{number}", "url": CHAT, "body": body}).encode()


class PlannedInput:
    """Lines, one after the other; those for each of the pools in turn."""

    def __init__(self, lines, pools=("fake",)):
        self.lines = lines
        self.data = b"".join(line + b"\n" for line in lines)
        self.digest = InputDigest(len(self.data), sha256(self.data).digest(), bytes(32))
        self.pools = [pools[number % len(pools)] for number in range(len(lines))]

    def plan(self, **options) -> Plan:
        index, offset = OrderIndex(**options), 0
        for line, pool in zip(self.lines, self.pools, strict=True):
            index.add(offset, len(line), CHAT, json.loads(line)["body"], pool=pool, verbatim=True)
            offset += len(line) + 1
        plan = index.plan(self.digest)
        index.close()
        return plan

    async def pieces(self, size=1000) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), size):
            yield self.data[start : start + size]
