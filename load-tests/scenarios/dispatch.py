"""What a dispatcher carries with the order on: a stored job of a million, its rate and memory, and tenants' shares.

The job's requests begin alike in groups of twenty, shuffled, so that putting them in order is work. The dispatcher is
the program as it is deployed; the clock runs from its claim of the job to the seal, so reading, checking, planning and
spooling are on it. Beside it, a bare producer sends the bytes that it sends, ready-made, in file order. A worker is
announced that does not exist, and the bound of the backlog is out of the way. A job of a twentieth shows what memory
a large one costs.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from backburner.settings import Settings
from backburner.storage import Storage
from backburner.submission.envelopes import Envelopes
from backburner_schemas import keys
from backburner_schemas.job import Cursor, JobManifest
from backburner_schemas.names import Lane
from backburner_schemas.routing import topic
from measuring.child import child
from measuring.dispatching import TENANT, announce, dispatcher, store
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Measured, Side, interleaved
from measuring.part import Part
from measuring.servers import servers
from measuring.shared_prefixes import REQUESTS_PER_PREFIX, shuffled_lines
from measuring.topic_log import first_sent
from scenarios.dispatch_shares import LARGE_REQUESTS_PER_SMALL, TENANT_COUNT, shares

GOAL_REQUESTS_PER_S = 20_000.0
GOAL_RATIO = 0.2
"""Of the rate of the bare producer, which reads, checks and orders nothing."""
MEMORY_GOAL_MB = 64.0
"""How much more memory the large job may take than the small one."""
SHARE_GOAL_RATIO = 1.2
SMALLER_FACTOR = 20
_POLL_SECONDS = 0.05
_ANNOUNCE_SECONDS = 30.0
_PATIENCE_SECONDS = 600.0


def dispatch(pairs: int, requests: int, tenant_requests: int, *, quick: bool = False) -> Figures:
    """Run the pairs, each side with that many requests. The ratio is our rate, from claim to seal, over the bare one.

    `tenant_requests` are those of a small tenant, where shares are counted.
    """
    with tempfile.TemporaryDirectory(prefix="backburner-load-") as folder:
        large, small = (_Input.write(Path(folder), count) for count in (requests, requests // SMALLER_FACTOR))
        sides = Side("bare producer", lambda _: _bare(large)), Side("dispatcher", lambda _: _dispatched(large))
        found = interleaved(pairs, *sides)
        fewer = _dispatched(small)
    got = shares(tenant_requests)
    ours = [pair.ours for pair in found]
    grown = max(one.extra["peak_mb"] for one in ours) - fewer.extra["peak_mb"]
    return Figures.of_pairs(
        "dispatch",
        found,
        ("bare producer", "dispatcher"),
        goal=GOAL_RATIO,
        against="a bare producer of the same bytes, ready-made",
        settings={
            "requests": requests,
            "line_bytes": large.line_bytes,
            "tenants": TENANT_COUNT,
            "tenant_requests": tenant_requests,
            "times": LARGE_REQUESTS_PER_SMALL,
        },
        details={"small": fewer.extra, "shares": dict(got)},
        checks=[
            Check.of(
                "requests/s of one dispatcher while it sends",
                statistics.median(one.extra["sending_per_s"] for one in ours),
                GOAL_REQUESTS_PER_S,
            ),
            Check.of(
                "requests/s of one dispatcher from its claim to the seal",
                statistics.median(one.rate for one in ours),
                GOAL_REQUESTS_PER_S,
            ),
            Check.of(
                f"MB more for {requests:,} requests than for {requests // SMALLER_FACTOR:,}",
                grown,
                MEMORY_GOAL_MB,
                bound=Bound.AT_MOST,
            ),
            Check.of(
                f"an equal share of {TENANT_COUNT} over the least one",
                got.total() / TENANT_COUNT / max(min(got.values()), 1),
                SHARE_GOAL_RATIO,
                bound=Bound.AT_MOST,
            ),
        ],
        quick=quick,
    )


@dataclass(frozen=True, slots=True)
class _Input:
    """A job's requests, as lines and as the values that go onto the queue for them."""

    lines: Path
    values: Path
    requests: int
    line_bytes: int
    """Of one line, on average."""

    @classmethod
    def write(cls, folder: Path, requests: int) -> "_Input":
        """Write both files."""
        lines, values = (folder / f"{requests}-{name}.jsonl" for name in ("lines", "values"))
        now = time.time()
        envelopes = Envelopes(JobManifest(id=f"batch_{0:026}", tenant=TENANT, created_at=now, deadline=now + 86_400))
        made = shuffled_lines("fake", requests // REQUESTS_PER_PREFIX, seed=1, blocks=1)
        with lines.open("wb") as one, values.open("wb") as other:
            for index, line in enumerate(made):
                text = json.dumps(line, separators=(",", ":")).encode()
                one.write(text + b"\n")
                [message] = envelopes.messages([text[1:-1]], ["fake"], index, now)
                other.write(message.value + b"\n")
        return cls(lines, values, requests, lines.stat().st_size // requests)


def _bare(given: _Input) -> Measured:
    with servers("fake", durable=False) as settings, child("bare_producer", env={**os.environ, **settings}) as one:
        chosen = topic("backburner", "fake", Lane.NORMAL)
        return one.measure(given.requests, path=str(given.values), topic=chosen, how="send")


def _dispatched(given: _Input) -> Measured:
    with servers("fake", durable=False):
        job = asyncio.run(store(given.lines))
        asyncio.run(announce(Storage.open(Settings.load()), "fake"))
        with dispatcher() as running:
            cpu = running.cpu_seconds()
            steps = asyncio.run(_follow(running, job))
            began = asyncio.run(first_sent("fake"))
            found = Measured(
                steps.sealed - steps.claimed,
                running.cpu_seconds() - cpu,
                given.requests,
                {
                    "peak_mb": running.peak_mb(),
                    "planning_seconds": steps.planned - steps.claimed,
                    "spooling_seconds": began - steps.planned,
                    "sending_per_s": given.requests / (steps.sealed - began),
                },
            )
    print(f"{given.requests:,} requests: {dict(found.extra)}", flush=True)
    return found


@dataclass(frozen=True, slots=True)
class _Steps:
    """When a job was where, in Unix seconds, all by this machine's clock."""

    claimed: float
    planned: float
    sealed: float


async def _follow(running: Part, job: str) -> _Steps:
    """Look at the job until it is sealed."""
    storage = Storage.open(Settings.load())
    claimed = planned = 0.0
    deadline = time.monotonic() + _PATIENCE_SECONDS
    announced = time.time()
    while time.monotonic() < deadline:
        now = time.time()
        if now - announced >= _ANNOUNCE_SECONDS:
            await announce(storage, "fake")
            announced = now
        if (stored := await storage.get(keys.cursor(TENANT, job))) is not None:
            cursor = Cursor.model_validate_json(stored.data)
            claimed = claimed or (now if cursor.owner else 0.0)
            planned = planned or (now if cursor.total is not None else 0.0)
        if planned and await storage.get(keys.sealed(TENANT, job)) is not None:
            return _Steps(claimed, planned, time.time())
        running.check()
        await asyncio.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the job was not sealed within {_PATIENCE_SECONDS:.0f} s:\n{running.log[-2000:]}")
