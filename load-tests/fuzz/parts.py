"""The parts of fuzzed messages. It shares no code with the product: the wire's description alone. Pure."""

import json
import random
from dataclasses import dataclass
from typing import Any

TENANTS = ("default", "acme")
"""Tenants that the queue may carry; `default` is that of plain lines."""
UNSEALED, SEALED = "batch_fuzz-unsealed", "batch_fuzz-sealed"
"""Two jobs with a manifest; of the second, `TOTAL_REQUESTS` were promised and the first is never sent."""
TOTAL_REQUESTS = 10
SECRET = "the-secret-of-another-tenant"  # noqa: S105 - bait
BAIT = ("acme", "single-bait", "0")
"""Tenant, job and index of a stored body that nobody may read."""
LARGE_BYTES = 10_000_000
CLAIMED = "single-claimed"
"""The job whose bodies are stored; `0` is small, `1` is over the limit."""

CHAT = "/v1/chat/completions"
NASTY = (
    *("../../x", "..", ".", "/", "//", "a/../b", "%2e%2e%2f", "\\..\\", "tenants/acme", "CON", "-"),
    *("\x00", "a\nb", "\x1b[31m", "\u202e\x00", "💥" * 40, "\u200b", " ", "é" * 200, "a" * 255, "a" * 256),
    *("'; drop table jobs; --", "${jndi:x}", "{{7*7}}"),
)
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 400,
    "1e-999",
    "-0",
    "0x10",
    "1_000",
    "18446744073709551616",
)


@dataclass(frozen=True, slots=True)
class Good:
    """The expected end of a good message: the response that holds this token."""

    custom_id: str
    token: str


@dataclass(frozen=True, slots=True)
class Hostile:
    """One message of the run."""

    kind: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    good: Good | None = None


class Parts:
    """Pieces of messages, from a seed."""

    def __init__(self, seed: int, limit: int) -> None:
        self.dice = random.Random(seed)
        self.number = 0
        """Of the message under construction."""
        self.limit = limit
        """Bytes that the queue accepts in one message."""

    def new_id(self) -> str:
        """A custom_id that no other message has."""
        return f"c-{self.number}-{self.dice.getrandbits(64):016x}"

    def request(self) -> tuple[str, str, dict[str, Any]]:
        """A custom_id, the token that its answer holds, and its body."""
        custom_id = self.new_id()
        token = f"token-{custom_id[2:]}"
        content = f"say [[echo]] {token}"
        return custom_id, token, {"model": "fake", "messages": [{"role": "user", "content": content}], "temperature": 0}

    def envelope_of(self, custom_id: str, **body: Any) -> dict[str, Any]:
        """An envelope at an address that no other message has."""
        # Long random indexes: no mutation makes one into another's.
        index = f"i{self.dice.getrandbits(128):032x}"
        tenant, job = self.dice.choice(TENANTS), f"single-{self.dice.randrange(20)}"
        return {"v": 1, "tenant": tenant, "job": job, "index": index, "custom_id": custom_id, "url": CHAT, **body}

    def whole(self) -> bytes:
        """A good message of either form, as bytes."""
        custom_id, _, body = self.request()
        if self.dice.random() < 0.3:  # noqa: PLR2004
            return as_json({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body})
        return as_json(self.envelope_of(custom_id, body=body))

    def wrong(self) -> Any:
        """A value that is seldom right."""
        return self.dice.choice(
            (None, True, 0, -1, 1.5, 2**70, "", "x", [], [[]], {}, {"a": 1}, ["x"] * 50, {"model": "fake"})
        )

    def junk(self) -> tuple[tuple[str, bytes], ...]:
        """Headers that mean nothing, or too much."""
        junk = (b"nan", b"inf", b"-1", b"1e400", b"many", b"\xff\xfe", b"\x00", b"9" * 500, b"1", b"1.5", "é".encode())
        names = ("attempt", "suspect", "traceparent", "tenant", "job", "x-unknown", "")
        found = [(self.dice.choice(names), self.dice.choice(junk)) for _ in range(self.dice.randrange(1, 5))]
        if self.dice.random() < 0.1:  # noqa: PLR2004
            found.append(("not_before", self.dice.choice(junk)))
        return tuple(found)


def as_json(value: Any) -> bytes:
    """The value as JSON, escaped to ASCII."""
    return json.dumps(value).encode()
