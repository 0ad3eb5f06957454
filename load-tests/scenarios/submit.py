"""What submitting costs: a file of many lines through the client, and the bytes that it sends through a bare producer.

Each round has a fresh broker and a fresh process. The bare producer reads its values ready-made from a file and checks
nothing; the client checks the whole file before it sends the first line, and finds repeated custom_ids.

The client's memory must not grow with its input: a file with a twentieth of the lines, and few and many large items,
show whether it does.
"""

import json
import os
import statistics
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from backburner.submission.envelopes import Envelopes
from backburner_schemas.job import JobManifest
from backburner_schemas.names import Lane
from backburner_schemas.routing import topic
from measuring.child import child
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.servers import Broker, servers
from programs.submitting_client import items

GOAL_RATIO = 0.85
CPU_GOAL_MICROSECONDS = 8.0
"""Microseconds of the client's CPU for each request."""
MEMORY_GOAL_RATIO = 0.8
"""Memory of a small submit over memory of a large one: the same, but for the noise of an allocator."""
_PROMPT_CHARACTERS = 350
"""Of a prompt; a line has about 500 bytes."""
_FEWER_FACTOR = 20
_LARGE_ITEMS = (40, 400)
_LARGE_BYTES = 500_000


class How(StrEnum):
    """How the bare producer sends."""

    SEND = "send"
    """One `send` for each value."""
    BATCH = "batch"
    """Whole batches, built by hand for each partition."""


def submit(
    pairs: int, requests: int, *, how: How = How.SEND, broker: Broker = Broker.TANSU, quick: bool = False
) -> Figures:
    """Run the pairs, each side with that many requests. The ratio is our rate over the bare producer's."""
    with tempfile.TemporaryDirectory(prefix="backburner-load-") as folder:
        lines, values, fewer = (Path(folder) / name for name in ("lines.jsonl", "values.jsonl", "fewer.jsonl"))
        _write_lines(lines, requests)
        _write_lines(fewer, max(requests // _FEWER_FACTOR, 1))
        _write_values(values, lines)
        sizes = {"line_bytes": lines.stat().st_size // requests, "value_bytes": values.stat().st_size // requests}
        bare = Side(f"bare {how}", lambda _: _bare(values, how, requests, broker))
        ours = Side("client", lambda _: _client(requests, broker, path=str(lines)))
        found = interleaved(pairs, bare, ours, check=_all_sent)
        small = _client(max(requests // _FEWER_FACTOR, 1), broker, path=str(fewer))
        few, many = (_client(count, broker, items=count, bytes=_LARGE_BYTES) for count in _LARGE_ITEMS)
    peak = statistics.median(pair.ours.extra["peak_mib"] for pair in found)
    memory = min(small.extra["peak_mib"] / peak, few.extra["peak_mib"] / many.extra["peak_mib"])
    cpu = statistics.median(pair.ours.cpu_seconds / pair.ours.work * 1e6 for pair in found)
    print(f"{cpu:.1f} µs of the client's CPU a request; {peak:.0f} MiB at the most, {memory:.2f} of that for a few")
    return Figures.of_pairs(
        "submit",
        found,
        (bare.name, "client"),
        goal=GOAL_RATIO,
        against=f"{bare.name}{broker.where}",
        settings={"requests": requests, "how": how, "broker": broker, **sizes},
        details={
            "peak_mib": peak,
            "small": small.extra,
            "large_items": {"few": few.extra, "many": many.extra, "bytes": _LARGE_BYTES},
        },
        checks=[
            Check.of(
                "µs of the client's CPU a request, an aim", cpu, CPU_GOAL_MICROSECONDS, bound=Bound.AT_MOST, aim=True
            ),
            Check.of("memory of a small submit over that of a large one", memory, MEMORY_GOAL_RATIO),
        ],
        quick=quick,
    )


def _bare(values: Path, how: How, count: int, broker: Broker) -> Measured:
    with (
        servers("fake", broker=broker, durable=False) as settings,
        child("bare_producer", env={**os.environ, **settings}) as one,
    ):
        return one.measure(count, path=str(values), topic=topic("backburner", "fake", Lane.NORMAL), how=how)


def _client(count: int, broker: Broker, **source: Any) -> Measured:
    with (
        servers("fake", broker=broker, durable=False) as settings,
        child("submitting_client", env={**os.environ, **settings}) as client,
    ):
        return client.measure(count, **source)


def _all_sent(pair: Pair) -> None:
    for one in (pair.baseline, pair.ours):
        if one.extra["sent"] != one.work:
            raise RuntimeError(f"{one.extra['sent']:,} of {one.work:,} requests were sent")


def _write_lines(path: Path, count: int) -> None:
    with path.open("w") as file:
        for item in items(count, _PROMPT_CHARACTERS):
            file.write(json.dumps(item) + "\n")


def _write_values(path: Path, lines: Path) -> None:
    """The values that the client sends for these lines."""
    now = time.time()
    job = JobManifest(id=f"batch_{0:026}", tenant="default", created_at=now, deadline=now + 86_400)
    envelopes = Envelopes(job)
    with lines.open("rb") as source, path.open("wb") as file:
        for index, line in enumerate(source):
            members = line.strip()[1:-1]
            [message] = envelopes.messages([members], ["fake"], index, now)
            file.write(message.value + b"\n")
